"""Two recipes in a real Airflow, copied into its dags folder: they do what their fixtures say they do."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from fenxiang_simulator import kingdee
from fenxiang_sync.airflow.pools import target_pool
from fenxiang_sync.steps.written import written
from fenxiang_sync.window import Window
from tests.example_fixtures import EXAMPLES, pipelines_of
from tests.server_fixtures import Server

pytestmark = [pytest.mark.slow, pytest.mark.airflow]

OCTOBER = {"since": "2026-10-01T00:00:00+08:00", "until": "2026-10-08T00:00:00+08:00"}


def played(server: Server, name: str, connection: dict[str, Any]) -> None:
    """One run by hand over some days of October, of a recipe whose target's connection is put."""
    (pipeline,) = pipelines_of(EXAMPLES / f"{name}.py")
    server.rest.put_connection(connection)
    targets = [pipeline.target, *([written(pipeline).target] if pipeline.write_back else [])]
    for target in targets:
        server.rest.put_pool(target_pool(target), 1)
    text = re.sub(r'    schedule=".*",\n', "", (EXAMPLES / f"{name}.py").read_text(encoding="utf-8"))
    server.write_dag(name, text.replace("    start=", "    schedule=None,\n    start="))  # else another run begins, too
    server.rest.wait_parsed(name)
    server.rest.unpause(name)
    run = server.rest.wait_run(name, server.rest.trigger(name, OCTOBER))
    server.rest.pause(name)
    assert run["state"] == "success"


def changed_in_october(server: Server) -> dict[str, dict[str, Any]]:
    window = Window.from_json(OCTOBER)
    accounts = server.simulator.tenant.visible("AccountObj")
    return {
        key: each for key, each in accounts.items() if window.since_ms <= each["last_modified_time"] < window.until_ms
    }


def test_customers_arrive_in_a_table(server: Server, tmp_path: Path) -> None:
    database = tmp_path / "warehouse.db"
    played(
        server,
        "account_to_table",
        {"connection_id": "warehouse_db", "conn_type": "sqlite", "host": str(database)},
    )
    with sqlite3.connect(database) as connection:
        rows = dict(connection.execute("SELECT _id, name FROM account").fetchall())
    expected = {key: each["name"] for key, each in changed_in_october(server).items()}
    assert len(expected) > 10
    assert expected.items() <= rows.items()


def test_customers_arrive_at_kingdee_and_what_it_told_comes_back_by_itself(server: Server) -> None:
    extra = {"acct_id": kingdee.ACCT_ID, "app_id": kingdee.APP_ID}
    approved = {
        key: each["account_no"] for key, each in changed_in_october(server).items() if each["life_status"] == "normal"
    }
    port = int(server.simulator.url.rsplit(":", 1)[1])
    played(
        server,
        "customer_to_kingdee",
        {
            "connection_id": "kingdee",
            "conn_type": "http",
            "host": "http://127.0.0.1/k3cloud",
            "port": port,
            "login": kingdee.USER,
            "password": kingdee.APP_SECRET,
            "extra": json.dumps(extra),
        },
    )
    bills = {bill.number: str(bill.id) for bill in server.simulator.targets.kingdee.bills("BD_Customer")}
    assert len(approved) > 10
    assert set(approved.values()) <= set(bills)

    (back,) = server.rest.wait_runs("customer_to_kingdee.write_back", 1)
    assert (back["state"], back["run_type"]) == ("success", "asset_triggered")
    records = server.simulator.tenant.records("AccountObj")
    told = {key: (records[key]["erp_number__c"], records[key]["erp_id__c"]) for key in approved}
    assert told == {key: (number, bills[number]) for key, number in approved.items()}
