"""Conditions keep records as Qeasy's condition[][] does: one list must hold, with everything in it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from fenxiang_sync.condition import Condition, Logic, keeper
from fenxiang_sync.errors import RecordError

RECORD = {
    "life_status": "normal",
    "amount": "100.50",
    "level": ["A"],
    "tags": ["x", "y"],
    "vip": True,
    "name": "上海仓库",
    "last_modified_time": 1_696_161_600_000,
    "empty": "",
}


@pytest.mark.parametrize(
    ("field", "logic", "value", "kept"),
    [
        ("life_status", Logic.EQ, "normal", True),
        ("life_status", Logic.NEQ, "normal", False),
        ("amount", Logic.GT, 100, True),
        ("amount", Logic.GT, Decimal("100.50"), False),
        ("amount", Logic.EGT, Decimal("100.5"), True),
        ("amount", Logic.LT, 9, False),
        ("amount", Logic.ELT, 101, True),
        ("amount", Logic.BETWEEN, (100, 101), True),
        ("amount", Logic.BETWEEN, (101, 500), False),
        ("level", Logic.IN, ["A", "B"], True),
        ("level", Logic.IN, ["B"], False),
        ("vip", Logic.EQ, True, True),
        ("vip", Logic.EQ, False, False),
        ("name", Logic.LIKE, "仓", True),
        ("name", Logic.NOTLIKE, "仓", False),
        ("last_modified_time", Logic.EGT, datetime(2023, 10, 1, 12, tzinfo=UTC), True),
        ("last_modified_time", Logic.GT, datetime(2023, 10, 1, 12, tzinfo=UTC), False),
        ("name", Logic.NOTNULL, None, True),
        ("empty", Logic.NOTNULL, None, False),
        ("absent", Logic.ISNULL, None, True),
        ("absent", Logic.NEQ, "x", True),
        ("absent", Logic.EQ, "x", False),
        ("absent", Logic.NOTLIKE, "x", True),
        ("absent", Logic.GT, 0, False),
    ],
)
def test_a_condition_compares_by_the_kind_of_its_value(field: str, logic: Logic, value: Any, kept: bool) -> None:
    condition = Condition(field, logic, value)
    assert list(condition.problems()) == []
    assert keeper([[condition]])(RECORD) is kept


def test_lists_are_or_and_their_conditions_and() -> None:
    yes, no = Condition("vip", Logic.EQ, True), Condition("vip", Logic.EQ, False)
    assert keeper([[yes, no], [yes]])(RECORD)
    assert not keeper([[yes, no], [no]])(RECORD)
    assert keeper([])(RECORD)


def test_a_value_that_cannot_be_compared_is_an_error_that_names_it() -> None:
    with pytest.raises(RecordError, match="condition on name: '上海仓库' is no number to compare with 5"):
        keeper([[Condition("name", Logic.GT, 5)]])(RECORD)


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        (Condition("a.b", Logic.EQ, "x"), "name one field"),
        (Condition("a", "equals", "x"), "'equals' is no Logic"),  # type: ignore[arg-type]
        (Condition("a", Logic.BETWEEN, 5), "takes a pair"),
        (Condition("a", Logic.IN, "abc"), "takes a list"),
        (Condition("a", Logic.NOTNULL, 1), "takes no value"),
        (Condition("a", Logic.GT, datetime(2026, 1, 1)), "no time zone"),  # noqa: DTZ001
        (Condition("a", Logic.GT, 1.5), "is no text, int, Decimal"),
        (Condition("a", Logic.EQ), "None is no text"),
    ],
)
def test_a_condition_that_cannot_be_meant_says_so(condition: Condition, problem: str) -> None:
    assert problem in " ".join(condition.problems())
