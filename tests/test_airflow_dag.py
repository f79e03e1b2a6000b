"""sync_dag makes of a declaration the DAG that people see: tasks, pools, priorities, schedule, params, words."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from fenxiang_sync import Condition, Field, HubTarget, Logic, Pipeline, Source
from fenxiang_sync.airflow import pool_name, sync_dag
from fenxiang_sync.airflow.priority import RunPriority
from fenxiang_sync.airflow.retries import FenxiangRetryPolicy
from fenxiang_sync.airflow.timetable import WindowTimetable


def declared(**words: Any) -> Pipeline:
    return Pipeline(
        **{
            "name": "contact",
            "title": "联系人",
            "description": "Contacts for the mailing system.",
            "source": Source(object="ContactObj"),
            "fields": [Field("_id"), Field("name")],
            "target": HubTarget(),
            "start": datetime(2026, 1, 1, tzinfo=UTC),
            "tags": ["crm"],
            **words,
        }
    )


@pytest.fixture
def dag() -> DAG:
    return sync_dag(declared())


def test_the_tasks_stand_in_the_order_of_a_run(dag: DAG) -> None:
    order = [task.task_id for task in dag.topological_sort()]
    assert order == ["plan", "segment.extract", "segment.transform", "segment.load", "verify"]
    assert dag.get_task("segment.extract").upstream_task_ids == {"plan"}
    assert dag.get_task("verify").upstream_task_ids == {"segment.load"}


def test_every_task_that_calls_fenxiang_is_in_the_pool_of_its_interface(dag: DAG) -> None:
    pools = {task.task_id: task.pool for task in dag.tasks}
    preset = pool_name("fenxiang", "ContactObj")
    assert {name for name, pool in pools.items() if pool == preset} == {"plan", "segment.extract", "verify"}
    custom = sync_dag(declared(name="stock", source=Source(object="stock__c", connection="second")))
    assert custom.get_task("plan").pool == "fenxiang-second-custom"


def test_records_that_cost_a_call_each_are_read_in_a_pool_that_holds_up_no_queries() -> None:
    got = sync_dag(
        declared(fields=[Field("_id"), Field("image__c")], source=Source(object="ProductObj", get_fields=["image__c"]))
    )
    assert got.get_task("segment.extract").pool == "fenxiang-fenxiang-preset-get"
    assert {got.get_task(name).pool for name in ("plan", "verify")} == {"fenxiang-fenxiang-preset"}


def test_verify_runs_also_where_no_segment_did_and_not_after_a_failure(dag: DAG) -> None:
    assert dag.get_task("verify").trigger_rule == "none_failed"


def test_a_run_that_ends_goes_before_scheduled_manual_and_backfill_runs(dag: DAG) -> None:
    def weight(task_id: str, run_id: str) -> int:
        task = dag.get_task(task_id)
        return RunPriority().get_weight(SimpleNamespace(run_id=run_id, task=task, map_index=-1))

    runs = ["scheduled__2026-01-01", "manual__2026-01-01", "backfill__2026-01-01"]
    assert all(isinstance(task.weight_rule, RunPriority) for task in dag.tasks)
    extracts = [weight("segment.extract", run) for run in runs]
    assert extracts == sorted(extracts, reverse=True)
    assert len(set(extracts)) == 3
    assert min(weight("verify", run) for run in runs) > max(extracts)


def test_a_small_run_goes_before_the_later_segments_of_a_large_one_whatever_their_kinds(dag: DAG) -> None:
    """Its pool has one slot: behind a first load of hundreds of segments everybody else would wait for hours."""

    def weight(run_id: str, segment: int) -> int:
        task = dag.get_task("segment.extract")
        return RunPriority().get_weight(SimpleNamespace(run_id=run_id, task=task, map_index=segment))

    first_load = [weight("scheduled__2026-01-01", segment) for segment in range(1000)]
    assert first_load == sorted(first_load, reverse=True)
    assert min(first_load) >= 1
    assert weight("scheduled__2026-01-02", 0) > first_load[1]
    assert weight("manual__2026-01-02", 0) > first_load[12]
    assert weight("backfill__2026-01-02", 0) > first_load[24]


def test_errors_decide_about_retries(dag: DAG) -> None:
    for task in dag.tasks:
        assert task.retries >= 1
        assert isinstance(task.retry_policy, FenxiangRetryPolicy)
        assert task.execution_timeout


def test_the_schedule_gives_intervals_without_holes_and_one_run_at_a_time(dag: DAG) -> None:
    assert isinstance(dag.timetable, WindowTimetable)
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert dag.timetable.serialize()["start"] == "2026-01-01T00:00:00+00:00"


def test_no_run_is_dated_before_its_tasks(dag: DAG) -> None:
    """Airflow leaves such tasks out of a run and calls it a success; a manual run may be dated as one likes."""
    assert {task.start_date for task in dag.tasks} == {datetime(1970, 1, 1, tzinfo=UTC)}


def test_a_pipeline_without_a_schedule_runs_by_hand_and_one_without_a_start_begins_with_everything() -> None:
    dag = sync_dag(declared(schedule=None, start=None))
    assert not isinstance(dag.timetable, WindowTimetable)
    assert dag.start_date == datetime(1970, 1, 1, tzinfo=UTC)


def test_the_dag_page_says_what_is_synced(dag: DAG) -> None:
    assert dag.dag_display_name == "联系人 · contact"
    assert dag.tags >= {"fenxiang", "ContactObj", "crm"}
    assert "Contacts for the mailing system." in (dag.doc_md or "")
    kept = sync_dag(declared(conditions=[[Condition("email", Logic.NOTNULL)]]))
    assert "email notnull" in (kept.doc_md or "")


def test_the_form_of_a_manual_run_has_typed_params_with_valid_defaults(dag: DAG) -> None:
    assert set(dag.params) == {"since", "until", "full", "dry_run", "resend", "may_duplicate", "confirm_drops"}
    assert dag.params.validate() == {
        "since": None,
        "until": None,
        "full": False,
        "dry_run": False,
        "resend": False,
        "may_duplicate": False,
        "confirm_drops": None,
    }


def test_arguments_of_airflows_dag_win_over_what_is_made_here() -> None:
    dag = sync_dag(declared(), max_active_runs=2, schedule=None, default_args={"retries": 1}, tags=["mine"])
    assert (dag.max_active_runs, dag.tags) == (2, {"mine"})
    assert not isinstance(dag.timetable, WindowTimetable)
    task = dag.get_task("plan")
    assert task.retries == 1
    assert task.execution_timeout == timedelta(hours=6)


def test_parsing_a_file_again_makes_no_new_version_of_the_dag() -> None:
    first, second = (DagSerialization.to_dict(sync_dag(declared())) for _ in range(2))
    assert first == second
    assert " at 0x" not in str(first)


def test_verify_updates_the_asset_of_the_pipeline(dag: DAG) -> None:
    (asset,) = dag.get_task("verify").outlets
    assert (asset.name, asset.uri) == ("contact", "fenxiang://fenxiang/contact")


def test_parsing_a_dag_file_leaves_the_http_provider_alone_which_takes_long_to_import() -> None:
    code = "import sys, fenxiang_sync.airflow.dag; print('airflow.providers.http.hooks.http' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "False"
