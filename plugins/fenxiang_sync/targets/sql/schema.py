"""Layout: the table that a form asks for; it is made, widened, or found wrong with a sentence and the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, inspect, types
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.schema import CreateColumn, CreateTable
from sqlalchemy.sql import quoted_name

from fenxiang_sync.columns import Kind
from fenxiang_sync.errors import FenxiangSyncError, SetupError, TransientError
from fenxiang_sync.targets.sql.connect import Session
from fenxiang_sync.targets.sql.dialects import Dialect, Type, run_plain
from fenxiang_sync.targets.sql.faults import said_by
from fenxiang_sync.targets.sql.form import Form, SqlColumn

HASH_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Found:
    """What the database says of a table: its columns by name, and the sets of columns that are unique."""

    columns: Mapping[str, Mapping[str, Any]]
    unique: frozenset[frozenset[str]]
    collation: str | None

    def type_of(self, name: str) -> Type:
        found: Type = self.columns[name]["type"]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A table by its name and its form."""

    schema: str | None
    name: str
    form: Form

    @property
    def said(self) -> str:
        """Its name in a message."""
        return f"{self.schema}.{self.name}" if self.schema else self.name

    def prepare(self, session: Session, *, create: bool) -> Found:
        """Make the table, or add what it lacks, and look at it; raises `SetupError` where it cannot take the rows."""
        self._check_names(session.kind)
        found = session.transact(self._look)
        if found is None:
            self._make(session, create=create)
        elif lacking := self._lacking(found):
            self._widen(session, lacking, create=create)
        else:
            self._check(session, found)
            return found
        found = session.transact(self._look)
        if found is None:
            raise SetupError(f"Table {self.said} of the {session.name} is gone again; does somebody drop it?")
        self._check(session, found)
        return found

    def check(self, session: Session, *, create: bool) -> None:
        """Look at the table, and change nothing."""
        self._check_names(session.kind)
        found = session.transact(self._look)
        if found is None:
            if not create:
                raise self._absent(session)
            return
        lacking = self._lacking(found)
        if lacking and not create:
            raise self._too_few(session, lacking, "create=False leaves that to you")
        self._check(session, found)

    def table(self, dialect: Dialect) -> Table:
        """The table as it is made."""
        form = self.form
        made = [
            Column(_quoted(column.name), dialect.type_of(column, form), nullable=not column.required, primary_key=column is form.key,
                   autoincrement=False)
            for column in form.columns
        ]  # fmt: skip
        return self._table(*made, *self._book(dialect, needed=True))

    def lookup(self, found: Found) -> Table:
        """The columns that rows are looked up by, with the types that they have at the table."""
        form = self.form
        names = [form.key.name, *form.book]
        return self._table(*(Column(_quoted(name), found.type_of(name)) for name in names))

    def _table(self, *columns: Column[Any]) -> Table:
        schema = None if self.schema is None else _quoted(self.schema)
        options = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}
        return Table(_quoted(self.name), MetaData(), *columns, schema=schema, **options)  # type: ignore[arg-type]

    def quoted(self, dialect: Dialect) -> str:
        """Its name in SQL."""
        return ".".join(dialect.quote(part) for part in (self.schema, self.name) if part)

    def _book(self, dialect: Dialect, *, needed: bool) -> list[Column[Any]]:
        book = self.form.book
        since: Type = postgresql.TIMESTAMP(timezone=True)
        if dialect.name != "PostgreSQL":
            since = mysql.DATETIME(fsp=6) if dialect.name == "MySQL" else types.Text()
        hashed: Type = mysql.VARCHAR(HASH_LENGTH) if dialect.name == "MySQL" else types.Text()
        number: Type = types.Integer() if dialect.name == "SQLite" else BigInteger()
        return [
            Column(_quoted(book.modified), number, nullable=not needed),
            Column(_quoted(book.version), number, nullable=not needed),
            Column(_quoted(book.hash), hashed, nullable=not needed),
            Column(_quoted(book.removed), since, nullable=True),
        ]

    def _look(self, connection: Connection) -> Found | None:
        inspector = inspect(connection)
        try:
            columns = inspector.get_columns(self.name, schema=self.schema)
        except NoSuchTableError:
            return None
        if not columns:  # SQLite's answer for a table that is not there
            return None
        keys = [inspector.get_pk_constraint(self.name, schema=self.schema)["constrained_columns"]]
        keys += [each["column_names"] for each in inspector.get_unique_constraints(self.name, schema=self.schema)]
        keys += [
            each["column_names"]
            for each in inspector.get_indexes(self.name, schema=self.schema)
            if each["unique"] and not (each.get("dialect_options") or {}).get("postgresql_where")
        ]
        spell = partial(self._spelled, connection.dialect.name)
        return Found(
            {spell(column["name"]): column for column in columns},
            frozenset(frozenset(map(spell, key)) for key in keys if None not in key),
            self._collation(connection) if connection.dialect.name in ("mysql", "mariadb") else None,
        )

    def _spelled(self, database: str, found: str) -> str:
        """A name of the table as the form has it, where the database does not tell the two apart."""
        if database == "postgresql":
            return found
        if database != "sqlite":
            found = found.replace("``", "`")  # SQLAlchemy leaves quotes within a name doubled
        return next((name for name in self._names() if name.lower() == found.lower()), found)

    def _collation(self, connection: Connection) -> str | None:
        row = connection.exec_driver_sql(
            "SELECT COLLATION_NAME FROM information_schema.COLUMNS "
            "WHERE TABLE_SCHEMA = COALESCE(%s, DATABASE()) AND TABLE_NAME = %s AND COLUMN_NAME = %s",
            (self.schema, self.name, self.form.key.name),
        ).one_or_none()
        return None if row is None else row[0]

    def _make(self, session: Session, *, create: bool) -> None:
        if not create:
            raise self._absent(session)
        ddl = statement(self, session.kind)
        self._run(session, [ddl], lambda found: found is not None, f"Table {self.said} is not there")

    def _widen(self, session: Session, lacking: list[str], *, create: bool) -> None:
        if not create:
            raise self._too_few(session, lacking, "create=False leaves that to you")
        self._run(
            session,
            self._alters(session.kind, lacking),
            lambda found: found is not None and not self._lacking(found),
            f"Table {self.said} lacks the columns {', '.join(map(repr, lacking))}",
        )

    def _run(self, session: Session, ddl: list[str], done: Callable[[Found | None], bool], lacks: str) -> None:
        """Run each statement by itself. Another task may do the same just now: what counts is how the table is then."""
        failed: FenxiangSyncError | None = None
        for sql in ddl:
            try:
                session.transact(partial(run_plain, sql=sql))
            except FenxiangSyncError as error:
                failed = failed or error
        if failed is None or done(session.transact(self._look)):
            return
        if isinstance(failed, TransientError):
            raise failed
        said = said_by(failed.__cause__) if failed.__cause__ else str(failed)
        raise SetupError(
            f"{lacks} in the {session.name}, and its user cannot change that: {said}. "
            f"Have somebody run who may:\n{_script(ddl)}"
        ) from failed

    def _alters(self, dialect: Dialect, lacking: list[str]) -> list[str]:
        plain = {column.name: column for column in self.table(dialect).columns}
        optional = {column.name: column for column in self._book(dialect, needed=False)}
        for name in lacking:  # rows that are there have no value yet, so that none can be required
            if name not in optional:
                optional[name] = Column(_quoted(name), plain[name].type, nullable=True)
        prefix = f"ALTER TABLE {self.quoted(dialect)} ADD COLUMN ".replace("%%", "%")
        return [prefix + _compiled(CreateColumn(optional[name]), dialect) for name in lacking]

    def _lacking(self, found: Found) -> list[str]:
        return [name for name in self._names() if name not in found.columns]

    def _names(self) -> list[str]:
        return [*(column.name for column in self.form.columns), *self.form.book]

    def _check(self, session: Session, found: Found) -> None:
        problems = list(self._problems(session.kind, found))
        if problems:
            where = f"Table {self.said} of the {session.name}"
            raise SetupError(f"{where} cannot take these rows: " + "; ".join(problems))

    def _problems(self, dialect: Dialect, found: Found) -> Iterator[str]:
        form = self.form
        if form.key.name in found.columns:
            yield from self._key_problems(dialect, found)
        for column in form.columns:
            if column.name in found.columns:
                yield from self._column_problems(dialect, column, found.columns[column.name])
        ours = set(self._names())
        for name, other in found.columns.items():
            if name not in ours and _must_be_given(other):
                yield f"column {name!r} is NOT NULL, has no default, and no field goes into it; give it a default there"

    def _key_problems(self, dialect: Dialect, found: Found) -> Iterator[str]:
        key = self.form.key.name
        if frozenset((key,)) not in found.unique:
            unique = f"CREATE UNIQUE INDEX ON {self.quoted(dialect)} ({dialect.quote(key)})".replace("%%", "%")
            if dialect.name != "PostgreSQL":
                unique = unique.replace("INDEX ON", f"INDEX {dialect.quote(f'{self.name}_id')} ON".replace("%%", "%"))
            yield f"column {key!r} holds the ids and has no unique index of its own, by which a row is found; {unique}"
        collation = found.collation
        if collation is not None and not collation.endswith(("_bin", "_cs")) and collation != "binary":
            yield (
                f"column {key!r} has the collation {collation}, by which ids that differ in case are the same; "
                f"give it utf8mb4_bin"
            )

    def _column_problems(self, dialect: Dialect, column: SqlColumn, there: Mapping[str, Any]) -> Iterator[str]:
        found = there["type"]
        if not dialect.fits(column, found):
            wanted = _compiled_type(dialect.type_of(column, self.form), dialect)
            yield (
                f"column {column.name!r} is {_compiled_type(found, dialect)}, which does not hold every value of "
                f"{_said(column)} ({wanted}); change the column, or map the field to another one"
                + (" (or say what is enough: types={…: Numeric(…)})" if column.kind is Kind.DECIMAL else "")
            )
        elif not there.get("nullable", True) and not column.required:
            yield (
                f"column {column.name!r} is NOT NULL, and the field may be empty; "
                "make the field required or give it a default, or drop NOT NULL there"
            )

    def _check_names(self, dialect: Dialect) -> None:
        for name in (self.name, *self._names()):
            if dialect.width(name) > dialect.longest_name:
                unit = "bytes" if dialect.name == "PostgreSQL" else "characters"
                raise SetupError(
                    f"The name {name!r} is longer than the {dialect.longest_name} {unit} that {dialect.name} takes; "
                    "give another one, for a column with columns={…}"
                )

    def _absent(self, session: Session) -> SetupError:
        ddl = statement(self, session.kind)
        return SetupError(
            f"Table {self.said} is not there in the {session.name}, and create=False leaves it to you:\n{_script([ddl])}"
        )

    def _too_few(self, session: Session, lacking: list[str], why: str) -> SetupError:
        return SetupError(
            f"Table {self.said} lacks the columns {', '.join(map(repr, lacking))} in the {session.name}, and {why}:\n"
            + _script(self._alters(session.kind, lacking))
        )


def statement(layout: Layout, dialect: Dialect) -> str:
    """The statement that makes the table."""
    return _compiled(CreateTable(layout.table(dialect)), dialect).strip()


def _quoted(name: str) -> quoted_name:
    """A name that stands in quotes wherever it is written."""
    return quoted_name(name, quote=True)


def _compiled(element: Any, dialect: Dialect) -> str:
    return str(element.compile(dialect=dialect.sqlalchemy)).replace("%%", "%")


def _compiled_type(kind: Any, dialect: Dialect) -> str:
    if isinstance(kind, types.NullType):
        return "of a type that is not known here"
    return str(kind.compile(dialect=dialect.sqlalchemy))


def _script(ddl: list[str]) -> str:
    return "\n".join(f"{each};" for each in ddl)


def _said(column: SqlColumn) -> str:
    decimals = "any number of decimals" if column.scale is None else f"{column.scale} decimals"
    return f"a {column.kind.value}" + (f" with {decimals}" if column.kind is Kind.DECIMAL else "")


def _must_be_given(column: Mapping[str, Any]) -> bool:
    """Whether a row without a value for it is refused."""
    made = column.get("computed") or column.get("identity") or column.get("autoincrement") is True
    return not column.get("nullable", True) and column.get("default") is None and not made

