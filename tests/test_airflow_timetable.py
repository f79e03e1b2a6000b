"""The timetable leaves no time out between the intervals of scheduled runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum
import pytest
import time_machine
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.utils.types import DagRunType
from hypothesis import given
from hypothesis import strategies as st

from fenxiang_sync.airflow.timetable import WindowTimetable
from fenxiang_sync.window import to_ms


def at(hour: int, minute: int = 0, day: int = 22) -> pendulum.DateTime:
    return pendulum.datetime(2026, 11, day, hour, minute)


def interval(start: pendulum.DateTime, end: pendulum.DateTime) -> DataInterval:
    return DataInterval(start=start, end=end)


def following(
    last: DataInterval | None,
    now: datetime,
    *,
    cron: str = "0 * * * *",
    timezone: str = "UTC",
    earliest: pendulum.DateTime | None = None,
    catchup: bool = False,
    start: datetime | None = None,
) -> DagRunInfo | None:
    with time_machine.travel(now, tick=False):
        return WindowTimetable(cron, timezone=timezone, start=start).next_dagrun_info(
            last_automated_data_interval=last,
            restriction=TimeRestriction(earliest=earliest, latest=None, catchup=catchup),
        )


def following_interval(*args: Any, **kwargs: Any) -> DataInterval:
    info = following(*args, **kwargs)
    assert info is not None
    assert info.run_after == info.data_interval.end
    return info.data_interval


def test_in_quiet_times_an_interval_follows_its_predecessor() -> None:
    assert following_interval(interval(at(9), at(10)), at(10, 30)) == interval(at(10), at(11))


def test_after_an_outage_one_interval_holds_all_the_time_between() -> None:
    assert following_interval(interval(at(9), at(10)), at(20, 30)) == interval(at(10), at(20))


def test_on_the_tick_the_interval_ends_with_it() -> None:
    assert following_interval(interval(at(9), at(10)), at(20)) == interval(at(10), at(20))


def test_the_first_interval_begins_at_the_start_date() -> None:
    assert following_interval(None, at(20, 30), earliest=at(3, 17)) == interval(at(3, 17), at(20))


EPOCH = pendulum.datetime(1970, 1, 1)


@pytest.mark.parametrize("catchup", [False, True])
def test_the_first_interval_begins_at_the_start_of_the_timetable_where_it_has_one(catchup: bool) -> None:
    found = following_interval(None, at(20, 30), earliest=EPOCH, start=at(3), catchup=catchup)
    assert found == interval(at(3), at(4) if catchup else at(20))
    assert following_interval(None, at(20, 30), earliest=at(5), start=at(3)) == interval(at(5), at(20))


def test_without_a_start_date_the_first_interval_is_the_last_complete_period() -> None:
    assert following_interval(None, at(20, 30)) == interval(at(19), at(20))


def test_a_start_date_in_the_future_is_waited_for() -> None:
    assert following_interval(None, at(20, 30), earliest=at(23)) == interval(at(23), at(0, day=23))


def test_with_catchup_there_is_one_run_for_each_period() -> None:
    assert following_interval(interval(at(9), at(10)), at(20, 30), catchup=True) == interval(at(10), at(11))


def test_nothing_is_skipped_when_the_last_run_ended_off_the_schedule() -> None:
    assert following_interval(interval(at(9), at(10, 17)), at(20, 30)) == interval(at(10, 17), at(20))


def test_after_a_change_from_a_plain_cron_schedule_no_logical_date_comes_twice() -> None:
    info = following(interval(at(20), at(20)), at(20, 30))
    assert info is not None
    assert info.data_interval.start > at(20)


def test_a_schedule_made_coarser_still_goes_on_from_the_end() -> None:
    found = following_interval(interval(at(12), at(13)), at(15), cron="0 0 * * *")
    assert found == interval(at(13), at(0, day=23))


def test_days_end_at_midnight_of_the_named_zone() -> None:
    found = following_interval(
        interval(at(16, day=19), at(16, day=20)), at(20), cron="0 0 * * *", timezone="Asia/Shanghai"
    )
    assert found == interval(at(16, day=20), at(16, day=22))


def test_a_manual_run_is_shown_the_last_complete_period() -> None:
    timetable = WindowTimetable("0 * * * *", timezone="UTC")
    assert timetable.infer_manual_data_interval(run_after=at(20, 30)) == interval(at(19), at(20))


def test_two_intervals_that_end_at_one_tick_have_two_run_ids() -> None:
    found = {run_id(at(at_hour), at(20)) for at_hour in (3, 7, 18, 19)}
    assert len(found) == 4, "a second run with the id of the first would end the scheduler"
    assert all(each.startswith("scheduled__2026-11-22T20:00:00+00:00") for each in found)


def test_the_run_id_of_one_period_is_the_one_that_people_know() -> None:
    assert run_id(at(19), at(20)) == "scheduled__2026-11-22T20:00:00+00:00"
    assert run_id(at(3), at(4), DagRunType.BACKFILL_JOB) == "backfill__2026-11-22T04:00:00+00:00"


def run_id(start: pendulum.DateTime, end: pendulum.DateTime, kind: DagRunType = DagRunType.SCHEDULED) -> str:
    timetable = WindowTimetable("0 * * * *", timezone="Asia/Shanghai")
    return timetable.generate_run_id(run_type=kind, run_after=end, data_interval=interval(start, end))


def test_a_manual_run_that_has_the_date_of_the_next_interval_does_not_stop_the_schedule() -> None:
    # Where a run has the next interval's date, the scheduler makes none and asks what follows the interval of that run.
    there = WindowTimetable("0 * * * *", timezone="UTC").infer_manual_data_interval(run_after=at(10))
    found = following_interval(there, at(20, 30))
    assert found.start > at(10), "the same date again: this pipeline would never be scheduled again"
    assert (to_ms(found.start), found.end) == (to_ms(at(10)), at(20))


def test_after_the_end_date_nothing_follows() -> None:
    restriction = TimeRestriction(earliest=None, latest=at(9, 30), catchup=False)
    timetable = WindowTimetable("0 * * * *", timezone="UTC")
    last = interval(at(9), at(10))
    with time_machine.travel(at(20, 30), tick=False):
        assert timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction) is None


@given(gaps=st.lists(st.integers(1, 5000), min_size=1, max_size=30), first=st.integers(0, 10_000))
def test_whatever_the_outages_the_intervals_join(gaps: list[int], first: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=first)
    last: DataInterval | None = None
    ends: list[datetime] = []
    for minutes in gaps:
        now += timedelta(minutes=minutes)
        found = following_interval(last, now, cron="*/15 * * * *", earliest=pendulum.datetime(2026, 1, 1))
        assert found.start == (last.end if last else pendulum.datetime(2026, 1, 1))
        assert found.end > found.start
        if found.end > now:
            continue  # not due yet: the scheduler asks again later
        last = found
        ends.append(found.end)
    assert ends == sorted(set(ends))


class TestInsideAirflow:
    """With Airflow's own functions around it."""

    @pytest.fixture
    def dag(self, airflow_home: object) -> Any:
        from airflow.sdk import DAG
        from airflow.serialization.serialized_objects import DagSerialization

        schedule = WindowTimetable("0 * * * *", timezone="Asia/Shanghai")
        with DAG("windows", schedule=schedule, start_date=at(0, day=1), catchup=False) as dag:
            pass
        return DagSerialization.from_dict(DagSerialization.to_dict(dag))

    def test_it_survives_serialization(self, dag: Any) -> None:
        assert type(dag.timetable) is WindowTimetable
        assert dag.timetable.serialize() == {"expression": "0 * * * *", "timezone": "Asia/Shanghai"}

    def test_a_start_survives_serialization_and_bounds_backfills(self, airflow_home: object) -> None:
        from airflow.sdk import DAG
        from airflow.serialization.serialized_objects import DagSerialization

        schedule = WindowTimetable("0 * * * *", timezone="Asia/Shanghai", start=at(1, day=1))
        with DAG("begun", schedule=schedule, start_date=EPOCH, catchup=False) as dag:
            pass
        kept: Any = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        assert kept.timetable.serialize() == schedule.serialize()
        with time_machine.travel(at(20, 30), tick=False):
            first = kept.next_dagrun_info(last_automated_run_info=None)
            runs = list(kept.iter_dagrun_infos_between(at(0, day=1).subtract(hours=5), at(2, day=1)))
        assert first.data_interval == interval(at(1, day=1), at(20))
        assert [run.data_interval.start for run in runs] == [at(1, day=1), at(2, day=1)]

    def test_a_backfill_makes_one_run_for_each_period_whose_start_was_named(self, dag: Any) -> None:
        with time_machine.travel(at(20, 30), tick=False):
            runs = list(dag.iter_dagrun_infos_between(at(0), at(2)))
        assert [run.data_interval for run in runs] == [interval(at(h), at(h + 1)) for h in (0, 1, 2)]

    def test_the_scheduler_gives_the_time_of_an_outage_to_the_next_run(self, dag: Any) -> None:
        last = DagRunInfo.interval(start=at(9), end=at(10))
        with time_machine.travel(at(20, 30), tick=False):
            following = dag.next_dagrun_info(last_automated_run_info=last)
        assert following.data_interval == interval(at(10), at(20))
        assert following.run_after == at(20)
