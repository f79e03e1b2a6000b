"""Look-ups (联查): ``_findCollection find F from SCHEME where a={{x}}`` becomes a `Lookup` in rows of a pipeline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fenxiang_sync.dagfile import Code, Part, call, identifier, quoted, table
from fenxiang_sync.lookup import TOLD, Lookup
from fenxiang_sync.qeasy.expressions import OutsideError
from fenxiang_sync.qeasy.metadata import Node
from fenxiang_sync.qeasy.names import Line, Names
from fenxiang_sync.qeasy.references import Reference
from fenxiang_sync.qeasy.report import Report, shown
from fenxiang_sync.qeasy.values import CONVERTERS, TYPES

_FIND = re.compile(r"_findCollection\s+find\s+(\S+)\s+from\s+(\S+)\s+where\s+(.+?)(?:\s+_endFind)?", re.DOTALL)
_EQUALS = re.compile(r"\s*([\w.@]+)\s*=\s*\{\{?\s*([\w.]+)\s*\}?\}(?:\s+and\b)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Lookups:
    """Makes look-ups; `pipelines` are names by the id of the scheme that one is in."""

    names: Names
    pipelines: Mapping[str, str]
    report: Report

    def code(self, node: Node, path: str, line: Line | None, parsers: Sequence[str]) -> Code:
        """A look-up for a value at `path`, put through `parsers`; raises `OutsideError` for one that is none here."""
        own = "_id" if path == "_id" and self.names.reading.moments else "Id"
        find, scheme, where = self._read(node, line, own)
        name = self.pipelines.get(scheme) or identifier(f"qeasy_{scheme}", instead="scheme")
        if wrong := list(Lookup(path, pipeline=name, find=find, where=where).problems()):
            raise OutsideError(f"the look-up: {wrong[0]}; write Lookup(…)")
        self._tell(node, name, scheme, find)
        words: dict[str, Part] = {"pipeline": quoted(name), "find": quoted(find)}
        words["where"] = table((each, quoted(source)) for each, source in where.items())
        if node.required:
            words["required"] = "True"
        kinds = ("int", "number", "bool", *(("string",) if find.startswith(TOLD) else ()))
        converts = [CONVERTERS[kind] for kind in [TYPES.get(node.type, "")] if kind in kinds]
        converts += parsers
        if converts:
            words["convert"] = converts[0] if len(converts) == 1 else call("chain", *converts)
        return call("Lookup", quoted(path), **words)

    def _read(self, node: Node, line: Line | None, own: str) -> tuple[str, str, dict[str, str]]:
        """What is found, in which scheme, and what of a row equals which field. `own` is what a target calls the id
        that it told: where that becomes the id of a record, it is the CRM's."""
        found = _FIND.fullmatch(node.text)
        pairs = list(_EQUALS.finditer(found[3])) if found else []
        if found is None or not pairs or pairs[-1].end() != len(found[3].rstrip()):
            raise OutsideError("a look-up that cannot be read (find F from SCHEME where a={{x}}); write Lookup(…)")
        where = {}
        for pair in pairs:
            try:
                source, steps, _ = self.names.resolved(Reference(pair[2]), line)
            except OutsideError as error:
                raise OutsideError(f"the look-up {error}; write Lookup(…)") from None
            if steps:
                raise OutsideError("the look-up is by a formatted value; write Lookup(…)")
            where[row_path(pair[1])] = source
        return row_path(found[1], own), found[2], where

    def _tell(self, node: Node, name: str, scheme: str, find: str) -> None:
        if scheme not in self.pipelines:
            self.report.none(
                node.place,
                f"which pipeline scheme {shown(scheme)} is: import it too, and say --scheme {shown(scheme)}=NAME; "
                f"until then it is called {name}",
            )
        missing = "waits for its parent" if node.required else "is null"
        self.report.changed(node.place, f"a look-up in {name}; what is not found {missing}")
        if find.startswith(TOLD):
            self.report.changed(
                node.place,
                f"what the target told of that row: {find}. Kingdee tells Id and Number, a pipeline into the CRM _id, "
                "a REST target what its results name",
            )


def row_path(said: str, own: str = "Id") -> str:
    """What of a row a name of Qeasy's store means: what the target told of it, its id by the name `own`; else a path in
    it.

    >>> row_path("relation_id"), row_path("response.Result.Number"), row_path("primaryWriteback.id"), row_path("name")
    ('@told.Id', '@told.Number', '@told.Id', 'name')
    """
    top, dot, rest = said.partition(".")
    if top == "content" and dot:
        return rest
    if said == "relation_id":
        return TOLD + own
    if not dot or top not in ("response", "primaryWriteback"):
        return said
    last = rest.rpartition(".")[2]
    return TOLD + {"id": own, "number": "Number", "dataid": "_id"}.get(last.lower(), last)
