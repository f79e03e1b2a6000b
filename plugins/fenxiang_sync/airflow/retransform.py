"""retransform_dag: the DAG that applies a changed mapping to what was read before; it is started by hand alone."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import DAG

from fenxiang_sync.airflow.companion import companion_dag
from fenxiang_sync.airflow.deployment import Deployment
from fenxiang_sync.airflow.operators import PipelineOperator
from fenxiang_sync.airflow.params import retransform_params, retransform_wanted
from fenxiang_sync.airflow.pools import target_pool
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.steps import Run
from fenxiang_sync.steps.retransform import KIND, apply, difference

log = logging.getLogger(__name__)

DOC = """
Maps records of pipeline `{name}` that were read before by the declaration of today (重新转换), with no call to
Fenxiang.

**Trigger ▸** tells what the target would get: of the records that one `run` has read, or of all, as they were read
last. With `apply` it is delivered. The same on the command line: `fenxiang retransform {name} --all`
"""


def retransform_dag(pipeline: Pipeline, **overrides: Any) -> DAG | None:
    """The retransform DAG of a pipeline; None where it keeps no records. `sync_dag` makes it."""
    if not pipeline.keep_records:
        return None
    words: dict[str, Any] = {
        "description": f"Maps what pipeline {pipeline.name} has read anew (重新转换)",
        "params": retransform_params(),
        "doc_md": DOC.format(name=pipeline.name),
        # It does nothing by itself; paused, what is triggered would wait for ever.
        "is_paused_upon_creation": False,
    }
    with companion_dag(pipeline, KIND, overrides, schedule=None, **words) as dag:
        RetransformOperator(task_id=KIND, pipeline=pipeline, pool=target_pool(pipeline.target))
    return dag


class RetransformOperator(PipelineOperator):
    """Maps kept records anew and tells what differs, or delivers it; returns the numbers. What differs, value by value,
    is in the run's folder of the stage (``report.json``)."""

    def step(self, run: Run, deployment: Deployment, context: Any) -> dict[str, Any]:
        wanted = retransform_wanted(context)
        deployment.sweep(run.pipeline)
        if wanted.apply:
            made = apply(
                run,
                of=wanted.run,
                hub=deployment.hub,
                stage=deployment.stage,
                reach=deployment.reach,
                clock=deployment.now,
            )
        else:
            made = difference(run, of=wanted.run, hub=deployment.hub, stage=deployment.stage)
            run.folder.save("report", made.to_json())
        numbers = made.numbers()
        log.info(
            "%s", ", ".join(f"{value:,} {name}" for name, value in numbers.items() if type(value) is int and value)
        )
        if made.tally.unread:
            log.warning("Not read then, and left out: %s; read the range again", ", ".join(sorted(made.tally.unread)))
        log.info("The differences, value by value: %s/report.json", run.folder)
        return numbers
