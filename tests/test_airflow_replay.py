"""The replay DAG stands beside the pipeline's without a word in the DAG file; with a ladder it has a schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException
from airflow.serialization.serialized_objects import DagSerialization

from fenxiang_simulator import Knobs, Simulator
from fenxiang_sync import QEASY_LADDER, DeadLetters, Field, HubTarget, Pipeline, QeasyStore, Source, integer
from fenxiang_sync.airflow.dag import sync_dag
from fenxiang_sync.airflow.deployment import Deployment
from fenxiang_sync.airflow.operators import FAILURE
from fenxiang_sync.airflow.params import replay_params, replay_wanted
from fenxiang_sync.airflow.replay import replay_dag
from fenxiang_sync.airflow.retries import FenxiangRetryPolicy
from fenxiang_sync.errors import DeadLettersError, ParamError, SetupError
from fenxiang_sync.hub import DeadLetter, Selection
from fenxiang_sync.hub.letters import DISMISSED
from fenxiang_sync.steps.doubt import Choice
from fenxiang_sync.steps.mend import Wanted

NAME = "AccountObj"
LADDER = DeadLetters(ladder=QEASY_LADDER)


def declared(**words: Any) -> Pipeline:
    given: dict[str, Any] = {
        "name": "account",
        "title": "客户",
        "source": Source(object=NAME),
        "fields": [Field("_id"), Field("name")],
        "target": HubTarget(),
    }
    return Pipeline(**given | words)


FILE = """
from fenxiang_sync import QEASY_LADDER, DeadLetters, Field, HubTarget, Pipeline, Source
from fenxiang_sync.airflow import sync_dag

for name, rules in {"by_hand": DeadLetters(), "ladder": DeadLetters(ladder=QEASY_LADDER)}.items():
    sync_dag(Pipeline(name=name, source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget(),
                      dead_letters=rules), on_failure_callback=print, schedule=None)
"""


def test_airflow_finds_it_in_the_dag_file_by_itself(airflow_home: Path, tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "two.py").write_text(FILE)
    bag = DagBag(str(tmp_path))
    assert bag.import_errors == {}
    assert {"by_hand.replay", "ladder.replay"} <= set(bag.dags)
    by_hand, ladder = bag.dags["by_hand.replay"], bag.dags["ladder.replay"]
    assert by_hand.has_on_failure_callback
    assert type(by_hand.timetable).__name__ == "NullTimetable"
    assert by_hand.is_paused_upon_creation is False, "it does nothing by itself"
    assert type(ladder.timetable).__name__ == "CronTriggerTimetable"
    assert ladder.is_paused_upon_creation is None


def test_it_is_one_task_in_the_pool_of_the_target_behind_the_runs_of_the_pipeline() -> None:
    dag = replay_dag(declared(target=QeasyStore(scheme="s"), dead_letters=LADDER))
    [task] = dag.tasks
    assert (task.task_id, task.pool) == ("replay", "fenxiang-target-qeasy")
    assert task.priority_weight < 0
    assert (dag.timetable.expression, str(dag.timetable.timezone)) == ("*/5 * * * *", "Asia/Shanghai")
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    [asset] = task.outlets
    assert (asset.name, asset.uri) == ("account.replay", "fenxiang://fenxiang/account/replay")


def test_parsing_a_file_again_makes_no_new_version_of_it() -> None:
    first, second = (DagSerialization.to_dict(replay_dag(declared())) for _ in range(2))
    assert first == second
    assert " at 0x" not in str(first)


def test_the_page_of_a_pipeline_says_when_dead_letters_are_tried_again() -> None:
    assert "**Dead letters** are tried again by hand: DAG `account.replay`" in declared().describe_markdown()
    assert "tried again `*/5 * * * *`" in declared(dead_letters=LADDER).describe_markdown()


# Params


def context(run_type: str = "manual", dag_id: str = "account.replay", **params: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    run = SimpleNamespace(
        dag_id=dag_id, run_id=f"{run_type}__{params.pop('tick', 1)}", run_type=run_type, run_after=now, start_date=now
    )
    return {"ti": TaskInstance(dag_id=dag_id), "dag_run": run, "params": params, "outlet_events": Events()}


class TaskInstance(SimpleNamespace):
    """What an operator uses of a task instance."""

    map_index = -1

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed = {**getattr(self, "pushed", {}), key: value}


class Events(dict[Any, Any]):
    """The outlet events of a task."""

    def __missing__(self, asset: Any) -> Any:
        self[asset] = SimpleNamespace(extra=None)
        return self[asset]


def test_the_form_has_typed_params_whose_defaults_mean_all_open_letters() -> None:
    dag = replay_dag(declared())
    assert set(dag.params) == set(replay_params())
    assert replay_wanted(context(**dag.params.validate())) == Wanted()


def test_params_say_which_letters_and_what_to_do_about_rows_in_doubt() -> None:
    asked = context(run="manual__1", stage="load", error="Refused", records=["A"], in_doubt="resend", dry_run=True)
    assert replay_wanted(asked) == Wanted(
        run="manual__1", stage="load", error="Refused", records=["A"], in_doubt=Choice.RESEND, dry_run=True
    )
    assert replay_wanted(context(letters=False, in_doubt="accept")) == Wanted(letters=False, in_doubt=Choice.ACCEPT)
    assert replay_wanted(context("scheduled", in_doubt="resend")) == Wanted(due=True), "nobody has looked"


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"record": ["A"]}, "Unknown param 'record'; did you mean records?"),
        ({"stage": "extract"}, "Param stage is 'extract'; give transform or load"),
        ({"in_doubt": "send"}, "Param in_doubt is 'send'; give nothing or resend or accept"),
        ({"records": "A"}, "Param records is 'A'; give a list of ids"),
        ({"run": 7}, "Param run is 7; give text"),
        ({"dry_run": "yes"}, "Param dry_run is 'yes'; give true or false"),
    ],
)
def test_params_that_cannot_be_meant_are_told(params: dict[str, Any], says: str) -> None:
    with pytest.raises(ParamError, match=says):
        replay_wanted(context(**params))


# The task


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, knobs=Knobs(visibility_lag_ms=0), records={NAME: 5}) as running:
        yield running


@pytest.fixture
def stage(fenxiang: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")
    return tmp_path / "stage"


def bury(pipeline: Pipeline, *record_ids: str, ago: timedelta = timedelta(0), **words: Any) -> None:
    given = {"run": "manual__0", "stage": "load", "error": "Refused", "reason": "too long", **words}
    letters = [
        DeadLetter(
            pipeline="account", record_id=each, row_id=each, modified_ms=1, config_hash=pipeline.config_hash,
            payload={"_id": each, "name": each, "last_modified_time": 1}, **given,
        )
        for each in record_ids
    ]  # fmt: skip
    Deployment().hub.bury(letters, now=datetime.now(UTC) - ago)


def execute(dag: DAG, here: dict[str, Any]) -> Any:
    [task] = dag.tasks
    return task.execute(here)


@pytest.mark.usefixtures("stage")
def test_a_run_tells_its_numbers_and_the_hub_keeps_them() -> None:
    pipeline, here = declared(), context()
    bury(pipeline, "A", "B")
    numbers = execute(replay_dag(pipeline), here)
    assert (numbers["letters"], numbers["delivered"], numbers["open_letters"]) == (2, 2, 0)
    assert [event.extra for event in here["outlet_events"].values()] == [numbers]
    hub = Deployment().hub
    [run] = hub.runs("account")
    assert (run.run, run.kind, run.state, run.numbers) == ("replay.manual__1", "replay", "success", numbers)
    assert {record.id for record in hub.records("account")} == {"A", "B"}


@pytest.mark.usefixtures("stage")
def test_a_tick_of_the_schedule_takes_what_is_due_and_is_skipped_where_nothing_is() -> None:
    pipeline = declared(dead_letters=LADDER)
    bury(pipeline, "A")
    bury(pipeline, "B", ago=timedelta(minutes=1))
    numbers = execute(replay_dag(pipeline), context("scheduled"))
    assert (numbers["letters"], numbers["delivered"], numbers["open_letters"]) == (1, 1, 1)
    with pytest.raises(AirflowSkipException, match="no dead letter is due"):
        execute(replay_dag(pipeline), context("scheduled", tick=2))
    assert len(Deployment().hub.runs("account")) == 1, "an idle tick is no run to remember"


@pytest.mark.usefixtures("stage")
def test_a_replay_that_fails_is_in_the_hub_with_its_reason() -> None:
    pipeline, here = declared(target=QeasyStore(scheme="s")), context()
    bury(pipeline, "A")
    with pytest.raises(SetupError):
        execute(replay_dag(pipeline), here)
    assert here["ti"].pushed[FAILURE].startswith("SetupError: Connection 'qeasy' does not exist")
    [run] = Deployment().hub.runs("account")
    assert (run.kind, run.state, run.numbers["error"]) == ("replay", "failed", "SetupError")


# Too many


@pytest.mark.usefixtures("stage")
def test_a_run_of_too_many_dead_letters_fails_once_with_its_numbers_and_without_an_event(simulator: Simulator) -> None:
    pipeline = declared(fields=[Field("_id"), Field("name", "size", convert=integer)], dead_letters=DeadLetters(most=2))
    dag, here = sync_dag(pipeline), context(dag_id="account", full=True)
    [segment] = dag.get_task("plan").execute(here)
    for step in ("extract", "transform", "load"):
        task = dag.get_task(f"segment.{step}")
        operator = task.operator_class(
            task_id=step, pipeline=pipeline, segment=segment, dag=DAG(f"alone_{step}", schedule=None)
        )
        operator.execute(here)
    with pytest.raises(DeadLettersError, match="5 of 5 records became dead letters") as failed:
        dag.get_task("verify").execute(here)
    assert FenxiangRetryPolicy().evaluate(failed.value, 1, 6).action.name == "FAIL"
    hub = Deployment().hub
    assert hub.certified("account"), "no run need read it again"
    [run] = hub.runs("account")
    assert (run.state, run.numbers["error"], run.numbers["read"]) == ("failed", "DeadLettersError", 5)
    hub.letters.close("account", Selection(), by="somebody", closed_as=DISMISSED, now=datetime.now(UTC))
    assert dag.get_task("verify").execute(here)["dead_letters"] == 5, "cleared when they were looked at, it succeeds"
    [run] = hub.runs("account")
    assert run.state == "success"
