"""The source side (源): object or form, window, filters, conditions, lookbacks, and the names that formats give."""

from __future__ import annotations

import re
from datetime import timedelta

from fenxiang_sync.checks import cron_problems, spoken_span
from fenxiang_sync.dagfile import call, quoted
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.qeasy.bill_filters import ages
from fenxiang_sync.qeasy.bills import Bills, form_of, is_bill_query
from fenxiang_sync.qeasy.conditions import Conditions
from fenxiang_sync.qeasy.metadata import Node, Scheme, Side, nodes, text_of
from fenxiang_sync.qeasy.queries import Query, all_texts, references_in
from fenxiang_sync.qeasy.reading import API_NAME, ID_KEYS, Form, Format, Kept, Reading, clock_code, span, told
from fenxiang_sync.qeasy.report import Report, shown
from fenxiang_sync.qeasy.variables import Anchor, moment
from fenxiang_sync.source import is_custom

READ = frozenset((
    "api", "effect", "type", "method", "id", "number", "name", "idCheck", "autoFillResponse", "pagination", "condition",
    "beatFlat", "formatResponse", "omissionRemedy", "operation",
))  # fmt: skip
_GET = "data/get"
_GETS = (
    "a list, and then data/get of each record: no form of it in the metadata is documented, so records are read by "
    "data/query alone. Name the fields that only get gives: Source(get_fields=[…])"
)


def reading(scheme: Scheme, report: Report) -> Reading:
    """The source side of a scheme; raises `DeclarationError` where it reads neither an object of Fenxiang nor a form of
    Kingdee."""
    return _Reader(scheme, report).read()


class _Reader:
    def __init__(self, scheme: Scheme, report: Report) -> None:
        self._scheme = scheme
        self._side = scheme.source
        self._report = report
        self._made = Reading(object=object_of(scheme.source))

    def read(self) -> Reading:
        if is_bill_query(self._side):
            form = self._made.form = Form(ID_KEYS.get(self._made.object, "FID"))
            Bills(self._side, self._made, form, self._report).read()
        else:
            self._plain()
            self._requests()
        self._both()
        self._schedule()
        self._types()
        self._formats()
        self._flattened()
        self._conditions()
        self._remedy()
        told(self._side, READ, self._report)
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
        if _GET in api:
            report.none("source.api", _GETS)
        elif "data/query" not in api:
            report.changed("source.api", f"{shown(api)!r} is not data/query, which is what is called here")
        number = text_of(side.keys.get("number"))
        if number and API_NAME.fullmatch(number):
            made.number = number
            report.taken("source.number", f"{number}, which people search by")
        elif number:
            report.none("source.number", "is not the name of one field; number=… takes one")
        key = text_of(side.keys.get("id"))
        if key and key != "_id" and [each.name for each in references_in(key)] != ["_id"]:
            report.changed(
                "source.id", "records are told apart by _id here, whatever the scheme names; the row's id is key=…"
            )
        elif key:
            report.taken("source.id", "_id")
        if "pagination" in side.keys:
            report.changed("source.pagination", "pages are read by _id, 100 records each; page_size=… takes fewer")

    def _both(self) -> None:
        """What the sides of either system have."""
        if "autoFillResponse" in self._side.keys:
            self._report.changed(
                "source.autoFillResponse",
                "fields are declared here; before each run Kingdee is asked whether it knows them"
                if self._made.form
                else "fields are declared here; `fenxiang describe` and `fenxiang check` compare them with the CRM's",
            )
        if "name" in self._side.keys:
            self._report.changed("source.name", "a name to show has no part here; people search by the number")

    # request

    def _requests(self) -> None:
        for node in self._side.trees.get("request", ()):
            self._request(node)
        for node in self._side.trees.get("otherRequest", ()):
            self._other(node)
        for node in self._side.trees.get("otherResponse", ()):
            self._report.changed(node.place, "where things stand in Fenxiang's answers is known here")

    def _request(self, node: Node) -> None:
        if node.field == "search_query_info":
            Query(self._made, self._report).read(node)
        elif node.field == "data" and node.children:
            for child in node.children:
                self._request(child)
        elif node.field not in ("dataObjectApiName", "apiName"):
            self._report.none(
                node.place, _GETS if _GET in node.text else "no parameter of data/query that is known here"
            )

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
        elif _GET in node.text:
            report.none(node.place, _GETS)
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
        if scheme.source_platform:
            report.changed(
                "strategy.source.platform", "what is read follows from the interface; the connection is the CRM's"
            )
        if scheme.target_platform:
            report.changed("strategy.target.platform", "the target follows from the interface")
        if scheme.preconditions:
            report.none(
                "strategy.preconditions",
                f"{len(scheme.preconditions)} schemes: Lookup(required=True) waits for a parent; else let this "
                "DAG by the other's asset or TriggerDagRunOperator",
            )
        report.changed(
            "strategy",
            "LAST_SYNC_TIME of the scheme is not known here: the first scheduled run reads everything, or give start=…",
        )

    # response

    def _types(self) -> None:
        if self._side.trees.get("response"):
            self._report.changed(
                "source.response",
                "fields that a row reads are in its mapping, others are not read; their types are used for conditions",
            )
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
            found = converter_of(said, local=self._made.form is not None)
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
        if operation and not isinstance(operation, dict):
            report.unknown("source.operation", "is no object of method and arrayKey")
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
        if self._made.form is not None and names:
            report.none(
                "source.beatFlat",
                "a bill query gives a row for each entry (分录), and no list; id= the entry's own key reads them",
            )
            return
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

    def _conditions(self) -> None:
        inner = self._side.find("otherRequest", "condition")
        given = self._side.keys.get("condition") or (inner.value if inner else None)
        groups = Conditions(self._made.types, self._report).read(given)
        self._made.conditions = [[self._of_record(each) for each in group] for group in groups]

    def _of_record(self, kept: Kept) -> Kept:
        """A condition on a name that flattening or a format makes, on the field itself."""
        made, name = self._made, kept.field
        field = made.formats[name].old if name in made.formats else name
        prefix = f"{made.flattened}_"
        if made.flattened and field.startswith(prefix):
            field = f"{made.flattened}.{field.removeprefix(prefix)}"
        if field in ("", name):
            return kept
        self._report.changed("source.condition", f"{shown(name)}: a condition on {shown(field)}, of which it is made")
        return kept._replace(field=field)

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
        moments = [*ages(tree), *(found for said in all_texts(tree) if (found := moment(said)))]
        over = max((each.before for each in moments if each.anchor is Anchor.NOW), default=timedelta(0))
        if over <= timedelta(0) or list(cron_problems(cron)):
            report.none(place, "how far it reaches back or when it runs cannot be read; write lookbacks=[Lookback(…)]")
            return
        self._made.lookbacks.append(call("Lookback", schedule=quoted(cron), over=span(over)))
        report.changed(
            place,
            f"Lookback over {spoken_span(over)} on {cron}: up to now, not only up to an older moment; finds changed "
            "records as well; filters other than those of time stay as they are",
        )


def converter_of(said: str, *, local: bool = False) -> tuple[str, str] | None:
    """A format of formatResponse as Python text and the kind of what it gives, None for one that is unknown. With
    `local`, times have no zone, as Kingdee's.

    >>> converter_of("round(2)"), converter_of("implode(,)")
    (('rounded(2)', 'number'), ('joined(",")', 'string'))
    """
    found = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", said, re.DOTALL)
    if found is None:
        return None
    name, given = found[1], found[2] or ""
    number = given.strip() if re.fullmatch(r"\s*\d{1,3}\s*", given, re.ASCII) else ""
    plain = {
        "date": (clock_code("YYYY-MM-DD", local=local), "string"),
        "time": (clock_code("HH:mm:ss", local=local), "string"),
        "dateTime": (clock_code("YYYY-MM-DD HH:mm", local=local), "string"),
        "shortDate": (clock_code("MM-DD", local=local), "string"),
        "shortTime": (clock_code("HH:mm", local=local), "string"),
        "intval": ("truncated", "int"),
        "amount": ("money()", "string"),
        "implode": (f"joined({quoted(given.strip(chr(34) + chr(39)) or ',')})", "string"),
    }
    if name == "round" and int(number or 2) <= 30:
        return f"rounded({int(number or 2)})", "number"
    if name == "longText" and int(number or 15) >= 1:
        return f"cut({int(number or 15)})", "string"
    return plain.get(name)


def object_of(side: Side) -> str:
    """The object of Fenxiang, or the form of Kingdee, that a side reads; raises `DeclarationError` for neither."""
    if is_bill_query(side):
        return form_of(side)
    node = side.find("request", "dataObjectApiName") or side.find("request", "apiName")
    inner = next((each.child("dataObjectApiName") for each in side.trees.get("request", ()) if each.children), None)
    found = (node or inner) and (node or inner).text  # type: ignore[union-attr]
    if not found:
        raise DeclarationError(
            f"the source reads {shown(side.api) or 'nothing'!r} and names no object of Fenxiang (dataObjectApiName): "
            "this project reads Fenxiang CRM (纷享销客) and forms of Kingdee (executeBillQuery), and a scheme from "
            "another system has no counterpart here. If one calls it back, import that one with --call-back"
        )
    if not API_NAME.fullmatch(found):
        raise DeclarationError(f"dataObjectApiName is {shown(found)!r}, which is no API name of an object")
    return found
