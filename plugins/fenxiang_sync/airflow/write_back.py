"""write_back_dag: the DAG that writes into the CRM what became of its records (回写).

One task, in the pool of the CRM as a target. It runs after each run that updates the pipeline's target, and by hand.
"""

from __future__ import annotations

import logging
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG, Asset, AssetAny

from fenxiang_sync.airflow.deployment import Deployment
from fenxiang_sync.airflow.journal import WriteBackJournal
from fenxiang_sync.airflow.operators import PipelineOperator, outlet
from fenxiang_sync.airflow.params import write_back_asked, write_back_params
from fenxiang_sync.airflow.pools import target_pool
from fenxiang_sync.airflow.priority import RunPriority
from fenxiang_sync.airflow.reconcile import reconcile_outlet
from fenxiang_sync.airflow.replay import replay_outlet
from fenxiang_sync.airflow.retries import retry_arguments
from fenxiang_sync.airflow.terminal import cannot_tell
from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.steps import Run
from fenxiang_sync.steps.write_back import write_back
from fenxiang_sync.steps.written import KIND, written, written_name

log = logging.getLogger(__name__)

DOC = """
Writes into the CRM what became of the records of pipeline `{name}` (回写):

{fields}

It runs after each run of `{name}`, its replay and its reconcile that succeeds, and sends only what has changed.
**Trigger ▸** looks at every record (`every`), or only says how many would be written (`dry_run`). The same on the
command line: `fenxiang write-back {name}`

What the CRM refuses is a dead letter of `{name}.write_back` and tried again: `fenxiang letters {name}.write_back`.
"""


def write_back_dag(pipeline: Pipeline, **overrides: Any) -> DAG | None:
    """The write-back DAG of a pipeline; None where it writes nothing back. `sync_dag` makes it."""
    back = pipeline.write_back
    if back is None:
        return None
    name = written_name(pipeline)
    fields = "\n".join(f"- `{field}` ← {word}" for field, word in back.fields.items())
    arguments: dict[str, Any] = {
        "dag_id": name,
        "dag_display_name": f"{pipeline.title} · {name}" if pipeline.title else name,
        "description": f"Writes back into the CRM what became of the records of pipeline {pipeline.name} (回写)",
        "catchup": False,
        "max_active_runs": 1,
        "tags": ["fenxiang", KIND, pipeline.source.object, *pipeline.tags],
        "params": write_back_params(),
        "doc_md": DOC.format(name=pipeline.name, fields=fields),
        # It does nothing before the pipeline has run; paused, what that tells it would be lost on it.
        "is_paused_upon_creation": False,
        **overrides,
        "default_args": {**_default_args(pipeline), **overrides.get("default_args", {})},
    }
    with DAG(schedule=_after(pipeline), **arguments) as dag:
        WriteBackOperator(
            task_id=KIND, pipeline=pipeline, pool=target_pool(written(pipeline).target), outlets=[_outlet(pipeline)]
        )
    return dag


def _after(pipeline: Pipeline) -> AssetAny:
    """Whatever delivers rows of the pipeline, or settles what became of them."""
    reconciled = [] if pipeline.reconcile is None else [reconcile_outlet(pipeline)]
    return AssetAny(outlet(pipeline), replay_outlet(pipeline), *reconciled)


def _default_args(pipeline: Pipeline) -> dict[str, Any]:
    return {
        "owner": pipeline.owner,
        **retry_arguments(),
        "execution_timeout": timedelta(hours=6),
        "weight_rule": RunPriority(),
    }


def _outlet(pipeline: Pipeline) -> Asset:
    """Its own asset: those who wait for the pipeline's wait for another kind of event."""
    return Asset(name=written_name(pipeline), uri=f"fenxiang://{pipeline.source.connection}/{pipeline.name}/{KIND}")


class WriteBackOperator(PipelineOperator):
    """Writes back what has changed; returns the numbers."""

    def journal_of(self, deployment: Deployment, context: Any) -> WriteBackJournal:
        return WriteBackJournal(deployment.hub, self.run_of(deployment, context), context["dag_run"])

    def step(self, run: Run, deployment: Deployment, context: Any) -> dict[str, int]:
        asked = write_back_asked(context)
        journal = self.journal_of(deployment, context)
        journal.began(asked["dry_run"])
        numbers = write_back(run, hub=deployment.hub, reach=deployment.reach, clock=deployment.now, **asked)
        log.info("%s", ", ".join(f"{value:,} {name}" for name, value in numbers.items() if value) or "nothing new")
        journal.ended({**numbers, **asked})
        for asset in self.outlets:
            context["outlet_events"][asset].extra = numbers
        return numbers


def write_back_by_hand(pipeline: Pipeline, *, every: bool, dry_run: bool) -> tuple[str, dict[str, int]]:
    """The same outside Airflow's tasks, for a command; returns the id of the run and its numbers.

    What goes wrong ends the command with a sentence, and is in the hub as every run that failed.
    """
    started = datetime.now(UTC)
    run_id = f"{KIND}.cli__{started.isoformat()}"
    with closing(Deployment()) as deployment:
        try:
            run = Run(pipeline=pipeline, id=run_id, folder=deployment.stage.run(pipeline.name, run_id))
            journal = WriteBackJournal(deployment.hub, run, SimpleNamespace(start_date=started))
        except FenxiangSyncError as error:
            cannot_tell(str(error))
        try:
            journal.began(dry_run)
            numbers = write_back(
                run, hub=deployment.hub, reach=deployment.reach, clock=deployment.now, every=every, dry_run=dry_run
            )
            journal.ended({**numbers, "every": every, "dry_run": dry_run})
        except FenxiangSyncError as error:
            with suppress(FenxiangSyncError):
                journal.failed(KIND, error)
            cannot_tell(f"{type(error).__name__}: {error}")
    return run_id, numbers
