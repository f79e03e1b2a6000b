"""Task: a process that does the tasks of one run, and may be killed at any of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import requests

from fenxiang_sync import KingdeeSource
from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.hub import Hub
from fenxiang_sync.kingdee import KingdeeClient
from fenxiang_sync.source import Client, FenxiangClient, MemoryTokenStore, Pace, Paces, Tokens
from fenxiang_sync.source.auth import Lease
from fenxiang_sync.source.writer import FenxiangWriter
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Asked, Kind, Plan, Run, extract, load, plan, transform, verify
from fenxiang_sync.steps.late import Watch
from fenxiang_sync.targets.protocol import Endpoint, Reach
from fenxiang_sync.window import from_ms
from tests.crash.cases import CASES
from tests.steps_fixtures import CREDENTIALS
from tests.targets_fixtures import kingdee_connection
from tests.token_fixtures import FileTokenStore

TASKS = ("plan", "extract", "transform", "load", "verify")
TOKEN = "token.json"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run, from one of its tasks on. `ahead_s` is how far the simulator's clock is ahead of this machine's."""

    case: str
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
        declared = CASES[job.case].pipeline()
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
                extract(run, segment, client=self._client(), hub=hub)
            elif task == "transform":
                transform(run, segment)
            else:
                watch = Watch.of(run, made, segment.window, hub)
                load(run, segment, hub=hub, reach=self._reach(), clock=self._clock, watch=watch)

    def _client(self) -> Client:
        """Of what the run reads."""
        source = self._run.pipeline.source
        return KingdeeClient(self._reach(), source.connection) if isinstance(source, KingdeeSource) else self._crm()

    def _crm(self) -> FenxiangClient:
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
            if conn_id == "kingdee":
                return Endpoint(conn_id=conn_id, **kingdee_connection(self._job.url))
            secret = ("demoappkey01", "demo-qeasy-secret-20") if conn_id == "qeasy" else ("", "")
            return Endpoint(conn_id=conn_id, url=self._job.url, login=secret[0], password=secret[1])

        return Reach(
            endpoint=endpoint,
            session=requests.Session,
            sleep=self._sleep,
            now=self._now,
            crm=lambda conn_id: FenxiangWriter(self._crm()),
        )

    def _now(self) -> float:
        return time.time() + self._job.ahead_s

    def _clock(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    @property
    def _sleep(self) -> Callable[[float], None]:
        return lambda seconds: None
