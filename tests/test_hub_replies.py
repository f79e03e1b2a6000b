"""Replies: what is to be told of a record, and which records something happened to since a bookmark."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync.hub import DeadLetter, Event, Hub, Presence, Reply, Seen, Selection, Settled, What, events
from fenxiang_sync.hub.letters import DISMISSED
from fenxiang_sync.rows import IdCheck, Outcome, Row
from tests.hub_fixtures import DRIVERS, NOW, empty_database, row

NAME = "customer"


@pytest.fixture(params=DRIVERS)
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with empty_database(request.param, tmp_path) as url, Hub.connect(url) as hub:
        yield hub


def settle(hub: Hub, *rows: Row, outcome: Outcome = Outcome.DELIVERED, name: str = NAME, **told: Any) -> None:
    hub.claim(name, rows, run="r", id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, now=NOW)
    if outcome is Outcome.IN_DOUBT:
        hub.sending(name, rows, run="r", lease_s=60, now=NOW, upserts=False)
    settled = [Settled(row=each, outcome=outcome, reason="no phone", told=told) for each in rows]
    if outcome is Outcome.DEAD_LETTER:
        bury(hub, *rows)
    hub.settle(name, settled, run="r", now=NOW)


def bury(hub: Hub, *rows: Row, reason: str = "no phone") -> None:
    letters = [
        DeadLetter(
            pipeline=NAME, run="r", stage="load", error="Refused", reason=reason, record_id=each.source_id,
            row_id=each.id, modified_ms=each.modified_ms,
        )
        for each in rows
    ]  # fmt: skip
    hub.bury(letters, now=NOW)


def reply(hub: Hub, name: str = "A") -> Reply | None:
    found = hub.replies.of(NAME, [f"source-{name}"])
    return found[0] if found else None


def said(hub: Hub, name: str = "A") -> tuple[Outcome | None, str | None, dict[str, Any]]:
    found = reply(hub, name)
    assert found is not None
    return found.outcome, found.error, dict(found.told)


def changed(hub: Hub, after: int) -> list[str]:
    upto = hub.replies.newest(NAME)
    return sorted(each for group in hub.replies.changed(NAME, after, upto) for each in group)


def test_a_row_that_was_taken_is_delivered_with_what_was_told(hub: Hub) -> None:
    settle(hub, row("A"), Id=7)
    assert said(hub) == (Outcome.DELIVERED, None, {"Id": 7})


def test_a_refused_row_has_its_reason_beside_what_was_told_of_the_version_before(hub: Hub) -> None:
    settle(hub, row("A", 1, n=1), Id=7)
    settle(hub, row("A", 2, n=2), outcome=Outcome.DEAD_LETTER)
    assert said(hub) == (Outcome.DEAD_LETTER, "no phone", {"Id": 7})
    settle(hub, row("A", 3, n=3))
    assert said(hub) == (Outcome.DELIVERED, None, {"Id": 7})


def test_a_record_that_became_no_row_is_known_by_its_letter(hub: Hub) -> None:
    bury(hub, row("A"), reason="it fits no row")
    assert said(hub) == (Outcome.DEAD_LETTER, "it fits no row", {})
    hub.letters.close(NAME, Selection(), by="somebody", closed_as=DISMISSED, now=NOW)
    assert said(hub) == (None, None, {})


def test_a_row_in_doubt_or_on_its_way_says_so(hub: Hub) -> None:
    settle(hub, row("A"), outcome=Outcome.IN_DOUBT)
    assert said(hub) == (Outcome.IN_DOUBT, None, {})
    hub.claim(NAME, [row("B")], run="r", id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, now=NOW)
    assert said(hub, "B") == (None, None, {})


def test_a_record_whose_row_was_removed_or_that_has_no_id_is_told_nothing(hub: Hub) -> None:
    settle(hub, row("A"), Id=7)
    hub.see(NAME, [Seen(id="source-A", modified_ms=1, voided=True)], run="r", now=NOW)
    hub.mark(NAME, {"source-A": 1}, Presence.VOIDED, run="r", now=NOW)
    [[due]] = hub.removals.due(NAME, 10)
    [ours] = hub.removals.claim(NAME, [due], run="r", lease_s=60, now=NOW)
    hub.removals.settle(NAME, [ours], keeps_content=True, run="r", now=NOW)
    assert reply(hub) is None
    hub.bury([DeadLetter(pipeline=NAME, run="r", stage="transform", error="RecordError", reason="no id")], now=NOW)
    [letter] = hub.dead_letters(NAME)
    assert hub.replies.of(NAME, [str(letter.record_id)]) == []


def test_the_serial_of_a_reply_grows_with_whatever_happens_to_its_record_alone(hub: Hub) -> None:
    serials = []
    for version in (1, 2, 3):
        settle(hub, row("A", version, n=version))
        settle(hub, row("B", version, n=version))
        found = reply(hub)
        assert found is not None
        serials.append(found.serial)
    assert serials == sorted(set(serials))
    assert serials[-1] < hub.replies.newest(NAME)


def test_what_happened_since_a_bookmark_is_found_and_nothing_of_other_pipelines(hub: Hub) -> None:
    assert changed(hub, 0) == []
    settle(hub, row("A"), row("B"))
    bookmark = hub.replies.newest(NAME)
    assert changed(hub, 0) == ["source-A", "source-B"]
    assert changed(hub, bookmark) == []
    settle(hub, row("B", 2, n=2))
    settle(hub, row("C"), name="other")
    bury(hub, row("A", 2))
    assert changed(hub, bookmark) == ["source-B"], "a refused row leaves its event when it is settled"
    hub.letters.close(NAME, Selection(), by="somebody", closed_as=DISMISSED, now=NOW)
    assert changed(hub, bookmark) == ["source-A", "source-B"]


def test_many_events_are_read_page_by_page_and_a_record_of_one_page_comes_once(hub: Hub) -> None:
    rows = [row(f"{place:05d}") for place in range(6_000)]
    for start in range(0, 6_000, 2_000):
        settle(hub, *rows[start : start + 2_000])
    groups = list(hub.replies.changed(NAME, 0, hub.replies.newest(NAME)))
    assert max(map(len, groups)) <= 1_000
    assert sorted(each for group in groups for each in group) == sorted(each.source_id for each in rows)
    whole = [each for group in hub.replies.all(NAME) for each in group]
    assert whole == sorted(each.source_id for each in rows)


def test_all_records_are_those_with_a_row_and_those_with_nothing_but_an_open_letter(hub: Hub) -> None:
    settle(hub, row("A"))
    settle(hub, row("B"), outcome=Outcome.DEAD_LETTER)
    bury(hub, row("C"))
    assert [each for group in hub.replies.all(NAME) for each in group] == ["source-A", "source-B", "source-C"]


def test_a_bookmark_reaches_as_far_as_events_are_kept_and_the_newest_is_never_swept(hub: Hub) -> None:
    settle(hub, row("A"), row("B"))
    bookmark = hub.replies.newest(NAME)
    settle(hub, row("A", 2, n=2), row("B", 2, n=2))
    before = reply(hub)
    assert hub.replies.reaches(0)
    hub.forget_old(NAME, events=NOW + timedelta(days=400), readings=NOW)
    assert not hub.replies.reaches(bookmark)
    assert hub.replies.newest(NAME) == bookmark + 2
    after = reply(hub)
    assert before is not None
    assert after is not None
    assert after.serial >= before.serial, "an older reply must not pass for a newer one"
    settle(hub, row("A", 3, n=3))
    assert hub.replies.newest(NAME) == bookmark + 3


def test_a_bookmark_waits_for_whoever_is_settling_so_that_no_event_comes_behind_it(hub: Hub) -> None:
    """Numbers of events are given before the commit: one that is still under way could be smaller than the bookmark."""
    found: list[int] = []
    looking = threading.Thread(target=lambda: found.append(hub.replies.newest(NAME)))
    with hub._database.writing(f"records of {NAME}") as connection:
        events.store(connection, NAME, [Event("source-A", "A", 1, "r", What.DELIVERED)])
        looking.start()
        looking.join(0.3)  # long enough to look, if it did not wait
    looking.join()
    assert changed(hub, 0) == ["source-A"]
    assert found == [hub.replies.newest(NAME)]
