"""Dialects: what a column is called at each database, and how it takes many rows at once.

The same guard everywhere: a row is replaced only by one of a version that is at least as new. It is in the statement
itself, so that two loads at once cannot pass it between looking and writing.
"""

from __future__ import annotations

import io
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar
from zlib import crc32

from sqlalchemy import Connection, types
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Dialect as SqlalchemyDialect
from sqlalchemy.types import TypeEngine

from fenxiang_sync.columns import Kind
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.targets.sql import faults, values
from fenxiang_sync.targets.sql.faults import Meaning
from fenxiang_sync.targets.sql.form import Form, Numeric, SqlColumn, Varchar
from fenxiang_sync.targets.sql.values import Bind

Type = TypeEngine[Any]
Values = tuple[Any, ...]
"""What the driver is given for one row: the key, the columns, stamp, version, hash; in the order of `column_names`."""

_WIDEST = 38
"""Digits of a decimal column by default: what every tool reads."""
_MANY_DECIMALS = 20


def run_plain(connection: Connection, sql: str) -> None:
    """Run SQL that has no values beside it, so that a % in it is a %."""
    connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def column_names(form: Form) -> list[str]:
    """The columns that a row is written with, in the order of its values; that it was removed is not among them."""
    return [*(column.name for column in form.columns), form.book.modified, form.book.version, form.book.hash]


class Writer(ABC):
    """The upsert of one table."""

    @abstractmethod
    def write(self, connection: Connection, rows: Sequence[Values]) -> int | None:
        """Write rows, no key twice; how many were taken, None where the database does not say."""

    def oversized(self, row: Values) -> str:  # noqa: ARG002 - most take what memory holds
        """Why a row is too large to be sent at all; empty where it is not."""
        return ""


class Dialect(ABC):
    """One kind of database."""

    name: ClassVar[str]
    longest_name: ClassVar[int]
    enforces_length: ClassVar[bool] = True
    driver_error: type[Exception]

    def __init__(self, dialect: SqlalchemyDialect) -> None:
        self.sqlalchemy = dialect
        self.driver_error = getattr(dialect.dbapi, "Error", _Never)

    @abstractmethod
    def meaning(self, error: BaseException) -> Meaning:
        """What an error of this database means."""

    @abstractmethod
    def type_of(self, column: SqlColumn, form: Form) -> Type:
        """The type that a column is made with."""

    @abstractmethod
    def fits(self, column: SqlColumn, found: Type) -> bool:
        """Whether the type that a column has at the table holds all that the declaration may give."""

    @abstractmethod
    def writer(self, connection: Connection, table: str, form: Form) -> Writer:
        """How rows get into the table, whose quoted name is `table`."""

    def begin(self, connection: Connection) -> None:
        """What each transaction begins with."""

    def bind(self, column: SqlColumn, found: Type) -> Bind:
        """How a value that is not null is given to the driver for a column of the type that was found."""
        if column.kind is Kind.TEXT:
            length = getattr(found, "length", None)
            return values.text(length if self.enforces_length and not isinstance(found, types.Enum) else None)
        if column.kind is Kind.DECIMAL:
            return self._exact(column, found)
        if column.kind is Kind.INSTANT:
            return values.moment(values.iso_moment)
        return values.PLAIN[column.kind]

    def quote(self, name: str) -> str:
        """A name as SQL with values beside it has it."""
        return self.sqlalchemy.identifier_preparer.quote_identifier(name)

    def width(self, name: str) -> int:
        """How long a name is, as this database counts."""
        return len(name)

    def _exact(self, column: SqlColumn, found: Type) -> Bind:  # noqa: ARG002 - SQLite goes by the declaration
        if isinstance(found, types.Numeric):
            return values.exact(found.precision, found.scale)
        return values.exact(None, None)

    def _guard(self, form: Form, incoming: str, held: str) -> str:
        """Whether what comes is at least as new as what is there; rows that somebody else put there count as older."""
        modified, version = self.quote(form.book.modified), self.quote(form.book.version)
        return (
            f"({incoming}.{modified}, {incoming}.{version}) >= "
            f"(COALESCE({held}.{modified}, {incoming}.{modified}), COALESCE({held}.{version}, {incoming}.{version}))"
        )

    def _on_conflict(self, form: Form) -> str:
        """The end of the upsert, as PostgreSQL and SQLite have it."""
        changed = [name for name in column_names(form) if name != form.key.name]
        changes = ", ".join(f"{self.quote(name)} = excluded.{self.quote(name)}" for name in changed)
        return (
            f"ON CONFLICT ({self.quote(form.key.name)}) DO UPDATE SET {changes}, "
            f"{self.quote(form.book.removed)} = NULL WHERE {self._guard(form, 'excluded', 'held')}"
        )

    def _names(self, form: Form) -> str:
        return ", ".join(map(self.quote, column_names(form)))


class _Never(Exception):
    """What a dialect without a driver raises: nothing."""


def dialect_of(dialect: SqlalchemyDialect) -> Dialect:
    """Ours for one of SQLAlchemy's."""
    return _DIALECTS[dialect.name](dialect)


def offline(database: str) -> Dialect:
    """The dialect of a database by its name, for text alone."""
    made = {"postgresql": postgresql.dialect, "mysql": mysql.dialect, "mariadb": mysql.dialect, "sqlite": sqlite.dialect}
    if database not in made:
        raise DeclarationError(f"{database!r} is no database of SqlTable; there are {', '.join(made)}")
    dialect = made[database]()  # type: ignore[no-untyped-call]
    if database == "mariadb":
        dialect.is_mariadb = True
    return dialect_of(dialect)


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
            precision, scale = _digits(column, (None, None))
            return postgresql.NUMERIC(precision, scale)
        return _PG_TYPES[column.kind]

    def fits(self, column: SqlColumn, found: Type) -> bool:
        if isinstance(found, types.Enum):
            return False
        if column.kind is Kind.INSTANT:
            zoned = isinstance(found, types.TIMESTAMP) and found.timezone
            precision = getattr(found, "precision", None)
            return _is_text(found) or (zoned and (precision is None or precision >= 3))
        return _fits(column, found, unbounded=lambda number: number.precision is None)

    def begin(self, connection: Connection) -> None:
        # Constraints that wait for the end would refuse the whole batch there, not the row. LOCAL: a pooler may give
        # the next transaction to another connection.
        run_plain(
            connection,
            "SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '600s'; SET LOCAL TimeZone = 'UTC'; "
            "SET LOCAL DateStyle = 'ISO'; SET LOCAL client_min_messages = 'warning'; SET CONSTRAINTS ALL IMMEDIATE",
        )

    def writer(self, connection: Connection, table: str, form: Form) -> Writer:  # noqa: ARG002 - nothing to ask
        kinds = [self.type_of(column, form) for column in form.columns] + [postgresql.BIGINT()] * 2 + [types.Text()]
        made = ", ".join(f"c{place} {kind.compile(self.sqlalchemy)}" for place, kind in enumerate(kinds))
        parts = ", ".join(f"c{place}" for place in range(len(kinds)))
        upsert = (
            f"INSERT INTO {table} AS held ({self._names(form)}) SELECT {parts} FROM pg_temp.fx_batch "  # noqa: S608
            f"{self._on_conflict(form)}"
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
        with connection.connection.cursor() as cursor:
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
            return mysql.DECIMAL(*_digits(column, (65, 30)))
        if column.kind is Kind.JSON and self.is_mariadb:
            return mysql.JSON()
        return _MYSQL_TYPES[column.kind]

    def fits(self, column: SqlColumn, found: Type) -> bool:
        if column.kind is Kind.BOOLEAN and isinstance(found, types.Integer):
            return True
        if column.kind is Kind.INSTANT:
            fraction = getattr(found, "fsp", None) or 0
            return _is_text(found) or (isinstance(found, types.DateTime) and fraction >= 3)
        return _fits(column, found, unbounded=lambda number: (number.scale or 0) >= 30)

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
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ",
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
        self._room = packet - 10 * (len(start) + len(end)) - 1_024

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
        len(value.encode()) + 4 + sum(map(value.count, "\\'\"\0\n\r\x1a")) if type(value) is str else 24 for value in row
    )


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
            return isinstance(found, types.Integer | types.Boolean) or (column.kind is Kind.INTEGER and _is_text(found))
        # Anything but a text column has an affinity that makes a float of what looks like a number.
        dated = isinstance(found, types.DateTime | types.Date) and column.kind in (Kind.INSTANT, Kind.DAY)
        return _is_text(found) or dated

    def writer(self, connection: Connection, table: str, form: Form) -> Writer:  # noqa: ARG002 - nothing to ask
        places = ", ".join("?" for _ in column_names(form))
        return _Rows(
            f"INSERT INTO {table} AS held ({self._names(form)}) VALUES ({places}) {self._on_conflict(form)}"  # noqa: S608
        )

    def _exact(self, column: SqlColumn, found: Type) -> Bind:  # noqa: ARG002 - SQLite keeps what it is given
        return values.exact(1_000, column.scale) if column.scale is not None else values.exact(None, None)


class _Rows(Writer):
    """One statement, run for each row."""

    def __init__(self, upsert: str) -> None:
        self._upsert = upsert

    def write(self, connection: Connection, rows: Sequence[Values]) -> int | None:
        return connection.exec_driver_sql(self._upsert, list(rows)).rowcount


_DIALECTS: dict[str, type[Dialect]] = {
    "postgresql": PostgreSQL,
    "mysql": MySQL,
    "mariadb": MySQL,
    "sqlite": SQLite,
}


def _digits(column: SqlColumn, unbounded: tuple[int | None, int | None]) -> tuple[int | None, int | None]:
    """Digits and decimals of a decimal column."""
    if isinstance(column.word, Numeric):
        return column.word.precision, column.word.scale
    if column.scale is None or column.scale > _MANY_DECIMALS:
        return unbounded
    return _WIDEST, column.scale


def _is_text(found: Type) -> bool:
    return isinstance(found, types.String) and not isinstance(found, types.Enum)


def _fits(column: SqlColumn, found: Type, *, unbounded: Any) -> bool:
    kind, word = column.kind, column.word
    if kind is Kind.TEXT:
        length = getattr(found, "length", None)
        wide = not isinstance(word, Varchar) or length is None or length >= word.length
        return isinstance(found, types.String) and wide
    if _is_text(found):
        return getattr(found, "length", None) is None
    if isinstance(found, types.Numeric) and not isinstance(found, types.Float):
        return _holds_number(column, found, unbounded=unbounded)
    alike: dict[Kind, type[Any]] = {
        Kind.INTEGER: types.BigInteger,
        Kind.BOOLEAN: types.Boolean,
        Kind.DAY: types.Date,
        Kind.JSON: types.JSON,
    }
    return kind in alike and isinstance(found, alike[kind])


def _holds_number(column: SqlColumn, found: types.Numeric[Any], *, unbounded: Any) -> bool:
    if column.kind not in (Kind.INTEGER, Kind.DECIMAL):
        return False
    scale = found.scale or 0
    room = None if found.precision is None else found.precision - scale
    if column.kind is Kind.INTEGER:
        return room is None or room >= 19
    if isinstance(column.word, Numeric):
        wanted = column.word
        return room is None or (scale >= wanted.scale and room >= wanted.precision - wanted.scale)
    return bool(unbounded(found)) or (column.scale is not None and scale >= column.scale)
