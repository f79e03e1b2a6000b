"""Chaos: people edit, answers go wrong, tokens are revoked and workers killed, for some minutes; then the score."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fenxiang_simulator import FAULTS, Knobs, Simulator
from fenxiang_simulator.faults import LATE, LATE_S
from fenxiang_simulator.server import Request
from fenxiang_sync.hub import Hub
from tests.chaos.erp import FORM, Erp
from tests.chaos.pipelines import GOT, PIPELINES
from tests.chaos.scheduler import RunFailedError, Scheduler
from tests.chaos.score import Arrivals, Deletions, Score, scores, violations
from tests.chaos.worker import Setting

LEFT_OUT = ("huge", "token_expired", "lost_row", "other_page")
"""The first ends a run at once, and says so. Tokens are truly revoked instead. And nobody can see through a server that
leaves out a row, or answers another question in the right form, again and again: they have tests of their own."""
PATHS = ("/data/query", "/object/describe")
RARE_PATHS = (
    *("/corpAccessToken/get/V2", "/data/get"),
    *("/data/create", "/data/update", "/data/invalid", "/data/recover"),
)
"""Where there is a call for each record, or a spoiled one holds everybody up, faults are rarer."""
THROTTLES = ("throttled", "over_limit")
"""After each of them everybody pauses for seconds, as it must be; so they are rarer, too."""
SPOILED = tuple(fault for fault in FAULTS if fault not in LEFT_OUT)


@dataclass(kw_only=True)
class Chaos:
    """`minutes` of trouble, at the real `calls` in 20 s. Every time is random by `seed`, but processes are not."""

    seed: int
    minutes: float
    pipelines: Sequence[str] = tuple(PIPELINES)
    workers: int = 4
    records: int = 200
    calls: int = 100
    part: float = 0.03
    edits_per_second: int = 2
    kill_every_s: tuple[float, float] = (10.0, 40.0)
    revoke_every_s: tuple[float, float] = (30.0, 90.0)
    least_windows: int = 3
    windows_a_reconcile: int = 4
    """A reconcile after so many windows."""
    deaths: tuple[int, int] = (1, 1_000)
    """At least, at most."""


@dataclass(kw_only=True)
class Outcome:
    """What came out, for people and for the exit code."""

    scores: list[Score]
    violations: dict[str, int]
    requests: int
    spoiled: int
    windows: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    tries: Counter[str] = field(default_factory=Counter)
    edits: Counter[str] = field(default_factory=Counter)
    token_calls: int = 0
    revocations: int = 0
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return all(score.good for score in self.scores) and not any(self.violations.values())


def chaos(asked: Chaos, folder: Path) -> Outcome:
    """Run it and compare; raises `RunFailedError` where even the last, undisturbed run fails."""
    hub_url = f"sqlite:///{folder}/hub.db"
    records = {PIPELINES[name].source.object: asked.records for name in asked.pipelines}
    records[PIPELINES["archive"].target.object] = 0
    knobs = Knobs(calls=asked.calls, visibility_lag_ms=500, token_latency_ms=300)
    with (
        Simulator(seed=asked.seed, knobs=knobs, records=records) as simulator,
        Hub.connect(hub_url) as hub,
    ):
        simulator.targets.knobs.write_appends = True
        arrivals, deletions, erp = Arrivals(), Deletions(simulator), Erp(simulator, asked.seed)
        readers = Readers(simulator, asked.pipelines)
        simulator.server.apps[:0] = [arrivals, readers, erp]
        setting = Setting(url=simulator.url, folder=str(folder), hub_url=hub_url, calls=asked.calls, timeout=(0.5, 0.5))
        disturbed = _Disturbed(asked, simulator, readers, erp, Scheduler(setting, workers=asked.workers), hub)
        began = time.monotonic()
        disturbed.live()
        return Outcome(
            scores=scores(simulator, hub, deletions.ids, asked.pipelines),
            violations=violations(simulator, arrivals, asked.calls),
            requests=sum(simulator.requests.values()) + simulator.targets.kingdee.requests.total(),
            spoiled=simulator.faults.injected.total() + erp.spoiled,
            windows=disturbed.windows,
            failed=disturbed.failed,
            killed=disturbed.scheduler.killed,
            tries=disturbed.scheduler.failures,
            edits=simulator.editor.done + Counter({f"erp {what}": times for what, times in erp.done.items()}),
            token_calls=simulator.tokens.report()["calls"],
            revocations=disturbed.revocations,
            seconds=time.monotonic() - began,
        )


class Readers:
    """An app of the server that answers nothing: while it `edits`, each query for an object that a pipeline reads finds
    one more edit there. What a pipeline writes is its own."""

    def __init__(self, simulator: Simulator, pipelines: Sequence[str]) -> None:
        names = (PIPELINES[name].source.object for name in pipelines)
        self.objects = [name for name in dict.fromkeys(names) if name in simulator.tenant.objects]
        self.edits = False
        self._editor = simulator.editor

    def handle(self, request: Request) -> None:
        if self.edits and request.path.endswith("/data/query"):
            name = request.json()["data"]["dataObjectApiName"]
            if name in self.objects:
                self._editor.edit(name)


class _Disturbed:
    """The pipelines, each run after run, and those who disturb them."""

    def __init__(
        self, asked: Chaos, simulator: Simulator, readers: Readers, erp: Erp, scheduler: Scheduler, hub: Hub
    ) -> None:
        self.asked = asked
        self.simulator = simulator
        self.readers = readers
        self.erp = erp
        self.scheduler = scheduler
        self.windows: Counter[str] = Counter()
        self.failed: list[str] = []
        self.revocations = 0
        self._hub = hub
        self._over = threading.Event()
        self._until = dict.fromkeys(asked.pipelines, 0.0)
        self._numbers = itertools.count(1)

    def live(self) -> None:
        with self.scheduler.running():
            with self._trouble(), ThreadPoolExecutor(len(self._until)) as pool:
                for done in [pool.submit(self._runs, name) for name in self._until]:
                    done.result()
            self._last_runs()

    def _runs(self, name: str) -> None:
        """Windows, one after the other. A run that failed leaves a gap, which the next one reads."""
        give_up = time.monotonic() + self.asked.minutes * 60
        while time.monotonic() < give_up or not self._enough(name):
            since = self._until[name]
            until = self.simulator.clock.now()
            try:
                self._run(name, since, until)
                if self.windows[name] % self.asked.windows_a_reconcile == 0:
                    self.scheduler.reconcile(name, f"reconcile-{next(self._numbers)}")
            except RunFailedError as failure:
                self.failed.append(str(failure))
                if not since:
                    continue  # the first load is begun again, as a person would clear it
            self._until[name] = until

    def _enough(self, name: str) -> bool:
        return self.windows[name] >= self.asked.least_windows and (
            self.scheduler.killed.total() >= self.asked.deaths[0]
        )

    def _run(self, name: str, since: float, until: float) -> None:
        self.scheduler.run(name, f"run-{next(self._numbers)}", since, until)
        self.windows[name] += 1

    def _last_runs(self) -> None:
        """A last record is voided; then nobody edits any more, and nothing goes wrong: what is missing now would be
        missing for ever. Letters and doubts are left to the replay. Then what was deleted is looked for, which no query
        shows."""
        self._void()
        if self.simulator.faults.injected[LATE]:
            time.sleep(LATE_S)
        lag_s = self.simulator.knobs.visibility_lag_ms / 1000
        until = self.simulator.clock.now() + lag_s
        for name in self._until:
            self._run(name, self._until[name], until)
        for name in self._until:
            self.scheduler.mend(name, f"replay-{next(self._numbers)}")
            self._read_again(name)
        for name in self._until:
            self.scheduler.reconcile(name, f"reconcile-{next(self._numbers)}")

    def _read_again(self, name: str) -> None:
        """What `get` refused, as its letter says: the window of the record."""
        for letter in list(self._hub.dead_letters(name)):
            since = letter.modified_ms / 1000
            self._run(name, since, since + 0.001)

    # Trouble

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        simulator, random = self.simulator, Random(self.asked.seed)
        self.readers.edits = True
        self.erp.part = self.asked.part
        for path, fault in itertools.product((*PATHS, *RARE_PATHS), SPOILED):
            rare = path in RARE_PATHS or fault in THROTTLES
            simulator.faults.rate(fault, self.asked.part / 5 if rare else self.asked.part, path)
        people = Random(random.random())
        jobs = [
            (lambda: self._edit(people), (1 / self.asked.edits_per_second,) * 2),
            (lambda: self._kill(random), self.asked.kill_every_s),
            (self._revoke, self.asked.revoke_every_s),
        ]
        threads = [
            threading.Thread(target=self._again, args=(job, pause, Random(random.random()))) for job, pause in jobs
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
            simulator.faults.clear()
            self.readers.edits = False
            self.erp.part = 0.0

    def _again(self, job: Callable[[], object], pause: tuple[float, float], random: Random) -> None:
        while not self._over.wait(random.uniform(*pause)):
            job()

    def _edit(self, people: Random) -> None:
        for name in self.readers.objects:
            self.simulator.editor.edit(name)
        if "product" in self._until:
            self._describe(people)
        if "material" in self._until:
            self.erp.edit()

    def _describe(self, people: Random) -> None:
        """A new text for what only `get` gives, which the editor leaves alone."""
        tenant, name = self.simulator.tenant, PIPELINES["product"].source.object
        with tenant.lock:
            usual = [key for key, each in sorted(tenant.records(name).items()) if each["life_status"] == "normal"]
            tenant.update(name, people.choice(usual), {GOT: f"text {people.random()}"})

    def _void(self) -> None:
        """One record of each object, so that something is to be removed, whatever came back of what people voided."""
        tenant = self.simulator.tenant
        for name in self.readers.objects:
            records = sorted(tenant.records(name).items())
            tenant.invalid(name, next(key for key, each in records if each["life_status"] == "normal"))
        if "material" in self._until:
            self.erp.erase(self.simulator.targets.kingdee.bills(FORM)[0].number)

    def _kill(self, random: Random) -> None:
        if self.scheduler.killed.total() < self.asked.deaths[1]:
            self.scheduler.kill_one(random)

    def _revoke(self) -> None:
        self.simulator.tokens.revoke()
        self.simulator.targets.kingdee.end_sessions()
        self.revocations += 1
