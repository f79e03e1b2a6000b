"""load against targets that fail, and a process that dies: the target ends as after one clean load, or a row is in
doubt and nobody sends it again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fenxiang_simulator.server import Request, Response
from fenxiang_simulator.target_knobs import Fault, IdRule
from fenxiang_sync import Field, Pipeline, Source
from fenxiang_sync.errors import RefusedError, TransientError
from fenxiang_sync.hub import Hub, Status
from fenxiang_sync.rows import Outcome, Row
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Run, Segment, load
from fenxiang_sync.targets.kingdee import KingdeeBatchSave
from fenxiang_sync.targets.protocol import Endpoint, Reach, Target
from fenxiang_sync.targets.qeasy import QeasyStore
from fenxiang_sync.targets.write import WriteApi
from fenxiang_sync.window import Window
from tests.hub_fixtures import hub_file
from tests.targets_fixtures import Stand, rows, stand

spawn = multiprocessing.get_context("spawn")

SEGMENT = Segment(index=1, window=Window(0, 1), count=None)
ROWS = 7
BATCH = 3
TRIES = 8
"""More than Airflow gives a task; a load that needs them all would be a finding."""


@dataclass
class Loading:
    """One pipeline's target, ledger and stage. `load` is one task with its retries."""

    stand: Stand
    hub: Hub
    stage: Stage
    target: Target
    killed: int = 0
    later: timedelta = field(default_factory=timedelta)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(name="loading", source=Source(object="AccountObj"), fields=[Field("_id")], target=self.target)

    def staged(self, batch: Sequence[Row], run_id: str = "run-1") -> Run:
        run = Run(pipeline=self.pipeline, id=run_id, folder=self.stage.run("loading", run_id))
        folder = run.segment(1)
        folder.write_lines("rows-00001", batch)
        folder.save("transformed", {"read": len(batch), "rows": len(batch), "filtered": 0, "rejected": 0})
        return run

    def load(self, run: Run, hub: Any = None) -> dict[str, int]:
        """The numbers of the try that ends the task, as Airflow would make it: again after what may pass."""
        for _ in range(TRIES):
            try:
                return load(run, SEGMENT, hub=hub or self.hub, reach=self.stand.reach, clock=self.now)
            except TransientError as error:
                self.stand.clock.advance(max(15.0, error.retry_after or 0.0))
        raise AssertionError(f"not done after {TRIES} tries")

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.stand.clock.now(), UTC) + self.later

    def arrived(self) -> list[dict[str, Any]]:
        """What the target holds, in order of arrival, duplicates as they came."""
        if isinstance(self.target, WriteApi):
            return self.stand.targets.write.rows
        if isinstance(self.target, KingdeeBatchSave):
            return [bill.content for bill in self.stand.targets.kingdee.bills("demo")]
        return self.stand.targets.qeasy.contents("demo")

    def times(self) -> Counter[str]:
        return Counter(content["_id"] for content in self.arrived())

    def ids(self, status: Status) -> set[str]:
        return {record.id for record in self.hub.records("loading", status=status)}


def write_api(*, upserts: bool) -> Target:
    return WriteApi(upserts=upserts, batch_rows=BATCH, tries=2)


def qeasy(*, upserts: bool, look_up: bool = True) -> Target:
    return QeasyStore(scheme="demo", upserts=upserts, look_up=look_up, batch_rows=BATCH, tries=2)


TARGETS = {
    "write, upserts": write_api(upserts=True),
    "write, appends": write_api(upserts=False),
    "qeasy, upserts": qeasy(upserts=True),
    "qeasy, appends": qeasy(upserts=False),
    "qeasy, appends, no look-up": qeasy(upserts=False, look_up=False),
    "kingdee, appends": KingdeeBatchSave(form="demo", number_field="_id", batch_rows=BATCH, tries=2),
}


INTERFACES: dict[type, str] = {WriteApi: "write", QeasyStore: "store", KingdeeBatchSave: "BatchSave"}


@pytest.fixture(params=TARGETS.values(), ids=TARGETS.keys())
def loading(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Loading]:
    target: Target = request.param
    with stand() as made, Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub:
        made.targets.knobs.write_appends = not target.upserts
        made.targets.knobs.qeasy_id_rule = IdRule.OVERWRITE if target.upserts else IdRule.APPEND
        yield Loading(made, hub, Stage(tmp_path / "stage"), target)


def held_once(loading: Loading, batch: Sequence[Row], numbers: dict[str, int]) -> None:
    """The numbers add up; the target holds each row once, but for those in doubt, which it holds at most once."""
    doubtful = loading.ids(Status.IN_DOUBT)
    assert sum(numbers.values()) == len(batch)
    assert numbers["in_doubt"] == len(doubtful)
    assert numbers["delivered"] == len(batch) - len(doubtful)
    times = loading.times()
    assert {row.id: times[row.id] for row in batch if row.id not in doubtful} == {
        row.id: 1 for row in batch if row.id not in doubtful
    }
    assert all(times[row_id] <= 1 for row_id in doubtful), "a row in doubt was sent again"
    if loading.target.upserts:
        assert doubtful == set()


@pytest.mark.parametrize("skip", [0, 1, 2])
@pytest.mark.parametrize("fault", [fault for fault in Fault if "hang" not in fault], ids=str)
def test_one_fault_leaves_the_target_as_an_undisturbed_load_would(loading: Loading, fault: Fault, skip: int) -> None:
    batch = rows(ROWS)
    interface = INTERFACES[type(loading.target)]
    loading.stand.targets.faults.inject(*[None] * skip, fault, on=interface)
    run = loading.staged(batch)
    try:
        numbers = loading.load(run)
    except RefusedError:
        assert fault is Fault.TOKEN_REFUSED
        numbers = loading.load(run)  # as when a person mended the password and cleared the task
    held_once(loading, batch, numbers)
    if fault in (Fault.THROTTLED, Fault.THROTTLED_BARE, Fault.TOKEN_REFUSED):
        assert numbers["in_doubt"] == 0, "nothing was taken, and everybody knows"
    again = loading.load(loading.staged(batch, "run-2"))
    held_once(loading, batch, {**again, "delivered": again["unchanged"], "unchanged": 0})


@pytest.mark.parametrize("fault", [Fault.HANG_BEFORE, Fault.HANG_AFTER_COMMIT], ids=str)
def test_a_time_out_is_sent_again_only_where_that_is_safe(loading: Loading, fault: Fault) -> None:
    batch = rows(ROWS)
    interface = INTERFACES[type(loading.target)]
    loading.stand.targets.faults.inject(fault, on=interface)
    held_once(loading, batch, loading.load(loading.staged(batch)))


@pytest.mark.parametrize("loading", [TARGETS["write, appends"]], ids=["write, appends"], indirect=True)
def test_a_target_that_is_down_leaves_few_rows_in_doubt_and_gets_the_others_later(loading: Loading) -> None:
    loading.stand.targets.faults.inject(Fault.DROP_BEFORE, on="write", times=3)
    run = loading.staged(rows(ROWS))
    with pytest.raises(TransientError, match="3 answers in a row were lost; nothing more is sent now"):
        load(run, SEGMENT, hub=loading.hub, reach=loading.stand.reach, clock=loading.now)
    assert len(loading.ids(Status.IN_DOUBT)) == 3
    assert loading.arrived() == []
    numbers = loading.load(run)
    assert (numbers["delivered"], numbers["in_doubt"]) == (ROWS - 3, 3)
    held_once(loading, rows(ROWS), numbers)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_goes_wrong_at_random_no_row_is_lost_or_doubled(loading: Loading, seed: int) -> None:
    faults = [fault for fault in Fault if "hang" not in fault and fault is not Fault.TOKEN_REFUSED]
    loading.stand.targets.faults = type(loading.stand.targets.faults)(loading.stand.targets.knobs, seed=seed)
    loading.stand.targets.qeasy._faults = loading.stand.targets.faults
    loading.stand.targets.write._faults = loading.stand.targets.faults
    loading.stand.targets.kingdee._faults = loading.stand.targets.faults
    loading.stand.targets.knobs.rates = dict.fromkeys(faults, 0.02)
    for number in range(4):
        batch = rows(ROWS, start=number * ROWS)
        numbers = loading.load(loading.staged(batch, f"run-{number}"))
        doubtful = loading.ids(Status.IN_DOUBT) & {row.id for row in batch}
        assert sum(numbers.values()) == ROWS
        assert (numbers["in_doubt"], numbers["delivered"]) == (len(doubtful), ROWS - len(doubtful))
    times = loading.times()
    for row in rows(4 * ROWS):
        assert times[row.id] <= 1
        assert times[row.id] == 1 or row.id in loading.ids(Status.IN_DOUBT)


def test_refused_rows_are_dead_letters_and_the_others_arrive(loading: Loading) -> None:
    loading.stand.targets.knobs.write_required = ["needed"]
    loading.stand.targets.knobs.qeasy_required = {"demo": ["needed"]}
    loading.stand.targets.knobs.kingdee_required = {"demo": ["needed"]}
    batch = rows(ROWS, bad=[1, 5])
    numbers = loading.load(loading.staged(batch))
    assert {name: number for name, number in numbers.items() if number} == {"delivered": ROWS - 2, "dead_letter": 2}
    assert loading.times() == Counter(row.id for place, row in enumerate(batch) if place not in (1, 5))
    letters = list(loading.hub.dead_letters("loading"))
    assert {letter.row_id for letter in letters} == {batch[1].id, batch[5].id}
    assert all(letter.content["_id"] == letter.row_id and letter.reason for letter in letters)


# A process that dies


class Killed(BaseException):
    """What ends a process with no chance to say anything."""


class DyingHub:
    """A hub whose caller dies right before or right after its n-th call; with `at` None it counts the calls."""

    def __init__(self, hub: Hub, at: int | None = None, *, done: bool = True) -> None:
        self.calls = 0
        self._hub, self._at, self._done = hub, at, done

    def __getattr__(self, name: str) -> Any:
        work = getattr(self._hub, name)
        if not callable(work):  # a part of the hub, whose calls are not counted
            return work

        def call(*args: Any, **words: Any) -> Any:
            self.calls += 1
            if self.calls == self._at and not self._done:
                raise Killed
            answer = work(*args, **words)
            if self.calls == self._at:
                raise Killed
            return answer

        return call


@pytest.mark.parametrize("retry", ["the same task again", "another run, when the claims are over"])
def test_a_death_between_any_two_steps_leaves_the_target_as_one_clean_load_would(
    loading: Loading, retry: str, tmp_path: Path
) -> None:
    loading.stand.targets.knobs.write_required = ["needed"]
    loading.stand.targets.knobs.qeasy_required = {"demo": ["needed"]}
    loading.stand.targets.knobs.kingdee_required = {"demo": ["needed"]}
    batch = rows(ROWS, bad=[2])
    counting = DyingHub(loading.hub)
    loading.load(loading.staged(batch), counting)
    assert counting.calls >= 6
    for at in range(1, counting.calls + 1):
        for done in (False, True):
            fresh = _fresh(loading, tmp_path / f"{at}-{done}")
            run = fresh.staged(batch)
            with pytest.raises(Killed):
                fresh.load(run, DyingHub(fresh.hub, at, done=done))
            if retry != "the same task again":
                run = fresh.staged(batch, "run-2")
                fresh.later = timedelta(hours=1)
            numbers = fresh.load(run)
            doubtful = fresh.ids(Status.IN_DOUBT)
            times = fresh.times()
            assert sum(numbers.values()) == ROWS, (at, done)
            assert numbers["in_doubt"] == len(doubtful)
            assert not (doubtful and fresh.target.upserts), (at, done)
            if retry != "the same task again" and getattr(fresh.target, "finds", False):
                assert not doubtful, "the target was asked when nothing could be under way any more"
            for place, row in enumerate(batch):
                most = 0 if place == 2 else 1
                assert times[row.id] <= most, (at, done, row.id)
                assert times[row.id] == most or row.id in doubtful, (at, done, row.id)
            if not doubtful:
                assert [letter.row_id for letter in fresh.hub.dead_letters("loading")] == [batch[2].id]
            fresh.hub.close()


def _fresh(loading: Loading, folder: Path) -> Loading:
    """The same target, emptied, with a ledger and a stage that know nothing."""
    folder.mkdir()
    loading.stand.targets.qeasy.truncate("demo")
    loading.stand.targets.kingdee.truncate("demo")
    write = loading.stand.targets.write
    write.rows.clear()
    write._places.clear()
    return Loading(loading.stand, Hub.connect(f"sqlite:///{hub_file(folder)}"), Stage(folder / "stage"), loading.target)


class Killer:
    """Kills a process once its second write has been stored and before it is answered."""

    def __init__(self) -> None:
        self.victim: int | None = None
        self.stand: Stand | None = None
        self._seen = 0

    def handle(self, request: Request) -> Response | None:
        writes = ("/store", "/write", ".BatchSave.common.kdsvc")
        if self.victim is None or self.stand is None or not request.path.endswith(writes):
            return None
        response = self.stand.targets.handle(request)
        self._seen += 1
        if self._seen == 2:
            os.kill(self.victim, signal.SIGKILL)
            self.victim = None
        return response


def _load_alone(endpoints: dict[str, Endpoint], hub_url: str, root: str, target: Target, count: int) -> None:
    """A loading task in a process of its own; it waits to be told that its killer knows it."""
    session = __import__("requests").Session
    reach = Reach(endpoint=endpoints.__getitem__, session=session, sleep=time.sleep, now=time.time)
    pipeline = Pipeline(name="loading", source=Source(object="AccountObj"), fields=[Field("_id")], target=target)
    run = Run(pipeline=pipeline, id="run-1", folder=Stage(root).run("loading", "run-1"))
    while not (Path(root) / "go").exists():
        time.sleep(0.01)
    with Hub.connect(hub_url) as hub:
        load(run, SEGMENT, hub=hub, reach=reach, clock=lambda: datetime.now(UTC))


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_a_process_that_is_killed_while_the_target_answers_doubles_nothing(target: Target, tmp_path: Path) -> None:
    killer, hub_url, root = Killer(), f"sqlite:///{hub_file(tmp_path)}", tmp_path / "stage"
    with stand(killer) as made, Hub.connect(hub_url) as hub:
        killer.stand = made
        made.targets.knobs.write_appends = not target.upserts
        made.targets.knobs.qeasy_id_rule = IdRule.OVERWRITE if target.upserts else IdRule.APPEND
        loading = Loading(made, hub, Stage(root), target)
        batch = rows(ROWS)
        run = loading.staged(batch)
        endpoints = {conn_id: made.reach.endpoint(conn_id) for conn_id in target.connections}
        child = spawn.Process(target=_load_alone, args=(endpoints, hub_url, str(root), target, ROWS))
        child.start()
        killer.victim = child.pid
        (root / "go").touch()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        numbers = loading.load(run)
        held_once(loading, batch, numbers)
        if getattr(target, "finds", False):
            assert numbers["in_doubt"] == 0, "the target was asked, and has what was under way"
        elif not target.upserts:
            assert numbers["in_doubt"] >= 1, "what was under way when it died cannot be known"


# Side by side


@pytest.mark.parametrize("seed", range(4))
def test_of_two_loads_side_by_side_the_older_version_never_lands_last(seed: int, tmp_path: Path) -> None:
    """`/write` adds every call here, so its rows show the order in which the versions came."""
    ids = 12
    versions = [[_version(number, version) for number in range(ids)] for version in (1, 2, 3)]
    with stand() as made, Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub:
        made.targets.knobs.write_appends = True
        loading = Loading(made, hub, Stage(tmp_path / "stage"), WriteApi(upserts=True, batch_rows=4))
        together = threading.Barrier(3)
        numbers: dict[int, dict[str, int]] = {}

        def work(place: int) -> None:
            run = loading.staged(versions[place], f"run-{place}")
            reach = Reach(
                endpoint=made.reach.endpoint,
                session=made.reach.session,
                sleep=lambda seconds: time.sleep(0.01),
                now=time.time,
            )
            together.wait()
            time.sleep(0.005 * ((place + seed) % 3))
            numbers[place] = load(run, SEGMENT, hub=hub, reach=reach, clock=lambda: datetime.now(UTC))

        threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(numbers) == 3
        assert all(sum(each.values()) == ids for each in numbers.values())
        came: dict[str, list[int]] = {}
        for content in made.targets.write.rows:
            came.setdefault(content["_id"], []).append(content["value"])
        assert all(order == sorted(set(order)) and order[-1] == 3 for order in came.values()), came
        assert len(came) == ids
        assert sum(map(len, came.values())) == sum(each[Outcome.DELIVERED] for each in numbers.values())
        assert {record.modified_ms for record in hub.records("loading")} == {versions[2][0].modified_ms}


def _version(number: int, version: int) -> Row:
    name = f"r{number:05d}"
    return Row(
        id=name,
        source_id=name,
        number=None,
        modified_ms=1_700_000_000_000 + version,
        version=version,
        content={"_id": name, "id": name, "value": version},
        hash=f"{name}-{version}",
    )
