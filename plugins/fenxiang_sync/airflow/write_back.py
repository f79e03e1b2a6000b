"""write_back_dag: the DAG that writes into the CRM what became of its records (回写).

One task, in the pool of the CRM as a target. It runs after each run that updates the pipeline's target, and by hand.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import DAG, AssetAny

from fenxiang_sync.airflow.companion import by_hand, companion_dag, companion_outlet
from fenxiang_sync.airflow.deployment import Deployment
from fenxiang_sync.airflow.journal import WriteBackJournal
from fenxiang_sync.airflow.operators import PipelineOperator, outlet
from fenxiang_sync.airflow.params import write_back_asked, write_back_params
from fenxiang_sync.airflow.pools import target_pool
from fenxiang_sync.airflow.reconcile import reconcile_outlet
from fenxiang_sync.airflow.replay import replay_outlet
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.steps import Run
from fenxiang_sync.steps.write_back import write_back
from fenxiang_sync.steps.written import KIND, written

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
    fields = "\n".join(f"- `{field}` ← {word}" for field, word in back.fields.items())
    words: dict[str, Any] = {
        "schedule": _after(pipeline),
        "description": f"Writes back into the CRM what became of the records of pipeline {pipeline.name} (回写)",
        "params": write_back_params(),
        "doc_md": DOC.format(name=pipeline.name, fields=fields),
        # It does nothing before the pipeline has run; paused, what that tells it would be lost on it.
        "is_paused_upon_creation": False,
    }
    with companion_dag(pipeline, KIND, overrides, **words) as dag:
        WriteBackOperator(
            task_id=KIND,
            pipeline=pipeline,
            pool=target_pool(written(pipeline).target),
            outlets=[companion_outlet(pipeline, KIND)],
        )
    return dag


def _after(pipeline: Pipeline) -> AssetAny:
    """Whatever delivers rows of the pipeline, or settles what became of them."""
    reconciled = [] if pipeline.reconcile is None else [reconcile_outlet(pipeline)]
    return AssetAny(outlet(pipeline), replay_outlet(pipeline), *reconciled)


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
    """The same for a command; returns the id of the run and its numbers."""
    asked = {"every": every, "dry_run": dry_run}

    def work(run: Run, deployment: Deployment) -> dict[str, int]:
        return write_back(run, hub=deployment.hub, reach=deployment.reach, clock=deployment.now, **asked)

    return by_hand(pipeline, WriteBackJournal, work, **asked)
