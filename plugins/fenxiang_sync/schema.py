"""Schema: what of a declaration does not fit the description of its object, each finding a sentence.

A serious finding is a mistake: the run would empty a column, reject records or read the wrong ones. The others are
worth knowing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from fenxiang_sync.columns import Kind
from fenxiang_sync.condition import Condition, Logic
from fenxiang_sync.convert import converter, given_by, text, written
from fenxiang_sync.details import Details
from fenxiang_sync.field import Field
from fenxiang_sync.lines import Lines
from fenxiang_sync.lookup import NUMBER, RECORD_ID, ROW_ID, TOLD
from fenxiang_sync.mapping import Entry
from fenxiang_sync.paths import base
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.source import Operator
from fenxiang_sync.source.description import FieldDescription, ObjectDescription
from fenxiang_sync.source.reader import ID, STAMP
from fenxiang_sync.targets.protocol import tells_of
from fenxiang_sync.write_back import Refusal, Standing, Told, WriteBack

ALWAYS = frozenset((
    "_id", "name", "version", "is_deleted", "create_time", "last_modified_time", "created_by", "last_modified_by",
    "owner", "record_type", "life_status", "life_status_before_invalid", "lock_status", "relevant_team",
    "owner_department", "owner_department_id", "data_own_department", "object_describe_api_name", "extend_obj_data_id",
))  # fmt: skip
"""System fields of every object, which a describe may leave out."""

_LABELLED = frozenset((
    "select_one", "select_many", "record_type", "object_reference", "object_reference_many", "master_detail",
    "employee", "employee_many", "department", "department_many", "quote",
))  # fmt: skip
_LISTS = frozenset((
    "select_many", "tag", "array", "employee", "employee_many", "department", "department_many",
    "object_reference_many", "image", "file_attachment",
))  # fmt: skip
_NO_NUMBERS = _LISTS | {"text", "long_text", "true_or_false"}
_NAMED_ELSEWHERE = frozenset((
    "object_reference", "object_reference_many", "master_detail", "employee", "employee_many", "department",
    "department_many",
))  # fmt: skip
_NUMBERS = frozenset(("number", "currency", "percentile"))
_MOMENTS = frozenset(("date", "date_time"))
_TEXTS = frozenset(("text", "long_text", "html_rich_text", "phone_number", "email", "url"))
_COMPUTED = frozenset(("formula", "count", "quote"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that does not fit; `field` is the source field that it is about."""

    field: str
    said: str
    serious: bool = True

    def __str__(self) -> str:
        return f"{self.field!r}: {self.said}"


def findings(pipeline: Pipeline, described: ObjectDescription) -> Iterator[Finding]:
    """Everything of a pipeline that does not fit the description of its object, serious or not."""
    yield from unknown(pipeline, described)
    for entry in pipeline.fields:
        for source in entry.sources:
            if field := described.fields.get(source):
                yield from _of_entry(entry, field)
    yield from _labels(pipeline, described)
    for name, values in compared(pipeline):
        if field := described.fields.get(name):
            yield from _of_values(field, values)
    for condition in (condition for group in pipeline.conditions for condition in group):
        if field := described.fields.get(condition.field):
            yield from _of_comparison(field, condition)
    yield from _filters(pipeline, described)
    if pipeline.write_back is not None:
        yield from _written_back(pipeline.write_back, described)


def of_lines(pipeline: Pipeline, details: Details, described: ObjectDescription) -> Iterator[Finding]:
    """What of the lines of a pipeline does not fit the description of the detail object they are records of."""
    conditions = [(each.field, each.wire()["field_values"]) for each in details.filters]
    for entry in pipeline.fields:
        mapped = [(entry, entry.source)] if isinstance(entry, Field) else []
        if isinstance(entry, Lines) and entry.source == details.name:
            mapped = [(each, f"{details.name}.{each.source}") for each in entry.fields if isinstance(each, Field)]
            conditions += [(each.field, _values(each)) for group in entry.keeps for each in group]
        for each, source in mapped:
            whose, _, name = source.partition(".")
            if whose == details.name and (field := described.fields.get(name)):
                yield from (replace(told, field=source) for told in _of_entry(each, field))
    for name, values in conditions:
        if field := described.fields.get(name):
            yield from (replace(told, field=f"{details.name}.{name}") for told in _of_values(field, values))


def parents(pipeline: Pipeline, known: Mapping[str, Pipeline]) -> Iterator[Finding]:
    """What is looked up in pipelines that are not known, or at paths that their rows do not have."""
    for lookup, _ in pipeline.mapping.lookups:
        if lookup.pipeline == pipeline.name and not lookup.required:
            said = (
                "is looked up among the rows of this very pipeline, where records that are read together do not find "
                "one another, and null stays; map the id, and join at the target"
            )
            yield Finding(field=lookup.to, said=said, serious=False)
        there = known.get(lookup.pipeline)
        if there is None:
            near = difflib.get_close_matches(lookup.pipeline, sorted(known), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            said = f"is looked up in pipeline {lookup.pipeline!r}, of which there is no DAG file here{hint}"
            yield Finding(field=lookup.to, said=said, serious=bool(near))
            continue
        paths = [column.path for column in there.mapping.columns]
        for path in dict.fromkeys((*lookup.where, lookup.find)):
            if path.startswith(TOLD):
                yield from _untold(lookup.to, path.removeprefix(TOLD), there)
                continue
            if path in (RECORD_ID, ROW_ID, NUMBER) or any(f"{path}.".startswith(f"{each}.") for each in paths):
                continue
            if any(each.startswith(f"{path}.") for each in paths) and path == lookup.find:
                continue  # all of an object
            near = difflib.get_close_matches(path, paths, n=1)
            hint = f", did you mean {near[0]!r}?" if near else f"; there are {', '.join(map(repr, paths[:8]))}"
            yield Finding(field=lookup.to, said=f"{path!r} is no path of the rows of pipeline {there.name!r}{hint}")


def _untold(to: str, name: str, there: Pipeline) -> Iterator[Finding]:
    """What is looked up and that pipeline's target does not tell."""
    tells = sorted(tells_of(there.target))
    if name not in tells:
        said = f"the target of pipeline {there.name!r} does not tell {name!r}; it tells {', '.join(tells) or 'nothing'}"
        yield Finding(field=to, said=said)


def _written_back(back: WriteBack, described: ObjectDescription) -> Iterator[Finding]:
    """What is written back into fields that cannot take it."""
    yield from (
        replace(each, said=f"is written back, and {each.said}") for each in unknown_names(back.fields, described)
    )
    for name, word in back.fields.items():
        field = described.fields.get(name)
        if field is None:
            continue
        if not field.active:
            yield _finding(field, "is written back, and is switched off in the CRM")
        elif field.type in _COMPUTED or field.type == "auto_number":
            yield _finding(field, f"is written back, and the CRM works it out itself ({field.type})")
        elif isinstance(word, Standing):
            yield from _of_values(field, list(word.labels.values()), "is written back as")
        elif field.type not in _TEXTS and not (isinstance(word, Told) and field.type in _NUMBERS):
            yield _finding(field, f"is written back, and is {field.type}; {word} goes into a text field")
        elif isinstance(word, Refusal) and field.length is not None and field.length < word.characters:
            said = f"takes {field.length} characters, and {word.characters} are written back; write"
            yield _finding(field, f"{said} Refusal(characters={field.length})")


def unknown(pipeline: Pipeline, described: ObjectDescription) -> Iterator[Finding]:
    """The fields that are read and that the object does not have: they come as null in every record."""
    yield from unknown_names(
        [*pipeline.asked, *pipeline.got, *(each.field for each in pipeline.source.filters)], described
    )


def unknown_of_details(pipeline: Pipeline, details: Details, described: ObjectDescription) -> Iterator[Finding]:
    """The fields of a detail object that are read, or filtered by, and that it does not have."""
    names = (*pipeline.asked_of(details), *(each.field for each in details.filters))
    yield from unknown_names(names, described, of=details.object)


def unknown_names(names: Iterable[str], described: ObjectDescription, *, of: str = "") -> Iterator[Finding]:
    """Those of the names that the object does not have; `of` is its name, where it is not the pipeline's own object."""
    known = ALWAYS | set(described.fields)
    for name in dict.fromkeys(names):
        if name not in known and base(name) not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            yield Finding(field=name, said=f"is none of {f'the fields of {of}' if of else 'its fields'}{hint}")


def _of_entry(entry: Entry, field: FieldDescription) -> Iterator[Finding]:
    if not field.active:
        yield _finding(field, "is switched off in the CRM, so that no record has it any more")
    if isinstance(entry, Field):
        yield from _of_type(field, converter(entry.convert))
        yield from _of_options(field, converter(entry.convert))
    if not field.stamped:
        yield _finding(
            field,
            f"is worked out when it is read ({field.type}): a change of it gives the record no new stamp, and only a "
            "deep reconcile finds it",
            serious=False,
        )


def _labels(pipeline: Pipeline, described: ObjectDescription) -> Iterator[Finding]:
    """The names of other records, people and departments that are read: one sentence about all of them."""
    asked = (name for entry in pipeline.fields for name in entry.asks)
    others = [
        name
        for name in dict.fromkeys(asked)
        if name != base(name) and (field := described.fields.get(base(name))) and field.type in _NAMED_ELSEWHERE
    ]
    if others:
        also = f" (so are {', '.join(others[1:])})" if others[1:] else ""
        yield Finding(
            field=others[0],
            said="is as old as the record: a new name of what it refers to gives the record no new stamp, and only a "
            f"deep reconcile finds it{also}",
            serious=False,
        )


def _of_type(field: FieldDescription, convert: Any) -> Iterator[Finding]:
    if getattr(convert, "companion", ""):
        if field.type not in _LABELLED:
            yield _finding(field, f"has no label ({field.type}); map the value itself")
    elif field.type not in _COMPUTED:
        yield from _of_kind(field, *given_by(convert), written(convert))
        if convert is text and field.type in _LISTS:
            said = f"is a list ({field.type}), which text rejects; use first(text), or as_is for all of it"
            yield _finding(field, said)


def _of_kind(field: FieldDescription, kind: Kind, scale: int | None, shown: str) -> Iterator[Finding]:
    decimals = field.decimals or 0
    if kind is Kind.BOOLEAN and field.type != "true_or_false":
        yield _finding(field, f"is {field.type}, not true or false; {shown} would reject every record")
    if kind in (Kind.INSTANT, Kind.DAY) and field.type not in _MOMENTS:
        yield _finding(field, f"is {field.type}, no moment and no day; {shown} would reject it, or make up a time")
    if kind is Kind.INTEGER and shown == "integer" and field.type in _NO_NUMBERS:
        yield _finding(field, f"is {field.type}, no number")
    too_few = kind is Kind.INTEGER or (kind is Kind.DECIMAL and scale is not None and scale < decimals)
    if field.type in _NUMBERS and decimals and too_few:
        yield _finding(field, f"has {decimals} decimals, which {shown} rejects; use decimal(scale={decimals})")


def _of_options(field: FieldDescription, convert: Any) -> Iterator[Finding]:
    """What a `choice` says of options that there are not, and does not say of those that there are."""
    chosen = getattr(convert, "options", None)
    if not chosen or not field.options:
        return
    for option in chosen:
        if str(option) not in field.options:
            yield _finding(field, f"has no option {option!r}{_option_hint(str(option), field)}")
    left = [option for option in field.options if option not in set(map(str, chosen))]
    if left:
        told = ", ".join(f"{option!r} ({field.options[option]})" for option in left[:5])
        yield _finding(
            field, f"may be {told}, which {written(convert)[:60]} has no value for: such records are rejected"
        )


def _of_values(field: FieldDescription, values: Iterable[Any], verb: str = "is compared with") -> Iterator[Finding]:
    """Conditions, filters and labels on options that there are not, and on moments in seconds."""
    for value in values:
        if field.options and isinstance(value, str) and value not in field.options:
            yield _finding(field, f"{verb} {value!r}, which is none of its options{_option_hint(value, field)}")
        if field.type in _MOMENTS and _in_seconds(value):
            yield _finding(
                field,
                f"is compared with {value}, which looks like epoch seconds; Fenxiang has milliseconds: {value}000",
            )


_FILTERS = {
    Logic.EQ: Operator.EQ, Logic.NEQ: Operator.N, Logic.GT: Operator.GT, Logic.EGT: Operator.GTE, Logic.LT: Operator.LT,
    Logic.ELT: Operator.LTE, Logic.IN: Operator.IN, Logic.NOTNULL: Operator.ISN, Logic.ISNULL: Operator.IS,
}  # fmt: skip
"""What means the same to Fenxiang, nulls too. LIKE is left out, whose letter case and wildcards are not documented, and
BETWEEN, of which it is not documented whether the ends count."""
_ORDERED = (Logic.GT, Logic.EGT, Logic.LT, Logic.ELT)
_GIVEN = {
    **dict.fromkeys(_NUMBERS, ("a number", (int, Decimal))),
    **dict.fromkeys(_MOMENTS, ("an aware datetime", (datetime, int))),
    "true_or_false": ("True or False", (bool,)),
}
"""What a field of these types is to be compared with, in words and types; any other with text."""


def _of_comparison(field: FieldDescription, condition: Condition) -> Iterator[Finding]:
    """A comparison of a value of another kind than the field's, which holds for no record, or rejects them."""
    likes = (Logic.LIKE, Logic.NOTLIKE)
    wrong = [] if condition.logic in likes else [each for each in _values(condition) if not _fits(field, each)]
    if not wrong:
        return
    said = f"is {field.type}, and is compared with {wrong[0]!r}"
    if field.type in _TEXTS and isinstance(wrong[0], bool):
        yield _finding(field, f"{said}; every other text is a dead letter")
    elif field.type == "true_or_false" and wrong[0] not in ("true", "false"):
        yield _finding(field, f"{said}, which it never is; give True or False")
    elif field.type in (*_NUMBERS, *_MOMENTS) and isinstance(wrong[0], str):
        said = f"is {field.type}, and is compared as text with {wrong[0]!r}, so that '7' is not '7.00'"
        yield _finding(field, f"{said}; give {_GIVEN[field.type][0]}")


def _fits(field: FieldDescription, value: Any) -> bool:
    """Whether a value of a condition is of the field's kind, so that Fenxiang compares it as a condition does."""
    _, types = _GIVEN.get(field.type, ("text", (str,)))
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _filters(pipeline: Pipeline, described: ObjectDescription) -> Iterator[Finding]:
    """Conditions that Fenxiang could hold itself, so that what they leave out costs no calls. A person decides: what a
    filter leaves out is not counted, and a record that leaves it is found by the reconcile alone."""
    if len(pipeline.conditions) != 1:
        return  # filters are ANDed, so that one of several lists cannot be one
    for condition in pipeline.conditions[0]:
        field = described.fields.get(condition.field)
        if field is None or field.type in (*_LISTS, *_COMPUTED) or condition.logic not in _FILTERS:
            continue
        if field.name in (STAMP, ID) or not all(_fits(field, value) for value in _values(condition)):
            continue
        if condition.logic in _ORDERED and field.type not in (*_NUMBERS, *_MOMENTS):
            continue
        operator = _FILTERS[condition.logic]
        values = "" if condition.value is None else f", {condition.value!r}"
        yield _finding(
            field,
            f"is read and then left out by a condition; Source(filters=[Filter({field.name!r}, Operator.{operator.name}"
            f"{values})]) saves those calls, but such records are not counted as filtered any more",
            serious=False,
        )


def _option_hint(value: str, field: FieldDescription) -> str:
    labels = {label: option for option, label in field.options.items()}
    if value in labels:
        return f"; {value!r} is a label, its option is {labels[value]!r}"
    near = difflib.get_close_matches(value, field.options, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(map(repr, list(field.options)[:6]))}"


def _in_seconds(value: Any) -> bool:
    """Whether a number is a moment of 2001 to 2100 in seconds: in milliseconds it would be one of January 1970."""
    said = str(value)
    return not isinstance(value, bool) and said.isascii() and said.isdecimal() and 10**9 <= int(said) < 4_102_444_800


def compared(pipeline: Pipeline) -> Iterator[tuple[str, list[Any]]]:
    """The fields that conditions and filters are about, each with the values that it is compared with."""
    for each in pipeline.source.filters:
        yield each.field, list(each.wire()["field_values"])
    for condition in (condition for group in pipeline.conditions for condition in group):
        yield condition.field, _values(condition)


def _values(condition: Condition) -> list[Any]:
    value = condition.value
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _finding(field: FieldDescription, said: str, *, serious: bool = True) -> Finding:
    label = f" ({field.label})" if field.label != field.name else ""
    return Finding(field=field.name, said=f"{said}{label}", serious=serious)
