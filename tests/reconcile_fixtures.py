"""A pipeline that has been synced, and its reconcile, as the tasks of its DAG do it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fenxiang_simulator import Knobs, Simulator
from fenxiang_sync.hub import Record
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
from tests.source_fixtures import FEW
from tests.steps_fixtures import Bench, bench, manual

NAME = "AccountObj"


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


def small(folder: Path, knobs: Knobs | None = None, **records: int) -> AbstractContextManager[Bench]:
    """A bench whose other objects are small, since nobody reads them."""
    folder.mkdir(exist_ok=True)
    return bench(folder, knobs, **FEW | records)


def synced(crm: Bench, account: Pipeline) -> list[str]:
    """Read everything and reconcile once, so that the voided records of the seed are settled; ids of normal ones."""
    crm.sync(account, manual(full=True))
    reconciled(crm, account)
    return normal(crm)


def normal(crm: Bench) -> list[str]:
    records = crm.simulator.tenant.records(NAME)
    return [key for key, record in sorted(records.items()) if record["life_status"] == "normal"]


def delete(simulator: Simulator, *ids: str) -> None:
    for record_id in ids:
        simulator.tenant.invalid(NAME, record_id)
        simulator.tenant.delete(NAME, record_id)


def row(crm: Bench, account: Pipeline, record_id: str) -> Record:
    [found] = crm.hub.records(account.name, ids=[record_id])
    return found
