"""What the ledger decides, and what it keeps of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync.hub import DeadLetter, Decision, Hub, Record, Settled, Status
from fenxiang_sync.rows import IdCheck, Outcome, Row
from fenxiang_sync.window import Window
from tests.hub_fixtures import DRIVERS, NOW, hub_database, row

NEW, CHANGED, UNCHANGED = Decision.NEW, Decision.CHANGED, Decision.UNCHANGED
STALE, BUSY, IN_DOUBT = Decision.STALE, Decision.BUSY, Decision.IN_DOUBT
DELIVERED = Decision.DELIVERED
UPSERT, SKIP, OVERWRITE = IdCheck.UPSERT_ON_CHANGE, IdCheck.SKIP_EXISTING, IdCheck.OVERWRITE
LEASE = timedelta(seconds=60)
LATER = NOW + 2 * LEASE


@pytest.fixture(params=DRIVERS)
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with hub_database(request.param, tmp_path) as url, Hub.connect(url) as hub:
        yield hub


def claim(hub: Hub, *rows: Row, run: str = "run-1", id_check: IdCheck = UPSERT, **given: Any) -> list[Decision]:
    given = {"lease_s": LEASE.total_seconds(), "now": NOW, **given}
    return hub.claim("stock", rows, run=run, id_check=id_check, **given)


def settle(hub: Hub, *rows: Row, outcome: Outcome = Outcome.DELIVERED, run: str = "run-1", **given: Any) -> int:
    given = {"now": NOW, **given}
    return hub.settle("stock", [Settled(row=one, outcome=outcome, reason="because") for one in rows], run=run, **given)


def deliver(hub: Hub, *rows: Row, run: str = "run-1") -> None:
    assert all(decision.claimed for decision in claim(hub, *rows, run=run))
    assert settle(hub, *rows, run=run) == 0


def held(hub: Hub, row_id: str = "A") -> Record:
    (record,) = hub.records("stock", ids=[row_id])
    return record


# The matrix of the id check: what is there, what comes, what happens.


@pytest.mark.parametrize(
    ("id_check", "content", "decision", "status"),
    [
        (UPSERT, {"a": 1}, UNCHANGED, Status.FINISHED),
        (UPSERT, {"a": 2}, CHANGED, Status.QUEUE),
        (SKIP, {"a": 1}, UNCHANGED, Status.REPEAT),
        (SKIP, {"a": 2}, UNCHANGED, Status.REPEAT),
        (OVERWRITE, {"a": 1}, CHANGED, Status.QUEUE),
        (OVERWRITE, {"a": 2}, CHANGED, Status.QUEUE),
    ],
)
def test_the_id_check_decides_what_an_existing_id_means(
    hub: Hub, id_check: IdCheck, content: dict[str, int], decision: Decision, status: Status
) -> None:
    deliver(hub, row("A", 1, a=1))
    assert claim(hub, row("A", 2, **content), run="run-2", id_check=id_check) == [decision]
    assert held(hub).status is status
    assert held(hub).content == {"a": 1}


@pytest.mark.parametrize(
    ("id_check", "content", "decision"),
    [
        (UPSERT, {"a": 1}, UNCHANGED),
        (UPSERT, {"a": 2}, CHANGED),
        (SKIP, {"a": 1}, UNCHANGED),
        (SKIP, {"a": 2}, UNCHANGED),
        (OVERWRITE, {"a": 1}, CHANGED),
        (OVERWRITE, {"a": 2}, CHANGED),
    ],
)
def test_the_id_check_decides_among_versions_that_are_not_older(
    hub: Hub, id_check: IdCheck, content: dict[str, int], decision: Decision
) -> None:
    """Versions compare by last_modified_time first and by version where that is equal; then the matrix holds."""
    stamps = {"older": (4, 9), "older version": (5, 2), "same": (5, 3), "newer version": (5, 4), "newer": (6, 1)}
    deliver(hub, *(row(name, 5, 3, a=1) for name in stamps))
    asked = [row(name, *stamp, **content) for name, stamp in stamps.items()]
    assert hub.preview("stock", asked, id_check=id_check) == [STALE, STALE, decision, decision, decision]
    assert claim(hub, *asked, run="run-2", id_check=id_check) == [STALE, STALE, decision, decision, decision]
    newest = max if decision is UNCHANGED else lambda delivered, _: delivered
    for name, stamp in stamps.items():
        record = held(hub, name)
        assert (record.modified_ms, record.version) == newest((5, 3), stamp), "what is known to be there"
        assert record.content == {"a": 1}, "nothing is there before it is settled"


@pytest.mark.parametrize("id_check", list(IdCheck))
def test_an_id_that_is_not_there_is_new_whatever_the_id_check(hub: Hub, id_check: IdCheck) -> None:
    assert claim(hub, row("A", a=1), id_check=id_check) == [NEW]
    assert settle(hub, row("A", a=1), outcome=Outcome.DEAD_LETTER) == 0
    assert claim(hub, row("A", a=1), id_check=id_check) == [NEW], "a refused id is still not there"


@pytest.mark.parametrize("id_check", list(IdCheck))
def test_an_older_version_is_stale_whatever_the_id_check(hub: Hub, id_check: IdCheck) -> None:
    deliver(hub, row("A", 5, 3, a=1))
    older = [row("A", 4, 9, a=2), row("A", 5, 2, a=2), row("A", 4, 9, a=1)]
    assert [claim(hub, one, run="run-2", id_check=id_check)[0] for one in older] == [STALE] * 3


def test_overwrite_does_not_send_again_what_the_same_run_delivered(hub: Hub) -> None:
    claim(hub, row("A", a=1), id_check=OVERWRITE)
    settle(hub, row("A", a=1))
    assert claim(hub, row("A", a=1), id_check=OVERWRITE) == [DELIVERED]
    assert claim(hub, row("A", a=1), id_check=OVERWRITE, run="run-2") == [CHANGED]


# Versions


@pytest.mark.parametrize("version", [5, 9])
def test_a_row_that_the_target_has_in_a_newer_version_is_sent_when_it_is_read_again(hub: Hub, version: int) -> None:
    deliver(hub, row("A", 1, a=1))
    claim(hub, row("A", 5, a=2), run="run-2")
    assert settle(hub, row("A", 5, a=2), run="run-2", outcome=Outcome.STALE) == 0
    assert held(hub).outcome is Outcome.STALE
    life = hub.trace("stock", held(hub).source_id)
    assert life is not None
    assert [each.what for each in life.events][-1] == "stale"
    assert held(hub).content is None, "nobody here knows what the newer version holds"
    assert claim(hub, row("A", 4, a=1), run="run-3") == [STALE]
    assert claim(hub, row("A", version, a=1), run="run-3") == [CHANGED], "the content of then is not there any more"


def test_the_same_version_with_other_content_is_changed(hub: Hub) -> None:
    deliver(hub, row("A", 5, 3, a=1))
    assert claim(hub, row("A", 5, 3, a=2), run="run-2") == [CHANGED]


def test_an_unchanged_row_leaves_its_newer_stamp(hub: Hub) -> None:
    deliver(hub, row("A", 5, 1, a=1))
    assert claim(hub, row("A", 9, 2, a=1), run="run-2") == [UNCHANGED]
    assert (held(hub).modified_ms, held(hub).version) == (9, 2)
    assert claim(hub, row("A", 7, 1, a=2), run="run-2") == [STALE], "older than what is known to be there"


def test_of_one_id_in_a_batch_only_the_newest_counts(hub: Hub) -> None:
    batch = [row("A", 2, a=2), row("B"), row("A", 3, a=3), row("A", 1, a=1)]
    assert hub.preview("stock", batch, id_check=UPSERT) == [STALE, NEW, NEW, STALE]
    assert claim(hub, *batch) == [STALE, NEW, NEW, STALE]
    assert held(hub).claim_modified_ms == 3


def test_of_equal_versions_in_a_batch_the_last_counts(hub: Hub) -> None:
    assert claim(hub, row("A", a=1), row("A", a=1)) == [STALE, NEW]


def test_pipelines_do_not_share_ids(hub: Hub) -> None:
    deliver(hub, row("A"))
    other = hub.claim("orders", [row("A")], run="run-1", id_check=UPSERT, lease_s=60, now=NOW)
    assert other == [NEW]


def test_a_claim_of_more_rows_than_one_transaction_holds_stays_aligned(hub: Hub) -> None:
    rows = [row(str(number), a=number) for number in range(5_500)]
    deliver(hub, *rows[::2])
    assert claim(hub, *rows, run="run-2") == [UNCHANGED, NEW] * 2_750


# Claims


def test_a_claimed_record_is_busy_for_another_run(hub: Hub) -> None:
    assert claim(hub, row("A", 1)) == [NEW]
    assert claim(hub, row("A", 1), row("A", 2), row("B"), run="run-2") == [STALE, BUSY, NEW]
    assert held(hub).claim_run == "run-1"


def test_a_retry_gets_its_own_claims_back(hub: Hub) -> None:
    assert claim(hub, row("A")) == [NEW]
    assert claim(hub, row("A")) == [NEW]
    assert held(hub).attempts == 2


def test_a_retry_is_told_what_its_first_try_delivered(hub: Hub) -> None:
    deliver(hub, row("A", 1, a=1), row("B", 1, a=1))
    assert claim(hub, row("A", 1, a=1), row("B", 2, a=1)) == [DELIVERED, UNCHANGED]
    assert claim(hub, row("A", 1, a=1), run="run-2") == [UNCHANGED]


def test_two_segments_of_a_run_are_two_claimants(hub: Hub) -> None:
    assert claim(hub, row("A", 1), segment="0") == [NEW]
    assert claim(hub, row("A", 2), segment="1") == [BUSY]
    assert settle(hub, row("A", 1), segment="1") == 1
    assert settle(hub, row("A", 1), segment="0") == 0
    assert claim(hub, row("A", 2, a=2), segment="1") == [CHANGED]


def test_a_claim_may_be_taken_when_its_lease_is_over(hub: Hub) -> None:
    claim(hub, row("A", 2))
    assert claim(hub, row("A", 2), run="run-2", now=NOW + LEASE - timedelta(milliseconds=1)) == [BUSY]
    assert claim(hub, row("A", 2), run="run-2", now=NOW + LEASE) == [NEW]
    assert held(hub).claim_run == "run-2"


def test_what_a_dead_claimant_may_have_delivered_is_never_overtaken_by_something_older(hub: Hub) -> None:
    deliver(hub, row("A", 1, a=1))
    claim(hub, row("A", 5, a=5), run="run-2")
    assert claim(hub, row("A", 4, a=4), run="run-3", now=LATER) == [STALE]
    assert claim(hub, row("A", 6, a=1), run="run-3", now=LATER) == [CHANGED], "the target may hold a=5 by now"


def test_only_the_holder_settles(hub: Hub) -> None:
    claim(hub, row("A", 1, a=1))
    claim(hub, row("A", 2, a=2), run="run-2", now=LATER)
    assert settle(hub, row("A", 2, a=2), run="run-2") == 0
    assert settle(hub, row("A", 1, a=1)) == 1
    assert (held(hub).content, held(hub).run) == ({"a": 2}, "run-2")


def test_a_settlement_of_another_version_than_the_claimed_is_refused(hub: Hub) -> None:
    claim(hub, row("A", 1, a=1))
    assert settle(hub, row("A", 2, a=1), row("A", 1, a=2), row("B")) == 3
    assert held(hub).status is Status.QUEUE


def test_an_expired_claim_that_nobody_took_can_still_be_settled(hub: Hub) -> None:
    claim(hub, row("A"))
    assert settle(hub, row("A"), now=LATER) == 0
    assert held(hub).status is Status.FINISHED


def test_settling_twice_changes_nothing(hub: Hub) -> None:
    deliver(hub, row("A"))
    before = held(hub)
    assert settle(hub, row("A"), now=LATER) == 0
    assert held(hub) == before
    assert settle(hub, row("A"), outcome=Outcome.DEAD_LETTER, now=LATER) == 1, "another outcome is no repetition"


def test_a_row_can_only_be_settled_as_what_sending_can_end_in() -> None:
    with pytest.raises(ValueError, match="row 'A' cannot be settled as unchanged"):
        Settled(row=row("A"), outcome=Outcome.UNCHANGED)


# Failures


def test_a_refused_row_is_tried_again_and_leaves_what_was_delivered(hub: Hub) -> None:
    deliver(hub, row("A", 1, a=1))
    claim(hub, row("A", 2, a=2), run="run-2")
    settle(hub, row("A", 2, a=2), run="run-2", outcome=Outcome.DEAD_LETTER)
    record = held(hub)
    assert (record.status, record.outcome, record.reason) == (Status.ERROR, Outcome.DEAD_LETTER, "because")
    assert (record.content, record.modified_ms) == ({"a": 1}, 1)
    assert claim(hub, row("A", 1, a=1), run="run-3") == [UNCHANGED]
    assert held(hub).status is Status.ERROR, "the refused version is still the newest"
    assert claim(hub, row("A", 2, a=2), run="run-3") == [CHANGED]
    assert held(hub).attempts == 2


def test_a_record_that_returns_to_what_was_delivered_is_finished_again(hub: Hub) -> None:
    deliver(hub, row("A", 1, a=1))
    claim(hub, row("A", 2, a=2))
    settle(hub, row("A", 2, a=2), outcome=Outcome.DEAD_LETTER)
    hub.bury([DeadLetter(pipeline="stock", run="run-1", stage="load", error="E", reason="", record_id="source-A")], NOW)
    assert claim(hub, row("A", 3, a=1), run="run-2") == [UNCHANGED]
    assert held(hub).status is Status.FINISHED
    assert list(hub.dead_letters("stock")) == []


def test_a_row_in_doubt_waits_for_a_decision_where_the_target_cannot_upsert(hub: Hub) -> None:
    claim(hub, row("A", 2, a=2))
    settle(hub, row("A", 2, a=2), outcome=Outcome.IN_DOUBT)
    assert held(hub).status is Status.IN_DOUBT
    assert held(hub).claim_content == {"a": 2}
    again = [row("A", 1, a=1), row("A", 2, a=2), row("A", 3, a=3)]
    assert [claim(hub, one, run="run-2", now=LATER)[0] for one in again] == [IN_DOUBT] * 3


def test_a_row_in_doubt_is_sent_again_where_the_target_upserts(hub: Hub) -> None:
    claim(hub, row("A", 2, a=2))
    settle(hub, row("A", 2, a=2), outcome=Outcome.IN_DOUBT)
    assert claim(hub, row("A", 1, a=1), run="run-2", upserts=True) == [IN_DOUBT], "what may be there is newer"
    assert claim(hub, row("A", 2, a=2), run="run-2", upserts=True) == [NEW]
    assert settle(hub, row("A", 2, a=2), run="run-2") == 0
    assert (held(hub).status, held(hub).claim_content) == (Status.FINISHED, None)


def test_what_may_have_arrived_is_not_taken_for_unchanged(hub: Hub) -> None:
    deliver(hub, row("A", 1, a=1))
    claim(hub, row("A", 2, a=2))
    settle(hub, row("A", 2, a=2), outcome=Outcome.IN_DOUBT)
    assert claim(hub, row("A", 3, a=1), run="run-2", upserts=True) == [CHANGED]


@pytest.mark.parametrize("run", ["run-1", "run-2"])
def test_a_death_in_flight_leaves_the_row_in_doubt(hub: Hub, run: str) -> None:
    claim(hub, row("A", 2, a=Decimal("2.50")))
    assert hub.sending("stock", [row("A", 2, a=Decimal("2.50"))], run="run-1", lease_s=60, now=NOW, upserts=False) == [
        True
    ]
    assert claim(hub, row("A", 2, a=Decimal("2.50")), run=run, now=LATER) == [IN_DOUBT]
    record = held(hub)
    assert (record.status, record.claim_until, record.claim_content) == (Status.IN_DOUBT, None, {"a": Decimal("2.50")})


def test_a_death_in_flight_is_sent_again_where_the_target_upserts(hub: Hub) -> None:
    claim(hub, row("A"), upserts=True)
    hub.sending("stock", [row("A")], run="run-1", lease_s=60, now=NOW, upserts=True)
    assert claim(hub, row("A"), run="run-2", now=LATER, upserts=True) == [NEW]


def test_sending_renews_the_lease_and_tells_of_lost_claims(hub: Hub) -> None:
    claim(hub, row("A"), row("B"))
    claim(hub, row("B"), run="run-2", now=LATER)
    assert hub.sending("stock", [row("A"), row("B")], run="run-1", lease_s=60, now=LATER, upserts=True) == [True, False]
    assert claim(hub, row("A"), run="run-2", now=LATER + LEASE / 2) == [BUSY]


# Reading


def test_a_preview_writes_nothing(hub: Hub) -> None:
    deliver(hub, row("A", 1, a=1))
    before = list(hub.records("stock"))
    asked = [row("A", 2, a=1), row("B"), row("A", 0)]
    assert hub.preview("stock", asked, id_check=UPSERT) == [UNCHANGED, NEW, STALE]
    assert list(hub.records("stock")) == before


def test_content_comes_back_as_it_was(hub: Hub) -> None:
    content = {
        "amount": Decimal("12345678901234567890.10"),
        "tiny": Decimal("1E-12"),
        "whole": 10**30,
        "text": '仓库\x00"\\ 𝒳\n',
        "none": None,
        "flag": True,
        "nested": {"list": [1, {"price": Decimal("0.10")}]},
    }
    deliver(hub, row("A", **content))
    stored = held(hub).content
    assert stored == content
    assert stored is not None
    assert isinstance(stored["amount"], Decimal)
    assert str(stored["nested"]["list"][1]["price"]) == "0.10"


def test_records_are_read_by_window_status_source_and_id_over_pages(hub: Hub) -> None:
    deliver(hub, *(row(f"{number:04}", modified_ms=number // 3, a=number) for number in range(1_200)))
    in_window = [one.id for one in hub.records("stock", window=Window(100, 300), content=False)]
    assert in_window == [f"{number:04}" for number in range(300, 900)]
    assert len(list(hub.records("stock"))) == 1_200
    assert [one.id for one in hub.records("stock", source_id="source-0007")] == ["0007"]
    claim(hub, row("0003", 9, a=-1))
    assert [one.id for one in hub.records("stock", status=Status.QUEUE)] == ["0003"]
    assert hub.counts("stock") == {Status.FINISHED: 1_199, Status.QUEUE: 1}
    assert [hub.count_unfinished("stock", each) for each in (Status.QUEUE, Status.IN_DOUBT)] == [1, 0]
    assert hub.counts("orders") == {}


def test_decisions_say_their_outcome() -> None:
    assert {one: one.outcome for one in Decision} == {
        NEW: None,
        CHANGED: None,
        UNCHANGED: Outcome.UNCHANGED,
        DELIVERED: Outcome.DELIVERED,
        STALE: Outcome.STALE,
        BUSY: None,
        IN_DOUBT: Outcome.IN_DOUBT,
    }
