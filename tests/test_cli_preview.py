"""`fenxiang preview`: the first records before and after mapping, what a run would cost, and nothing is written."""

from __future__ import annotations

import doctest
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text

from fenxiang_simulator import Simulator
from fenxiang_simulator.catalog import FieldDef
from fenxiang_sync.airflow import preview as command_module
from fenxiang_sync.airflow.hook import FenxiangHook
from fenxiang_sync.dagfile import width as wide
from fenxiang_sync.hub import Hub, Settled
from fenxiang_sync.mapping import content_hash
from fenxiang_sync.rows import IdCheck, Outcome
from fenxiang_sync.steps.cost import estimate
from tests.airflow_fixtures import ConnectionSetter
from tests.cli_fixtures import fenxiang as command
from tests.cli_fixtures import quiet_settings  # noqa: F401 - a fixture
from tests.hub_fixtures import NOW, hub_file, row
from tests.steps_fixtures import bench, manual, pipeline

pytestmark = pytest.mark.usefixtures("quiet_settings")

HEAD = """
from fenxiang_sync import *
from fenxiang_sync.airflow import sync_dag
"""
ACCOUNT = """
dag = sync_dag(Pipeline(
    name="account", source=Source(object="AccountObj"), target=HubTarget(),
    fields=[
        Field("_id", convert=text), Field("name", "customer.name", convert=text),
        Field("account_level", "level", convert=choice(["1", "2", "3"])),
        Field("account_level", "level_name", convert=label),
    ],
    conditions=[[Condition("name", Logic.NEQ, "FILTERED")]],
))
"""
ORDER = """
order = sync_dag(Pipeline(
    name="order", source=Source(object="AccountObj"), target=HubTarget(), key="no",
    fields=[Field("name", "no", convert=text), Field("lines__c.goods", "goods", convert=text)],
    explode=Explode("lines__c"),
))
"""


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, records={"AccountObj": 300}) as running:
        yield running


@pytest.fixture
def dags(fenxiang: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "account.py").write_text(HEAD + ACCOUNT, encoding="utf-8")
    return folder


def first_records(simulator: Simulator) -> list[dict[str, Any]]:
    """The records that are read first, by id; edits of them are true at once."""
    records = simulator.tenant.records("AccountObj")
    visible = simulator.tenant.visible("AccountObj")
    return [records[each] for each in sorted(visible)]


def rows_of(hub: Path) -> dict[str, int]:
    engine = create_engine(f"sqlite:///{hub}")
    with engine.connect() as connection:
        tables = [each for each in inspect(engine).get_table_names() if each.startswith("fenxiang_")]
        return {each: connection.execute(text(f"SELECT count(*) FROM {each}")).scalar_one() for each in tables}


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(command_module).failed == 0


class TestRows:
    def test_each_record_stands_beside_what_it_becomes(self, dags: Path, simulator: Simulator) -> None:
        first = first_records(simulator)[0]
        first.update(name="深圳永安能源有限公司", account_level="1")
        told = command("preview", "account", "--dags", dags, "--rows", 1)
        assert told.exit_code == 0, told.stderr
        lines = told.stdout.splitlines()
        assert lines[0].startswith("account: AccountObj (fenxiang) → ")
        assert f"1  {first['_id']}  new" in lines
        (name,) = [line for line in lines if line.lstrip().startswith("name ")]
        assert name.split() == ["name", "深圳永安能源有限公司", "customer.name", "深圳永安能源有限公司"]
        (label,) = [line for line in lines if "level_name" in line]
        assert label.split() == ["account_level", "重点客户", "level_name", "重点客户"]
        assert "1 record, 1 row: 1 new. Nothing was sent or written." in lines

    def test_a_record_cannot_speak_to_the_terminal(self, dags: Path, simulator: Simulator) -> None:
        first_records(simulator)[0].update(name="\x1b[2J[/bold]\u202e名称", account_level="9\x1b[2J")
        told = command("preview", "account", "--dags", dags, "--rows", 1)
        assert "[/bold]" in told.stdout
        assert all(each.isprintable() or each == "\n" for each in told.stdout)

    def test_in_a_narrow_terminal_values_are_cut_and_names_are_not(
        self, dags: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        first_records(simulator)[0].update(name="很长的名称" * 40, account_level="1")
        told = command("preview", "account", "--dags", dags, "--rows", 1)
        (name,) = [line for line in told.stdout.splitlines() if line.lstrip().startswith("name ")]
        assert "customer.name" in name
        assert name.count("很长的名称") >= 2
        assert "account_level" in told.stdout

    def test_what_a_dag_file_prints_is_no_part_of_the_answer(self, dags: Path) -> None:
        with (dags / "account.py").open("a", encoding="utf-8") as file:
            file.write("print('loaded')\n")
        told = command("preview", "account", "--dags", dags, "--json")
        assert json.loads(told.stdout)["pipeline"] == "account"
        assert told.stderr == "loaded\n"
        assert command("check", "--offline", dags).stdout == "1 pipelines, nothing wrong: account\n"

    def test_a_file_that_is_not_there_is_told_as_a_file(self, dags: Path) -> None:
        told = command("preview", dags / "acount.py")
        assert (told.exit_code, told.stderr) == (2, f"there is no file {dags}/acount.py\n")

    def test_long_values_are_cut_and_columns_stand_under_each_other_in_chinese_too(
        self, dags: Path, simulator: Simulator
    ) -> None:
        first_records(simulator)[0].update(name="很长的名称" * 40, account_level="1")
        told = command("preview", "account", "--dags", dags, "--rows", 1)
        (name,) = [line for line in told.stdout.splitlines() if line.lstrip().startswith("name ")]
        assert name.count("…") == 2
        assert wide(name) < 160
        heads, *_ = [line for line in told.stdout.splitlines() if line.lstrip().startswith("source ")]
        assert wide(heads[: heads.index("target")]) == wide(name[: name.index("customer.name")])

    def test_a_reject_names_field_value_and_reason_and_is_an_exit_code(self, dags: Path, simulator: Simulator) -> None:
        first, second, third, *_ = first_records(simulator)
        first.update(account_level="9")
        second.update(name="FILTERED")
        third.update(account_level="1")
        told = command("preview", dags / "account.py", "--rows", 3)
        assert told.exit_code == 1
        assert f"1  {first['_id']}  rejected" in told.stdout
        assert "level ← account_level: not one of the declared options '1', '2', '3' (value '9')" in told.stdout
        assert f"2  {second['_id']}  filtered" in told.stdout
        assert "3 records, 1 row: 1 new, 1 filtered, 1 rejected." in told.stdout
        (rejected, *_) = json.loads(command("preview", "account", "--dags", dags, "--json").stdout)["records"]
        assert (rejected["rejected"]["field"], rejected["rejected"]["value"]) == ("account_level", "9")

    def test_it_says_what_of_the_declaration_does_not_fit_the_object(self, dags: Path) -> None:
        path = dags / "account.py"
        path.write_text(path.read_text(encoding="utf-8").replace(', "3"', ""), encoding="utf-8")
        told = command("preview", "account", "--dags", dags)
        assert told.exit_code == 1
        assert "wrong: 'account_level': may be '3' (一般客户), which choice(" in told.stdout

    def test_lines_of_an_exploded_record_stand_side_by_side(self, dags: Path, simulator: Simulator) -> None:
        (dags / "order.py").write_text(HEAD + ORDER, encoding="utf-8")
        definitions: Any = simulator.tenant._definitions
        account = definitions["AccountObj"]
        list_field = FieldDef(name="lines__c", label="明细", type="array")
        definitions["AccountObj"] = replace(account, fields={**account.fields, "lines__c": list_field})
        lines = [{"_id": f"L{number}", "goods": f"货物{number}"} for number in range(5)]
        for each in first_records(simulator):
            each["lines__c"] = lines
        told = command("preview", "order", "--dags", dags, "--rows", 2)
        assert "row 1" in told.stdout
        assert "row 3" in told.stdout
        assert "… and 2 more rows" in told.stdout
        assert "2 records, 10 rows, 5.0 a record: 10 new." in told.stdout


class TestNothingIsWritten:
    def test_the_hub_and_the_stage_stay_as_they_were(self, dags: Path, tmp_path: Path) -> None:
        assert command("preview", "account", "--dags", dags, "--rows", 50).exit_code in (0, 1)
        held = rows_of(tmp_path / "hub.db")
        kept = {"fenxiang_calls", "fenxiang_lease", "fenxiang_note", "fenxiang_hub_version", "fenxiang_alembic_version"}
        assert {name for name, rows in held.items() if rows} <= kept
        with create_engine(f"sqlite:///{hub_file(tmp_path)}").connect() as connection:
            notes = connection.execute(text("SELECT name FROM fenxiang_note")).scalars().all()
        assert all(name.startswith("calls ") for name in notes), "the pace's own"
        assert not (tmp_path / "stage").exists()

    def test_the_ledger_says_what_would_be_new_changed_and_unchanged(self, dags: Path, tmp_path: Path) -> None:
        document = json.loads(command("preview", "account", "--dags", dags, "--rows", 20, "--json").stdout)
        (one, two, three) = [each for record in document["records"] for each in record["rows"]][:3]
        assert {each["decision"] for each in (one, two, three)} == {"new"}
        with Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub:
            held = [
                replace(row(one["id"]), hash=content_hash(one["content"])),
                row(two["id"]),
            ]
            told: dict[str, Any] = {"run": "r", "now": NOW}
            hub.claim("account", held, id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, **told)
            hub.settle("account", [Settled(row=each, outcome=Outcome.DELIVERED) for each in held], **told)
        document = json.loads(command("preview", "account", "--dags", dags, "--rows", 20, "--json").stdout)
        decisions = [each["decision"] for record in document["records"] for each in record["rows"]]
        assert decisions[:3] == ["unchanged", "changed", "new"]
        assert (document["numbers"]["unchanged"], document["numbers"]["changed"]) == (1, 1)


class TestTheWindow:
    def test_a_stretch_without_changes_says_how_to_see_others(self, dags: Path) -> None:
        told = command(
            "preview", "account", "--dags", dags, "--since", "2020-01-01T00:00:00Z", "--until", "2020-01-02T00:00:00Z"
        )
        assert "no record has changed there" in told.stdout
        assert "a run of it: about 0 records" in told.stdout

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (["account", "--since", "2026-01-01"], "which has no time zone; write 2026-01-01T00:00:00+08:00"),
            (
                ["account", "--since", "2026-01-02T00:00:00Z", "--until", "2026-01-01T00:00:00Z"],
                "must be before --until",
            ),
            (["acount"], "no DAG file declares a pipeline 'acount'; there are: account"),
            (["account", "--connection", "crm"], "Connection 'crm' does not exist"),
        ],
    )
    def test_what_cannot_be_meant_is_told_with_the_way_out(self, dags: Path, given: list[str], said: str) -> None:
        told = command("preview", *given, "--dags", dags)
        assert (told.exit_code, told.stdout) == (2, "")
        assert said in told.stderr

    def test_a_file_with_several_pipelines_asks_for_one(self, dags: Path) -> None:
        both = dags / "both.py"
        both.write_text(HEAD + ACCOUNT + ORDER, encoding="utf-8")
        told = command("preview", both)
        assert told.exit_code == 2
        assert f"declares account, order; choose one: fenxiang preview account --dags {both}" in told.stderr

    def test_another_connection_may_be_asked(self, dags: Path, fenxiang: Any, connection: ConnectionSetter) -> None:
        connection("sandbox", **fenxiang)
        told = command("preview", "account", "--dags", dags, "--connection", "sandbox", "--rows", 1)
        assert "account: AccountObj (sandbox) →" in told.stdout


class TestCost:
    def test_calls_and_minutes_are_told_at_the_quota_of_the_connection(
        self, dags: Path, fenxiang: Any, connection: ConnectionSetter
    ) -> None:
        slow = {**fenxiang["extra"], "calls": 100, "per_seconds": 2000, "share": 0.5}
        connection("slow", **{**fenxiang, "extra": slow})
        document = json.loads(command("preview", "account", "--dags", dags, "--json").stdout)
        cost = document["cost"]
        assert cost["records"] == 300
        assert cost["calls"] == cost["planning"] + cost["reading"] + cost["verifying"]
        assert document["calls"] < 15
        quota = FenxiangHook("slow").quota()
        assert (quota.limit, quota.seconds) == (50, 2000)

    def test_what_is_got_is_told_apart_since_its_quota_is_its_own(self, dags: Path) -> None:
        got = f"{HEAD}sync_dag(Pipeline(name='product', source=Source(object='ProductObj', get_fields=['image__c']), "
        (dags / "product.py").write_text(
            got + "fields=[Field('_id'), Field('image__c')], target=HubTarget()))\n", encoding="utf-8"
        )
        told = command("preview", "product", "--dags", dags, "--rows", 1).stdout
        assert "150 to get each record, " in told
        cost = json.loads(command("preview", "product", "--dags", dags, "--rows", 1, "--json").stdout)["cost"]
        assert cost["calls"] == cost["planning"] + cost["reading"] + cost["getting"] + cost["verifying"]

    @pytest.mark.parametrize("records", [0, 5, 250, 700, 1500, 4900, 12_000])
    def test_the_estimate_is_about_what_a_run_takes(self, tmp_path: Path, records: int) -> None:
        with bench(tmp_path, AccountObj=records) as there:
            one = pipeline()
            report = there.sync(one, manual())
            estimated = estimate([report.read], one.source)
            assert estimated.calls == pytest.approx(report.requests, rel=0.25, abs=4)
