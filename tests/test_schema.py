"""Schema: a declaration is held against the description of its object, and what does not fit is a sentence."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from fenxiang_simulator import catalog
from fenxiang_sync import (
    Computed,
    Condition,
    Details,
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
    as_is,
    boolean,
    choice,
    day,
    decimal,
    first,
    instant,
    integer,
    label,
    text,
)
from fenxiang_sync.schema import Finding, findings, of_lines, parents
from fenxiang_sync.source.description import ObjectDescription
from fenxiang_sync.source.query import SearchQuery
from tests.source_fixtures import client_of, simulator

LIFE_STATUS = ["ineffective", "under_review", "normal", "in_change", "invalid"]


ACCOUNT = ObjectDescription.read(catalog.demo()["AccountObj"].describe())


def found(*fields: Any, filters: Any = (), conditions: Any = ()) -> list[Finding]:
    account = Pipeline(
        name="account",
        source=Source(object="AccountObj", filters=filters),
        fields=[Field("_id", convert=text), *fields],
        target=HubTarget(),
        conditions=conditions,
    )
    return list(findings(account, ACCOUNT))


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (Field("acount_no"), "is none of its fields, did you mean 'account_no'?"),
        (
            Field("field_credit_limit__c", convert=integer),
            "has 2 decimals, which integer rejects; use decimal(scale=2)",
        ),
        (Field("field_credit_limit__c", convert=decimal(scale=1)), "which decimal(scale=1) rejects"),
        (Field("field_credit_limit__c", convert=instant()), "is currency, no moment and no day"),
        (Field("name", convert=boolean), "is text, not true or false"),
        (Field("name", convert=integer), "is text, no number"),
        (Field("name", convert=day()), "is text, no moment and no day"),
        (Field("name", convert=label), "has no label (text); map the value itself"),
        (Field("owner", convert=text), "is a list (employee), which text rejects; use first(text)"),
        (Field("field_tags__c", convert=text), "is a list (select_many)"),
        (Field("life_status", convert=choice([*LIFE_STATUS, "作废"])), "'作废' is a label, its option is 'invalid'"),
        (Field("life_status", convert=choice([*LIFE_STATUS, "normall"])), "did you mean 'normal'?"),
        (Field("life_status", convert=choice(LIFE_STATUS[:4])), "may be 'invalid' (作废), which choice("),
    ],
)
def test_a_field_that_does_not_fit_is_told_with_the_way_out(field: Field, said: str) -> None:
    (one,) = found(field)
    assert one.serious
    assert one.field == field.source
    assert said in one.said


@pytest.mark.parametrize("convert", [text, as_is])
def test_a_field_whose_changes_carry_no_stamp_is_told_and_no_mistake(convert: Callable[[Any], Any]) -> None:
    (one,) = found(Field("field_credit_left__c", convert=convert))
    assert not one.serious
    assert "only a deep reconcile finds it" in one.said


def test_names_of_others_are_told_once_since_their_changes_carry_no_stamp() -> None:
    (one,) = found(
        Field("owner", "owner_name", convert=label),
        Field("account_level", "level", convert=label),
        Field("parent_account_id__r", "parent"),
        Computed(max, "n", reads=["owner__r.name", "created_by__r"]),
    )
    assert (one.field, one.serious) == ("owner__r", False)
    assert "only a deep reconcile finds it (so are parent_account_id__r, created_by__r)" in one.said


def test_filters_and_conditions_are_held_against_options_and_moments() -> None:
    """Once 57 voided rows came into a target, since somebody filtered by the label."""
    said = [
        str(each)
        for each in found(
            filters=[Filter("life_status", Operator.N, "作废"), Filter("create_time", Operator.GTE, 1696161600)],
            conditions=[
                [Condition("last_deal_closed_time", Logic.GT, 1696161600)],
                [Condition("nname", Logic.NOTNULL)],
            ],
        )
    ]
    assert len(said) == 4
    assert "'nname': is none of its fields, did you mean 'name'?" in said
    assert any("compared with '作废', which is none of its options; '作废' is a label" in each for each in said)
    assert sum("looks like epoch seconds; Fenxiang has milliseconds: 1696161600000" in each for each in said) == 2


def test_what_fits_is_not_told() -> None:
    assert not found(
        Field("name", convert=text, required=True),
        Field("life_status", "status", convert=choice(LIFE_STATUS)),
        Field("life_status", "status_label", convert=label),
        Field("owner", convert=first(text)),
        Field("field_credit_limit__c", convert=decimal(scale=2)),
        Field("field_registered_on__c", convert=day()),
        Field("field_vip__c", convert=boolean),
        Field("create_time", convert=instant("Asia/Shanghai")),
        filters=[Filter("life_status", Operator.IN, ["normal", "in_change"])],
        conditions=[[Condition("create_time", Logic.BETWEEN, (datetime(2026, 1, 1, tzinfo=UTC),) * 2)]],
    )


VIP = Condition("field_vip__c", Logic.EQ, True)


@pytest.mark.parametrize(
    ("conditions", "filters"),
    [
        ([[VIP]], ["Filter('field_vip__c', Operator.EQ, True)"]),
        ([[Condition("name", Logic.NEQ, "x"), VIP]], ["Filter('name', Operator.N, 'x')", "Operator.EQ, True"]),
        ([[Condition("field_credit_limit__c", Logic.EGT, 5)]], ["Operator.GTE, 5)"]),
        ([[Condition("name", Logic.ISNULL)]], ["Filter('name', Operator.IS)"]),
        ([[VIP], [Condition("name", Logic.ISNULL)]], []),
        ([[Condition("name", Logic.LIKE, "x")]], []),
        ([[Condition("name", Logic.GT, "x")]], []),
        ([[Condition("owner", Logic.EQ, "x")]], []),
        ([[Condition("field_credit_limit__c", Logic.EQ, "100")]], []),
        ([[Condition("name", Logic.EQ, 7)]], []),
        ([[Condition("field_vip__c", Logic.IN, ["true"])]], []),
        ([[Condition("last_modified_time", Logic.GT, datetime(2026, 1, 1, tzinfo=UTC))]], []),
        ([[Condition("_id", Logic.NEQ, "x")]], []),
    ],
)
def test_a_condition_that_means_the_same_to_fenxiang_is_told_to_be_a_filter_too(
    conditions: Any, filters: list[str]
) -> None:
    told = [each for each in found(conditions=conditions) if "Filter(" in each.said]
    assert len(told) == len(filters)
    assert all(said in each.said for each, said in zip(told, filters, strict=True))
    assert not any(each.serious for each in told)


FIELDS = ("name", "account_level", "field_vip__c", "field_credit_limit__c", "field_registered_on__c", "version")


def readings(value: Any) -> Iterator[Any]:
    """Whatever somebody may take a value for who writes a condition."""
    yield value
    yield str(value)
    if isinstance(value, str) and value.replace(".", "").isdecimal():
        yield Decimal(value).normalize()
    if isinstance(value, int) and value > 10**9:
        yield datetime.fromtimestamp(value / 1000, UTC)


def test_a_filter_that_is_told_leaves_exactly_the_records_that_the_condition_keeps() -> None:
    odd: dict[str, list[Any]] = {"name": [" a", "07", "7", "A", "a", "Ａ"]}
    odd["field_credit_limit__c"] = ["0.00", "7.00", "7.50", "-7.00"]
    odd["field_registered_on__c"] = [0, -86_400_000, 86_400_000]
    with simulator({"AccountObj": 40}, visibility_lag_ms=0) as server:
        ids = list(server.tenant.records("AccountObj"))
        for name, values in odd.items():
            for at, value in enumerate(values):
                server.tenant.update("AccountObj", ids[at], {name: value})
        records = server.tenant.records("AccountObj")
        client, tried = client_of(server), 0
        for name in FIELDS:
            values = {record.get(name) for record in records.values()} - {None, ""}
            some = [each for value in sorted(values, key=str)[:3] for each in readings(value)]
            conditions = [Condition(name, logic, value) for logic in PLAIN for value in some]
            conditions += [Condition(name, Logic.IN, [some[0], some[-1]])] if some else []
            for condition in (*conditions, Condition(name, Logic.NOTNULL), Condition(name, Logic.ISNULL)):
                if list(condition.problems()):
                    continue
                for told in (each for each in found(conditions=[[condition]]) if "Filter(" in each.said):
                    said = told.said.partition("filters=[")[2].rpartition("]) saves")[0]
                    kept = {each for each, record in records.items() if condition.compile()(record)}
                    query = SearchQuery(object_name="AccountObj", projection=["_id"], filters=[filter_of(said)])
                    assert {each["_id"] for each in client.query(query).records} == kept, condition
                    tried += 1
        assert tried > 50


PLAIN = (Logic.EQ, Logic.NEQ, Logic.GT, Logic.EGT, Logic.LT, Logic.ELT)


def filter_of(said: str) -> Filter:
    """The filter as a person copies it."""
    names = {"Filter": Filter, "Operator": Operator, "Decimal": Decimal, "datetime": dt, "True": True, "False": False}
    made = eval(said, {"__builtins__": {}}, names)
    assert isinstance(made, Filter)
    return made


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (Condition("field_credit_limit__c", Logic.EQ, "100"), "is currency, and is compared as text with '100'"),
        (Condition("field_credit_limit__c", Logic.IN, ["100"]), "give a number"),
        (Condition("create_time", Logic.GT, "2026-01-01"), "give an aware datetime"),
        (Condition("field_vip__c", Logic.EQ, "1"), "give True or False"),
        (Condition("field_vip__c", Logic.EQ, 1), "give True or False"),
        (Condition("name", Logic.EQ, True), "is text, and is compared with True; every other text is a dead letter"),
    ],
)
def test_a_condition_of_another_kind_than_its_field_is_a_mistake(condition: Condition, said: str) -> None:
    (one,) = found(conditions=[[condition]])
    assert one.serious
    assert said in one.said


@pytest.mark.parametrize(
    "entry",
    [
        Computed(max, "a", reads=["name", "acount_no"]),
        Lookup("a", pipeline="p", find="x", where={"_id": "acount_no"}),
        Lines("acount_no", "a", fields=[Field("x")]),
    ],
)
def test_what_a_function_a_look_up_or_a_list_reads_is_held_against_the_object_too(entry: Any) -> None:
    assert any("did you mean 'account_no'?" in each.said and each.serious for each in found(entry))


@pytest.mark.parametrize("exploded", [False, True])
def test_lines_are_held_against_the_detail_object(exploded: bool) -> None:
    name = "SalesOrderProductObj"
    wrong = [Field("sales_price", "price", convert=integer), Field("life_status", "s", convert=choice(["normal"]))]
    fine = [Field("quantity", "n", convert=decimal()), Field("order_id", "order", convert=text)]
    lines: list[Any] = [Field(f"{name}.{each.source}", each.target, convert=each.convert) for each in (*wrong, *fine)]
    order = Pipeline(
        name="order",
        source=Source(
            object="SalesOrderObj",
            details=[Details(name, by="order_id", filters=[Filter("life_status", Operator.N, "作废")])],
        ),
        fields=[Field("_id"), *(lines if exploded else [Lines(name, "lines", fields=[*wrong, *fine])])],
        explode=Explode(name) if exploded else None,
        target=HubTarget(),
    )
    described = ObjectDescription.read(catalog.demo()[name].describe())
    told = list(of_lines(order, order.source.details[0], described))
    assert [each.field.removeprefix(f"{name}.") for each in told] == ["sales_price", "life_status", "life_status"]
    assert all(each.serious for each in told)
    assert "decimals, which integer rejects" in told[0].said
    assert "which is none of its options; '作废' is a label" in told[2].said


def test_a_field_that_was_switched_off_is_told() -> None:
    described = catalog.demo()["AccountObj"].describe()
    described["fields"]["tel"]["is_active"] = False
    account = Pipeline(
        name="account", source=Source(object="AccountObj"), fields=[Field("_id"), Field("tel")], target=HubTarget()
    )
    (one,) = findings(account, ObjectDescription.read(described))
    assert "is switched off in the CRM" in one.said


@pytest.mark.parametrize(
    ("words", "says", "serious"),
    [
        ({}, "", False),
        ({"find": "address.city"}, "", False),
        ({"find": "address"}, "", False),
        ({"find": "@number", "where": {"@id": "account_id", "address.city": "name"}}, "", False),
        ({"find": "acount_no"}, "'acount_no' is no path of the rows of pipeline 'customer', did you mean", True),
        ({"where": {"address": "account_id"}}, "'address' is no path of the rows", True),
        ({"pipeline": "custommer"}, "of which there is no DAG file here; did you mean 'customer'?", True),
        ({"pipeline": "erp"}, "of which there is no DAG file here", False),
        ({"pipeline": "contact", "find": "_id"}, "records that are read together do not find one another", False),
        ({"pipeline": "contact", "find": "_id", "required": True}, "", False),
    ],
)
def test_what_is_looked_up_is_held_against_the_rows_of_the_pipeline_it_names(
    words: dict[str, Any], says: str, serious: bool
) -> None:
    def made(name: str, *fields: Any) -> Pipeline:
        return Pipeline(
            name=name, source=Source(object="AccountObj"), fields=[Field("_id"), *fields], target=HubTarget()
        )

    customer = made("customer", Field("account_no"), Field("city", "address.city"))
    given = {"pipeline": "customer", "find": "account_no", "where": {"_id": "account_id"}, **words}
    child = made("contact", Lookup("no", **given))
    told = list(parents(child, {"customer": customer, "contact": child}))
    assert [(each.serious, says in each.said) for each in told] == ([(serious, True)] if says else [])
