"""The CRM as a target: what ``data/create`` and ``data/update`` send becomes a `FenxiangTarget`.

::

    data.object_data     the record: dataObjectApiName, and its fields      triggerWorkFlow …  flags beside data
    data.details         lists of detail records (从对象) of a new record

By which field a record is found is the one thing that a create does not say; where nobody knows, the rows stay in the
hub, and the file and the report ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from fenxiang_sync.dagfile import Part, call, flat, quoted, table
from fenxiang_sync.qeasy.entries import Entry
from fenxiang_sync.qeasy.metadata import Node, Side, is_true, text_of
from fenxiang_sync.qeasy.queries import references_in
from fenxiang_sync.qeasy.reading import API_NAME
from fenxiang_sync.qeasy.report import SECRET, Report, shown
from fenxiang_sync.source import is_custom
from fenxiang_sync.targets.fenxiang import FenxiangTarget

_WRITES = re.compile(r"/?cgi/crm/(custom/)?v2/data/(create|update)/?", re.ASCII)
_OTHERS = re.compile(r"/?cgi/crm/", re.ASCII)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_FLAGS = {"triggerWorkFlow": "trigger_workflow", "triggerApprovalFlow": "trigger_approval"}
_FOR_NEW = {"hasSpecifyTime": "specify_time", "hasSpecifyCreatedBy": "specify_created_by"}
_PEOPLE = ("owner", "created_by")
_OBJECT = "dataObjectApiName"


def writes_records(api: str) -> bool:
    """Whether an interface creates or updates records of the CRM."""
    return _WRITES.fullmatch(api) is not None


def is_of_crm(api: str) -> bool:
    """Whether an interface is one of the CRM's."""
    return _OTHERS.match(api) is not None


@dataclass(slots=True, kw_only=True)
class Into:
    """An object of the CRM that rows go into. `match` is the field by which a row's record is found, "" where nobody
    knows, which `question` then asks; `lists` are detail objects that the row has a list of."""

    object: str
    creates: bool
    match: str = ""
    lists: tuple[str, ...] = ()
    question: str = ""
    words: dict[str, Part] = field(default_factory=dict)

    def target(self, rows: Sequence[Entry], match: str) -> Part:
        """The declaration of the target, for rows of these entries."""
        there = {entry.path for entry in rows}
        words: dict[str, Part] = {"object": quoted(self.object), "match": match}
        if not self.creates:
            words["creates"] = "False"
        words |= self.words
        if lists := [name for name in self.lists if name in there]:
            words["details"] = table({name: quoted(name) for name in lists})
        return call("FenxiangTarget", **words)

    def matched(self, rows: Sequence[Entry]) -> str:
        """The match field where a value of a row goes to it, "" where none does."""
        return next(
            (each.path for each in rows if each.path == self.match and not flat(each.code).startswith("Constant(")), ""
        )


class Crm:
    """Reads the target side of a scheme that writes records of the CRM."""

    def __init__(self, side: Side, report: Report, connection: str) -> None:
        self._side = side
        self._report = report
        self._connection = connection
        self._creates = side.api.rstrip("/").endswith("create")
        self._object = ""
        self._flags: dict[str, Node] = {}
        self._record: list[Node] = []
        self._details: list[Node] = []
        self._beside: list[Node] = []

    def read(self, read: str) -> tuple[Into | None, tuple[Node, ...]]:
        """What rows go into, None where that is not said, and the nodes of a row. `read` is the object of this CRM that
        the source reads, "" for none."""
        for node in self._side.trees.get("request", ()):
            self._place(node, [])
        for node in self._side.trees.get("otherRequest", ()):
            self._other(node)
        self._loose()
        self._persons()
        if not _NAME.fullmatch(self._object):
            self._report.none(
                "target.request.dataObjectApiName",
                f"{shown(self._object) or 'nothing'} is no API name of an object, so rows stay in the hub; write "
                "FenxiangTarget(object=…, match=…)",
            )
            return None, tuple(self._record)
        into = Into(object=self._object, creates=self._creates)
        if self._connection != "fenxiang":
            into.words["connection"] = quoted(self._connection)
        self._said_flags(into)
        nodes = (*self._fields(into), *self._lists(into))
        self._matched(into, nodes, read)
        self._path(into)
        return into, nodes

    # Where nodes stand

    def _place(self, node: Node, above: list[str]) -> None:
        """Put a node where it belongs: data, object_data and details are only around what is meant."""
        path = [*above, *node.field.split(".")]
        path = path[1:] if path[:1] == ["data"] else path
        around = path == [] or path in (["object_data"], ["details"])
        if around:
            for child in node.children:
                self._place(child, path)
            if not node.children and node.value is not None:
                self._report.none(node.place, "has no children, so that what is in it cannot be read")
            return
        top, rest = path[0], ".".join(path[1:])
        if path[-1] == _OBJECT and len(path) <= 2:
            self._object = self._object or node.text
        elif top == "object_data":
            self._record.append(replace(node, field=rest))
        elif top == "details":
            self._details.append(replace(node, field=rest))
        elif path == [top] and (top in _FLAGS or top in _FOR_NEW or top in ("includeDetailIds", "currentOpenUserId")):
            self._other(replace(node, field=top))
        else:
            self._beside.append(replace(node, field=".".join(path)))

    def _loose(self) -> None:
        """What stands beside everything that is known: the record itself, where no object_data is."""
        for node in self._beside:
            if SECRET.search(node.field):
                self._report.none(node.place, "looks like a secret or a person; it goes into the connection")
            elif self._record:
                self._report.none(node.place, "no parameter of data/create or data/update that is known here")
            else:
                self._report.changed(node.place, "stands in no object_data; taken for a field of the record")
        if not self._record:
            self._record = [node for node in self._beside if not SECRET.search(node.field)]

    def _persons(self) -> None:
        """Leave out persons who are named, and not read from a record."""
        named = [node for node in self._record if node.field in _PEOPLE and node.value is not None and not _reads(node)]
        for node in named:
            owner = "; new records belong to the acting user, or to FenxiangTarget(owner=…)"
            asks = owner if node.field == "owner" and self._creates else ""
            self._report.none(node.place, f"a person's id is not in the file{asks}")
        self._record = [node for node in self._record if node not in named]

    def _other(self, node: Node) -> None:
        if node.field in _FLAGS or node.field in _FOR_NEW or node.field == "includeDetailIds":
            self._flags[node.field] = node
        elif node.field == "currentOpenUserId":
            self._report.changed(
                node.place, "a person's id: put it into the connection, extra open_user_id; it is not in the file"
            )
        elif node.field == _OBJECT:
            self._object = self._object or node.text
        else:
            self._report.none(
                node.place, "no parameter that is known here; its value is not told, since it may be secret"
            )

    # What it says

    def _path(self, into: Into) -> None:
        if into.match:
            kind = "custom" if is_custom(self._object) else "preset"
            self._report.taken("target.api", f"{self._object}, a {kind} object of the CRM: FenxiangTarget")
        if ("/custom/" in self._side.api) != is_custom(self._object):
            self._report.changed(
                "target.api",
                f"{shown(self._side.api)} is for the other kind of object; the path follows from the name",
            )

    def _said_flags(self, into: Into) -> None:
        for name, word in {**_FLAGS, **_FOR_NEW}.items():
            node = self._flags.get(name)
            said = None if node is None else is_true(node.value)
            place = node.place if node is not None else f"target.request.{name}"
            if name in _FLAGS and (node is None or node.value is None):
                into.words[word] = "True"
                self._report.taken(place, f"is not said, and the CRM's own default is to: {word}=True")
            elif node is not None and said is None:
                self._report.none(place, f"is neither true nor false; say {word}=…")
            elif said and name in _FOR_NEW and not self._creates:
                self._report.changed(place, "is for new records, and this scheme only updates")
            elif said:
                into.words[word] = "True"
                self._report.taken(place, f"{word}=True")
            elif node is not None:
                self._report.taken(place, f"{word}=False, the default")
        if (node := self._flags.get("includeDetailIds")) is not None:
            self._report.changed(node.place, "ids of detail records have no part here: details are not written again")

    def _fields(self, into: Into) -> Iterator[Node]:
        probe = FenxiangTarget(
            object=into.object,
            match="_id" if not into.creates else "name",
            creates=into.creates,
            specify_time="specify_time" in into.words,
            specify_created_by="specify_created_by" in into.words,
        )
        for node in self._record:
            wrong = [] if node.field == probe.match else list(probe.path_problems(node.field))
            if not _NAME.fullmatch(node.field) and "." not in node.field and node.field != "_id":
                wrong = [f"{shown(node.field) or 'nothing'} is no API name of a field"]
            elif node.children and not wrong:
                wrong = ["a record of the CRM is flat; lines are detail records, and stand in data.details"]
            if wrong:
                self._report.none(node.place, "; ".join(wrong))
            elif node.field == "_id" and not self._creates:
                yield replace(node, required=True)
            else:
                yield node

    def _lists(self, into: Into) -> Iterator[Node]:
        for node in self._details:
            if not self._creates:
                self._report.none(node.place, "an update changes no lines; deliver them by a pipeline of theirs")
            elif not node.children or not API_NAME.fullmatch(node.field):
                self._report.none(node.place, "is no list of a detail object with fields of its lines")
            else:
                into.lists = (*into.lists, node.field)
                self._report.changed(
                    node.place, "details of a new record; a record that is there and has other lines is refused"
                )
                yield replace(node, type="array")

    # By what a record is found

    def _matched(self, into: Into, nodes: Sequence[Node], read: str) -> None:
        paths = [node.field for node in nodes if node.field not in into.lists]
        key, number = (text_of(self._side.keys.get(name)) for name in ("id", "number"))
        into.question = f"By which field is a record of {into.object} found? The metadata does not say."
        if not self._creates:
            into.match = "_id" if "_id" in paths else ""
            if into.match:
                self._report.taken("target.request._id", "records are found by _id, and only updated: creates=False")
            return
        if read == into.object:
            into.words["connection"] = "…"
            into.question = (
                f"New records of {into.object} would be read here too, and give the next: into which other CRM "
                "(connection=) do they go, and by which field is one found?"
            )
        elif key in paths and key != "_id":
            into.match = key
            self._report.changed(
                "target.id",
                f"match: a record is looked up by {key}, then updated or created, so that no retry makes a second one; "
                f"let the CRM keep {key} unique (唯一性)",
            )
        elif number in paths:
            into.question += f" {number} is what people search by: is it unique?"


def _reads(node: Node) -> bool:
    """Whether a value is worked out from the record that is read."""
    given: Collection[object] = node.value if isinstance(node.value, list) else [node.value]
    texts = [each for each in given if isinstance(each, str)]
    return any(each.startswith(("_function", "_findCollection")) or references_in(each) for each in texts)
