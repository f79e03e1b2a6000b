from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.source import Filter, Operator, SearchQuery
from tests.source_fixtures import client_of, simulator


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        ("normal", "normal"),
        (7, "7"),
        (True, "true"),
        (False, "false"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.10"), "0.10"),
        (datetime(2026, 9, 21, 13, 33, 20, 123999, tzinfo=UTC), "1789997600123"),
        (datetime(2026, 9, 21, 21, 33, 20, tzinfo=timezone(timedelta(hours=8))), "1789997600000"),
        (date(2026, 9, 24), "1790179200000"),
    ],
)
def test_a_value_goes_over_the_wire_as_text(value: Any, wire: str) -> None:
    assert Filter("x__c", Operator.EQ, value).wire()["field_values"] == [wire]


@pytest.mark.parametrize(
    ("operator", "values", "told"),
    [
        (Operator.EQ, [], "one value, not 0"),
        (Operator.EQ, ["a", "b"], "one value, not 2"),
        (Operator.BETWEEN, [1], "two values, not 1"),
        (Operator.IN, [], "at least one"),
        (Operator.IS, ["x"], "no value, not 1"),
        ("EQ", ["a"], "Operator.EQ"),
        (Operator.EQ, datetime(2026, 1, 1), "time zone"),  # noqa: DTZ001
        (Operator.EQ, [1.5], "1.5"),
        (Operator.EQ, [None], "None"),
    ],
)
def test_a_filter_that_cannot_be_meant_names_its_field(operator: Any, values: Any, told: str) -> None:
    with pytest.raises(DeclarationError, match=told) as raised:
        Filter("amount__c", operator, values)
    assert "amount__c" in str(raised.value)


def test_a_filter_can_be_compared_and_hashed() -> None:
    assert len({Filter("a", Operator.IN, ["x", "y"]), Filter("a", Operator.IN, ("x", "y"))}) == 1


@pytest.mark.parametrize(
    ("limit", "offset", "told"), [(0, 0, "limit"), (101, 0, "limit"), (100, 150, "offset"), (100, 10_100, "offset")]
)
def test_a_page_that_the_server_would_refuse_is_not_asked_for(limit: int, offset: int, told: str) -> None:
    with pytest.raises(DeclarationError, match=told):
        SearchQuery(object_name="AccountObj", projection=["_id"], limit=limit, offset=offset)


def test_the_body_has_the_letter_case_of_the_documentation() -> None:
    query = SearchQuery(
        object_name="AccountObj",
        projection=["_id", "name"],
        filters=[Filter("_id", Operator.GT, "65aa")],
        orders=[("_id", True)],
        limit=50,
    )
    assert query.body() == {
        "includeNull": False,
        "data": {
            "dataObjectApiName": "AccountObj",
            "find_explicit_total_num": False,
            "search_query_info": {
                "limit": 50,
                "offset": 0,
                "filters": [{"field_name": "_id", "field_values": ["65aa"], "operator": "GT"}],
                "orders": [{"fieldName": "_id", "isAsc": True}],
                "fieldProjection": ["_id", "name"],
            },
        },
    }


@pytest.mark.parametrize(
    "condition",
    [
        Filter("name", Operator.EQ, "x"),
        Filter("name", Operator.N, "x"),
        Filter("name", Operator.LIKE, "公司"),
        Filter("name", Operator.NLIKE, "公司"),
        Filter("name", Operator.STARTWITH, "上海"),
        Filter("name", Operator.ENDWITH, "公司"),
        Filter("tel", Operator.IS),
        Filter("tel", Operator.ISN),
        Filter("account_level", Operator.IN, ["1", "2"]),
        Filter("account_level", Operator.NIN, ["1"]),
        Filter("create_time", Operator.GT, 0),
        Filter("create_time", Operator.GTE, datetime(2026, 5, 1, tzinfo=UTC)),
        Filter("create_time", Operator.LT, datetime(2026, 5, 1, tzinfo=UTC)),
        Filter("create_time", Operator.LTE, datetime(2026, 5, 1, tzinfo=UTC)),
        Filter("create_time", Operator.BETWEEN, [0, datetime(2026, 5, 1, tzinfo=UTC)]),
        Filter("create_time", Operator.NBETWEEN, [0, 1]),
        Filter("field_tags__c", Operator.CONTAINS, ["key"]),
        Filter("field_tags__c", Operator.HASANYOF, ["key", "x"]),
        Filter("field_tags__c", Operator.NHASANYOF, ["key"]),
    ],
    ids=lambda condition: str(condition.operator),
)
def test_the_server_takes_every_operator(condition: Filter) -> None:
    with simulator() as server:
        page = client_of(server).query(
            SearchQuery(object_name="AccountObj", projection=["_id"], filters=[condition], count=True)
        )
    assert page.total is not None


def test_every_operator_is_in_the_test_above() -> None:
    tried = test_the_server_takes_every_operator.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {condition.operator for condition in tried} == set(Operator)
