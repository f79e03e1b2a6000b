"""The write-back DAG stands beside a pipeline that declares one, and goes off when a run has succeeded; so does a
command."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from fenxiang_simulator import Simulator
from fenxiang_sync import Field, HubTarget, Outcome, Pipeline, Refusal, Source, Standing, WriteBack
from fenxiang_sync.airflow.deployment import Deployment
from fenxiang_sync.airflow.params import write_back_asked, write_back_params
from fenxiang_sync.airflow.write_back import write_back_dag
from fenxiang_sync.errors import ParamError, RefusedError
from fenxiang_sync.hub import DeadLetter
from tests.cli_fixtures import fenxiang as command
from tests.cli_fixtures import quiet_settings  # noqa: F401 - a fixture
from tests.steps_fixtures import quiet

NAME = "AccountObj"
RECORDS = 3
FILE = """
from fenxiang_sync import Field, HubTarget, Outcome, Pipeline, Refusal, Source, Standing, WriteBack
from fenxiang_sync.airflow import sync_dag

sync_dag(Pipeline(name="plain", source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget()))
sync_dag(Pipeline(
    name="account", source=Source(object="AccountObj"), fields=[Field("_id"), Field("name")], target=HubTarget(),
    write_back=WriteBack(fields={
        "remark": Standing({Outcome.DELIVERED: "synced", Outcome.DEAD_LETTER: "failed"}), "address": Refusal(),
    }),
))
"""


def declared(**words: Any) -> Pipeline:
    standing = Standing({Outcome.DELIVERED: "synced", Outcome.DEAD_LETTER: "failed"})
    given: dict[str, Any] = {
        "name": "account",
        "source": Source(object=NAME),
        "fields": [Field("_id"), Field("name")],
        "target": HubTarget(),
        "write_back": WriteBack(fields={"remark": standing, "address": Refusal()}),
    }
    return Pipeline(**given | words)


def test_airflow_finds_it_in_the_dag_file_by_itself_and_runs_it_after_the_others(
    airflow_home: Path, tmp_path: Path
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "two.py").write_text(FILE)
    bag = DagBag(str(tmp_path))
    assert bag.import_errors == {}
    assert "plain.write_back" not in bag.dags
    dag = bag.dags["account.write_back"]
    assert dag.is_paused_upon_creation is False, "it does nothing by itself"
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert {asset.name for asset in dag.timetable.asset_condition.objects} == {
        "account", "account.replay", "account.reconcile",
    }  # fmt: skip
    [task] = dag.tasks
    assert (task.task_id, task.pool) == ("write_back", "fenxiang-target-fenxiang")
    assert "- `remark` ← where it stands: delivered 'synced', dead_letter 'failed'" in str(dag.doc_md)


def test_parsing_a_file_again_makes_no_new_version_of_it() -> None:
    first, second = (DagSerialization.to_dict(write_back_dag(declared())) for _ in range(2))
    assert first == second
    assert " at 0x" not in str(first)


def test_params_that_cannot_be_meant_are_told() -> None:
    dag = write_back_dag(declared())
    assert dag is not None
    assert set(dag.params) == set(write_back_params())
    assert write_back_asked({"params": dag.params.validate()}) == {"every": False, "dry_run": False}
    with pytest.raises(ParamError, match=r"Unknown param .all.; .*every, dry_run"):
        write_back_asked({"params": {"all": True}})
    with pytest.raises(ParamError, match="Param every is 'yes'; give true or false"):
        write_back_asked({"params": {"every": "yes"}})


# The task and the command


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, knobs=quiet(), records={NAME: RECORDS}) as running:
        yield running


@pytest.fixture
def stage(fenxiang: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")


class TaskInstance(SimpleNamespace):
    """What an operator uses of a task instance."""

    map_index = -1
    pushed: Any = None

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed = {key: value}


def run_task(pipeline: Pipeline, tick: int, **params: Any) -> tuple[Any, dict[str, Any]]:
    """A run of the DAG's task after an asset event; its return value, and its context."""
    dag = write_back_dag(pipeline)
    assert dag is not None
    [task] = dag.tasks
    run = SimpleNamespace(run_id=f"asset_triggered__{tick}", run_type="asset_triggered", start_date=datetime.now(UTC))
    events = {asset: SimpleNamespace(extra=None) for asset in task.outlets}
    context: dict[str, Any] = {
        "ti": TaskInstance(dag_id=dag.dag_id), "dag_run": run, "params": params, "outlet_events": events,
    }  # fmt: skip
    return task.execute(context), context


def refuse(simulator: Simulator) -> list[str]:
    """Every record has a letter; their ids."""
    ids = sorted(simulator.tenant.records(NAME))
    letters = [
        DeadLetter(
            pipeline="account", run="manual__1", stage="load", error="Refused", reason="too long", record_id=each
        )
        for each in ids
    ]
    Deployment().hub.bury(letters, now=datetime.now(UTC))
    return ids


@pytest.mark.usefixtures("stage")
def test_a_run_writes_back_tells_its_numbers_and_the_hub_keeps_them(simulator: Simulator) -> None:
    ids = refuse(simulator)
    numbers, context = run_task(declared(), 1)
    assert (numbers["looked_at"], numbers["delivered"]) == (RECORDS, RECORDS)
    assert {simulator.tenant.records(NAME)[each]["remark"] for each in ids} == {"failed"}
    assert {simulator.tenant.records(NAME)[each]["address"] for each in ids} == {"too long"}
    [event] = context["outlet_events"].values()
    assert event.extra == numbers
    again, _ = run_task(declared(), 2)
    assert again["looked_at"] == 0
    [_, first] = Deployment().hub.runs("account")
    assert (first.run, first.kind, first.state) == ("write_back.asset_triggered__1", "write_back", "success")
    assert first.numbers["delivered"] == RECORDS


@pytest.mark.usefixtures("stage")
def test_a_run_that_fails_is_in_the_hub_with_its_reason(simulator: Simulator) -> None:
    refuse(simulator)
    simulator.tokens.forget()
    simulator.faults.rate("html_404", 1.0, path="/data/query")
    with pytest.raises(RefusedError):
        run_task(declared(), 1)
    [run] = Deployment().hub.runs("account")
    assert (run.kind, run.state, run.numbers["task"]) == ("write_back", "failed", "write_back")


@pytest.mark.usefixtures("stage", "quiet_settings")
def test_the_command_does_the_same_and_its_letters_are_told_under_its_name(
    simulator: Simulator, tmp_path: Path
) -> None:
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "two.py").write_text(FILE, encoding="utf-8")
    ids = refuse(simulator)
    simulator.tenant.invalid(NAME, ids[0])
    dry = command("write-back", "account", "--dry-run", "--dags", folder)
    assert (dry.exit_code, dry.stdout) == (
        0,
        "account: 3 records looked at, 3 would be written, 0 as the CRM has them, 0 refused, 0 in doubt\n",
    )
    done = command("write-back", "account", "--dags", folder)
    assert (done.exit_code, done.stdout.splitlines()) == (
        1,
        [
            "account: 3 records looked at, 2 written, 0 as the CRM has them, 1 refused, 0 in doubt",
            "  why: fenxiang letters account.write_back",
        ],
    )
    letters = command("letters", "account.write_back", "--dags", folder)
    assert letters.exit_code == 1
    assert f"{ids[0]}  load" in letters.stdout
    assert "account.write_back: 1 open dead letter" in command("letters", "--dags", folder).stdout
    trace = command("trace", "account", ids[1], "--dags", folder)
    assert 'written back into the record\n  remark = "failed"\n  address = "too long"\n' in trace.stdout
    told = json.loads(command("write-back", "account", "--all", "--json", "--dags", folder).stdout)
    assert (told["pipeline"], told["looked_at"], told["unchanged"]) == ("account", 3, 2)
    plain = command("write-back", "plain", "--dags", folder)
    assert (plain.exit_code, plain.stderr) == (
        2,
        "pipeline 'plain' writes nothing back: it declares no write_back=WriteBack(…)\n",
    )
