"""Rivals: records that gave the id of a row which another record gives, as two customers of one number do.

The ledger holds one record of each row: of two the newer version counts. When that record goes its row goes, too, and
then the row is the other's, which nobody would read again: it has not changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from fenxiang_sync.hub.bulk import Delete, LookUp, Upsert
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.sources import unlist
from fenxiang_sync.hub.tables import record
from fenxiang_sync.hub.tables import rival as table

_COLUMNS = ("pipeline", "id", "source_id")
_NOTE = Upsert(table, key=_COLUMNS, columns=_COLUMNS, update=("source_id",))
_FORGET = Delete(table, _COLUMNS)
_READ = LookUp(table, ("id", "source_id"), by="id")

Pair = tuple[str, str]
"""A row's id, and the record that gave it, too."""


class Rivals:
    """The rivals of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, pipeline: str, pairs: Iterable[Pair]) -> None:
        """Note them; what is known takes no lock."""
        wanted = set(pairs)
        if not wanted:
            return
        with self._database.reading() as connection:
            known = set(among(connection, pipeline, [row for row, _ in wanted]))
        if wanted - known:
            with self._database.writing(f"records of {pipeline}") as connection:
                note(connection, pipeline, wanted - known)

    def look_again(self, pipeline: str, *, run: str, now: datetime) -> int:
        """Let the records be found missing that once gave a row which is removed; how many there are.

        They count as not listed until they are read again: whoever compares them with the source finds them there.
        """
        gone = (
            select(table.c.id, table.c.source_id)
            .join(record, (record.c.pipeline == table.c.pipeline) & (record.c.id == table.c.id))
            .where(table.c.pipeline == pipeline, record.c.removed_at.is_not(None))
        )
        with self._database.reading() as connection:
            pairs = [(each.id, each.source_id) for each in connection.execute(gone)]
        if not pairs:
            return 0
        found = unlist(self._database, pipeline, {source_id for _, source_id in pairs}, run, now)
        with self._database.writing(f"records of {pipeline}") as connection:
            _FORGET.run(connection, [(pipeline, *pair) for pair in pairs])
        return found


def note(connection: Connection, pipeline: str, pairs: Iterable[Pair]) -> None:
    """Note them in a transaction that has the lock of the pipeline's records."""
    _NOTE.run(connection, [(pipeline, row, source_id) for row, source_id in sorted(set(pairs))])


def are_there(connection: Connection, pipeline: str) -> bool:
    """Whether any are noted, of any row."""
    return connection.execute(select(table.c.id).where(table.c.pipeline == pipeline).limit(1)).first() is not None


def among(connection: Connection, pipeline: str, rows: Sequence[str]) -> Iterator[Pair]:
    """Those that are noted of rows with these ids."""
    return ((each.id, each.source_id) for each in _READ.run(connection, pipeline, rows))
