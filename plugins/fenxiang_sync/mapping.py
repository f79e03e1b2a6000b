"""Mapping: one Fenxiang record becomes one row (or one for each line, `explode`), or is rejected with every reason.

Absent and null are one thing, and Fenxiang leaves empty fields out as well, so "", [] and {} are null too. A row always
has every declared target path: one whose field is null holds None, so that an emptied field is emptied at the target.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as Record
from dataclasses import KW_ONLY, dataclass, replace
from decimal import MAX_PREC, Context, Decimal
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from fenxiang_sync.columns import Column, kind_of
from fenxiang_sync.convert import Converter, as_is, converter, epoch_ms, given_by, integer, is_null, text, written
from fenxiang_sync.errors import DeclarationError, RecordError
from fenxiang_sync.explode import HEADER, Explode, Line
from fenxiang_sync.rows import Row, is_voided

ENGINE_FIELDS = ("_id", "last_modified_time", "version", "life_status", "is_deleted")
"""What every query asks for besides the declared fields: identity, order, and whether the record is voided."""
INJECTED = ("total_num", "searchAfterId")
"""What Fenxiang puts into the records of a page that are not the record's own (seen in real answers)."""

_API_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SHOWN = 120

Read = Callable[[Record[str, Any]], Any]


@dataclass(frozen=True)
class Field:
    """One value of the row: `source`, a field of the record, becomes the target path `to` (by default the same name).

    Both are dotted where they lead into an object: ``location.city``. `convert` is a converter or a function of one
    value; it never sees null. `default` stands in for null; a `required` field rejects a record that has none.
    """

    source: str
    to: str | None = None
    _: KW_ONLY
    convert: Callable[[Any], Any] = as_is
    required: bool = False
    default: Any = None

    @property
    def target(self) -> str:
        return self.source if self.to is None else self.to

    @property
    def reads(self) -> tuple[str, ...]:
        """The record's own fields that it reads: the declared one and, for a label, its companion."""
        top = self.source.partition(".")[0]
        companion = _companion(self.convert)
        return (top, top + companion) if companion else (top,)

    @property
    def column(self) -> Column:
        """What every row has at the target path. A default is taken to be of the converter's kind."""
        kind, scale = given_by(converter(self.convert))
        return Column(path=self.target, kind=kind, scale=scale, required=self.required or self.default is not None)

    @property
    def rule(self) -> str:
        """What null becomes, for people: required, a default, or nothing."""
        if self.required:
            return "required"
        return "" if self.default is None else f"default {_shown(self.default)}"

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written; empty for a field that can."""
        yield from _path_problems(self.source, "source")
        for part in str(self.source).split("."):
            if part and not _API_NAME.fullmatch(part):
                yield f"source {self.source!r}: {part!r} is no API name (letters, digits, _); labels are no names"
        if self.source in INJECTED:
            yield f"source {self.source!r} is put into pages by Fenxiang; it is no field of the record"
        yield from _path_problems(self.target, "to")
        yield from _value_problems(self.default, "default")
        if self.required and self.default is not None:
            yield f"required, and default={self.default!r} as well; keep one: a default is never missed"
        try:
            companion = _companion(converter(self.convert))
        except DeclarationError as error:
            yield str(error)
        else:
            if companion and "." in self.source:
                yield f"{written(self.convert)} reads a companion of the record itself; name a field without a dot"

    def compile(self) -> Read:
        """A function from a record to this field's value; raises `ValueError` with the reason."""
        convert = converter(self.convert)
        name = self.source + _companion(convert)
        find = _finder(name)
        instead = self._instead(name)

        def read_top(record: Record[str, Any]) -> Any:
            value = record.get(name)
            if value or isinstance(value, int | Decimal | float):  # is_null, written out: this line runs most
                value = convert(value)
                if value is not None:
                    return value
            return instead(record)

        def read_deep(record: Record[str, Any]) -> Any:
            value = find(record)
            converted = None if is_null(value) else convert(value)
            return instead(record) if converted is None else converted

        return read_deep if "." in name else read_top

    def found(self, record: Record[str, Any]) -> Any:
        """The raw value, for a message about it."""
        return record.get(self.source.partition(".")[0])

    def _instead(self, name: str) -> Read:
        """What stands in for null."""

        def instead(record: Record[str, Any]) -> Any:
            if self.required:
                raise ValueError("it is required, and the record has none")
            if self.default is None and name != self.source and not is_null(record.get(self.source)):
                raise ValueError(f"Fenxiang sent no {name} with it; map the value itself, or give a default")
            return as_is(self.default)

        return instead


@dataclass(frozen=True)
class Constant:
    """One value that is the same in every row."""

    to: str
    value: Any

    @property
    def target(self) -> str:
        return self.to

    @property
    def reads(self) -> tuple[str, ...]:
        return ()

    @property
    def column(self) -> Column:
        """What every row has at the target path."""
        return Column(path=self.to, kind=kind_of([self.value]), required=self.value is not None)

    def problems(self) -> Iterator[str]:
        yield from _path_problems(self.to, "to")
        yield from _value_problems(self.value, "value")

    def compile(self) -> Read:
        value = as_is(self.value)
        return lambda _record: value


Entry = Field | Constant


def problems(entries: Sequence[Any], key: str | None, explode: Explode | None = None) -> Iterator[str]:
    """What of a mapping cannot be meant as written, each as a sentence; empty for one that can."""
    if explode is not None:
        yield from _explode_problems(entries, key, explode)
    for entry in entries:
        if isinstance(entry, Field | Constant):
            yield from (f"{_named(entry)}: {problem}" for problem in entry.problems())
        else:
            yield f"fields: {_shown(entry)} is no Field and no Constant"
    sound = [entry for entry in entries if isinstance(entry, Field | Constant) and isinstance(entry.target, str)]
    targets = [entry.target for entry in sound]
    for target, times in Counter(targets).items():
        if times > 1:
            yield f"{target!r} is written {times} times; give each field a target path of its own"
        parents = [target[:at] for at, letter in enumerate(target) if letter == "."]
        yield from (
            f"{parent!r} is written as a value and as the object of {target!r}; rename one of them"
            for parent in parents
            if parent in targets
        )
    yield from _key_problems(sound, key)


class Mapping:
    """The fields of a pipeline, compiled once. `key` is the target path of the row's id, `number` a source field.

    `also` are source fields that something else reads, to be asked for as well. With `explode` a record gives a row
    for each of its lines.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        key: str | None = None,
        number: str | None = "name",
        also: Iterable[str] = (),
        explode: Explode | None = None,
    ) -> None:
        if found := list(problems(entries, key, explode)):
            raise DeclarationError("; ".join(found))
        self.entries = tuple(entries)
        self.explode = explode
        self.key = key if key is not None else _written_from_id(self.entries)[0].target
        self.projection = tuple(
            dict.fromkeys(
                [
                    *ENGINE_FIELDS,
                    *([number] if number else []),
                    *(f for e in entries for f in e.reads),
                    *([explode.field] if explode else []),
                    *also,
                ]
            )
        )
        """The top-level fields to ask Fenxiang for; companions are asked for by name."""
        self.columns = tuple(entry.column for entry in entries)
        """What every row has, in the order of the declaration."""
        self._reads = _compiled(entries)
        self._form = _Form([entry.target for entry in entries])
        self._order = _compiled(
            [
                Field("_id", convert=text, required=True),
                Field(number, convert=text) if number else Constant("number", None),
                Field("last_modified_time", convert=epoch_ms, required=True),
                Field("version", convert=integer, default=0),
            ]
        )
        self._key_path = self.key.split(".")
        self._key_entry = next(entry for entry in entries if entry.target == self.key)
        within = [_within_line(entry, explode) for entry in entries]
        self._header_reads = [read for read, line in zip(self._reads, within, strict=True) if line is None]
        self._line_reads = [line for line in within if line is not None]
        self._is_of_line = [line is not None for line in within]
        self._id_of_line = _within_line(self._key_entry, explode) is not None

    def rows(self, record: Record[str, Any], lines: Sequence[Line] | None = None) -> list[Row]:
        """The record's rows: one or, with `explode`, one for each of its lines (by default all of them).

        Raises `RecordError` with everything that does not fit: a record is mapped as a whole or not at all.
        """
        if self.explode is None:
            return [self.row(record)]
        return self._exploded(record, self.explode, self.explode.lines(record) if lines is None else lines)

    def content(self, record: Record[str, Any]) -> dict[str, Any]:
        """What the target gets of a record; raises `RecordError` with everything that does not fit."""
        rejected: list[_Rejected] = []
        content = self._form.fill(_values(self._reads, record, rejected))
        if rejected:
            raise _error(rejected)
        return content

    def row(self, record: Record[str, Any]) -> Row:
        """The record's row; raises `RecordError` with everything that does not fit."""
        rejected: list[_Rejected] = []
        values = _values(self._reads, record, rejected)
        content = self._form.fill(values)
        source_id, number, modified_ms, version = _values(self._order, record, rejected)
        row_id = self._id(content, record, rejected)
        if rejected:
            raise _error(rejected)
        return Row(
            id=row_id,
            source_id=source_id,
            number=number,
            modified_ms=modified_ms,
            version=version,
            content=content,
            hash=_digest(content) if _AS_WRITTEN.issuperset(map(type, values)) else content_hash(content),
            voided=is_voided(record.get("life_status"), record.get("is_deleted")),
        )

    def _exploded(self, record: Record[str, Any], explode: Explode, lines: Sequence[Line]) -> list[Row]:
        rejected: list[_Rejected] = []
        header = _values(self._header_reads, record, rejected)
        source_id, number, modified_ms, version = _values(self._order, record, rejected)
        voided = is_voided(record.get("life_status"), record.get("is_deleted"))
        made: dict[str, Row] = {}
        for line in lines:
            content = self._form.fill(self._line_values(header, line, rejected))
            row_id = self._id(content, record, rejected)
            if rejected:  # one line's reasons are enough to mend the record
                raise _error(rejected)
            if not self._id_of_line and line is not HEADER:
                row_id = self._with_suffix(content, row_id, explode.suffix(line))
            if row_id in made:
                said = f"line {line.place} has the id {_shown(row_id)} of another line of the record"
                raise RecordError(f"{explode.field}: {said}", field=explode.field, value=_bounded(row_id))
            made[row_id] = Row(
                id=row_id,
                source_id=source_id,
                number=number,
                modified_ms=modified_ms,
                version=version,
                content=content,
                hash=content_hash(content),
                voided=voided,
            )
        if rejected:
            raise _error(rejected)
        return list(made.values())

    def _line_values(self, header: Sequence[Any], line: Line, rejected: list[_Rejected]) -> list[Any]:
        """The values of all entries: the header's as they are, the line's read from it."""
        own: list[_Rejected] = []
        of_line = iter(_values([(each.within, each.read) for each in self._line_reads], line.values, own))
        whole = {id(each.within): each.whole for each in self._line_reads}
        rejected += [(whole[id(within)], value, f"line {line.place}: {reason}") for within, value, reason in own]
        of_header = iter(header)
        return [next(of_line if is_of_line else of_header) for is_of_line in self._is_of_line]

    def _with_suffix(self, content: dict[str, Any], row_id: str, suffix: str) -> str:
        """The id of a line's row, which is written into the content too."""
        place: Any = content
        for part in self._key_path[:-1]:
            place = place[part]
        place[self._key_path[-1]] = f"{row_id}-{suffix}"
        return f"{row_id}-{suffix}"

    def _id(self, content: dict[str, Any], record: Record[str, Any], rejected: list[_Rejected]) -> str:
        value: Any = content
        for part in self._key_path:
            value = value[part]
        if type(value) is str and value.strip() and "\0" not in value:
            return value
        if type(value) is int:
            return str(value)
        if all(entry is not self._key_entry for entry, _, _ in rejected):
            wrong = "required, and the record has none" if is_null(value) else f"text or a number, not {_shown(value)}"
            reason = f"it is the row's id: {wrong}"
            rejected.append((self._key_entry, _raw(self._key_entry, record), reason))
        return ""


_Rejected = tuple[Entry, Any, str]
"""The entry that failed, the record's value, and why."""


class _LineRead(NamedTuple):
    """A field of a line: as it was declared, as a field of the line alone, and compiled as that."""

    whole: Field
    within: Field
    read: Read


def _within_line(entry: Entry, explode: Explode | None) -> _LineRead | None:
    """What an entry reads of a line; None where it reads the header."""
    path = explode.of_line(entry.source) if explode and isinstance(entry, Field) else None
    if path is None or not isinstance(entry, Field):
        return None
    within = replace(entry, source=path)
    return _LineRead(entry, within, within.compile())


def _explode_problems(entries: Sequence[Any], key: str | None, explode: Explode) -> Iterator[str]:
    if not isinstance(explode, Explode):
        yield f"explode={_shown(explode)}: give Explode('details_list'), or None for one row a record"
        return
    yield from explode.problems()
    sound = [entry for entry in entries if isinstance(entry, Field) and isinstance(entry.source, str)]
    if not any(explode.of_line(entry.source) for entry in sound):
        yield f"explode: no field reads a line; name what it reads as '{explode.field}.…', or leave explode out"
    by_line = any(explode.of_line(entry.source) for entry in sound if key is not None and entry.target == key)
    if explode.keep_empty and by_line:
        yield f"explode: keep_empty gives rows without a line, and key {key!r} is read from the line; read it elsewhere"


def _compiled(entries: Sequence[Entry]) -> list[tuple[Entry, Read]]:
    return [(entry, entry.compile()) for entry in entries]


def _values(reads: list[tuple[Entry, Read]], record: Record[str, Any], rejected: list[_Rejected]) -> list[Any]:
    """Each entry's value; what does not fit is added to `rejected` and None here."""
    values: list[Any] = []
    for entry, read in reads:
        try:
            values.append(read(record))
        except Exception as error:  # noqa: BLE001  a function of the declaration may raise anything
            said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            rejected.append((entry, _raw(entry, record), said))
            values.append(None)
    return values


class _Form:
    """The nested dicts that target paths draw, their keys in the order of the paths."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._keys: list[list[str]] = [[]]
        self._links: list[tuple[int, str, int]] = []
        self._places: list[tuple[int, str]] = []
        parts = {"": 0}
        for path in paths:
            parent, _, name = path.rpartition(".")
            at = self._part(parent, parts)
            self._keys[at].append(name)
            self._places.append((at, name))

    def _part(self, path: str, parts: dict[str, int]) -> int:
        if path not in parts:
            parent, _, name = path.rpartition(".")
            above = self._part(parent, parts)
            parts[path] = len(self._keys)
            self._keys.append([])
            self._keys[above].append(name)
            self._links.append((above, name, parts[path]))
        return parts[path]

    def fill(self, values: list[Any]) -> dict[str, Any]:
        """The dicts with these values, one for each path."""
        if not self._links:
            return dict(zip(self._keys[0], values, strict=True))
        parts: list[dict[str, Any]] = [dict.fromkeys(keys) for keys in self._keys]
        for above, name, at in self._links:
            parts[above][name] = parts[at]
        for (at, name), value in zip(self._places, values, strict=True):
            parts[at][name] = value
        return parts[0]


def content_hash(content: dict[str, Any]) -> str:
    """32 hex digits that are equal where the content is: in any order of keys, and for 1, 1.0 and 1.00.

    >>> content_hash({"a": Decimal("1.0"), "b": "x"}) == content_hash({"b": "x", "a": Decimal("1.00")})
    True
    """
    return _digest(_canonical(content))


def _digest(canonical: dict[str, Any]) -> str:
    return blake2b(_json.encode(canonical), digest_size=16).hexdigest()


_json = msgspec.json.Encoder(order="sorted", decimal_format="number")
_unbounded = Context(prec=MAX_PREC)
_AS_WRITTEN = frozenset({str, int, bool, type(None)})
"""Types of values that JSON writes in one way only; a row of these alone needs no canonical form."""


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: item if type(item) in _AS_WRITTEN else _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, Decimal):
        shortest = value.normalize(_unbounded)
        return int(shortest) if shortest == shortest.to_integral_value() else shortest
    return value


def _error(rejected: list[_Rejected]) -> RecordError:
    entry, value, _ = rejected[0]
    said = "; ".join(f"{_arrow(entry)}: {reason} (value {_shown(value)})" for entry, value, reason in rejected)
    return RecordError(said, field=entry.source if isinstance(entry, Field) else entry.to, value=_bounded(value))


def _arrow(entry: Entry) -> str:
    return f"{entry.target} ← {entry.source}" if isinstance(entry, Field) else entry.to


def _raw(entry: Entry, record: Record[str, Any]) -> Any:
    return entry.found(record) if isinstance(entry, Field) else entry.value


def _bounded(value: Any) -> Any:
    """A value that is fit for a message: small ones as they are, others as shortened text."""
    if isinstance(value, str):
        return value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
    return value if value is None or isinstance(value, bool | int) else _shown(value)


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = _SHOWN


def _shown(value: Any) -> str:
    """The value as Python writes it, shortened; null for None.

    >>> _shown(None), len(_shown("x" * 10_000)) <= 120
    ('null', True)
    """
    said = "null" if value is None else _repr.repr(value)
    return said if len(said) <= _SHOWN else said[:_SHOWN] + "…"


def _finder(path: str) -> Read:
    """A function from a record to what a dotted path leads to; null where anything on the way is."""
    top, *below = path.split(".")

    def find(record: Record[str, Any]) -> Any:
        value = record.get(top)
        for part in below:
            if is_null(value):
                return None
            value = _part(value, part)
        return value

    return find


def _part(value: Any, name: str) -> Any:
    if isinstance(value, Record):
        return value.get(name)
    raise ValueError(f"there is no {name!r} in a {type(value).__name__}, only in an object")


def _companion(convert: Callable[[Any], Any]) -> str:
    return convert.companion if isinstance(convert, Converter) else ""


def _named(entry: Entry) -> str:
    if isinstance(entry, Constant):
        return f"Constant({entry.to!r})"
    return f"Field({entry.source!r})" if entry.to is None else f"Field({entry.source!r}, {entry.to!r})"


def _path_problems(path: Any, word: str) -> Iterator[str]:
    if not isinstance(path, str):
        yield f"{word}={_shown(path)}: give a name, dotted where it leads into an object"
    elif not path:
        yield f"{word} is empty; give a name"
    elif not all(part.strip() == part != "" for part in path.split(".")):
        yield f"{word} {path!r} has an empty part or a space at an edge; write it like 'location.city'"


def _value_problems(value: Any, word: str) -> Iterator[str]:
    try:
        as_is(value)
    except ValueError as error:
        yield f"{word}={_shown(value)}: {error}"


def _key_problems(entries: list[Entry], key: str | None) -> Iterator[str]:
    if key is None:
        from_id = _written_from_id(entries)
        if len(from_id) != 1:
            yield (
                f"_id is mapped {len(from_id)} times, so the row's id is not clear; "
                "name its target path with key=, or map Field('_id') once"
            )
        return
    written_by = [entry for entry in entries if entry.target == key]
    if not written_by:
        targets = [entry.target for entry in entries]
        near = difflib.get_close_matches(str(key), targets, n=1)
        yield f"key {key!r} is written by no field; " + (
            f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(map(repr, targets))}"
        )
    elif isinstance(written_by[0], Constant):
        yield f"key {key!r} is a constant, so all rows would be one; choose a path that a Field writes"


def _written_from_id(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if isinstance(entry, Field) and entry.source == "_id"]
