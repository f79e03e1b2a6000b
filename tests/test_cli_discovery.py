"""`fenxiang objects`, `describe` and `new`: from nothing to a DAG file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fenxiang_simulator import Simulator
from fenxiang_sync.source.client import DESCRIBE
from tests.airflow_fixtures import ConnectionSetter
from tests.cli_fixtures import fenxiang as command
from tests.cli_fixtures import quiet_settings  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("quiet_settings", "fenxiang")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, records={"AccountObj": 5}) as running:
        yield running


def test_objects_are_listed_and_found_by_a_part_of_their_name_or_label() -> None:
    listed = command("objects")
    assert listed.exit_code == 0
    assert "AccountObj" in listed.stdout
    found = command("objects", "仓库")
    assert {line.split()[0] for line in found.stdout.splitlines()[1:]} >= {"WarehouseObj", "object_warehouse__c"}
    assert "AccountObj" not in found.stdout
    as_json = json.loads(command("objects", "account", "--json").stdout)
    assert {"object": "AccountObj", "label": "客户"} in as_json
    nothing = command("objects", "nowhere")
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    assert "no object has 'nowhere' in its name" in nothing.stderr


def test_an_object_is_described_field_by_field() -> None:
    told = command("describe", "AccountObj")
    assert told.exit_code == 0
    (level,) = [line for line in told.stdout.splitlines() if line.startswith("account_level ")]
    assert "客户级别" in level
    assert "1 重点客户, 2 普通客户, 3 一般客户" in level
    (left,) = [line for line in told.stdout.splitlines() if line.startswith("field_credit_left__c ")]
    assert "no stamp" in left
    document = json.loads(command("describe", "AccountObj", "--json").stdout)
    assert document["fields"]["name"]["is_required"] is True


def test_api_names_stay_whole_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    assert "life_status_before_invalid " in command("describe", "AccountObj").stdout
    assert "object_inventory_report__c " in command("objects").stdout


def test_names_that_a_terminal_would_obey_are_shown_as_text(simulator: Simulator) -> None:
    definitions: Any = simulator.tenant._definitions
    account = definitions["AccountObj"]
    label = "\x1b[2J\x9b1m[/bold] \\[bold]客户\u202e\u2028x"
    fields = {**account.fields, "tax__c": replace(account.fields["tel"], name="tax__c", label=label)}
    definitions["AccountObj"] = replace(account, label=label, fields=fields)
    for arguments in (("objects", "客户"), ("describe", "AccountObj"), ("new", "AccountObj", "--print")):
        told = command(*arguments)
        assert (told.exit_code, told.stderr) == (0, "")
        assert "[bold]客户" in told.stdout
        assert all(each.isprintable() or each == "\n" for each in told.stdout)


def test_an_answer_without_end_is_told_and_the_object_is_not_taken_for_misspelt(simulator: Simulator) -> None:
    simulator.faults.rate("huge", 1.0, path=DESCRIBE)
    told = command("describe", "AccountObj")
    assert (told.exit_code, "Did you mean" in told.stderr) == (1, False)
    assert "sent over" in told.stderr


def test_a_description_is_kept_as_the_crm_tells_it(tmp_path: Path) -> None:
    kept = tmp_path / "describe" / "AccountObj.json"
    told = command("describe", "AccountObj", "--save", kept)
    assert told.exit_code == 0
    assert json.loads(kept.read_text(encoding="utf-8")) == json.loads(
        command("describe", "AccountObj", "--json").stdout
    )


def test_declarations_are_held_against_what_is_kept_of_their_own_tenant(tmp_path: Path) -> None:
    dag_file = """
from fenxiang_sync import Field, HubTarget, Pipeline, Source
from fenxiang_sync.airflow import sync_dag
for name in ("fenxiang", "other"):
    sync_dag(Pipeline(
        name=name, source=Source(object="AccountObj", connection=name), fields=[Field("_id"), Field("tel")],
        target=HubTarget(),
    ))
"""
    (tmp_path / "two.py").write_text(dag_file, encoding="utf-8")
    kept, own = tmp_path / "describe" / "AccountObj.json", tmp_path / "describe" / "other" / "AccountObj.json"
    command("describe", "AccountObj", "--save", kept)
    good = command("check", "--offline", tmp_path, "--json")
    assert (good.exit_code, json.loads(good.stdout)["problems"]) == (0, [])
    document = json.loads(kept.read_text(encoding="utf-8"))
    del document["fields"]["tel"]
    own.parent.mkdir()
    own.write_text(json.dumps(document), encoding="utf-8")
    wrong = command("check", "--offline", tmp_path, "--json")
    (problem,) = json.loads(wrong.stdout)["problems"]
    assert (wrong.exit_code, problem.startswith("pipeline other: 'tel': is none of its fields")) == (1, True)
    own.write_text(json.dumps({**document, "api_name": "ContactObj"}), encoding="utf-8")
    assert f"{own}: it describes ContactObj; make it anew" in command("check", "--offline", tmp_path).stderr


def test_a_misspelt_object_is_told_with_the_nearest_ones() -> None:
    told = command("describe", "AcountObj")
    assert told.exit_code == 1
    assert "does not describe 'AcountObj'" in told.stderr
    assert "Did you mean AccountObj" in told.stderr


def test_a_new_file_is_a_pipeline_that_the_check_takes_and_is_never_written_over(tmp_path: Path) -> None:
    made = command("new", "SalesOrderObj", "--dags", tmp_path / "dags")
    assert made.exit_code == 0, made.stderr
    path = tmp_path / "dags" / "sales_order.py"
    assert f"{path}: 销售订单 (SalesOrderObj)" in made.stdout
    checked = command("check", path, "--offline")
    assert (checked.exit_code, checked.stdout) == (0, "1 pipelines, nothing wrong: sales_order\n")
    before = path.read_text(encoding="utf-8")
    again = command("new", "SalesOrderObj", "--dags", tmp_path / "dags")
    assert (again.exit_code, path.read_text(encoding="utf-8")) == (1, before)
    assert "is there already, and is not written over" in again.stderr


@pytest.mark.parametrize("name", ["8x", "²", " ", "class", "客户\n"])
def test_any_name_is_taken_or_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    made = command("new", "ContactObj", "--name", name, "--dags", tmp_path)
    assert (made.exit_code, made.stderr.startswith("pipeline ")) == ((0, False) if name == "class" else (1, True))


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("", encoding="utf-8")
    made = command("new", "AccountObj", "--dags", taken)
    assert (made.exit_code, made.stdout) == (1, "")
    assert f"{taken}/account.py cannot be written: " in made.stderr
    for place in (tmp_path, taken / "AccountObj.json"):
        told = command("describe", "AccountObj", "--save", place)
        assert (told.exit_code, told.stdout) == (1, "")
        assert f"{place} cannot be written: " in told.stderr


def test_a_name_that_cannot_be_a_dag_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    made = command("new", "AccountObj", "--name", "a/b", "--dags", tmp_path)
    assert made.exit_code == 1
    assert "choose another --name" in made.stderr
    assert list(tmp_path.glob("**/*.py")) == []


def test_a_connection_that_is_missing_or_refused_is_told_without_its_secrets(
    fenxiang: Mapping[str, Any], connection: ConnectionSetter
) -> None:
    missing = command("objects", "--connection", "crm")
    assert missing.exit_code == 2
    assert "Connection 'crm' does not exist" in missing.stderr
    connection("fenxiang", **{**fenxiang, "password": "canary-secret"})
    refused = command("objects")
    assert refused.exit_code == 2
    assert refused.stderr.strip()
    assert "canary-secret" not in refused.stdout + refused.stderr


PIPELINE = """
from fenxiang_sync import Field, HubTarget, Pipeline, Source, integer
from fenxiang_sync.airflow import sync_dag

dag = sync_dag(Pipeline(
    name="account", source=Source(object="AccountObj"), target=HubTarget(),
    fields=[Field("_id"), Field("field_credit_limit__c", convert=integer), Field("field_credit_left__c")],
))
"""


def test_a_kept_description_lets_the_check_find_mistakes_with_no_crm(tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "account.py").write_text(PIPELINE, encoding="utf-8")
    assert command("check", dags, "--offline").exit_code == 0
    assert command("describe", "AccountObj", "--save", dags / "describe" / "AccountObj.json").exit_code == 0
    checked = command("check", dags, "--offline")
    assert checked.exit_code == 1
    assert "pipeline account: 'field_credit_limit__c': has 2 decimals" in checked.stderr
    assert "pipeline account: 'field_credit_left__c': is worked out when it is read (formula)" in checked.stdout


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"fields": 1}', '"\ud800"'])
def test_a_kept_description_that_is_damaged_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "account.py").write_text(PIPELINE, encoding="utf-8")
    kept = tmp_path / "describe" / "AccountObj.json"
    kept.parent.mkdir()
    kept.write_text(content, encoding="utf-8", errors="surrogatepass")
    checked = command("check", tmp_path, "--offline")
    assert checked.exit_code == 1
    assert f"make it anew: fenxiang describe AccountObj --save {kept}" in checked.stderr
