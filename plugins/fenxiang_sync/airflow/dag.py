"""sync_dag: the DAG of a pipeline, and the companions of its lookbacks.

::

    plan ─► segment × n ( extract ─► transform ─► load ) ─► verify

Beside it stand ``<name>.reconcile``, which compares all that is held with the source (`reconcile_dag`),
``<name>.replay``, which tries dead letters again (`replay_dag`), ``<name>.retransform``, which maps anew what was read
(`retransform_dag`), and, where it is declared, ``<name>.write_back`` (`write_back_dag`).
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task_group
from airflow.timetables.trigger import CronTriggerTimetable

from fenxiang_sync.airflow.companion import companion_name, task_defaults
from fenxiang_sync.airflow.operators import (
    LABEL,
    ExtractOperator,
    LoadOperator,
    PlanOperator,
    TransformOperator,
    VerifyOperator,
    drift_outlet,
    outlet,
)
from fenxiang_sync.airflow.params import lookback_params, run_params
from fenxiang_sync.airflow.pools import reading_pool, source_pool, target_pool
from fenxiang_sync.airflow.priority import LOOKBACK_WEIGHT
from fenxiang_sync.airflow.reconcile import reconcile_dag
from fenxiang_sync.airflow.replay import replay_dag
from fenxiang_sync.airflow.retransform import retransform_dag
from fenxiang_sync.airflow.timetable import EVERYTHING, WindowTimetable
from fenxiang_sync.airflow.write_back import write_back_dag
from fenxiang_sync.checks import spoken_span
from fenxiang_sync.lookback import Lookback
from fenxiang_sync.pipeline import Pipeline

OF_SYNC = (
    "dag_id", "dag_display_name", "description", "doc_md", "schedule", "start_date", "end_date", "catchup", "params",
    "max_active_runs",
)  # fmt: skip
"""Arguments that are for the pipeline's own DAG alone."""


def sync_dag(pipeline: Pipeline, **overrides: Any) -> DAG:
    """The DAG that keeps a pipeline's target up to date; assign it to a name in the DAG file. Each lookback of the
    pipeline becomes a DAG beside it, ``account.lookback-2d``.

    `overrides` are arguments of Airflow's ``DAG`` (``owner_links``, ``deadline``, ``max_active_runs`` …) that win over
    what is made here. `default_args` are merged. Those that are not about times and names are for the reconcile,
    replay, retransform and write-back DAGs too.
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
        "default_args": {**task_defaults(pipeline), **overrides.get("default_args", {})},
    }
    with DAG(schedule=schedule, **arguments) as dag:
        _tasks(pipeline)
    for lookback in pipeline.lookbacks:
        _lookback_dag(pipeline, lookback, arguments)
    # Airflow finds them in the DAG file by itself: it registers every DAG that a ``with`` has ended of.
    shared = {name: value for name, value in overrides.items() if name not in OF_SYNC}
    reconcile_dag(pipeline, **shared)
    replay_dag(pipeline, **shared)
    retransform_dag(pipeline, **shared)
    write_back_dag(pipeline, **shared)
    return dag


def _lookback_dag(pipeline: Pipeline, lookback: Lookback, arguments: dict[str, Any]) -> DAG:
    """The companion DAG of a lookback: the same graph under a name of its own. Airflow finds it in the DAG file by
    itself, since the block registers it."""
    dag_id = companion_name(pipeline, lookback.id)
    own = {
        "dag_id": dag_id,
        "dag_display_name": f"{pipeline.title} · {dag_id}" if pipeline.title else dag_id,
        "tags": [*arguments["tags"], "lookback"],
        "params": lookback_params(),
        "doc_md": _lookback_page(pipeline, lookback),
    }
    default_args = {**arguments["default_args"], "priority_weight": LOOKBACK_WEIGHT}
    schedule = CronTriggerTimetable(lookback.schedule, timezone=pipeline.timezone)
    with DAG(schedule=schedule, **{**arguments, **own, "default_args": default_args}) as dag:
        _tasks(pipeline, lookback)
    return dag


def _lookback_page(pipeline: Pipeline, lookback: Lookback) -> str:
    return (
        f"漏单补救 (omission remedy) of `{pipeline.name}`: at each tick of `{lookback.schedule}` "
        f"({pipeline.timezone}) it reads the last {spoken_span(lookback.over)} again, whatever was certified. What the "
        f"target has is not sent again; what came late is delivered, and counted: `fenxiang late {pipeline.name}` says "
        f"how late. It never moves the window that the next run of `{pipeline.name}` reads."
    )


def _schedule(pipeline: Pipeline) -> WindowTimetable | None:
    if pipeline.schedule is None:
        return None
    return WindowTimetable(pipeline.schedule, timezone=pipeline.timezone, start=pipeline.start)


def _tasks(pipeline: Pipeline, lookback: Lookback | None = None) -> None:
    pool = source_pool(pipeline.source)

    @task_group(group_id="segment")
    def per_segment(segment: Any) -> None:
        mapped: dict[str, Any] = {"pipeline": pipeline, "segment": segment, "map_index_template": LABEL}
        extract = ExtractOperator(task_id="extract", pool=reading_pool(pipeline.source), **mapped)
        transform = TransformOperator(task_id="transform", **mapped)
        load = LoadOperator(task_id="load", pool=target_pool(pipeline.target), **mapped)
        extract >> transform >> load

    plan = PlanOperator(
        task_id="plan",
        pipeline=pipeline,
        lookback=lookback,
        pool=pool,
        priority_weight=10,
        outlets=[drift_outlet(pipeline)],
    )
    verify = VerifyOperator(
        task_id="verify",
        pipeline=pipeline,
        pool=pool,
        priority_weight=1000,
        trigger_rule="none_failed",
        outlets=[outlet(pipeline)],
    )
    per_segment.expand(segment=plan.output) >> verify
