"""tally: what became of the records of a segment, counted in records though the target takes rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fenxiang_sync.rows import Outcome, Row
from fenxiang_sync.steps.turns import groups

PRECEDENCE = (
    Outcome.DEAD_LETTER,
    Outcome.IN_DOUBT,
    Outcome.DELIVERED,
    Outcome.UNCHANGED,
    Outcome.STALE,
    Outcome.FILTERED,
)
"""A record of several rows has one outcome: the first of these that one of its rows has."""
_RANK = {outcome: rank for rank, outcome in enumerate(PRECEDENCE)}

_Reading = tuple[str, int, int]


class Tally:
    """Counts outcomes. Where each record gives one row, that is all; where it may give several, what became of each
    record is kept until the segment is done (about 300 bytes a record)."""

    def __init__(self, *, several: bool) -> None:
        self._several = several
        self._counted: Counter[Outcome] = Counter()
        self._ranks: dict[_Reading, int] = {}
        self._readings: Counter[_Reading] = Counter()

    def groups(self, rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
        """The rows in groups of about `size`, noted as read; no record is in two groups."""
        if not self._several:
            yield from groups(rows, size)
            return
        group: list[Row] = []
        for reading in self._records(rows):
            if group and len(group) + len(reading) > size:
                yield group
                group = []
            group += reading
        if group:
            yield group

    def _records(self, rows: Iterator[Row]) -> Iterator[list[Row]]:
        """The rows record by record. One that was read twice in a row repeats the id of its first row."""
        group: list[Row] = []
        for row in rows:
            if group and (_reading(row) != _reading(group[0]) or row.id == group[0].id):
                yield self._read(group)
                group = []
            group.append(row)
        if group:
            yield self._read(group)

    def _read(self, group: list[Row]) -> list[Row]:
        self._readings[_reading(group[0])] += 1
        return group

    def add(self, row: Row, outcome: Outcome) -> None:
        """A row has its outcome."""
        if not self._several:
            self._counted[outcome] += 1
            return
        reading = _reading(row)
        self._ranks[reading] = min(_RANK[outcome], self._ranks.get(reading, len(PRECEDENCE)))

    def take_back(self, rows: int) -> None:
        """So many rows that counted as delivered are sent again. Of a record of several rows that changes nothing: it
        was delivered, and stays so unless something worse comes."""
        if not self._several:
            self._counted[Outcome.DELIVERED] -= rows

    def records(self, outcome: Outcome, number: int) -> None:
        """So many records have this outcome without a row."""
        self._counted[outcome] += number

    def counted(self) -> Counter[Outcome]:
        """Records by outcome."""
        counted = self._counted.copy()
        for reading, rank in self._ranks.items():
            counted[PRECEDENCE[rank]] += self._readings[reading]
        return counted


def _reading(row: Row) -> _Reading:
    return (row.source_id, row.modified_ms, row.version)
