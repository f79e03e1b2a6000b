"""The source side (源): object, window, filters, conditions, lookbacks, and the names that formats give."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from fenxiang_sync.checks import cron_problems, spoken_span
from fenxiang_sync.condition import Logic
from fenxiang_sync.dagfile import Code, Part, call, listed, quoted, value
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.qeasy.metadata import Node, Scheme, Side, is_true, nodes, text_of
from fenxiang_sync.qeasy.references import pieces
from fenxiang_sync.qeasy.report import Report, shown
from fenxiang_sync.qeasy.variables import Anchor, Moment, moment
from fenxiang_sync.source import Filter, Operator, is_custom

API_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?", re.ASCII)
_LOOKBACK = timedelta(minutes=10)
_LONG = timedelta(days=1)
_STAMP = "last_modified_time"
_READ = frozenset((
    "api", "effect", "type", "method", "id", "number", "name", "idCheck", "autoFillResponse", "pagination", "condition",
    "beatFlat", "formatResponse", "omissionRemedy", "operation",
))  # fmt: skip
NOT_HERE = {
    "diffMode": "snapshots are compared by reconcile here, which finds deleted records too: Reconcile(…), delete_policy=…",
    "buildModel": "what it means is documented nowhere; nested targets are dotted paths of Field(…, \"a.b\")",
    "structure": "what it means is documented nowhere; nested targets are dotted paths of Field(…, \"a.b\")",
    "callBackStrategy": "writing the result into another scheme: let a DAG of your own run on this pipeline's asset, and "
    "read outcomes from the hub",
    "primaryWriteback": "the ids that the target gave are not kept in the row; look them up at the target by the number",
    "distributionOrg": "distribution to organisations is a call of its own; make it in a DAG on this pipeline's asset",
    "isUploadFile": "attachments are not copied",
}  # fmt: skip
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


@dataclass(slots=True)
class Reading:
    """What of the source side goes into the declaration."""

    object: str
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


def reading(scheme: Scheme, report: Report) -> Reading:
    """The source side of a scheme; raises `DeclarationError` where it reads no object of Fenxiang."""
    return _Reader(scheme, report).read()


class _Reader:
    def __init__(self, scheme: Scheme, report: Report) -> None:
        self._scheme = scheme
        self._side = scheme.source
        self._report = report
        self._made = Reading(object=object_of(scheme.source))

    def read(self) -> Reading:
        self._plain()
        self._requests()
        self._schedule()
        self._types()
        self._formats()
        self._flattened()
        self._conditions()
        self._remedy()
        told(self._side, _READ, self._report)
        return self._made

    def _plain(self) -> None:
        side, report, made = self._side, self._report, self._made
        api = side.api
        kind = "custom" if is_custom(made.object) else "preset"
        report.taken("source.api", f"{made.object}, a {kind} object, read by its data/query")
        if api and ("/custom/" in api) != is_custom(made.object):
            report.changed(
                "source.api", f"{shown(api)} is for the other kind of object; the path follows from the name"
            )
        if "data/query" not in api:
            report.changed("source.api", f"{shown(api)!r} is not data/query, which is what is called here")
        number = text_of(side.keys.get("number"))
        if number and API_NAME.fullmatch(number):
            made.number = number
            report.taken("source.number", f"{number}, which people search by")
        elif number:
            report.none("source.number", "is not the name of one field; number=… takes one")
        key = text_of(side.keys.get("id"))
        if key and key != "_id" and [each.name for each in _references(key)] != ["_id"]:
            report.changed(
                "source.id", "records are told apart by _id here, whatever the scheme names; the row's id is key=…"
            )
        elif key:
            report.taken("source.id", "_id")
        if "autoFillResponse" in side.keys:
            report.changed(
                "source.autoFillResponse",
                "fields are declared here; `fenxiang describe` and `fenxiang check` compare them with the CRM's",
            )
        if "pagination" in side.keys:
            report.changed("source.pagination", "pages are read by _id, 100 records each; page_size=… takes fewer")

    # request

    def _requests(self) -> None:
        for node in self._side.trees.get("request", ()):
            if node.field == "search_query_info":
                self._query(node)
            elif node.field != "dataObjectApiName":
                self._report.none(node.place, "no parameter of data/query that is known here")
        for node in self._side.trees.get("otherRequest", ()):
            self._other(node)
        for node in self._side.trees.get("otherResponse", ()):
            self._report.changed(node.place, "where things stand in Fenxiang's answers is known here")

    def _query(self, query: Node) -> None:
        for node in query.children:
            if node.field == "filters":
                for each in self._flat_filters(node):
                    self._filter(each)
            elif node.field in ("offset", "limit"):
                self._report.changed(
                    node.place, "pages are read by _id at offset 0, 100 records each, so that none is lost between them"
                )
            elif node.field == "orders":
                self._report.changed(node.place, "pages are read in the order of _id")
            else:
                self._report.none(node.place, "no part of a query that is known here")

    def _flat_filters(self, filters: Node) -> Iterator[Node]:
        """The nodes that are filters; 条件1 is only the label of one."""
        if filters.child("field_name"):
            yield filters
            return
        for each in filters.children:
            yield from self._flat_filters(each)
        if not filters.children:
            self._report.unknown(filters.place, "is no filter: it has no field_name")

    def _filter(self, node: Node) -> None:
        report = self._report
        parts = {each.field: each for each in node.children}
        for name in parts.keys() - {"field_name", "operator", "field_values", "connector", "isObjectReference"}:
            report.unknown(f"{node.place}.{shown(name)}")
        name, operator = parts["field_name"].text, parts["operator"].text.upper() if "operator" in parts else ""
        values = parts.get("field_values")
        if name == _STAMP:
            self._bound(node, operator, values)
        elif name == "_id" or not API_NAME.fullmatch(name):
            report.none(
                node.place, f"a filter on {shown(name) or 'nothing'!r}: more is read than Qeasy reads; use conditions=…"
            )
        elif operator not in Operator.__members__:
            report.none(
                node.place, f"operator {shown(operator)!r} is unknown: more is read than Qeasy reads; write a Filter"
            )
        else:
            self._plain_filter(node, name, Operator[operator], values)

    def _plain_filter(self, node: Node, name: str, operator: Operator, values: Node | None) -> None:

        given = _values(values)
        if given is None:
            self._report.none(
                node.place, f"the filter on {name} moves with time or reads a field: more is read than Qeasy reads"
            )
            return
        try:
            Filter(name, operator, given)
        except DeclarationError as error:
            self._report.none(node.place, f"{error}: more is read than Qeasy reads")
            return
        parts = [
            quoted(name),
            f"Operator.{operator.name}",
            *([value(given[0])] if len(given) == 1 else [value(given)] if given else []),
        ]
        self._made.filters.append(call("Filter", *parts))
        self._report.taken(node.place, f"a Filter on {name}")

    def _bound(self, node: Node, operator: str, values: Node | None) -> None:
        """A bound of last_modified_time: the window, the lookback or the settle time."""
        report, made = self._report, self._made
        bounds = [moment(each) for each in _texts(values)]
        if operator == "BETWEEN" and len(bounds) == 2:
            self._lower(node, bounds[0])
            self._upper(node, bounds[1])
        elif operator in ("GTE", "GT") and len(bounds) == 1:
            self._lower(node, bounds[0])
        elif operator in ("LTE", "LT") and len(bounds) == 1:
            self._upper(node, bounds[0])
        else:
            report.none(
                node.place, "a bound of last_modified_time that cannot be read; every change is read here, run by run"
            )

    def _lower(self, node: Node, bound: Moment | None) -> None:
        report, made = self._report, self._made
        if bound is None:
            report.none(
                node.place, "a bound of last_modified_time that cannot be read; every change is read here, run by run"
            )
        elif bound.anchor is Anchor.FIXED and bound.at is not None:
            made.start = bound.at
            report.taken(node.place, f"start: nothing before {bound.at:%Y-%m-%d %H:%M:%S} UTC is read")
        else:
            said = (
                "the window of the run, which begins where the last one ended, certified; nobody keeps LAST_SYNC_TIME"
            )
            if bound.before > _LOOKBACK:
                made.lookback = bound.before
            early = f"; begun {spoken_span(bound.before)} early: lookback" if bound.before > timedelta(0) else ""
            if bound.before > _LONG and bound.anchor is Anchor.LAST:
                early += " (if that many seconds were meant to be milliseconds, take lookback away)"
            elif bound.before < _LOOKBACK:
                early += f"; read {spoken_span(_LOOKBACK)} early here, since a write shows after its stamp"
            report.changed(node.place, said + early)

    def _upper(self, node: Node, bound: Moment | None) -> None:
        if bound is None or bound.anchor is not Anchor.NOW:
            self._report.none(
                node.place, "an upper bound of last_modified_time that cannot be read; runs read up to now"
            )
            return
        if bound.before > timedelta(seconds=5):
            self._made.settle = bound.before
        self._report.changed(node.place, "the window ends at the CRM's own clock, not at the worker's")

    def _other(self, node: Node) -> None:
        report, made = self._report, self._made
        if node.field == "currentOpenUserId":
            report.changed(
                node.place, "a person's id: put it into the connection, extra open_user_id; it is not in the file"
            )
        elif node.field == "detailObjectApiName" and API_NAME.fullmatch(node.text):
            by = self._side.find("otherRequest", "detailForeignKey")
            if by is None or not API_NAME.fullmatch(by.text):
                report.none(node.place, "without detailForeignKey it is not known how lines lead to their record")
                return
            made.details = (node.text, by.text)
            report.changed(
                node.place, f"no parameter of Qeasy; taken to mean that {node.text} is read by {by.text}: Details(…)"
            )
        elif node.field == "detailForeignKey" and self._side.find("otherRequest", "detailObjectApiName"):
            report.changed(node.place, "no parameter of Qeasy; taken with detailObjectApiName")
        elif node.field in ("beatFlat", "condition"):
            report.taken(node.place, "read as if it stood beside request")
        else:
            report.none(node.place, "no parameter that is known here; its value is not told, since it may be secret")

    # schedule

    def _schedule(self) -> None:
        scheme, report, made = self._scheme, self._report, self._made
        if scheme.source_cron and not list(cron_problems(scheme.source_cron)):
            made.schedule = scheme.source_cron
            report.taken("strategy.source.crontab", f"schedule {scheme.source_cron}, in Asia/Shanghai")
        elif scheme.source_cron:
            report.none(
                "strategy.source.crontab", f"{shown(scheme.source_cron)!r} is no cron expression; give schedule=…"
            )
        else:
            report.none("strategy.source.crontab", "is not in the metadata; the file runs hourly, give schedule=…")
        if scheme.target_cron:
            report.none("strategy.target.crontab", "a run reads and writes: what is read is delivered in the same run")
        if scheme.mode and "定时" not in scheme.mode:
            report.none(
                "strategy.mode", f"{shown(scheme.mode)}: runs are scheduled, or triggered by hand or by an asset"
            )
        if scheme.preconditions:
            report.none(
                "strategy.preconditions",
                f"{len(scheme.preconditions)} schemes: Lookup(required=True) waits for a parent by itself; else trigger this DAG "
                "by the other's asset or TriggerDagRunOperator",
            )
        report.changed(
            "strategy",
            "LAST_SYNC_TIME of the scheme is not known here: the first scheduled run reads everything, or give start=…",
        )

    # response

    def _types(self) -> None:
        for node in self._side.trees.get("response", ()):
            self._made.types[node.field] = node.type
            for child in node.children:
                self._made.types[f"{node.field}.{child.field}"] = child.type

    def _formats(self) -> None:
        given = self._side.keys.get("formatResponse")
        for at, each in enumerate(given if isinstance(given, list) else [given] if given else []):
            place = f"source.formatResponse[{at}]"
            if not isinstance(each, dict):
                self._report.unknown(place, "is no object of old, new and format")
                continue
            for key in each.keys() - {"old", "new", "format"}:
                self._report.unknown(f"{place}.{shown(key)}")
            old, new, said = (text_of(each.get(key)) for key in ("old", "new", "format"))
            found = converter_of(said)
            if found is None or not old:
                self._report.none(place, f"format {shown(said)!r} is unknown; write a converter for {shown(old)}")
                found = ("", "")
            else:
                self._report.taken(place, f"{shown(new or old)} is {shown(old)} by {found[0]}")
            self._made.formats[new or old] = Format(old, *found)

    def _flattened(self) -> None:
        report, keys = self._report, self._side.keys
        inner = self._side.find("otherRequest", "beatFlat")
        given = keys.get("beatFlat") or (inner.value if inner else None)
        names = [text_of(each) for each in (given if isinstance(given, list) else [given] if given else [])]
        operation = keys.get("operation")
        if isinstance(operation, dict):
            method = text_of(operation.get("method"))
            if method == "splitArray":
                names.append(text_of(operation.get("arrayKey")))
                report.changed(
                    "source.operation", "splitArray: each element is a row that has the header's fields as well"
                )
            elif method not in ("", "none"):
                report.none("source.operation", f"{shown(method)}: rows of several records are not made here")
            for key in operation.keys() - {"method", "arrayKey"}:
                report.unknown(f"source.operation.{shown(key)}")
        good = [name for name in names if API_NAME.fullmatch(name)]
        if len(good) < len(names):
            report.none("source.beatFlat", "names what is no field")
        if good:
            self._made.flattened = good[0]
            report.taken("source.beatFlat", f"the lines of {good[0]}")
        if len(good) > 1:
            report.none(
                "source.beatFlat", f"{', '.join(good[1:])}: one list is flattened here; make a pipeline for each"
            )

    # condition

    def _conditions(self) -> None:
        given = self._side.keys.get("condition")
        inner = self._side.find("otherRequest", "condition")
        given = given or (inner.value if inner else None)
        if not given:
            return
        if isinstance(given, list) and all(isinstance(each, dict) for each in given):
            given = [given]
            self._report.changed("source.condition", "is a plain list; all of it must hold")
        if not isinstance(given, list):
            self._report.unknown("source.condition", "is no list of lists")
            return
        for at, group in enumerate(given):
            if not isinstance(group, list):
                self._report.unknown(f"source.condition[{at}]", "is no list of conditions")
                continue
            made = [self._condition(each, f"source.condition[{at}][{number}]") for number, each in enumerate(group)]
            self._made.conditions.append([each for each in made if each is not None])
        count = sum(map(len, self._made.conditions))
        self._report.taken("source.condition", f"{count} conditions; what they drop is counted and can be looked up")

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
        try:
            wanted = self._wanted(logic, given.get("value"), name)
        except ValueError as error:
            self._report.none(place, f"{shown(name)} {said}: {error}, so it drops nothing; write a Condition")
            return None
        return Kept(name, logic, wanted, is_true(given.get("strictMode")) is True)

    def _wanted(self, logic: Logic, given: Any, name: str) -> Part | None:
        if logic in (Logic.NOTNULL, Logic.ISNULL):
            return None
        ordered = logic in (Logic.GT, Logic.EGT, Logic.LT, Logic.ELT, Logic.BETWEEN)
        numeric = ordered or self._made.types.get(name) in ("int", "integer", "number", "float", "double", "decimal")
        if logic in (Logic.IN, Logic.BETWEEN):
            parts = given if isinstance(given, list) else [each.strip() for each in text_of(given).split(",")]
            if logic is Logic.BETWEEN and len(parts) != 2:
                raise ValueError("takes two values")
            return listed(_typed(each, numeric=numeric) for each in parts)
        return _typed(given, numeric=numeric)

    # omissionRemedy

    def _remedy(self) -> None:
        given, report = self._side.keys.get("omissionRemedy"), self._report
        if not given:
            return
        place = "source.omissionRemedy"
        if not isinstance(given, dict):
            report.unknown(place, "is no object of crontab and takeOverRequest")
            return
        for key in given.keys() - {"crontab", "takeOverRequest", "adapter"}:
            report.unknown(f"{place}.{shown(key)}")
        if given.get("adapter"):
            report.none(f"{place}.adapter", "every reading goes the same way here")
        cron = text_of(given.get("crontab"))
        tree = nodes(given.get("takeOverRequest") or [], f"{place}.takeOverRequest", report)
        ages = [found.before for said in _all_texts(tree) if (found := moment(said)) and found.anchor is Anchor.NOW]
        over = max(ages, default=timedelta(0))
        if over <= timedelta(0) or list(cron_problems(cron)):
            report.none(place, "how far it reaches back or when it runs cannot be read; write lookbacks=[Lookback(…)]")
            return
        self._made.lookbacks.append(call("Lookback", schedule=quoted(cron), over=span(over)))
        report.changed(
            place,
            f"Lookback over {spoken_span(over)} on {cron}: up to now, not only up to an older moment; finds changed records "
            "as well; filters other than those of time stay as they are",
        )


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


def converter_of(said: str) -> tuple[str, str] | None:
    """A format of formatResponse as Python text and the kind of what it gives, None for one that is unknown.

    >>> converter_of("round(2)"), converter_of("implode(,)")
    (('rounded(2)', 'number'), ('joined(",")', 'string'))
    """
    found = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", said, re.DOTALL)
    if found is None:
        return None
    name, given = found[1], found[2] or ""
    number = given.strip() if re.fullmatch(r"\s*\d{1,3}\s*", given, re.ASCII) else ""
    zone = '"Asia/Shanghai"'
    plain = {
        "date": ("day()", "string"),
        "time": (f'instant({zone}, "HH:mm:ss")', "string"),
        "dateTime": (f'instant({zone}, "YYYY-MM-DD HH:mm")', "string"),
        "shortDate": (f'instant({zone}, "MM-DD")', "string"),
        "shortTime": (f'instant({zone}, "HH:mm")', "string"),
        "intval": ("truncated", "int"),
        "amount": ("money()", "string"),
        "implode": (f"joined({quoted(given.strip(chr(34) + chr(39)) or ',')})", "string"),
    }
    if name == "round" and int(number or 2) <= 30:
        return f"rounded({int(number or 2)})", "number"
    if name == "longText" and int(number or 15) >= 1:
        return f"cut({int(number or 15)})", "string"
    return plain.get(name)


def span(given: timedelta) -> str:
    """A span as Python text.

    >>> span(timedelta(minutes=90)), span(timedelta(days=2))
    ('timedelta(minutes=90)', 'timedelta(days=2)')
    """
    for word, unit in (("days", timedelta(days=1)), ("hours", timedelta(hours=1)), ("minutes", timedelta(minutes=1))):
        if not given % unit:
            return f"timedelta({word}={given // unit})"
    return f"timedelta(seconds={given // timedelta(seconds=1)})"


def object_of(side: Side) -> str:
    """The object that a source side reads; raises `DeclarationError` where it is none of Fenxiang."""
    node = side.find("request", "dataObjectApiName") or side.find("request", "apiName")
    inner = next((each.child("dataObjectApiName") for each in side.trees.get("request", ()) if each.children), None)
    found = (node or inner) and (node or inner).text  # type: ignore[union-attr]
    if not found:
        raise DeclarationError(
            f"the source reads {shown(side.api) or 'nothing'!r} and names no object of Fenxiang (dataObjectApiName); this project "
            "reads Fenxiang CRM (纷享销客), and a scheme from another system has no counterpart here"
        )
    if not API_NAME.fullmatch(found):
        raise DeclarationError(f"dataObjectApiName is {shown(found)!r}, which is no API name of an object")
    return found


def _references(said: str) -> list[Any]:
    return [each for each in pieces(said) if not isinstance(each, str)]


def _texts(node: Node | None) -> list[str]:
    if node is None:
        return []
    given = node.value if isinstance(node.value, list) else [node.value]
    texts = [text_of(each) for each in given if each is not None]
    parts = [
        part.strip() for each in texts for part in (each.split(",") if not each.startswith("_function") else [each])
    ]
    return parts + [text for child in node.children for text in _texts(child)]


def _all_texts(tree: Sequence[Node]) -> Iterator[str]:
    for node in tree:
        yield from _texts(node)
        yield from _all_texts(node.children)


def _values(node: Node | None) -> list[str] | None:
    """The values of a filter as text; None where they are not constant."""
    if node is None:
        return []
    separator = (node.params[0] if node.params else "") or ","
    given = node.value if isinstance(node.value, list) else [node.value]
    texts = [
        {True: "true", False: "false"}.get(each) if isinstance(each, bool) else text_of(each)
        for each in given
        if each is not None
    ]
    if any(each is None or _references(each) or each.startswith(("_function", "_findCollection")) for each in texts):
        return None
    if node.parser == "StringToArray":
        texts = [part.strip() for each in texts if each for part in each.split(separator)]
    return [each for each in [*texts, *(inner for child in node.children for inner in _values(child) or [])] if each]


def _typed(given: Any, *, numeric: bool) -> Part:
    """A value of a condition as Python text; raises `ValueError` for none."""
    if isinstance(given, bool) or (isinstance(given, int | Decimal)):
        return value(given)
    said = text_of(given)
    if given is None or (not said and not isinstance(given, str)):
        raise ValueError("has no value")
    if said.startswith("timestamp:"):
        seconds = said.removeprefix("timestamp:").strip()
        if not re.fullmatch(r"\d{1,11}", seconds, re.ASCII):
            raise ValueError("timestamp: is followed by no seconds")
        at = datetime.fromtimestamp(int(seconds), UTC)
        return moment_code(at)
    if _references(said):
        raise ValueError("compares with another field or a variable")
    if numeric:
        if not _NUMBER.fullmatch(said):
            raise ValueError("has no number to compare with")
        return str(int(said)) if "." not in said else f'Decimal("{said}")'
    return quoted(said)


def moment_code(at: datetime) -> str:
    """A moment as Python text."""
    parts = [at.year, at.month, at.day, *([at.hour, at.minute, at.second] if at.time() != datetime.min.time() else [])]
    return f"datetime({', '.join(map(str, parts))}, tzinfo=UTC)"
