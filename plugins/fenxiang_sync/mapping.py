"""Mapping: one Fenxiang record becomes one row (or one for each line, `explode`), or is rejected with every reason.

Absent and null are one thing, and Fenxiang leaves empty fields out as well, so "", [] and {} are null too. A row always
has every declared target path: one whose field is null holds None, so that an emptied field is emptied at the target.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as Record
from copy import copy
from typing import Any, Self

from fenxiang_sync.columns import Kind
from fenxiang_sync.computed import Computed
from fenxiang_sync.convert import epoch_ms, integer, is_null, text
from fenxiang_sync.digest import AS_WRITTEN, content_hash, digest, same
from fenxiang_sync.entry import Form, Reads, Rejected, error_of, target_problems, values
from fenxiang_sync.errors import DeclarationError, RecordError
from fenxiang_sync.explode import HEADER, Explode, Line
from fenxiang_sync.field import Constant, Field
from fenxiang_sync.lines import Lines
from fenxiang_sync.lookup import Answers, Finder, Lookup, asked
from fenxiang_sync.paths import INJECTED, bounded, shown, top
from fenxiang_sync.rows import Row, is_voided

__all__ = ["INJECTED", "Constant", "Entry", "Field", "Mapping", "content_hash", "problems"]

ENGINE_FIELDS = ("_id", "last_modified_time", "version", "life_status", "is_deleted")
"""What every query asks for besides the declared fields: identity, order, and whether the record is voided."""

Entry = Field | Constant | Computed | Lookup | Lines
_WORDS = (Field, Constant, Computed, Lookup, Lines)


def problems(entries: Sequence[Any], key: str | None, explode: Explode | None = None) -> Iterator[str]:
    """What of a mapping cannot be meant as written, each as a sentence; empty for one that can."""
    sound: list[Entry] = []
    for entry in entries:
        if not isinstance(entry, _WORDS):
            yield f"fields: {shown(entry)} is no Field, Constant, Computed, Lookup or Lines"
            continue
        wrong = list(entry.problems())
        yield from (f"{entry.named()}: {problem}" for problem in wrong)
        target: Any = entry.target
        if isinstance(target, str) and (not wrong or isinstance(entry, Field | Constant)):
            sound.append(entry)
    if explode is not None:
        yield from _explode_problems(sound, key, explode)
    yield from _split_problems(sound, key, explode)
    yield from target_problems([entry.target for entry in sound])
    yield from _key_problems(sound, key)


class Mapping:
    """The fields of a pipeline, compiled once. `key` is the target path of the row's id, `number` a source field.

    `also` are paths in the record that something else reads, to be asked for as well. With `explode` a record gives a
    row for each of its lines. Where `lookups` is not empty, `knowing` gives the mapping for a batch of records.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        key: str | None = None,
        number: str | None = "name",
        also: Sequence[str] = (),
        explode: Explode | None = None,
    ) -> None:
        if found := list(problems(entries, key, explode)):
            raise DeclarationError("; ".join(found))
        self.entries = tuple(entries)
        self.explode = explode
        self.number = number
        self.key = key if key is not None else _written_from_id(self.entries)[0].target
        self.projection = tuple(
            dict.fromkeys(
                [
                    *ENGINE_FIELDS,
                    *([number] if number else []),
                    *(f for e in entries for f in e.asks),
                    *([explode.field] if explode else []),
                    *map(top, also),
                ]
            )
        )
        """The record's own fields that are read; companions are there by name."""
        paths = [*([number] if number else []), *(path for entry in entries for path in entry.sources), *also]
        self.paths = tuple(dict.fromkeys(paths))
        """The same as whole paths, dotted where they lead into an object; without companions and the engine's own."""
        self.columns = tuple(entry.column for entry in entries)
        """What every row has, in the order of the declaration."""
        self._form = Form([entry.target for entry in entries])
        self._order: Reads = [
            (each, each.compile())
            for each in (
                Field("_id", convert=text, required=True),
                Field(number, convert=text) if number else Constant("number", None),
                Field("last_modified_time", convert=epoch_ms, required=True),
                Field("version", convert=integer, default=0),
            )
        ]
        self._key_path = self.key.split(".")
        self._key_entry = next(entry for entry in entries if entry.target == self.key)
        self._is_of_line = [_is_of_line(entry, explode) for entry in entries]
        self._id_of_line = _is_of_line(self._key_entry, explode)
        self._split = next((at for at, e in enumerate(entries) if isinstance(e, Lines) and e.most), None)
        self.lookups = tuple(self._lookups())
        """What is looked up in other pipelines, each with what of a record it reads: all of it, or its lines."""
        self._compile(None)

    def _compile(self, answers: Answers | None) -> None:
        self._reads: Reads = [
            (entry, entry.compile(answers) if isinstance(entry, Lookup | Lines) else entry.compile())
            for entry in self.entries
        ]
        of_line = list(zip(self._reads, self._is_of_line, strict=True))
        self._header_reads: Reads = [read for read, is_of_line in of_line if not is_of_line]
        self._line_reads: Reads = [read for read, is_of_line in of_line if is_of_line]

    def knowing(self, finder: Finder, records: Iterable[Record[str, Any]]) -> Self:
        """The same mapping for these records, with all that they look up; asks once for each look-up. Records must be
        mapped by a mapping that knows them."""
        if not self.lookups:
            return self
        other = copy(self)
        other._compile(asked(self.lookups, records, finder))
        return other

    def _lookups(self) -> Iterator[tuple[Lookup, Callable[[Record[str, Any]], Iterable[Record[str, Any]]]]]:
        for entry, is_of_line in zip(self.entries, self._is_of_line, strict=True):
            if isinstance(entry, Lines):
                yield from ((lookup, entry.parts) for lookup in entry.lookups)
            elif isinstance(entry, Lookup):
                yield entry, self._views if is_of_line else _whole

    def _views(self, record: Record[str, Any]) -> Iterable[Record[str, Any]]:
        try:
            lines = self.explode.lines(record) if self.explode else []
        except RecordError:
            return []  # it is rejected for this when it is mapped
        return (self._view(record, line) for line in lines)

    def _view(self, record: Record[str, Any], line: Line) -> Record[str, Any]:
        """The record as a line's entries read it: the one line in place of the list."""
        return {**record, self.explode.field: line.values} if self.explode else record

    def rows(self, record: Record[str, Any], lines: Sequence[Line] | None = None) -> list[Row]:
        """The record's rows: one; with `explode`, one for each of its lines (by default all of them); or one for each
        part of a list that is too long for one.

        Raises `RecordError` with everything that does not fit: a record is mapped as a whole or not at all.
        """
        if self.explode is not None:
            return self._exploded(record, self.explode, self.explode.lines(record) if lines is None else lines)
        return [self.row(record)] if self._split is None else self._splitted(record, self._split)

    def alone(self, record: Record[str, Any]) -> Iterator[tuple[Entry, Any, str]]:
        """Each entry with its value, and why it does not fit: of a record that gives no row."""
        for read in self._reads:
            rejected: list[Rejected] = []
            [value] = values([read], record, rejected)
            yield read[0], value, rejected[0].reason if rejected else ""

    def content(self, record: Record[str, Any]) -> dict[str, Any]:
        """What the target gets of a record; raises `RecordError` with everything that does not fit."""
        rejected: list[Rejected] = []
        content = self._form.fill(values(self._reads, record, rejected))
        if rejected:
            raise error_of(rejected)
        return content

    def row(self, record: Record[str, Any]) -> Row:
        """The record's row, whole; raises `RecordError` with everything that does not fit."""
        rejected: list[Rejected] = []
        made = values(self._reads, record, rejected)
        content = self._form.fill(made)
        order = values(self._order, record, rejected)
        row_id = self._id(content, record, rejected)
        if rejected:
            raise error_of(rejected)
        hash_of = digest if AS_WRITTEN.issuperset(map(type, made)) else content_hash
        return self._row(row_id, order, content, record, hash_of)

    def _splitted(self, record: Record[str, Any], at: int) -> list[Row]:
        """The record's row, and one more for each further part of its list."""
        rejected: list[Rejected] = []
        made = values(self._reads, record, rejected)
        order = values(self._order, record, rejected)
        entry = self.entries[at]
        most = entry.most if isinstance(entry, Lines) and entry.most else 1
        lines = made[at] or []
        rows: list[Row] = []
        for part, start in enumerate(range(0, max(1, len(lines)), most), start=1):
            content = self._form.fill([*made[:at], lines[start : start + most], *made[at + 1 :]])
            row_id = self._id(content, record, rejected)
            if rejected:
                raise error_of(rejected)
            if part > 1:
                row_id = self._with_suffix(content, row_id, str(part))
            rows.append(self._row(row_id, order, content, record))
        return rows

    def _exploded(self, record: Record[str, Any], explode: Explode, lines: Sequence[Line]) -> list[Row]:
        rejected: list[Rejected] = []
        header = values(self._header_reads, record, rejected)
        order = values(self._order, record, rejected)
        made: dict[str, Row] = {}
        for line in lines:
            content = self._form.fill(self._line_values(header, record, line, rejected))
            row_id = self._id(content, record, rejected)
            if rejected:  # one line's reasons are enough to mend the record
                raise error_of(rejected)
            if not self._id_of_line and line is not HEADER:
                row_id = self._with_suffix(content, row_id, explode.suffix(line))
            if row_id in made:
                said = f"line {line.place} has the id {shown(row_id)} of another line of the record"
                raise RecordError(f"{explode.field}: {said}", field=explode.field, value=bounded(row_id))
            made[row_id] = self._row(row_id, order, content, record)
        if rejected:
            raise error_of(rejected)
        return list(made.values())

    def _line_values(
        self, header: Sequence[Any], record: Record[str, Any], line: Line, rejected: list[Rejected]
    ) -> list[Any]:
        """The values of all entries: the header's as they are, the line's read from it."""
        own: list[Rejected] = []
        of_line = iter(values(self._line_reads, self._view(record, line), own))
        rejected += [each._replace(reason=f"line {line.place}: {each.reason}") for each in own]
        of_header = iter(header)
        return [next(of_line if is_of_line else of_header) for is_of_line in self._is_of_line]

    def _with_suffix(self, content: dict[str, Any], row_id: str, suffix: str) -> str:
        """The id of a part's row, which is written into the content too."""
        place: Any = content
        for part in self._key_path[:-1]:
            place = place[part]
        place[self._key_path[-1]] = f"{row_id}-{suffix}"
        return f"{row_id}-{suffix}"

    def _row(
        self,
        row_id: str,
        order: Sequence[Any],
        content: dict[str, Any],
        record: Record[str, Any],
        hash_of: Callable[[dict[str, Any]], str] = content_hash,
    ) -> Row:
        source_id, number, modified_ms, version = order
        try:
            content_digest = hash_of(content)
        except UnicodeEncodeError:
            raise error_of([self._halved(content)]) from None
        return Row(
            id=row_id,
            source_id=source_id,
            number=number,
            modified_ms=modified_ms,
            version=version,
            content=content,
            hash=content_digest,
            voided=is_voided(record.get("life_status"), record.get("is_deleted")),
        )

    def _halved(self, content: dict[str, Any]) -> Rejected:
        """The entry whose value holds half a character (a lone surrogate): nothing can write it."""
        for entry in self.entries:
            value: Any = content
            for part in entry.target.split("."):
                value = value[part]
            try:
                same(value)
            except UnicodeEncodeError:
                return Rejected(entry, value, "half a character (a lone surrogate) is no text")
        raise AssertionError(content)

    def _id(self, content: dict[str, Any], record: Record[str, Any], rejected: list[Rejected]) -> str:
        value: Any = content
        for part in self._key_path:
            value = value[part]
        if type(value) is str and value.strip() and "\0" not in value:
            return value
        if type(value) is int:
            return str(value)
        if all(each.entry is not self._key_entry for each in rejected):
            wrong = "required, and the record has none" if is_null(value) else f"text or a number, not {shown(value)}"
            reason = f"it is the row's id: {wrong}"
            rejected.append(Rejected(self._key_entry, self._key_entry.found(record), reason))
        return ""


def _whole(record: Record[str, Any]) -> Iterable[Record[str, Any]]:
    return (record,)


def _is_of_line(entry: Entry, explode: Explode | None) -> bool:
    """Whether an entry reads the exploded list, one line at a time."""
    return explode is not None and any(explode.of_line(source) for source in entry.sources)


def _explode_problems(entries: Sequence[Entry], key: str | None, explode: Explode) -> Iterator[str]:
    if not isinstance(explode, Explode):
        yield f"explode={shown(explode)}: give Explode('details_list'), or None for one row a record"
        return
    yield from explode.problems()
    if not any(_is_of_line(entry, explode) for entry in entries):
        yield f"explode: no field reads a line; name what it reads as '{explode.field}.…', or leave explode out"
    for source in (source for entry in entries for source in entry.sources):
        if (explode.of_line(source) or "").partition(".")[0].isdecimal():
            yield f"explode: {source!r} reads one place of the list, of which every line becomes a row; leave it out"
    for entry in entries:
        if isinstance(entry, Lines) and top(entry.source) == explode.field:
            yield f"explode: {entry.named()} makes a list of what becomes rows; keep one of them"
    by_line = any(_is_of_line(entry, explode) for entry in entries if key is not None and entry.target == key)
    if explode.keep_empty and by_line:
        yield f"explode: keep_empty gives rows without a line, and key {key!r} is read from the line; read it elsewhere"


def _split_problems(entries: Sequence[Entry], key: str | None, explode: Explode | None) -> Iterator[str]:
    """A record is cut into rows in one way only."""
    cut = [entry for entry in entries if isinstance(entry, Lines) and entry.most is not None]
    if len(cut) > 1:
        yield f"most= is given for {' and '.join(entry.named() for entry in cut)}; a record is split by one list only"
    if cut and explode is not None:
        yield f"{cut[0].named()}: most= and explode both make several rows of a record; keep one of them"
    written_by = next((entry for entry in entries if entry.target == key), None)
    if cut and isinstance(written_by, Field | Computed) and written_by.column.kind is Kind.INTEGER:
        yield f"key {key!r} is a whole number, and most= writes '-2' and so on behind it; convert it with text"


def _key_problems(entries: Sequence[Entry], key: str | None) -> Iterator[str]:
    if key is None:
        from_id = _written_from_id(entries)
        if len(from_id) != 1:
            yield (
                f"_id is mapped {len(from_id)} times, so the row's id is not clear; "
                "name its target path with key=, or map Field('_id') once"
            )
        return
    written_by = [entry for entry in entries if entry.target == key]
    if not entries:
        return  # what is wrong with each is said already
    if not written_by:
        targets = [entry.target for entry in entries]
        near = difflib.get_close_matches(str(key), targets, n=1)
        yield f"key {key!r} is written by no field; " + (
            f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(map(repr, targets))}"
        )
    elif isinstance(written_by[0], Constant):
        yield f"key {key!r} is a constant, so all rows would be one; choose a path that a Field writes"
    elif isinstance(written_by[0], Lines):
        yield f"key {key!r} is a list of lines; choose a path that a Field writes"


def _written_from_id(entries: Sequence[Entry]) -> list[Field]:
    return [entry for entry in entries if isinstance(entry, Field) and entry.source == "_id"]
