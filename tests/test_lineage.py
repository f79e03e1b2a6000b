"""Lineage: each column says which source fields it is made of, in a command, as JSON and on the DAG's page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import (
    Computed,
    Condition,
    Constant,
    Explode,
    Field,
    Filter,
    HubTarget,
    Lines,
    Logic,
    Lookup,
    Operator,
    Pipeline,
    Source,
    decimal,
    label,
    text,
)
from fenxiang_sync.lineage import Lineage, origins
from tests.cli_fixtures import fenxiang, quiet_settings  # noqa: F401 - a fixture

FIELDS = """
        Field("_id", convert=text),
        Field("account_level", "level", convert=label, default="无"),
        Field("location.city", "address.city", convert=text),
        Field("field_credit_limit__c", "credit", convert=decimal(scale=2), required=True),
        Constant("origin", "CRM"),
"""
DAG_FILE = f"""
from fenxiang_sync import *
from fenxiang_sync.airflow import sync_dag
dag = sync_dag(Pipeline(
    name="account",
    source=Source(object="AccountObj", filters=[Filter("life_status", Operator.EQ, "normal")]),
    conditions=[[Condition("account_level", Logic.NOTNULL)]],
    target=HubTarget(),
    fields=[{FIELDS}],
))
"""


def declared(**words: Any) -> Pipeline:
    return Pipeline(
        **{
            "name": "account",
            "source": Source(object="AccountObj", filters=[Filter("life_status", Operator.EQ, "normal")]),
            "conditions": [[Condition("account_level", Logic.NOTNULL)]],
            "target": HubTarget(),
            "fields": [
                Field("_id", convert=text),
                Field("account_level", "level", convert=label, default="无"),
                Field("location.city", "address.city", convert=text),
                Field("field_credit_limit__c", "credit", convert=decimal(scale=2), required=True),
                Constant("origin", "CRM"),
            ],
            **words,
        }
    )


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    (tmp_path / "account.py").write_text(DAG_FILE, encoding="utf-8")
    return tmp_path


def test_each_column_says_what_it_is_made_of() -> None:
    document = Lineage.of(declared()).to_json()
    assert (document["object"], document["key"], document["explode"]) == ("AccountObj", "_id", None)
    assert document["filters"] == ["life_status EQ normal"]
    assert document["gets"] == []
    by_target = {each["target"]: each for each in document["columns"]}
    assert list(by_target) == ["_id", "level", "address.city", "credit", "origin"]
    assert by_target["level"]["reads"] == ["account_level", "account_level__r"]
    assert by_target["level"]["if_null"] == "default '无'"
    assert by_target["level"]["conditions"] == [str(Condition("account_level", Logic.NOTNULL))]
    assert (by_target["address.city"]["source"], by_target["address.city"]["reads"]) == ("location.city", ["location"])
    assert (by_target["credit"]["kind"], by_target["credit"]["scale"]) == ("decimal", 2)
    assert (by_target["origin"]["source"], by_target["origin"]["converter"]) == (None, "constant 'CRM'")


def test_what_is_got_is_told(tmp_path: Path) -> None:
    got = """
from fenxiang_sync import *
from fenxiang_sync.airflow import sync_dag
sync_dag(Pipeline(name="product", source=Source(object="ProductObj", get_fields=["image__c"]),
                  fields=[Field("_id"), Field("image__c")], target=HubTarget()))
"""
    (tmp_path / "product.py").write_text(got, encoding="utf-8")
    told = fenxiang("lineage", "product", "--dags", tmp_path).stdout
    assert "  gets      image__c, with a call for each record" in told.splitlines()
    assert json.loads(fenxiang("lineage", "product", "--dags", tmp_path, "--json").stdout)[0]["gets"] == ["image__c"]


def test_the_page_of_the_dag_tells_the_same_columns_in_the_same_words() -> None:
    page = declared().describe_markdown()
    for each in Lineage.of(declared()).origins:
        source = f"`{each.path}`" if each.path else ""
        about = " and ".join(Lineage.of(declared()).about(each))
        assert f"| `{each.column.path}` | {source} | {each.how} | {each.if_null} | {about} |" in page
    plain = declared(conditions=(), source=Source(object="AccountObj")).describe_markdown()
    assert "| target | source | converter | if null |\n|---|---|---|---|\n| `_id` |" in plain


def test_what_lines_are_made_of_is_told_field_by_field() -> None:
    fields = [Field("goods", "material", convert=text), Field("account", "who", convert=label), Constant("kind", "x")]
    lines = Lines("details_list", "entries", fields=fields, keeps=[[Condition("num", Logic.GT, 0)]])
    found = Lineage.of(declared(fields=[Field("_id"), lines]))
    told = {each["target"]: each for each in found.to_json()["columns"]}
    assert list(told) == ["_id", "entries", "entries.material", "entries.who", "entries.kind"]
    material = told["entries.material"]
    assert (material["source"], material["converter"], material["kind"]) == ("details_list.goods", "text", "text")
    assert material["conditions"] == ["num gt 0"]
    assert told["entries.who"]["reads"] == ["details_list.account", "details_list.account__r"]
    assert told["entries.kind"]["source"] is None
    assert "| `entries.material` | `details_list.goods` | text |  | num gt 0 |" in found.pipeline.describe_markdown()


def test_the_lines_of_an_exploded_pipeline_are_read_from_their_list() -> None:
    fields = [Field("_id"), Field("details_list.goods", "goods", convert=text)]
    document = Lineage.of(declared(fields=fields, explode=Explode("details_list"))).to_json()
    assert "details_list" in document["explode"]
    assert document["columns"][1]["reads"] == ["details_list"]


def line_total(price: Any, quantity: Any) -> Any:
    return price * quantity


def test_a_value_of_several_fields_is_told_with_what_makes_it() -> None:
    computed = Computed(line_total, "total", reads=["price", "goods.quantity"])
    lookup = Lookup("FCustId", pipeline="customer", find="account_no", where={"_id": "account_id"}, required=True)
    lines = Lines("details_list", "entries", fields=[Field("goods", "FMaterialId")])
    total, found, entries = origins([computed, lookup, lines])
    assert (total.path, total.reads, total.how) == (
        "price, goods.quantity",
        ("price", "goods"),
        "computed by line_total",
    )
    assert (found.path, found.how, found.if_null) == (
        "account_id",
        "account_no of pipeline customer where _id = account_id; as_is",
        "required: waits for it",
    )
    assert (entries.path, entries.how) == ("details_list", "a list of lines with FMaterialId")


@pytest.mark.usefixtures("quiet_settings", "airflow_home")
def test_the_command_tells_it_as_a_table_and_as_json(dags: Path) -> None:
    told = fenxiang("lineage", "account", "--dags", dags)
    assert told.exit_code == 0, told.stderr
    first, asks, keeps, *rows = told.stdout.splitlines()
    assert first == "account: AccountObj (fenxiang) → 写入空操作: rows stay in the hub"
    assert (asks.split(), keeps.split()[:2]) == (
        ["asks", "for", "life_status", "EQ", "normal"],
        ["keeps", "account_level"],
    )
    (level,) = [row for row in rows if row.startswith("level ")]
    assert "account_level (account_level__r)" in level
    (document,) = json.loads(fenxiang("lineage", "--dags", dags, "--json").stdout)
    assert document == Lineage.of(declared()).to_json()


@pytest.mark.usefixtures("quiet_settings", "airflow_home")
def test_it_says_what_a_change_of_a_source_field_hits(dags: Path) -> None:
    (document,) = json.loads(fenxiang("lineage", "--dags", dags, "--field", "account_level", "--json").stdout)
    assert [each["target"] for each in document["columns"]] == ["level"]
    lines = 'Lines("details_list", "rows", fields=[Field("goods", "material"), Field("num", "quantity")]),'
    (dags / "account.py").write_text(DAG_FILE.replace("fields=[", f"fields=[{lines}", 1), encoding="utf-8")
    for field in ("goods", "details_list.goods"):
        (document,) = json.loads(fenxiang("lineage", "--dags", dags, "--field", field, "--json").stdout)
        assert [each["target"] for each in document["columns"]] == ["rows.material"]
    nothing = fenxiang("lineage", "--dags", dags, "--field", "nowhere")
    assert (nothing.exit_code, nothing.stderr.strip()) == (1, "no column is made of 'nowhere'")
