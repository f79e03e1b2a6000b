"""Unfit: what of a declaration does not fit the description of the object that is written, each a sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from fenxiang_sync.columns import Column, Kind
from fenxiang_sync.targets.crm import Described, DescribedField

_ALWAYS = frozenset(("_id", "owner", "record_type", "create_time", "last_modified_time", "created_by"))
"""Fields of every object, which a description may leave out, and which the CRM fills itself."""
_COMPUTED = frozenset(("formula", "count", "quote", "auto_number"))
_LISTS = frozenset((
    "select_many", "tag", "array", "employee", "employee_many", "department", "department_many",
    "object_reference_many", "image", "file_attachment",
))  # fmt: skip
_NUMBERS = frozenset(("number", "currency", "percentile"))
_TEXTS = frozenset(("text", "long_text", "html_rich_text", "phone_number", "email", "url", "select_one", "record_type"))
_MATCHES = frozenset(("text", "auto_number", "phone_number", "email", "url", "object_reference", "master_detail"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """One thing that does not fit; a serious one would make the CRM refuse rows, or lose values."""

    field: str
    said: str
    serious: bool = True

    def __str__(self) -> str:
        return f"{self.field!r} {self.said}"


def unfit(
    columns: Sequence[Column], described: Described, *, match: str, creates: bool, given: AbstractSet[str]
) -> Iterator[Unfit]:
    """What does not fit. `given` are fields that new records have although no column gives them."""
    for column in columns:
        found = described.fields.get(column.path)
        if found is not None and (creates or column.path != match):
            yield from (_named(column.path, found, said, serious) for said, serious in _of_column(column, found))
        elif found is None and column.path not in _ALWAYS:
            near = difflib.get_close_matches(column.path, list(described.fields), n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            yield Unfit(field=column.path, said=f"is none of the fields of {described.name}{hint}")
    if match in described.fields:
        yield from _of_match(match, described.fields[match])
    if creates:
        yield from _required(columns, described, given)


def _of_column(column: Column, found: DescribedField) -> Iterator[tuple[str, bool]]:
    kind = column.kind
    if not found.active:
        yield "is switched off in the CRM", True
    if found.type in _COMPUTED:
        yield f"is made by the CRM itself ({found.type}); leave it out", True
    elif kind is Kind.JSON:
        return
    elif found.type in _LISTS and column.path not in ("owner", "created_by"):
        yield f"takes a list ({found.type}); give one with as_is or a function of your own", True
    elif found.type == "true_or_false" and kind is not Kind.BOOLEAN:
        yield f"takes true or false; {kind} is neither, use boolean", True
    elif found.type in ("date", "date_time") and kind not in (Kind.INSTANT, Kind.DAY, Kind.INTEGER):
        yield f"takes a moment or a day ({found.type}), not {kind}; use instant or day", True
    elif found.type in _NUMBERS and kind in (Kind.BOOLEAN, Kind.INSTANT, Kind.DAY):
        yield f"takes a number ({found.type}), not {kind}", True
    elif found.type in _TEXTS and kind in (Kind.INSTANT, Kind.DAY):
        yield f"takes text ({found.type}), and a moment or day is written as epoch milliseconds; use text", True
    elif found.type in _NUMBERS and found.decimals is not None and (column.scale or 0) > found.decimals:
        yield (
            f"keeps {found.decimals} decimals, not {column.scale}: use decimal(scale={found.decimals})",
            True,
        )


def _of_match(match: str, found: DescribedField) -> Iterator[Unfit]:
    if found.type not in _MATCHES and match != "_id":
        yield _named(match, found, f"is {found.type}, which tells no record from others; match by a text", True)
    elif not found.unique and match != "_id":
        said = "is not unique in the CRM (唯一性), so that people may make two records of one value; switch that on"
        yield _named(match, found, said, False)


def _required(columns: Sequence[Column], described: Described, given: AbstractSet[str]) -> Iterator[Unfit]:
    """Fields that a new record needs."""
    there = {column.path: column for column in columns}
    for name, found in described.fields.items():
        if not found.required or not found.active or name in _ALWAYS or name in given or found.type in _COMPUTED:
            continue
        if name not in there:
            yield _named(name, found, "is required for new records, and no field gives it", True)
        elif not there[name].required:
            yield _named(name, found, "is required for new records; a row without it is refused", False)


def _named(name: str, found: DescribedField, said: str, serious: bool) -> Unfit:
    label = f" ({found.label})" if found.label != name else ""
    return Unfit(field=name, said=f"{said}{label}", serious=serious)
