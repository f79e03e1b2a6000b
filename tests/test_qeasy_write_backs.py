"""Import of what a target tells: into the record that the row came from, into look-ups, or a line of code to write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import Field, HubTarget, KingdeeSource, Lookup, Pipeline, Told, WriteApi, WriteBack, text
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.qeasy.metadata import receiver
from fenxiang_sync.qeasy.report import Fate
from fenxiang_sync.steps.write_back import write_back
from fenxiang_sync.targets.results import Whole
from tests.dagfile_fixtures import assert_formatted
from tests.kingdee_fixtures import MATERIAL, BothWays
from tests.qeasy_fixtures import Imported, fixture, imported, materials, node, record, scheme
from tests.steps_fixtures import Bench, bench, manual

PLACE = "target.callBackStrategy"
SAVE = {"api": "batchSave", "id": "FNumber", "otherRequest": [node("FormId", "BD_Customer")]}
PRIMARY = node(
    "primaryWriteback", "", "object", children=[node("id", "{{Result.Id}}"), node("number", "{{Number}}")]
)  # fmt: skip
OWN = {"strategyId": "0d3a9", "erp_id__c": "{{primaryWriteback.Id}}", "erp_number__c": "{{primaryWriteback.number}}"}
HANDED = {"strategyId": "0d3a9", "crm": "{{_id}}", "no": "{{primaryWriteback.number}}"}
NUMBER = node("erp_number__c", "{{no}}")


def called(
    *nodes: dict[str, Any], object_name: str = "AccountObj", api: str = "/cgi/crm/v2/data/update", beside: Any = ()
) -> dict[str, Any]:
    """The scheme that is called back: it updates records that it finds by `crm`."""
    request = [record(object_name, node("_id", "{{crm}}"), *nodes), *beside]
    return {"source": {"api": "写入空操作", "effect": "QUERY"}, "target": {"api": api, "request": request}}


def customers(
    strategy: Any = OWN, calls: Any = None, nodes: tuple[dict[str, Any], ...] = (), **target: Any
) -> Imported:
    """Customers into Kingdee, and what is handed on of its answers."""
    request = [node("FNumber", "{{account_no}}"), node("FName", "{{name}}"), *nodes]
    into = {**SAVE, "response": [PRIMARY], "callBackStrategy": strategy, **target}
    return imported(scheme(*request, target=into), "customer", calls)


def back(made: Imported) -> dict[str, Any]:
    declared = made.declared().write_back
    return {} if declared is None else dict(declared.fields)


def test_fields_of_the_crm_that_are_called_back_by_their_names_are_written_back() -> None:
    made = customers()
    assert_formatted(made.text)
    assert back(made) == {"erp_id__c": Told("Id", convert=text), "erp_number__c": Told("Number")}
    assert made.told("target.response.primaryWriteback.number")[0][0] is Fate.TAKEN
    assert "customer.write_back" in made.told(PLACE)[0][1]
    assert "--call-back" in made.told(f"{PLACE}.erp_number__c")[0][1]


def test_the_scheme_that_is_called_back_tells_the_fields_and_the_flags() -> None:
    flags = [node("triggerWorkFlow", False), node("triggerApprovalFlow", False)]
    made = customers(HANDED, called(NUMBER, node("remark", "fixed"), beside=flags))
    assert_formatted(made.text)
    assert back(made) == {"erp_number__c": Told("Number")}
    assert "written back into erp_number__c" in made.told(f"{PLACE}.no")[0][1]
    assert made.told(f"{PLACE}.crm") == [(Fate.TAKEN, "the record that the row came from")]
    assert made.told(f"{PLACE}.remark")[0][0] is Fate.NONE
    written = [made.declared().write_back, customers(HANDED, called(NUMBER)).declared().write_back]
    assert [(each.trigger_workflow, each.trigger_approval) for each in written if each is not None] == [
        (False, False),
        (True, True),
    ]


def test_a_record_that_is_updated_by_something_else_is_told() -> None:
    made = customers({**HANDED, "crm": "{{account_no}}"}, called(NUMBER))
    assert back(made) == {"erp_number__c": Told("Number")}
    assert any("taken to be the one that the row came from" in said for _, said in made.told(PLACE))


def test_without_the_scheme_that_is_called_back_the_report_gives_the_line_to_write() -> None:
    made = customers({**HANDED, "state": "{{primaryWriteback.status}}", "why__c": "{{primaryWriteback.message}}"})
    assert back(made) == {}
    assert "write_back=WriteBack(fields={'…__c': Told(\"Number\")})" in made.told(f"{PLACE}.no")[0][1]
    assert "Standing({Outcome.DELIVERED: '…', Outcome.DEAD_LETTER: '…'})" in made.told(f"{PLACE}.state")[0][1]
    assert "WriteBack(fields={'why__c': Refusal()})" in made.told(f"{PLACE}.why__c")[0][1]


def test_the_published_orders_keep_what_is_told_and_ask_for_the_field() -> None:
    made = imported(fixture("sales-orders"))
    assert made.declared().write_back is None
    assert {fate for fate, _ in made.told("target.response.primaryWriteback.id")} == {Fate.TAKEN}
    assert made.told(f"{PLACE}.orderNo")[0][0] is Fate.CHANGED
    assert "--call-back" in made.told(f"{PLACE}.FNumber")[0][1]


@pytest.mark.parametrize(
    "words",
    [{"api": "写入空操作"}, {"api": "/cgi/crm/v2/data/create"}, {"object_name": "LeadsObj"}],
)
def test_a_scheme_that_updates_no_record_of_the_object_is_no_write_back(words: dict[str, str]) -> None:
    made = customers(HANDED, called(NUMBER, **words))
    assert back(made) == {}
    assert "find='@told.…'" in made.told(PLACE)[0][1]


def test_a_field_that_is_read_or_that_the_crm_keeps_itself_is_not_written_back() -> None:
    made = customers(nodes=(node("F_Note", "{{erp_id__c}}"),))
    assert back(made) == {"erp_number__c": Told("Number")}
    assert "is read by this pipeline itself" in made.told(f"{PLACE}.erp_id__c")[-1][1]
    made = customers(HANDED, called(node("create_time", "{{no}}"), NUMBER))
    assert back(made) == {"erp_number__c": Told("Number")}


def test_a_scheme_that_nobody_calls_is_told() -> None:
    made = imported(scheme(node("_id")), calls=called(NUMBER))
    assert "nobody calls" in made.told(PLACE)[0][1]


def test_records_of_several_rows_have_no_answer_of_their_own() -> None:
    document = scheme(
        node("FNumber", "{{details_no}}"),
        target={**SAVE, "callBackStrategy": OWN},
        beatFlat=["details"],
    )
    made = imported(document)
    assert made.declared().write_back is None
    assert "several rows" in made.told(PLACE)[0][1]


@pytest.mark.parametrize(
    "strategy", [[], "x", 7, {}, {"strategyId": "a"}, {"strategyId": {}, "b": {"c": [1]}, "": None}]
)
def test_a_strategy_that_hands_nothing_on_is_told(strategy: Any) -> None:
    made = customers(strategy)
    assert made.declared().write_back is None
    assert made.told(PLACE)[0][0] is Fate.NONE


def test_a_skeleton_for_one_row_a_call_tells_what_the_scheme_keeps_of_an_answer() -> None:
    target = {"api": "/v1/save", "id": "_id", "response": [PRIMARY], "callBackStrategy": OWN}
    made = imported(scheme(node("_id"), target=target))
    assert_formatted(made.text)
    declared = made.declared()
    assert isinstance(declared.target, WriteApi)
    assert declared.target.results == Whole(tells={"id": "Result.Id", "number": "Number"})
    assert back(made) == {"erp_id__c": Told("id"), "erp_number__c": Told("number")}


def test_targets_that_tell_nothing_say_so_with_the_line_for_a_rest_target() -> None:
    target = {"api": "/v1/save", "operation": {"method": "batchArraySave", "rowsKey": "rows"}, "response": [PRIMARY]}
    made = imported(scheme(node("_id"), target={**target, "callBackStrategy": OWN}))
    said = made.told("target.response.primaryWriteback.id")[0][1]
    assert "results=Whole(tells={'id': 'Result.Id'}) for one row a call" in said
    assert made.declared().write_back is None
    made = imported(scheme(node("_id"), target={"primaryWriteback": {"id": "{{Id}}"}}))
    assert made.told("target.primaryWriteback.id")[0][0] is Fate.NONE
    for wrong in ({"primaryWriteback": "x"}, {"response": [node("primaryWriteback", "x")]}, {"response": [node("a")]}):
        made = imported(scheme(node("_id"), target=wrong))
        assert Fate.NONE in {fate for fate, key, _ in made.report.findings if key.startswith("target.")}


@pytest.mark.parametrize(("content", "says"), [(b"{", "no JSON"), (b'{"source": {"api": "x"}}', "no writing side")])
def test_a_called_scheme_that_is_none_is_refused_with_a_sentence(content: bytes, says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        receiver(content)


# Look-ups


@pytest.mark.parametrize(
    ("find", "path"),
    [
        ("relation_id", "@told.Id"),
        ("response.Number", "@told.Number"),
        ("response.Result.ResponseStatus.number", "@told.Number"),
        ("primaryWriteback.id", "@told.Id"),
        ("response.dataId", "@told._id"),
        ("content.account_no", "account_no"),
    ],
)
def test_a_look_up_of_what_was_told_asks_for_it_by_our_name(find: str, path: str) -> None:
    said = f"_findCollection find {find} from 0d3a where _id={{{{account_id}}}}"
    made = imported(scheme(node("_id"), node("customer", said)), **{"0d3a": "customer"})
    lookup = made.declared().fields[1]
    assert isinstance(lookup, Lookup)
    assert lookup.find == path


@pytest.mark.parametrize(
    "said", ["find @x from a where b={{c}}", "find a from b where @told.={{c}}", "find a,b from c where d={{e}}"]
)
def test_a_look_up_of_what_no_row_has_is_told(said: str) -> None:
    made = imported(scheme(node("_id"), node("customer", f"_findCollection {said}")))
    assert [entry.target for entry in made.declared().fields] == ["_id"]
    assert "write Lookup(…)" in made.told("target.request.customer")[0][1]


def test_an_id_that_becomes_the_id_of_a_record_is_one_that_the_crm_told() -> None:
    said = "_findCollection find relation_id from 0d3a where FNumber={{FNumber}}"
    nodes = record("ProductObj", node("_id", said), node("name", "{{FName}}"))
    document = materials(nodes, target={"api": "/cgi/crm/v2/data/update"})
    lookup = imported(document, **{"0d3a": "product"}).declared().fields[0]
    assert isinstance(lookup, Lookup)
    assert (lookup.find, lookup.where, lookup.required) == ("@told._id", {"FNumber": "FNumber"}, True)


def test_a_row_may_be_looked_up_by_what_was_told_of_it() -> None:
    said = "_findCollection find name from 0d3a where relation_id={{erp_id__c}}"
    lookup = imported(scheme(node("_id"), node("customer", said)), **{"0d3a": "customer"}).declared().fields[1]
    assert isinstance(lookup, Lookup)
    assert lookup.where == {"@told.Id": "erp_id__c"}


# It runs


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, AccountObj=4, ContactObj=6) as made:
        yield made


def test_what_kingdee_told_is_written_back_and_is_found_by_another_scheme(crm: Bench) -> None:
    customer = customers().declared()
    crm.sync(customer, manual(full=True))
    numbers = write_back(crm.run(customer), hub=crm.hub, reach=crm.reach(), clock=crm.now)
    assert numbers["delivered"] == 4
    bills = {bill.number: str(bill.id) for bill in crm.simulator.targets.kingdee.bills("BD_Customer")}
    records = crm.simulator.tenant.records("AccountObj")
    assert {each["erp_number__c"]: each["erp_id__c"] for each in records.values()} == bills
    crm.later()
    assert crm.sync(customer, manual(full=True)).delivered == 0

    said = "_findCollection find relation_id from 0d3a where _id={{account_id}}"
    document = scheme(node("_id"), node("erp", said))
    document["source"]["request"] = [node("dataObjectApiName", "ContactObj")]
    contact = imported(document, "contact", **{"0d3a": "customer"}).declared()
    assert crm.sync(contact, manual(full=True)).delivered == 6
    contacts = crm.simulator.tenant.records("ContactObj")
    assert {key: row["erp"] for key, row in crm.held(contact).items()} == {
        key: records[each["account_id"]]["erp_id__c"] if each.get("account_id") else None
        for key, each in contacts.items()
    }


def test_the_line_for_kingdee_takes_what_the_crm_told(tmp_path: Path) -> None:
    request = record("ProductObj", node("product_code", "{{FNumber}}"), node("name", "{{FName}}"))
    strategy = {"strategyId": "0d3a9", "F_CRM": "{{primaryWriteback.dataId}}"}
    target = {"api": "/cgi/crm/v2/data/create", "id": "product_code", "callBackStrategy": strategy}
    made = imported(materials(request, target=target), "product")
    assert made.declared().write_back is None
    said = made.told(PLACE)[-1][1]
    line = "Lookup('F_…', pipeline='product', find='@told._id', where={'_id': '_id'})"
    assert line in said

    with bench(tmp_path, ProductObj=0) as crm:
        crm.simulator.targets.kingdee.fill(MATERIAL, 10)
        both = BothWays(crm.simulator, crm.hub, crm.stage, crm.numbers)
        delivered = both.sync(made.declared(), manual(full=True)).delivered
        reader = Pipeline(
            name="ids",
            source=KingdeeSource(form=MATERIAL, id="FMATERIALID", where="FUseOrgId.FNumber = '100'"),
            fields=[Field("_id"), Field("FNumber"), eval(line.replace("…", "CRM"), {"Lookup": Lookup})],
            target=HubTarget(),
            number=None,
        )
        both.sync(reader, manual(full=True))
        products = {each["product_code"]: key for key, each in crm.simulator.tenant.records("ProductObj").items()}
        assert {row["FNumber"]: row["F_CRM"] for row in both.held(reader).values()} == products
        assert len(products) == delivered > 0


def test_the_lines_of_the_report_declare_what_they_say() -> None:
    made = customers({**HANDED, "why__c": "{{primaryWriteback.message}}"})
    line = made.told(f"{PLACE}.no")[0][1].partition("write_back=")[2].replace("…", "erp")
    declared = eval(line, {"WriteBack": WriteBack, "Told": Told})
    assert isinstance(declared, WriteBack)
    assert list(declared.problems()) == []
