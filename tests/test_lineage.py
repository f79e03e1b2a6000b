"""Lineage: each column says which source fields it is made of, in a command, as JSON and on the DAG's page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import (
    Condition,
    Constant,
    Explode,
    Field,
    Filter,
    HubTarget,
    Logic,
    Operator,
    Pipeline,
    Source,
    decimal,
    label,
    text,
)
from fenxiang_sync.columns import Column, Kind
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
    by_target = {each["target"]: each for each in document["columns"]}
    assert list(by_target) == ["_id", "level", "address.city", "credit", "origin"]
    assert by_target["level"]["reads"] == ["account_level", "account_level__r"]
    assert by_target["level"]["if_null"] == "default '无'"
    assert by_target["level"]["conditions"] == [str(Condition("account_level", Logic.NOTNULL))]
    assert (by_target["address.city"]["source"], by_target["address.city"]["reads"]) == ("location.city", ["location"])
    assert (by_target["credit"]["kind"], by_target["credit"]["scale"]) == ("decimal", 2)
    assert (by_target["origin"]["source"], by_target["origin"]["converter"]) == (None, "constant 'CRM'")


def test_the_page_of_the_dag_tells_the_same_columns_in_the_same_words() -> None:
    page = declared().describe_markdown()
    for each in Lineage.of(declared()).origins:
        source = f"`{each.path}`" if each.path else ""
        assert f"| `{each.column.path}` | {source} | {each.how} | {each.if_null} |" in page


def test_the_lines_of_an_exploded_pipeline_are_read_from_their_list() -> None:
    fields = [Field("_id"), Field("details_list.goods", "goods", convert=text)]
    document = Lineage.of(declared(fields=fields, explode=Explode("details_list"))).to_json()
    assert "details_list" in document["explode"]
    assert document["columns"][1]["reads"] == ["details_list"]


def line_total(price: Any, quantity: Any) -> Any:
    return price * quantity


@dataclass(frozen=True)
class Computed:
    """An entry as a later word of a declaration is: it says its target, what it reads, and what it calls."""

    function: Any
    target: str
    reads: tuple[str, ...]

    @property
    def column(self) -> Column:
        return Column(path=self.target, kind=Kind.DECIMAL)


@dataclass(frozen=True)
class Lookup:
    target: str
    pipeline: str
    find: str
    where: Mapping[str, str]
    convert: Any = text

    @property
    def column(self) -> Column:
        return Column(path=self.target, kind=Kind.TEXT)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(self.where.values())


def test_an_entry_of_a_new_kind_is_told_by_what_it_says_of_itself() -> None:
    computed = Computed(line_total, "total", ("price", "quantity"))
    lookup = Lookup("FCustId", "customer", "account_no", {"_id": "account_id"})
    total, found = origins([computed, lookup])
    assert (total.path, total.how) == ("price, quantity", "Computed: line_total")
    assert (found.path, found.how) == (
        "account_id",
        "Lookup: account_no of customer where _id = account_id → text",
    )


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
    nothing = fenxiang("lineage", "--dags", dags, "--field", "nowhere")
    assert (nothing.exit_code, nothing.stderr.strip()) == (1, "no column is made of 'nowhere'")
