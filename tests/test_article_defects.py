"""The article's sample code loses records in ways of its own; each has a test that shows that we do not.

The numbers are those of the list of its defects; what concerns the mapping alone (4, 6, 9, 10, 12) is in
test_dags_article.py. What goes over the wire is read off the wire, as the simulator heard it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fenxiang_simulator.server import Request, Response
from fenxiang_sync import Field, Pipeline, WriteApi, instant
from fenxiang_sync.errors import FenxiangSyncError
from tests.steps_fixtures import CREDENTIALS, Bench, bench, manual, pipeline

ROOT = Path(__file__).resolve().parent.parent
REPORT = "object_inventory_report__c"
QUERY = "/cgi/crm/custom/v2/data/query"


class Wire:
    """Every request as it arrived, in order."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def handle(self, request: Request) -> Response | None:
        self.requests.append(request)
        return None

    def queries(self) -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in self.requests if request.path == QUERY]


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, object_inventory_report__c=350) as made:
        yield made


@pytest.fixture
def wire(crm: Bench) -> Wire:
    made = Wire()
    crm.simulator.server.apps.insert(0, made)
    return made


def report(**words: Any) -> Pipeline:
    return pipeline(REPORT, **{"name": "inventory_report", "fields": [Field("_id"), Field("name")], **words})


def test_1_queries_are_posts_with_offset_and_limit_in_the_body(crm: Bench, wire: Wire) -> None:
    crm.sync(report())
    assert {request.method for request in wire.requests} == {"POST"}
    assert not any("page" in request.query for request in wire.requests)
    for body in wire.queries():
        assert {"offset", "limit"} <= set(body["data"]["search_query_info"])


def test_2_filters_are_a_list_of_field_operator_and_a_list_of_texts(crm: Bench, wire: Wire) -> None:
    crm.sync(report())
    for body in wire.queries():
        filters = body["data"]["search_query_info"]["filters"]
        assert isinstance(filters, list)
        for each in filters:
            assert set(each) == {"field_name", "field_values", "operator"}
            assert all(isinstance(value, str) for value in each["field_values"])


def test_3_the_envelope_has_the_token_the_tenant_and_the_data_around_the_query(crm: Bench, wire: Wire) -> None:
    crm.sync(report())
    for body in wire.queries():
        assert {"corpAccessToken", "corpId", "currentOpenUserId", "data"} <= set(body)
        assert body["data"]["dataObjectApiName"] == REPORT
        assert "search_query_info" in body["data"]


def test_4_the_window_is_in_milliseconds_that_were_counted_not_glued(crm: Bench, wire: Wire) -> None:
    since = datetime(2026, 5, 1, 0, 0, 0, 123_000, tzinfo=UTC)
    crm.sync(report(), manual(since=since))
    bounds = {
        value
        for body in wire.queries()
        for each in body["data"]["search_query_info"]["filters"]
        if each["field_name"] == "last_modified_time"
        for value in each["field_values"]
    }
    lookback_ms = 600_000
    assert str(int(since.timestamp() * 1000) - lookback_ms) in bounds


def test_5_an_error_code_is_not_the_end_of_the_data(crm: Bench) -> None:
    crm.simulator.faults.next("system_error", 50, path=QUERY, skip=6)
    with pytest.raises(FenxiangSyncError):
        crm.sync(report())
    assert crm.hub.certified("inventory_report") == []
    crm.simulator.faults.clear()
    assert crm.sync(report()).read == 350


def test_6_stamps_are_the_integers_that_the_api_sends(crm: Bench) -> None:
    local = Field("last_modified_time", "local", convert=instant("Asia/Shanghai", "YYYY-MM-DD HH:mm:ss"))
    crm.sync(report(fields=[Field("_id"), local]))
    for record_id, row in crm.held(report()).items():
        stamp = crm.simulator.tenant.records(REPORT)[record_id]["last_modified_time"]
        assert isinstance(stamp, int)
        shown = datetime.strptime(row["local"] + " +0800", "%Y-%m-%d %H:%M:%S %z")
        assert int(shown.timestamp()) == stamp // 1000


def test_7_every_query_has_both_bounds_and_the_order_of_ids(crm: Bench, wire: Wire) -> None:
    crm.sync(report())
    asked = [body["data"]["search_query_info"] for body in wire.queries()]
    reading = [query for query in asked if query["orders"] and query["limit"] > 1]  # 1: how the server compares ids
    assert reading
    for query in reading:
        stamped = {each["operator"] for each in query["filters"] if each["field_name"] == "last_modified_time"}
        assert stamped in ({"GTE", "LT"}, {"BETWEEN"})
        assert [order["fieldName"] for order in query["orders"]] == ["_id"]
        assert query["offset"] == 0


def test_8_pages_are_as_large_as_the_api_allows(crm: Bench, wire: Wire) -> None:
    crm.sync(report())
    limits = [body["data"]["search_query_info"]["limit"] for body in wire.queries()]
    assert max(limits) == 100
    assert limits.count(100) > len(limits) / 2


def test_11_what_failed_is_raised_and_the_time_is_read_by_the_next_run(crm: Bench) -> None:
    crm.simulator.knobs.quota_pack = False
    with pytest.raises(FenxiangSyncError, match="30003"):
        crm.sync(report())
    crm.simulator.knobs.quota_pack = True
    assert crm.sync(report()).delivered == 350


def test_12_a_write_is_judged_by_what_the_target_says_and_its_refusal_is_kept(tmp_path: Path) -> None:
    with bench(tmp_path) as crm:
        warehouse = pipeline(
            "object_warehouse__c",
            name="warehouse",
            fields=[Field("_id", "key"), Field("warehouseId", "id"), Field("warehouseName", "name")],
            key="key",
            target=WriteApi(upserts=True),
        )
        warehouses = crm.simulator.tenant.visible("object_warehouse__c").values()
        without = {record["_id"] for record in warehouses if not record.get("warehouseId")}
        told = crm.sync(warehouse)
        letters = {letter.record_id: letter for letter in crm.hub.dead_letters("warehouse")}
        assert set(letters) == without
        assert all(letter.stage == "load" and "id" in letter.reason for letter in letters.values())
        assert told.delivered == len(crm.simulator.targets.write.rows) == told.read - len(without)


def test_13_no_declaration_and_no_connection_file_names_a_person() -> None:
    for file in (ROOT / "dags").glob("*.py"):
        assert not re.search(r"FSUID_|open_user_id", file.read_text(encoding="utf-8")), file


def test_13_the_acting_user_comes_from_the_connection(crm: Bench, wire: Wire) -> None:
    crm.sync(report())
    assert {body["currentOpenUserId"] for body in wire.queries()} == {CREDENTIALS.acting_user}
