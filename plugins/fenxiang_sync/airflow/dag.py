"""sync_dag: the DAG of a pipeline.

::

    plan ─► segment × n ( extract ─► transform ─► load ) ─► verify
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task_group

from fenxiang_sync.airflow.operators import (
    LABEL,
    ExtractOperator,
    LoadOperator,
    PlanOperator,
    TransformOperator,
    VerifyOperator,
    outlet,
)
from fenxiang_sync.airflow.params import run_params
from fenxiang_sync.airflow.pools import pool_name, target_pool
from fenxiang_sync.airflow.priority import RunPriority
from fenxiang_sync.airflow.retries import retry_arguments
from fenxiang_sync.airflow.timetable import EVERYTHING, WindowTimetable
from fenxiang_sync.pipeline import Pipeline


def sync_dag(pipeline: Pipeline, **overrides: Any) -> DAG:
    """The DAG that keeps a pipeline's target up to date; assign it to a name in the DAG file.

    `overrides` are arguments of Airflow's ``DAG`` (``owner_links``, ``deadline``, ``max_active_runs`` …) that win over
    what is made here. `default_args` are merged.
    """
    schedule = overrides.pop("schedule", _schedule(pipeline))
    arguments: dict[str, Any] = {
        "dag_id": pipeline.name,
        "dag_display_name": f"{pipeline.title} · {pipeline.name}" if pipeline.title else pipeline.name,
        "description": pipeline.description or None,
        "start_date": EVERYTHING,  # tasks have it too; where the first scheduled run begins is the timetable's start
        "catchup": False,
        "max_active_runs": 1,
        "tags": ["fenxiang", pipeline.source.object, *pipeline.tags],
        "params": run_params(),
        "doc_md": pipeline.describe_markdown(),
        **overrides,
        "default_args": {**_default_args(pipeline), **overrides.get("default_args", {})},
    }
    with DAG(schedule=schedule, **arguments) as dag:
        _tasks(pipeline)
    return dag


def _schedule(pipeline: Pipeline) -> WindowTimetable | None:
    if pipeline.schedule is None:
        return None
    return WindowTimetable(pipeline.schedule, timezone=pipeline.timezone, start=pipeline.start)


def _default_args(pipeline: Pipeline) -> dict[str, Any]:
    return {
        "owner": pipeline.owner,
        **retry_arguments(),
        "execution_timeout": timedelta(hours=6),
        "weight_rule": RunPriority(),
    }


def _tasks(pipeline: Pipeline) -> None:
    pool = pool_name(pipeline.source.connection, pipeline.source.object)

    @task_group(group_id="segment")
    def per_segment(segment: Any) -> None:
        mapped: dict[str, Any] = {"pipeline": pipeline, "segment": segment, "map_index_template": LABEL}
        extract = ExtractOperator(task_id="extract", pool=pool, **mapped)
        transform = TransformOperator(task_id="transform", **mapped)
        load = LoadOperator(task_id="load", pool=target_pool(pipeline.target), **mapped)
        extract >> transform >> load

    plan = PlanOperator(task_id="plan", pipeline=pipeline, pool=pool, priority_weight=10)
    verify = VerifyOperator(
        task_id="verify",
        pipeline=pipeline,
        pool=pool,
        priority_weight=1000,
        trigger_rule="none_failed",
        outlets=[outlet(pipeline)],
    )
    per_segment.expand(segment=plan.output) >> verify
