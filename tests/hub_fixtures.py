"""Databases of their own for the tests of the hub, and the rows they claim."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError

from fenxiang_sync.hub import Hub
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import dumps
from fenxiang_sync.hub.schema import migrate
from fenxiang_sync.rows import Row

POSTGRES = os.environ.get("FENXIANG_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")
DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
DRIVERS = [*DATABASES, pytest.param("postgresql+psycopg", marks=pytest.mark.postgres)]

NOW = datetime(2026, 11, 1, 8, tzinfo=UTC)


@contextlib.contextmanager
def empty_database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database: a file in `folder`, or a schema that is dropped at the end."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/hub.db"
        return
    schema = f"hub_{uuid.uuid4().hex[:12]}"
    run_in_postgres(f"CREATE SCHEMA {schema}")
    try:
        url = make_url(POSTGRES).set(drivername=kind).update_query_dict({"options": f"-csearch_path={schema}"})
        yield url.render_as_string(hide_password=False)
    finally:
        run_in_postgres(f"DROP SCHEMA {schema} CASCADE")


def hub_file(folder: Path) -> Path:
    """The SQLite file of a hub in `folder`, as the first connect makes it; one that is there already stays."""
    path = folder / "hub.db"
    if not path.exists():
        path.write_bytes(_made_file())
    return path


@contextlib.contextmanager
def hub_database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a hub with nothing in it, as the first connect makes it: an `empty_database` with its tables."""
    with empty_database(kind, folder) as url:
        if kind == "sqlite":
            hub_file(folder)
        else:
            _run_all(url, _made_schema())
        yield url


@functools.cache
def _made_file() -> bytes:
    """What a new hub is, byte by byte. Made by its migrations once in a process: that costs ten times the copy."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hub.db"
        Hub.connect(f"sqlite:///{path}").close()
        return path.read_bytes()


@functools.cache
def _made_schema() -> tuple[str, ...]:
    """The statements by which migrations make the tables of a new hub in PostgreSQL, as they were sent."""
    sent: list[str] = []

    def note(connection: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        if not statement.lstrip().startswith("SELECT"):
            assert not parameters, f"{statement} has parameters, which are not sent again"
            sent.append(statement)

    with empty_database("postgresql", Path()) as url, contextlib.closing(Database(url)) as database:
        event.listen(database.engine, "before_cursor_execute", note)
        migrate(database)
    return tuple(sent)


def _run_all(url: str, statements: Sequence[str]) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(";".join(statements))
    engine.dispose()


def run_in_postgres(*statements: str) -> None:
    run_at_server(POSTGRES, "FENXIANG_TEST_POSTGRES", *statements)


def run_at_server(url: str, variable: str, *statements: str) -> None:
    """Run statements at a test server, each by itself; skips the test where the server is not there, but not in CI."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
    except OperationalError as error:
        if os.environ.get("CI") == "true":
            raise
        where = make_url(url)
        pytest.skip(f"no {where.get_backend_name()} at {where.host} ({variable}): {error.orig}")
    finally:
        engine.dispose()


def row(row_id: str, modified_ms: int = 1, version: int = 1, **content: Any) -> Row:
    return Row(
        id=row_id,
        source_id=f"source-{row_id}",
        number=f"number-{row_id}",
        modified_ms=modified_ms,
        version=version,
        content=content,
        hash=hashlib.sha256(dumps(content).encode()).hexdigest(),
    )
