"""The runs of a pipeline and their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, select

from fenxiang_sync.hub.bulk import Upsert
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import dumps, loads
from fenxiang_sync.hub.tables import run as table
from fenxiang_sync.window import Window, to_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run. `kind`: scheduled, manual, backfill, lookback, reconcile, sweep, replay; `state`: running, success,
    failed; `window` is None for none yet, or for a replay.

    `numbers` is what the run says of itself (counts by outcome, seconds, …), any JSON.
    """

    pipeline: str
    run: str
    kind: str
    state: str
    window: Window | None
    started_at: datetime
    finished_at: datetime | None = None
    config_hash: str = ""
    requests: int = 0
    numbers: dict[str, Any] = field(default_factory=dict)


_COLUMNS = (
    "pipeline", "run_id", "kind", "state", "since_ms", "until_ms", "started_at", "finished_at", "config_hash",
    "requests", "numbers",
)  # fmt: skip
_STORE = Upsert(table, key=("pipeline", "run_id"), columns=_COLUMNS, update=_COLUMNS[2:])


class Runs:
    """The runs of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, run: RunRecord) -> None:
        """Store `run` as it is now; what was stored of it before is replaced."""
        with self._database.writing(f"runs of {run.pipeline}") as connection:
            _STORE.run(connection, [_values(run)])

    def latest(self, pipeline: str, limit: int) -> list[RunRecord]:
        newest = (table.c.started_at.desc(), table.c.run_id)
        query = select(table).where(table.c.pipeline == pipeline).order_by(*newest).limit(limit)
        with self._database.reading() as connection:
            return [_run(found) for found in connection.execute(query)]

    def last(self, pipeline: str, kinds: Sequence[str]) -> RunRecord | None:
        """The newest of these kinds that succeeded."""
        return self._one(_of(pipeline, kinds).where(table.c.state == "success").order_by(table.c.started_at.desc()))

    def first(self, pipeline: str, kinds: Sequence[str]) -> RunRecord | None:
        """The oldest of these kinds."""
        return self._one(_of(pipeline, kinds).order_by(table.c.started_at))

    def _one(self, query: Select[Any]) -> RunRecord | None:
        with self._database.reading() as connection:
            found = connection.execute(query.limit(1)).one_or_none()
        return None if found is None else _run(found)


def _of(pipeline: str, kinds: Sequence[str]) -> Select[Any]:
    return select(table).where(table.c.pipeline == pipeline, table.c.kind.in_(kinds))


def _values(run: RunRecord) -> tuple[Any, ...]:
    since, until = (None, None) if run.window is None else (run.window.since_ms, run.window.until_ms)
    finished = None if run.finished_at is None else to_ms(run.finished_at)
    return (
        run.pipeline, run.run, run.kind, run.state, since, until, to_ms(run.started_at), finished, run.config_hash,
        run.requests, dumps(run.numbers),
    )  # fmt: skip


def _run(found: Row[Any]) -> RunRecord:
    return RunRecord(
        pipeline=found.pipeline,
        run=found.run_id,
        kind=found.kind,
        state=found.state,
        window=None if found.since_ms is None else Window(found.since_ms, found.until_ms),
        started_at=found.started_at,
        finished_at=found.finished_at,
        config_hash=found.config_hash,
        requests=found.requests,
        numbers=loads(found.numbers),
    )
