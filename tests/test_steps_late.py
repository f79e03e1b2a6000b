"""Late visibility is measured: which records came after their span was certified, and what lookback would help."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fenxiang_sync import Condition, Field, Logic, Lookup, WriteApi
from fenxiang_sync.hub import LateBin
from fenxiang_sync.hub.late import BINS, LateArrival
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.steps import Asked, Kind, Plan
from fenxiang_sync.steps.plan import Segment
from fenxiang_sync.window import to_ms
from tests.reconcile_fixtures import reconciled
from tests.steps_fixtures import Bench, bench, manual, pipeline, scheduled

MINUTE = timedelta(minutes=1)
EARLY = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, AccountObj=10) as made:
        yield made


@pytest.fixture
def end(crm: Bench) -> datetime:
    """The end of what a first run has certified; two hours ago."""
    until = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    crm.sync(pipeline(), scheduled(EARLY, until))
    return until


def appears(crm: Bench, stamp: datetime, **fields: object) -> str:
    return crm.simulator.tenant.create("AccountObj", {"name": "迟到", **fields}, modified_ms=to_ms(stamp))


def looks_back(**over: float) -> Asked:
    return Asked(kind=Kind.LOOKBACK, over=timedelta(**over))


def late(crm: Bench, name: str = "account") -> list[LateBin]:
    return crm.hub.late(name)


def test_what_the_lookback_of_an_ordinary_run_finds_needs_just_so_much_of_it(crm: Bench, end: datetime) -> None:
    arrived = appears(crm, end - 7 * MINUTE)
    report = crm.sync(pipeline(), scheduled(end, end + 30 * MINUTE))
    assert (report.delivered, report.late, report.late_s) == (1, 1, 420)
    assert (report.late_ever, report.late_ever_s) == (1, 420)
    [found] = late(crm)
    assert (found.found_by, found.arrivals, found.record_id) == ("run", 1, arrived)
    assert found.least_ms == found.most_ms == 7 * 60_000
    assert found.within_ms == 10 * 60_000


def test_where_a_gap_lies_between_the_lookback_that_was_needed_reaches_over_it(crm: Bench, end: datetime) -> None:
    appears(crm, end - 5 * MINUTE)
    crm.sync(pipeline(reach_back=timedelta(0)), scheduled(end + 2 * MINUTE, end + 30 * MINUTE))
    [found] = late(crm)
    assert (found.least_ms, found.most_ms) == (5 * 60_000, 7 * 60_000)


def test_what_came_in_time_an_edit_and_an_unchanged_record_are_not_late(crm: Bench, end: datetime) -> None:
    first = next(iter(crm.held(pipeline())))
    appears(crm, end + MINUTE)
    crm.simulator.tenant.update("AccountObj", first, {"name": "编辑"})
    crm.later()
    report = crm.sync(pipeline(source={"lookback": timedelta(days=900)}), scheduled(end, crm.now() + MINUTE))
    assert (report.delivered, report.late) == (2, 0)
    assert late(crm) == []


def test_a_record_that_was_a_dead_letter_is_not_late_when_it_is_read_again(tmp_path: Path) -> None:
    """It had been seen in time: the ledger holds no row of it, but the hub holds the record."""
    with bench(tmp_path, AccountObj=5, ContactObj=8) as crm:
        found = Lookup("customer", pipeline="account", find="name", where={"_id": "account_id"}, required=True)
        contacts = pipeline("ContactObj", name="contact", fields=[Field("_id"), found])
        until = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
        waits = crm.sync(contacts, scheduled(EARLY, until))
        assert (waits.dead_letters, waits.certified != []) == (8, True)
        crm.sync(pipeline(), scheduled(EARLY, until))
        again = crm.sync(contacts, looks_back(days=5_000))
        assert (again.delivered, again.late) == (8, 0)
        assert late(crm, "contact") == []


def test_what_a_lookback_dag_finds_is_between_the_last_look_and_now(crm: Bench, end: datetime) -> None:
    stamp = end - 50 * MINUTE
    crm.sync(pipeline(), scheduled(end, end + 30 * MINUTE))
    appears(crm, stamp)
    report = crm.sync(pipeline(), looks_back(days=2))
    assert report.late == 1
    [found] = late(crm)
    assert found.found_by == "lookback"
    assert found.least_ms == 50 * 60_000, "the second run looked ten minutes back, which was not far enough to see it"
    assert found.most_ms >= to_ms(end) - to_ms(stamp) + 2 * 3_600_000


def test_a_look_that_reached_the_stamp_and_did_not_see_it_counts_although_its_window_lay_behind(
    crm: Bench, end: datetime
) -> None:
    crm.sync(pipeline(), scheduled(end, end + 30 * MINUTE))
    appears(crm, end - 5 * MINUTE)
    crm.sync(pipeline(), looks_back(days=2))
    [found] = late(crm)
    assert found.least_ms == 35 * 60_000


def test_what_verify_finds_in_certified_time_is_told_apart(crm: Bench, end: datetime) -> None:
    run = crm.run(pipeline())
    made = crm.plan(run, scheduled(end, end + 30 * MINUTE))
    crm.deliver(run, made)
    appears(crm, end - 3 * MINUTE)
    report = crm.verify(run)
    assert (report.repaired, report.late, report.late_s) == (1, 1, 180)
    assert [each.found_by for each in late(crm)] == ["verify"]


def test_what_reconcile_finds_is_between_the_last_look_and_now(crm: Bench, end: datetime) -> None:
    arrived = appears(crm, end - 300 * MINUTE)
    made = reconciled(crm, pipeline())
    assert (made.missing, made.delivered, made.late) == (1, 1, 1)
    [found] = late(crm)
    assert (found.found_by, found.arrivals, found.record_id) == ("reconcile", 1, arrived)
    assert found.least_ms == 300 * 60_000
    assert 420 * 60_000 <= found.most_ms <= made.late_s * 1000
    assert reconciled(crm, pipeline(), deep=True).late == 0, "the ledger has met it"
    after = crm.sync(pipeline(), scheduled(end, end + 30 * MINUTE))
    assert (after.late, after.late_ever, after.late_ever_s) == (0, 1, made.late_s), "the next run tells of it, too"


def test_a_record_that_the_target_refuses_is_late_once_and_not_at_each_reading(crm: Bench, end: datetime) -> None:
    refusing = pipeline(name="refused", target=WriteApi(id_field="nothing"))
    crm.sync(refusing, scheduled(EARLY, end))
    appears(crm, end - MINUTE)
    numbers = [crm.sync(refusing, looks_back(days=1)) for _ in range(2)]
    assert [report.dead_letters for report in numbers] == [1, 1]
    assert [report.late for report in numbers] == [1, 0]
    assert sum(each.arrivals for each in late(crm, "refused")) == 1


def test_what_another_declaration_lets_through_is_not_late(crm: Bench, end: datetime) -> None:
    narrow = [[Condition("name", Logic.EQ, "谁也不叫这个")]]
    wide = pipeline(name="narrow", fields=[Field("_id"), Field("name")])
    crm.sync(pipeline(name="narrow", fields=[Field("_id"), Field("name")], conditions=narrow), scheduled(EARLY, end))
    report = crm.sync(wide, Asked(kind=Kind.LOOKBACK, over=timedelta(days=4000)))
    assert report.delivered == 10
    assert (report.late, late(crm, "narrow")) == (0, [])


def test_a_range_by_hand_fills_a_ledger_again_and_counts_nothing(crm: Bench, end: datetime) -> None:
    appears(crm, end - MINUTE)
    report = crm.sync(pipeline(), manual(since=end - timedelta(days=1), until=end))
    assert (report.delivered, report.late) == (1, 0)


def test_a_retry_of_a_load_tells_what_its_first_try_found(crm: Bench, end: datetime) -> None:
    appears(crm, end - MINUTE)
    run = crm.run(pipeline())
    made = crm.plan(run, scheduled(end, end + MINUTE))
    crm.deliver(run, made)
    _load_again(crm, run.id, pipeline(), made, made.segments[0])
    assert crm.verify(run).late == 1
    assert sum(each.arrivals for each in late(crm)) == 1


def _load_again(crm: Bench, run_id: str, account: Pipeline, made: Plan, segment: Segment) -> None:
    from fenxiang_sync.steps import load
    from fenxiang_sync.steps.late import Watch

    run = crm.run(account, run_id)
    watch = Watch.of(run, made, segment.window, crm.hub)
    load(run, segment, hub=crm.hub, reach=crm.reach(), clock=crm.now, watch=watch)


def test_a_hundred_thousand_arrivals_are_as_many_rows_as_there_are_bins(crm: Bench) -> None:
    now = crm.now()
    for start in range(0, 100_000, 10_000):
        arrivals = [
            LateArrival(record_id=f"r{n}", modified_ms=n, least_ms=n * 700, most_ms=n * 1_000)
            for n in range(start, start + 10_000)
        ]
        crm.hub.note_late("many", arrivals, found_by="lookback", run="run", now=now)
    bins = late(crm, "many")
    assert len(bins) <= len(BINS)
    assert sum(each.arrivals for each in bins) == 100_000
    assert [each.within_ms for each in bins] == sorted(each.within_ms for each in bins)
    assert all(each.most_ms <= each.within_ms for each in bins)
    largest = bins[-1]
    assert (largest.most_ms, largest.record_id, largest.least_ms) == (99_999_000, "r99999", 99_999 * 700)
    assert crm.hub.forget_late("many") == 100_000
    assert late(crm, "many") == []
