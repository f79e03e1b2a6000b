"""Pipelines in a real Airflow: API server, scheduler and executor, driven by REST as the UI does, on the simulator."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.server_fixtures import Crm, Server

pytestmark = [pytest.mark.slow, pytest.mark.airflow]


def test_the_shipped_dags_are_there_paused_and_without_an_import_error(server: Server) -> None:
    server.rest.wait_parsed("account", "inventory_report", "warehouse")

    assert server.rest.import_errors() == {}
    assert {dag["dag_id"] for dag in server.rest.dags() if dag["is_paused"]} >= {"account", "inventory_report"}


def test_the_connections_pass_the_test_of_the_ui(server: Server) -> None:
    for name in ("fenxiang", "qeasy"):
        ok, message = server.rest.test_connection(name)

        assert ok, f"{name}: {message}"


def test_every_pool_that_a_task_waits_for_is_there(server: Server) -> None:
    server.rest.wait_parsed("account", "inventory_report", "warehouse")
    wanted = {
        task["pool"]
        for dag in server.rest.dags()
        for task in server.rest.call("GET", f"/api/v2/dags/{dag['dag_id']}/tasks")["tasks"]
    }

    assert wanted <= set(server.rest.pools())


def test_the_page_of_a_dag_tells_what_it_does_and_offers_a_typed_form(server: Server) -> None:
    server.rest.wait_parsed("warehouse")
    page = server.rest.call("GET", "/api/v2/dags/warehouse/details")

    assert page["dag_display_name"] == "仓库档案 · warehouse"
    assert {tag["name"] for tag in page["tags"]} == {"fenxiang", "object_warehouse__c", "master data"}
    for said in ("object_warehouse__c", "POST /write", "`0 */4 * * *` (Asia/Shanghai)", "| `location.city` |"):
        assert said in page["doc_md"]
    assert page["description"].startswith("Warehouse archive (仓库档案)")
    form = {name: param["schema"] for name, param in page["params"].items()}
    assert {name: field["type"] for name, field in form.items()} == {
        "since": ["null", "string"],
        "until": ["null", "string"],
        "full": "boolean",
        "dry_run": "boolean",
        "resend": "boolean",
        "may_duplicate": "boolean",
        "confirm_drops": ["null", "integer"],
    }
    assert {name for name, field in form.items() if field.get("format") == "date-time"} == {"since", "until"}
    assert all(
        field["title"] and param["description"]
        for field, param in zip(form.values(), page["params"].values(), strict=True)
    )
    assert {name: param["value"] for name, param in page["params"].items()} == {
        "since": None,
        "until": None,
        "full": False,
        "dry_run": False,
        "resend": False,
        "may_duplicate": False,
        "confirm_drops": None,
    }


def test_a_manual_run_over_everything_delivers_and_a_second_one_finds_nothing_new(crm: Crm) -> None:
    crm.create(*(datetime(2026, 10, 1 + number % 30, number % 24, tzinfo=UTC) for number in range(300)))
    crm.declare("by_hand")
    runs = [crm.run("by_hand", {"full": True}) for _ in range(2)]
    numbers = [crm.server.rest.xcom("by_hand", run["dag_run_id"], "verify") for run in runs]

    assert [run["state"] for run in runs] == ["success", "success"]
    assert [each["read"] for each in numbers] == [300, 300]
    assert [each["delivered"] for each in numbers] == [300, 0]
    assert [each["unchanged"] for each in numbers] == [0, 300]
    assert crm.held("by_hand") == crm.ids()
