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
from decimal import Decimal
from enum import StrEnum
from typing import Any

from fenxiang_sync.convert import decimal, epoch_ms, is_null, text
from fenxiang_sync.errors import RecordError
from fenxiang_sync.explode import Line
from fenxiang_sync.paths import bounded, shown, source_problems
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


_NULL_HOLDS = (Logic.ISNULL, Logic.NEQ, Logic.NOTLIKE)
_OPPOSITES = {Logic.NEQ: Logic.EQ, Logic.NOTLIKE: Logic.LIKE}
_ALIKE = (Logic.LIKE, Logic.NOTLIKE)


@dataclass(frozen=True)
class Condition:
    """One comparison of a top-level field, or of a line's (``details_list.goods``) where records are exploded.

    `value` is text, a number (``int`` or ``Decimal``), a bool, or an aware ``datetime`` for instants; a list of them
    for IN, a pair for BETWEEN (both ends count), nothing for NOTNULL and ISNULL. The record's value is read as the
    same kind; raises `RecordError` where it cannot be. Of a list one member must fit, and none may for NEQ and NOTLIKE.
    `strict` (on a line's field): it must hold for every line, else the record gives no row.
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
        elif found := list(source_problems(field, "condition on")):
            yield from found
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
        several = isinstance(self.value, Sequence) and not isinstance(self.value, str | bytes)
        if self.logic is Logic.BETWEEN and not (several and len(self.value) == 2):
            yield "takes a pair, for example (100, 500)"
        elif self.logic is Logic.IN and not (several and self.value):
            yield "takes a list of values, at least one"
        elif found := [problem for value in self._values() for problem in self._problems_of(value)]:
            yield from found
        elif len(kinds := list(dict.fromkeys(_kind(value) for value in self._values()))) > 1:
            yield f"takes values of one kind, not {kinds[0]} and {kinds[1]}"
        elif self.logic is Logic.BETWEEN and _comparable(self.value[0]) > _comparable(self.value[1]):
            yield "the first is greater than the second, so nothing is between them"

    def _problems_of(self, value: Any) -> Iterator[str]:
        if isinstance(value, datetime) and value.tzinfo is None:
            yield f"{value} has no time zone; give an aware datetime"
        elif not isinstance(value, str | int | Decimal | datetime):
            yield f"{value!r} is no text, int, Decimal, bool or datetime"
        elif isinstance(value, Decimal) and not value.is_finite():
            yield f"{value} is no number"
        elif value == "":
            instead = {Logic.EQ: "Logic.ISNULL", Logic.NEQ: "Logic.NOTNULL"}
            yield f"empty text is null; write {instead.get(self.logic, 'a list of its own with Logic.ISNULL')}"
        elif isinstance(value, bool) and (self.logic in _ORDER or self.logic is Logic.BETWEEN):
            yield "true and false have no order"
        elif isinstance(value, datetime) and self.logic in _ALIKE:
            yield "takes text"

    def _values(self) -> Sequence[Any]:
        return list(self.value) if self.logic in (Logic.BETWEEN, Logic.IN) else [self.value]

    def compile(self) -> Keeps:
        """A function from a record to whether the condition holds."""
        name, null_holds = self.field.rpartition(".")[2], self.logic in _NULL_HOLDS
        if self.logic in (Logic.NOTNULL, Logic.ISNULL):
            return lambda record: _is_empty(record.get(name)) is null_holds
        values = list(map(text, self._values())) if self.logic in _ALIKE else self._values()
        read, opposite = _READS[_kind(values[0])], self.logic in _OPPOSITES
        holds = _holds(_OPPOSITES.get(self.logic, self.logic), list(map(_comparable, values)))

        def member(found: Any) -> bool:
            try:
                return holds(read(found))
            except ValueError as error:
                message = f"condition on {self.field}: {shown(found)} {error} to compare with {shown(self.value)}"
                raise RecordError(message, field=self.field, value=bounded(found)) from None

        def keeps(record: Record[str, Any]) -> bool:
            found = record.get(name)
            if isinstance(found, list):
                fits = [member(each) for each in found if not is_null(each)]
                return any(fits) is not opposite if fits else null_holds
            return null_holds if is_null(found) else member(found) is not opposite

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


def _is_empty(value: Any) -> bool:
    """Whether a value is null, or a list of nothing else."""
    return is_null(value) or (isinstance(value, list) and all(map(is_null, value)))


def _holds(logic: Logic, wanted: list[Any]) -> Callable[[Any], bool]:
    value = wanted[0]
    if logic in _ORDER:
        compare = _ORDER[logic]
        return lambda found: compare(found, value)
    if logic is Logic.BETWEEN:
        return lambda found: bool(value <= found <= wanted[1])
    return {
        Logic.EQ: lambda found: bool(found == value),
        Logic.LIKE: lambda found: value in found,
        Logic.IN: lambda found: found in wanted,
    }[logic]


def _kind(value: Any) -> str:
    """Of what kind a value of a condition is, as a message names it."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | Decimal):
        return "a number"
    return "a moment" if isinstance(value, datetime) else "text"


def _comparable(value: Any) -> Any:
    if isinstance(value, datetime):
        return Decimal(to_ms(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return value


_exact = decimal().function


def _number(found: Any) -> Any:
    try:
        return _exact(found)
    except ValueError:
        raise ValueError("is no number") from None


def _moment(found: Any) -> Any:
    """Epoch milliseconds of a number, of digits, or of ISO text with its offset."""
    try:
        return _exact(found)
    except ValueError:
        pass
    try:
        return Decimal(epoch_ms(found))
    except ValueError:
        raise ValueError("is no moment (epoch milliseconds, or ISO 8601 with its offset)") from None


def _truth(found: Any) -> bool:
    if isinstance(found, bool):
        return found
    said = found.lower() if isinstance(found, str) else ""
    if said not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return said == "true"


def _text(found: Any) -> str:
    try:
        return found if type(found) is str else text(found)
    except ValueError:
        raise ValueError("is no text") from None


_READS: dict[str, Callable[[Any], Any]] = {
    "text": _text, "a number": _number, "true or false": _truth, "a moment": _moment,
}  # fmt: skip
"""How a record's value is read as the kind that it is compared with; each raises `ValueError` with what it is not."""
