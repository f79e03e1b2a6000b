"""cost: about how many calls a run takes, from the numbers that the steps themselves go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2

from fenxiang_sync.pipeline import Source
from fenxiang_sync.source import slices
from fenxiang_sync.source.census import CAP, SWEPT
from fenxiang_sync.source.query import MAX_LIMIT
from fenxiang_sync.steps.attaching import RANGES
from fenxiang_sync.steps.reconcile.survey import CALLS_A_SLICE, CALLS_A_SWEEP

CALLS_A_RANGE = 5
"""What reading a range costs beside its full pages: the empty one, and making sure that nothing is behind it."""
CALLS_A_HUNDRED = 2
"""What the details of a hundred records cost at least: a page of them, and the empty one behind it."""
SWEPT_PAGES = SWEPT // MAX_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """In calls. `records` is the server's count, which is a hint; all of them are about."""

    records: int
    planning: int
    reading: int
    verifying: int
    getting: int = 0
    """One for each record, where the hub keeps none of them in its newest version."""

    @property
    def calls(self) -> int:
        return self.planning + self.reading + self.verifying + self.getting

    @property
    def paced(self) -> int:
        """How many of them wait for one another: `get` has a quota of its own, beside that of queries."""
        return self.planning + max(self.reading, self.getting) + self.verifying


def estimate(counts: Sequence[int], source: Source) -> Cost:
    """What a run costs that reads windows of so many records each, and finds nothing missing."""
    planning, reading, verifying = int(source.check_fields) * (1 + len(source.details)), 0, 0
    for count in counts:
        planning += _planning(count, source)
        reading += _reading(count, source) + len(source.details) * ceil(count / MAX_LIMIT) * CALLS_A_HUNDRED
        verifying += _verifying(count, source)
    getting = sum(counts) if source.get_fields else 0
    return Cost(records=sum(counts), planning=planning, reading=reading, verifying=verifying, getting=getting)


def _most(source: Source) -> int:
    return min(source.most_records, slices.STEP)


def _planning(count: int, source: Source) -> int:
    """One count, and a look at every cut where it is cut."""
    if not count:
        return 2  # one empty page may be a mistake
    return 1 if count <= _most(source) else 2 + ceil(count / _most(source))


def _reading(count: int, source: Source) -> int:
    if not count:
        return 0
    if count > _most(source):
        ranges = ceil(count / _most(source))
    else:
        ranges = 1 if count <= RANGES * source.page_size else RANGES
    partial = 0 if ranges == 1 else ranges // 2  # the last page of each is half full
    return ceil(count / source.page_size) + partial + ranges * CALLS_A_RANGE


def _verifying(count: int, source: Source) -> int:
    """Each segment is swept where it is small, else counted in spans below the cap of a count."""
    segments = max(1, ceil(count / source.most_records))
    each = ceil(count / segments)
    if each <= SWEPT:
        return segments * (ceil(each / MAX_LIMIT) + CALLS_A_SWEEP)
    if each < CAP:
        return segments * CALLS_A_SLICE
    levels = ceil(log2(each / CAP)) + 1
    return segments * ((1 << levels) * CALLS_A_SLICE + levels * SWEPT_PAGES)
