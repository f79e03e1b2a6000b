"""The reconcile DAG stands beside the pipeline's without a word in the DAG file, and its tasks do what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from fenxiang_simulator import Knobs, Simulator
from fenxiang_sync import Field, HubTarget, Pipeline, QeasyStore, Source
from fenxiang_sync.airflow.deployment import Deployment
from fenxiang_sync.airflow.operators import FAILURE
from fenxiang_sync.airflow.params import reconcile_params, reconcile_wanted
from fenxiang_sync.airflow.priority import RunPriority
from fenxiang_sync.airflow.reconcile import reconcile_dag
from fenxiang_sync.errors import ParamError, QuestionError
from fenxiang_sync.hub import Certificate, Seen
from fenxiang_sync.steps.reconcile import Wanted
from fenxiang_sync.window import Window

NAME = "AccountObj"


def declared(**words: Any) -> Pipeline:
    given: dict[str, Any] = {
        "name": "account",
        "title": "客户",
        "source": Source(object=NAME),
        "fields": [Field("_id"), Field("name")],
        "target": HubTarget(),
    }
    return Pipeline(**given | words)


def made(**words: Any) -> DAG:
    dag = reconcile_dag(declared(**words))
    assert dag is not None
    return dag


FILE = """
from fenxiang_sync import Field, HubTarget, Pipeline, Reconcile, Source
from fenxiang_sync.airflow import sync_dag

for name, rules in {"with": Reconcile(), "without": None, "by_hand": Reconcile(schedule=None)}.items():
    sync_dag(Pipeline(name=name, source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget(),
                      reconcile=rules), on_failure_callback=print, schedule=None)
"""


def test_airflow_finds_it_in_the_dag_file_by_itself(airflow_home: Path, tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "three.py").write_text(FILE)
    bag = DagBag(str(tmp_path))
    assert bag.import_errors == {}
    found = {name for name in bag.dags if not name.endswith((".replay", ".retransform"))}
    assert found == {"with", "with.reconcile", "without", "by_hand", "by_hand.reconcile"}
    made = bag.dags["with.reconcile"]
    assert Path(made.fileloc) == tmp_path / "three.py"
    assert made.has_on_failure_callback
    assert type(made.timetable).__name__ == "CronTriggerTimetable", "its schedule is its own"
    assert type(bag.dags["by_hand.reconcile"].timetable).__name__ == "NullTimetable"


def test_the_tasks_stand_in_the_order_of_a_run_and_in_their_pools() -> None:
    dag = made(target=QeasyStore(scheme="s"))
    pools = {task.task_id: task.pool for task in dag.topological_sort()}
    assert list(pools) == ["survey", "compare", "segment.fetch", "segment.transform", "segment.load", "conclude"]
    assert [name for name, pool in pools.items() if pool == "fenxiang-fenxiang-preset"] == ["compare", "segment.fetch"]
    assert [name for name, pool in pools.items() if pool == "fenxiang-target-qeasy"] == ["segment.load", "conclude"]
    got = made(fields=[Field("_id"), Field("image__c")], source=Source(object="ProductObj", get_fields=["image__c"]))
    assert got.get_task("segment.fetch").pool == "fenxiang-fenxiang-preset-get"
    assert dag.get_task("conclude").trigger_rule == "none_failed"
    (asset,) = dag.get_task("conclude").outlets
    assert (asset.name, asset.uri) == ("account.reconcile", "fenxiang://fenxiang/account/reconcile")


def test_it_runs_daily_in_the_zone_of_the_pipeline_and_never_twice_at_once() -> None:
    dag = made()
    assert (dag.timetable.expression, str(dag.timetable.timezone)) == ("30 3 * * *", "Asia/Shanghai")
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert "flag" in (dag.doc_md or "")
    assert dag.dag_display_name == "客户 · account.reconcile"


DAILY = """
from fenxiang_sync import DeadLetters, Field, HubTarget, Pipeline, Reconcile, Source
from fenxiang_sync.airflow import sync_dag

at = "30 3 * * *"
sync_dag(Pipeline(name="account", source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget(),
                  reconcile=Reconcile(schedule=at), dead_letters=DeadLetters(schedule=at)))
"""


def test_who_switches_one_on_gets_no_run_before_its_next_time(airflow_home: Path, tmp_path: Path) -> None:
    """Also where its last time was a moment ago: the run would be one that nobody asked for."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.timetables.base import TimeRestriction

    (tmp_path / "daily.py").write_text(DAILY)
    dags = DagBag(str(tmp_path)).dags
    last = datetime(2026, 11, 28, 19, 30, tzinfo=UTC)
    for kind in ("reconcile", "replay"):
        dag = dags[f"account.{kind}"]
        restriction = TimeRestriction(earliest=dag.start_date, latest=None, catchup=dag.catchup)
        timetable = DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable
        for late in (timedelta(seconds=1), timedelta(minutes=10), timedelta(hours=20)):
            with time_machine.travel(last + late, tick=False):
                first = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
            assert first is not None
            assert first.run_after == last + timedelta(days=1), (kind, late)


def test_every_run_of_a_pipeline_goes_before_it() -> None:
    weights = [
        RunPriority().get_weight(SimpleNamespace(run_id=f"{kind}__1", task=task, map_index=-1))
        for kind in ("scheduled", "manual", "backfill")
        for task in made().tasks
    ]
    assert max(weights) < 100, "a backfill's"


def test_parsing_a_file_again_makes_no_new_version_of_it() -> None:
    first, second = (DagSerialization.to_dict(made()) for _ in range(2))
    assert first == second
    assert " at 0x" not in str(first)


# Params


def context(run_type: str = "manual", run_id: str = "manual__1", **params: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    run = SimpleNamespace(run_id=run_id, run_type=run_type, run_after=now, start_date=now)
    return {"ti": TaskInstance(), "dag_run": run, "params": params, "outlet_events": Events()}


class TaskInstance(SimpleNamespace):
    """What an operator uses of a task instance."""

    dag_id, map_index = "account.reconcile", -1

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed = {**getattr(self, "pushed", {}), key: value}


class Events(dict[Any, Any]):
    """The outlet events of a task."""

    def __missing__(self, asset: Any) -> Any:
        self[asset] = SimpleNamespace(extra=None)
        return self[asset]


def test_the_form_has_typed_params_whose_defaults_are_valid_and_ask_for_nothing_special() -> None:
    dag = made()
    assert set(dag.params) == set(reconcile_params())
    assert reconcile_wanted(context(**dag.params.validate())) == Wanted()


def test_params_say_what_a_run_by_hand_compares() -> None:
    wanted = reconcile_wanted(
        context(since="2026-10-01T00:00:00+08:00", full=True, deep=False, dry_run=True, confirm_drops=7)
    )
    since = datetime(2026, 9, 30, 16, tzinfo=UTC)
    assert wanted == Wanted(since=since, full=True, deep=False, dry_run=True, confirmed=7)
    assert reconcile_wanted(context("scheduled", full=True)) == Wanted(scheduled=True)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"ful": True}, "Unknown param 'ful'; did you mean full?"),
        ({"deep": "yes"}, "Param deep is 'yes'; give true or false"),
        ({"confirm_drops": True}, "Param confirm_drops is True; give a number"),
        ({"confirm_drops": -1}, "Param confirm_drops is -1; give a number"),
        ({"since": "2026-10-02T00:00:00Z", "until": "2026-10-01T00:00:00Z"}, "must be before until"),
    ],
)
def test_params_that_cannot_be_meant_are_told(params: dict[str, Any], says: str) -> None:
    with pytest.raises(ParamError, match=says):
        reconcile_wanted(context(**params))


# The tasks


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, knobs=Knobs(visibility_lag_ms=0), records={NAME: 60}) as running:
        yield running


@pytest.fixture
def stage(fenxiang: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")
    return tmp_path / "stage"


def hold(simulator: Simulator, *, but: int = 0, over: int = 0) -> None:
    """The pipeline has read all records but some, and `over` that are not there; its time is certified."""
    records = sorted(simulator.tenant.visible(NAME).values(), key=lambda record: str(record["_id"]))
    seen = [
        Seen(record["_id"], record["last_modified_time"], record["life_status"] == "invalid")
        for record in records[: len(records) - but]
    ]
    seen += [Seen(f"{number:024x}", seen[0].modified_ms) for number in range(1, over + 1)]
    hub = Deployment().hub
    hub.see("account", seen, run="manual__0", now=datetime.now(UTC))
    until = max(record["last_modified_time"] for record in records) + 1
    hub.certify(Certificate(pipeline="account", run="manual__0", window=Window(0, until)), now=datetime.now(UTC))


def execute(dag: DAG, task_id: str, here: dict[str, Any], **attributes: Any) -> Any:
    task = dag.get_task(task_id)
    return task.execute(here)


@pytest.mark.usefixtures("stage")
def test_the_tasks_of_a_run_tell_cost_differences_and_numbers_and_the_hub_keeps_them(simulator: Simulator) -> None:
    hold(simulator, but=2, over=1)
    dag, here = made(), context()
    told = execute(dag, "survey", here)
    assert (told["compared"], told["form"], told["may_vanish"]) == (59, "counts", 5)
    assert told["estimated"] > 0
    [running] = Deployment().hub.runs("account")
    assert (running.run, running.kind, running.state) == ("reconcile.manual__1", "reconcile", "running")
    [segment] = execute(dag, "compare", here)
    assert segment["label"] == "001 · by id · 2"
    assert here["ti"].pushed["found"]["compared"]["missing"] == 2
    for step in ("fetch", "transform", "load"):
        task = dag.get_task(f"segment.{step}")
        operator = task.operator_class(
            task_id=step, pipeline=declared(), segment=segment, dag=DAG(f"alone_{step}", schedule=None)
        )
        operator.execute(here)
    numbers = execute(dag, "conclude", here)
    assert {name: numbers[name] for name in ("missing", "fetched", "delivered", "vanished")} == {
        "missing": 2,
        "fetched": 2,
        "delivered": 2,
        "vanished": 1,
    }
    assert [event.extra for event in here["outlet_events"].values()] == [numbers]
    [run] = Deployment().hub.runs("account")
    assert (run.state, run.numbers["missing"], run.requests) == ("success", 2, numbers["requests"])


@pytest.mark.usefixtures("stage")
def test_a_question_fails_the_task_and_is_where_people_look(simulator: Simulator) -> None:
    hold(simulator, over=9)
    dag, here = made(), context()
    execute(dag, "survey", here)
    with pytest.raises(QuestionError):
        execute(dag, "compare", here)
    assert here["ti"].pushed[FAILURE].startswith("QuestionError: 9 of the 69 records")
    [run] = Deployment().hub.runs("account")
    assert (run.state, run.numbers["task"], run.numbers["error"]) == ("failed", "compare", "QuestionError")
