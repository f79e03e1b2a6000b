"""Databases of their own for the tests of SqlTable: a schema, a database or a file that is gone afterwards."""

from __future__ import annotations

import contextlib
import functools
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import URL, Engine, create_engine, make_url, text

from fenxiang_sync.columns import Column, Kind
from fenxiang_sync.rows import Row
from fenxiang_sync.targets.protocol import Database, Endpoint, Reach
from fenxiang_sync.targets.sql import SqlTable
from tests.hub_fixtures import POSTGRES, run_at_server, run_in_postgres

MYSQL = os.environ.get("FENXIANG_TEST_MYSQL", "mysql+pymysql://root@127.0.0.1:3306/test")
PSYCOPG2 = pytest.param("postgresql+psycopg2", marks=pytest.mark.postgres)
PSYCOPG = pytest.param("postgresql+psycopg", marks=pytest.mark.postgres)
MARIADB = pytest.param("mysql", marks=pytest.mark.mysql)
DATABASES = ["sqlite", PSYCOPG2, MARIADB]
DRIVERS = [*DATABASES, PSYCOPG]

COLUMNS = (
    Column(path="_id", kind=Kind.TEXT),
    Column(path="name", kind=Kind.TEXT),
    Column(path="money.amount", kind=Kind.DECIMAL, scale=2),
    Column(path="count", kind=Kind.INTEGER),
)


@dataclass
class Place:
    """A database of a test's own, and the reach that leads to it. Waiting is noted, and takes no time."""

    url: URL
    schema: str | None = None
    slept: list[float] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.url.get_backend_name()

    @property
    def reach(self) -> Reach:
        return Reach(
            endpoint=_no_endpoint,
            session=requests.Session,
            sleep=self.slept.append,
            now=time.time,
            database=lambda conn_id: Database(conn_id=conn_id, url=self.url),
        )

    @property
    def plain_dsn(self) -> str:
        """For a PostgreSQL driver without SQLAlchemy."""
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)

    @property
    def plain_words(self) -> dict[str, Any]:
        """For a MySQL driver without SQLAlchemy."""
        url = self.url
        words = {"host": url.host, "port": url.port or 3306, "user": url.username, "database": url.database}
        return {**words, "password": url.password or "", "charset": "utf8mb4"}

    @functools.cached_property
    def engine(self) -> Engine:
        """The test's own way to the database."""
        return create_engine(self.url)

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})

    def ask(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]


def _no_endpoint(conn_id: str) -> Endpoint:
    raise AssertionError(conn_id)


@contextlib.contextmanager
def place(kind: str, folder: Path) -> Iterator[Place]:
    """An empty place at ``sqlite``, ``mysql``, ``postgresql`` or one of its drivers."""
    name = f"target_{uuid.uuid4().hex[:12]}"
    if kind == "sqlite":
        made = Place(URL.create("sqlite", database=f"{folder}/{name}.db"))
    elif kind.startswith("postgresql"):
        run_in_postgres(f"CREATE SCHEMA {name}")
        url = make_url(POSTGRES).set(drivername=kind).update_query_dict({"options": f"-csearch_path={name}"})
        made = Place(url, schema=name)
    else:
        run_at_server(MYSQL, "FENXIANG_TEST_MYSQL", f"CREATE DATABASE {name}")
        made = Place(make_url(MYSQL).set(database=name).update_query_dict({"charset": "utf8mb4"}), schema=name)
    engine = made.engine
    try:
        yield made
    finally:
        if made.kind != "sqlite":
            made.run(f"DROP SCHEMA {name}" + (" CASCADE" if kind.startswith("postgresql") else ""))
        engine.dispose()


def table(name: str = "account", *columns: Column, **words: Any) -> SqlTable:
    """A table that is fitted, as a pipeline does it; the id is at ``_id``."""
    return SqlTable(connection="warehouse", table=name, **words).fit(columns or COLUMNS, key="_id")


def row(row_id: str, modified_ms: int = 1, version: int = 1, **content: Any) -> Row:
    """A row of `COLUMNS`, or of what `content` has besides the id."""
    filled = content or {"name": f"name of {row_id}", "money": {"amount": None}, "count": modified_ms}
    return Row(
        id=row_id,
        source_id=f"source-{row_id}",
        number=None,
        modified_ms=modified_ms,
        version=version,
        content={"_id": row_id, **filled},
        hash=f"{hash((modified_ms, version, str(content))) & (2**128 - 1):032x}",
    )
