"""`fenxiang import-qeasy`: from a scheme's metadata to a DAG file, with a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli_fixtures import fenxiang as command
from tests.cli_fixtures import quiet_settings  # noqa: F401 - a fixture
from tests.qeasy_fixtures import CUSTOMERS, FOLDER, PRODUCTS, declaration, fixture, materials, node, record, scheme

pytestmark = pytest.mark.usefixtures("quiet_settings", "airflow_home")


def test_a_scheme_becomes_a_file_that_the_check_takes_and_a_report(tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    made = command("import-qeasy", FOLDER / "customers.json", "--dags", dags)
    assert made.exit_code == 0, made.stderr
    for head in ("Taken over (", "Changed, and why (", "Without counterpart, and what to do ("):
        assert head in made.stdout
    assert f"{dags / 'account.py'}: 纷享销客-客户=>MySQL-客户表" in made.stdout
    assert command("import-qeasy", FOLDER / "warehouse.json", "--dags", dags, "--name", "stock").exit_code == 0
    checked = command("check", dags, "--offline")
    assert (checked.exit_code, checked.stdout) == (0, "2 pipelines, nothing wrong: account, stock\n")


def test_documents_with_lines_and_look_ups_become_a_file_that_the_check_takes(tmp_path: Path) -> None:
    known = ["--scheme", f"{CUSTOMERS}=account", "--scheme", f"{PRODUCTS}=product"]
    assert command("import-qeasy", FOLDER / "sales-orders.json", "--dags", tmp_path, *known).exit_code == 0
    checked = command("check", tmp_path, "--offline")
    assert checked.exit_code == 0, checked.stderr
    assert "'FCustId': is looked up in pipeline 'account', of which there is no DAG file here" in checked.stdout


def test_a_form_of_kingdee_becomes_a_file_that_the_check_takes(tmp_path: Path) -> None:
    metadata, dags = tmp_path / "material.json", tmp_path / "dags"
    metadata.write_text(json.dumps(materials(node("number", "{{FNumber}}"))), encoding="utf-8")
    made = command("import-qeasy", metadata, "--dags", dags)
    assert made.exit_code == 0, made.stderr
    checked = command("check", dags, "--offline")
    assert (checked.exit_code, checked.stdout) == (0, "1 pipelines, nothing wrong: bd_material\n")


@pytest.mark.parametrize(
    ("key", "says"), [("product_code", "FenxiangTarget("), ("id", "By which field is a record of ProductObj found?")]
)
def test_a_scheme_into_the_crm_becomes_a_file_that_the_check_takes(tmp_path: Path, key: str, says: str) -> None:
    metadata, dags = tmp_path / "product.json", tmp_path / "dags"
    nodes = record("ProductObj", node("product_code", "{{FNumber}}"), node("name", "{{FName}}"))
    document = materials(nodes, target={"api": "/cgi/crm/v2/data/create", "id": key})
    metadata.write_text(json.dumps(document), encoding="utf-8")
    made = command("import-qeasy", metadata, "--dags", dags, "--name", "product", "--connection", "crm")
    assert made.exit_code == 0, made.stderr
    text = (dags / "product.py").read_text(encoding="utf-8")
    assert says in text
    assert 'connection="crm"' in text
    checked = command("check", dags, "--offline")
    assert checked.exit_code == 0, checked.stdout + checked.stderr


def test_the_scheme_that_is_called_back_may_be_given_for_what_it_writes(tmp_path: Path) -> None:
    strategy = {"strategyId": "0d3a9", "crm": "{{_id}}", "no": "{{primaryWriteback.number}}"}
    into = {"api": "batchSave", "id": "FNumber", "otherRequest": [node("FormId", "BD_Customer")]}
    document = scheme(node("FNumber", "{{account_no}}"), target={**into, "callBackStrategy": strategy})
    update = [record("AccountObj", node("_id", "{{crm}}"), node("erp_number__c", "{{no}}"))]
    called = {"target": {"api": "/cgi/crm/v2/data/update", "effect": "EXECUTE", "request": update}}
    for name, said in (("customer", document), ("called", called)):
        (tmp_path / f"{name}.json").write_text(json.dumps(said), encoding="utf-8")
    known = ["--call-back", tmp_path / "called.json", "--dags", tmp_path / "dags"]
    made = command("import-qeasy", tmp_path / "customer.json", *known)
    assert made.exit_code == 0, made.stderr
    assert '"erp_number__c": Told("Number")' in (tmp_path / "dags" / "account.py").read_text(encoding="utf-8")
    assert command("check", tmp_path / "dags", "--offline").exit_code == 0
    (tmp_path / "called.json").write_text("{}")
    made = command("import-qeasy", tmp_path / "customer.json", *known, "--name", "other")
    assert (made.exit_code, str(tmp_path / "called.json") in made.stderr) == (1, True)


def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "account.py").write_text("mine")
    made = command("import-qeasy", FOLDER / "customers.json", "--dags", tmp_path)
    assert made.exit_code == 1
    assert "is there already, and is not written over" in made.stderr
    assert (tmp_path / "account.py").read_text() == "mine"


def test_a_file_may_be_printed_alone_with_the_report_beside_it(tmp_path: Path) -> None:
    made = command("import-qeasy", FOLDER / "customers.json", "--dags", tmp_path, "--print", "--connection", "crm")
    assert made.exit_code == 0
    assert 'connection="crm"' in made.stdout
    assert compile(made.stdout, "made.py", "exec")
    assert "Changed, and why (" in made.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_report_can_be_read_by_programs(tmp_path: Path) -> None:
    made = command("import-qeasy", FOLDER / "warehouse.json", "--dags", tmp_path, "--json")
    told = json.loads(made.stdout)
    assert (told["pipeline"], told["file"]) == ("inventory_report", str(tmp_path / "inventory_report.py"))
    assert {"taken over", "changed", "no counterpart"} == {each["fate"] for each in told["findings"]}
    assert Path(told["file"]).exists()


def test_each_side_may_be_a_file_of_its_own(tmp_path: Path) -> None:
    whole = fixture("customers")
    for side in ("source", "target"):
        (tmp_path / f"{side}.json").write_text(json.dumps(whole[side]), encoding="utf-8")
    made = command("import-qeasy", tmp_path / "source.json", tmp_path / "target.json", "--dags", tmp_path / "dags")
    assert made.exit_code == 0
    assert 'table="crm_customer"' in (tmp_path / "dags" / "account.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "no metadata of a Qeasy scheme: it is no JSON"),
        ("[" * 100_000, "no metadata of a Qeasy scheme"),
        ("", "no JSON"),
    ],
)
def test_what_is_no_metadata_is_told_with_its_file(tmp_path: Path, content: str, says: str) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(content)
    made = command("import-qeasy", wrong, "--dags", tmp_path)
    assert made.exit_code == 1
    assert says in made.stderr
    assert str(wrong) in made.stderr
    assert list(tmp_path.glob("*.py")) == []


def test_a_name_that_begins_with_a_digit_and_a_folder_that_cannot_be_made_are_sentences(tmp_path: Path) -> None:
    made = command("import-qeasy", FOLDER / "customers.json", "--dags", tmp_path / "dags", "--name", "1 x")
    assert (made.exit_code, "name='1 x'" in made.stderr) == (1, True)
    (tmp_path / "file").write_text("")
    made = command("import-qeasy", FOLDER / "customers.json", "--dags", tmp_path / "file" / "dags")
    assert made.exit_code == 1
    assert f"{tmp_path / 'file' / 'dags' / 'account.py'} cannot be written" in made.stderr


@pytest.mark.parametrize("name", ["mysql", "sync_dag"])
def test_a_pipeline_may_have_the_name_of_what_its_file_imports(tmp_path: Path, name: str) -> None:
    metadata = tmp_path / "account.json"
    document = scheme(node("_id"), node("total", "_function {{price}} * {{quantity}}", "number"))
    metadata.write_text(json.dumps(document), encoding="utf-8")
    made = command("import-qeasy", metadata, "--dags", tmp_path, "--name", name)
    assert made.exit_code == 0, made.stderr
    pipeline = declaration((tmp_path / f"{name}.py").read_text(encoding="utf-8"))
    (row,) = pipeline.rows({"_id": "1", "last_modified_time": 1_790_000_001_456, "price": "1.50", "quantity": 2})
    assert (pipeline.name, row.content["total"]) == (name, 3)


def test_a_name_that_cannot_be_a_dag_and_a_scheme_without_a_pipeline_are_refused(tmp_path: Path) -> None:
    made = command("import-qeasy", FOLDER / "customers.json", "--dags", tmp_path, "--name", "A/b")
    assert made.exit_code == 1
    assert "name='A/b'" in made.stderr
    assert list(tmp_path.iterdir()) == []
    made = command("import-qeasy", FOLDER / "customers.json", "--dags", tmp_path, "--scheme", "0d3a")
    assert (made.exit_code, "as in --scheme 0d3a…=customer" in made.stderr) == (1, True)
