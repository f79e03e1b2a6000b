"""reconcile_dag: the DAG that compares a pipeline with the source as a whole (对账).

::

    survey ─► compare ─► segment × n ( fetch ─► transform ─► load ) ─► conclude
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import DAG, Asset, task_group

from fenxiang_sync.airflow.companion import companion_dag, companion_outlet, ticking
from fenxiang_sync.airflow.deployment import Deployment
from fenxiang_sync.airflow.journal import ReconcileJournal
from fenxiang_sync.airflow.operators import (
    LABEL,
    LoadOperator,
    PipelineOperator,
    SegmentOperator,
    TransformOperator,
    span_label,
)
from fenxiang_sync.airflow.params import reconcile_params, reconcile_wanted
from fenxiang_sync.airflow.pools import reading_pool, source_pool, target_pool
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.steps import Run, Segment
from fenxiang_sync.steps.finish import finish
from fenxiang_sync.steps.holding import demand
from fenxiang_sync.steps.reconcile import (
    Survey,
    compare,
    confirm,
    count,
    deliver,
    fetch,
    remove,
    report,
    segments,
    survey,
)
from fenxiang_sync.steps.reconcile.fetch import BY_ID, segment
from fenxiang_sync.steps.reconcile.report import clean
from fenxiang_sync.steps.reconcile.survey import RECONCILE, told

log = logging.getLogger(__name__)

BEHIND = -300
"""Added to the weight of each task: in a pool every run of a pipeline goes before a reconcile."""
DOC = """
Compares all that pipeline `{name}` holds with the CRM (对账), and makes good what differs: missing and outdated records
are read again, rows of voided (作废) and deleted ones are given to the delete policy (`{policy}`).

- **survey** says what is compared, and what it will cost in calls.
- **compare** counts, and looks closer where numbers differ. A record that is gone is asked for by its id.
- **segment** reads again what is missing or outdated, and delivers it as every run does.
- **conclude** does the delete policy, counts the target's rows where it can, and tells the numbers.

**Trigger ▸** compares a range of your own (`since`, `until`), id by id (`full`), reads every content again (`deep`),
or only says what differs (`dry_run`). `confirm_drops` answers a run that stopped with a question.
"""


def reconcile_dag(pipeline: Pipeline, **overrides: Any) -> DAG | None:
    """The reconcile DAG of a pipeline; None where it declares none. `sync_dag` makes it."""
    rules = pipeline.reconcile
    if rules is None:
        return None
    words: dict[str, Any] = {
        "schedule": ticking(rules.schedule, pipeline),
        "weight": BEHIND,
        "description": f"Compares pipeline {pipeline.name} with its source (对账)",
        "params": reconcile_params(),
        "doc_md": DOC.format(name=pipeline.name, policy=pipeline.removes),
    }
    with companion_dag(pipeline, RECONCILE, overrides, **words) as dag:
        _tasks(pipeline)
    return dag


def _tasks(pipeline: Pipeline) -> None:
    pool = source_pool(pipeline.source)

    @task_group(group_id="segment")
    def per_segment(segment: Any) -> None:
        mapped: dict[str, Any] = {"pipeline": pipeline, "segment": segment, "map_index_template": LABEL}
        read = FetchOperator(task_id="fetch", pool=reading_pool(pipeline.source), **mapped)
        made = ReconcileTransformOperator(task_id="transform", **mapped)
        sent = ReconcileLoadOperator(task_id="load", pool=target_pool(pipeline.target), **mapped)
        read >> made >> sent

    surveyed = SurveyOperator(task_id="survey", pipeline=pipeline)
    compared = CompareOperator(task_id="compare", pipeline=pipeline, pool=pool)
    concluded = ConcludeOperator(
        task_id="conclude",
        pipeline=pipeline,
        pool=target_pool(pipeline.target),
        trigger_rule="none_failed",
        outlets=[reconcile_outlet(pipeline)],
    )
    surveyed >> compared
    per_segment.expand(segment=compared.output) >> concluded


def reconcile_outlet(pipeline: Pipeline) -> Asset:
    return companion_outlet(pipeline, RECONCILE)


class Reconciling(PipelineOperator):
    """A task of a reconcile: what the hub remembers of its run is another kind."""

    def journal_of(self, deployment: Deployment, context: Any) -> ReconcileJournal:
        return ReconcileJournal(deployment.hub, self.run_of(deployment, context), context["dag_run"])


class SurveyOperator(Reconciling):
    """Decides what is compared, and says what it will cost before it begins; returns both."""

    def step(self, run: Run, deployment: Deployment, context: Any) -> dict[str, Any]:
        deployment.sweep(run.pipeline)
        wanted = reconcile_wanted(context, timezone=self.pipeline.timezone)
        made = survey(run, wanted, hub=deployment.hub, now=deployment.now())
        self.journal_of(deployment, context).surveyed(made)
        log.info("%s", told(made))
        return {
            "windows": [window.to_json() for window in made.windows],
            "form": made.form.value,
            "deep": made.deep,
            "compared": made.held,
            "estimated": made.calls,
            "may_vanish": made.most,
            "dry_run": made.dry_run,
        }


class CompareOperator(Reconciling):
    """Compares, asks for what is absent, and returns the segments to read again; the numbers are XCom ``found``."""

    def step(self, run: Run, deployment: Deployment, context: Any) -> list[dict[str, Any]]:
        client = deployment.reader(self.pipeline.source)
        found = compare(run, client=client, hub=deployment.hub, clock=deployment.now)
        confirmed = confirm(run, client=client, hub=deployment.hub, clock=deployment.now)
        context["ti"].xcom_push(key="found", value={"compared": found, "confirmed": confirmed})
        most = deployment.settings.most_segments
        return [self._told(each) for each in segments(run, hub=deployment.hub, most_segments=most)]

    def _told(self, segment: Segment) -> dict[str, Any]:
        by_id = segment.window == BY_ID
        where = "by id" if by_id else span_label(segment.window, self.pipeline.timezone)
        label = f"{segment.index:03d} · {where} · {segment.count:,}"
        return {"index": segment.index, "count": segment.count, "label": label, **segment.window.to_json()}


class ReconcileSegmentOperator(Reconciling, SegmentOperator):
    """One step of one segment of a reconcile."""

    def segment_of(self, run: Run, index: int) -> Segment:
        return segment(run, index)


class FetchOperator(ReconcileSegmentOperator):
    """Reads the segment into the stage."""

    def segment_step(self, run: Run, segment: Segment, deployment: Deployment) -> dict[str, int]:
        return fetch(run, segment, client=deployment.reader(self.pipeline.source))


class ReconcileTransformOperator(ReconcileSegmentOperator, TransformOperator):
    """Maps the segment's records to rows."""


class ReconcileLoadOperator(ReconcileSegmentOperator, LoadOperator):
    """Delivers the segment's rows."""

    def segment_step(self, run: Run, segment: Segment, deployment: Deployment) -> dict[str, int]:
        return deliver(run, segment, hub=deployment.hub, reach=deployment.reach, clock=deployment.now)


class ConcludeOperator(Reconciling):
    """Does the delete policy, counts the target, adds up, cleans the stage; returns the numbers of the run."""

    def step(self, run: Run, deployment: Deployment, context: Any) -> dict[str, Any]:
        removed = remove(run, hub=deployment.hub, reach=deployment.reach, clock=deployment.now)
        held = count(run, hub=deployment.hub, reach=deployment.reach)
        made = report(run, removed, held)
        numbers = made.to_json()
        if not made.dry_run:
            finish(run, deployment.reach, windows=made.windows, numbers=numbers)
        log.info("%s", ", ".join(f"{value:,} {name}" for name, value in numbers.items() if type(value) is int))
        if not made.dry_run:
            demand(run.pipeline, held)
        self.journal_of(deployment, context).reconciled(Survey.of(run), made)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = numbers
        if not made.dry_run:
            clean(run, keep_records=run.pipeline.keep_records)
        return numbers
