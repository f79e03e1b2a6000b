"""Told: what the target told of rows that it took, beside the ledger's row of each.

Written in the transaction that settles the row, and only where something was told. It stays while the target holds
the row, also where a later delivery tells nothing: the row's id there is the same. It goes with the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete

from fenxiang_sync.hub.bulk import LookUp, Upsert
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import clean, dumps, loads
from fenxiang_sync.hub.tables import told as table
from fenxiang_sync.window import from_ms, to_ms

VALUE_CHARACTERS = 1_000

_STORE = Upsert(table, key=("pipeline", "id"), columns=("pipeline", "id", "at", "said"), update=("at", "said"))
_READ = LookUp(table, ("id", "at", "said"), by="id")
_FORGET = delete(table).where(table.c.pipeline == bindparam("of"), table.c.id == bindparam("row"))


class Said(NamedTuple):
    """What the target told of one row, by name, and when."""

    words: dict[str, str | int]
    at: datetime


class Tellings:
    """What was told of the rows of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, pipeline: str, ids: Sequence[str]) -> dict[str, Said]:
        """What was told of these rows, by their ids."""
        with self._database.reading() as connection:
            return dict(read(connection, pipeline, ids))

    def store(self, pipeline: str, said: Mapping[str, Mapping[str, str | int]], now: datetime) -> None:
        """Note what the target told of rows when it was asked for them, by their ids."""
        with self._database.writing(f"records of {pipeline}") as connection:
            store(connection, pipeline, said, to_ms(now))


def read(connection: Connection, pipeline: str, ids: Sequence[str]) -> Iterator[tuple[str, Said]]:
    """What was told of these rows, as the transaction sees it."""
    for row_id, at, said in _READ.run(connection, pipeline, ids):
        yield row_id, Said(loads(said), from_ms(at))


def store(connection: Connection, pipeline: str, said: Mapping[str, Mapping[str, str | int]], now_ms: int) -> None:
    """Note what was told of rows; those of which nothing was told keep what they have."""
    _STORE.run(connection, [(pipeline, each, now_ms, dumps(_kept(words))) for each, words in said.items() if words])


def forget(connection: Connection, pipeline: str, ids: Sequence[str]) -> None:
    """The target does not hold these rows any more."""
    if ids:
        connection.execute(_FORGET, [{"of": pipeline, "row": each} for each in ids])


def _kept(words: Mapping[str, Any]) -> dict[str, str | int]:
    return {clean(name): clean(v, VALUE_CHARACTERS) if isinstance(v, str) else v for name, v in words.items()}
