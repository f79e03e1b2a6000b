"""Whatever people do in the CRM while runs are planned, read, delivered, killed and repeated: nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from fenxiang_sync.hub import Hub
from tests.hub_fixtures import hub_file
from tests.machine.sync import Sync
from tests.machine.truth import can_tell_deleted
from tests.reconcile_fixtures import reconciled
from tests.steps_fixtures import Bench, bench, manual, pipeline

EXAMPLES = int(os.environ.get("FENXIANG_MACHINE_EXAMPLES", "0"))
"""So many examples, others each time; without it the same few."""
FEW, FEW_GETTING = 32, 4
STEPS = 40


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with Hub.connect(f"sqlite:///{hub_file(tmp_path_factory.mktemp('hub'))}") as hub:
        yield hub


def test_no_order_of_people_tasks_faults_and_deaths_loses_a_record(hub: Hub, tmp_path: Path) -> None:
    let_it_run(hub, tmp_path, EXAMPLES or FEW, gets=False)


def test_no_order_loses_what_only_get_gives(hub: Hub, tmp_path: Path) -> None:
    let_it_run(hub, tmp_path, EXAMPLES // 8 or FEW_GETTING, gets=True)


def let_it_run(hub: Hub, folder: Path, examples: int, *, gets: bool) -> None:
    run_state_machine_as_test(
        type("Sync", (Sync,), {"hub": hub, "folder": folder, "gets": gets}),
        settings=settings(
            max_examples=examples,
            derandomize=not EXAMPLES,
            database=None,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


# What the machine has found


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, AccountObj=300) as made:
        yield made


def test_a_window_that_plan_took_for_empty_is_asked_for_again_before_it_is_certified(crm: Bench) -> None:
    """The count of a server is a hint (here always 0), and one empty page may be a mistake."""
    crm.simulator.knobs.total_mode = "zero"
    crm.simulator.faults.next("empty_page", 2, path="/query")
    run = crm.run(pipeline())
    made = crm.plan(run, manual(full=True))
    assert made.segments == []
    report = crm.verify(run)
    assert (report.repaired, report.read, report.delivered) == (300, 300, 300)
    assert len(crm.held(run.pipeline)) == 300


def test_a_record_that_comes_late_into_an_empty_part_of_a_window_is_delivered(crm: Bench) -> None:
    crm.sync(pipeline())
    crm.later()
    stamp = crm.simulator.clock.now_ms()
    crm.later()
    run = crm.run(pipeline())
    assert crm.plan(run, manual()).segments == []
    late = crm.simulator.tenant.create("AccountObj", {"name": "晚到"}, modified_ms=stamp)
    report = crm.verify(run)
    assert (report.repaired, report.delivered) == (1, 1)
    assert crm.held(run.pipeline)[late]["name"] == "晚到"


def test_one_empty_page_does_not_make_a_window_empty(crm: Bench) -> None:
    crm.simulator.knobs.total_mode = "zero"
    crm.simulator.faults.next("empty_page", path="/query")
    assert len(crm.plan(crm.run(pipeline()), manual(full=True)).segments) == 1


def test_a_deleted_record_is_told_from_a_hidden_one_only_by_a_listed_one_in_the_time_that_is_compared(
    tmp_path: Path,
) -> None:
    """One that came after the last certified moment is no witness: the machine had expected the row to go."""
    with bench(tmp_path, AccountObj=0) as crm:
        tenant = crm.simulator.tenant
        gone = tenant.create("AccountObj", {"name": "甲"})
        crm.later()
        crm.sync(pipeline())
        tenant.invalid("AccountObj", gone)
        tenant.delete("AccountObj", gone)
        tenant.create("AccountObj", {"name": "乙"})
        for told in (False, True):
            certified, listed = crm.hub.certified("account"), tenant.visible("AccountObj").values()
            assert can_tell_deleted(listed, certified) is told
            report = reconciled(crm, pipeline(), full=True)
            assert (report.unclear, report.vanished, report.removed) == ((0, 1, 1) if told else (1, 0, 0))
            crm.later()
            crm.sync(pipeline())
