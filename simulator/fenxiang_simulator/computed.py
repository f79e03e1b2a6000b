"""Computed: the fields of a record that follow from others (labels of references, quotes, formulas, roll-ups)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from fenxiang_simulator.catalog import FieldDef, ObjectDef

Record = dict[str, Any]
Lookup = Callable[[str, str], Record | None]
"""(object, id) → the record as it is now."""
Details = Callable[[str, str], Iterable[Record]]
"""(detail object, id of the master) → the details that are not voided."""


def labels(definition: ObjectDef, record: Record, lookup: Lookup) -> Record:
    """``<reference>__r``: the names of the records that this one refers to."""
    found = {}
    for each in definition.references:
        there = lookup(each.target or "", record[each.name]) if each.name in record else None
        if there is not None and "name" in there:
            found[f"{each.name}__r"] = there["name"]
    return found


def quotes(definition: ObjectDef, record: Record, lookup: Lookup, definitions: dict[str, ObjectDef]) -> Record:
    """Each quote as label, with the raw value under ``__v``."""
    found = {}
    for each in definition.quotes:
        if each.quotes is None:
            continue
        reference, name = each.quotes
        target = definition.fields[reference].target or ""
        there = lookup(target, record.get(reference, ""))
        if there is not None and name in there:
            options = definitions[target].fields[name].options
            found[each.name] = options.get(there[name], there[name])
            found[f"{each.name}__v"] = there[name]
    return found


def formulas(definition: ObjectDef, record: Record, details: Details) -> Record:
    """Formulas over the record itself, and sums over its details."""
    found = {}
    for each in definition.formulas:
        value = _value(each, record, details)
        if value is not None:
            found[each.name] = f"{value:.{each.decimal_places}f}"
    return found


def _value(each: FieldDef, record: Record, details: Details) -> Decimal | None:
    if each.difference is not None and all(name in record for name in each.difference):
        first, second = (Decimal(record[name]) for name in each.difference)
        return first - second
    if each.sums is not None:
        there, name = each.sums
        return sum((Decimal(row[name]) for row in details(there, record["_id"]) if name in row), Decimal(0))
    return None
