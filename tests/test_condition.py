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


@pytest.mark.parametrize(
    ("found", "logic", "value", "says"),
    [
        ("上海仓库", Logic.GT, 5, "condition on found: '上海仓库' is no number to compare with 5"),
        ("NaN", Logic.GT, 5, "'NaN' is no number"),
        ("sNaN", Logic.EQ, 5, "'sNaN' is no number"),
        (Decimal("NaN"), Logic.LT, 5, "is no number"),
        ("Infinity", Logic.GT, 5, "'Infinity' is no number"),
        ("1_0", Logic.GT, 5, "'1_0' is no number"),
        (True, Logic.EQ, 1, "True is no number"),
        ("9" * 5_000, Logic.GT, 5, "is no number"),
        ("yes", Logic.EQ, False, "'yes' is neither true nor false"),
        (1, Logic.EQ, True, "1 is neither true nor false"),
        ({"id": "x"}, Logic.EQ, "x", "is no text"),
        ({"id": "x"}, Logic.LIKE, "x", "is no text"),
        ([{"id": "x"}], Logic.IN, ["x"], "is no text"),
        ("tomorrow", Logic.GT, datetime(2026, 1, 1, tzinfo=UTC), "'tomorrow' is no moment"),
        ("2026-01-02T00:00:00", Logic.GT, datetime(2026, 1, 1, tzinfo=UTC), "is no moment"),
    ],
)
def test_a_value_that_cannot_be_compared_is_an_error_that_names_it(
    found: Any, logic: Logic, value: Any, says: str
) -> None:
    with pytest.raises(RecordError, match=says) as error:
        keeper([[Condition("found", logic, value)]])({"found": found})
    assert error.value.field == "found"
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("found", "logic", "value", "kept"),
    [
        (["x", "y"], Logic.EQ, "x", True),
        (["x", "y"], Logic.EQ, "z", False),
        (["x", "y"], Logic.NEQ, "x", False),
        (["x", "y"], Logic.NEQ, "z", True),
        (["x", "y"], Logic.IN, ["y", "z"], True),
        (["x", "y"], Logic.LIKE, "y", True),
        (["x", "y"], Logic.LIKE, "', '", False),
        (["x", "y"], Logic.NOTLIKE, "y", False),
        ([3, "12"], Logic.GT, 10, True),
        ([3, "12"], Logic.BETWEEN, (4, 10), False),
        ([None, ""], Logic.EQ, "None", False),
        ([None, ""], Logic.NOTNULL, None, False),
        ([None, ""], Logic.ISNULL, None, True),
        ({}, Logic.NOTNULL, None, False),
        ({}, Logic.NEQ, "x", True),
        (False, Logic.EQ, "false", True),
        (True, Logic.IN, ["true"], True),
        (100, Logic.EQ, "100", True),
        ("x5", Logic.LIKE, 5, True),
        (0, Logic.EQ, 0, True),
        (0, Logic.NOTNULL, None, True),
        ("2026-01-01T08:00:00+08:00", Logic.EQ, datetime(2026, 1, 1, tzinfo=UTC), True),
        (-86_400_000, Logic.LT, datetime(1970, 1, 1, tzinfo=UTC), True),
        ("1e3", Logic.EQ, 1000, True),
    ],
)
def test_one_member_of_a_list_is_enough_and_what_is_empty_is_null(
    found: Any, logic: Logic, value: Any, kept: bool
) -> None:
    condition = Condition("found", logic, value)
    assert list(condition.problems()) == []
    assert keeper([[condition]])({"found": found}) is kept


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        (Condition("a.b", Logic.EQ, "x"), "name one field"),
        (Condition("客户", Logic.EQ, "x"), "labels are no names"),
        (Condition(" a", Logic.EQ, "x"), "a space at an edge"),
        (Condition("total_num", Logic.EQ, 1), "is put into pages by Fenxiang"),
        (Condition("a", Logic.IN, b"ab"), "takes a list of values"),
        (Condition("a", "equals", "x"), "'equals' is no Logic"),  # type: ignore[arg-type]
        (Condition("a", Logic.BETWEEN, 5), "takes a pair"),
        (Condition("a", Logic.IN, "abc"), "takes a list"),
        (Condition("a", Logic.NOTNULL, 1), "takes no value"),
        (Condition("a", Logic.GT, datetime(2026, 1, 1)), "no time zone"),  # noqa: DTZ001
        (Condition("a", Logic.GT, 1.5), "is no text, int, Decimal"),
        (Condition("a", Logic.EQ), "None is no text"),
        (Condition("a", Logic.IN, []), "takes a list of values, at least one"),
        (Condition("a", Logic.IN, [1, "x"]), "takes values of one kind, not a number and text"),
        (Condition("a", Logic.BETWEEN, (1, "5")), "takes values of one kind"),
        (Condition("a", Logic.IN, [True, 1]), "takes values of one kind"),
        (Condition("a", Logic.BETWEEN, "ab"), "takes a pair"),
        (Condition("a", Logic.BETWEEN, (9, 1)), "the first is greater than the second, so nothing is between them"),
        (Condition("a", Logic.GT, True), "true and false have no order"),
        (Condition("a", Logic.GT, Decimal("NaN")), "NaN is no number"),
        (Condition("a", Logic.LIKE, datetime(2026, 1, 1, tzinfo=UTC)), "takes text"),
        (Condition("a", Logic.EQ, ""), "empty text is null; write Logic.ISNULL"),
        (Condition("a", Logic.NEQ, ""), "empty text is null; write Logic.NOTNULL"),
        (Condition("a", Logic.IN, ["", "x"]), "empty text is null; write a list of its own with Logic.ISNULL"),
    ],
)
def test_a_condition_that_cannot_be_meant_says_so(condition: Condition, problem: str) -> None:
    assert problem in " ".join(condition.problems())
