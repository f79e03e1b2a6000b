"""A pipeline that has been synced, and its reconcile, as the tasks of its DAG do it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.source import FenxiangClient
from fenxiang_sync.steps import Run, transform
from fenxiang_sync.steps.finish import finish
from fenxiang_sync.steps.reconcile import (
    Reconciled,
    Wanted,
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
from tests.steps_fixtures import Bench


def reconciled(crm: Bench, pipeline: Pipeline, *, run_id: str | None = None, **wanted: Any) -> Reconciled:
    """One run of the reconcile DAG."""
    run = surveyed(crm, pipeline, run_id=run_id, **wanted)
    compared(crm, run)
    return concluded(crm, run)


def surveyed(crm: Bench, pipeline: Pipeline, *, run_id: str | None = None, **wanted: Any) -> Run:
    run_id = run_id or f"reconcile__{next(crm.numbers)}"
    run = Run(pipeline=pipeline, id=run_id, folder=crm.stage.run(pipeline.name, run_id))
    survey(run, Wanted(**wanted), hub=crm.hub, now=datetime.now(UTC))
    return run


def compared(crm: Bench, run: Run, client: FenxiangClient | None = None) -> None:
    client = client or crm.client()
    compare(run, client=client, hub=crm.hub, clock=crm.now)
    confirm(run, client=client, hub=crm.hub, clock=crm.now)


def concluded(crm: Bench, run: Run, *, most_segments: int = 1000) -> Reconciled:
    for segment in segments(run, hub=crm.hub, most_segments=most_segments):
        fetch(run, segment, client=crm.client())
        transform(run, segment)
        deliver(run, segment, hub=crm.hub, reach=crm.reach(), clock=crm.now)
    removed = remove(run, hub=crm.hub, reach=crm.reach(), clock=crm.now)
    made = report(run, removed, count(run, hub=crm.hub, reach=crm.reach()))
    finish(run, crm.reach(), windows=made.windows, numbers=made.to_json())
    return made
