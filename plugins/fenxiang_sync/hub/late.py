"""Late arrivals: records that became visible only after the span of their stamp was certified, by what lookback would
have caught them.

Kept as a histogram, with the largest of each bin as an example, so that it stays small for ever.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, delete, select

from fenxiang_sync.hub.bulk import LookUp, Upsert
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.tables import Status, record
from fenxiang_sync.hub.tables import late as table
from fenxiang_sync.rows import Row as Delivered
from fenxiang_sync.window import to_ms

_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
BINS = (
    _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 4 * _HOUR,
    8 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 4 * _DAY, 7 * _DAY, 14 * _DAY, 31 * _DAY, 366 * _DAY, 36_600 * _DAY,
)  # fmt: skip
"""The lookbacks (ms) by which arrivals are counted; the last one holds whatever came later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LateArrival:
    """One record that came late. A lookback of `most_ms` would have caught it for certain, one below `least_ms` would
    not; between them nobody knows, since nobody looked in between."""

    record_id: str
    modified_ms: int
    least_ms: int
    most_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LateBin:
    """How many arrivals a lookback of `within_ms` would have caught, and the next smaller bin would not.

    `least_ms` and `most_ms` are the largest of them; `record_id`, `modified_ms` and `run` are of the largest `most_ms`.
    """

    within_ms: int
    found_by: str
    arrivals: int
    least_ms: int
    most_ms: int
    record_id: str
    modified_ms: int
    run: str
    found_at: datetime

    def with_more(self, arrivals: Sequence[LateArrival], run: str, now: datetime) -> LateBin:
        largest = max(arrivals, key=lambda each: each.most_ms)
        new = largest.most_ms >= self.most_ms
        return LateBin(
            within_ms=self.within_ms,
            found_by=self.found_by,
            arrivals=self.arrivals + len(arrivals),
            least_ms=max(self.least_ms, *(each.least_ms for each in arrivals)),
            most_ms=max(self.most_ms, largest.most_ms),
            record_id=largest.record_id if new else self.record_id,
            modified_ms=largest.modified_ms if new else self.modified_ms,
            run=run if new else self.run,
            found_at=now,
        )


_COLUMNS = (
    "pipeline", "within_ms", "found_by", "arrivals", "least_ms", "most_ms", "record_id", "modified_ms", "run_id",
    "found_at",
)  # fmt: skip
_STORE = Upsert(table, key=_COLUMNS[:3], columns=_COLUMNS, update=_COLUMNS[3:])
_SEEN = LookUp(record, ("id", "modified_ms", "claim_modified_ms", "status"), by="id")


class LateArrivals:
    """The late arrivals of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unseen(self, pipeline: str, rows: Sequence[Delivered]) -> list[Delivered]:
        """The rows whose stamp is newer than all that the ledger has met of their id, delivered or refused.

        None of an id that is in doubt: its newer versions wait, and leave no trace.
        """
        with self._database.reading() as connection:
            found = _SEEN.run(connection, pipeline, [row.id for row in rows])
            newest = {each[0]: _newest(*each[1:]) for each in found}
        return [row for row in rows if newest.get(row.id, -1) < row.modified_ms]

    def note(self, pipeline: str, arrivals: Iterable[LateArrival], found_by: str, run: str, now: datetime) -> None:
        """Count them; one that is noted twice counts twice."""
        binned: dict[int, list[LateArrival]] = defaultdict(list)
        for each in arrivals:
            binned[BINS[min(bisect_left(BINS, each.most_ms), len(BINS) - 1)]].append(each)
        if not binned:
            return
        with self._database.writing(f"late arrivals of {pipeline}") as connection:
            held = {(each.within_ms, each.found_by): each for each in _bins(connection, pipeline)}
            for within_ms, few in binned.items():
                was = held.get((within_ms, found_by)) or _empty(within_ms, found_by, now)
                _STORE.run(connection, [_values(pipeline, was.with_more(few, run, now))])

    def bins(self, pipeline: str) -> list[LateBin]:
        """The bins that hold any, the smallest lookback first."""
        with self._database.reading() as connection:
            return list(_bins(connection, pipeline))

    def forget(self, pipeline: str) -> int:
        """Count from zero again; how many there were."""
        with self._database.writing(f"late arrivals of {pipeline}") as connection:
            total = sum(each.arrivals for each in _bins(connection, pipeline))
            connection.execute(delete(table).where(table.c.pipeline == pipeline))
        return total


def _newest(delivered: int | None, claimed: int | None, status: int) -> float:
    return math.inf if status == Status.IN_DOUBT else max(delivered or 0, claimed or 0)


def _bins(connection: Connection, pipeline: str) -> Iterator[LateBin]:
    wanted = select(table).where(table.c.pipeline == pipeline).order_by(table.c.within_ms, table.c.found_by)
    return map(_bin, connection.execute(wanted))


def _empty(within_ms: int, found_by: str, now: datetime) -> LateBin:
    return LateBin(
        within_ms=within_ms, found_by=found_by, arrivals=0, least_ms=0, most_ms=-1, record_id="", modified_ms=0,
        run="", found_at=now,
    )  # fmt: skip


def _values(pipeline: str, one: LateBin) -> tuple[object, ...]:
    return (
        pipeline, one.within_ms, one.found_by, one.arrivals, one.least_ms, one.most_ms, one.record_id, one.modified_ms,
        one.run, to_ms(one.found_at),
    )  # fmt: skip


def _bin(found: Row[tuple[object, ...]]) -> LateBin:
    values = found._asdict()
    del values["pipeline"]
    values["run"] = values.pop("run_id")
    return LateBin(**values)
