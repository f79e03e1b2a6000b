"""Companions: what the DAGs beside a pipeline's own have in common, and the runs of their work for a command."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG, Asset, CronTriggerTimetable

from fenxiang_sync.airflow.deployment import Deployment
from fenxiang_sync.airflow.journal import ReplayJournal
from fenxiang_sync.airflow.priority import RunPriority
from fenxiang_sync.airflow.retries import retry_arguments
from fenxiang_sync.airflow.terminal import cannot_tell
from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.steps import Run


def companion_name(pipeline: Pipeline, kind: str) -> str:
    """The id of the DAG; no pipeline can have it, since their names have no dot."""
    return f"{pipeline.name}.{kind}"


def companion_outlet(pipeline: Pipeline, kind: str) -> Asset:
    """Its own asset: those who wait for the pipeline's wait for another kind of event."""
    return Asset(
        name=companion_name(pipeline, kind), uri=f"fenxiang://{pipeline.source.connection}/{pipeline.name}/{kind}"
    )


def ticking(cron: str | None, pipeline: Pipeline) -> CronTriggerTimetable | None:
    """The schedule of a DAG that begins with its next moment: who unpauses it, for a dry run say, gets that and no
    other. Airflow 3.3.2 takes ``run_immediately=False`` for None, and then a past moment counts for a tenth of the
    interval."""
    if cron is None:
        return None
    return CronTriggerTimetable(cron, timezone=pipeline.timezone, run_immediately=timedelta(0))


def companion_dag(
    pipeline: Pipeline, kind: str, overrides: dict[str, Any], *, schedule: Any, weight: int = 0, **words: Any
) -> DAG:
    """The DAG, still without tasks. `words` are its own arguments (``description``, ``params``, ``doc_md`` …),
    `overrides` those of the caller of ``sync_dag``, which win; `weight` is added to the weight of each task."""
    name = companion_name(pipeline, kind)
    arguments: dict[str, Any] = {
        "dag_id": name,
        "dag_display_name": f"{pipeline.title} · {name}" if pipeline.title else name,
        "catchup": False,
        "max_active_runs": 1,
        "tags": ["fenxiang", kind, pipeline.source.object, *pipeline.tags],
        **words,
        **overrides,
        "default_args": {
            **task_defaults(pipeline),
            **({"priority_weight": weight} if weight else {}),
            **overrides.get("default_args", {}),
        },
    }
    return DAG(schedule=schedule, **arguments)


def task_defaults(pipeline: Pipeline) -> dict[str, Any]:
    """What holds for the tasks of every DAG of a pipeline."""
    return {
        "owner": pipeline.owner,
        **retry_arguments(),
        "execution_timeout": timedelta(hours=6),
        "weight_rule": RunPriority(),
    }


def by_hand(
    pipeline: Pipeline,
    journal_of: type[ReplayJournal],
    work: Callable[[Run, Deployment], dict[str, Any]],
    *,
    dry_run: bool,
    **told: Any,
) -> tuple[str, dict[str, Any]]:
    """The work of a companion outside Airflow's tasks, for a command; returns the id of the run and its numbers. With
    the numbers the hub remembers what is `told`.

    What goes wrong ends the command with a sentence, and is in the hub as every run that failed.
    """
    started = datetime.now(UTC)
    run_id = f"{journal_of.kind}.cli__{started.isoformat()}"
    with closing(Deployment()) as deployment:
        try:
            run = Run(pipeline=pipeline, id=run_id, folder=deployment.stage.run(pipeline.name, run_id))
            journal = journal_of(deployment.hub, run, SimpleNamespace(start_date=started))
        except FenxiangSyncError as error:
            cannot_tell(str(error))
        try:
            journal.began(dry_run)
            numbers = work(run, deployment)
            journal.ended({**numbers, "dry_run": dry_run, **told})
        except FenxiangSyncError as error:
            with suppress(FenxiangSyncError):
                journal.failed(journal_of.kind, error)
            cannot_tell(f"{type(error).__name__}: {error}")
    return run_id, numbers
