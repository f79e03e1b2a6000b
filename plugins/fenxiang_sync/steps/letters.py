"""letters: the dead letters that a run writes, each with the record as it was read, to be mapped anew some day."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from fenxiang_sync.hub import NOT_GOT, PARENT_MISSING, DeadLetter, Hub, Settled
from fenxiang_sync.rows import Row
from fenxiang_sync.source.reader import ID, STAMP
from fenxiang_sync.stage import Folder
from fenxiang_sync.steps.getting import is_not_got
from fenxiang_sync.steps.run import Run

TRANSFORM, LOAD = "transform", "load"
"""The stages in which a record can fail."""


def rejected(
    run: Run, record: dict[str, Any], *, reason: str, field: str | None, value: Any, waits: bool = False
) -> DeadLetter:
    """The letter of a record that became no row; `waits` is for one that what it looks up is not there yet."""
    return DeadLetter(
        pipeline=run.pipeline.name,
        run=run.id,
        stage=TRANSFORM,
        error=PARENT_MISSING if waits else NOT_GOT if is_not_got(record, run.pipeline.got) else "RecordError",
        reason=reason,
        field=field,
        value=value,
        record_id=record.get(ID),
        modified_ms=record.get(STAMP),
        payload=record,
        fields=run.pipeline.reads,
        config_hash=run.pipeline.config_hash,
    )


def refused(run: Run, settled: Settled, record: dict[str, Any] | None) -> DeadLetter:
    """The letter of a row that the target refused; `record` is what it was made of, None where that is gone."""
    return DeadLetter(
        pipeline=run.pipeline.name,
        run=run.id,
        stage=LOAD,
        error="Refused",
        reason=settled.reason,
        code=settled.code,
        record_id=settled.row.source_id,
        row_id=settled.row.id,
        modified_ms=settled.row.modified_ms,
        payload=record,
        content=settled.row.content,
        fields=run.pipeline.reads,
        config_hash=run.pipeline.config_hash,
    )


def burial(run: Run, hub: Hub, clock: Callable[[], datetime]) -> Callable[[Sequence[Settled]], None]:
    """What buries refused rows that were sent from what the hub holds: the records they were made of are not here."""

    def bury(settled: Sequence[Settled]) -> None:
        hub.bury([refused(run, one, None) for one in settled], now=clock())

    return bury


class Originals:
    """The records of one segment, found by their rows.

    Rows come in the order of their records, so one pass over the files finds them all; nothing is read before a first
    row is asked for, and no more is kept than the last answer.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lines: Iterator[dict[str, Any]] | None = None
        self._last: dict[tuple[str, int], dict[str, Any]] = {}

    def find(self, rows: Sequence[Row]) -> list[dict[str, Any] | None]:
        """The record of each row, aligned; None where the stage does not hold it."""
        wanted = {(row.source_id, row.modified_ms) for row in rows}
        found = {key: record for key, record in self._last.items() if key in wanted}
        if len(found) < len(wanted) and self._lines is not None:
            self._read(self._lines, wanted, found)
        if len(found) < len(wanted):  # it is behind, since another claimant held it up; or this is the first time
            self._lines = self._folder.lines("records-")
            self._read(self._lines, wanted, found)
        self._last = found
        return [found.get((row.source_id, row.modified_ms)) for row in rows]

    @staticmethod
    def _read(
        lines: Iterator[dict[str, Any]],
        wanted: set[tuple[str, int]],
        found: dict[tuple[str, int], dict[str, Any]],
    ) -> None:
        """Read on until nothing is wanted any more."""
        for record in lines:
            key = (record[ID], record[STAMP])
            if key in wanted:
                found[key] = record
                if len(found) == len(wanted):
                    return
