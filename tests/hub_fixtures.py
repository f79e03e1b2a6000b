"""Databases of their own for the tests of the hub, and the rows they claim."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from fenxiang_sync.hub.content import dumps
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
