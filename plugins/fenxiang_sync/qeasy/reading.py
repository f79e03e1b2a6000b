"""Reading: what of the source side goes into a declaration, and the words that both sides share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from fenxiang_sync.condition import Logic
from fenxiang_sync.dagfile import Code, Part, call, quoted
from fenxiang_sync.kingdee.query import is_key
from fenxiang_sync.mapping import ENGINE_FIELDS, INJECTED
from fenxiang_sync.qeasy.metadata import Node, Side
from fenxiang_sync.qeasy.report import Report, shown

API_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}", re.ASCII)
NOT_HERE = {
    "diffMode": "snapshots are compared by reconcile here, which finds deleted records: Reconcile(…), delete_policy=…",
    **dict.fromkeys(
        ("buildModel", "structure"),
        "what it means is documented nowhere; nested targets are dotted paths of Field(…, 'a.b')",
    ),
    **dict.fromkeys(("callBackStrategy", "primaryWriteback"), "is a key of the target; on this side it means nothing"),
    "distributionOrg": "distribution to organisations is a call of its own; make it in a DAG on this pipeline's asset",
    "isUploadFile": "attachments are not copied",
}
"""Keys of either side that are known and have no counterpart, and what to do."""


class Kept(NamedTuple):
    """A condition: its field as Qeasy names it, and the Python text behind it."""

    field: str
    logic: Logic
    value: Part | None
    strict: bool

    def code(self, path: str) -> Code:
        """The condition on that path."""
        given = [quoted(path), f"Logic.{self.logic.name}", *([] if self.value is None else [self.value])]
        return call("Condition", *given, **({"strict": "True"} if self.strict and "." in path else {}))


class Format(NamedTuple):
    """A name that formatResponse makes: of which field, by which converter, and what that gives."""

    old: str
    convert: str
    kind: str


ID_KEYS = {"BD_Customer": "FCUSTID", "BD_MATERIAL": "FMATERIALID", "BD_Supplier": "FSupplierId"}
"""The primary keys of base data of Kingdee, which have no FID; commonly known of the product."""


@dataclass(slots=True)
class Form:
    """What of a source side that reads a form of Kingdee goes into the declaration."""

    id: str
    modified: str = "FModifyDate"
    where: str = ""
    page_size: int | None = None


@dataclass(slots=True)
class Reading:
    """What of the source side goes into the declaration. `object` is one of Fenxiang, or where `form` is set, a form of
    Kingdee; then `aliases` are field keys by the names that rows have for them, and `dotted` keys that are read, by the
    fields that they lead through. `moments` is whether the target makes milliseconds of moments, as the CRM does."""

    object: str
    form: Form | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    dotted: dict[str, str] = field(default_factory=dict)
    moments: bool = False
    number: str | None = "name"
    lookback: timedelta | None = None
    settle: timedelta | None = None
    start: datetime | None = None
    schedule: str | None = None
    filters: list[Part] = field(default_factory=list)
    lookbacks: list[Part] = field(default_factory=list)
    conditions: list[list[Kept]] = field(default_factory=list)
    flattened: str = ""
    details: tuple[str, str] | None = None
    formats: dict[str, Format] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)

    def above(self, name: str) -> str:
        """A key that is read as a value and leads to this one, "" for none: id, stamp or number of a form."""
        whole = (self.form.id, self.form.modified, self.number) if self.form is not None else ()
        return next((each for each in whole if each and name.startswith(f"{each}.")), "")

    def below(self, name: str) -> str:
        """A key that is read and leads into what this one refers to, "" for none: a form of Kingdee gives one of
        both."""
        return self.dotted.get(name, "")


def as_read(source: Side, made: Reading) -> tuple[Node, ...]:
    """The declared fields of the source as nodes of a row: what the hub keeps."""
    if made.aliases:
        names = dict.fromkeys((*made.aliases, *made.formats))
        return tuple(Node(place=f"source.request.{name}", field=name, value=f"{{{{{name}}}}}") for name in names)
    nodes = [_reads(node, node.field) for node in source.trees.get("response", ()) if node.field != made.flattened]
    nodes += [
        _reads(child, f"{made.flattened}_{child.field}")
        for node in source.trees.get("response", ())
        if node.field == made.flattened
        for child in node.children
    ]
    there = {node.field for node in nodes}
    return tuple(nodes) + tuple(
        Node(place=f"source.formatResponse.{shown(name)}", field=name, value=f"{{{{{name}}}}}")
        for name in made.formats
        if nodes and name not in there
    )


def _reads(node: Node, name: str) -> Node:
    return replace(node, field=name, value=f"{{{{{name}}}}}", children=(), parser="", params=())


def is_field_key(name: str) -> bool:
    """Whether a form of Kingdee can be asked for it: a field key that is no field of every record of Fenxiang."""
    return is_key(name) and name not in (*ENGINE_FIELDS, *INJECTED)


def is_own_key(name: str) -> bool:
    """Whether it is a field key of a form itself."""
    return is_field_key(name) and "." not in name


def told(side: Side, known: frozenset[str], report: Report) -> None:
    """Name the keys of a side that were not read."""
    for key in side.keys:
        if key in known:
            continue
        if key in NOT_HERE:
            report.none(f"{side.name}.{key}", NOT_HERE[key])
        elif key.startswith("_"):
            report.changed(f"{side.name}.{key}", "begins with _, so it is taken for a comment")
        else:
            report.unknown(f"{side.name}.{key}")


def clock_code(form: str, *, local: bool) -> str:
    """A converter of moments into text of that form, in Asia/Shanghai; with `local`, of those without a zone.

    >>> clock_code("YYYY-MM-DD", local=False), clock_code("HH:mm", local=True)
    ('day()', 'instant("Asia/Shanghai", "HH:mm", local=True)')
    """
    if form == "YYYY-MM-DD" and not local:
        return "day()"
    return f'instant("Asia/Shanghai", {quoted(form)}{", local=True" if local else ""})'


def span(given: timedelta) -> str:
    """A span as Python text.

    >>> span(timedelta(minutes=90)), span(timedelta(days=2))
    ('timedelta(minutes=90)', 'timedelta(days=2)')
    """
    for word, unit in (("days", timedelta(days=1)), ("hours", timedelta(hours=1)), ("minutes", timedelta(minutes=1))):
        if not given % unit:
            return f"timedelta({word}={given // unit})"
    return f"timedelta(seconds={given // timedelta(seconds=1)})"


def moment_code(at: datetime) -> str:
    """A moment as Python text."""
    parts = [at.year, at.month, at.day, *([at.hour, at.minute, at.second] if at.time() != datetime.min.time() else [])]
    return f"datetime({', '.join(map(str, parts))}, tzinfo=UTC)"
