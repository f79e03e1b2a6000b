"""Two recipes in a real Airflow: copied into its dags folder as they are, they do what their fixtures say they do."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from fenxiang_simulator import kingdee
from fenxiang_sync.airflow.pools import target_pool
from fenxiang_sync.window import Window
from tests.example_fixtures import EXAMPLES, pipelines_of
from tests.server_fixtures import Server

pytestmark = [pytest.mark.slow, pytest.mark.airflow]

OCTOBER = {"since": "2026-10-01T00:00:00+08:00", "until": "2026-10-08T00:00:00+08:00"}


def played(server: Server, name: str, connection: dict[str, Any]) -> None:
    """One run by hand over some days of October, of a recipe whose target's connection is put."""
    (pipeline,) = pipelines_of(EXAMPLES / f"{name}.py")
    server.rest.put_connection(connection)
    server.rest.put_pool(target_pool(pipeline.target), 1)
    server.write_dag(name, (EXAMPLES / f"{name}.py").read_text(encoding="utf-8"))
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


def test_customers_arrive_at_kingdee(server: Server) -> None:
    extra = {"acct_id": kingdee.ACCT_ID, "app_id": kingdee.APP_ID}
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
    approved = {e["account_no"] for e in changed_in_october(server).values() if e["life_status"] == "normal"}
    assert len(approved) > 10
    assert approved <= {bill.number for bill in server.simulator.targets.kingdee.bills("BD_Customer")}
