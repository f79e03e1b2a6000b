"""FenxiangTarget as a declaration: each mistake is a sentence, offline, against a description, and before a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import FenxiangTarget, Field, Kind, Pipeline, Source, boolean, day, decimal, instant, integer, text
from fenxiang_sync.airflow.fitness import Fitness
from fenxiang_sync.columns import Column
from fenxiang_sync.errors import DeclarationError, SetupError
from fenxiang_sync.rows import DeletePolicy
from fenxiang_sync.targets.protocol import Checking, Fitting, Reach, Target
from tests.crm_fixtures import LINES, ORDERS, PRODUCTS, Office, office, products


def declared(*fields: Field, **words: Any) -> Pipeline:
    target = {"object": PRODUCTS, "match": "product_code", **words}
    return Pipeline(
        name="product",
        source=Source(object="object_warehouse__c"),
        fields=[Field("warehouseId", to="product_code", convert=text), Field("name", convert=text), *fields],
        key="product_code",
        target=FenxiangTarget(**target),
    )


def refused(*fields: Field, **words: Any) -> str:
    with pytest.raises(DeclarationError) as caught:
        declared(*fields, **words)
    return str(caught.value)


def test_it_is_a_target_that_is_fitted_checked_and_removes() -> None:
    target = declared().target
    assert isinstance(target, Target)
    assert isinstance(target, Fitting)
    assert isinstance(target, Checking)
    assert target.describe() == "Fenxiang object ProductObj, by product_code (connection fenxiang)"
    assert target.upserts is False
    assert declared().removes is DeletePolicy.FLAG
    updates = declared(creates=False)
    assert updates.target.upserts is True
    assert updates.removes is DeletePolicy.IGNORE
    assert updates.target.describe().endswith("by product_code, updates only (connection fenxiang)")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"object": "产品"}, "object='产品': give the object's API name"),
        ({"connection": ""}, "connection='': give the id of an Airflow connection"),
        ({"match": "a.b"}, "match='a.b': give the API name of the field that records are looked up by"),
        ({"creates": 1}, "creates=1: give True or False"),
        ({"trigger_workflow": "no"}, "trigger_workflow='no': give True or False"),
        ({"at_once": 0}, "at_once=0: give a number from 1 to 16"),
        ({"batch_rows": 1000}, "batch_rows=1000: give a number from 1 to 500"),
        ({"sample": -1}, "sample=-1: give a number from 0"),
        ({"owner": [1000]}, "owner=[1000]: give the id of an employee"),
        ({"details": [LINES]}, "details=['SalesOrderProductObj']: give a dict of detail objects"),
        ({"match": "_id"}, "match='_id' finds records that are there; say creates=False"),
        ({"creates": False, "owner": "1000"}, "owner='1000' is for new records; with creates=False there are none"),
        ({"creates": False, "specify_time": True}, "specify_time=True is for new records"),
        ({"details": {LINES: "lines"}}, "details: SalesOrderProductObj: no field goes to the path 'lines'"),
        ({"match": "product_cod"}, "match='product_cod' is no target path of the fields; did you mean 'product_code'?"),
    ],
)
def test_a_word_that_cannot_be_meant_is_a_sentence(words: dict[str, Any], told: str) -> None:
    assert told in refused(**words)


@pytest.mark.parametrize(
    ("field", "words", "told"),
    [
        (Field("_id"), {}, "field '_id': the CRM gives ids itself"),
        (Field("owner"), {"creates": False}, "field 'owner': an update cannot change the owner"),
        (Field("life_status"), {}, "field 'life_status': the CRM sets it itself; leave it out"),
        (Field("name", to="owner__r"), {}, "field 'owner__r': the CRM sets it itself"),
        (Field("capacity", to="size.m2"), {}, "field 'size.m2': a record of the CRM is flat"),
        (Field("create_time"), {}, "field 'create_time': it is the CRM's own unless the target says specify_time=True"),
        (Field("created_by"), {}, "unless the target says specify_created_by=True"),
    ],
)
def test_a_field_that_no_record_can_be_given_is_a_sentence(field: Field, words: dict[str, Any], told: str) -> None:
    assert told in refused(field, **words)


def test_rows_that_create_records_are_told_apart_as_their_records_are() -> None:
    """By another key, a code that is made anew would be voided with the record that had it before."""
    words = {"match": "name"}
    assert "the rows' id is 'product_code', and their records are told by 'name'" in refused(**words)
    declared(**words, creates=False)


def test_times_people_and_owner_of_new_records_may_be_given() -> None:
    declared(Field("create_time"), Field("created_by"), specify_time=True, specify_created_by=True)
    declared(Field("owner"))


def test_a_pipeline_does_not_create_what_it_reads() -> None:
    words = {"object": "object_warehouse__c", "match": "product_code"}
    assert "creates records of the very object that is read" in refused(**words)
    declared(**words, creates=False)
    declared(**words, connection="other")


def test_it_is_not_opened_without_the_fields_of_a_pipeline() -> None:
    with office() as crm, pytest.raises(DeclarationError, match="has no fields yet"):
        crm.send(FenxiangTarget(object=PRODUCTS, match="product_code"), [])


# Against a description


@pytest.fixture(scope="module")
def crm() -> Iterator[Office]:
    with office() as made:
        yield made


def unfit(crm: Office, *columns: Column, **words: Any) -> list[str]:
    code = Column(path="product_code", kind=Kind.TEXT, required=True)
    name = Column(path="name", kind=Kind.TEXT, required=True)
    return [str(each) for each in products((code, name, *columns), **words).unfit(crm.writer().describe(PRODUCTS))]


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (Column(path="pricee", kind=Kind.DECIMAL), "'pricee' is none of the fields of ProductObj, did you mean"),
        (Column(path="price", kind=Kind.DECIMAL, scale=4), "'price' keeps 2 decimals, not 4: use decimal(scale=2)"),
        (Column(path="price", kind=Kind.BOOLEAN), "'price' takes a number (currency), not boolean (标准价格)"),
        (Column(path="is_saleable", kind=Kind.TEXT), "'is_saleable' takes true or false; text is neither"),
        (Column(path="barcode", kind=Kind.DAY), "'barcode' takes text (text), and a moment or day is written as epoch"),
        (Column(path="data_own_department", kind=Kind.TEXT), "'data_own_department' takes a list (department)"),
    ],
)  # fmt: skip
def test_a_column_that_does_not_fit_its_field_is_a_sentence(crm: Office, column: Column, told: str) -> None:
    (said,) = unfit(crm, column)
    assert said.startswith(told)


def test_what_fits_gives_no_sentence(crm: Office) -> None:
    assert unfit(crm, Column(path="price", kind=Kind.DECIMAL, scale=2), Column(path="owner", kind=Kind.TEXT)) == []


def test_what_the_crm_makes_itself_what_it_requires_and_what_is_not_unique_is_said(crm: Office) -> None:
    names = ("ship_to_add", "field_lines_sum__c", "name", "order_time")
    columns = [Column(path=path, kind=Kind.TEXT) for path in names]
    target = products(columns, object=ORDERS, match="ship_to_add")
    found = {each.field: (each.said, each.serious) for each in target.unfit(crm.writer().describe(ORDERS))}

    assert "made by the CRM itself (count)" in found["field_lines_sum__c"][0]
    assert "made by the CRM itself (auto_number)" in found["name"][0]
    assert "takes a moment or a day (date), not text" in found["order_time"][0]
    assert found["account_id"] == ("is required for new records, and no field gives it (客户名称)", True)
    assert found["ship_to_add"][0].startswith("is not unique in the CRM (唯一性)")
    assert found["ship_to_add"][1] is False
    updates = products(columns[:1], object=ORDERS, match="ship_to_add", creates=False)
    assert [each.field for each in updates.unfit(crm.writer().describe(ORDERS))] == ["ship_to_add"]


def test_a_check_asks_for_the_description_and_tells_all_that_does_not_fit(crm: Office) -> None:
    columns = (Column(path="product_code", kind=Kind.TEXT), Column(path="pricee", kind=Kind.DECIMAL))
    with pytest.raises(SetupError, match=r"'pricee' is none.*'name' is required for new records"):
        products(columns).check(crm.reach)
    products().check(crm.reach)
    assert crm.calls("create") == 0

    lines = [Column(path=path, kind=Kind.JSON) for path in ("product_code", "name", "lines")]
    with pytest.raises(SetupError, match="details: SalesOrderProductObj is no detail object"):
        products(lines, details={LINES: "lines"}).check(crm.reach)


def test_offline_it_is_held_against_the_description_that_was_kept(crm: Office, tmp_path: Path) -> None:
    (tmp_path / "describe").mkdir()
    described = crm.simulator.tenant.definition(PRODUCTS).describe()
    (tmp_path / "describe" / f"{PRODUCTS}.json").write_text(json.dumps(described))
    fitness = Fitness(tmp_path)
    fitness.hold(declared(Field("location", to="citty", convert=text)))

    assert fitness.problems == ["pipeline product: target ProductObj: 'citty' is none of the fields of ProductObj"]


def test_a_reach_that_leads_to_no_crm_says_so() -> None:
    with office() as made:
        reach = made.reach
        alone = Reach(endpoint=reach.endpoint, session=reach.session, sleep=reach.sleep, now=reach.now)
        with pytest.raises(SetupError, match="connection 'fenxiang': no Fenxiang CRM can be reached"):
            products().check(alone)


def test_every_converter_gives_what_its_field_takes() -> None:
    pipeline = declared(
        Field("capacity", to="price", convert=decimal(scale=2)),
        Field("location", to="is_saleable", convert=boolean),
        Field("currentStock", to="count__c", convert=integer),
        Field("create_time", to="since__c", convert=instant()),
        Field("create_time", to="day__c", convert=day()),
    )
    assert isinstance(pipeline.target, FenxiangTarget)
    record = {"_id": "1", "version": "1", "last_modified_time": 1, "create_time": 1790179200000, "warehouseId": "W"}
    (row,) = pipeline.rows({**record, "name": "x", "capacity": "1.5", "location": True, "currentStock": "7"})
    content, _ = pipeline.target.content(row)
    assert content["since__c"] == content["day__c"] == 1790179200000
    assert (content["is_saleable"], content["count__c"], str(content["price"])) == (True, 7, "1.50")
