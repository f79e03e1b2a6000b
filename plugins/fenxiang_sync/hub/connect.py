"""Database: one SQLite file or PostgreSQL database, its transactions, and its errors as ours.

Every write runs alone for what it names: SQLite lets one process write at a time (``BEGIN IMMEDIATE``), PostgreSQL
takes an advisory lock for the transaction. So a writer may read, decide and write with nobody in between, on both.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fenxiang_sync.errors import FenxiangSyncError, SetupError, TransientError

LOCK_WAIT_S = 60
_CONNECT_WAIT_S = 10
_WAY_OUT = "Check the hub's connection (fenxiang_hub, or the SQLite file in AIRFLOW_HOME)."


class Database:
    """An engine and the name it goes by in messages: no user, no password."""

    def __init__(self, url: str) -> None:
        parsed = _parsed(url)
        self.postgresql = parsed.get_backend_name() == "postgresql"
        self.name = _name(parsed)
        try:
            self.engine = _postgresql(parsed) if self.postgresql else _sqlite(parsed, self.name)
        except ModuleNotFoundError as error:
            raise SetupError(
                f"The {self.name} needs the driver {error.name!r}, which is not installed here: install it, "
                "or name another driver in the URL (postgresql+psycopg2://, postgresql+psycopg://)."
            ) from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self._our_errors(), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self, what: str) -> Iterator[Connection]:
        """A transaction in which nobody else writes `what`; committed at the end, rolled back on an error."""
        with self._our_errors(), self.engine.connect() as connection:
            connection.execution_options(fenxiang_writes=True)
            with connection.begin():
                if self.postgresql:
                    _lock(connection, what)
                yield connection

    def close(self) -> None:
        self.engine.dispose()

    @contextlib.contextmanager
    def _our_errors(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeoutError as error:
            raise TransientError(f"The {self.name} has no free connection: {_first_line(error)}.") from error
        except DBAPIError as error:
            ours = self._translated(error)
            if ours is None:
                raise
            raise ours from error

    def _translated(self, error: DBAPIError) -> FenxiangSyncError | None:
        """What a run does about a database error; None for what is a bug of ours."""
        said = _first_line(error.orig or error)
        if _is_set_up_wrong(error):
            return SetupError(f"The {self.name} cannot be used: {said}. {_WAY_OUT}")
        if _may_pass(error):
            return TransientError(f"The {self.name} cannot be used now: {said}.", code=_sqlstate(error))
        return None


def clock_ms(connection: Connection) -> int:
    """The database's clock, since machines' clocks differ; a SQLite file is on one machine."""
    if connection.dialect.name == "postgresql":
        clock = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)")
        return int(connection.execute(clock).scalar_one())
    return time.time_ns() // 1_000_000


def lacks_table(error: SQLAlchemyError) -> bool:
    """Whether a statement failed because its table is not there."""
    return isinstance(error, DBAPIError) and (
        _sqlstate(error) == "42P01" or str(error.orig).startswith("no such table")
    )


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError, NoSuchModuleError):
        # The text may hold a password, so it is not shown, nor is the error that quotes it.
        raise SetupError(
            "The hub's URL cannot be read: it looks like postgresql://user:password@host:5432/database "
            "or sqlite:////absolute/path/fenxiang_hub.db, with special characters of a password %-encoded."
        ) from None
    if parsed.drivername.startswith("postgres") and backend == "postgres":
        return parsed.set(drivername=parsed.drivername.replace("postgres", "postgresql", 1))
    if backend not in ("postgresql", "sqlite"):
        raise SetupError(f"The hub cannot be kept in {backend!r}: give a PostgreSQL or SQLite URL.")
    return parsed


def _name(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return f"hub in SQLite file {url.database}"
    return f"hub in PostgreSQL database {url.database!r} at {url.host or 'localhost'}:{url.port or 5432}"


def _postgresql(url: URL) -> Engine:
    wait = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_WAIT_S}
    return create_engine(
        url, isolation_level="READ COMMITTED", pool_pre_ping=True, hide_parameters=True, connect_args=wait
    )


def _sqlite(url: URL, name: str) -> Engine:
    if not url.database or url.database == ":memory:":
        raise SetupError("A hub in memory would be lost with its task: give the path of a SQLite file.")
    folder = Path(url.database).resolve().parent
    if not folder.is_dir() and not url.database.startswith("file:"):
        raise SetupError(f"The {name} cannot be made: there is no folder {folder}. Make it, or give another path.")
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": LOCK_WAIT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # the driver starts no transaction by itself; _begin_sqlite does
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        _write_ahead(connection)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL, once in its life. SQLite does not wait for others here, so we do."""
    until = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("fenxiang_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _lock(connection: Connection, what: str) -> None:
    """Wait for `what` in this database until the transaction ends (at most `LOCK_WAIT_S`)."""
    connection.exec_driver_sql(
        "SELECT set_config('lock_timeout', %s, true), pg_advisory_xact_lock(hashtextextended(%s, 0))",
        (f"{LOCK_WAIT_S}s", f"fenxiang hub: {what}"),
    )


def _sqlstate(error: DBAPIError) -> str | None:
    original: Any = error.orig
    return getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)


# SQLSTATE classes and SQLite's words. What neither says is left as it is: it is a mistake in a statement of ours.
_WRONG_STATES = ("28", "3D", "3F", "42501", "25006")
_PASSING_STATES = ("08", "40", "53", "55", "57", "58")
_WRONG_WORDS = re.compile(
    r"readonly|read-only|unable to open|not a database|malformed|permission denied|authentication failed"
    r'|(database|role) ".*" does not exist|no pg_hba|no password supplied|invalid connection option'
)
_PASSING_WORDS = re.compile(r"locked|busy|disk I/O|is full")


def _is_set_up_wrong(error: DBAPIError) -> bool:
    state = _sqlstate(error)
    if state is not None:
        return state.startswith(_WRONG_STATES)
    return type(error).__name__ in (*_NO_STATE, "ProgrammingError") and bool(_WRONG_WORDS.search(str(error.orig)))


def _may_pass(error: DBAPIError) -> bool:
    state = _sqlstate(error)
    if state is not None:
        return state.startswith(_PASSING_STATES)
    if error.connection_invalidated or bool(_PASSING_WORDS.search(str(error.orig))):
        return True
    # libpq gives no SQLSTATE for a server that it cannot reach.
    return type(error).__name__ in _NO_STATE and not isinstance(error.orig, sqlite3.Error)


_NO_STATE = ("OperationalError", "DatabaseError", "InterfaceError")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")
