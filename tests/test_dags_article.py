"""The shipped DAG files: what the article promises comes out exactly, and its defects do not.

They are read as Airflow reads them, and fed by the simulator over HTTP.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from fenxiang_simulator import Knobs, Simulator
from fenxiang_simulator.catalog import demo
from fenxiang_sync import Pipeline
from fenxiang_sync.errors import RecordError
from fenxiang_sync.source import Credentials, FenxiangClient, MemoryTokenStore, Pace, Paces, Style, Tokens, pages
from fenxiang_sync.window import Window

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "dags").glob("*.py"))
YEAR = Window.between(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def shipped(name: str) -> Pipeline:
    spec = importlib.util.spec_from_file_location(f"shipped_{name}", ROOT / "dags" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pipeline = getattr(module, name)
    assert isinstance(pipeline, Pipeline)
    assert module.dag.dag_id == pipeline.name
    return pipeline


@pytest.fixture(scope="module")
def warehouse() -> Pipeline:
    return shipped("warehouse")


@pytest.fixture(scope="module")
def inventory_report() -> Pipeline:
    return shipped("inventory_report")


@pytest.fixture(scope="module")
def account() -> Pipeline:
    return shipped("account")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    records = {"object_warehouse__c": 60, "object_inventory_report__c": 50, "AccountObj": 120}
    with Simulator(seed=7, knobs=Knobs(calls=1_000_000, visibility_lag_ms=0), records=records) as running:
        yield running


def records_of(pipeline: Pipeline, simulator: Simulator) -> list[dict[str, Any]]:
    """What the pipeline would read of a year, over HTTP."""
    session = requests.Session()
    credentials = Credentials(
        app_id="FSAID_demo001",
        app_secret="demo-secret",
        permanent_code="demo-perm",
        style=Style.BODY,
        acting_user="FSUID_demo0000000000000000000000001",
        mobile="",
    )
    tokens = Tokens(session=session, base_url=simulator.url, credentials=credentials, store=MemoryTokenStore())
    client = FenxiangClient(
        session=session,
        base_url=simulator.url,
        tokens=tokens,
        credentials=credentials,
        pace=Paces(lambda: Pace(calls=100_000)),
    )
    source = pipeline.source
    read = pages(client, object_name=source.object, window=YEAR, projection=pipeline.mapping.projection)
    return [record for page in read for record in page.records]


def mapped(pipeline: Pipeline, records: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[RecordError]]:
    contents, errors = [], []
    for record in records:
        try:
            contents.append(pipeline.mapping.row(record).content)
        except RecordError as error:
            errors.append(error)
    return contents, errors


class TestTheExamples:
    def test_the_report_says_local_time_for_the_articles_text_and_for_what_the_api_really_sends(
        self, inventory_report: Pipeline
    ) -> None:
        for stamp in ("2023-10-01T12:00:00Z", 1696161600000):
            record = {"_id": "123456", "name": "Sample Inventory Report", "last_modified_time": stamp}
            assert msgspec.json.encode(inventory_report.mapping.row(record).content) == (
                b'{"_id":"123456","name":"Sample Inventory Report","local_last_modified_time":"2023-10-01 20:00:00"}'
            )

    def test_the_warehouse_takes_the_nested_form(self, warehouse: Pipeline, simulator: Simulator) -> None:
        contents, _ = mapped(warehouse, records_of(warehouse, simulator))
        (main,) = [content for content in contents if content["id"] == "WH123"]
        assert msgspec.json.encode(main) == (
            b'{"id":"WH123","name":"Main Warehouse","location":{"city":"Beijing"},'
            b'"capacityInfo":{"totalCapacity":10000,"currentStockLevel":5000}}'
        )

    def test_a_warehouse_without_id_is_rejected_and_the_others_go_on(
        self, warehouse: Pipeline, simulator: Simulator
    ) -> None:
        contents, errors = mapped(warehouse, records_of(warehouse, simulator))
        assert (len(contents), len(errors)) == (57, 3)
        assert {error.field for error in errors} == {"warehouseId"}
        assert all("id ← warehouseId: it is required" in str(error) for error in errors)

    def test_every_customer_becomes_a_row_of_the_declared_types(self, account: Pipeline, simulator: Simulator) -> None:
        contents, errors = mapped(account, records_of(account, simulator))
        assert (len(contents), errors) == (120, [])
        kinds = {
            path: {type(content[path]) for content in contents} - {type(None)}
            for path in ("credit_limit", "vip", "level")
        }
        assert kinds == {"credit_limit": {Decimal}, "vip": {bool}, "level": {str}}
        owned = [content for content in contents if content["owner_id"]]
        assert all(content["owner_id"].startswith("FSUID_") and content["owner_name"] for content in owned)
        assert 0 < len(owned) < len(contents)
        assert {len(content["registered_on"]) for content in contents if content["registered_on"]} == {10}
        assert all(content["modified_at"].endswith("+08:00") for content in contents)


class TestDefectsOfTheArticle:
    def test_4_the_beginning_is_a_typed_moment_not_seconds_with_000_behind(self, inventory_report: Pipeline) -> None:
        assert inventory_report.start is not None
        assert inventory_report.start.isoformat() == "2026-01-01T00:00:00+08:00"

    def test_6_what_the_api_adds_beside_a_value_reaches_no_row(self, inventory_report: Pipeline) -> None:
        record: dict[str, Any] = {"_id": "a", "name": "b", "last_modified_time": 1696161600000}
        beside = {"name__r": "c", "owner__l": [{"id": "1000"}], "total_num": 5, "field_a1B2c__c": "d"}
        assert inventory_report.mapping.row(record | beside) == inventory_report.mapping.row(record)

    def test_9_the_rows_order_is_kept_in_utc_whatever_zone_the_text_is_in(self, inventory_report: Pipeline) -> None:
        row = inventory_report.mapping.row({"_id": "a", "last_modified_time": "2023-10-01T20:00:00+08:00"})
        assert row.modified_ms == 1696161600000
        assert row.content["local_last_modified_time"] == "2023-10-01 20:00:00"

    @pytest.mark.parametrize("name", [file.stem for file in FILES])
    def test_10_every_field_that_is_read_is_one_the_object_has(self, name: str) -> None:
        pipeline = shipped(name)
        known = set(demo()[pipeline.source.object].fields)
        assert {field.removesuffix("__r") for field in pipeline.mapping.projection} <= known

    def test_12_the_id_is_what_rows_are_told_apart_by(self, warehouse: Pipeline) -> None:
        assert warehouse.mapping.key == "id"
        record = {"_id": "a", "last_modified_time": 1, "warehouseId": "WH1"}
        assert warehouse.mapping.row(record).id == "WH1"
        assert warehouse.target.connections == ("write_api",)


class TestTheFiles:
    def test_three_are_shipped(self) -> None:
        assert [file.name for file in FILES] == ["account.py", "inventory_report.py", "warehouse.py"]

    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
    def test_each_is_short_explained_and_seen_by_airflow(self, file: Path) -> None:
        code = file.read_text(encoding="utf-8")
        assert len(code.splitlines()) < 60
        assert ast.get_docstring(ast.parse(code))
        assert "airflow" in code
        assert "dag" in code

    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
    def test_reading_one_reaches_out_for_nothing(self, file: Path, tmp_path: Path) -> None:
        watch = f"""
import json, runpy, sys
import airflow.sdk, fenxiang_sync.airflow.dag
seen = []
outside = ("socket", "sqlite3", "subprocess")
sys.addaudithook(lambda event, args: seen.append(event) if event.split(".")[0] in outside else None)
runpy.run_path({str(file)!r})
print(json.dumps(seen))
"""
        environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "plugins")}
        done = subprocess.run(
            [sys.executable, "-c", watch], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == []

    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
    def test_its_explanation_is_on_the_dag_page(self, file: Path) -> None:
        page = shipped(file.stem).describe_markdown()
        assert (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "-") in page
