"""MySQL and MariaDB, by PyMySQL: many rows in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from zlib import crc32

from sqlalchemy import Connection, types
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect as SqlalchemyDialect

from fenxiang_sync.columns import Kind
from fenxiang_sync.targets.sql import faults, values
from fenxiang_sync.targets.sql.dialect import (
    Dialect,
    Type,
    Values,
    Writer,
    column_names,
    digits,
    fits_alike,
    is_text,
)
from fenxiang_sync.targets.sql.faults import Meaning
from fenxiang_sync.targets.sql.form import Form, SqlColumn, Varchar
from fenxiang_sync.targets.sql.values import Bind


class MySQL(Dialect):
    """MySQL and MariaDB."""

    name = "MySQL"
    longest_name = 64

    def __init__(self, dialect: SqlalchemyDialect) -> None:
        super().__init__(dialect)
        self.is_mariadb = bool(getattr(dialect, "is_mariadb", False))
        self._version: tuple[int, ...] = getattr(dialect, "server_version_info", None) or (8, 4)

    def meaning(self, error: BaseException) -> Meaning:
        return faults.of_mysql(error)

    def type_of(self, column: SqlColumn, form: Form) -> Type:
        if column is form.key and column.kind is Kind.TEXT:
            length = column.word.length if isinstance(column.word, Varchar) else form.key_length
            return mysql.VARCHAR(length, charset="utf8mb4", collation=self._collation())
        if isinstance(column.word, Varchar):
            return mysql.VARCHAR(column.word.length)
        if column.kind is Kind.DECIMAL:
            return mysql.DECIMAL(*digits(column, (65, 30)))
        if column.kind is Kind.JSON and self.is_mariadb:
            return mysql.JSON()
        return _MYSQL_TYPES[column.kind]

    def fits(self, column: SqlColumn, found: Type) -> bool:
        if column.kind is Kind.BOOLEAN and isinstance(found, types.Integer):
            return True
        if column.kind is Kind.INSTANT:
            fraction = getattr(found, "fsp", None) or 0
            return is_text(found) or (isinstance(found, types.DateTime) and fraction >= 3)
        return fits_alike(column, found, unbounded=lambda number: (number.scale or 0) >= 30)

    def bind(self, column: SqlColumn, found: Type) -> Bind:
        if column.kind is Kind.INSTANT:
            return values.moment(values.sql_moment)
        return super().bind(column, found)

    def writer(self, connection: Connection, table: str, form: Form) -> Writer:
        start, row, end = self.upsert(table, form)
        book = form.book
        key, modified, version, content = map(self.quote, (form.key.name, book.modified, book.version, book.hash))
        sums = f"COUNT(*), SUM(CRC32(CONCAT({modified}, ' ', {version}, ' ', {content})))"
        return _MultiRow(
            start=start,
            row=row,
            end=end,
            sums=f"SELECT {sums} FROM {table} WHERE {key} IN ",  # noqa: S608
            packet=int(connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one()),
        )

    def upsert(self, table: str, form: Form) -> tuple[str, str, str]:
        """The upsert: what comes before the rows, the places of one row, and what comes behind them."""
        names = [self.quote(name) for name in column_names(form)]
        book = form.book
        key, modified, version, removed = map(self.quote, (form.key.name, book.modified, book.version, book.removed))
        # MySQL wants the new row named (VALUES() is deprecated there), MariaDB does not know that.
        named = not self.is_mariadb and self._version >= (8, 0, 20)
        new = {name: f"incoming.{name}" if named else f"VALUES({name})" for name in names}
        # The ids are compared as well: any unique index of the table leads here, and to a row that is another one's.
        guard = (
            f"{table}.{key} = {new[key]} AND ({new[modified]}, {new[version]}) >= "
            f"(COALESCE({table}.{modified}, {new[modified]}), COALESCE({table}.{version}, {new[version]}))"
        )
        # Assigned from left to right, and later ones see the earlier. So what the guard reads comes last, the version
        # before the stamp: with the new version in place, the guard is still what it was.
        plain = [name for name in names if name not in (key, modified, version)]
        changes = [f"{removed} = IF({guard}, NULL, {table}.{removed})"]
        changes += [f"{name} = IF({guard}, {new[name]}, {table}.{name})" for name in (*plain, version, modified)]
        return (
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ",  # noqa: S608
            f"({', '.join(['%s'] * len(names))})",
            f"{' AS incoming' if named else ''} ON DUPLICATE KEY UPDATE {', '.join(changes)}",
        )

    def _collation(self) -> str:
        """One by which texts are equal only where they are the same, blanks at the end included."""
        if self.is_mariadb:
            return "utf8mb4_nopad_bin"
        return "utf8mb4_0900_bin" if self._version >= (8, 0, 17) else "utf8mb4_bin"


_MYSQL_TYPES: dict[Kind, Type] = {
    Kind.TEXT: mysql.LONGTEXT(),
    Kind.INTEGER: types.BigInteger(),
    Kind.BOOLEAN: types.Boolean(),
    Kind.INSTANT: mysql.DATETIME(fsp=6),
    Kind.DAY: types.Date(),
    Kind.JSON: mysql.LONGTEXT(),  # MySQL's JSON would make doubles of decimals
}


class _MultiRow(Writer):
    """INSERT of many rows in one statement, or several where they would be larger than the server takes."""

    def __init__(self, *, start: str, row: str, end: str, sums: str, packet: int) -> None:
        self._start, self._row, self._end, self._sums = start, row, end, sums
        self._room = packet - len((start + end).encode()) - 1_024

    def write(self, connection: Connection, rows: Sequence[Values]) -> int | None:
        for part in self._parts(rows):
            statement = self._start + ",".join([self._row] * len(part)) + self._end
            connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))
        return len(rows) if self._are_there(connection, rows) else None

    def _are_there(self, connection: Connection, rows: Sequence[Values]) -> bool:
        """Whether the table has every row in this version. The server counts a row that the guard kept as written, so
        it is asked; sums travel faster than a thousand rows."""
        places = f"({','.join(['%s'] * len(rows))})"
        found = connection.exec_driver_sql(self._sums + places, tuple([row[0] for row in rows])).one()
        wanted = sum([crc32(f"{row[-3]} {row[-2]} {row[-1]}".encode()) for row in rows])
        return (int(found[0]), int(found[1] or 0)) == (len(rows), wanted)

    def oversized(self, row: Values) -> str:
        if _at_most(row) <= self._room or _bytes(row) <= self._room:
            return ""
        return f"it has more than the {self._room:,} bytes that the server takes at once (max_allowed_packet)"

    def _parts(self, rows: Sequence[Values]) -> list[list[Values]]:
        parts: list[list[Values]] = [[]]
        room = self._room
        for row in rows:
            size = _at_most(row)
            if size > room and parts[-1]:
                parts.append([])
                room = self._room
            parts[-1].append(row)
            room -= size
        return parts


def _at_most(row: Values) -> int:
    """How many bytes a row is at most on its way: a character has up to four, or is escaped by one."""
    return sum([4 * len(value) + 4 if type(value) is str else 24 for value in row])


def _bytes(row: Values) -> int:
    """How many bytes a row is on its way, or a little more."""
    return sum(
        len(value.encode()) + 4 + sum(map(value.count, "\\'\"\0\n\r\x1a")) if type(value) is str else 24
        for value in row
    )
