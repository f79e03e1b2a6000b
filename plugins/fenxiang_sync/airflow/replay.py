"""replay_dag: the DAG that tries dead letters again (死信重试) and settles rows in doubt.

One task in the target's pool; by hand, and on a schedule where the pipeline declares a ladder.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import DAG, Asset
from airflow.sdk.exceptions import AirflowSkipException

from fenxiang_sync.airflow.companion import by_hand, companion_dag, companion_outlet, ticking
from fenxiang_sync.airflow.deployment import Deployment
from fenxiang_sync.airflow.journal import ReplayJournal
from fenxiang_sync.airflow.operators import PipelineOperator
from fenxiang_sync.airflow.params import replay_params, replay_wanted
from fenxiang_sync.airflow.pools import target_pool
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.steps import Run
from fenxiang_sync.steps.mend import REPLAY, Wanted, mend

log = logging.getLogger(__name__)

BEHIND = -150
"""Added to the weight of the task: in the target's pool it goes behind scheduled and manual runs."""
DOC = """
Tries the dead letters (死信) of pipeline `{name}` again: each record, as it was read, is mapped as the pipeline is
declared now and delivered like every other. Fenxiang is not called. What was delivered in a newer version meanwhile is
not sent; what fails again keeps its letter, with one more attempt.

**Trigger ▸** replays all open letters, or those of a `run`, a `stage`, a class of `error`, some `records`; `in_doubt`
settles rows whose answer was lost, after you have looked at the target; `dry_run` only says what would become of them.
{rhythm}

`fenxiang letters {name}` shows them, `fenxiang doubt {name}` the rows in doubt.
"""


def replay_dag(pipeline: Pipeline, **overrides: Any) -> DAG:
    """The replay DAG of a pipeline. `sync_dag` makes it."""
    rhythm = pipeline.dead_letters.rhythm
    said = f"On its schedule (`{rhythm}`) it takes those that are due." if rhythm else "It has no schedule."
    words: dict[str, Any] = {
        "schedule": ticking(rhythm, pipeline),
        "weight": BEHIND,
        "description": f"Tries the dead letters of pipeline {pipeline.name} again (死信重试)",
        "params": replay_params(),
        "doc_md": DOC.format(name=pipeline.name, rhythm=said),
        # Without a schedule it does nothing by itself; paused, what is triggered would wait for ever.
        **({} if rhythm else {"is_paused_upon_creation": False}),
    }
    with companion_dag(pipeline, REPLAY, overrides, **words) as dag:
        ReplayOperator(
            task_id=REPLAY, pipeline=pipeline, pool=target_pool(pipeline.target), outlets=[replay_outlet(pipeline)]
        )
    return dag


def replay_outlet(pipeline: Pipeline) -> Asset:
    return companion_outlet(pipeline, REPLAY)


class ReplayOperator(PipelineOperator):
    """Settles rows in doubt, replays dead letters, lets old ones expire; returns the numbers."""

    def journal_of(self, deployment: Deployment, context: Any) -> ReplayJournal:
        return ReplayJournal(deployment.hub, self.run_of(deployment, context), context["dag_run"])

    def step(self, run: Run, deployment: Deployment, context: Any) -> dict[str, Any]:
        wanted = replay_wanted(context)
        journal = self.journal_of(deployment, context)
        if not wanted.due:
            journal.began(wanted.dry_run)
        numbers = mend(run, wanted, hub=deployment.hub, reach=deployment.reach, clock=deployment.now)
        if wanted.due and not numbers["letters"] and not numbers["expired"]:
            raise AirflowSkipException("no dead letter is due")  # nor is this a run to remember, or an asset event
        told = ", ".join(f"{value:,} {name}" for name, value in numbers.items() if type(value) is int and value)
        log.info("%s", told or "nothing to replay")
        journal.ended(numbers)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = numbers
        return numbers


def mend_by_hand(pipeline: Pipeline, wanted: Wanted) -> tuple[str, dict[str, Any]]:
    """The same for a command; returns the id of the run and its numbers."""

    def work(run: Run, deployment: Deployment) -> dict[str, Any]:
        return mend(run, wanted, hub=deployment.hub, reach=deployment.reach, clock=deployment.now)

    return by_hand(pipeline, ReplayJournal, work, dry_run=wanted.dry_run)
