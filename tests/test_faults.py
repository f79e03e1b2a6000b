"""Whatever goes wrong between the CRM and a run: the run is complete, or fails and says why; it never has less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests

from fenxiang_simulator import FAULTS, Simulator
from fenxiang_sync.errors import FenxiangSyncError, IncompleteError, TransientError
from fenxiang_sync.hub import Hub
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.source import FenxiangClient, Pace, Paces, SearchQuery, Tokens
from fenxiang_sync.source.client import OBJECT
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import extract, load, transform
from fenxiang_sync.steps.verify import Report
from fenxiang_sync.window import Window
from tests.hub_fixtures import hub_file
from tests.steps_fixtures import CREDENTIALS, Bench, manual, pipeline, quiet

OBJECT_NAME = "AccountObj"
QUERY = "/data/query"
PAGE_FAULTS = ("repeated_page", "other_page", "empty_page", "short_page")
OFTEN = ("repeated_page", "empty_page", "short_page")
"""Nobody can see through a server that answers other questions all the time, in the right form."""
GET_FAULTS = ("stale_record", "other_record")
CALL_FAULTS = tuple(fault for fault in FAULTS if fault not in (*PAGE_FAULTS, *GET_FAULTS, "lost_row", "huge", "late"))
"""All but two: what is `huge` is refused at once, and a page that only lacks a row is known to nobody who asks once."""
WINDOWS = 2
TRIES = 5
"""Runs until one succeeds; each task has its own tries besides."""

T = TypeVar("T")
Record = dict[str, Any]


@dataclass
class Faulty(Bench):
    """A bench whose clients give up soon and wait for nothing, and which tries a task again as Airflow does."""

    timeout: tuple[float, float] = (0.3, 0.3)

    def client(self) -> FenxiangClient:
        session, clock = requests.Session(), self.simulator.clock
        tokens = Tokens(
            session=session,
            base_url=self.simulator.url,
            credentials=CREDENTIALS,
            store=self.store,
            timeout=self.timeout,
            now=clock.now,
            sleep=clock.advance,
        )
        return FenxiangClient(
            session=session,
            base_url=self.simulator.url,
            tokens=tokens,
            credentials=CREDENTIALS,
            pace=Paces(lambda: Pace(calls=1_000_000, per_seconds=1, sleep=lambda seconds: None)),
            timeout=self.timeout,
            now=clock.now,
            sleep=lambda seconds: None,
        )

    def attempt(self, declared: Pipeline) -> Report | FenxiangSyncError:
        """One run: its report, or the error by which it failed."""
        run = self.run(declared)
        try:
            made = tried(lambda: self.plan(run, manual()))
            for segment in made.segments:
                tried(lambda segment=segment: extract(run, segment, client=self.client()))  # type: ignore[misc]
                transform(run, segment)
                load(run, segment, hub=self.hub, reach=self.reach(), clock=self.now)
            return tried(lambda: self.verify(run))
        except FenxiangSyncError as error:
            return error

    def seen(self) -> dict[str, Record]:
        return self.simulator.tenant.visible(OBJECT_NAME, "1000")


def tried(task: Callable[[], T]) -> T:
    """A task with its tries: six, two where what was read and what is held differ."""
    for left in reversed(range(6)):
        try:
            return task()
        except (TransientError, IncompleteError) as error:
            if not left or (isinstance(error, IncompleteError) and left < 5):
                raise
    raise AssertionError("unreachable")


@contextmanager
def faulty(folder: Path, records: int = 200, seed: int = 7) -> Iterator[Faulty]:
    knobs = quiet(edits_per_request=2, token_latency_ms=0)
    with (
        Simulator(seed=seed, knobs=knobs, records={OBJECT_NAME: records}) as simulator,
        Hub.connect(f"sqlite:///{hub_file(folder)}") as hub,
    ):
        yield Faulty(simulator, hub, Stage(folder / "stage"))


def declared() -> Pipeline:
    return pipeline(source={"page_size": 20, "lookback": timedelta(seconds=90)})


def spoil(simulator: Simulator, *faults: str) -> None:
    for fault in faults:
        simulator.faults.rate(fault, 0.05, QUERY)
        simulator.faults.next(fault, path=QUERY, skip=7)  # by chance it might not come at all


@pytest.mark.parametrize("fault", [*CALL_FAULTS, *OFTEN])
def test_with_one_fault_in_twenty_calls_a_sync_is_complete_or_says_why_not(fault: str, tmp_path: Path) -> None:
    with faulty(tmp_path) as crm:
        spoil(crm.simulator, fault)
        synced(crm, declared())
        assert crm.simulator.faults.injected[fault]


def test_a_huge_answer_fails_the_run_and_says_so_and_the_next_one_makes_up_for_it(tmp_path: Path) -> None:
    with faulty(tmp_path, records=60) as crm:  # few enough for one thread: the fault is in the middle of its reading
        crm.timeout = (5, 60)
        crm.later()
        crm.simulator.faults.next("huge", path=QUERY, skip=4)
        (failure,) = until_it_succeeds(crm, declared())
        assert "sent over 67,108,864 bytes; use a smaller page_size" in str(failure)


@pytest.mark.parametrize("fault", PAGE_FAULTS)
def test_one_wrong_page_is_found_out_whichever_call_it_answers(fault: str, tmp_path: Path) -> None:
    """Few enough records for one thread: the calls of a run are the same each time, and each is spoiled in turn."""
    with faulty(tmp_path, records=30) as crm:
        crm.timeout, crm.simulator.knobs.edits_per_request = (5, 60), 0
        crm.later()
        for call in range(100):
            anew = replace(declared(), name=f"account-{call}")
            crm.simulator.faults.injected.clear()
            crm.simulator.faults.next(fault, path=QUERY, skip=call)
            until_it_succeeds(crm, anew)
            assert differences(crm, anew, crm.seen().values()) == []
            if not crm.simulator.faults.injected:
                return
            crm.simulator.faults.clear()
    raise AssertionError("a run of 30 records makes over 100 calls")


def test_records_of_another_object_are_never_delivered(tmp_path: Path) -> None:
    """Somebody else reads contacts, and answers get mixed up."""
    with faulty(tmp_path, records=60) as crm:
        crm.simulator.knobs.edits_per_request = 0
        crm.later()
        for _ in range(10):
            assert crm.client().query(SearchQuery(object_name="ContactObj", projection=[OBJECT, "name"])).records
        crm.simulator.faults.next("other_page", 3, path=QUERY, skip=4)
        until_it_succeeds(crm, declared())
        assert crm.simulator.faults.injected["other_page"] == 3
        assert crm.held(declared()).keys() <= crm.simulator.tenant.records(OBJECT_NAME).keys()


def test_with_all_faults_at_once_a_sync_is_complete_or_says_why_not(tmp_path: Path) -> None:
    with faulty(tmp_path, records=120) as crm:
        spoil(crm.simulator, *CALL_FAULTS, *OFTEN)
        synced(crm, declared())


def synced(crm: Faulty, declared: Pipeline) -> None:
    """Some windows while people edit, a last one when they have stopped."""
    for window in range(WINDOWS):
        crm.simulator.knobs.edits_per_request = 0 if window == WINDOWS - 1 else 2
        crm.later()
        until_it_succeeds(crm, declared)
    assert differences(crm, declared, crm.seen().values()) == []


def until_it_succeeds(crm: Faulty, declared: Pipeline) -> list[FenxiangSyncError]:
    failures: list[FenxiangSyncError] = []
    while len(failures) < TRIES:
        before, certified = crm.seen(), crm.hub.certified(declared.name)
        outcome = crm.attempt(declared)
        if isinstance(outcome, Report):
            after = crm.seen()
            untouched = [record for key, record in before.items() if after.get(key) is record]
            assert differences(crm, declared, within(outcome.certified, untouched)) == []
            return failures
        assert crm.hub.certified(declared.name) == certified, f"{outcome!r}, and yet something was certified"
        print(f"{type(outcome).__name__}: {outcome}")
        failures.append(outcome)
    raise AssertionError(f"no run of {TRIES} succeeded; the last failed by {failures[-1]!r}")


def within(windows: list[Window], records: list[Record]) -> list[Record]:
    return [each for each in records if any(each["last_modified_time"] in window for window in windows)]


def differences(crm: Faulty, declared: Pipeline, records: Any) -> list[str]:
    """What of these records is not at the target in its newest version."""
    held = crm.held(declared)
    wanted = {each["_id"]: {name: each.get(name) for name in ("_id", "name", "life_status")} for each in records}
    return [
        f"{key}: {held.get(key)} instead of {content}" for key, content in wanted.items() if held.get(key) != content
    ]
