"""Import of schemes that write records of the CRM: which object, found by what, and a question where nobody knows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenxiang_simulator import Simulator
from fenxiang_sync import DeletePolicy, FenxiangTarget, Field, HubTarget, text
from fenxiang_sync.hub import Hub, Selection
from fenxiang_sync.qeasy.report import Fate
from fenxiang_sync.stage import Stage
from tests.dagfile_fixtures import assert_formatted
from tests.hub_fixtures import hub_file
from tests.kingdee_fixtures import MATERIAL, BothWays
from tests.qeasy_fixtures import Imported, imported, materials, node, record, scheme
from tests.steps_fixtures import Bench, bench, manual, pipeline, quiet

anything = st.text(max_size=40) | st.sampled_from(
    ['"', "\\", "\n", "{{a}}", "x{{FName}}", "#", '"), exit(), ("', "_function ", "_function 1 +", "_id", "name", "a.b",
     "owner", "product_code", "data.object_data.x", "_findCollection find _id from x where a={{FNumber}}", "\u2028",
     "'", "FName"]
)  # fmt: skip
CREATE, UPDATE = "/cgi/crm/v2/data/create", "/cgi/crm/v2/data/update"
PRODUCTS = "ProductObj"
CODE, NAME, SPEC = (
    node("product_code", "{{FNumber}}", is_required=True),
    node("name", "{{FName}}"),
    node("product_spec", "{{FNumber}}/{{FBaseUnitId_FNumber}}"),
)
CHANGE = node("_id", "_findCollection find _id from 0d3a where product_code={{FNumber}}")


def target_of(made: Imported) -> FenxiangTarget:
    target = made.declared().target
    assert isinstance(target, FenxiangTarget)
    return target


def into(
    *nodes: dict[str, Any], api: str = CREATE, id: str = "product_code", beside: Any = (), **target: Any
) -> Imported:
    """Materials of Kingdee into products."""
    document = materials(record(PRODUCTS, *nodes), *beside, target={"api": api, "id": id, **target})
    return imported(document, "product", **{"0d3a": "product_ids"})


def test_a_create_is_a_target_that_looks_its_records_up_by_the_id_of_the_scheme() -> None:
    made = into(CODE, NAME, beside=[node("triggerWorkFlow", False, "bool"), node("triggerApprovalFlow", "true")])
    assert_formatted(made.text)
    declared, target = made.declared(), target_of(made)
    assert (target.object, target.match, target.creates) == (PRODUCTS, "product_code", True)
    assert (target.trigger_workflow, target.trigger_approval) == (False, True)
    assert (declared.mapping.key, declared.delete_policy) == ("product_code", DeletePolicy.IGNORE)
    assert "never voided" in made.told("target")[0][1]


def test_flags_that_are_not_said_are_the_defaults_of_the_crm_and_others_are_taken_over() -> None:
    flags = [node("hasSpecifyTime", "1"), node("hasSpecifyCreatedBy", True), node("includeDetailIds", True)]
    made = into(CODE, node("create_time", "{{FModifyDate|timestamp_ms}}", "int"), beside=flags)
    target = target_of(made)
    assert (target.trigger_workflow, target.trigger_approval) == (True, True)
    assert (target.specify_time, target.specify_created_by) == (True, True)
    assert "create_time" in target.fields
    assert made.told("target.request.triggerWorkFlow")[0][0] is Fate.TAKEN


def test_an_update_finds_its_records_by_the_id_that_it_looks_up() -> None:
    made = into(CHANGE, NAME, api=UPDATE, id="id")
    target, text = target_of(made), made.text
    assert (target.match, target.creates, made.declared().mapping.key) == ("_id", False, "_id")
    assert 'pipeline="product_ids", find="_id", where={"product_code": "FNumber"}, required=True' in text
    assert made.declared().removes is DeletePolicy.IGNORE


@pytest.mark.parametrize(
    ("words", "asks"),
    [
        ({"id": "id"}, "By which field is a record of ProductObj found?"),
        ({"id": "_id", "number": "product_code"}, "product_code is what people search by: is it unique?"),
        ({"api": UPDATE}, "By which field is a record of ProductObj found?"),
    ],
)
def test_where_nobody_knows_how_a_record_is_found_file_and_report_ask(words: dict[str, Any], asks: str) -> None:
    made = into(CODE, NAME, **words)
    assert_formatted(made.text)
    assert isinstance(made.declared().target, HubTarget)
    assert made.told("target.match")[0][0] is Fate.NONE
    assert asks in made.told("target.match")[0][1]
    comments = " ".join(line.strip("# ") for line in made.text.splitlines() if line.strip().startswith("#"))
    assert asks in comments
    assert 'object="ProductObj", match=…' in comments
    assert "target.match" in made.text.partition('"""\n\nfrom')[0]


def test_the_answer_to_the_question_holds() -> None:
    made = into(CODE, NAME, id="id")
    answered = (
        made.text.replace("match=…", 'match="product_code"')
        .replace("    #     target=", "    target=")
        .replace("    target=HubTarget(),\n", '    key="product_code",\n')
        .replace('        Field("_id", convert=text),\n', "")
        .replace("HubTarget", "FenxiangTarget")
    )
    assert isinstance(Imported(answered, made.report).declared().target, FenxiangTarget)


def test_a_match_that_no_value_of_a_row_goes_to_is_asked_for() -> None:
    made = into(node("product_code", "{{客户}}"), NAME)
    assert isinstance(made.declared().target, HubTarget)
    assert made.told("target.match")
    made = into(node("product_code", "always the same"), NAME)
    assert isinstance(made.declared().target, HubTarget)


def test_what_no_record_can_take_is_told_and_people_are_not_in_the_file() -> None:
    nodes = [
        node("owner", ["FSUID_canary"], "array"),
        node("created_by", "FSUID_canary"),
        node("a.b", "1"),
        node("life_status", "normal"),
        node("客户", "1"),
        node("create_time", "{{FModifyDate|timestamp_ms}}"),
        node("lines", "x", "array", children=[node("a")]),
        node("_id", "{{FNumber}}"),
    ]
    other = [node("currentOpenUserId", "FSUID_canary"), node("appSecret", "canary-secret")]
    made = into(CODE, *nodes, beside=[node("skipX", True)], otherRequest=other, operation={"method": "none"})
    assert target_of(made).fields == ("product_code",)
    told = {key for fate, key, _ in made.report.findings if fate in (Fate.NONE, Fate.CHANGED)}
    inside = "target.request.data.object_data."
    assert told >= {f"{inside}{each['field']}" for each in nodes}
    assert told >= {"target.request.skipX", "target.otherRequest.currentOpenUserId", "target.otherRequest.appSecret"}
    assert "canary" not in made.text + "\n".join(made.report.lines())


@pytest.mark.parametrize(
    "nodes",
    [
        [node("data.object_data.dataObjectApiName", PRODUCTS), node("data.object_data.product_code", "{{name}}")],
        [node("object_data", "", "object", children=[node("product_code", "{{name}}")]),
         node("dataObjectApiName", PRODUCTS)],
        [node("dataObjectApiName", PRODUCTS), node("product_code", "{{name}}")],
        [node("data", "", "object", children=[node("dataObjectApiName", PRODUCTS), node("product_code", "{{name}}")])],
    ],
)  # fmt: skip
def test_the_record_is_found_however_the_nodes_around_it_are_written(nodes: list[Any]) -> None:
    made = imported(scheme(*nodes, target={"api": CREATE, "id": "product_code"}))
    assert (target_of(made).object, target_of(made).fields) == (PRODUCTS, ("product_code",))


def test_a_secret_beside_the_fields_is_not_in_the_file() -> None:
    nodes = [node("dataObjectApiName", PRODUCTS), node("corpAccessToken", "canary"), node("product_code", "{{name}}")]
    made = imported(scheme(*nodes, target={"api": CREATE, "id": "product_code"}))
    assert target_of(made).fields == ("product_code",)
    assert made.told("target.request.corpAccessToken")[0][0] is Fate.NONE
    assert "canary" not in made.text + "\n".join(made.report.lines())


@pytest.mark.parametrize("name", [None, "产品", "_x"])
def test_an_object_that_is_not_named_leaves_the_rows_in_the_hub_and_says_so(name: str | None) -> None:
    nodes = record(name, node("a", "{{name}}"), node("owner", "FSUID_canary"))
    document = scheme(nodes, target={"api": CREATE, "id": "a"})
    made = imported(document)
    assert isinstance(made.declared().target, HubTarget)
    assert "FenxiangTarget(object=…" in made.told("target.request.dataObjectApiName")[0][1]
    assert "canary" not in made.text + "\n".join(made.report.lines())


def test_other_interfaces_of_the_crm_leave_the_rows_in_the_hub_and_say_what_does_it() -> None:
    made = imported(scheme(node("_id"), target={"api": "/cgi/crm/v2/data/invalid"}))
    assert isinstance(made.declared().target, HubTarget)
    assert "delete_policy" in made.told("target.api")[0][1]


def test_new_records_of_the_object_that_is_read_are_asked_about() -> None:
    document = scheme(record("AccountObj", node("name", "{{name}}")), target={"api": CREATE, "id": "name"})
    made = imported(document)
    assert isinstance(made.declared().target, HubTarget)
    assert "into which other CRM" in made.told("target.match")[0][1]
    assert "connection=…" in made.told("target.match")[0][1]


def test_a_path_for_the_other_kind_of_object_is_told() -> None:
    made = into(CODE, api="/cgi/crm/custom/v2/data/create")
    assert target_of(made).object == PRODUCTS
    assert any("other kind of object" in each for _, each in made.told("target.api"))


def test_lines_become_details_of_new_records_and_an_update_has_none() -> None:
    line = node("SalesOrderProductObj", "lines", "array", children=[node("quantity", "{{lines.num}}")])
    nodes = [record("SalesOrderObj", node("name"), details=[line, node("X", "1")])]
    made = imported(scheme(*nodes, target={"api": CREATE, "id": "name"}))
    assert dict(target_of(made).details) == {"SalesOrderProductObj": "SalesOrderProductObj"}
    assert made.told("target.request.data.details.X")[0][0] is Fate.NONE
    nodes = [record("SalesOrderObj", node("_id"), node("remark", "{{name}}"), details=[line])]
    made = imported(scheme(*nodes, target={"api": UPDATE}))
    assert target_of(made).details == {}
    assert "changes no lines" in made.told("target.request.data.details.SalesOrderProductObj")[0][1]


@settings(max_examples=80)
@given(texts=st.lists(anything, min_size=14, max_size=14), api=st.sampled_from([CREATE, UPDATE]))
def test_whatever_the_texts_are_the_file_declares_a_pipeline(texts: list[str], api: str) -> None:
    said = iter(texts)
    nodes = [CODE, node(next(said), next(said)), node("name", next(said)), node("_id", next(said))]
    details = [node(next(said), next(said), "array", children=[node("a", next(said))])]
    document = materials(
        record(next(said) if len(texts[0]) % 2 else PRODUCTS, *nodes, details=details),
        node(next(said), next(said)),
        said=next(said),
        target={"api": api, "id": next(said), "number": next(said), "otherRequest": [node(next(said), "x")]},
    )
    made = imported(document)
    assert made.declared().mapping.columns
    kinds = [type(each).__name__ for each in ast.parse(made.text).body if not isinstance(each, ast.ImportFrom)]
    assert [each for each in kinds if each != "FunctionDef"] == ["Expr", "Assign", "Assign"]


# It runs


@pytest.fixture
def both(tmp_path: Path) -> Iterator[BothWays]:
    with (
        Simulator(seed=7, knobs=quiet(), records={PRODUCTS: 3}) as simulator,
        Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub,
    ):
        simulator.targets.kingdee.fill(MATERIAL, 20)
        yield BothWays(simulator, hub, Stage(tmp_path / "stage"))


def products(both: BothWays) -> dict[str, dict[str, Any]]:
    found = both.simulator.tenant.records(PRODUCTS).values()
    assert len({each["product_code"] for each in found}) == len(found)
    return {each["product_code"]: each for each in found}


def test_an_imported_create_makes_each_product_once_and_then_changes_it(both: BothWays) -> None:
    made = into(CODE, NAME, SPEC).declared()
    before = set(products(both))
    assert both.sync(made, manual(full=True)).certified
    wanted = {
        each.number: f"{each.number}/{each.content['FBaseUnitId']['FNumber']}"
        for each in both.simulator.targets.kingdee.bills(MATERIAL)
        if each.content["FUseOrgId"]["FNumber"] == "100"
    }
    held = products(both)
    assert {code: held[code]["product_spec"] for code in set(held) - before} == wanted

    both.later()
    both.simulator.targets.kingdee.edit(MATERIAL, min(wanted), {"FName": "新名"})
    both.later()
    assert both.sync(made, manual()).delivered == 1
    assert products(both)[min(wanted)]["name"] == "新名"
    assert both.simulator.requests[CREATE] == len(wanted)


def test_an_imported_update_changes_the_products_that_it_finds_and_waits_for_others(both: BothWays) -> None:
    bills = both.simulator.targets.kingdee.bills(MATERIAL)
    numbers = [each.number for each in bills if each.content["FUseOrgId"]["FNumber"] == "100"]
    found = next(iter(both.simulator.tenant.records(PRODUCTS)))
    both.simulator.tenant.update(PRODUCTS, found, {"product_code": numbers[0]})
    ids = pipeline(PRODUCTS, name="product_ids", fields=[Field("_id"), Field("product_code", convert=text)])
    crm = Bench(both.simulator, both.hub, both.stage, both.numbers)
    both.later()
    crm.sync(ids, manual(full=True))

    report = both.sync(into(CHANGE, NAME, api=UPDATE).declared(), manual(full=True))
    assert report.delivered == 1
    assert both.simulator.tenant.records(PRODUCTS)[found]["name"].startswith("物料")
    assert len(products(both)) == 3
    reasons = [each.reason for each in both.hub.letters.find("product", Selection())]
    assert len(reasons) == len(numbers) - 1
    assert all("has no row for it yet" in each for each in reasons)


def test_an_imported_update_of_the_object_that_it_reads_comes_to_rest(tmp_path: Path) -> None:
    nodes = record("AccountObj", node("_id"), node("remark", "{{account_no}}"))
    made = imported(scheme(nodes, target={"api": UPDATE})).declared()
    with bench(tmp_path, AccountObj=4) as crm:
        assert crm.sync(made, manual(full=True)).delivered == 4
        records = crm.simulator.tenant.records("AccountObj").values()
        assert all(each["remark"] == each["account_no"] for each in records)
        crm.later()
        assert crm.sync(made, manual(full=True)).delivered == 0
