"""plan: each kind of run gets the right half-open window, no time is left out, and segments are bounded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import Field, label
from fenxiang_sync.errors import DeclarationError, RefusedError
from fenxiang_sync.steps import Run, Segment, plan
from fenxiang_sync.window import Window, from_ms
from tests.steps_fixtures import Bench, at, backfill, bench, manual, pipeline, quiet, scheduled

A_SECOND = timedelta(seconds=1)
"""So exact is the Date header, by which a window ends."""


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, AccountObj=600) as made:
        yield made


def span(since: datetime, until: datetime) -> Window:
    return Window.between(since, until)


def test_a_first_scheduled_run_reads_its_interval(crm: Bench) -> None:
    made = crm.plan(crm.run(pipeline(start=at(1))), scheduled(at(1), at(2)))
    assert made.windows == [span(at(1), at(2))]


def test_where_the_first_run_failed_the_second_reads_from_the_beginning_as_well(crm: Bench) -> None:
    account = pipeline()
    beginning = from_ms(0)
    crm.plan(crm.run(account), scheduled(beginning, at(20)))  # and nothing after: this run failed
    report = crm.sync(account, scheduled(at(20), at(21)))
    assert report.certified == [span(beginning, at(21))]
    assert report.read > 0


def test_what_lies_before_a_first_range_by_hand_is_read_by_the_first_run_that_follows(crm: Bench) -> None:
    account = pipeline()
    crm.sync(account, manual(since=at(10), until=at(12)))
    assert crm.plan(crm.run(account), scheduled(at(12), at(13))).windows == [
        span(from_ms(0), at(10)),
        span(at(12), at(13)),
    ]


def test_a_first_run_of_a_pipeline_with_a_start_reads_from_there(crm: Bench) -> None:
    made = crm.plan(crm.run(pipeline(start=datetime(2020, 1, 1, tzinfo=UTC))), scheduled(at(1), at(2)))
    assert made.windows == [span(datetime(2020, 1, 1, tzinfo=UTC), at(2))]


def test_the_lookback_is_read_and_not_certified(crm: Bench) -> None:
    made = crm.plan(
        crm.run(pipeline(start=at(1, 2), source={"lookback": timedelta(hours=2)})), scheduled(at(1, 2), at(20))
    )
    assert made.windows == [span(at(1, 2), at(20))]
    assert made.segments[0].window.since == at(1, 0)


def test_a_failed_run_leaves_a_gap_that_the_next_scheduled_run_reads(crm: Bench) -> None:
    account = pipeline(start=at(1))
    crm.sync(account, scheduled(at(1), at(2)))
    crm.plan(crm.run(account), scheduled(at(2), at(3)))  # and nothing after: this run failed
    report = crm.sync(account, scheduled(at(3), at(4)))
    assert report.certified == [span(at(2), at(4))]
    assert crm.hub.certified("account") == [span(at(1), at(4))]


def test_a_backfill_of_a_later_range_during_a_pause_leaves_no_hole(crm: Bench) -> None:
    account = pipeline(start=at(1))
    crm.sync(account, scheduled(at(1), at(2)))
    crm.sync(account, backfill(at(5), at(6)))  # Airflow now takes the 6th for the end of the last automated run
    report = crm.sync(account, scheduled(at(6), at(7)))
    assert report.certified == [span(at(2), at(5)), span(at(6), at(7))]
    assert crm.hub.certified("account") == [span(at(1), at(7))]


def test_what_is_certified_is_not_read_again_to_reach_a_gap(crm: Bench) -> None:
    account = pipeline(source={"lookback": timedelta(0)})
    crm.sync(account, scheduled(at(1), at(2)))
    crm.sync(account, backfill(at(3), at(20)))
    made = crm.plan(crm.run(account), scheduled(at(20), at(21)))
    assert not any(at(3) < segment.window.since < at(20) for segment in made.segments)
    assert all(segment.window.until <= at(3) or segment.window.since >= at(20) for segment in made.segments)


def test_a_backfill_reads_its_interval_and_heals_nothing(crm: Bench) -> None:
    account = pipeline()
    crm.sync(account, scheduled(at(1), at(2)))
    assert crm.plan(crm.run(account), backfill(at(5), at(6))).windows == [span(at(5), at(6))]


def test_a_gap_older_than_reach_back_is_left_alone_and_named(crm: Bench, caplog: pytest.LogCaptureFixture) -> None:
    account = pipeline(start=at(1), reach_back=timedelta(days=3))
    crm.sync(account, backfill(at(1), at(2)))
    crm.sync(account, backfill(at(4), at(18)))
    made = crm.plan(crm.run(account), scheduled(at(18), at(19)))
    assert made.windows == [span(at(18), at(19))]
    assert made.uncovered == [span(at(2), at(4))]
    assert "2026-10-02 00:00 → 2026-10-04 00:00 UTC is not certified" in caplog.text


def test_a_manual_run_without_params_takes_up_where_the_last_certified_span_ends(crm: Bench) -> None:
    account = pipeline()
    crm.sync(account, scheduled(at(1), at(2)))
    before = crm.now()
    made = crm.plan(crm.run(account), manual())
    assert made.windows[0].since == at(2)
    assert before - A_SECOND <= made.windows[0].until <= crm.now()


def test_the_first_manual_run_without_params_reads_everything(crm: Bench) -> None:
    report = crm.sync(pipeline())
    assert report.window.since_ms == 0
    assert report.read == 600


def test_a_manual_range_is_read_as_it_was_asked_for(crm: Bench) -> None:
    account = pipeline()
    crm.sync(account, scheduled(at(1), at(2)))
    made = crm.plan(crm.run(account), manual(since=at(10), until=at(12)))
    assert made.windows == [span(at(10), at(12))]


def test_full_begins_at_the_start_of_the_pipeline(crm: Bench) -> None:
    account = pipeline(start=at(3))
    crm.sync(account, scheduled(at(3), at(4)))
    assert crm.plan(crm.run(account), manual(full=True)).windows[0].since == at(3)


def test_a_run_with_nothing_left_to_read_has_no_segment_and_succeeds(crm: Bench) -> None:
    account = pipeline()
    crm.sync(account)
    later = crm.sync(account, manual(until=at(1)))
    assert (later.segments, later.read, later.certified) == (0, 0, [])


@pytest.mark.parametrize("skew_ms", [-90_000, 90_000])
def test_a_window_never_ends_after_the_clock_of_the_server(crm: Bench, skew_ms: int) -> None:
    crm.simulator.knobs.clock_skew_ms = skew_ms
    skew, before = timedelta(milliseconds=skew_ms), crm.now()
    made = crm.plan(crm.run(pipeline()), scheduled(at(1), before + timedelta(hours=1)))
    assert before + skew - A_SECOND <= made.windows[0].until <= crm.now() + skew


def test_a_window_that_closes_in_a_moment_is_waited_for(crm: Bench) -> None:
    slept: list[float] = []
    until = crm.now() + timedelta(seconds=25)
    run = crm.run(pipeline())
    made = plan(run, scheduled(at(1), until), client=crm.client(), hub=crm.hub, sleep=slept.append)
    assert made.windows[0].until_ms == Window.between(at(1), until).until_ms
    assert 0 < sum(slept) <= 26


@pytest.mark.parametrize("knobs", [{}, {"same_field_filters": "first"}, {"same_field_filters": "last"}], ids=str)
def test_segments_are_bounded_and_cover_every_record_once(tmp_path: Path, knobs: dict[str, Any]) -> None:
    with bench(tmp_path, quiet(**knobs), AccountObj=600) as crm:
        account = pipeline(source={"segment_records": 50, "page_size": 10, "lookback": timedelta(0)})
        made = crm.plan(crm.run(account), manual(full=True))
        there = crm.simulator.tenant.visible("AccountObj")
    counted = [[key for key, record in there.items() if holds(segment, record)] for segment in made.segments]
    assert len(made.segments) > 10
    assert max(map(len, counted)) <= (55 if knobs else 50)  # BETWEEN also counts what is on the ends
    assert sorted(itertools.chain(*counted)) == sorted(there)
    if not knobs:
        assert [len(each) for each in counted] == [segment.count for segment in made.segments]


def holds(segment: Segment, record: dict[str, Any]) -> bool:
    return any(
        record["last_modified_time"] in part.window
        and (part.above is None or record["_id"] > part.above)
        and (part.upto is None or record["_id"] <= part.upto)
        for part in segment.ranges
    )


def test_a_load_larger_than_airflow_maps_gets_larger_segments(crm: Bench) -> None:
    account = pipeline(source={"segment_records": 10, "page_size": 10})
    made = crm.plan(crm.run(account), manual(full=True), most_segments=8)
    assert len(made.segments) <= 8
    assert max(segment.count or 0 for segment in made.segments) < 400
    assert sum(segment.count or 0 for segment in made.segments) == 600


def test_planning_ends_where_more_pieces_would_not_be_worth_the_calls(crm: Bench) -> None:
    account = pipeline(source={"segment_records": 5, "page_size": 5})
    run = crm.run(account)
    made = crm.plan(run, manual(full=True), most_segments=2)
    assert made.calls < 40
    assert len(made.segments) == 2
    crm.deliver(run, made)
    report = crm.verify(run)
    assert (report.delivered, report.repaired) == (600, 0)


@pytest.mark.parametrize(
    "knobs",
    [
        *({}, {"total_mode": "capped"}, {"total_mode": "estimated"}, {"total_mode": "zero"}),
        *({"id_order": "sort_shorter_first"}, {"id_order": "compare_shorter_first"}, {"same_field_filters": "first"}),
    ],
    ids=str,
)
def test_one_millisecond_with_more_than_a_segment_is_split_by_id(tmp_path: Path, knobs: dict[str, Any]) -> None:
    with bench(tmp_path, quiet(**knobs), AccountObj=0) as crm:
        for number in range(250):
            record_id = f"{number * 7919 % 250:032x}" if number % 2 else None
            values = {"name": f"客户 {number}", **({"_id": record_id} if record_id else {})}
            crm.simulator.tenant.create("AccountObj", values, modified_ms=1_790_000_000_000)
        account = pipeline(source={"segment_records": 100, "page_size": 20})
        run = crm.run(account)
        made = crm.plan(run, manual(full=True))
        crm.deliver(run, made)
        report = crm.verify(run)
        assert (report.delivered, report.repaired) == (250, 0)
        assert len(crm.held(account)) == 250
        if "id_order" not in knobs:
            assert sorted(filter(None, (read_by(run, segment) for segment in made.segments))) == [50, 100, 100]


def read_by(run: Run, segment: Segment) -> int:
    return sum(1 for _ in run.segment(segment.index).lines("records-"))


@pytest.mark.parametrize("mode", ["exact", "capped", "estimated", "zero"])
def test_whatever_total_is_worth_every_record_is_in_a_segment(tmp_path: Path, mode: str) -> None:
    with bench(tmp_path, quiet(total_mode=mode), AccountObj=400) as crm:
        report = crm.sync(pipeline(source={"segment_records": 100}))
        assert report.delivered == 400


def test_a_field_that_the_object_does_not_have_stops_the_run_before_it_reads(crm: Bench) -> None:
    account = pipeline(fields=[Field("_id"), Field("nam"), Field("owner", "owner_name", convert=label)])
    with pytest.raises(DeclarationError, match=r"'nam' is none of its fields, did you mean 'name'\?"):
        crm.sync(account)
    assert crm.simulator.queries == []
    unchecked = pipeline(fields=[Field("_id"), Field("nam")], source={"check_fields": False})
    assert crm.sync(unchecked).delivered == 600


def test_an_unknown_object_is_named_with_where_to_look(crm: Bench) -> None:
    with pytest.raises(RefusedError, match=r"does not describe the object nothing__c .* Look its API name up"):
        crm.sync(pipeline("nothing__c"))
