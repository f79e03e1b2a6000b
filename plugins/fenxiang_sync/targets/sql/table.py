"""SqlTable: the declaration of a table as a target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import ClassVar

from fenxiang_sync.columns import Column
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.rows import DeletePolicy
from fenxiang_sync.targets.protocol import Reach, Sender
from fenxiang_sync.targets.sql.connect import Session
from fenxiang_sync.targets.sql.dialects import offline
from fenxiang_sync.targets.sql.form import Bookkeeping, Form, Numeric, Varchar, Word, formed
from fenxiang_sync.targets.sql.layout import Layout
from fenxiang_sync.targets.sql.schema import Schema
from fenxiang_sync.targets.sql.sender import SqlSender

_MOST_ROWS = 10_000


@dataclass(frozen=True, kw_only=True)
class SqlTable:
    """Rows go into `table` of the database that `connection` leads to: PostgreSQL, MySQL, MariaDB or SQLite.

    `table` is schema-qualified where the database has schemas (``crm.account``); with `schema`, it is the bare name,
    which may have dots then. A value at the path ``money.amount`` goes into the column ``money_amount``, or into what
    `columns` says for the path. `types` has words for the size of columns, by their names. The table is made, and
    missing columns are added, unless `create` is False. `key_length` is for MySQL and MariaDB: how many characters an
    id may have. Where several pipelines share the table, `own` says which rows are of this one, by columns and values
    (``{"tenant": "north"}``): the rows are counted, so that lost ones are found, and those of others would hide them.

    >>> SqlTable(connection="warehouse", table="crm.account").describe()
    'SQL table crm.account (connection warehouse)'
    """

    connection: str
    table: str
    schema: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, Word] = field(default_factory=dict)
    own: Mapping[str, str | int] = field(default_factory=dict)
    create: bool = True
    batch_rows: int = 1_000
    key_length: int = 128
    modified_column: str = "fx_modified_ms"
    version_column: str = "fx_version"
    hash_column: str = "fx_hash"
    removed_column: str = "fx_removed_at"
    _form: Form | None = field(default=None, init=False, repr=False, compare=False)

    upserts: ClassVar[bool] = True
    removals: ClassVar[AbstractSet[DeletePolicy]] = frozenset((DeletePolicy.FLAG, DeletePolicy.DELETE))

    def __post_init__(self) -> None:
        if found := list(self._problems()):
            raise DeclarationError("SqlTable " + "; ".join(found))
        object.__setattr__(self, "columns", dict(self.columns))
        object.__setattr__(self, "types", dict(self.types))
        object.__setattr__(self, "own", dict(self.own))

    def _problems(self) -> Iterator[str]:
        names = ("connection", "table", "modified_column", "version_column", "hash_column", "removed_column")
        for word in (*names, *([] if self.schema is None else ["schema"])):
            yield from (f"{word}={problem}" for problem in _name_problems(getattr(self, word)))
        table: object = self.table
        if isinstance(table, str) and self.schema is None and "" in _parts(table):
            yield f"table={self.table!r}: give 'table' or 'schema.table'; a name with dots needs schema= beside it"
        for word, low, high in (("batch_rows", 1, _MOST_ROWS), ("key_length", 1, 768)):
            value = getattr(self, word)
            if type(value) is not int or not low <= value <= high:
                yield f"{word}={value!r}: give a number from {low} to {high}"
        if not isinstance(self.create, bool):
            yield f"create={self.create!r}: give True or False"
        yield from self._mapping_problems()

    def _mapping_problems(self) -> Iterator[str]:
        columns: object = self.columns
        words: object = self.types
        if not isinstance(columns, Mapping):
            yield f'columns={columns!r}: give a dict of paths and column names, as in {{"money.amount": "amount"}}'
        else:
            for path, name in columns.items():
                yield from (f"columns: {path!r}: {problem}" for problem in _name_problems(name))
        own: object = self.own
        if not isinstance(own, Mapping) or not all(isinstance(value, str | int) for value in own.values()):
            yield f'own={own!r}: give a dict of columns and texts or whole numbers, as in {{"tenant": "north"}}'
        if not isinstance(words, Mapping) or not all(isinstance(word, Numeric | Varchar) for word in words.values()):
            yield f'types={self.types!r}: give a dict of columns and words, as in {{"amount": Numeric(18, 2)}}'

    @property
    def connections(self) -> Sequence[str]:
        return (self.connection,)

    def describe(self) -> str:
        name = self.table if self.schema is None else f"{self.schema}.{self.table}"
        return f"SQL table {name} (connection {self.connection})"

    def fit(self, columns: Sequence[Column], *, key: str) -> SqlTable:
        """The same table with the columns of a pipeline."""
        book = Bookkeeping(
            modified=self.modified_column,
            version=self.version_column,
            hash=self.hash_column,
            removed=self.removed_column,
        )
        form = formed(
            columns,
            key=key,
            names=self.columns,
            words=self.types,
            book=book,
            key_length=self.key_length,
            own=self.own,
        )
        fitted = copy(self)
        object.__setattr__(fitted, "_form", form)
        return fitted

    def ddl(self, database: str) -> str:
        """The statement that makes the table in ``postgresql``, ``mysql``, ``mariadb`` or ``sqlite``."""
        return self._layout().ddl(offline(database))

    @contextmanager
    def open(self, reach: Reach) -> Iterator[Sender]:
        """Make or check the table, then take rows."""
        layout = self._layout()
        with Session.open(reach.database(self.connection), reach) as session:
            found = Schema(session, layout).prepare(create=self.create)
            yield SqlSender(session, layout, found.types)

    def check(self, reach: Reach) -> None:
        """Ask the database for the table, and change nothing; raises an error where a run would fail."""
        layout = self._layout()
        with Session.open(reach.database(self.connection), reach) as session:
            Schema(session, layout).check(create=self.create)

    def _layout(self) -> Layout:
        if self._form is None:
            raise DeclarationError(
                f"{self.describe()} has no columns yet; it gets those of the Pipeline it is given to"
            )
        schema, name = _parts(self.table) if self.schema is None else (self.schema, self.table)
        return Layout(schema=schema, name=name, form=self._form)


def _parts(table: str) -> tuple[str | None, str]:
    schema, dot, name = table.rpartition(".")
    return (schema if dot else None, name) if "." not in schema else ("", "")


def _name_problems(name: object) -> Iterator[str]:
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        yield f"{name!r}: give a name"
