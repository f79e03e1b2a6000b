"""Readings: the files of records that runs have read, and which fields they asked for.

One row for each file in the stage (some hundred records, in the order of ``_id``), so that what was read of a record is
found by opening the few files that may hold it. A reading may outlive its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

from sqlalchemy import Row, delete, select

from fenxiang_sync.hub.bulk import Append, Upsert
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import dumps, loads
from fenxiang_sync.hub.tables import projection as projections
from fenxiang_sync.hub.tables import reading as table
from fenxiang_sync.window import Window, to_ms


class Reading(NamedTuple):
    """One file of a segment: `records` of them with ids from `first_id` to `last_id`. `window` is what the segment
    reads, None where it reads by id; `fields` are those that were asked for."""

    run: str
    segment: int
    file: str
    first_id: str
    last_id: str
    records: int
    window: Window | None
    fields: tuple[str, ...]
    at: datetime


_COLUMNS = (
    "pipeline", "run_id", "segment", "file", "first_id", "last_id", "records", "since_ms", "until_ms", "projection",
    "at",
)  # fmt: skip
_APPEND = Append(table, _COLUMNS)
_NAME = Upsert(projections, ("digest", "fields"), key=("digest",), update=("fields",))


class Readings:
    """The readings of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, pipeline: str, run: str, segment: int, readings: Sequence[Reading]) -> None:
        """Store the files of one segment; what was stored of it before is replaced."""
        mine = (table.c.pipeline == pipeline, table.c.run_id == run, table.c.segment == segment)
        with self._database.writing(f"readings of {pipeline}") as connection:
            connection.execute(delete(table).where(*mine))
            named = {digest(each.fields): dumps(sorted(each.fields)) for each in readings}
            _NAME.run(connection, list(named.items()))
            _APPEND.run(connection, [_values(pipeline, each) for each in readings])

    def forget(self, pipeline: str, run: str) -> None:
        """The run begins anew: what it had read is gone."""
        with self._database.writing(f"readings of {pipeline}") as connection:
            connection.execute(delete(table).where(table.c.pipeline == pipeline, table.c.run_id == run))

    def of(self, pipeline: str, *, source_id: str | None = None, run: str | None = None) -> list[Reading]:
        """The files that may hold a record, oldest first; or those of a run, in the order of its segments."""
        wanted = [table.c.pipeline == pipeline]
        wanted += [] if source_id is None else [table.c.first_id <= source_id, table.c.last_id >= source_id]
        wanted += [] if run is None else [table.c.run_id == run]
        order = (table.c.at, table.c.run_id, table.c.segment, table.c.file)
        query = select(table, projections.c.fields).join(projections, projections.c.digest == table.c.projection)
        with self._database.reading() as connection:
            found = connection.execute(query.where(*wanted).order_by(*(order if run is None else order[1:]))).all()
        return [_reading(each) for each in found]

    def sweep(self, pipeline: str, older_than: datetime) -> int:
        """Remove readings that are older; how many."""
        with self._database.writing(f"readings of {pipeline}") as connection:
            old = delete(table).where(table.c.pipeline == pipeline, table.c.at < older_than)
            return connection.execute(old).rowcount

    def name(self, fields: Sequence[str]) -> str:
        """The digest of these fields, by which `fields` finds them again."""
        found = digest(fields)
        with self._database.writing("projections") as connection:
            _NAME.run(connection, [(found, dumps(sorted(fields)))])
        return found

    def fields(self) -> dict[str, frozenset[str]]:
        """All sets of fields that were ever asked for, by their digests."""
        with self._database.reading() as connection:
            found = connection.execute(select(projections)).all()
        return {each.digest: frozenset(loads(each.fields)) for each in found}


def digest(fields: Sequence[str]) -> str:
    """16 hex digits that are equal for the same fields, in any order."""
    return blake2b(dumps(sorted(fields)).encode(), digest_size=8).hexdigest()


def _values(pipeline: str, one: Reading) -> tuple[object, ...]:
    since, until = (None, None) if one.window is None else (one.window.since_ms, one.window.until_ms)
    return (
        pipeline, one.run, one.segment, one.file, one.first_id, one.last_id, one.records, since, until,
        digest(one.fields), to_ms(one.at),
    )  # fmt: skip


def _reading(found: Row[tuple[object, ...]]) -> Reading:
    return Reading(
        run=found.run_id,
        segment=found.segment,
        file=found.file,
        first_id=found.first_id,
        last_id=found.last_id,
        records=found.records,
        window=None if found.since_ms is None else Window(found.since_ms, found.until_ms),
        fields=tuple(loads(found.fields)),
        at=found.at,
    )
