"""Matching: one filter becomes a predicate over stored records, by the operators of data/query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from fenxiang_simulator import directory
from fenxiang_simulator.catalog import EMPLOYEE_TYPES, FieldDef
from fenxiang_simulator.envelope import ApiError
from fenxiang_simulator.search import Filter

Predicate = Callable[[dict[str, Any]], bool]
Reader = Callable[[Any], Any]

NUMERIC_TYPES = frozenset({"number", "currency", "percentile", "date", "date_time", "time", "formula", "count"})
OPERATORS = frozenset(
    {
        *("EQ", "N", "GT", "GTE", "LT", "LTE", "LIKE", "NLIKE", "IS", "ISN", "IN", "NIN", "BETWEEN", "NBETWEEN"),
        *("STARTWITH", "ENDWITH", "CONTAINS", "HASANYOF", "NHASANYOF"),
    }
)
NEGATIONS = {
    "N": "EQ", "NLIKE": "LIKE", "ISN": "IS", "NIN": "IN", "NBETWEEN": "BETWEEN", "NHASANYOF": "HASANYOF",
}  # fmt: skip
"""Each negation is the opposite of its operator, hence matches empty values too (documented for N)."""
_COUNTS = {
    "EQ": 1, "GT": 1, "GTE": 1, "LT": 1, "LTE": 1, "LIKE": 1, "STARTWITH": 1, "ENDWITH": 1, "BETWEEN": 2,
}  # fmt: skip


def predicate(each: FieldDef, wanted: Filter, *, between_inclusive: bool, shorter_first: bool = False) -> Predicate:
    """`wanted` as a test of a stored record. ApiError where its values do not fit the operator or the field's type.

    `shorter_first` is the collation of GT, GTE, LT, LTE and BETWEEN on ids that puts every shorter id first.
    """
    operator = NEGATIONS.get(wanted.operator, wanted.operator)
    if operator in _COUNTS and len(wanted.values) != _COUNTS[operator]:
        raise ApiError(
            32000, "参数错误", f"{wanted.operator} 的 field_values 个数必须为{_COUNTS[operator]}: {wanted.field}"
        )
    if shorter_first and each.name == "_id":
        read: Reader = _shorter_first
    else:
        read = reader(each)
    try:
        values = [] if operator == "IS" else [read(value) for value in wanted.values]
    except (InvalidOperation, ValueError, TypeError):
        raise ApiError(500, "调用接口返回500错误", f"field_values 与字段类型不符: {wanted.field}") from None
    positive = _positive(each.name, operator, values, read, between_inclusive)
    if wanted.operator in NEGATIONS:
        return lambda record: not positive(record)
    return positive


def reader(each: FieldDef) -> Reader:
    """How a value of this field (stored, or of a filter) is made comparable."""
    if each.type in NUMERIC_TYPES or each.name == "version":
        return _number
    if each.type == "true_or_false":
        return _boolean
    if each.type in EMPLOYEE_TYPES:
        return lambda value: directory.employee_id(str(value)) or str(value)
    return str


def _number(value: Any) -> Decimal | int:
    if isinstance(value, bool):
        raise TypeError(value)
    return value if isinstance(value, int) else Decimal(str(value))


def _boolean(value: Any) -> bool:
    return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value).lower(), False)


def _shorter_first(value: Any) -> tuple[int, str]:
    return len(str(value)), str(value)


def _positive(name: str, operator: str, values: Sequence[Any], read: Reader, inclusive: bool) -> Predicate:
    if operator == "IS":
        return lambda record: record.get(name) in (None, "", [])
    tests: dict[str, Callable[[Any], bool]] = {
        "EQ": lambda value: value == values[0],
        "GT": lambda value: value > values[0],
        "GTE": lambda value: value >= values[0],
        "LT": lambda value: value < values[0],
        "LTE": lambda value: value <= values[0],
        "LIKE": lambda value: str(values[0]) in str(value),
        "STARTWITH": lambda value: str(value).startswith(str(values[0])),
        "ENDWITH": lambda value: str(value).endswith(str(values[0])),
        "IN": lambda value: value in values,
        "HASANYOF": lambda value: value in values,
        "BETWEEN": lambda value: values[0] <= value <= values[1] if inclusive else values[0] <= value < values[1],
    }
    if operator == "CONTAINS":
        return _contains(name, values, read)
    test = tests[operator]

    def matches(record: dict[str, Any]) -> bool:
        value = record.get(name)
        if value is None:
            return False
        if isinstance(value, list):
            return any(test(read(item)) for item in value)
        return test(read(value))

    return matches


def _contains(name: str, values: Sequence[Any], read: Reader) -> Predicate:
    def matches(record: dict[str, Any]) -> bool:
        value = record.get(name)
        if isinstance(value, list):
            held = [read(item) for item in value]
            return all(item in held for item in values)
        return value is not None and all(str(item) in str(value) for item in values)

    return matches
