"""A CRM, a hub, a stage and a target to run the steps of a pipeline against, as the tasks of a DAG do."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from upath import UPath

from fenxiang_simulator import Knobs, Simulator
from fenxiang_sync import Field, HubTarget
from fenxiang_sync.hub import Hub
from fenxiang_sync.pipeline import Pipeline, Source
from fenxiang_sync.source import Credentials, FenxiangClient, MemoryTokenStore, Pace, Paces, Style, Tokens
from fenxiang_sync.source.writer import FenxiangWriter
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Asked, Kind, Plan, Run, extract, load, plan, transform, verify
from fenxiang_sync.steps.late import Watch
from fenxiang_sync.steps.verify import Report
from fenxiang_sync.targets.protocol import Database, Endpoint, Reach, no_database
from tests.hub_fixtures import hub_file
from tests.targets_fixtures import kingdee_connection

CREDENTIALS = Credentials(
    app_id="FSAID_demo001",
    app_secret="demo-secret",
    permanent_code="demo-perm",
    style=Style.BODY,
    acting_user="FSUID_demo0000000000000000000000001",
    mobile="",
)


@dataclass
class Bench:
    """Runs pipelines against one simulator, as Airflow would; `sync` is one DAG run."""

    simulator: Simulator
    hub: Hub
    stage: Stage
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    store: MemoryTokenStore = field(default_factory=MemoryTokenStore)
    database: Callable[[str], Database] = no_database

    def client(self) -> FenxiangClient:
        session = requests.Session()
        tokens = Tokens(session=session, base_url=self.simulator.url, credentials=CREDENTIALS, store=self.store)
        return FenxiangClient(
            session=session,
            base_url=self.simulator.url,
            tokens=tokens,
            credentials=CREDENTIALS,
            pace=Paces(lambda: Pace(calls=100_000, per_seconds=20)),
            timeout=(2, 5),
            now=self.simulator.clock.elapsed,
        )

    def reach(self) -> Reach:
        return Reach(
            endpoint=self._endpoint,
            session=requests.Session,
            sleep=lambda seconds: None,
            now=time.time,
            storage=lambda url, conn_id: UPath(url),
            database=self.database,
            crm=lambda conn_id: FenxiangWriter(self.client()),
        )

    def _endpoint(self, conn_id: str) -> Endpoint:
        if conn_id == "kingdee":
            return Endpoint(conn_id=conn_id, **kingdee_connection(self.simulator.url))
        logins = {"qeasy": ("demoappkey01", "demo-qeasy-secret-20")}
        login, password = logins.get(conn_id, ("", ""))
        return Endpoint(conn_id=conn_id, url=self.simulator.url, login=login, password=password)

    def run(self, pipeline: Pipeline, run_id: str | None = None) -> Run:
        run_id = run_id or f"run-{next(self.numbers)}"
        return Run(pipeline=pipeline, id=run_id, folder=self.stage.run(pipeline.name, run_id))

    def plan(self, run: Run, asked: Asked, **options: Any) -> Plan:
        return plan(run, asked, client=self.client(), hub=self.hub, sleep=lambda seconds: None, **options)

    def deliver(self, run: Run, made: Plan) -> None:
        for segment in made.segments:
            extract(run, segment, client=self.client(), hub=self.hub)
            transform(run, segment, hub=self.hub)
            watch = Watch.of(run, made, segment.window, self.hub)
            how: dict[str, Any] = {
                "dry_run": made.dry_run, "resend": made.resend, "watch": watch, "confirmed": made.confirmed,
            }  # fmt: skip
            load(run, segment, hub=self.hub, reach=self.reach(), clock=self.now, **how)

    def verify(self, run: Run) -> Report:
        return verify(run, client=self.client(), hub=self.hub, reach=self.reach(), clock=self.now)

    def sync(self, pipeline: Pipeline, asked: Asked | None = None, *, run_id: str | None = None) -> Report:
        run = self.run(pipeline, run_id)
        self.deliver(run, self.plan(run, asked or Asked(kind=Kind.MANUAL)))
        return self.verify(run)

    def held(self, pipeline: Pipeline) -> dict[str, dict[str, Any]]:
        """Content of every delivered record in the hub, by id."""
        return {record.id: record.content for record in self.hub.records(pipeline.name) if record.content is not None}

    def later(self, seconds: float = 60) -> None:
        """Time passes, there and here, so that what was written is in a window that can be closed."""
        self.simulator.clock.advance(seconds)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.simulator.clock.elapsed(), UTC)


@contextmanager
def bench(folder: Path, knobs: Knobs | None = None, **records: int) -> Iterator[Bench]:
    with (
        Simulator(seed=7, knobs=knobs or quiet(), records=records) as simulator,
        Hub.connect(f"sqlite:///{hub_file(folder)}") as hub,
    ):
        yield Bench(simulator, hub, Stage(folder / "stage"))


def quiet(**knobs: Any) -> Knobs:
    """Knobs of a CRM that does not limit calls, for tests of other things."""
    return Knobs(**{"calls": 1_000_000, "day_quota": 10_000_000, "visibility_lag_ms": 0, **knobs})


def quick(object_name: str, **source: Any) -> Source:
    """A source that need not wait for the server's clock to settle."""
    return Source(object=object_name, **{"settle": timedelta(0), **source})


def pipeline(object_name: str = "AccountObj", *, source: dict[str, Any] | None = None, **words: Any) -> Pipeline:
    """A small pipeline into the hub."""
    return Pipeline(
        **{
            "name": "account",
            "source": quick(object_name, **(source or {})),
            "fields": [Field("_id"), Field("name"), Field("life_status")],
            "target": HubTarget(),
            **words,
        }
    )


def at(day: int, hour: int = 0) -> datetime:
    """A moment of October 2026, which the simulated records cover."""
    return datetime(2026, 10, day, hour, tzinfo=UTC)


def scheduled(since: datetime, until: datetime) -> Asked:
    return Asked(kind=Kind.SCHEDULED, since=since, until=until)


def backfill(since: datetime, until: datetime) -> Asked:
    return Asked(kind=Kind.BACKFILL, since=since, until=until)


def manual(**asked: Any) -> Asked:
    return Asked(kind=Kind.MANUAL, **asked)
