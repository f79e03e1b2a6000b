"""Explode (拍扁): one record becomes one row for each line of a list field, and the header's values stand in each.

A line's values are read by the list's name and a dot, ``details_list.goods``; every other field is the header's::

    Pipeline(
        …,
        fields=[Field("name", "no"), Field("customer__c", "customer"), Field("details_list.goods", "goods")],
        key="no",
        explode=Explode("details_list", key="line_id"),
    )

The row's id does not depend on where the line stands: it is the header's key and the line's own id, ``OUT2021-L7``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Mapping as Record
from dataclasses import dataclass
from typing import Any, NamedTuple

from fenxiang_sync.convert import is_null
from fenxiang_sync.errors import RecordError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Line(NamedTuple):
    """One element of the list; `place` is where it stands, from 1 on."""

    place: int
    values: Record[str, Any]


HEADER = Line(0, {})
"""The line of a record that has none, where it gives a row all the same."""


@dataclass(frozen=True)
class Explode:
    """One row per element of `field`, a list of objects in the record.

    `key` is what of a line tells it from the others of its record; a row's id is then ``{header's}-{line's}``. With
    ``key=None`` lines are numbered from `first` on, as Qeasy's beatFlat does (``-1, -2``; on some of its pages
    ``-0, -1``): a line that is inserted then gives the later ones other numbers. Neither counts in a pipeline whose own
    `key` is read from the line. An empty list gives no row, and its record is filtered; with ``keep_empty`` it gives
    one row of the header alone, under the header's id.
    """

    field: str
    key: str | None = "_id"
    first: int = 1
    keep_empty: bool = False

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        for word in ("field", "key"):
            value = getattr(self, word)
            if not (word == "key" and value is None) and not (isinstance(value, str) and _NAME.fullmatch(value)):
                of = "the record" if word == "field" else "a line, or None to number the lines"
                yield f"explode: {word}={value!r}: name one field of {of}"
        if type(self.first) is not int or self.first < 0:
            yield f"explode: first={self.first!r}: give the number of the first line, 0 or more"
        elif self.first != 1 and self.key is not None:
            yield f"explode: first={self.first} numbers the lines, and key={self.key!r} names them; give key=None too"
        if not isinstance(self.keep_empty, bool):
            yield f"explode: keep_empty={self.keep_empty!r}: give True or False"

    def of_line(self, path: object) -> str | None:
        """The path within a line, where a dotted path of the declaration leads there; None for one of the header."""
        top, dot, rest = str(path).partition(".")
        return rest if dot and top == self.field else None

    def lines(self, record: Record[str, Any]) -> list[Line]:
        """The record's lines in their order; where the list is empty or absent, none, or `HEADER` with `keep_empty`.
        Raises `RecordError` for what is no list of objects."""
        found = record.get(self.field)
        if is_null(found):
            return [HEADER] if self.keep_empty else []
        if not isinstance(found, list):
            raise self._wrong(f"it is to be exploded, and it is no list but {type(found).__name__}", found)
        for place, values in enumerate(found, start=1):
            if not isinstance(values, Record):
                raise self._wrong(f"line {place} is no object but {type(values).__name__}", values)
        return [Line(place, values) for place, values in enumerate(found, start=1)]

    def suffix(self, line: Line) -> str:
        """What tells the line's row from the others of its record; raises `RecordError` where the line has no id."""
        if self.key is None:
            return str(line.place - 1 + self.first)
        value = line.values.get(self.key)
        if type(value) is int or (type(value) is str and value.strip() and "\0" not in value):
            return str(value)
        said = "has none" if is_null(value) else f"must be text or a number, not {type(value).__name__}"
        raise self._wrong(f"line {line.place}: its {self.key!r}, which is its id, {said}", value)

    def _wrong(self, reason: str, value: Any) -> RecordError:
        return RecordError(f"{self.field}: {reason}", field=self.field, value=str(value)[:120])

    def __str__(self) -> str:
        told = f"`{self.key}` of the line" if self.key else f"its number from {self.first} on"
        empty = "; an empty list gives one row of the header" if self.keep_empty else ""
        return f"one row per line of `{self.field}`, told apart by {told}{empty}"
