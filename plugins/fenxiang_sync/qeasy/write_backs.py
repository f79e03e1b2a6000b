"""Write-backs (回写): what the target tells of a row. ``primaryWriteback`` keeps it with the row, which is done by
itself here; ``callBackStrategy`` hands it on to another scheme, and where that one writes it into the record it came
from, it is a `WriteBack`.

That scheme may be given; else a field of the CRM is told by its name alone, which ends in ``__c``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fenxiang_sync.dagfile import Part, call, flat, quoted, table
from fenxiang_sync.qeasy.crm import Crm, Into, writes_records
from fenxiang_sync.qeasy.entries import Entry
from fenxiang_sync.qeasy.metadata import Node, Side, text_of
from fenxiang_sync.qeasy.queries import references_in
from fenxiang_sync.qeasy.reading import Reading
from fenxiang_sync.qeasy.report import Report, shown
from fenxiang_sync.write_back import Told, WriteBack

_PRIMARY = "primaryWriteback"
_CALL_BACK = "callBackStrategy"
_OURS = re.compile(r"[A-Za-z][A-Za-z0-9_]*__c", re.ASCII)
_STANDS = frozenset(("status", "issuccess", "success"))
_REFUSED = frozenset(("message", "msg", "error", "errormessage", "reason"))


@dataclass(slots=True, kw_only=True)
class WriteBacks:
    """Reads them of a target side. `tells` are the names of what its target tells, each with its path in an answer;
    `receiver` is the target side of the
    scheme that is called back, None where it is not at hand."""

    side: Side
    made: Reading
    report: Report
    tells: Mapping[str, str]
    name: str
    receiver: Side | None = None
    kept: dict[str, str] = field(default_factory=dict)

    def read(self, rows: Sequence[Entry], *, several: bool) -> Part | None:
        """What goes back into the record, None for nothing. `several` is whether a record may give several rows."""
        self._primary()
        given = self.side.keys.get(_CALL_BACK)
        place = f"target.{_CALL_BACK}"
        if given is None:
            return None
        if not isinstance(given, dict) or not given:
            self.report.none(place, "is no object of strategyId and fields, so nothing is handed on")
            return None
        return self._called_back(given, place, rows, several=several)

    # primaryWriteback

    def _primary(self) -> None:
        """What is kept with a row."""
        others = [node for node in self.side.trees.get("response", ()) if node.field != _PRIMARY]
        for place, name, path in [*primaries(self.side), *((node.place, node.field, node.field) for node in others)]:
            if told := self._told(path):
                self.kept[name.lower()] = told
                self.report.taken(place, f"kept beside the row by itself: Lookup(find='@told.{told}') takes it")
            elif self.tells:
                self.report.none(place, f"{shown(path)} is not kept: the target tells {_and(self.tells)} of a row")
            else:
                self.report.none(
                    place,
                    "this target tells nothing of its rows; a REST target does by its results, as in "
                    f"results=Whole(tells={{{shown(name)!r}: {shown(path)!r}}}) for one row a call",
                )
        if self._says_nothing():
            self.report.none(f"target.{_PRIMARY}", "names nothing of the answer, so nothing is kept by it")

    def _says_nothing(self) -> bool:
        """Whether there is a primaryWriteback, and nothing in it."""
        there = _PRIMARY in self.side.keys or self.side.find("response", _PRIMARY) is not None
        return there and not list(primaries(self.side))

    def _told(self, path: str) -> str:
        """What the target tells from this path of its answer, or by the name at its end; "" where it tells no such
        thing."""
        last = path.rpartition(".")[2].lower()
        by_path = {each.lower(): name for name, each in self.tells.items()}
        names = {name.lower(): name for name in self.tells}
        if "_id" in self.tells:
            names["id"] = "_id"
        return by_path.get(path.lower()) or by_path.get(last) or names.get(last, "")

    # callBackStrategy

    def _called_back(
        self, given: Mapping[str, Any], place: str, rows: Sequence[Entry], *, several: bool
    ) -> Part | None:
        scheme = shown(text_of(given.get("strategyId"))) or "another scheme"
        told: dict[str, str] = {}
        for name, value in given.items():
            if name == "strategyId":
                continue
            source = _name(value)
            top, dot, rest = source.partition(".")
            if top.lower() != _PRIMARY.lower() or not dot:
                self._of_record(f"{place}.{shown(name)}", source)
            elif one := self.kept.get(rest.lower()) or self._told(rest):
                told[name] = one
            else:
                self._not_told(f"{place}.{shown(name)}", name, rest)
        if self.made.form is not None:
            self.report.none(place, self._into_kingdee(scheme))
            return None
        if not told:
            self.report.none(place, f"nothing that the target tells is handed on to {scheme}")
            return None
        fields, into = self._fields(told, given, place, scheme)
        return self._write_back(fields, into, place, rows, several=several)

    def _of_record(self, place: str, source: str) -> None:
        if source == "_id":
            self.report.taken(place, "the record that the row came from")
        else:
            self.report.changed(place, "is no answer of the target: the record, or a Lookup of the row, has it already")

    def _not_told(self, place: str, name: str, said: str) -> None:
        last, to = said.rpartition(".")[2].lower(), name if _OURS.fullmatch(name) else "…__c"
        if last in _STANDS:
            word = f"{to!r}: Standing({{Outcome.DELIVERED: '…', Outcome.DEAD_LETTER: '…'}})"
            self.report.none(place, f"where a record stands, in words that only you know: WriteBack(fields={{{word}}})")
        elif last in _REFUSED:
            self.report.none(place, f"why a record was refused: WriteBack(fields={{{to!r}: Refusal()}})")
        else:
            tells = f"tells {_and(self.tells)}" if self.tells else "tells nothing"
            self.report.none(place, f"{shown(said)} is nothing that the target tells of a row; it {tells}")

    def _into_kingdee(self, scheme: str) -> str:
        told = sorted(self.tells)[0] if self.tells else "…"
        return (
            f"handed on to {scheme}: nothing is written back into Kingdee; a pipeline from the form into itself takes "
            f"what was told: Lookup('F_…', pipeline={self.name!r}, find='@told.{told}', where={{'_id': '_id'}})"
        )

    def _fields(
        self, told: Mapping[str, str], given: Mapping[str, Any], place: str, scheme: str
    ) -> tuple[dict[str, str], Into | None]:
        """The fields of the record that are written, each with what the target tells; and the target that does it
        there."""
        if self.receiver is None:
            fields = {name: one for name, one in told.items() if _OURS.fullmatch(name)}
            for name in fields:
                self.report.changed(
                    f"{place}.{shown(name)}",
                    f"ends in __c, so it is taken for a field of {self.made.object}; check what {scheme} does with it, "
                    "or import with --call-back and its metadata",
                )
            for name in told.keys() - fields.keys():
                self.report.none(
                    f"{place}.{shown(name)}",
                    f"which field {scheme} writes is in its own metadata: give it with --call-back, or write "
                    f"write_back=WriteBack(fields={{'…__c': {flat(_word(told[name]))}}})",
                )
            return fields, None
        into, nodes = (
            Crm(self.receiver, Report(), "fenxiang").read("") if writes_records(self.receiver.api) else (None, ())
        )
        if into is None or into.creates or into.object != self.made.object:
            self.report.none(
                place,
                f"{scheme} does not update records of {self.made.object}, so it is no write-back; let a pipeline of "
                f"its own take what was told: Lookup(pipeline={self.name!r}, find='@told.…')",
            )
            return {}, None
        return self._received(nodes, told, given, place), into

    def _received(
        self, nodes: Sequence[Node], told: Mapping[str, str], given: Mapping[str, Any], place: str
    ) -> dict[str, str]:
        fields: dict[str, str] = {}
        by = next((_name(node.value) for node in nodes if node.field == "_id"), "")
        if not by or _name(given.get(by)) != "_id":
            self.report.changed(place, "the record that is updated is taken to be the one that the row came from")
        for node in nodes:
            name = _name(node.value)
            if node.field == "_id":
                continue
            if name in told and not node.parser:
                fields[node.field] = told[name]
                self.report.taken(f"{place}.{shown(name)}", f"written back into {node.field}")
            else:
                self.report.none(
                    f"{place}.{shown(node.field)}",
                    "is written back as well, and not as the target tells it: WriteBack takes Told, Standing and "
                    "Refusal with a converter",
                )
        for name in told.keys() - {each.name for node in nodes for each in references_in(node.text)}:
            self.report.changed(f"{place}.{shown(name)}", "is handed on, and written nowhere")
        return fields

    def _write_back(
        self, fields: Mapping[str, str], into: Into | None, place: str, rows: Sequence[Entry], *, several: bool
    ) -> Part | None:
        code = {name: _word(one) for name, one in fields.items() if self._holds(name, one, place, rows)}
        if not code:
            return None
        made = call("WriteBack", fields=table(code), **self._flags(into))
        if several:
            self.report.none(
                place, f"a record may give several rows, and has no answer of its own; else it were {flat(made)}"
            )
            return None
        self.report.changed(
            place, f"write_back: {', '.join(code)} of the record, by a DAG of its own, {self.name}.write_back"
        )
        return made

    def _holds(self, name: str, told: str, place: str, rows: Sequence[Entry]) -> bool:
        """Whether a field may be written back; what speaks against it is told."""
        wrong = list(WriteBack(fields={name: Told(told)}).problems())
        code = [*(flat(entry.code) for entry in rows), *map(flat, self.made.filters), quoted(self.made.number or "")]
        read = any(quoted(name) in each for each in code)
        if read or any(each.field == name for group in self.made.conditions for each in group):
            wrong.append("is read by this pipeline itself, so that each write-back would change what is sent")
        for problem in wrong:
            self.report.none(f"{place}.{shown(name)}", problem)
        return not wrong

    def _flags(self, into: Into | None) -> dict[str, Part]:
        words = into.words if into is not None else {}
        return {word: words[word] for word in ("trigger_workflow", "trigger_approval") if word in words}


def primaries(side: Side) -> Iterator[tuple[str, str, str]]:
    """What ``primaryWriteback`` keeps of an answer: place, name, and path in the answer."""
    for node in side.trees.get("response", ()):
        for each in node.children if node.field == _PRIMARY else ():
            yield each.place, each.field, text_of(each.value).strip("{} ") or each.field
    given = side.keys.get(_PRIMARY)
    for name, value in given.items() if isinstance(given, dict) else ():
        yield f"target.{_PRIMARY}.{shown(name)}", name, text_of(value).strip("{} ") or name


def _name(value: Any) -> str:
    """The name that a value is a reference to, "" where it is anything else."""
    said = text_of(value)
    found = references_in(said)
    return found[0].name if len(found) == 1 and said.strip("{} ") == found[0].name else ""


def _word(told: str) -> Part:
    """What the target told, as a write-back writes it; an id is text there, whatever it is at the target."""
    return call("Told", quoted(told), **({"convert": "text"} if told == "Id" else {}))


def _and(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))
