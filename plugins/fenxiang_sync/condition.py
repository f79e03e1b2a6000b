"""Condition: which records are kept; the others are counted as filtered, with nothing written to the target.

A list of conditions holds when all of them do (AND); a pipeline's ``conditions`` are lists of which one must hold (OR),
as in Qeasy's ``condition[][]`` (过滤条件)::

    conditions=[
        [Condition("life_status", Logic.EQ, "normal"), Condition("amount", Logic.EGT, 1000)],
        [Condition("vip__c", Logic.EQ, True)],
    ]

Where a record is exploded into lines, a condition may be on one of their fields, ``details_list.amount``: it keeps the
lines that it holds for, or with ``strict=True`` (Qeasy's strictMode) drops the whole record where one line fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Record
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from fenxiang_sync.errors import RecordError
from fenxiang_sync.explode import Line
from fenxiang_sync.window import to_ms

Keeps = Callable[[Record[str, Any]], bool]
KeepsLines = Callable[[Record[str, Any], Sequence[Line]], list[Line]]


class Logic(StrEnum):
    """How a record's value is compared, by Qeasy's names. A null holds only for ISNULL, NEQ and NOTLIKE."""

    EQ = "eq"
    NEQ = "neq"
    GT = "gt"
    EGT = "egt"
    LT = "lt"
    ELT = "elt"
    LIKE = "like"
    NOTLIKE = "notlike"
    BETWEEN = "between"
    IN = "in"
    NOTNULL = "notnull"
    ISNULL = "isnull"


_ORDER: dict[Logic, Callable[[Any, Any], bool]] = {
    Logic.GT: lambda found, value: bool(found > value),
    Logic.EGT: lambda found, value: bool(found >= value),
    Logic.LT: lambda found, value: bool(found < value),
    Logic.ELT: lambda found, value: bool(found <= value),
}


@dataclass(frozen=True)
class Condition:
    """One comparison of a top-level field, or of a line's (``details_list.goods``) where records are exploded.

    `value` is text, a number (``int`` or ``Decimal``), a bool, or an aware ``datetime`` for instants; a list of them
    for IN, a pair for BETWEEN (both ends count), nothing for NOTNULL and ISNULL. The record's value is read as the
    same kind; raises `RecordError` where it cannot be. `strict` (on a line's field): it must hold for every line, else
    the record gives no row.
    """

    field: str
    logic: Logic
    value: Any = None
    strict: bool = False

    def problems(self, exploded: str | None = None) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence; `exploded` is the list that becomes lines."""
        field: Any = self.field
        logic: Any = self.logic
        top, dot, rest = field.partition(".") if isinstance(field, str) else ("", "", "")
        if not top or (dot and (exploded is None or top != exploded or not rest or "." in rest)):
            lines = f", or of a line as '{exploded}.…'" if exploded else ""
            yield f"condition on {field!r}: name one field of the record{lines}"
        elif not isinstance(self.strict, bool):
            yield f"condition on {field!r}: strict={self.strict!r}; give True or False"
        elif self.strict and not dot:
            yield f"condition on {field!r}: strict is about lines; a record is dropped anyway where it fails"
        if not isinstance(logic, Logic):
            yield f"condition on {field!r}: {logic!r} is no Logic; choose one, for example Logic.EQ"
            return
        yield from (f"condition {self}: {problem}" for problem in self._value_problems())

    def _value_problems(self) -> Iterator[str]:
        if self.logic in (Logic.NOTNULL, Logic.ISNULL):
            if self.value is not None:
                yield "takes no value"
            return
        if self.logic is Logic.BETWEEN and not (isinstance(self.value, Sequence) and len(self.value) == 2):
            yield "takes a pair, for example (100, 500)"
            return
        if self.logic is Logic.IN and (isinstance(self.value, str) or not isinstance(self.value, Sequence)):
            yield "takes a list of values"
            return
        for value in self._values():
            if isinstance(value, datetime) and value.tzinfo is None:
                yield f"{value} has no time zone; give an aware datetime"
            elif not isinstance(value, str | int | Decimal | datetime):
                yield f"{value!r} is no text, int, Decimal, bool or datetime"

    def _values(self) -> Sequence[Any]:
        return list(self.value) if self.logic in (Logic.BETWEEN, Logic.IN) else [self.value]

    def compile(self) -> Keeps:
        """A function from a record to whether the condition holds."""
        wanted = [_comparable(value) for value in self._values()]
        holds = _holds(self.logic, wanted)
        null_holds = self.logic in (Logic.ISNULL, Logic.NEQ, Logic.NOTLIKE)
        name = self.field.rpartition(".")[2]

        def keeps(record: Record[str, Any]) -> bool:
            found = record.get(name)
            if found is None or found in ("", []):
                return null_holds
            return holds(_read_as(found, wanted[0], name))

        return keeps

    def __str__(self) -> str:
        value = "" if self.value is None else f" {self.value}"
        return f"{self.field} {self.logic.value}{value}{' on every line' if self.strict else ''}"


def keeper(conditions: Sequence[Sequence[Condition]]) -> Keeps:
    """A function from a record to whether it is kept: any of the lists, all of its conditions; no lists keep all."""
    compiled = [[condition.compile() for condition in each] for each in conditions]
    if not compiled:
        return lambda _record: True
    return lambda record: any(all(holds(record) for holds in each) for each in compiled)


def line_keeper(conditions: Sequence[Sequence[Condition]]) -> KeepsLines:
    """A function from a record and its lines to the lines that are kept."""
    compiled = [[(condition, condition.compile()) for condition in each] for each in conditions]
    if not compiled:
        return lambda _record, lines: list(lines)

    def holds(condition: Condition, keeps: Keeps, record: Record[str, Any], line: Line, lines: Sequence[Line]) -> bool:
        if condition.strict:
            return all(keeps(each.values) for each in lines)
        return keeps(line.values if "." in condition.field else record)

    return lambda record, lines: [
        line
        for line in lines
        if any(all(holds(condition, keeps, record, line, lines) for condition, keeps in each) for each in compiled)
    ]


def _holds(logic: Logic, wanted: list[Any]) -> Callable[[Any], bool]:
    value = wanted[0]
    if logic in _ORDER:
        compare = _ORDER[logic]
        return lambda found: compare(found, value)
    if logic is Logic.BETWEEN:
        return lambda found: bool(value <= found <= wanted[1])
    return {
        Logic.EQ: lambda found: bool(found == value),
        Logic.NEQ: lambda found: bool(found != value),
        Logic.LIKE: lambda found: str(value) in str(found),
        Logic.NOTLIKE: lambda found: str(value) not in str(found),
        Logic.IN: lambda found: found in wanted,
        Logic.NOTNULL: lambda _found: True,
        Logic.ISNULL: lambda _found: False,
    }[logic]


def _comparable(value: Any) -> Any:
    if isinstance(value, datetime):
        return Decimal(to_ms(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return value


def _read_as(found: Any, wanted: Any, name: str) -> Any:
    """The record's value as the kind that it is compared with."""
    if wanted is None:
        return found
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(wanted, Decimal):
        try:
            return Decimal(str(found))
        except InvalidOperation:
            message = f"condition on {name}: {found!r} is no number to compare with {wanted}"
            raise RecordError(message, field=name, value=found) from None
    if isinstance(wanted, bool):
        return found if isinstance(found, bool) else str(found).lower() == "true"
    return found if isinstance(found, str) else str(found)
