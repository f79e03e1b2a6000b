"""PostgreSQL, by psycopg2 or psycopg: COPY into a temporary table, and one upsert from there."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, types
from sqlalchemy.dialects import postgresql

from fenxiang_sync.columns import Kind
from fenxiang_sync.targets.sql import faults
from fenxiang_sync.targets.sql.dialect import (
    ANSWER_WAIT_S,
    LOCK_WAIT_S,
    Dialect,
    Type,
    Values,
    Writer,
    digits,
    fits_alike,
    is_text,
    run_plain,
)
from fenxiang_sync.targets.sql.faults import Meaning
from fenxiang_sync.targets.sql.form import Form, SqlColumn, Varchar


class PostgreSQL(Dialect):
    name = "PostgreSQL"
    longest_name = 63

    def meaning(self, error: BaseException) -> Meaning:
        return faults.of_postgresql(error)

    def width(self, name: str) -> int:
        return len(name.encode())

    def type_of(self, column: SqlColumn, form: Form) -> Type:  # noqa: ARG002 - ids have no length here
        if isinstance(column.word, Varchar):
            return postgresql.VARCHAR(column.word.length)
        if column.kind is Kind.DECIMAL:
            precision, scale = digits(column, (None, None))
            return postgresql.NUMERIC(precision, scale)
        return _PG_TYPES[column.kind]

    def fits(self, column: SqlColumn, found: Type) -> bool:
        if isinstance(found, types.Enum):
            return False
        if column.kind is Kind.INSTANT:
            zoned = isinstance(found, types.TIMESTAMP) and found.timezone
            precision = getattr(found, "precision", None)
            return is_text(found) or (zoned and (precision is None or precision >= 3))
        return fits_alike(column, found, unbounded=lambda number: number.precision is None)

    def begin(self, connection: Connection) -> None:
        # Constraints that wait for the end would refuse the whole batch there, not the row. LOCAL: a pooler may give
        # the next transaction to another connection.
        run_plain(
            connection,
            f"SET LOCAL lock_timeout = '{LOCK_WAIT_S}s'; SET LOCAL statement_timeout = '{ANSWER_WAIT_S}s'; "
            "SET LOCAL TimeZone = 'UTC'; "
            "SET LOCAL DateStyle = 'ISO'; SET LOCAL client_min_messages = 'warning'; SET CONSTRAINTS ALL IMMEDIATE",
        )

    def writer(self, connection: Connection, table: str, form: Form) -> Writer:  # noqa: ARG002 - nothing to ask
        # As wide as can be: what a column holds is checked before, and by the column.
        kinds: list[Type] = [_PG_TYPES.get(column.kind, postgresql.NUMERIC()) for column in form.columns]
        kinds += [types.BigInteger(), types.BigInteger(), types.Text()]
        made = ", ".join(f"c{place} {kind.compile(self.sqlalchemy)}" for place, kind in enumerate(kinds))
        parts = ", ".join(f"c{place}" for place in range(len(kinds)))
        upsert = (
            f"INSERT INTO {table} AS held ({self.names(form)}) SELECT {parts} FROM pg_temp.fx_batch "  # noqa: S608
            f"{self.on_conflict(form)}"
        )
        make = f"DROP TABLE IF EXISTS pg_temp.fx_batch; CREATE TEMPORARY TABLE fx_batch ({made}) ON COMMIT DROP"
        return _Copy(make, upsert.replace("%%", "%"))  # nothing is filled in there, so no % stands for itself twice


_PG_TYPES: dict[Kind, Type] = {
    Kind.TEXT: types.Text(),
    Kind.INTEGER: types.BigInteger(),
    Kind.BOOLEAN: types.Boolean(),
    Kind.INSTANT: postgresql.TIMESTAMP(timezone=True),
    Kind.DAY: types.Date(),
    Kind.JSON: postgresql.JSONB(),
}


class _Copy(Writer):
    """COPY into a temporary table, then one statement into the real one."""

    def __init__(self, make: str, upsert: str) -> None:
        self._make = make
        self._upsert = upsert

    def write(self, connection: Connection, rows: Sequence[Values]) -> int | None:
        data = "".join([_line(row) for row in rows])
        cursor: Any = connection.connection.cursor()
        with cursor:
            cursor.execute(self._make)
            _copy(cursor, "COPY pg_temp.fx_batch FROM STDIN", data)
            cursor.execute(self._upsert)
            return int(cursor.rowcount)


_SPECIAL = re.compile(r"[\\\n\r\t]")
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def _line(row: Values) -> str:
    return "\t".join(["\\N" if value is None else _field(value) for value in row]) + "\n"


def _field(value: Any) -> str:
    """A value in COPY's text format."""
    if type(value) is str:
        return value.translate(_ESCAPES) if _SPECIAL.search(value) else value
    return str(value)


def _copy(cursor: Any, statement: str, data: str) -> None:
    if hasattr(cursor, "copy_expert"):  # psycopg2
        cursor.copy_expert(statement, io.StringIO(data))
        return
    with cursor.copy(statement) as copy:
        copy.write(data)
