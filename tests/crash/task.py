"""Task: a process that does the tasks of one run, and may be killed at any of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import requests

from fenxiang_sync import (
    Condition,
    Field,
    HubTarget,
    Logic,
    Pipeline,
    QeasyStore,
    Source,
    WriteApi,
    integer,
)
from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.hub import Hub
from fenxiang_sync.source import FenxiangClient, MemoryTokenStore, Pace, Paces, Tokens
from fenxiang_sync.source.auth import Lease
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Asked, Kind, Plan, Run, extract, load, plan, transform, verify
from fenxiang_sync.steps.late import Watch
from fenxiang_sync.targets.protocol import Endpoint, Reach, Target
from fenxiang_sync.window import from_ms
from tests.steps_fixtures import CREDENTIALS
from tests.token_fixtures import FileTokenStore

TASKS = ("plan", "extract", "transform", "load", "verify")
BATCH_ROWS = 3
TOKEN = "token.json"
TARGETS: dict[str, Target] = {
    "hub": HubTarget(batch_rows=BATCH_ROWS),
    "write, upserts": WriteApi(upserts=True, batch_rows=BATCH_ROWS),
    "write, appends": WriteApi(batch_rows=BATCH_ROWS),
    "qeasy, upserts": QeasyStore(scheme="demo", upserts=True, batch_rows=BATCH_ROWS, rate=None),
    "qeasy, appends": QeasyStore(scheme="demo", batch_rows=BATCH_ROWS, rate=None),
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run, from one of its tasks on. `ahead_s` is how far the simulator's clock is ahead of this machine's."""

    target: str
    run: str
    since_ms: int
    until_ms: int
    url: str
    hub_url: str
    folder: str
    ahead_s: float
    first: int = 0


class _TokenFile(FileTokenStore):
    """For one process after another: nobody else asks for a token meanwhile, so none waits for a dead one's lease."""

    def lease(self) -> AbstractContextManager[Lease]:
        return MemoryTokenStore().lease()


@dataclass(frozen=True)
class Failed:
    """A task that ended with an error instead."""

    task: str
    error: str


def pipeline(target: str) -> Pipeline:
    """Of a record's fields, one may be rejected by its converter and one refused by the target (where it is empty)."""
    return Pipeline(
        name="account",
        source=Source(object="AccountObj", page_size=5, lookback=timedelta(days=1_000), settle=timedelta(0)),
        fields=[
            Field("_id", "id"),
            Field("name"),
            Field("remark", "needed"),
            Field("tel", "number", convert=integer),
        ],
        conditions=[[Condition("name", Logic.NEQ, "filtered")]],
        target=TARGETS[target],
        schedule=None,
    )


def work(pipe: Connection) -> None:
    """Do the job that comes through the pipe; tells of each task that is done, and waits to go on."""
    logging.disable(logging.CRITICAL)
    job: Job = pipe.recv()
    for task in TASKS[job.first :]:
        try:
            Tasks(job).do(task)
        except FenxiangSyncError as error:
            pipe.send(Failed(task, f"{type(error).__name__}: {error}"))
            return
        pipe.send(task)
        pipe.recv()


class Tasks:
    """Each task opens what it needs for itself, as in a process of its own."""

    def __init__(self, job: Job) -> None:
        self._job = job
        declared = pipeline(job.target)
        stage = Stage(Path(job.folder) / "stage")
        self._run = Run(pipeline=declared, id=job.run, folder=stage.run(declared.name, job.run))

    def do(self, task: str) -> None:
        with Hub.connect(self._job.hub_url) as hub:
            self._do(task, hub)

    def _do(self, task: str, hub: Hub) -> None:
        run = self._run
        if task == "plan":
            asked = Asked(kind=Kind.SCHEDULED, since=from_ms(self._job.since_ms), until=from_ms(self._job.until_ms))
            plan(run, asked, client=self._client(), hub=hub, sleep=self._sleep)
            return
        if task == "verify":
            verify(run, client=self._client(), hub=hub, reach=self._reach(), clock=self._clock)
            return
        made = Plan.of(run)
        for segment in made.segments:
            if task == "extract":
                extract(run, segment, client=self._client())
            elif task == "transform":
                transform(run, segment)
            else:
                watch = Watch.of(run, made, segment.window, hub)
                load(run, segment, hub=hub, reach=self._reach(), clock=self._clock, watch=watch)

    def _client(self) -> FenxiangClient:
        session = requests.Session()
        store = _TokenFile(Path(self._job.folder) / TOKEN, self._job.hub_url)
        return FenxiangClient(
            session=session,
            base_url=self._job.url,
            tokens=Tokens(session=session, base_url=self._job.url, credentials=CREDENTIALS, store=store),
            credentials=CREDENTIALS,
            pace=Paces(lambda: Pace(calls=100_000, per_seconds=20)),
            now=self._now,
        )

    def _reach(self) -> Reach:
        def endpoint(conn_id: str) -> Endpoint:
            secret = ("demoappkey01", "demo-qeasy-secret-20") if conn_id == "qeasy" else ("", "")
            return Endpoint(conn_id=conn_id, url=self._job.url, login=secret[0], password=secret[1])

        return Reach(endpoint=endpoint, session=requests.Session, sleep=self._sleep, now=self._now)

    def _now(self) -> float:
        return time.time() + self._job.ahead_s

    def _clock(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    @property
    def _sleep(self) -> Callable[[float], None]:
        return lambda seconds: None
