"""Layout: a table by its name and its form, and the statements that make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Table, types
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CreateColumn, CreateTable
from sqlalchemy.sql import quoted_name

from fenxiang_sync.targets.sql.dialect import Dialect, Type
from fenxiang_sync.targets.sql.form import Form

HASH_LENGTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a declaration asks for."""

    schema: str | None
    name: str
    form: Form

    @property
    def said(self) -> str:
        """Its name in a message."""
        return f"{self.schema}.{self.name}" if self.schema else self.name

    @property
    def names(self) -> list[str]:
        """The names of all columns."""
        return [*(column.name for column in self.form.columns), *self.form.book]

    def quoted(self, dialect: Dialect) -> str:
        """Its name in SQL with values beside it."""
        return ".".join(dialect.quote(part) for part in (self.schema, self.name) if part)

    def lookup(self, kinds: Mapping[str, Type]) -> Table:
        """The columns that rows are looked up and counted by, with the types that they have at the table."""
        names = dict.fromkeys((self.form.key.name, *self.form.book, *self.form.own))
        return self._table(*(Column(_quoted(name), kinds[name]) for name in names))

    def ddl(self, dialect: Dialect) -> str:
        """The statement that makes the table."""
        form = self.form
        columns: list[Column[Any]] = [
            Column(
                _quoted(column.name),
                dialect.type_of(column, form),
                nullable=not column.required,
                primary_key=column is form.key,
                autoincrement=False,
            )
            for column in form.columns
        ]
        return compiled(CreateTable(self._table(*columns, *self._book(dialect, needed=True))), dialect).strip()

    def alters(self, dialect: Dialect, lacking: Sequence[str]) -> list[str]:
        """The statements that add columns. Rows that are there have no value yet, so none can be required."""
        form = self.form
        columns: dict[str, Column[Any]] = {
            column.name: Column(_quoted(column.name), dialect.type_of(column, form)) for column in form.columns
        }
        columns |= {column.name: column for column in self._book(dialect, needed=False)}
        start = f"ALTER TABLE {self.quoted(dialect)} ADD COLUMN ".replace("%%", "%")
        return [start + compiled(CreateColumn(columns[name]), dialect) for name in lacking]

    def _book(self, dialect: Dialect, *, needed: bool) -> list[Column[Any]]:
        book = self.form.book
        number: Type = BigInteger()
        hashed: Type = types.Text()
        since: Type = postgresql.TIMESTAMP(timezone=True)
        if dialect.name == "MySQL":
            hashed, since = mysql.VARCHAR(HASH_LENGTH), mysql.DATETIME(fsp=6)
        elif dialect.name == "SQLite":
            number, since = types.Integer(), types.Text()
        return [
            Column(_quoted(book.modified), number, nullable=not needed),
            Column(_quoted(book.version), number, nullable=not needed),
            Column(_quoted(book.hash), hashed, nullable=not needed),
            Column(_quoted(book.removed), since),
        ]

    def _table(self, *columns: Column[Any]) -> Table:
        schema = None if self.schema is None else _quoted(self.schema)
        words: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}
        return Table(_quoted(self.name), MetaData(), *columns, schema=schema, **words)


def compiled(element: Any, dialect: Dialect) -> str:
    """SQL that is run without values beside it, in which a % is a %."""
    return str(element.compile(dialect=dialect.sqlalchemy)).replace("%%", "%")


def _quoted(name: str) -> quoted_name:
    """A name that stands in quotes wherever it is written."""
    return quoted_name(name, quote=True)
