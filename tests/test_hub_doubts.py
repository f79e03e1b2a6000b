"""Rows in doubt: found as they were sent, settled once, and never out of doubt before somebody knows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fenxiang_sync.hub import DeadLetter, Decision, Doubt, Event, Hub, Presence, Seen, Settled, Status
from fenxiang_sync.rows import IdCheck, Outcome, Row
from tests.hub_fixtures import DRIVERS, NOW, hub_database, row

LEASE_S = 60
LATER = NOW + timedelta(seconds=LEASE_S + 1)


@pytest.fixture(params=DRIVERS)
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with hub_database(request.param, tmp_path) as url, Hub.connect(url) as hub:
        yield hub


def send(hub: Hub, *rows: Row, run: str = "run-1", outcome: Outcome | None = Outcome.IN_DOUBT) -> None:
    """The rows were sent to a target that does not upsert; None: the task died before an answer."""
    hub.claim("stock", rows, run=run, id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=LEASE_S, now=NOW)
    assert all(hub.sending("stock", rows, run=run, lease_s=LEASE_S, now=NOW, upserts=False))
    if outcome is not None:
        hub.settle("stock", [Settled(row=one, outcome=outcome, reason="lost") for one in rows], run=run, now=NOW)


def doubts(hub: Hub, **given: str) -> list[Doubt]:
    return [each for group in hub.doubts.groups("stock", ids=None, now=LATER, **given) for each in group]


def decision(hub: Hub, one: Row) -> Decision:
    [decided] = hub.preview("stock", [one], id_check=IdCheck.UPSERT_ON_CHANGE, now=LATER)
    return decided


def test_a_row_in_doubt_is_what_was_sent(hub: Hub) -> None:
    sent = row("A", 5, 2, name="仓库", amount=7)
    send(hub, sent)
    [doubt] = doubts(hub)
    assert doubt.row == sent
    assert (doubt.run, doubt.sent_at, doubt.reason) == ("run-1", NOW, "lost")
    assert hub.doubts.count("stock", now=LATER) == 1


def test_a_row_whose_task_died_in_flight_is_in_doubt_once_its_lease_is_over(hub: Hub) -> None:
    send(hub, row("A", a=1), outcome=None)
    assert hub.doubts.count("stock", now=NOW) == 0, "it may be answered yet"
    assert [each.id for each in doubts(hub)] == ["A"]
    [accepted] = hub.doubts.accept("stock", doubts(hub), by="somebody", now=LATER)
    assert accepted.id == "A"
    assert decision(hub, row("A", a=1)) is Decision.UNCHANGED


def test_rows_are_found_by_their_id_or_their_record(hub: Hub) -> None:
    send(hub, row("A"), row("B"), row("C"))
    found = [each.id for each in hub.doubts.find("stock", ids=["A", "source-C"], now=LATER)]
    assert found == ["A", "C"]


def test_an_accepted_row_is_delivered_and_closes_its_letters(hub: Hub) -> None:
    sent = row("A", 5, a=1)
    send(hub, sent)
    hub.bury(
        [DeadLetter(pipeline="stock", run="r", stage="load", error="E", reason="r", record_id="source-A", row_id="A")],
        now=NOW,
    )
    found = doubts(hub)
    assert hub.doubts.accept("stock", found, by="somebody", now=LATER) == found
    assert hub.doubts.accept("stock", found, by="somebody", now=LATER) == [], "once"
    [record] = hub.records("stock")
    assert (record.status, record.modified_ms, record.content, record.claim_content) == (2, 5, {"a": 1}, None)
    assert list(hub.dead_letters("stock")) == []
    assert decision(hub, sent) is Decision.UNCHANGED
    assert decision(hub, row("A", 6, a=2)) is Decision.CHANGED


def test_a_taken_row_is_in_doubt_until_it_is_settled(hub: Hub) -> None:
    sent = row("A", 5, a=1)
    send(hub, sent)
    [taken] = hub.doubts.take("stock", doubts(hub), run="replay-1", lease_s=LEASE_S, now=LATER)
    assert hub.doubts.take("stock", [taken], run="replay-2", lease_s=LEASE_S, now=LATER) == [], "one at a time"
    assert decision(hub, row("A", 6, a=2)) is Decision.BUSY
    dead = LATER + timedelta(seconds=LEASE_S + 1)
    [still] = hub.doubts.find("stock", now=dead)
    assert still.row == sent
    assert list(hub.doubts.groups("stock", ids=None, now=dead, besides="replay-1")) == []


def test_a_taken_row_that_is_settled_is_delivered(hub: Hub) -> None:
    sent = row("A", 5, a=1)
    send(hub, sent)
    [taken] = hub.doubts.take("stock", doubts(hub), run="replay-1", lease_s=LEASE_S, now=LATER)
    assert hub.sending("stock", [taken.row], run="replay-1", lease_s=LEASE_S, now=LATER, upserts=False) == [True]
    done = [Settled(row=taken.row, outcome=Outcome.DELIVERED)]
    assert hub.settle("stock", done, run="replay-1", now=LATER) == 0
    assert hub.counts("stock") == {Status.FINISHED: 1}
    assert decision(hub, sent) is Decision.UNCHANGED


def test_a_row_that_is_given_back_is_in_doubt_as_before_and_may_be_taken_again(hub: Hub) -> None:
    sent = row("A", 5, a=1)
    send(hub, sent)
    [taken] = hub.doubts.take("stock", doubts(hub), run="replay-1", lease_s=LEASE_S, now=LATER)
    hub.doubts.give_back("stock", [taken.row], run="replay-1", reason="it was too busy", now=LATER)
    [again] = doubts(hub, besides="replay-1")
    assert (again.row, again.reason) == (sent, "it was too busy")


def test_what_a_person_said_of_it_and_what_came_of_that_is_told(hub: Hub) -> None:
    send(hub, row("A", 5, a=1), row("B", 5))
    first, second = doubts(hub)
    hub.doubts.take("stock", [first], run="replay-1", lease_s=LEASE_S, now=LATER)
    hub.doubts.give_back("stock", [first.row, second.row], run="replay-1", reason="it was too busy", now=LATER)
    hub.doubts.accept("stock", doubts(hub), by="somebody", now=LATER)
    told = {each: [(one.what, one.run, one.reason) for one in life(hub, each)] for each in ("source-A", "source-B")}
    assert told["source-A"] == [
        ("in_doubt", "run-1", "lost"),
        ("resent", "replay-1", ""),
        ("in_doubt", "replay-1", "it was too busy"),
        ("accepted", "somebody", ""),
    ]
    assert [what for what, _, _ in told["source-B"]] == ["in_doubt", "accepted"], "it was not taken, so not given back"


def life(hub: Hub, source_id: str) -> list[Event]:
    found = hub.trace("stock", source_id)
    assert found is not None
    return found.events


def test_what_was_looked_at_in_another_version_is_left_alone(hub: Hub) -> None:
    send(hub, row("A", 5, a=1))
    [old] = doubts(hub)
    hub.doubts.accept("stock", [old], by="somebody", now=LATER)
    send(hub, row("A", 6, a=2), run="run-2")
    assert hub.doubts.accept("stock", [old], by="somebody", now=LATER) == []
    assert [each.modified_ms for each in doubts(hub)] == [6]


def test_a_record_that_is_looked_at_again_counts_as_read_in_the_older_version(hub: Hub) -> None:
    hub.see("stock", [Seen("a", 9), Seen("b", 5), Seen("c", 9)], run="r", now=NOW)
    hub.mark("stock", {"c": 9}, Presence.HIDDEN, run="r", now=NOW)
    assert hub.look_again("stock", {"a": 5, "b": 5, "c": 5, "nowhere": 5}, run="r", now=NOW) == 2
    held = hub.listed("stock").entries(["a", "b", "c"])
    assert {name: (entry.modified_ms, entry.listed_ms) for name, entry in held.items()} == {
        "a": (5, 5),
        "b": (5, 5),
        "c": (5, None),
    }
