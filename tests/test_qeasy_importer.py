"""Import of Qeasy schemes: the published examples give the rows that they promise, and nothing goes without a word."""

from __future__ import annotations

import ast
import builtins
import json
import re
import sqlite3
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url

from fenxiang_sync import (
    HubTarget,
    IdCheck,
    KingdeeBatchSave,
    Logic,
    Operator,
    Pipeline,
    RestTarget,
    SqlTable,
    WriteApi,
)
from fenxiang_sync.errors import DeclarationError, RecordError
from fenxiang_sync.letters import QEASY_LADDER
from fenxiang_sync.qeasy import metadata, reader, reading, writer
from fenxiang_sync.qeasy.functions import function
from fenxiang_sync.qeasy.report import Fate
from fenxiang_sync.targets.protocol import Database
from tests.dagfile_fixtures import assert_formatted
from tests.qeasy_fixtures import CUSTOMERS, PRODUCTS, Imported, filtered, fixture, imported, node, scheme
from tests.steps_fixtures import bench

NAMES = ["warehouse", "customers", "sales-orders"]
ENGINE = {"_id": "1", "last_modified_time": 1_790_000_001_456}


def contents(pipeline: Pipeline, *records: dict[str, Any]) -> list[Any]:
    return [row.content for record in records for row in pipeline.rows({**ENGINE, **record})]


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_formatted_and_a_person_is_not_in_it(name: str) -> None:
    made = imported(fixture(name))
    assert_formatted(made.text)
    assert "FSUID_" not in made.text
    assert "FSUID_" not in "\n".join(made.report.lines())
    (told,) = made.told("source.otherRequest.currentOpenUserId")
    assert told[0] is Fate.CHANGED
    assert "open_user_id" in told[1]


# S1: custom object into the hub


def test_the_seed_case_reads_its_object_into_the_hub() -> None:
    made = imported(fixture("warehouse"))
    pipeline = made.declared()
    assert (pipeline.source.object, pipeline.schedule, pipeline.number) == (
        "object_inventory_report__c",
        "0 */4 * * *",
        "name",
    )
    assert isinstance(pipeline.target, HubTarget)
    assert pipeline.id_check is IdCheck.UPSERT_ON_CHANGE
    assert pipeline.dead_letters.ladder == QEASY_LADDER[:3]
    assert pipeline.source.filters == ()
    (told,) = made.told("target.idCheck")
    assert "IdCheck.SKIP_EXISTING" in told[1]
    assert [key for key in made.report.left if key == "source.response"]


def test_the_mapping_of_the_seed_case_gives_the_row_that_it_promises_and_refuses_one_without_an_id() -> None:
    document = fixture("warehouse")
    example = document["_examples"]["mapping"]
    document["target"]["request"] = example["target_request"]
    made = imported(document)
    assert_formatted(made.text)
    pipeline = made.declared()
    assert pipeline.mapping.key == "id"
    assert contents(pipeline, example["input"]) == [example["expected"]]
    for wrong in example["must_fail"]:
        with pytest.raises(RecordError, match="it is required"):
            contents(pipeline, wrong["input"])


@pytest.mark.parametrize("example", fixture("warehouse")["_examples"]["time_conversion"])
def test_times_of_the_seed_case_are_converted_as_it_says(example: dict[str, Any]) -> None:
    said = "_function FROM_UNIXTIME({{last_modified_time}} / 1000, '%Y-%m-%d %H:%i:%s')"
    made = imported(scheme(node("_id"), node("name"), node("local_last_modified_time", said)))
    assert contents(made.declared(), example["input"]) == [example["expected"]]


# S8: preset object into a table


def test_customers_become_the_rows_that_the_example_expects() -> None:
    document = fixture("customers")
    examples = document["_examples"]
    pipeline = imported(document).declared()
    assert contents(pipeline, *examples["source_rows"]) == examples["expected_main_params"]
    dropped = {each["_id"] for each in examples["dropped_by_condition"]}
    assert {row["_id"] for row in examples["source_rows"] if not pipeline.rows(row)} == dropped


def test_customers_go_into_the_table_of_the_statement_under_its_key() -> None:
    made = imported(fixture("customers"))
    pipeline = made.declared()
    assert isinstance(pipeline.target, SqlTable)
    assert (pipeline.target.table, pipeline.target.connection, pipeline.mapping.key) == (
        "crm_customer",
        "mysql",
        "crm_id",
    )
    assert "CREATE TABLE" in pipeline.target.ddl("mysql")
    assert pipeline.source.lookback == timedelta(minutes=10)
    assert [(each.schedule, each.over) for each in pipeline.lookbacks] == [("15 2 * * *", timedelta(days=3))]
    said = {said for _, said in made.told("target.otherRequest.main_sql")}
    assert any("older version of a row never passes" in each for each in said)
    (told,) = made.told("source.idCheck")
    assert "IdCheck.OVERWRITE" in told[1]


# S2: documents with lines into Kingdee


def orders() -> Any:
    return imported(
        fixture("sales-orders"), **{CUSTOMERS.replace("-", "_"): "customer", PRODUCTS.replace("-", "_"): "product"}
    )


def test_orders_are_declared_with_their_lines_look_ups_and_settings() -> None:
    text = orders().text
    for part in (
        'details=[Details("SalesOrderProductObj", by="order_id", into="SalesOrderProductObj")]',
        'pipeline="customer",\n            find="account_no",\n            where={"_id": "account_id"},',
        'pipeline="product",',
        'convert=wrapped("FNumber"),',
        'keeps=[[Condition("quantity", Logic.GT, 0)]],',
        "most=50,",
        'form="SAL_SaleOrder",',
        'number_field="FBillNo",',
        'settings={"IsVerifyBaseDataField": True, "NeedUpDateFields": []},',
        "batch_rows=20,",
        'key="FBillNo",',
        "dead_letters=DeadLetters(ladder=QEASY_LADDER),",
    ):
        assert part in text


def test_orders_become_the_documents_that_the_example_expects() -> None:
    examples = fixture("sales-orders")["_examples"]
    pipeline = orders().declared()
    assert isinstance(pipeline.target, KingdeeBatchSave)
    found = {
        "customer": examples["hub_rows_for_lookup"][CUSTOMERS],
        "product": examples["hub_rows_for_lookup"][PRODUCTS],
    }

    class Finder:
        def look_up(self, question: Any, keys: Any) -> dict[Any, Any]:
            rows = {row["_id"]: row[question.find] for row in found[question.pipeline]}
            assert tuple(question.where) == ("_id",)
            return {key: rows[key[0]] for key in keys if key[0] in rows}

    records = examples["joined_source_rows"]
    known = pipeline.mapping.knowing(Finder(), records)
    rows = [row.content for record in records for row in pipeline.rows(record, known)]
    assert rows == examples["expected_batch"]["data"]["Model"]
    assert dict(pipeline.target.settings) == {"IsVerifyBaseDataField": True, "NeedUpDateFields": []}


# What requests mean


@pytest.mark.parametrize(
    ("said", "lookback"),
    [
        ("{LAST_SYNC_TIME}000", 10),
        ("{{LAST_SYNC_TIME|timestamp_ms}}", 10),
        ("_function ({{LAST_SYNC_TIME}} - 1800) * 1000", 30),
        ("_function {LAST_SYNC_TIME} * 1000 - 1800000", 30),
        ("{{DAYS_AGO_2|timestamp_ms}}", 2 * 24 * 60),
        ("{{MINUTE_AGO_90|timestamp_ms}}", 90),
    ],
)
def test_a_lower_bound_of_the_stamp_is_the_window_and_what_is_early_the_lookback(said: str, lookback: int) -> None:
    upper = filtered("last_modified_time", "_function ({{CURRENT_TIME}} - 300) * 1000", "LT")
    made = imported(scheme(node("_id"), filters=[filtered("last_modified_time", said), upper])).declared()
    assert made.source.lookback == timedelta(minutes=lookback)
    assert made.source.settle == timedelta(minutes=5)
    assert made.source.filters == ()


def test_other_filters_stay_filters_and_one_that_moves_is_told() -> None:
    filters = [
        filtered("life_status", "normal, in_change", "IN"),
        filtered("amount", "{{DAYS_AGO_1}}"),
        filtered("a", "1", "SOUNDS"),
        filtered("last_modified_time", "1790000000000"),
    ]
    filters[0]["children"][1]["parser"] = {"name": "StringToArray", "params": ","}
    made = imported(scheme(node("_id"), filters=filters))
    pipeline = made.declared()
    (kept,) = pipeline.source.filters
    assert (kept.field, kept.operator, kept.values) == ("life_status", Operator.IN, ("normal", "in_change"))
    assert pipeline.start is not None
    assert pipeline.start.timestamp() == 1_790_000_000
    told = [said for fate, said in made.told("source.request.search_query_info.filters.条件") if fate is Fate.NONE]
    assert len(told) == 2
    assert all("more is read than Qeasy reads" in said for said in told)


@pytest.mark.parametrize(
    "written",
    [
        '{"limit": 20, "filters": [{"field_name": "last_modified_time", "field_values": [{{LAST_SYNC_TIME}}000], '
        '"operator": "GTE"}, {"field_name": "life_status", "field_values": ["normal"], "operator": "EQ"}]}',
        {"filters": [{"field_name": "life_status", "field_values": ["normal"], "operator": "EQ", "connector": "AND"}]},
    ],
)
def test_a_query_that_is_written_as_json_keeps_its_filters(written: Any) -> None:
    document = scheme(node("_id"))
    document["source"]["request"].append(node("search_query_info", written))
    (kept,) = imported(document).declared().source.filters
    assert (kept.field, kept.operator, kept.values) == ("life_status", Operator.EQ, ("normal",))


@pytest.mark.parametrize("written", ["limit 20", "[1]", "{{query}}", "[" * 2_000 + "]" * 2_000, True])
def test_a_query_that_cannot_be_read_is_told(written: Any) -> None:
    document = scheme(node("_id"))
    document["source"]["request"].append(node("search_query_info", written))
    ((fate, said),) = imported(document).told("source.request.search_query_info")
    assert fate is Fate.NONE
    assert "more is read than in Qeasy" in said


def test_filters_that_are_joined_by_or_do_not_all_have_to_hold() -> None:
    filters = [filtered("life_status", "normal", "EQ"), filtered("vip__c", "true", "EQ")]
    filters[1]["children"].append(node("connector", "OR"))
    made = imported(scheme(node("_id"), filters=filters))
    assert made.declared().source.filters == ()
    told = made.told("source.request.search_query_info.filters.条件")
    assert [fate for fate, _ in told] == [Fate.NONE, Fate.NONE]
    assert all("joined by OR" in said for _, said in told)


def test_a_filter_by_the_name_of_what_a_field_refers_to_is_told() -> None:
    filters = [filtered("account_id", "上海", "EQ")]
    filters[0]["children"].append(node("isObjectReference", True))
    made = imported(scheme(node("_id"), filters=filters))
    assert made.declared().source.filters == ()
    assert "isObjectReference" in made.told("source.request.search_query_info.filters.条件")[0][1]


def test_a_comparison_with_the_empty_text_is_one_with_null() -> None:
    condition = [[{"field": "a", "logic": "eq", "value": ""}, {"field": "b", "logic": "neq", "value": ""}]]
    pipeline = imported(scheme(node("_id"), condition=condition)).declared()
    assert len(contents(pipeline, {"b": "x"}, {"a": "", "b": "x"}, {"a": "y", "b": "x"}, {"b": ""}, {})) == 2
    for logic in ("in", "like"):
        made = imported(scheme(node("_id"), condition=[[{"field": "a", "logic": logic, "value": ""}]]))
        assert made.declared().conditions == ()
        assert "so it drops nothing" in made.told("source.condition[0][0]")[0][1]


def test_conditions_are_typed_as_they_compare() -> None:
    condition = [
        [
            {"field": "amount", "logic": "egt", "value": "1000.50"},
            {"field": "count", "logic": "between", "value": "1,5"},
            {"field": "day", "logic": "lt", "value": "timestamp:1704067200"},
            {"field": "kind", "logic": "in", "value": "a, b"},
            {"field": "flag", "logic": "eq", "value": True},
        ],
        [{"field": "size", "logic": "eq", "value": "7"}, {"field": "vip", "logic": "neq", "value": "1"}],
    ]
    response = [{"field": "size", "type": "int"}, {"field": "vip", "type": "bool"}]
    made = imported(scheme(node("_id"), condition=condition, response=response)).declared()
    (first, second) = made.conditions
    assert [each.value for each in first][:2] == [Decimal("1000.50"), [1, 5]]
    assert first[2].value.isoformat() == "2024-01-01T00:00:00+00:00"
    assert [each.value for each in first][3:] == [["a", "b"], True]
    assert (second[0].logic, second[0].value) == (Logic.EQ, 7)
    assert (second[1].logic, second[1].value) == (Logic.NEQ, True)


def test_conditions_that_cannot_hold_as_written_are_told_and_empty_text_is_null() -> None:
    wrong = [
        {"field": "mixed", "logic": "in", "value": [1, "b"]},
        {"field": "none", "logic": "in", "value": ""},
        {"field": "back", "logic": "between", "value": "9,1"},
        {"field": "order", "logic": "gt", "value": True},
        {"field": "text", "logic": "like", "value": ""},
    ]
    right = [
        {"field": "remark", "logic": "neq", "value": ""},
        {"field": "level", "logic": "eq", "value": ""},
        {"field": "code", "logic": "like", "value": 7},
    ]
    response = [{"field": "level", "type": "int"}]
    made = imported(scheme(node("_id"), condition=[[*wrong, *right]], response=response))
    ((*kept,),) = made.declared().conditions
    assert [(each.field, each.logic, each.value) for each in kept] == [
        ("remark", Logic.NOTNULL, None), ("level", Logic.ISNULL, None), ("code", Logic.LIKE, "7"),
    ]  # fmt: skip
    for at in range(len(wrong)):
        ((fate, said),) = made.told(f"source.condition[0][{at}]")
        assert (fate, "write a Condition" in said) == (Fate.NONE, True)


def test_a_condition_may_name_what_flattening_or_a_format_makes_of_a_field() -> None:
    condition = [
        [{"field": "details_num", "logic": "gt", "value": "1"}, {"field": "paid", "logic": "gt", "value": "0"}]
    ]
    formats = [{"old": "amount", "new": "paid", "format": "round(2)"}]
    nodes = [node("no", "{{name}}"), node("num", "{{details_num}}", "int")]
    made = imported(
        scheme(*nodes, condition=condition, beatFlat=["details"], formatResponse=formats, target={"id": "no"})
    )
    lines = [{"_id": "a", "num": 1}, {"_id": "b", "num": 2}]
    found = contents(made.declared(), {"name": "X", "amount": "5", "details": lines}, {"name": "Y", "details": lines})
    assert found == [{"no": "X-b", "num": 2}]
    assert {said.partition(":")[0] for fate, said in made.told("source.condition") if fate is Fate.CHANGED} == {
        "details_num", "paid",
    }  # fmt: skip


def test_flattened_lines_are_rows_with_the_names_of_their_header() -> None:
    condition = [[{"field": "details.num", "logic": "gt", "value": "0", "strictMode": True}]]
    nodes = [node("no", "{{name}}"), node("goods", "{{details_goods}}"), node("num", "{{details_num}}", "int")]
    made = imported(scheme(*nodes, condition=condition, beatFlat=["details"], target={"id": "no"}))
    pipeline = made.declared()
    record = {
        "name": "OUT",
        "details": [{"_id": "L7", "goods": "F1", "num": 12}, {"_id": "L8", "goods": "F2", "num": 50}],
    }
    assert contents(pipeline, record) == [
        {"no": "OUT-L7", "goods": "F1", "num": 12},
        {"no": "OUT-L8", "goods": "F2", "num": 50},
    ]
    record["details"].append({"_id": "L9", "num": 0})  # type: ignore[attr-defined]
    assert contents(pipeline, record) == []


def test_a_text_before_a_field_and_a_part_of_a_composite_value_are_formats() -> None:
    nodes = [
        node("id", "north-{{_id}}"),
        node("code", "_function CONCAT('n-', {{code}})"),
        node("filled", "_function CONCAT('n-', '{{code}}')"),
        node("level", "_function JSON_UNQUOTE(JSON_EXTRACT({{scope}}, '$.type'))"),
        node("number", "_function {{scope}} ->> '$.inner.n'", "int"),
        node("org", "o{{code}}", parser={"name": "ConvertObjectParser", "params": "FNumber"}),
    ]
    made = imported(scheme(*nodes, target={"id": "id"}))
    assert_formatted(made.text)
    assert "def " not in made.text
    pipeline = made.declared()
    scope = '{"type": "FIXED", "inner": {"n": "7"}}'
    assert contents(pipeline, {"code": "C", "scope": scope}, {"scope": {"type": 1, "inner": {"n": 8}}}) == [
        {"id": "north-1", "code": "n-C", "filled": "n-C", "level": "FIXED", "number": 7, "org": {"FNumber": "oC"}},
        {"id": "north-1", "code": None, "filled": "n-", "level": "1", "number": 8, "org": {"FNumber": "o"}},
    ]
    with pytest.raises(RecordError, match="no object with 'type'"):
        contents(pipeline, {"scope": "ALL"})


@pytest.mark.parametrize("said", ["IF('{{vip}}' = '1', 'y', 'n')", "CONCAT('v', '{{name}}', {{vip}})"])
def test_true_and_false_in_a_text_are_told_since_nobody_knows_how_qeasy_writes_them(said: str) -> None:
    types = [{"field": "vip", "type": "bool"}, {"field": "name", "type": "string"}]
    made = imported(scheme(node("_id"), node("out", f"_function {said}"), response=types))
    told = [said for fate, said in made.told("target.request.out") if fate is Fate.CHANGED]
    assert [each for each in told if each.startswith("vip is true or false")]
    assert not [each for each in told if each.startswith("name is")]


def test_a_value_of_all_lines_together_is_told_and_not_read_as_a_field_of_the_record() -> None:
    merge = {"groupCalculate": {"headerGroup": ["_id"], "calculate": {"details_num": "$sum"}}}
    made = imported(scheme(node("_id"), node("total", "{{details_num}}", "number"), target=merge, beatFlat=["details"]))
    assert [column.path for column in made.declared().mapping.columns] == ["_id"]
    assert made.told("target.request.total") == [
        (Fate.NONE, "details_num is of all lines of details together; write a Computed that reads details")
    ]
    assert made.told("target.groupCalculate")[0][0] is Fate.NONE


def test_documents_of_several_records_are_told_where_no_list_is_flattened() -> None:
    merge = {"headerGroup": ["_id"], "bodyGroup": ["sku"], "bodyName": "lines", "bodyMaxLine": 50}
    made = imported(scheme(node("_id"), target={"groupCalculate": merge}))
    assert "no list is flattened" in made.told("target.groupCalculate")[0][1]
    assert not [each for each in made.report.of(Fate.TAKEN) if "groupCalculate" in each.key]


def test_what_has_another_shape_or_no_part_at_a_target_is_told() -> None:
    target = {"number": "no", "autoCheck": True, "operation": {"method": "batchArraySave"}}
    target |= {"api": "/cgi/crm/v2/data/delete"}
    strategy = {"preconditions": "0d3a", "source": {"platform": "纷享销客"}}
    document = scheme(node("_id"), target=target, strategy=strategy, operation="splitArray", response=[node("x")])
    merge = {"headerGroup": ["_id"], "bodyMaxLine": "many"}
    lines = node("lines", "details", "array", children=[node("n")])
    others = imported(scheme(lines, target={"groupCalculate": merge}, beatFlat=["details"]))
    assert others.told("target.groupCalculate.bodyMaxLine")[0][0] is Fate.NONE
    for key in (
        "target.number", "target.autoCheck", "target.operation", "strategy.preconditions", "strategy.source.platform",
        "source.operation", "source.response",
    ):  # fmt: skip
        assert imported(document).told(key), key


def test_parsers_formats_and_constants_become_converters() -> None:
    formats = [
        {"old": "amount", "new": "amount_text", "format": "amount"},
        {"old": "x", "new": "y", "format": "dateDescription"},
    ]
    nodes = [
        node("_id"),
        node("list", "{{tags}}", "array", parser={"name": "StringToArray", "params": "|"}),
        node("joined", "{{owner}}", parser={"name": "ArrayToString", "params": ";"}),
        node(
            "stock",
            "{{code}}",
            parser={"name": "ConvertTwoStageObjectParser", "params1": "FStock", "params2": "FNumber"},
        ),
        node("pairs", "{{map}}", "object", parser="ConvertJson"),
        node("paid", "{{amount_text}}"),
        node("when", "{{at|datetime}}"),
        node("org", "100", parser={"name": "ConvertObjectParser", "params": "FNumber"}),
        node("flag", "true", "bool"),
        node("rate", "0.10", "number"),
        node("odd", "{{code}}", parser={"name": "K3WiseHeiHuCustomParser"}),
    ]
    made = imported(scheme(*nodes, formatResponse=formats))
    record = {
        "tags": "a|b",
        "owner": ["x", "y"],
        "code": "C1",
        "map": {"1033": "x"},
        "amount": "1000",
        "at": 1696161600000,
    }
    assert contents(made.declared(), record) == [
        {
            "_id": "1",
            "list": ["a", "b"],
            "joined": "x;y",
            "stock": {"FStock": {"FNumber": "C1"}},
            "pairs": [{"Key": 1033, "Value": "x"}],
            "paid": "￥1,000.00",
            "when": "2023-10-01 20:00:00",
            "org": {"FNumber": "100"},
            "flag": True,
            "rate": Decimal("0.10"),
            "odd": "C1",
        }
    ]
    (empty,) = contents(made.declared(), {"tags": " "})
    assert (empty["list"], empty["joined"], empty["stock"]) == ([], None, None), "StringToArray of nothing is no null"
    assert "unknown" in made.told("target.request.odd.parser")[0][1]
    assert "dateDescription" in made.told("source.formatResponse[1]")[0][1]


# Targets


def test_a_statement_names_columns_by_its_parameters() -> None:
    sql = "REPLACE INTO crm.customer (id, `客户`, seen) VALUES (:crm_id, :title, NOW())"
    params = node(
        "main_params", "", "object", children=[node("crm_id", "{{_id}}"), node("title", "{{name}}"), node("rest", "1")]
    )
    target = {"api": "batchexecute", "id": "crm_id", "otherRequest": [node("main_sql", sql)]}
    made = imported(scheme(params, target=target))
    pipeline = made.declared()
    assert isinstance(pipeline.target, SqlTable)
    assert pipeline.target.table == "crm.customer"
    assert contents(pipeline, {"name": "上海"}) == [{"id": "1", "客户": "上海"}]
    assert "is no parameter" in made.told("target.otherRequest.main_sql.seen")[0][1]
    assert "in no column" in made.told("target.request.main_params.rest")[0][1]


@pytest.mark.parametrize(
    "sql", ["", "UPDATE t SET a = :a", "INSERT INTO t SELECT 1", "DROP TABLE t; --", "INSERT INTO"]
)
def test_another_statement_leaves_the_rows_in_the_hub_and_says_so(sql: str) -> None:
    params = node("main_params", "", "object", children=[node("_id")])
    made = imported(scheme(params, target={"api": "execute", "otherRequest": [node("main_sql", sql)]}))
    assert isinstance(made.declared().target, HubTarget)
    assert "SqlTable(connection=…, table=…)" in made.told("target.otherRequest.main_sql")[0][1]


def test_an_interface_that_nobody_knows_becomes_a_skeleton() -> None:
    target = {
        "api": "/v1/stock/save",
        "method": "PUT",
        "id": "_id",
        "otherRequest": [node("app_secret", "canary-secret")],
    }
    made = imported(scheme(node("_id"), target=target, strategy={"target": {"platform": "旺店通"}}))
    assert isinstance(made.declared().target, WriteApi)
    assert "canary-secret" not in made.text + "\n".join(made.report.lines())
    assert made.told("target.otherRequest.app_secret")
    target = {"api": "save", "operation": {"method": "batchArraySave", "rowsKey": "rows", "rows": 50}}
    made = imported(scheme(node("_id"), target=target))
    pipeline = made.declared()
    assert isinstance(pipeline.target, RestTarget)
    assert pipeline.target.batch_rows == 50
    assert (made.told("target.api")[0][0], "skeleton" in made.told("target.api")[0][1]) == (Fate.NONE, True)


def test_secrets_among_the_settings_of_kingdee_are_not_written() -> None:
    other = [
        node("FormId", "BD_Customer"),
        node("Operation", "Audit"),
        node("password", "canary-secret"),
        node("IsX", "1", "bool"),
    ]
    made = imported(
        scheme(node("FNumber", "{{account_no}}"), target={"api": "batchSave", "id": "FNumber", "otherRequest": other})
    )
    pipeline = made.declared()
    assert isinstance(pipeline.target, KingdeeBatchSave)
    assert (pipeline.target.id_field, pipeline.target.operation.name) == ("FCUSTID", "AUDIT")
    assert dict(pipeline.target.settings) == {"IsX": True}
    assert "canary-secret" not in made.text + "\n".join(made.report.lines())


def to_kingdee(*nodes: Any) -> Imported:
    form = [node("FormId", "BD_Customer")]
    return imported(scheme(*nodes, target={"api": "batchSave", "id": "_id", "number": "FNumber", "otherRequest": form}))


def test_documents_of_kingdee_are_told_apart_by_their_number_whatever_the_id_of_the_scheme_is() -> None:
    made = to_kingdee(node("_id", "{{_id}}"), node("FNumber", "{{account_no}}"))
    assert isinstance(made.declared().target, KingdeeBatchSave)
    assert made.declared().key == "FNumber"
    assert made.declared().target.number_field == "FNumber"
    assert made.told("target.id") == [(Fate.CHANGED, "FNumber is taken, by which Kingdee tells documents apart")]


def test_a_number_that_is_alike_in_every_row_keeps_them_in_the_hub() -> None:
    made = to_kingdee(node("FName", "{{name}}"), node("FNumber", "C001"))
    assert isinstance(made.declared().target, HubTarget)
    assert "alike in every row" in made.told("target.request.FNumber")[-1][1]


# Nothing goes without a word


def test_every_key_that_is_not_in_the_file_is_named() -> None:
    document = scheme(
        {**node("_id"), "mystery": 1},
        {"field": "empty", "type": "string"},
        node("客 ", "{{客户名称}}"),
        node("name", "{{客户名称}}"),
        node("now", "{{CURRENT_TIME}}"),
        diffMode={"enabled": True},
        surprise=1,
        pagination={"pageSize": 100},
        target={"buildModel": {}, "callBackStrategy": {}, "isUploadFile": True, "what": 2, "_note": "x"},
        strategy={"mode": "实时同步", "secret_key": "v", "preconditions": ["a"], "retry_times": "many"},
    )
    document["extra"] = {}
    made = imported(document)
    made.declared()
    keys = {finding.key for finding in made.report.findings}
    assert keys >= {
        "extra", "source.diffMode", "source.surprise", "source.pagination", "target.buildModel",
        "target.callBackStrategy", "target.isUploadFile", "target.what", "target._note", "strategy.mode",
        "strategy.secret_key", "strategy.preconditions", "strategy.retry_times", "target.request._id.mystery",
        "target.request.empty", "target.request.客", "target.request.name", "target.request.now",
    }  # fmt: skip
    for key in ("source.surprise", "target.what", "extra", "strategy.secret_key"):
        assert made.told(key)[0][0] is Fate.UNKNOWN
        assert key in made.text.partition('"""\n\nfrom')[0].replace("\n", " ")


def test_what_cannot_be_written_twice_is_told() -> None:
    inner = node("a", "", "object", children=[node("b", "{{x}}")])
    made = imported(scheme(node("_id"), node("a", "{{x}}"), inner, node("_id", "{{y}}")))
    assert [entry.target for entry in made.declared().fields] == ["_id", "a"]
    assert "written already" in made.told("target.request.a.b")[0][1]


def test_a_scheme_of_another_system_is_refused_with_a_sentence() -> None:
    with pytest.raises(DeclarationError, match="'trades_query' and names no object of Fenxiang"):
        imported({"source": {"api": "trades_query", "request": []}, "target": {}})


@pytest.mark.parametrize("where", ["api", "request", "otherRequest"])
def test_a_list_with_a_get_of_each_record_is_told_with_the_word_for_it(where: str) -> None:
    detail = node("detail_api", "/cgi/crm/v2/data/get")
    document = scheme(node("_id"))
    if where == "api":
        document["source"]["api"] = detail["value"]
    else:
        document["source"].setdefault(where, []).append(detail)
    made = imported(document)
    assert made.declared().source.get_fields == ()
    ((fate, said),) = made.told("source.api" if where == "api" else f"source.{where}.detail_api")[-1:]
    assert fate is Fate.NONE
    assert "no form of it in the metadata is documented" in said
    assert "Source(get_fields=[…])" in said


def test_the_source_alone_goes_into_the_hub_with_the_fields_that_it_declares() -> None:
    document = fixture("customers")["source"]
    made = imported(document)
    pipeline = made.declared()
    assert isinstance(pipeline.target, HubTarget)
    (row,) = contents(pipeline, {"account_no": "C", "name": "x", "owner": ["a"], "field_credit__c": "5"})
    assert (row["owner"], row["owner_text"], row["credit_limit_num"]) == (["a"], "a", Decimal("5.00"))


# Whatever the texts are

anything = st.text(max_size=60) | st.sampled_from(
    [
        '"',
        "'''",
        '"""',
        "\\",
        "\n",
        "{{",
        "}}",
        "{{a}}",
        "#",
        '"), exit(), ("',
        "_function ",
        "\u2028",
        "\r",
        "a.b",
        "__import__('os')",
    ]
)


@settings(max_examples=60)
@given(texts=st.lists(anything, min_size=16, max_size=16), name=st.sampled_from(["made", "class", "dag_2", "print"]))
def test_no_text_breaks_out_of_the_file(texts: list[str], name: str) -> None:
    said = iter(texts)
    document = scheme(
        node("_id", label=next(said)),
        node(next(said), next(said), label=next(said)),
        node("f", "_function " + next(said)),
        node("g", f"_function CONCAT('{{{{name}}}}', '{next(said)}')"),
        node("t", "x{{name}}" + next(said)),
        node("l", "_findCollection find a from " + next(said) + " where b={{c}}"),
        node("p", "{{name}}", parser={"name": "ConvertObjectParser", "params": next(said)}),
        filters=[filtered("f", next(said), "EQ")],
        condition=[[{"field": "a", "logic": "eq", "value": next(said)}]],
        formatResponse=[{"old": "a", "new": next(said), "format": f"implode({next(said)})"}],
        strategy={"name": next(said), "strategy_id": next(said), "mode": next(said)},
    )
    made = imported(document, name)
    assert compile(made.text, "made.py", "exec")
    tree = ast.parse(made.text)
    kinds = [type(each).__name__ for each in tree.body if not isinstance(each, ast.ImportFrom | ast.FunctionDef)]
    assert kinds == ["Expr", "Assign", "Assign"]
    known = {alias.name for each in tree.body if isinstance(each, ast.ImportFrom) for alias in each.names}
    known |= {each.name for each in tree.body if isinstance(each, ast.FunctionDef)} | set(dir(builtins))
    known |= {each.arg for each in ast.walk(tree) if isinstance(each, ast.arg)}
    stored = {each.id for each in ast.walk(tree) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
    assert {each.id for each in ast.walk(tree) if isinstance(each, ast.Name)} <= known | stored
    calls = {each.func.id for each in ast.walk(tree) if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)}
    assert calls <= KNOWN_CALLS | {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}


KNOWN_CALLS = {
    "Computed", "Condition", "Constant", "Decimal", "Field", "Filter", "HubTarget", "Lookup", "Pipeline", "Source",
    "ValueError", "chain", "instant", "joined", "prefixed", "sync_dag", "value_map", "wrapped",
}  # fmt: skip


def test_a_constant_that_no_row_can_hold_is_told_and_left_out() -> None:
    made = imported(scheme(node("_id"), node("n", 1e101, "")))
    assert [column.path for column in made.declared().mapping.columns] == ["_id"]
    assert made.told("target.request.n") == [(Fate.NONE, "its value has more than 100 digits")]


def test_texts_are_quoted_as_the_formatter_quotes_them() -> None:
    texts = [
        'say "hi"',
        "it's",
        "both \" and '",
        "tab\t",
        "line\n",
        "\x7f",
        "\u200b",
        "💥",
        "back\\slash",
        "\u3000",
        "é",
        '"',
        "'",
        "",
    ]
    nodes = [node("_id"), *(node(f"n{at}", text or "x") for at, text in enumerate(texts))]
    made = imported(scheme(*nodes, target={"note": "x"}))
    assert_formatted(made.text)
    (row,) = contents(made.declared(), {})
    assert [row[f"n{at}"] for at in range(len(texts))] == [text or "x" for text in texts]


def test_the_modules_that_a_dag_file_imports_do_not_need_the_parser() -> None:
    program = "import sys; import fenxiang_sync.qeasy.mysql; sys.exit('sqlglot' in sys.modules)"
    plugins = str(Path(__file__).parent.parent / "plugins")
    assert subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": plugins}, check=False).returncode == 0


PAGE = (Path(__file__).parent.parent / "docs" / "migrating-from-qeasy.md").read_text(encoding="utf-8")


def test_the_page_tells_what_becomes_of_every_key_that_is_known() -> None:
    (part,) = re.findall(r"^## Every key of the metadata$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    told = set(re.findall(r"`(\w+)`", part))
    known = {*reader.READ, *writer.WRITTEN, *reading.NOT_HERE, *metadata.TREES}
    assert known <= told


def test_the_page_names_the_functions_that_are_known() -> None:
    known = {
        "CONCAT", "CONCAT_WS", "LEFT", "RIGHT", "SUBSTRING", "MID", "SUBSTRING_INDEX", "LOCATE", "INSTR",
        "REPLACE", "TRIM", "LTRIM", "RTRIM", "LPAD", "RPAD", "UPPER", "LOWER", "LENGTH", "CHAR_LENGTH",
        "ROUND", "TRUNCATE", "CEIL", "FLOOR", "ABS", "MOD", "FROM_UNIXTIME", "UNIX_TIMESTAMP", "DATE_FORMAT",
        "IFNULL", "COALESCE", "NULLIF",
    }  # fmt: skip
    (part,) = re.findall(r"^## Expressions$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    told = set(re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)*\b", part.partition("They give what MySQL gives")[0]))
    assert known <= told
    arguments = {1: "{{a}}", 2: "{{a}}, {{b}}", 3: "{{a}}, {{b}}, {{c}}"}
    for name in sorted(told & known):
        tried = [
            function(f"_function {name}({each})", "f", lambda found: found.name, taken=set())
            for each in arguments.values()
        ]
        assert [each for each in tried if not each.outside], name


def test_all_promised_features_have_their_line() -> None:
    numbers = re.findall(r"^\| (\d+) \| ", PAGE, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 43)]


# It runs


def test_an_imported_scheme_reads_a_crm_and_fills_its_table(tmp_path: Path) -> None:
    said = json.dumps(fixture("customers")).replace("field_credit__c", "field_credit_limit__c")  # as the CRM calls it
    pipeline = imported(json.loads(said), "account").declared()
    url = make_url(f"sqlite:///{tmp_path}/table.db")
    with bench(tmp_path, AccountObj=12) as running:
        running.database = lambda conn_id: Database(conn_id=conn_id, url=url)
        told = running.sync(pipeline)
    with sqlite3.connect(tmp_path / "table.db") as database:
        rows = database.execute("SELECT crm_id, level, owner, last_modified_ms FROM crm_customer").fetchall()
    assert told.delivered == len(rows) == 12 - told.filtered > 0
    assert told.certified
    assert {level for _, level, _, _ in rows} <= {"A", "B", "C"}
    assert all(owner.startswith("FSUID_") and stamp > 1_000_000_000_000 for _, _, owner, stamp in rows)
