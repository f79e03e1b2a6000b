"""Crash: one run over a CRM that has changed, undisturbed or killed at one event, and what it leaves."""

from __future__ import annotations

import json
import multiprocessing
import re
import shutil
import signal
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, create_engine, make_url, text

from fenxiang_simulator import Simulator
from fenxiang_simulator.targets import IdRule, TargetKnobs, Targets
from fenxiang_sync.hub import Hub, Status, tables
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps.turns import LEASE_S
from tests.crash.cases import BATCH_ROWS, CASES, COPIES, OBJECT
from tests.crash.people import People, people
from tests.crash.task import TASKS, TOKEN, Failed, Job, work
from tests.crash.wire import Death, HttpProxy, PostgresProxy, Watcher
from tests.hub_fixtures import empty_database
from tests.steps_fixtures import quiet

RUN = "run-1"
_HOUR_MS = 3_600_000
_TRACE = re.compile(r" \(traceId [^)]*\)")
_warm = multiprocessing.get_context("forkserver")
_warm.set_forkserver_preload(["tests.crash.task"])

COMPARED = {
    tables.record: "source_id number status outcome reason code modified_ms version content_hash content claim_content "
    "claim_hash claim_modified_ms claim_version claim_until removed_at run_id claim_run",
    tables.source: "modified_ms listed_ms presence",
    tables.dead_letter: "row_id stage state error code field value reason modified_ms payload closed_by",
    tables.certificate: "until_ms read_since_ms digest config_hash run_id",
    tables.late: "found_by least_ms most_ms record_id modified_ms run_id",
}
"""All that a hub holds but moments, numbers of tries and of calls, and the runs' own table, which Airflow's part keeps.
How many came late is not compared: they are counted before they are claimed, so a death in between counts twice."""
KEYS = {
    tables.record: "id",
    tables.source: "source_id",
    tables.dead_letter: "record_id",
    tables.certificate: "since_ms",
    tables.late: "within_ms",
}


@dataclass(frozen=True, kw_only=True)
class Left:
    """What a run leaves: each content that the target holds, the hub's tables by key, and the run's numbers."""

    target: Sequence[str]
    hub: dict[str, dict[str, list[tuple[Any, ...]]]]
    numbers: dict[str, Any]
    doubtful: frozenset[str]
    """Ids of the rows that are in doubt."""
    failed: Failed | None = None


@dataclass(kw_only=True)
class Life:
    """What happened to one process: the events that it caused, where it was killed, how many tasks it finished."""

    events: list[str]
    killed_at: str | None
    done: int
    failed: Failed | None


@dataclass(kw_only=True)
class Scene:
    """A CRM and a hub that a run has brought up to date, and what people did since; it can be put back to that."""

    case: str
    simulator: Simulator
    people: People
    watcher: Watcher
    engine: Engine
    job: Job
    shown_to_verify: str = ""
    deadline_s: float = 60.0
    undisturbed: Left = field(init=False)
    events: list[str] = field(init=False)
    copies: list[dict[str, Any]] = field(init=False)
    """The records that `FenxiangTarget` had made by then."""
    before: list[str] = field(init=False)
    """What the target holds when the run begins."""

    @property
    def upserts(self) -> bool:
        return CASES[self.case].target.upserts

    def begin(self) -> None:
        """A first run, and the edits after it; then the run that nothing disturbs."""
        clock, update = self.simulator.clock, self.people.update
        ids = [self._create(f"first {number}") for number in range(9)]
        clock.advance(3_600)
        since = self._now_ms()
        self._must(self._live(self._job("run-0", since)))
        clock.advance(60)
        for place, changes in enumerate(
            [{"name": "changed 0"}, {"name": "changed 1"}, {"email": "a@b.cn"}, {"tel": ""}]
        ):
            update(ids[place], changes)
        update(ids[4], {"remark": ""})  # what the target refuses
        update(ids[5], {"tel": "no number"})  # what the converter rejects
        update(ids[6], {"name": "filtered"})
        for number in range(4):
            self._create(f"second {number}")
        self._create("late", modified_ms=since - _HOUR_MS)
        self.shown_to_verify = self._create("shown to verify")
        clock.advance(60)
        self.job = self._job(RUN, self._now_ms(), since_ms=since)
        self._keep()
        self._put_back()
        self.before = self._held()
        life = self._must(self._live(self.job))
        self.events = life.events
        self.undisturbed = self.left()

    def dies(self, death: Death) -> tuple[Life, Left]:
        """The run with that death in it, and then again from the task that died, as Airflow's retry does it."""
        first = self.lives(death)
        last = self._live(self.job, first=first.done) if first.killed_at else first
        return first, self.left(last.failed)

    def dies_for_good(self, death: Death) -> tuple[Life, Left]:
        """The same, but nobody tries again: another run comes when the claims are over."""
        first = self.lives(death)
        self.simulator.clock.advance(2 * LEASE_S)
        last = self._live(replace(self.job, run="run-2"))
        return first, self.left(last.failed, run="run-2")

    def lives(self, death: Death | None) -> Life:
        self._put_back()
        return self._live(self.job, death)

    def _live(self, job: Job, death: Death | None = None, first: int = 0) -> Life:
        """One process that does the tasks of the job from `first` on."""
        ours, theirs = _warm.Pipe()
        process = _warm.Process(target=work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        assert process.pid
        self.watcher.watch(process.pid, death)
        done, failed = first, None
        with ours, suppress(EOFError, OSError):
            ours.send(replace(job, first=first, ahead_s=self.simulator.clock.offset))
            while done < len(TASKS):
                if not ours.poll(self.deadline_s):
                    failed = Failed(TASKS[done], f"not done in {self.deadline_s:.0f} s")
                    process.kill()
                    break
                told = ours.recv()
                if isinstance(told, Failed):
                    failed = told
                    break
                done += 1
                if TASKS[done - 1] == "load" and job.run != "run-0":
                    self.people.show(self.shown_to_verify)
                ours.send("go on")
        process.join(self.deadline_s)
        if process.exitcode not in (0, -signal.SIGKILL):
            failed = failed or Failed(TASKS[min(done, len(TASKS) - 1)], f"exit code {process.exitcode}")
        return Life(events=list(self.watcher.events), killed_at=self.watcher.killed_at, done=done, failed=failed)

    def _must(self, life: Life) -> Life:
        assert life.failed is None and life.done == len(TASKS), f"nothing disturbed it, and yet: {life}"  # noqa: PT018
        return life

    # What there is

    def _now_ms(self) -> int:
        """A little while ago, so that any source has closed it, on a whole second."""
        return self.simulator.clock.now_ms() // 1000 * 1000 - 5_000

    def _create(self, name: str, modified_ms: int | None = None) -> str:
        return self.people.create({"name": name, "remark": "there", "tel": "13800000000"}, modified_ms)

    def _job(self, run: str, until_ms: int, since_ms: int = 0) -> Job:
        return replace(self.job, run=run, since_ms=since_ms, until_ms=until_ms)

    def _keep(self) -> None:
        with self.engine.begin() as connection:
            for table in tables.metadata.sorted_tables:
                connection.execute(text(f"CREATE TABLE kept_{table.name} AS SELECT * FROM {table.name}"))
        self.copies = list(self.simulator.tenant.records(COPIES.name).values())

    def _put_back(self) -> None:
        """The hub as it was, a target that holds nothing but the copies of then, no stage, no token, and a record that
        is not visible yet."""
        self.simulator.clock.advance(60)  # the eleventh token call of a minute would be refused
        (Path(self.job.folder) / TOKEN).unlink(missing_ok=True)
        with self.engine.begin() as connection:
            for table in tables.metadata.sorted_tables:
                connection.execute(text(f"DELETE FROM {table.name}"))
                connection.execute(text(f"INSERT INTO {table.name} SELECT * FROM kept_{table.name}"))
        self.people.hide(self.shown_to_verify)
        self._empty_targets()
        self._put_back_copies()
        shutil.rmtree(Path(self.job.folder) / "stage", ignore_errors=True)

    def _empty_targets(self) -> None:
        simulator, rule = self.simulator, IdRule.OVERWRITE if self.upserts else IdRule.APPEND
        knobs = TargetKnobs(
            write_appends=not self.upserts,
            write_required=["needed"],
            qeasy_id_rule=rule,
            qeasy_id_field="id",
            qeasy_required={"demo": ["needed"]},
            qeasy_calls=1_000_000,
        )
        apps = simulator.server.apps
        empty = Targets(simulator.clock, knobs)
        empty.kingdee = simulator.targets.kingdee  # which is read
        apps[apps.index(simulator.targets)] = empty
        simulator.targets = empty

    def _put_back_copies(self) -> None:
        tenant, name = self.simulator.tenant, COPIES.name
        made = tenant.records(name)
        if made:
            tenant.invalid(name, [key for key, each in made.items() if each["life_status"] == "normal"])
            tenant.delete(name, list(made))
        for each in self.copies:
            tenant.create(name, each)

    def left(self, failed: Failed | None = None, run: str = RUN) -> Left:
        folder = Stage(Path(self.job.folder) / "stage").run("account", run)
        numbers = folder.load("report") or {}
        for name in ("requests", "late", "late_ever"):
            numbers.pop(name, None)
        with self.engine.begin() as connection:
            found = connection.execute(tables.record.select().where(tables.record.c.status == int(Status.IN_DOUBT)))
            doubtful = frozenset(one.id for one in found)
        return Left(
            target=self._held(),
            hub={table.name: self._rows(table) for table in COMPARED},
            numbers=numbers,
            doubtful=doubtful,
            failed=failed,
        )

    def _held(self) -> list[str]:
        targets, copies = self.simulator.targets, self.simulator.tenant.records(COPIES.name).values()
        named = ("id", "name", "needed", "number", "life_status")
        held = [
            *targets.write.rows,
            *targets.qeasy.contents("demo"),
            *({name: each.get(name) for name in named} for each in copies),
        ]
        return [json.dumps(content, sort_keys=True) for content in held]

    def _rows(self, table: Table) -> dict[str, list[tuple[Any, ...]]]:
        key = KEYS[table]
        rows: dict[str, list[tuple[Any, ...]]] = {}
        with self.engine.begin() as connection:
            for one in connection.execute(table.select()).mappings():
                found = tuple((name, _plain(one[name])) for name in COMPARED[table].split())
                rows.setdefault(str(one[key]), []).append(found)
        return {each: sorted(found, key=repr) for each, found in rows.items()}


def _plain(value: Any) -> Any:
    """Without the remark that the target was asked, since such a row is delivered like any other, without the number
    that the CRM gives each answer, and whatever the time of it."""
    if isinstance(value, datetime):
        return "a moment"
    if not isinstance(value, str):
        return value
    return "" if value.startswith("accepted by ") else _TRACE.sub("", value)


def differences(scene: Scene, left: Left, *, same_run: bool = True) -> list[str]:
    """What is not as after the undisturbed run, a sentence each; rows in doubt are the only ones that may differ, and
    only at a target that cannot be sent a row twice: they may be as they were before."""
    whole = scene.undisturbed
    found = [f"{left.failed.task} failed: {left.failed.error}"] if left.failed else []
    if left.doubtful and (scene.upserts or len(left.doubtful) > BATCH_ROWS):
        found.append(f"{len(left.doubtful)} rows are in doubt")
    if left.doubtful and not same_run and CASES[scene.case].looks:
        found.append(f"{len(left.doubtful)} rows are in doubt, though the target was asked when nothing was under way")
    before, wanted, there = (_by_id(each) for each in (scene.before, whole.target, left.target))
    for row_id in sorted(wanted.keys() | there.keys()):
        allowed = [wanted[row_id], *([before[row_id]] if row_id in left.doubtful else [])]
        if there[row_id] not in allowed:
            found.append(f"the target holds {there[row_id]} of {row_id}, not {wanted[row_id]}")
    for table in COMPARED:
        found += _table_differences(table, whole, left, same_run=same_run)
    if same_run:
        found += _number_differences(whole.numbers, left.numbers, len(left.doubtful))
    return found


def _by_id(contents: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for content in sorted(contents):
        found[json.loads(content)["id"]].append(content)
    return found


def _table_differences(table: Table, whole: Left, left: Left, *, same_run: bool) -> Iterator[str]:
    wanted, there = whole.hub[table.name], left.hub[table.name]
    if not same_run and table in (tables.certificate, tables.late):
        return  # another run has its own, of what it read
    for key in sorted(wanted.keys() | there.keys()):
        if key in left.doubtful and table in (tables.record, tables.dead_letter):
            continue
        ours, theirs = (_shown(rows.get(key, []), same_run=same_run) for rows in (there, wanted))
        if ours != theirs:
            told = [f"{a} instead of {b}" for a, b in zip(ours, theirs, strict=False) if a != b]
            yield f"{table.name} {key}: {told or f'{len(ours)} rows instead of {len(theirs)}'}"


def _shown(rows: list[tuple[Any, ...]], *, same_run: bool) -> list[dict[str, Any]]:
    runs = () if same_run else ("run_id", "claim_run", "closed_by")
    return [{name: value for name, value in row if name not in runs} for row in rows]


def _number_differences(wanted: Mapping[str, Any], there: Mapping[str, Any], doubtful: int) -> Iterator[str]:
    """The numbers of the report; rows in doubt would have been delivered or refused."""
    ends = ("delivered", "in_doubt", "dead_letters")
    for name in wanted.keys() | there.keys():
        if doubtful and name in (*ends, "asked", "open_letters"):
            continue
        if wanted.get(name) != there.get(name):
            yield f"the report says {name} {there.get(name)}, not {wanted.get(name)}"
    if doubtful and sum(there.get(name, 0) for name in ends) != sum(wanted[name] for name in ends):
        yield f"the numbers do not add up: {dict(there)}"
    if there.get("in_doubt") != doubtful:
        yield f"the report says {there.get('in_doubt')} in doubt, the hub {doubtful}"


@contextmanager
def scene(case: str) -> Iterator[Scene]:
    """Needs PostgreSQL, whose commits a proxy can see; the test is skipped where there is none."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        direct = stack.enter_context(empty_database("postgresql", Path(folder)))
        simulator = stack.enter_context(_simulator(case))
        watcher, url = Watcher(), make_url(direct)
        host, port = simulator.server.url.removeprefix("http://").split(":")
        http = stack.enter_context(HttpProxy((host, int(port)), watcher))
        sql = stack.enter_context(PostgresProxy((url.host or "127.0.0.1", url.port or 5432), watcher))
        proxied = url.set(host="127.0.0.1", port=sql.port).render_as_string(hide_password=False)
        Hub.connect(direct).close()
        engine = create_engine(direct)
        stack.callback(engine.dispose)
        job = Job(
            case=case,
            run="",
            since_ms=0,
            until_ms=0,
            url=f"http://127.0.0.1:{http.port}",
            hub_url=proxied,
            folder=folder,
            ahead_s=0.0,
        )
        made = Scene(
            case=case,
            simulator=simulator,
            people=people(CASES[case], simulator),
            watcher=watcher,
            engine=engine,
            job=job,
        )
        made.begin()
        yield made


def _simulator(case: str) -> Simulator:
    knobs = quiet(only_get="long" if CASES[case].source.get_fields else "marked")
    return Simulator(seed=7, knobs=knobs, records={OBJECT: 0, COPIES.name: 0}, objects=[COPIES])
