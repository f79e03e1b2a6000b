"""Conditions (过滤条件): ``condition[][]`` of the source side, its values typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from fenxiang_sync.condition import Logic
from fenxiang_sync.dagfile import Part, flat, listed, quoted, value
from fenxiang_sync.qeasy.metadata import is_true, text_of
from fenxiang_sync.qeasy.queries import references_in
from fenxiang_sync.qeasy.reading import API_NAME, Kept, moment_code
from fenxiang_sync.qeasy.report import Report, shown

_OF_EMPTY = {Logic.EQ: Logic.ISNULL, Logic.NEQ: Logic.NOTNULL}
"""What a comparison with the empty text asks: a field that is empty is null in a record."""
_NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?", re.ASCII)


class Conditions:
    """Reads conditions; `types` are those of the record's fields, as far as they are declared."""

    def __init__(self, types: Mapping[str, str], report: Report) -> None:
        self._types = types
        self._report = report

    def read(self, given: Any) -> list[list[Kept]]:
        """The lists of which one must hold; none for no conditions."""
        if not given:
            return []
        if isinstance(given, list) and all(isinstance(each, dict) for each in given):
            given = [given]
            self._report.changed("source.condition", "is a plain list; all of it must hold")
        if not isinstance(given, list):
            self._report.unknown("source.condition", "is no list of lists")
            return []
        found: list[list[Kept]] = []
        for at, group in enumerate(given):
            if not isinstance(group, list):
                self._report.unknown(f"source.condition[{at}]", "is no list of conditions")
                continue
            made = [self._condition(each, f"source.condition[{at}][{number}]") for number, each in enumerate(group)]
            found.append([each for each in made if each is not None])
        count = sum(map(len, found))
        self._report.taken("source.condition", f"{count} conditions; what they drop is counted and can be looked up")
        return found

    def _condition(self, given: Any, place: str) -> Kept | None:
        if not isinstance(given, dict):
            self._report.unknown(place, "is no condition: field, logic, value")
            return None
        for key in given.keys() - {"field", "logic", "value", "strictMode"}:
            self._report.unknown(f"{place}.{shown(key)}")
        name, said = text_of(given.get("field")), text_of(given.get("logic")).lower()
        if not all(API_NAME.fullmatch(part) for part in name.split(".")) or said not in tuple(Logic):
            self._report.none(
                place, f"{shown(name)} {shown(said)}: cannot be meant here, so it drops nothing; write a Condition"
            )
            return None
        logic = Logic(said)
        if given.get("value") == "":
            logic = _OF_EMPTY.get(logic, logic)
        try:
            wanted = self._wanted(logic, given.get("value"), name)
        except ValueError as error:
            self._report.none(place, f"{shown(name)} {said}: {error}, so it drops nothing; write a Condition")
            return None
        return Kept(name, logic, wanted, is_true(given.get("strictMode")) is True)

    def _wanted(self, logic: Logic, given: Any, name: str) -> Part | None:
        if logic in (Logic.NOTNULL, Logic.ISNULL):
            return None
        if logic in (Logic.EQ, Logic.NEQ) and self._types.get(name) in ("bool", "boolean"):
            said = is_true(given)
            if said is not None:
                return str(said)
        ordered = logic in (Logic.GT, Logic.EGT, Logic.LT, Logic.ELT, Logic.BETWEEN)
        if logic in (Logic.LIKE, Logic.NOTLIKE):
            return quoted(_said(given))
        if ordered and isinstance(given, bool):
            raise ValueError("true and false have no order")
        numeric = ordered or self._types.get(name) in ("int", "integer", "number", "float", "double", "decimal")
        if logic in (Logic.IN, Logic.BETWEEN):
            return listed(_several(given, numeric=numeric, pair=logic is Logic.BETWEEN))
        return _typed(given, numeric=numeric)


def _several(given: Any, *, numeric: bool, pair: bool) -> list[Part]:
    """The values of a list, or of a text that lists them, as Python texts; raises `ValueError` for what could hold for
    nothing."""
    parts = given if isinstance(given, list) else [each.strip() for each in text_of(given).split(",")]
    if pair and len(parts) != 2:
        raise ValueError("takes two values")
    if "" in parts:
        raise ValueError("has an empty value, which is null in a record")
    typed = [_typed(each, numeric=numeric) for each in parts]
    if len({_kind(flat(each)) for each in typed}) > 1:
        raise ValueError("compares with values of several kinds")
    if pair and _amount(parts[0]) > _amount(parts[1]):
        raise ValueError("has nothing between its values")
    return typed


def _said(given: Any) -> str:
    said = text_of(given)
    if not said:
        raise ValueError("has no value")
    return said


def _kind(code: str) -> str:
    """What tells Python texts of values of one kind from others."""
    if code in ("True", "False"):
        return "truth"
    if code.startswith("datetime"):
        return "moment"
    return "text" if code[:1] in "\"'" else "number"


def _amount(given: Any) -> Decimal:
    return Decimal(text_of(given).removeprefix("timestamp:").strip())


def _typed(given: Any, *, numeric: bool) -> Part:
    """A value of a condition as Python text; raises `ValueError` for none."""
    if isinstance(given, bool | int | Decimal):
        return value(given)
    said = _said(given)
    if said.startswith("timestamp:"):
        seconds = said.removeprefix("timestamp:").strip()
        if not re.fullmatch(r"\d{1,11}", seconds, re.ASCII):
            raise ValueError("timestamp: is followed by no seconds")
        at = datetime.fromtimestamp(int(seconds), UTC)
        return moment_code(at)
    if references_in(said):
        raise ValueError("compares with another field or a variable")
    if numeric:
        if not _NUMBER.fullmatch(said):
            raise ValueError("has no number to compare with")
        return str(int(said)) if "." not in said else f'Decimal("{said}")'
    return quoted(said)
