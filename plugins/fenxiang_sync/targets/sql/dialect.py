"""Dialect: what a column is called at a database, and how the database takes many rows at once.

The same guard everywhere: a row is replaced only by one of a version that is at least as new. It is in the statement
itself, so that two loads at once cannot pass it between looking and writing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from sqlalchemy import Connection, types
from sqlalchemy.engine import Dialect as SqlalchemyDialect
from sqlalchemy.types import TypeEngine

from fenxiang_sync.columns import Kind
from fenxiang_sync.targets.sql import values
from fenxiang_sync.targets.sql.faults import Meaning
from fenxiang_sync.targets.sql.form import Form, Numeric, SqlColumn, Varchar
from fenxiang_sync.targets.sql.values import Bind

Type = TypeEngine[Any]
Values = tuple[Any, ...]
"""What the driver is given for one row: the key, the columns, stamp, version, hash; in the order of `column_names`."""

LOCK_WAIT_S = 60
"""How long a lock is waited for; by then somebody's transaction hangs."""
ANSWER_WAIT_S = 600
"""How long a statement may take: counting a large table takes minutes."""
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
        self.driver_error = getattr(dialect.dbapi, "Error", _NeverError)

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

    def begin(self, connection: Connection) -> None:  # noqa: B027 - most begin with nothing
        """What each transaction begins with."""

    def bind(self, column: SqlColumn, found: Type) -> Bind:
        """How a value that is not null is given to the driver for a column of the type that was found."""
        if column.kind is Kind.TEXT:
            length = getattr(found, "length", None)
            return values.text(length if self.enforces_length and not isinstance(found, types.Enum) else None)
        if column.kind is Kind.DECIMAL:
            return self.exact(column, found)
        if column.kind is Kind.INSTANT:
            return values.moment(values.iso_moment)
        return values.PLAIN[column.kind]

    def quote(self, name: str) -> str:
        """A name as SQL with values beside it has it."""
        return self.sqlalchemy.identifier_preparer.quote_identifier(name)

    def width(self, name: str) -> int:
        """How long a name is, as this database counts."""
        return len(name)

    def exact(self, column: SqlColumn, found: Type) -> Bind:  # noqa: ARG002 - SQLite goes by the declaration
        if isinstance(found, types.Numeric):
            return values.exact(found.precision, found.scale)
        return values.exact(None, None)

    def on_conflict(self, form: Form) -> str:
        """The end of the upsert at PostgreSQL and SQLite; the row that is there goes by the name ``held``.

        Rows that somebody else put there have no version, and count as older.
        """
        modified, version = self.quote(form.book.modified), self.quote(form.book.version)
        changed = [self.quote(name) for name in column_names(form) if name != form.key.name]
        changes = ", ".join(f"{name} = excluded.{name}" for name in changed)
        return (
            f"ON CONFLICT ({self.quote(form.key.name)}) "
            f"DO UPDATE SET {changes}, {self.quote(form.book.removed)} = NULL "
            f"WHERE (excluded.{modified}, excluded.{version}) >= "
            f"(COALESCE(held.{modified}, excluded.{modified}), COALESCE(held.{version}, excluded.{version}))"
        )

    def names(self, form: Form) -> str:
        return ", ".join(map(self.quote, column_names(form)))


class _NeverError(Exception):
    """What a dialect without a driver raises: nothing."""


def digits(column: SqlColumn, unbounded: tuple[int | None, int | None]) -> tuple[int | None, int | None]:
    """Digits and decimals of a decimal column."""
    if isinstance(column.word, Numeric):
        return column.word.precision, column.word.scale
    if column.scale is None or column.scale > _MANY_DECIMALS:
        return unbounded
    return _WIDEST, column.scale


def is_text(found: Type) -> bool:
    return isinstance(found, types.String) and not isinstance(found, types.Enum)


def fits_alike(column: SqlColumn, found: Type, *, unbounded: Callable[[types.Numeric[Any]], bool]) -> bool:
    """Whether a column of the type that was found holds what the declaration may give, where databases agree.

    `unbounded` says whether a column of numbers takes any.
    """
    kind, word = column.kind, column.word
    if kind is Kind.TEXT:
        length = getattr(found, "length", None)
        wide = not isinstance(word, Varchar) or length is None or length >= word.length
        return isinstance(found, types.String) and wide
    if is_text(found):
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


def _holds_number(
    column: SqlColumn, found: types.Numeric[Any], *, unbounded: Callable[[types.Numeric[Any]], bool]
) -> bool:
    if column.kind not in (Kind.INTEGER, Kind.DECIMAL):
        return False
    scale = found.scale or 0
    room = None if found.precision is None else found.precision - scale
    if column.kind is Kind.INTEGER:
        return room is None or room >= 19
    if isinstance(column.word, Numeric):
        wanted = column.word
        return room is None or (scale >= wanted.scale and room >= wanted.precision - wanted.scale)
    return unbounded(found) or (column.scale is not None and scale >= column.scale)
