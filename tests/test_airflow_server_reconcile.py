"""Reconcile in a real Airflow: its DAG is there beside the pipeline's, and a run by REST finds what was deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.server_fixtures import ORDER, Crm

pytestmark = [pytest.mark.slow, pytest.mark.airflow]


def test_a_record_that_was_deleted_at_the_crm_is_found_by_a_reconcile_and_its_row_flagged(crm: Crm) -> None:
    rest = crm.server.rest
    ids = crm.create(*(datetime(2026, 10, 1, tzinfo=UTC) + timedelta(hours=number) for number in range(40)))
    late = ids.pop()
    crm.simulator.tenant.hide(ORDER, late)
    name = crm.declare("compared")
    reconcile = f"{name}.reconcile"
    assert crm.run(name, {"full": True})["state"] == "success"
    crm.simulator.tenant.show(ORDER, late)
    crm.simulator.tenant.invalid(ORDER, ids[0])
    crm.simulator.tenant.delete(ORDER, ids[0])
    try:
        run = crm.run(reconcile)
    finally:
        rest.pause(reconcile)
    numbers = rest.xcom(reconcile, run["dag_run_id"], "conclude")

    assert run["state"] == "success"
    assert {key: numbers[key] for key in ("compared", "missing", "delivered", "vanished", "removed", "hidden")} == {
        "compared": 39,
        "missing": 1,
        "delivered": 1,
        "vanished": 1,
        "removed": 1,
        "hidden": 0,
    }
    assert rest.xcom(reconcile, run["dag_run_id"], "survey")["estimated"] <= numbers["requests"]
    states = set(rest.task_states(reconcile, run["dag_run_id"]).values())
    assert states == {"success"}
    events = rest.call("GET", "/api/v2/assets/events", params={"source_dag_id": reconcile})["asset_events"]
    assert [event["extra"] for event in events] == [numbers]
    with crm.server.hub() as hub:
        rows = {record.id: record.removed_at for record in hub.records(name)}
        [last, first] = hub.runs(name)
    assert {key for key, removed in rows.items() if removed} == {ids[0]}
    assert late in rows
    assert (last.run, last.kind, last.state) == (f"reconcile.{run['dag_run_id']}", "reconcile", "success")
    assert first.kind == "manual"
