"""A CRM with a clock of its own, the tasks of runs and reconciles that end anywhere, and a target that remembers what
it was sent and told to remove."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PosixPath
from typing import Any, ClassVar

import requests

from fenxiang_simulator import Simulator
from fenxiang_sync.errors import TransientError
from fenxiang_sync.hub import Hub
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.source import FenxiangClient, MemoryTokenStore, Pace, Tokens
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Asked, Plan, Run, Segment, extract, load, plan, transform, verify
from fenxiang_sync.steps.attaching import RANGES
from fenxiang_sync.steps.reconcile import (
    Survey,
    Wanted,
    compare,
    confirm,
    count,
    fetch,
    remove,
    report,
    segments,
    survey,
)
from fenxiang_sync.steps.reconcile.report import clean
from fenxiang_sync.targets.protocol import Answer, Delivery, Endpoint, Reach, Removal, Sender
from tests.steps_fixtures import CREDENTIALS, quiet

OBJECT = "AccountObj"
BEGUN = datetime(2026, 11, 20, 8, 0, tzinfo=UTC).timestamp()


class Killed(BaseException):
    """The process of a task is gone (SIGKILL, a lost machine)."""


class Time:
    """The one clock of everybody: it moves when somebody sleeps or `sleep` is called."""

    def __init__(self) -> None:
        self.now = BEGUN

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)


class Deaths:
    """Kills the task at its n-th call of the CRM, n-th look at its clock (before the n-th write to the hub), or before
    or behind the n-th file that it writes to the stage.

    `meanwhile` holds what people do just before the n-th call from now, in mid-reading.
    """

    def __init__(self) -> None:
        self.calls: int | None = None
        self.writes: int | None = None
        self.files: int | None = None
        self.meanwhile: list[tuple[int, Callable[[], None]]] = []

    def clear(self) -> None:
        self.calls = self.writes = self.files = None
        self.meanwhile = []

    def call(self) -> None:
        due = [do for left, do in self.meanwhile if left == 0]
        self.meanwhile = [(left - 1, do) for left, do in self.meanwhile if left]
        for do in due:
            do()
        self.calls = self._next(self.calls)

    def write(self) -> None:
        self.writes = self._next(self.writes)

    def file(self) -> None:
        self.files = self._next(self.files)

    def _next(self, left: int | None) -> int | None:
        if left == 0:
            self.clear()
            raise Killed
        return None if left is None else left - 1


class MortalPace(Pace):
    """A pace without limits whose caller may die while it waits."""

    def __init__(self, time: Time, deaths: Deaths) -> None:
        super().__init__(calls=10_000_000, per_seconds=20, now=time, sleep=time.sleep)
        self._deaths = deaths

    def wait(self) -> None:
        self._deaths.call()
        super().wait()


class MortalPath(PosixPath):
    """A folder of the stage whose writer may die: with half a file, or with the whole one before it knows."""

    deaths: ClassVar[Deaths]

    def replace(self, target: Any) -> Any:
        self.deaths.file()
        made = super().replace(target)
        self.deaths.file()
        return made


@dataclass
class Store:
    """What a target was sent, in order, and how it will answer the next batches."""

    history: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    troubles: deque[str] = field(default_factory=deque)
    removed: dict[str, DeletePolicy] = field(default_factory=dict)
    """The rows that are flagged, or deleted; one that is sent again is ordinary."""

    def content(self, row_id: str) -> dict[str, Any] | None:
        taken = self.history.get(row_id)
        return taken[-1].content if taken and self.removed.get(row_id) is not DeletePolicy.DELETE else None

    def taken(self) -> int:
        return sum(map(len, self.history.values()))


STORES: dict[str, Store] = {}
TROUBLES = ("unreachable", "refused", "again", "taken_unknown", "lost_unknown", "dies_before", "dies_after")


@dataclass(frozen=True, kw_only=True)
class Remembering:
    """A target that keeps every row that it was sent, in `STORES`."""

    store: str
    upserts: bool = True
    batch_rows: int = 3
    connections: ClassVar[Sequence[str]] = ()
    removals: ClassVar[AbstractSet[DeletePolicy]] = frozenset((DeletePolicy.FLAG, DeletePolicy.DELETE))

    def describe(self) -> str:
        return f"remembers rows in {self.store}"

    def open(self, reach: Reach) -> AbstractContextManager[Sender]:
        return nullcontext(_Remembering(STORES[self.store]))


class _Remembering:
    def __init__(self, store: Store) -> None:
        self._store = store

    def send(self, rows: Sequence[Row]) -> Sequence[Answer]:
        return self._through([partial(self._take, row) for row in rows])

    def remove(self, removals: Sequence[Removal], *, policy: DeletePolicy) -> Sequence[Answer]:
        return self._through([partial(self._drop, each.id, policy) for each in removals])

    def _take(self, row: Row) -> None:
        self._store.history[row.id].append(row)
        self._store.removed.pop(row.id, None)

    def _drop(self, row_id: str, policy: DeletePolicy) -> None:
        self._store.removed[row_id] = policy

    def _through(self, does: Sequence[Callable[[], None]]) -> Sequence[Answer]:
        """Do each, with the trouble that is next."""
        trouble = self._store.troubles.popleft() if self._store.troubles else ""
        if trouble == "unreachable":
            raise TransientError("the target cannot be reached")
        if trouble == "dies_before":
            raise Killed
        answers = [self._answer(do, trouble, first=at == 0) for at, do in enumerate(does)]
        if trouble == "dies_after":
            raise Killed
        return answers

    def _answer(self, do: Callable[[], None], trouble: str, *, first: bool) -> Answer:
        if trouble == "refused" and first:
            return Answer(delivery=Delivery.REFUSED, reason="not this one")
        if trouble == "again" and not first:
            return Answer(delivery=Delivery.AGAIN, reason="too many rows")
        if trouble != "lost_unknown":
            do()
        unknown = trouble in ("taken_unknown", "lost_unknown")
        return Answer(delivery=Delivery.UNKNOWN if unknown else Delivery.DELIVERED)


class World:
    """One simulator and one pipeline; `step` does one task's work, in a process of its own so to speak."""

    def __init__(self, simulator: Simulator, hub: Hub, stage: Stage, time: Time) -> None:
        self.simulator = simulator
        self.tenant = simulator.tenant
        self.hub = hub
        self.time = time
        self.deaths = Deaths()
        self._stage = stage
        mortal: Any = type("MortalPath", (MortalPath,), {"deaths": self.deaths})
        stage.root = mortal(stage.root)
        self._store = MemoryTokenStore()

    def client(self) -> FenxiangClient:
        session = requests.Session()
        url, now, sleep = self.simulator.url, self.time, self.time.sleep
        tokens = Tokens(
            session=session, base_url=url, credentials=CREDENTIALS, store=self._store, now=now, sleep=sleep
        )  # fmt: skip
        pace = MortalPace(self.time, self.deaths)
        return FenxiangClient(
            session=session, base_url=url, tokens=tokens, credentials=CREDENTIALS, pace=lambda _: pace, timeout=(5, 30),
            now=now, sleep=sleep,
        )  # fmt: skip

    def reach(self) -> Reach:
        return Reach(
            endpoint=lambda conn_id: Endpoint(conn_id=conn_id, url=self.simulator.url),
            session=requests.Session,
            sleep=self.time.sleep,
            now=self.time,
        )

    def clock(self) -> datetime:
        self.deaths.write()
        return self.time.utc()

    def run(self, pipeline: Pipeline, run_id: str) -> Run:
        return Run(pipeline=pipeline, id=run_id, folder=self._stage.run(pipeline.name, run_id))

    def step(self, run: Run, name: str, asked: Asked, segment: Segment | None, *, threads: bool = False) -> Any:
        """Do one task. Without `threads` the ranges of a segment are read one after the other: the same calls in
        every try."""
        hub, clock = self.hub, self.clock
        if name == "plan":
            return plan(run, asked, client=self.client(), hub=hub, sleep=self.time.sleep)
        if name == "verify":
            return verify(run, client=self.client(), hub=hub, reach=self.reach(), clock=clock)
        assert segment is not None
        if name == "extract":
            at_once = RANGES if threads else 1
            return extract(run, segment, client=self.client(), hub=hub, at_once=at_once)
        if name == "transform":
            return transform(run, segment)
        made = Plan.of(run)
        how: dict[str, Any] = {"dry_run": made.dry_run, "confirmed": made.confirmed}
        return load(run, segment, hub=hub, reach=self.reach(), clock=clock, **how)

    def compare(self, run: Run, name: str, wanted: Wanted, segment: Segment | None) -> Any:
        """Do one task of a reconcile, with the steps that its operator calls."""
        hub, clock = self.hub, self.clock
        if name == "survey":
            return survey(run, wanted, hub=hub, now=self.time.utc())
        if name == "compare":
            client = self.client()
            compare(run, client=client, hub=hub, clock=clock)
            confirm(run, client=client, hub=hub, clock=clock)
            return segments(run, hub=hub)
        if name == "conclude":
            removed = remove(run, hub=hub, reach=self.reach(), clock=clock)
            made = report(run, removed, count(run, hub=hub, reach=self.reach()))
            clean(run)
            return made
        assert segment is not None
        if name == "fetch":
            return fetch(run, segment, client=self.client())
        if name == "transform":
            return transform(run, segment)
        surveyed = Survey.of(run)
        how: dict[str, Any] = {"dry_run": surveyed.dry_run, "confirmed": surveyed.confirmed}
        return load(run, segment, hub=hub, reach=self.reach(), clock=clock, **how)

    def seen(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, dict[str, Any]]:
        """The records that a query of the acting user finds now, as they are found."""
        tenant = self.tenant
        with tenant.lock:
            shown = dict(tenant.shelf(OBJECT).seen)
            tests = [tenant.permission(OBJECT, CREDENTIALS.acting_user), tenant.unvoided()]
        return {
            key: record
            for key, record in shown.items()
            if condition(record) and all(test is None or test(record) for test in tests)
        }


@contextmanager
def world(hub: Hub, folder: Path, **knobs: Any) -> Iterator[World]:
    time = Time()
    settings = quiet(token_latency_ms=0, **knobs)
    none = dict.fromkeys(("DepartmentObj", "PersonnelObj", "ProductObj", "WarehouseObj", OBJECT, "ContactObj"), 0)
    none |= dict.fromkeys(("SalesOrderObj", "SalesOrderProductObj", "StockObj", "object_warehouse__c"), 0)
    none |= {"object_inventory_report__c": 0}
    with Simulator(seed=7, knobs=settings, records=none, real=time) as simulator:
        yield World(simulator, hub, Stage(folder), time)
