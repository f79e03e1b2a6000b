"""Schema: the table at the database is made, widened, or found wrong with a sentence and the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, inspect, types
from sqlalchemy.exc import NoSuchTableError

from fenxiang_sync.columns import Kind
from fenxiang_sync.errors import FenxiangSyncError, SetupError, TransientError
from fenxiang_sync.targets.sql.connect import Session
from fenxiang_sync.targets.sql.dialect import Type, run_plain
from fenxiang_sync.targets.sql.faults import said_by
from fenxiang_sync.targets.sql.form import SqlColumn
from fenxiang_sync.targets.sql.layout import Layout, compiled


@dataclass(frozen=True, slots=True)
class Found:
    """What the database says of a table: its columns by name, the sets of columns that are unique, and the collation of
    the ids where that matters."""

    columns: Mapping[str, Mapping[str, Any]]
    unique: frozenset[frozenset[str]]
    collation: str | None

    @property
    def types(self) -> Mapping[str, Type]:
        return {name: column["type"] for name, column in self.columns.items()}


class Schema:
    """The table that a layout asks for, at one database."""

    def __init__(self, session: Session, layout: Layout) -> None:
        self._session = session
        self._layout = layout
        self._dialect = session.kind

    def prepare(self, *, create: bool) -> Found:
        """Make the table, or add what it lacks; raises `SetupError` where it cannot take the rows."""
        found = self._look()
        for _ in range(3):  # another task may just have made the table of an older declaration
            lacking = self._lacking(found)
            if found is not None and not lacking:
                return self._checked(found)
            if not create:
                raise self._left_to_you(found, lacking)
            self._run(found, lacking)
            found = self._look()
        raise SetupError(f"{self._named} lacks columns that were just added; does somebody else change it?")

    def check(self, *, create: bool) -> None:
        """Look at the table, and change nothing; raises what `prepare` would."""
        found = self._look()
        lacking = self._lacking(found)
        if lacking and not create:
            raise self._left_to_you(found, lacking)
        if found is not None:
            self._checked(found)

    @property
    def _named(self) -> str:
        return f"Table {self._layout.said} of the {self._session.name}"

    def _look(self) -> Found | None:
        self._check_names()
        return self._session.transact(self._inspect)

    def _inspect(self, connection: Connection) -> Found | None:
        inspector = inspect(connection)
        name, schema = self._layout.name, self._layout.schema
        try:
            columns = inspector.get_columns(name, schema=schema)
        except NoSuchTableError:
            return None
        keys: list[list[str | None]] = [[*inspector.get_pk_constraint(name, schema=schema)["constrained_columns"]]]
        keys += [[*each["column_names"]] for each in inspector.get_unique_constraints(name, schema=schema)]
        keys += [
            [*each["column_names"]]
            for each in inspector.get_indexes(name, schema=schema)
            if each["unique"] and not (each.get("dialect_options") or {}).get("postgresql_where")
        ]
        return Found(
            {self._spelled(column["name"]): column for column in columns},
            frozenset(frozenset(self._spelled(name) for name in key if name) for key in keys if all(key)),
            self._collation(connection) if self._dialect.name == "MySQL" else None,
        )

    def _spelled(self, found: str) -> str:
        """A name of the table as the layout has it, where the database does not tell the two apart."""
        if self._dialect.name == "PostgreSQL":
            return found
        if self._dialect.name == "MySQL":
            found = found.replace("``", "`")  # SQLAlchemy leaves quotes within a name doubled
        return next((name for name in self._layout.names if name.lower() == found.lower()), found)

    def _collation(self, connection: Connection) -> str | None:
        found = connection.exec_driver_sql(
            "SELECT COLLATION_NAME FROM information_schema.COLUMNS "
            "WHERE TABLE_SCHEMA = COALESCE(%s, DATABASE()) AND TABLE_NAME = %s AND COLUMN_NAME = %s",
            (self._layout.schema, self._layout.name, self._layout.form.key.name),
        ).one_or_none()
        return None if found is None else found[0]

    def _lacking(self, found: Found | None) -> list[str]:
        there = {} if found is None else found.columns
        return [name for name in self._layout.names if name not in there]

    def _ddl(self, found: Found | None, lacking: list[str]) -> list[str]:
        if found is None:
            return [self._layout.ddl(self._dialect)]
        return self._layout.alters(self._dialect, lacking)

    def _run(self, found: Found | None, lacking: list[str]) -> None:
        """Run each statement by itself. Another task may do the same just now: what counts is how the table is then."""
        failed: FenxiangSyncError | None = None
        ddl = self._ddl(found, lacking)
        for sql in ddl:
            try:
                self._session.transact(partial(run_plain, sql=sql))
            except FenxiangSyncError as error:
                failed = failed or error
        if failed is None or len(self._lacking(self._look())) < len(lacking):
            return
        if isinstance(failed, TransientError):
            raise failed
        said = said_by(failed.__cause__) if failed.__cause__ else str(failed)
        raise SetupError(
            f"{self._lack(found, lacking)}, and its user cannot change that: {said}. "
            f"Have somebody run who may:\n{_script(ddl)}"
        ) from failed

    def _left_to_you(self, found: Found | None, lacking: list[str]) -> SetupError:
        ddl = _script(self._ddl(found, lacking))
        return SetupError(f"{self._lack(found, lacking)}, and create=False leaves that to you:\n{ddl}")

    def _lack(self, found: Found | None, lacking: list[str]) -> str:
        return f"{self._named} " + (
            "is not there" if found is None else f"lacks the columns {', '.join(map(repr, lacking))}"
        )

    def _checked(self, found: Found) -> Found:
        if problems := list(self._problems(found)):
            raise SetupError(f"{self._named} cannot take these rows: " + "; ".join(problems))
        return found

    def _problems(self, found: Found) -> Iterator[str]:
        if self._layout.form.key.name in found.columns:
            yield from self._key_problems(found)
        for column in self._layout.form.columns:
            if column.name in found.columns:
                yield from self._column_problems(column, found.columns[column.name])
        for name, other in found.columns.items():
            if name not in self._layout.names and _must_be_given(other):
                yield f"column {name!r} is NOT NULL, has no default, and no field goes into it; give it a default there"

    def _key_problems(self, found: Found) -> Iterator[str]:
        key = self._layout.form.key.name
        if frozenset((key,)) not in found.unique:
            yield (
                f"column {key!r} holds the ids and has no unique index of its own, by which a row is found; "
                f"make it the primary key, or CREATE UNIQUE INDEX on it alone"
            )
        collation = found.collation
        if collation is not None and not collation.endswith(("_bin", "_cs")) and collation != "binary":
            yield (
                f"column {key!r} has the collation {collation}, by which ids that differ in case are the same; "
                "give it utf8mb4_bin"
            )

    def _column_problems(self, column: SqlColumn, there: Mapping[str, Any]) -> Iterator[str]:
        found = there["type"]
        if not self._dialect.fits(column, found):
            wanted = compiled(self._dialect.type_of(column, self._layout.form), self._dialect)
            said = "of an unknown type" if isinstance(found, types.NullType) else compiled(found, self._dialect)
            yield (
                f"column {column.name!r} is {said}, which does not hold every value of {_said(column)} ({wanted}); "
                "change the column, or map the field to another one"
                + (", or say with types={…: Numeric(…)} what is enough" if column.kind is Kind.DECIMAL else "")
            )
        elif not there.get("nullable", True) and not column.required:
            yield (
                f"column {column.name!r} is NOT NULL, and the field may be empty; "
                "make the field required or give it a default, or drop NOT NULL there"
            )

    def _check_names(self) -> None:
        dialect = self._dialect
        for name in (self._layout.name, *self._layout.names):
            if dialect.width(name) > dialect.longest_name:
                unit = "bytes" if dialect.name == "PostgreSQL" else "characters"
                raise SetupError(
                    f"The name {name!r} is longer than the {dialect.longest_name} {unit} that {dialect.name} takes; "
                    "give another one, for a column with columns={…}"
                )


def _script(ddl: list[str]) -> str:
    return "\n".join(f"{each};" for each in ddl)


def _said(column: SqlColumn) -> str:
    decimals = "any number of decimals" if column.scale is None else f"{column.scale} decimals"
    return f"a {column.kind.value}" + (f" with {decimals}" if column.kind is Kind.DECIMAL else "")


def _must_be_given(column: Mapping[str, Any]) -> bool:
    """Whether a row without a value for it is refused."""
    made = column.get("computed") or column.get("identity") or column.get("autoincrement") is True
    return not column.get("nullable", True) and column.get("default") is None and not made
