"""WindowTimetable: a cron schedule whose data intervals leave no time out."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.timetables.base import DagRunInfo, DataInterval
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.utils.types import DagRunType

if TYPE_CHECKING:
    from airflow.timetables.base import TimeRestriction, Timetable


class WindowTimetable(CronDataIntervalTimetable):
    """One run per cron tick; its data interval starts where the last one ended.

    Airflow's own interval timetables with ``catchup=False`` go on with the latest period after an outage or a pause,
    so the time between is never read. This one gives that time to the next run, as one interval. The first run
    begins at `start`, or where that is not given at the DAG's ``start_date``; without either, with the last complete
    period. (Tasks have the ``start_date`` too, and Airflow leaves them out of every run that is dated before it, while
    a manual run may be dated as one likes. So a pipeline's start is here.)

    - ``catchup=True`` and backfills: one run per period, as in Airflow.
    - A manual run without dates gets the last complete period before it, as in Airflow.
    - Airflow counts a backfill as the last automated run, so a backfill of a later range moves the start of the
      next interval past the time before it. The timetable cannot see that; a run's plan can, from the certificates.

    >>> WindowTimetable("0 * * * *", timezone="Asia/Shanghai").summary
    '0 * * * *'
    """

    def __init__(self, cron: str, timezone: Any, *, start: datetime | None = None) -> None:
        super().__init__(cron, timezone)
        self._start = None if start is None else pendulum.instance(start).in_timezone("UTC")

    def serialize(self) -> dict[str, Any]:
        return {**super().serialize(), **({"start": self._start.isoformat()} if self._start else {})}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        made: Any = super().deserialize(data)
        start = data.get("start")
        return cls(data["expression"], made._timezone, start=datetime.fromisoformat(start) if start else None)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        last = last_automated_data_interval
        if self._start and restriction.earliest is not None:
            restriction = restriction._replace(earliest=max(restriction.earliest, self._start))
        start = last.end if last else restriction.earliest
        # An interval of no length comes from a DAG that had a plain cron schedule before: to start where it ended
        # would give the run the logical date that it has.
        if restriction.catchup or start is None or (last and last.start >= last.end):
            return super().next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        if restriction.latest is not None and start > restriction.latest:
            return None
        latest_tick = self._align_to_prev(pendulum.now("UTC"))
        return DagRunInfo.interval(start=start, end=max(self._get_next(start), latest_tick))

    def infer_manual_data_interval(self, *, run_after: pendulum.DateTime) -> DataInterval:
        """The last complete period; where the run is dated on a tick (`run_after`), it ends a microsecond behind it.

        That run may have taken the date of the next scheduled one. The scheduler then makes none and asks what follows
        the interval of the manual run: were it the same date again, the pipeline would never be scheduled again.
        """
        period = super().infer_manual_data_interval(run_after=run_after)
        if period.end < run_after:
            return period
        return DataInterval(start=period.start, end=period.end.add(microseconds=1))

    def generate_run_id(
        self,
        *,
        run_type: DagRunType,
        run_after: pendulum.DateTime,
        data_interval: DataInterval | None,
        **extra: Any,
    ) -> str:
        """Airflow's own id, which is made of the interval's end; behind it the start of one that is no single period.

        Two intervals may end at one tick: a backfill inside the first moves the start of the second past its own.
        With one id for both, the scheduler would end with an IntegrityError, again after each restart.
        """
        plain = super().generate_run_id(run_type=run_type, run_after=run_after, data_interval=data_interval, **extra)
        if run_type is not DagRunType.SCHEDULED or data_interval is None:
            return plain
        start = data_interval.start
        return plain if start == self._get_prev(data_interval.end) else f"{plain}_from_{start.isoformat()}"
