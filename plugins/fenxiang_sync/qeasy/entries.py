"""Entries: nodes of a request become fields, constants, computed values, look-ups and lines of a declaration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from fenxiang_sync.dagfile import Code, Part, call, listed, quoted, table, value
from fenxiang_sync.qeasy import expressions, functions
from fenxiang_sync.qeasy.expressions import OutsideError, is_function
from fenxiang_sync.qeasy.functions import Function
from fenxiang_sync.qeasy.lookups import Lookups
from fenxiang_sync.qeasy.metadata import Node
from fenxiang_sync.qeasy.names import MOMENT, Line, Names
from fenxiang_sync.qeasy.reading import API_NAME, Kept, Reading, clock_code
from fenxiang_sync.qeasy.references import Reference, pieces
from fenxiang_sync.qeasy.report import Report, shown
from fenxiang_sync.qeasy.values import CONVERTERS, TYPES, as_type, constant, parser_of, through_parser

_CASTS = {"string": ("text", "Kind.TEXT"), "int": ("as_whole", "Kind.INTEGER"), "number": ("as_number", "Kind.DECIMAL")}
_TAKES = {
    "$sum": "SUM", "$avg": "AVG", "$min": "MIN", "$max": "MAX", "$push": "PUSH", "$addToSet": "ADD_TO_SET",
    "$first": "FIRST", "$last": "LAST",
}  # fmt: skip


class Entry(NamedTuple):
    """One entry of a declaration: its target path, its Python text, the label for a comment, and what it reads where
    it is a plain field."""

    path: str
    code: Code
    label: str
    reads: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """groupCalculate (合并), where the lines that were flattened become a list of their document again."""

    body: str = ""
    by: Sequence[str] = ()
    calculate: Mapping[str, str] = field(default_factory=dict)
    most: int | None = None


@dataclass(slots=True)
class Entries:
    """Makes the entries of a declaration, the functions that they call among them.

    `merge` is None where lines are rows (`reading.flattened`), or there are none. `pipelines` are names by the id of
    the scheme that a look-up is in. `taken` are names that no function may have.
    """

    reading: Reading
    report: Report
    merge: Merge | None
    pipelines: Mapping[str, str]
    taken: set[str]
    functions: list[Function] = field(default_factory=list)
    lists: set[str] = field(default_factory=set)
    merges: bool = field(default=False, init=False)

    @property
    def exploded(self) -> str:
        """The list whose lines are rows of their own, "" for none."""
        return "" if self.merge is not None else self.reading.flattened

    @property
    def _names(self) -> Names:
        return Names(self.reading, self.exploded, self.reading.flattened if self.merge is not None else "")

    def of(self, nodes: Sequence[Node]) -> Iterator[Entry]:
        """The entries of the nodes of a request, those of objects under dotted paths."""
        paths: set[str] = set()
        for node in nodes:
            yield from self._claimed(node, "", None, paths)
        if self.merge is not None and not self.merges:
            self.report.none(
                "target.groupCalculate",
                f"no list of the request has the value {self.reading.flattened}: no lines are merged; write Lines(…)",
            )

    def lines_of(self, nodes: Sequence[Node], line: Line) -> list[Entry]:
        """The entries of a line."""
        paths: set[str] = set()
        return [entry for node in nodes for entry in self._claimed(node, "", line, paths)]

    def _claimed(self, node: Node, within: str, line: Line | None, paths: set[str]) -> Iterator[Entry]:
        """The entries of a node. `paths` are those that are written, and the objects that they are in, with a dot."""
        parts = node.field.split(".")
        if not all(part.strip() == part != "" for part in parts):
            self.report.none(node.place, f"{shown(node.field)!r} cannot be a name of a value")
            return
        path = f"{within}.{node.field}" if within else node.field
        if node.children and TYPES.get(node.type, "") != "array":
            if node.type not in TYPES:
                self.report.changed(node.place, f"type {shown(node.type)!r} is unknown; taken for an object")
            if node.value is not None:
                self.report.none(node.place, "has a value and children; the children are taken")
            for child in node.children:
                yield from self._claimed(child, path, line, paths)
            return
        above = {path[:at] for at, letter in enumerate(path) if letter == "."}
        if path in paths or above & paths or f"{path}." in paths:
            self.report.none(
                node.place, f"{shown(path)} is written already, as a value or as an object; rename one of them"
            )
            return
        made = self._entry(node, path, line)
        if made is not None:
            paths |= {path, *(f"{each}." for each in above)}
            yield made

    def _entry(self, node: Node, path: str, line: Line | None) -> Entry | None:
        if node.type not in TYPES:
            self.report.changed(node.place, f"type {shown(node.type)!r} is unknown; the value is taken as it is")
        if node.children:
            return self._lines(node, path) if line is None else self._left(node, "lists do not nest in lines")
        if node.value is None:
            return self._left(node, "has no value")
        if not isinstance(node.value, str):
            return self._constant(node, path)
        if is_function(node.value):
            return self._function(node, path, line)
        if node.text.startswith("_findCollection"):
            return self._lookup(node, path, line)
        parts = pieces(node.text)
        if not any(isinstance(each, Reference) for each in parts):
            return self._constant(node, path)
        if len(parts) == 1 and isinstance(parts[0], Reference):
            return self._field(node, path, parts[0], line)
        return self._template(node, path, parts, line)

    def _left(self, node: Node, why: str) -> Entry | None:
        self.report.none(node.place, why)
        return None

    # One value

    def _constant(self, node: Node, path: str) -> Entry | None:
        try:
            made = constant(node)
        except ValueError as error:
            return self._left(node, f"its value {error}")
        self.report.taken(node.place, "a constant")
        return Entry(path, call("Constant", quoted(path), value(made)), node.label)

    def _field(self, node: Node, path: str, reference: Reference, line: Line | None) -> Entry | None:
        try:
            source, steps, kind = self._names.resolved(reference, line)
        except OutsideError as error:
            return self._left(node, str(error))
        self.report.taken(node.place, f"a field: {source}")
        return self._written(node, path, source, steps, kind, line)

    def _written(
        self, node: Node, path: str, source: str, steps: list[str], kind: str, line: Line | None, default: Part = ""
    ) -> Entry:
        wanted = TYPES.get(node.type, "")
        known = self.reading.types.get(source if line is None else f"{line.list}.{source}", "")
        if wanted == "string" and kind == "" and TYPES.get(known) == "array" and not node.parser:
            steps = [*steps, 'joined(",")']
            self.report.changed(node.place, f"{source} is a list, and text is wanted: its values are joined by commas")
        elif (
            wanted in CONVERTERS
            and kind not in (wanted, MOMENT)
            and node.parser not in ("StringToArray", "ArrayToString", "ConvertJson")
        ):
            steps = [*steps, CONVERTERS[wanted]]
        words: dict[str, Part] = {}
        steps = [*steps, *self._parsers(node)]
        if steps:
            words["convert"] = steps[0] if len(steps) == 1 else call("chain", *steps)
        if default:
            words["default"] = default
        elif node.required:
            words["required"] = "True"
        elif node.parser == "StringToArray":
            words["default"] = "[]"
        target = [] if source == path else [quoted(path)]
        return Entry(path, call("Field", quoted(source), *target, **words), node.label, source)

    def _parsers(self, node: Node) -> list[str]:
        if not node.parser:
            return []
        found = parser_of(node)
        if found is None:
            self.report.none(f"{node.place}.parser", f"{shown(node.parser)} is unknown; the value is taken as it is")
            return []
        return [found[0]]

    def _function(self, node: Node, path: str, line: Line | None) -> Entry:
        said = node.text
        try:
            whole = expressions.parsed(said)
            for word in (self._as_map, self._as_clock, self._as_prefix, self._as_inner):
                if (made := word(node, path, whole, line)) is not None:
                    return made
        except OutsideError:
            pass  # neither word says it; the function below does, or tells why it cannot
        cast, kind = _CASTS.get(TYPES.get(node.type, ""), ("", ""))
        function = functions.function(said, node.field, self._names.resolver(line), cast=cast, taken=self.taken)
        return self._computed(node, path, function, kind)

    def _template(self, node: Node, path: str, parts: Sequence[str | Reference], line: Line | None) -> Entry:
        match parts:
            case [str() as before, Reference() as behind]:
                with suppress(OutsideError):  # the function below tells why it cannot
                    if (made := self._prefixed(node, path, before, behind, line, filled=True)) is not None:
                        return made
        function = functions.template(node.text, parts, node.field, self._names.resolver(line), self.taken)
        return self._computed(node, path, function, "Kind.TEXT")

    def _as_prefix(self, node: Node, path: str, whole: expressions.Parsed, line: Line | None) -> Entry | None:
        found = expressions.prefixed(whole)
        return None if found is None else self._prefixed(node, path, found[0], found[1], line, filled=found[2])

    def _prefixed(
        self, node: Node, path: str, before: str, behind: Reference, line: Line | None, *, filled: bool
    ) -> Entry | None:
        """A text before a field; where that is absent, the text alone (`filled`) or null. None where it is no text."""
        if TYPES.get(node.type, "") not in ("string", ""):
            return None
        source, steps, _ = self._names.resolved(behind, line)
        try:
            instead = value(through_parser(before, node)) if filled else ""
        except ValueError:
            return None
        convert = call("prefixed", quoted(before)).flat
        self.report.taken(node.place, f"{source} with {shown(before)} before it")
        return self._written(node, path, source, [*steps, convert], "string", line, instead)

    def _as_inner(self, node: Node, path: str, whole: expressions.Parsed, line: Line | None) -> Entry | None:
        found = expressions.inside(whole)
        if found is None:
            return None
        source, steps, _ = self._names.resolved(found[0], line)
        convert = call("unwrapped", *map(quoted, found[1])).flat
        self.report.changed(
            node.place, f"{'.'.join(map(shown, found[1]))} out of {source}: unwrapped; an object without it is rejected"
        )
        return self._written(node, path, source, [*steps, convert], "", line)

    def _tell_of_booleans(self, node: Node, reads: Sequence[str]) -> None:
        for each in reads:
            if TYPES.get(self.reading.types.get(each, "")) == "bool":
                self.report.changed(
                    node.place,
                    f"{each} is true or false: in a text that is 'true' or 'false' here, and how Qeasy writes it is "
                    "not documented; check what it is compared with",
                )

    def _computed(self, node: Node, path: str, function: Function, kind: str) -> Entry:
        self.functions.append(function)
        self._tell_of_booleans(node, function.reads)
        if function.outside:
            self.report.none(
                node.place, f"{function.outside}; write the function {function.name} in the file: until then it rejects"
            )
        else:
            self.report.changed(
                node.place,
                f"the function {function.name} in the file; an error rejects the record, and is not written as text",
            )
        words: dict[str, Part] = {"reads": listed(map(quoted, function.reads))}
        if kind and not function.outside and not node.parser:
            words["kind"] = kind
        if node.required:
            words["required"] = "True"
        if node.parser:
            self.report.none(f"{node.place}.parser", f"behind an expression: let the function {function.name} do it")
        return Entry(path, call("Computed", function.name, quoted(path), **words), node.label)

    def _as_map(self, node: Node, path: str, whole: expressions.Parsed, line: Line | None) -> Entry | None:
        found = expressions.value_map(whole)
        wanted = TYPES.get(node.type, "")
        if found is None or wanted in ("array", "object", "bool"):
            return None
        source, steps, _ = self._names.resolved(found.reference, line)
        try:
            becomes = {key: as_type(instead, wanted) for key, instead in found.becomes.items()}
            otherwise = as_type(found.otherwise, wanted)
            of_empty = becomes.get("", otherwise) if found.in_quotes else otherwise
            of_null = through_parser(of_empty, node)
        except ValueError:
            return None  # a function says so for the records that it is about
        if (
            steps
            or None in becomes.values()
            or not becomes.keys() - {""}
            or (otherwise is None and of_null is not None)
        ):
            return None
        others: dict[str, Part] = (
            {"unmatched": "Unmatched.NULL"} if otherwise is None else {"default": value(otherwise)}
        )
        mapped = call("value_map", table((key, value(instead)) for key, instead in becomes.items() if key), **others)
        steps = self._parsers(node)
        given: dict[str, Part] = {"convert": call("chain", mapped, *steps) if steps else mapped}
        if of_null is not None:
            given["default"] = value(of_null)
        elif node.required:
            given["required"] = "True"
        self._tell_of_booleans(node, [source])
        self.report.changed(node.place, f"a value map of {source}; letters count as they are, while MySQL ignores case")
        return Entry(
            path,
            call("Field", quoted(source), *([] if source == path else [quoted(path)]), **given),
            node.label,
            source,
        )

    def _as_clock(self, node: Node, path: str, whole: expressions.Parsed, line: Line | None) -> Entry | None:
        found = expressions.clock(whole)
        tokens = {"%Y": "YYYY", "%m": "MM", "%d": "DD", "%H": "HH", "%i": "mm", "%s": "ss"}
        plain = found and re.fullmatch(r"(%[YmdHis]|[^A-Za-z%\[\]\\])+", found[1], re.ASCII)
        if found is None or not plain or TYPES.get(node.type, "") not in ("string", ""):
            return None
        source, steps, _ = self._names.resolved(found[0], line)
        if steps:
            return None
        form = re.sub(r"%[YmdHis]", lambda token: tokens[token[0]], found[1])
        convert = clock_code(form, local=False)
        self.report.taken(node.place, f"{source} as {form}, in Asia/Shanghai")
        return self._written(node, path, source, [convert], "string", line)

    def _lookup(self, node: Node, path: str, line: Line | None) -> Entry | None:
        try:
            made = Lookups(self._names, self.pipelines, self.report).code(node, path, line, self._parsers(node))
        except OutsideError as error:
            return self._left(node, str(error))
        return Entry(path, made, node.label)

    # Lines

    def _lines(self, node: Node, path: str) -> Entry | None:
        if self.reading.form is not None:
            return self._left(node, "a bill query gives a row for each entry (分录), so a record has no list of them")
        name = node.text.strip("{} ")
        body = self.merge.body if self.merge else ""
        source = self.reading.flattened if name and name in (body, self.reading.flattened) else name
        if not source or not API_NAME.fullmatch(source):
            return self._left(node, "a list with no list of the record as its value; write Lines(…)")
        if source == self.exploded:
            return self._left(node, f"the lines of {source} are rows of their own, so no list of them is in a row")
        entries = self.lines_of(
            node.children, Line(source, tuple(dict.fromkeys(filter(None, (body, name, source, node.field)))))
        )
        if not entries:
            return self._left(node, "nothing of its lines could be taken over")
        self.lists.add(source)
        words: dict[str, Part] = {"fields": listed(entry.code for entry in entries)}
        words |= self._keeps(source)
        if source == self.reading.flattened and self.merge is not None:
            words |= self._merged(node, entries, self.merge)
        if node.required:
            words["required"] = "True"
        self.report.taken(node.place, f"the lines of {source}")
        return Entry(
            path, call("Lines", quoted(source), *([] if source == path else [quoted(path)]), **words), node.label
        )

    def _keeps(self, source: str) -> dict[str, Part]:
        groups = [[each for each in group if each.field.startswith(f"{source}.")] for group in self.reading.conditions]
        some = [group for group in groups if group]
        if not some:
            return {}
        if len(some) < len(groups):
            self.report.changed(
                "source.condition", f"conditions on lines of {source} hold for the lines of all records that are kept"
            )
        if any(each.strict for group in some for each in group):
            self.report.none(
                "source.condition", f"strictMode on {source}: a line that fails is left out, and its record is kept"
            )
        return {
            "keeps": listed(
                listed(Kept(*each[:3], False).code(each.field.partition(".")[2]) for each in group) for group in some
            )
        }

    def _merged(self, node: Node, entries: Sequence[Entry], merge: Merge) -> dict[str, Part]:
        assert self.merge is not None  # noqa: S101 - asked for where there is one
        words: dict[str, Part] = {}
        self.merges = True
        by = [self._of_line(each) for each in merge.by]
        paths = [entry.path for entry in entries if entry.reads in by]
        if by and {entry.reads for entry in entries} >= set(by):
            takes = {self._of_line(key): take for key, take in merge.calculate.items()}
            others = {
                entry.path: f"Take.{_TAKES.get(takes.get(entry.reads, ''), 'FIRST')}"
                for entry in entries
                if entry.path not in paths
            }
            words["group"] = call("Group", by=listed(map(quoted, paths)), take=table(others))
            self.report.taken("target.groupCalculate.bodyGroup", f"lines with equal {', '.join(paths)} are one")
            if takes:
                self.report.taken(
                    "target.groupCalculate.calculate",
                    "fields that are neither grouped nor calculated are lost there; here they are not",
                )
        elif by:
            self.report.changed(
                "target.groupCalculate.bodyGroup",
                f"{', '.join(map(shown, by))} is in no field of {node.field}: lines are not merged",
            )
        if merge.calculate and "group" not in words:
            self.report.none(
                "target.groupCalculate.calculate", "lines are not merged, so nothing is worked out of them"
            )
        if merge.most:
            words["most"] = str(merge.most)
            self.report.taken(
                "target.groupCalculate.bodyMaxLine",
                f"at most {merge.most} lines in a row, the rest in further rows",
            )
        return words

    def _of_line(self, name: str) -> str:
        return name.removeprefix(f"{self.reading.flattened}_")
