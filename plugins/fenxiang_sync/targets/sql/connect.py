"""Session: an open database, one transaction at a time, and its errors as ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from fenxiang_sync.errors import FenxiangSyncError, RefusedError, SetupError, TransientError
from fenxiang_sync.targets.protocol import Database, Reach
from fenxiang_sync.targets.sql.dialect import ANSWER_WAIT_S, LOCK_WAIT_S, Dialect
from fenxiang_sync.targets.sql.dialects import dialect_of
from fenxiang_sync.targets.sql.faults import Meaning, code_of, said_by

T = TypeVar("T")

PAUSES = (0.1, 0.5, 2.0)
"""Seconds before each further try of a transaction that a deadlock or a broken connection ended."""
CONNECT_WAIT_S = 10


class Session:
    """An engine of one connection, and what there is to know about its database."""

    def __init__(self, database: Database, engine: Engine, reach: Reach) -> None:
        self._engine = engine
        self._reach = reach
        self.name = _named(database)
        self.conn_id = database.conn_id
        self.kind: Dialect
        self._work_out()

    @classmethod
    @contextmanager
    def open(cls, database: Database, reach: Reach) -> Iterator[Session]:
        """Connect; raises `SetupError` for a driver, login or database that is missing."""
        engine = _engine(database)
        try:
            yield cls(database, engine, reach)
        finally:
            engine.dispose()

    def transact(self, work: Callable[[Connection], T], *, passes: Meaning | None = None) -> T:
        """What `work` gives, in a transaction of its own that is committed when it ends.

        A deadlock or a broken connection is tried again in place: what is done here upserts, so it may be done twice.
        Errors become ours, but for those of the meaning `passes`.
        """
        for pause in (*PAUSES, None):
            try:
                return self._once(work)
            except (DBAPIError, self.kind.driver_error) as error:
                meaning = self.kind.meaning(error)
                if meaning is passes:
                    raise
                if pause is None or meaning is not Meaning.AGAIN:
                    raise self.ours(error) from error
                self._reach.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def ours(self, error: BaseException) -> FenxiangSyncError:
        """What a run does about an error of the database that is about no row."""
        meaning, said, code = self.kind.meaning(error), said_by(error), code_of(error)
        if meaning in (Meaning.AGAIN, Meaning.LATER):
            return TransientError(f"The {self.name} cannot be used now: {said}", code=code)
        if meaning is Meaning.SETUP:
            return SetupError(f"The {self.name} cannot be used: {said}. Check the connection, and what its user may do")
        return RefusedError(f"The {self.name} refuses a statement: {said}", code=code)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._reach.now(), UTC)

    def _once(self, work: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            try:
                with connection.begin():
                    self.kind.begin(connection)
                    return work(connection)
            except self.kind.driver_error as error:
                if self.kind.meaning(error) is not Meaning.ROW:
                    connection.invalidate()  # SQLAlchemy has not seen it, and would use a connection that is gone
                raise

    def _work_out(self) -> None:
        """Connect for the first time, which tells a MariaDB from a MySQL."""
        self.kind = dialect_of(self._engine.dialect)
        self.transact(lambda _: None)
        self.kind = dialect_of(self._engine.dialect)


def _engine(database: Database) -> Engine:
    url = database.url
    backend = url.get_backend_name()
    try:
        if backend == "sqlite":
            return _sqlite(url, _named(database))
        options = dict(database.options)
        if backend == "postgresql":
            patient = {"connect_timeout": CONNECT_WAIT_S, "keepalives_idle": 30, "keepalives_interval": 10,
                       "keepalives_count": 3, "tcp_user_timeout": 60_000}  # fmt: skip
        else:
            patient = {"connect_timeout": CONNECT_WAIT_S, "read_timeout": ANSWER_WAIT_S, "write_timeout": ANSWER_WAIT_S}
        engine = create_engine(
            url,
            pool_size=1,
            max_overflow=0,
            pool_reset_on_return=None,  # each transaction here ends by itself
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            connect_args={**patient, **options},
        )
    except ModuleNotFoundError as error:
        extra = "postgres" if backend == "postgresql" else "mysql"
        raise SetupError(
            f"The {_named(database)} needs the driver {error.name!r}, which is not installed here: "
            f"pip install 'airflow-provider-fenxiang[{extra}]'"
        ) from error
    if backend == "mysql":
        event.listen(engine, "connect", _prepare_mysql)
    return engine


def _named(database: Database) -> str:
    url = database.url
    if url.get_backend_name() == "sqlite":
        return f"SQLite file {url.database} (connection {database.conn_id})"
    brand = "PostgreSQL" if url.get_backend_name() == "postgresql" else "MySQL"
    return f"{brand} database {url.database!r} at {url.host or 'localhost'} (connection {database.conn_id})"


def _prepare_mysql(connection: Any, _: object) -> None:
    """Strict: a value that does not fit is an error, never cut or rounded. Moments are UTC."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
            "NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', innodb_lock_wait_timeout = %s",
            (LOCK_WAIT_S,),
        )


def _sqlite(url: URL, name: str) -> Engine:
    folder = Path(url.database or "").resolve().parent
    if not folder.is_dir():
        raise SetupError(f"The {name} cannot be made: there is no folder {folder}. Make it, or give another path")
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": LOCK_WAIT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # the driver begins no transaction by itself: that would undo savepoints
