"""The target side (目标): which target, its settings, and the nodes that rows are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fenxiang_sync.dagfile import Part, call, identifier, quoted, table, value
from fenxiang_sync.qeasy.crm import Crm, Into, is_of_crm, writes_records
from fenxiang_sync.qeasy.entries import Merge
from fenxiang_sync.qeasy.expressions import OutsideError, inserted
from fenxiang_sync.qeasy.metadata import Node, Scheme, Side, is_true, text_of
from fenxiang_sync.qeasy.reading import API_NAME, ID_KEYS, Reading, as_read, told
from fenxiang_sync.qeasy.references import Reference, pieces
from fenxiang_sync.qeasy.report import SECRET, Report, shown
from fenxiang_sync.qeasy.values import constant
from fenxiang_sync.qeasy.write_backs import primaries
from fenxiang_sync.targets.kingdee_answers import ByDIndex

NO_OPERATION = "写入空操作"
WRITTEN = frozenset((
    "api", "effect", "type", "method", "id", "number", "name", "idCheck", "operation", "groupCalculate", "autoCheck",
    "primaryWriteback", "callBackStrategy",
))  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_MOST_ROWS = 10_000
_MOST_LINES = r"[1-9]\d{0,5}"
_STEPS = {"submit": "SUBMIT", "audit": "AUDIT"}


@dataclass(slots=True, kw_only=True)
class Writing:
    """What of the target side goes into the declaration. `key` is what the scheme calls the row's id. Where rows become
    records of the CRM, `into` is what they go into, and `target` stands in while nobody knows how a record is found.
    `told_by` is what documents of Kingdee are told apart by, which is then the key.
    `tells` are the names of what another target tells of a row, each with its path in an answer."""

    target: Part
    nodes: tuple[Node, ...] = ()
    key: str = ""
    told_by: str = ""
    merge: Merge | None = None
    into: Into | None = None
    tells: Mapping[str, str] = field(default_factory=dict)


def writing(scheme: Scheme, made: Reading, report: Report, connection: str) -> Writing:
    """The target side of a scheme; without one, and for 写入空操作, the hub. `connection` is that of the CRM."""
    side = scheme.target
    if side is None:
        report.changed("target", "is not in the metadata: rows stay in the hub (写入空操作) until you choose a target")
        return Writing(target="HubTarget()", nodes=as_read(scheme.source, made))
    return _Writer(scheme, side, made, report, connection).write()


class _Writer:
    def __init__(self, scheme: Scheme, side: Side, made: Reading, report: Report, connection: str) -> None:
        self._scheme = scheme
        self._side = side
        self._made = made
        self._report = report
        self._connection = connection
        self._key = text_of(side.keys.get("id"))

    def write(self) -> Writing:
        side, report, api = self._side, self._report, self._side.api
        made = Writing(target="HubTarget()", nodes=side.trees.get("request", ()), key=self._key, merge=self._merge())
        if api == NO_OPERATION or not api:
            self._hub(made)
        elif api in ("execute", "batchexecute"):
            self._table(made)
        elif api.lower() == "batchsave":
            self._kingdee(made)
        elif writes_records(api):
            self._crm(made)
        elif is_of_crm(api):
            report.none(
                "target.api",
                f"{shown(api)}: neither data/create nor data/update, so rows stay in the hub. A FenxiangTarget voids "
                "and deletes records by delete_policy=…",
            )
            self._left_over({"currentOpenUserId"})
        else:
            self._rest(made, api)
        for node in side.trees.get("otherResponse", ()):
            report.changed(
                node.place, "what an answer means is the target's to know: see verdict= and results= of REST targets"
            )
        self._plain()
        told(side, WRITTEN, report)
        return made

    def _plain(self) -> None:
        """Keys that mean the same, or nothing, at any target."""
        keys, report = self._side.keys, self._report
        if "name" in keys:
            report.changed("target.name", "a name to show has no part here; people search by the number")
        if "number" in keys:
            report.changed("target.number", "people search by the number of the source, number=…, at any target")
        told = {each.key for each in report.findings}
        if "autoCheck" in keys and "target.autoCheck" not in told:
            report.none("target.autoCheck", "documents of Kingdee are audited; this target has no such step")
        if "operation" in keys and not any(each.startswith("target.operation") for each in told):
            report.none("target.operation", "how rows are written is the target's to know, and none is made here")

    def _hub(self, made: Writing) -> None:
        self._report.taken("target.api", "写入空操作: rows stay in the hub, where they can be queried and looked up")
        if not made.nodes:
            made.nodes = as_read(self._scheme.source, self._made)
            if not made.nodes:
                self._report.none(
                    "source.response",
                    "no fields are declared, and Qeasy keeps whatever comes: add what you need (`fenxiang describe`)",
                )
        self._left_over({"currentOpenUserId"})
        self._operation(frozenset(("none",)))

    # The CRM

    def _crm(self, made: Writing) -> None:
        read = "" if self._made.form is not None else self._made.object
        made.into, made.nodes = Crm(self._side, self._report, self._connection).read(read)
        if made.into is not None:
            self._made.moments = True
            if made.into.match and self._key not in [node.field for node in made.nodes]:
                made.key = made.into.match
        self._operation(frozenset(("none",)))

    # SQL

    def _table(self, made: Writing) -> None:
        side, report = self._side, self._report
        written = side.find("otherRequest", "main_sql")
        try:
            found = inserted(written.text if written else "")
        except OutsideError as error:
            place = written.place if written else "target.otherRequest.main_sql"
            report.none(
                place, f"{error}: no table is known, so rows stay in the hub; write SqlTable(connection=…, table=…)"
            )
            made.nodes = self._params()
            self._left_over({"main_sql", "limit"})
            return
        made.nodes = self._columns(found.columns)
        renamed = {param: column for column, param in found.columns.items() if param}
        made.key = renamed.get(self._key, self._key)
        connection = identifier(self._scheme.target_platform, instead="sql")
        made.target = call("SqlTable", connection=quoted(connection), table=quoted(found.table))
        report.taken("target.api", f"the table {found.table}: SqlTable; make the Airflow connection {connection}")
        report.changed(
            "target.otherRequest.main_sql",
            "replaced by an upsert by id that an older version of a row never passes; the table gets fx_… columns",
        )
        if found.condition:
            report.changed("target.otherRequest.main_sql", f"{found.condition}: all columns are updated here")
        if re.search(r"sql ?server|oracle|mssql", self._scheme.target_platform, re.IGNORECASE):
            report.none(
                "strategy.target.platform",
                "SqlTable takes PostgreSQL, MySQL, MariaDB and SQLite; this database is none of them",
            )
        if (limit := side.find("otherRequest", "limit")) is not None:
            report.changed(
                limit.place, "batches of 1,000 rows, in one transaction each, in which a bad row stands alone"
            )
        self._left_over({"main_sql", "limit"})
        self._operation(frozenset(("none", "batchArraySave")))

    def _params(self) -> tuple[Node, ...]:
        params = self._side.find("request", "main_params")
        for node in self._side.trees.get("request", ()):
            if node.field != "main_params" and params is not None:
                self._report.none(
                    node.place, "parameters of further statements (extend_params, sub_params) are not taken over"
                )
        return params.children if params is not None else self._side.trees.get("request", ())

    def _columns(self, columns: Mapping[str, str | None]) -> tuple[Node, ...]:
        """The parameters' nodes under the names of their columns."""
        params = {node.field: node for node in self._params()}
        in_order = list(params.values())
        made = []
        for at, (column, param) in enumerate(columns.items()):
            node = params.get(param) if param else in_order[at] if param == "" and at < len(in_order) else None
            if node is None:
                self._report.none(
                    f"target.otherRequest.main_sql.{shown(column)}",
                    "is no parameter of main_params; write a Field for the column",
                )
                continue
            made.append(replace(node, field=column))
            in_order[in_order.index(node)] = made[-1]
        for node in params.values():
            if not any(each.place == node.place for each in made):
                self._report.none(node.place, "is in no column of main_sql")
        return tuple(made)

    # Kingdee

    def _kingdee(self, made: Writing) -> None:
        side, report = self._side, self._report
        form = side.find("otherRequest", "FormId")
        if form is None or not _NAME.fullmatch(form.text):
            report.none(
                "target.otherRequest.FormId", "which form is written is not said; write KingdeeBatchSave(form=…)"
            )
            return
        words: dict[str, Part] = {"form": quoted(form.text)}
        named = [each for each in (self._key, text_of(side.keys.get("number"))) if _NAME.fullmatch(each)]
        number = [*(each for each in named if each.startswith("F")), *named, "FNumber"][
            0
        ]  # Kingdee's keys begin with F
        if number != "FNumber":
            words["number_field"] = quoted(number)
        words["id_field"] = quoted(ID_KEYS.get(form.text, "FID"))
        report.changed(
            "target.api",
            f"KingdeeBatchSave of {form.text} (connection kingdee): the document of a number is looked up before each "
            f"write; check id_field={ID_KEYS.get(form.text, 'FID')}",
        )
        words |= self._steps()
        words |= self._settings()
        if rows := self._operation(frozenset(("none", "batchArraySave")), root="Model"):
            words["batch_rows"] = str(rows)
        made.target = call("KingdeeBatchSave", **words)
        made.told_by = number
        made.tells = ByDIndex.tells

    def _steps(self) -> dict[str, Part]:
        node = self._side.find("otherRequest", "Operation")
        said = node.text.lower() if node is not None else ""
        step = _STEPS.get(said, "AUDIT" if is_true(self._side.keys.get("autoCheck")) else "")
        if node is not None and said not in ("save", "batchsave", *_STEPS):
            self._report.none(
                node.place, f"{shown(said)}: documents are saved; operation=… takes SUBMIT and AUDIT as well"
            )
        elif node is not None:
            self._report.taken(node.place, f"documents are taken as far as {shown(said)}")
        if "autoCheck" in self._side.keys:
            self._report.changed(
                "target.autoCheck", "operation=Operation.AUDIT" if step == "AUDIT" else "documents are only saved"
            )
        return {"operation": f"Operation.{step}"} if step else {}

    def _settings(self) -> dict[str, Part]:
        made: dict[str, Part] = {}
        for node in self._side.trees.get("otherRequest", ()):
            if node.field in ("FormId", "Operation"):
                continue
            found = self._setting(node)
            if found is not None:
                made[node.field] = found
        if not made:
            return {}
        return {"settings": table(made)}

    def _setting(self, node: Node) -> Part | None:
        if SECRET.search(node.field):
            self._report.none(
                node.place, "looks like a secret or a person: it goes into the connection, and its value is not told"
            )
            return None
        if node.children or node.value is None or _moves(node.value):
            self._report.none(node.place, "is no constant; write it into settings=…")
            return None
        try:
            made = constant(node)
        except ValueError as error:
            self._report.none(node.place, f"its value {error}")
            return None
        self._report.taken(node.place, "in settings")
        return value(made)

    # REST

    def _rest(self, made: Writing, api: str) -> None:
        path = "/" + re.sub(r"[\s?#{}].*", "", api).lstrip("/")
        platform = identifier(self._scheme.target_platform, instead="target")
        method = text_of(self._side.keys.get("method")).upper()
        words: dict[str, Part] = {"connection": quoted(platform), "path": quoted(path)}
        if method in ("PUT", "PATCH"):
            words["method"] = quoted(method)
        operation = self._side.keys.get("operation")
        root = text_of(operation.get("rowsKey")) if isinstance(operation, dict) else ""
        rows = self._operation(frozenset(("none", "batchArraySave")), root=root)
        self._report.none(
            "target.api",
            f"{shown(api)}: no target knows this interface. The file has a skeleton: its path, how it signs in and "
            "how an answer is read are to be written (A REST target, in adding-an-object)",
        )
        self._left_over(set())
        if root:
            if rows:
                words["batch_rows"] = str(rows)
            made.target = call("RestTarget", **words, envelope=call("Array", root=quoted(root)))
            return
        if API_NAME.fullmatch(self._key):
            words["id_field"] = quoted(self._key)
        made.tells = {
            name: path
            for _, name, path in primaries(self._side)
            if API_NAME.fullmatch(name) and re.fullmatch(r"\w+(\.\w+)*", path)
        }
        if made.tells:
            words["results"] = call("Whole", tells=table((name, quoted(path)) for name, path in made.tells.items()))
        made.target = call("WriteApi", **words)

    # Both

    def _left_over(self, known: set[str]) -> None:
        for node in self._side.trees.get("otherRequest", ()):
            if node.field not in known:
                self._report.none(
                    node.place,
                    "no parameter that is known of this target; its value is not told, since it may be secret",
                )

    def _operation(self, methods: frozenset[str], root: str = "") -> int:
        """The rows of a batch, 0 where that is not said."""
        given, report = self._side.keys.get("operation"), self._report
        if given is None:
            return 0
        if not isinstance(given, dict):
            report.unknown("target.operation", "is no object of method, rows and rowsKey")
            return 0
        for key in given.keys() - {"method", "rows", "rowsKey"}:
            report.unknown(f"target.operation.{shown(key)}")
        method, rows, key = (text_of(given.get(name)) for name in ("method", "rows", "rowsKey"))
        if method and method not in methods:
            report.none("target.operation", f"{shown(method)} has no counterpart at this target")
        elif key not in ("", root):
            report.none("target.operation.rowsKey", f"{shown(key)}: rows stand under {root} here")
        else:
            report.taken("target.operation", "rows are written in batches")
        return int(rows) if re.fullmatch(r"[1-9]\d{0,4}", rows, re.ASCII) and int(rows) <= _MOST_ROWS else 0

    def _no_lines(self) -> str:
        """Why there are no lines that become a list of their record again, "" where there are."""
        if self._made.form is not None:
            return "documents of several entries (分录): here each is a record; group them where the hub is read"
        if not self._made.flattened:
            return (
                "no list is flattened (beatFlat), so these are documents of several records: here each record is one; "
                "group them where the hub is read"
            )
        return ""

    def _merge(self) -> Merge | None:
        given, report, place = self._side.keys.get("groupCalculate"), self._report, "target.groupCalculate"
        if not given:
            return None
        if not isinstance(given, dict):
            report.unknown(place, "is no object of headerGroup, bodyGroup, calculate")
            return None
        for key in given.keys() - {
            "headerGroup",
            "bodyGroup",
            "bodyName",
            "targetBodyName",
            "bodyMaxLine",
            "calculate",
        }:
            report.unknown(f"{place}.{shown(key)}")
        if missing := self._no_lines():
            report.none(place, missing)
            return None
        header, by = _texts(given.get("headerGroup")), _texts(given.get("bodyGroup"))
        if not {"_id", self._made.number} & set(header):
            report.none(
                f"{place}.headerGroup",
                "documents of several records: here each record stays one of its own; group them where the hub is read",
            )
        else:
            report.taken(f"{place}.headerGroup", "the lines of a record are a document again")
        calculate = given.get("calculate")
        calculate = (
            {str(name): text_of(take) for name, take in calculate.items()} if isinstance(calculate, dict) else {}
        )
        prefix = f"{self._made.flattened}_"
        for name, take in calculate.items():
            if not name.startswith(prefix) and take not in ("$first", "$last", "$min", "$max"):
                report.none(
                    f"{place}.calculate.{shown(name)}",
                    f"{shown(take)} of a field of the record over its lines; take it from the lines",
                )
        if text_of(given.get("targetBodyName")):
            report.taken(f"{place}.targetBodyName", "the list that is split where it has too many lines")
        most = text_of(given.get("bodyMaxLine"))
        if most and not re.fullmatch(_MOST_LINES, most, re.ASCII):
            report.none(f"{place}.bodyMaxLine", f"{shown(most)!r} is no number of lines; say most=…")
        return Merge(
            body=text_of(given.get("bodyName")),
            by=by,
            calculate=calculate,
            most=int(most) if re.fullmatch(_MOST_LINES, most, re.ASCII) else None,
        )


def _moves(given: Any) -> bool:
    """Whether a value is worked out when it is used."""
    if not isinstance(given, str):
        return False
    return given.startswith(("_function", "_findCollection")) or any(
        isinstance(each, Reference) for each in pieces(given)
    )


def _texts(given: Any) -> list[str]:
    return [text_of(each) for each in given] if isinstance(given, list) else [text_of(given)] if given else []
