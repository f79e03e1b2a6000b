"""Dead letters: one open per record and stage, closed by a delivery, never larger than they may be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync.hub import DeadLetter, Hub, Ladder, Selection, Settled, StoredLetter
from fenxiang_sync.hub.letters import DISMISSED, HISTORY, PAYLOAD_BYTES, VALUE_CHARACTERS
from fenxiang_sync.rows import IdCheck, Outcome, Row
from fenxiang_sync.window import to_ms
from tests.hub_fixtures import DRIVERS, NOW, hub_database, row


@pytest.fixture(params=DRIVERS)
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with hub_database(request.param, tmp_path) as url, Hub.connect(url) as hub:
        yield hub


def letter(record_id: str | None = "source-A", **given: Any) -> DeadLetter:
    given = {"pipeline": "stock", "run": "run-1", "stage": "load", "error": "Refused", "reason": "too long", **given}
    return DeadLetter(record_id=record_id, **given)


def dismiss(hub: Hub, record_id: str) -> int:
    wanted = Selection(records=[record_id])
    return hub.letters.close("stock", wanted, by="someone", closed_as=DISMISSED, now=NOW)


def opened(hub: Hub, **given: Any) -> list[StoredLetter]:
    return list(hub.dead_letters("stock", **given))


def deliver(hub: Hub, *rows: Row, run: str = "run-9") -> None:
    hub.claim("stock", rows, run=run, id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, now=NOW)
    assert hub.settle("stock", [Settled(row=one, outcome=Outcome.DELIVERED) for one in rows], run=run, now=NOW) == 0


def test_a_letter_keeps_what_a_person_needs(hub: Hub) -> None:
    payload = {"_id": "source-A", "amount": Decimal("1.50"), "name": "仓库"}
    hub.bury([letter(stage="transform", field="amount", value=payload["amount"], payload=payload, code=41)], NOW)
    (stored,) = opened(hub)
    assert (stored.record_id, stored.field, stored.value, stored.code) == ("source-A", "amount", "1.50", "41")
    assert (stored.payload, stored.open, stored.attempts) == (payload, True, 1)
    assert (stored.created_at, stored.closed_at) == (NOW, None)


def test_the_same_failure_again_is_one_more_attempt_of_the_open_letter(hub: Hub) -> None:
    hub.bury([letter(), letter("source-B")], NOW)
    later = NOW + timedelta(hours=1)
    hub.bury([letter(run="run-2", reason="still too long", payload={"a": 2}), letter("source-C")], later)
    first, second, third = opened(hub)
    assert (first.attempts, first.run, first.reason, first.payload) == (2, "run-2", "still too long", {"a": 2})
    assert (first.created_at, first.updated_at) == (NOW, later)
    assert [(one["run"], one["reason"]) for one in first.history] == [("run-1", "too long")]
    assert (second.attempts, third.attempts) == (1, 1)


def test_the_history_of_a_letter_is_bounded(hub: Hub) -> None:
    for number in range(HISTORY + 5):
        hub.bury([letter(run=f"run-{number}", reason="r" * 3_000)], NOW)
    (stored,) = opened(hub)
    assert stored.attempts == HISTORY + 5
    assert [one["run"] for one in stored.history] == [f"run-{number}" for number in range(4, HISTORY + 4)]
    assert all(len(one["reason"]) <= 200 for one in stored.history)


def test_stages_and_rows_of_one_record_have_letters_of_their_own(hub: Hub) -> None:
    hub.bury([letter(), letter(stage="transform"), letter(row_id="line-1"), letter(row_id="line-2")], NOW)
    assert len(opened(hub)) == 4
    assert len(opened(hub, stage="load")) == 3


def test_of_one_record_twice_in_a_batch_the_last_letter_stays(hub: Hub) -> None:
    hub.bury([letter(reason="first"), letter(reason="second")], NOW)
    assert [one.reason for one in opened(hub)] == ["second"]


def test_a_record_without_an_id_finds_its_letter_by_its_content(hub: Hub) -> None:
    for _ in range(2):
        hub.bury([letter(None, payload={"a": 1}), letter(None, payload={"a": 2})], NOW)
    assert [one.attempts for one in opened(hub)] == [2, 2]


def test_a_delivery_closes_the_letters_of_its_record(hub: Hub) -> None:
    hub.bury([letter(stage="transform"), letter(row_id="A"), letter("source-B")], NOW)
    deliver(hub, row("A", 2))
    assert [one.record_id for one in opened(hub)] == ["source-B"]
    closed = [one for one in opened(hub, open_only=False) if not one.open]
    assert [(one.closed_by, one.closed_at) for one in closed] == [("run-9", NOW)] * 2


def test_a_delivery_of_another_row_of_the_record_leaves_the_rows_letter_open(hub: Hub) -> None:
    hub.bury([letter(row_id="line-2")], NOW)
    deliver(hub, row("A", 2))
    assert len(opened(hub)) == 1


def test_a_delivery_of_an_older_version_leaves_the_letter_open(hub: Hub) -> None:
    hub.bury([letter(modified_ms=5)], NOW)
    deliver(hub, row("A", 4))
    assert len(opened(hub)) == 1
    deliver(hub, row("A", 5, a=1))
    assert opened(hub) == []


def test_a_failure_after_a_delivery_opens_a_new_letter(hub: Hub) -> None:
    hub.bury([letter()], NOW)
    deliver(hub, row("A"))
    hub.bury([letter()], NOW)
    assert [(one.open, one.attempts) for one in opened(hub, open_only=False)] == [(False, 1), (True, 1)]


def test_letters_are_found_by_what_they_share(hub: Hub) -> None:
    hub.bury([letter(), letter("source-B", run="run-2"), letter("source-C", error="RecordError")], NOW)
    hub.bury([letter("source-A", pipeline="orders")], NOW)
    assert [one.record_id for one in opened(hub, run="run-2")] == ["source-B"]
    assert [one.record_id for one in opened(hub, error="RecordError")] == ["source-C"]
    assert [one.record_id for one in opened(hub, record_id="source-A", run="run-1")] == ["source-A"]
    assert [one.pipeline for one in hub.dead_letters("orders")] == ["orders"]


def test_letters_are_read_page_by_page_to_the_last(hub: Hub) -> None:
    hub.bury([letter(f"{number:05}") for number in range(1_203)], NOW)
    assert [one.record_id for one in opened(hub)] == [f"{number:05}" for number in range(1_203)]


def test_letters_can_be_closed_while_they_are_read(hub: Hub) -> None:
    hub.bury([letter(f"{number:05}") for number in range(1_100)], NOW)
    seen = 0
    for one in hub.dead_letters("stock"):
        seen += dismiss(hub, str(one.record_id))
    assert seen == 1_100


def test_a_large_value_is_cut_and_a_large_payload_is_left_out(hub: Hub) -> None:
    payload = {"text": "长" * PAYLOAD_BYTES}
    hub.bury([letter(value="v" * 5_000, payload=payload)], NOW)
    (stored,) = opened(hub)
    assert stored.value == "v" * VALUE_CHARACTERS
    assert stored.payload is None
    assert stored.payload_bytes > PAYLOAD_BYTES


def test_text_that_a_database_refuses_does_not_stop_a_letter(hub: Hub) -> None:
    hub.bury([letter(value="a\x00b\ud800", reason="\x00")], NOW)
    assert [(one.value, one.reason) for one in opened(hub)] == [("a\ufffdb?", "\ufffd")]


def test_the_open_letters_are_told_in_groups_with_the_newest_of_each(hub: Hub) -> None:
    for number in range(5):
        hub.bury(
            [letter(f"r{number}", stage="transform", error="Rejected", field="tel")], NOW + timedelta(hours=number)
        )
    hub.bury([letter("other", row_id="other-1", reason="no")], NOW)
    hub.bury([letter("closed")], NOW)
    dismiss(hub, "closed")
    hub.bury([letter(pipeline="orders")], NOW)

    rejected, refused = hub.letter_groups("stock")
    assert (rejected.stage, rejected.error, rejected.letters) == ("transform", "Rejected", 5)
    assert [(each.record_id, each.field) for each in rejected.newest] == [("r4", "tel"), ("r3", "tel"), ("r2", "tel")]
    assert rejected.newest[0].updated_at == NOW + timedelta(hours=4)
    assert refused.letters == 1
    [newest] = refused.newest
    assert (newest.record_id, newest.row_id, newest.reason) == ("other", "other-1", "no")
    assert hub.letter_groups("nobody") == []


def retried(hub: Hub, number: int, **given: Any) -> None:
    hub.letters.retry("stock", {number: letter(**{"run": "replay-1", **given})}, NOW + timedelta(hours=1))


def test_a_retried_letter_goes_on_in_another_stage_with_its_history(hub: Hub) -> None:
    hub.bury([letter(stage="transform", error="RecordError", payload={"a": 1})], NOW)
    (first,) = opened(hub)
    retried(hub, first.id, row_id="A", payload={"a": 1})
    (again,) = opened(hub)
    assert (again.id, again.stage, again.row_id, again.attempts) == (first.id, "load", "A", 2)
    assert [(one["stage"], one["error"], one["at"]) for one in again.history] == [
        ("transform", "RecordError", to_ms(NOW))
    ]


def test_a_retried_letter_whose_place_is_taken_is_superseded_by_the_one_that_is_there(hub: Hub) -> None:
    hub.bury([letter(stage="transform"), letter(row_id="A")], NOW)
    first, second = opened(hub)
    retried(hub, first.id, row_id="A")
    (left,) = opened(hub)
    assert (left.id, left.attempts) == (second.id, 2)
    (closed,) = [one for one in opened(hub, open_only=False) if not one.open]
    assert (closed.id, closed.closed_as, closed.closed_by) == (first.id, "superseded", "replay-1")


def test_a_try_of_a_letter_that_was_closed_meanwhile_is_not_lost(hub: Hub) -> None:
    hub.bury([letter()], NOW)
    (first,) = opened(hub)
    deliver(hub, row("A"))
    retried(hub, first.id)
    (new,) = opened(hub)
    assert new.id != first.id
    assert (new.attempts, new.run) == (1, "replay-1")


def test_a_try_that_does_not_know_the_record_keeps_that_of_the_same_version_alone(hub: Hub) -> None:
    hub.bury([letter(payload={"a": 1}, modified_ms=5), letter("source-B", payload={"b": 1}, modified_ms=5)], NOW)
    hub.bury([letter(modified_ms=5), letter("source-B", modified_ms=6)], NOW)
    assert [one.payload for one in opened(hub)] == [{"a": 1}, None]


def test_letters_are_due_by_the_ladder_or_by_a_changed_declaration(hub: Hub) -> None:
    same, kept = {"config_hash": "today"}, {"payload": {"a": 1}}
    hub.bury([letter("once", **same, **kept), letter("twice", **same, **kept)], NOW)
    hub.bury([letter("twice", **same, **kept), letter("lost", **same), letter("old", config_hash="old", **kept)], NOW)
    hub.bury([letter("unfit", stage="transform", **same, **kept)], NOW)

    def due(seconds: int) -> set[str | None]:
        steps = (timedelta(seconds=20), timedelta(seconds=300))
        ladder = Ladder(steps=steps, config_hash="today", now=NOW + timedelta(seconds=seconds))
        return {one.record_id for one in hub.letters.find("stock", Selection(due=ladder), whole=False)}

    assert due(19) == {"old"}
    assert due(20) == {"old", "once"}
    assert due(300) == {"old", "once", "twice"}


def test_old_letters_expire_and_closed_ones_are_forgotten(hub: Hub) -> None:
    hub.bury([letter(), letter("source-B")], NOW)
    later = NOW + timedelta(days=1)
    hub.bury([letter("source-B")], later)
    assert hub.letters.expire("stock", before=later, by="run-2", now=later) == 1
    assert [(one.record_id, one.closed_as) for one in opened(hub, open_only=False)] == [
        ("source-A", "expired"),
        ("source-B", None),
    ]
    assert hub.letters.forget("stock", before=later) == 0
    assert hub.letters.forget("stock", before=later + timedelta(seconds=1)) == 1
    assert [one.record_id for one in opened(hub, open_only=False)] == ["source-B"]
    assert hub.letters.closed_by("stock", "run-2") == {}


def test_large_records_are_read_in_portions_and_none_is_left_out(hub: Hub) -> None:
    large = {"text": "x" * (PAYLOAD_BYTES - 100)}
    hub.bury([letter(f"{number:02}", payload=large) for number in range(20)], NOW)
    found = list(hub.letters.groups("stock", Selection()))
    assert max(len(group) for group in found) <= 8
    assert [one.record_id for group in found for one in group] == [f"{number:02}" for number in range(20)]


def test_a_letter_that_is_closed_before_its_group_is_read_is_left_out(hub: Hub) -> None:
    large = {"text": "x" * (PAYLOAD_BYTES - 100)}
    hub.bury([letter(f"{number:02}", payload=large) for number in range(10)], NOW)
    groups = hub.letters.groups("stock", Selection())
    first = next(groups)
    dismiss(hub, "09")
    rest = [one.record_id for group in groups for one in group]
    assert len(first) + len(rest) == 9
    assert "09" not in rest


def test_a_letter_that_was_written_to_since_it_was_read_is_not_closed(hub: Hub) -> None:
    hub.bury([letter(modified_ms=5), letter("source-B", modified_ms=5)], NOW)
    read = opened(hub)
    hub.bury([letter(modified_ms=6, run="run-2")], NOW + timedelta(seconds=1))
    hub.letters.close_seen("stock", read, by="replay-1", closed_as="filtered", now=NOW)
    assert [(one.record_id, one.modified_ms) for one in opened(hub)] == [("source-A", 6)]


def test_a_try_of_an_older_version_does_not_replace_the_letter_of_a_newer_one(hub: Hub) -> None:
    hub.bury([letter(modified_ms=6, run="run-2", payload={"version": 2})], NOW)
    (newer,) = opened(hub)
    retried(hub, newer.id, modified_ms=5, payload={"version": 1})
    hub.bury([letter(modified_ms=5, run="run-3", payload={"version": 1})], NOW)
    assert opened(hub) == [newer]


def test_letters_that_are_closed_without_a_delivery_are_told_with_the_reason(hub: Hub) -> None:
    hub.bury(
        [letter(stage="transform", modified_ms=5), letter("source-B"), letter("source-C"), letter("source-D")], NOW
    )
    by_record = {each.record_id: each for each in opened(hub)}
    close: dict[str, Any] = {"by": "somebody", "now": NOW}
    hub.letters.close("stock", Selection(records=["source-A"]), closed_as="dismissed", note="a test record", **close)
    hub.letters.close_seen("stock", [by_record["source-B"]], closed_as="filtered", **close)
    hub.letters.close_seen("stock", [by_record["source-C"]], closed_as="delivered", **close)
    hub.letters.expire("stock", before=NOW + timedelta(days=1), **close)
    assert opened(hub) == []
    lives = [hub.trace("stock", f"source-{each}") for each in "ABCD"]
    told = [[(each.what, each.modified_ms, each.reason) for each in life.events] for life in lives if life]
    assert told == [
        [("rejected", 5, "too long"), ("put_aside", 5, "dismissed: a test record")],
        [("put_aside", None, "filtered")],
        [],
        [("put_aside", None, "expired")],
    ]


def test_a_letter_that_is_retried_and_fits_no_row_is_told_as_rejected_again(hub: Hub) -> None:
    hub.bury([letter(stage="transform")], NOW)
    [first] = opened(hub)
    hub.letters.retry("stock", {first.id: letter(stage="transform", run="replay-1", reason="still")}, NOW)
    life = hub.trace("stock", "source-A")
    assert life is not None
    assert [(each.what, each.run, each.reason) for each in life.events] == [
        ("rejected", "run-1", "too long"),
        ("rejected", "replay-1", "still"),
    ]
