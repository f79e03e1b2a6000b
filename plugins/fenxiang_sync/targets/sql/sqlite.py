"""SQLite, by Python's own driver. Only columns of type TEXT keep what they are given: any other makes a float of what
looks like a number."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, types

from fenxiang_sync.columns import Kind
from fenxiang_sync.targets.sql import faults, values
from fenxiang_sync.targets.sql.dialect import Dialect, Type, Values, Writer, column_names, is_text
from fenxiang_sync.targets.sql.faults import Meaning
from fenxiang_sync.targets.sql.form import Form, SqlColumn
from fenxiang_sync.targets.sql.values import Bind


class SQLite(Dialect):
    name = "SQLite"
    longest_name = 1_000
    enforces_length = False

    def meaning(self, error: BaseException) -> Meaning:
        return faults.of_sqlite(error)

    def type_of(self, column: SqlColumn, form: Form) -> Type:  # noqa: ARG002 - ids have no length here
        return types.Integer() if column.kind in (Kind.INTEGER, Kind.BOOLEAN) else types.Text()

    def fits(self, column: SqlColumn, found: Type) -> bool:
        if column.kind in (Kind.INTEGER, Kind.BOOLEAN):
            return isinstance(found, types.Integer | types.Boolean) or (column.kind is Kind.INTEGER and is_text(found))
        # Anything but a text column has an affinity that makes a float of what looks like a number.
        dated = isinstance(found, types.DateTime | types.Date) and column.kind in (Kind.INSTANT, Kind.DAY)
        return is_text(found) or dated

    def writer(self, connection: Connection, table: str, form: Form) -> Writer:  # noqa: ARG002 - nothing to ask
        places = ", ".join("?" for _ in column_names(form))
        return _Rows(
            f"INSERT INTO {table} AS held ({self.names(form)}) VALUES ({places}) {self.on_conflict(form)}"  # noqa: S608
        )

    def exact(self, column: SqlColumn, found: Type) -> Bind:  # noqa: ARG002 - SQLite keeps what it is given
        return values.exact(1_000, column.scale) if column.scale is not None else values.exact(None, None)


class _Rows(Writer):
    """One statement, run for each row."""

    def __init__(self, upsert: str) -> None:
        self._upsert = upsert

    def write(self, connection: Connection, rows: Sequence[Values]) -> int | None:
        return connection.exec_driver_sql(self._upsert, list(rows)).rowcount
