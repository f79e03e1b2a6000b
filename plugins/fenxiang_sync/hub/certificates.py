"""Certificates: spans of `last_modified_time` in which a run has compared what it holds with the source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, func, select

from fenxiang_sync.hub.bulk import Upsert
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import dumps, loads
from fenxiang_sync.hub.tables import certificate as table
from fenxiang_sync.window import Window, merge, to_ms

_PAGE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The proof of one window: `numbers` (counts before and after, …), `digest` of the ids and versions that were
    compared, `requests` that it took, the hash of the declaration it holds for. `read_since_ms` is where reading began:
    the lookback before the window. `created_at` is set by the hub."""

    pipeline: str
    run: str
    window: Window
    read_since_ms: int | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    requests: int = 0
    config_hash: str = ""
    created_at: datetime | None = None


class Look(NamedTuple):
    """A certified window, and from when on (epoch ms) the run that certified it has looked at the source."""

    window: Window
    since_ms: int


_COLUMNS = (
    "pipeline", "run_id", "since_ms", "until_ms", "read_since_ms", "digest", "requests", "config_hash", "created_at",
    "numbers",
)  # fmt: skip
_STORE = Upsert(table, key=_COLUMNS[:4], columns=_COLUMNS, update=_COLUMNS[4:])


class Certificates:
    """The certificates of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def certify(self, certificate: Certificate, now: datetime) -> None:
        """Store it; the same run's certificate of the same window is replaced."""
        with self._database.writing(f"certificates of {certificate.pipeline}") as connection:
            _STORE.run(connection, [_values(certificate, now)])

    def all(self, pipeline: str) -> Iterator[Certificate]:
        """In the order in which they were made."""
        after = 0
        while True:
            page = select(table).where(table.c.pipeline == pipeline, table.c.id > after).order_by(table.c.id)
            with self._database.reading() as connection:
                found = connection.execute(page.limit(_PAGE)).all()
            yield from map(_certificate, found)
            if not found:
                return
            after = found[-1].id

    def looks(self, pipeline: str, window: Window, config_hash: str, besides: str) -> list[Look]:
        """The certified windows that overlap `window`, of one declaration and of other runs than `besides`."""
        since = func.coalesce(table.c.read_since_ms, table.c.since_ms)
        wanted = select(table.c.since_ms, table.c.until_ms, since).where(
            table.c.pipeline == pipeline,
            table.c.until_ms > window.since_ms,
            since < window.until_ms,
            table.c.config_hash == config_hash,
            table.c.run_id != besides,
        )
        with self._database.reading() as connection:
            return [Look(Window(first, last), looked) for first, last, looked in connection.execute(wanted)]

    def certified(self, pipeline: str) -> list[Window]:
        """The certified time as few windows in order."""
        spans = select(table.c.since_ms, table.c.until_ms).where(table.c.pipeline == pipeline)
        with self._database.reading() as connection:
            return merge(Window(since, until) for since, until in connection.execute(spans))


def _values(certificate: Certificate, now: datetime) -> tuple[Any, ...]:
    return (
        certificate.pipeline, certificate.run, certificate.window.since_ms, certificate.window.until_ms,
        certificate.read_since_ms, certificate.digest, certificate.requests, certificate.config_hash, to_ms(now),
        dumps(certificate.numbers),
    )  # fmt: skip


def _certificate(found: Row[Any]) -> Certificate:
    return Certificate(
        pipeline=found.pipeline,
        run=found.run_id,
        window=Window(found.since_ms, found.until_ms),
        read_since_ms=found.read_since_ms,
        created_at=found.created_at,
        numbers=loads(found.numbers),
        digest=found.digest,
        requests=found.requests,
        config_hash=found.config_hash,
    )
