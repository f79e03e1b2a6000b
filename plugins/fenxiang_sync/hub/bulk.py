"""Statements over many rows at once: an append, an upsert, a deletion, and a look-up by ids.

PostgreSQL gets each column as one array, so that a batch is one round trip with either driver; SQLite gets the rows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Row, Table, Text
from sqlalchemy.dialects import postgresql

BATCH = 1_000
"""Rows in one statement: a round trip is worth it, and the contents of so many rows fit in memory."""

T = TypeVar("T")


def batches(rows: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


@dataclass(frozen=True)
class Append:
    """Insert rows."""

    table: Table
    columns: tuple[str, ...]

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Values of each row in the order of `columns`, moments as epoch milliseconds."""
        for batch in batches(rows):
            if connection.dialect.name == "postgresql":
                arrays = tuple(list(column) for column in zip(*batch, strict=True))
                connection.exec_driver_sql(self._over_arrays, arrays)
            else:
                connection.exec_driver_sql(self._over_rows, list(batch))

    @functools.cached_property
    def _over_rows(self) -> str:
        places = ", ".join("?" for _ in self.columns)
        return f"INSERT INTO {self.table.name} ({self._names}) VALUES ({places}) {self._on_conflict}"  # noqa: S608

    @functools.cached_property
    def _over_arrays(self) -> str:
        arrays = ", ".join(f"%s::{_sql_type(self.table, name)}[]" for name in self.columns)
        return (
            f"INSERT INTO {self.table.name} ({self._names}) "  # noqa: S608
            f"SELECT * FROM unnest({arrays}) {self._on_conflict}"
        )

    @property
    def _names(self) -> str:
        return ", ".join(self.columns)

    @property
    def _on_conflict(self) -> str:
        return ""


@dataclass(frozen=True)
class Upsert(Append):
    """Insert rows, or update the columns `update` of those whose `key` is there already: no key twice in a call."""

    key: tuple[str, ...]
    update: tuple[str, ...]

    @property
    def _on_conflict(self) -> str:
        changes = ", ".join(f"{name} = excluded.{name}" for name in self.update)
        return f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {changes}"


@dataclass(frozen=True)
class LookUp:
    """Read `columns` of the rows of one pipeline whose column `by` is one of many texts (and `where`, plain SQL)."""

    table: Table
    columns: tuple[str, ...]
    by: str
    where: str = ""

    def run(self, connection: Connection, pipeline: str, values: Sequence[str]) -> Iterator[Row[Any]]:
        for batch in batches(values):
            if connection.dialect.name == "postgresql":
                yield from connection.exec_driver_sql(self._by_array, (list(batch), pipeline)).all()
            else:
                given = msgspec.json.encode(batch).decode()
                yield from connection.exec_driver_sql(self._by_json, (pipeline, given)).all()

    @functools.cached_property
    def _by_array(self) -> str:
        # OFFSET 0 keeps one index look-up per value; without statistics the planner would read the whole pipeline.
        rows = f"{self._select} pipeline = %s AND {self.by} = given.value OFFSET 0"
        return f"SELECT found.* FROM unnest(%s::text[]) AS given (value) CROSS JOIN LATERAL ({rows}) AS found"  # noqa: S608

    @functools.cached_property
    def _by_json(self) -> str:
        return f"{self._select} pipeline = ? AND {self.by} IN (SELECT value FROM json_each(?))"  # noqa: S608

    @property
    def _select(self) -> str:
        where = f"{self.where} AND" if self.where else ""
        return f"SELECT {', '.join(self.columns)} FROM {self.table.name} WHERE {where}"  # noqa: S608


@dataclass(frozen=True)
class Delete:
    """Delete the rows that have these values in the columns of `key`, each a text."""

    table: Table
    key: tuple[str, ...]

    def run(self, connection: Connection, rows: Sequence[tuple[str, ...]]) -> None:
        """Values of each row in the order of `key`."""
        for batch in batches(rows):
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(self._by_arrays, tuple(list(column) for column in zip(*batch, strict=True)))
            else:
                connection.exec_driver_sql(self._by_rows, list(batch))

    @functools.cached_property
    def _by_rows(self) -> str:
        return f"DELETE FROM {self.table.name} WHERE {' AND '.join(f'{name} = ?' for name in self.key)}"  # noqa: S608

    @functools.cached_property
    def _by_arrays(self) -> str:
        # A list of pairs would be compared with every row of the pipeline.
        arrays = ", ".join("%s::text[]" for _ in self.key)
        same = " AND ".join(f"{self.table.name}.{name} = given.{name}" for name in self.key)
        given = f"unnest({arrays}) AS given ({', '.join(self.key)})"
        return f"DELETE FROM {self.table.name} USING {given} WHERE {same}"  # noqa: S608


def _sql_type(table: Table, name: str) -> str:
    kind = table.c[name].type
    return "text" if isinstance(kind, Text) else kind.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
