"""Paths: where a value is in a record (``location.city``, ``lines.0.name``) or in a row, and values in messages."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator
from collections.abc import Mapping as Record
from typing import Any

from fenxiang_sync.convert import is_null

INJECTED = ("total_num", "searchAfterId")
"""What Fenxiang puts into the records of a page that are not the record's own (seen in real answers)."""
COMPANIONS = ("__r", "__l", "__o", "__v", "__p", "__e", "__relation_ids")
"""What Fenxiang adds to a field's name for its label, its list, its other text … (vendor documentation)."""

Read = Callable[[Record[str, Any]], Any]

_API_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_PLACE = re.compile(r"0|[1-9][0-9]{0,5}", re.ASCII)
_SHOWN = 120


def top(path: object) -> str:
    """The record's own field that a path begins with.

    >>> top("lines.0.name")
    'lines'
    """
    return str(path).partition(".")[0]


def path_problems(path: Any, word: str) -> Iterator[str]:
    """What is wrong with a dotted path, in a record or in a row."""
    if not isinstance(path, str):
        yield f"{word}={shown(path)}: give a name, dotted where it leads into an object"
    elif not path:
        yield f"{word} is empty; give a name"
    elif not all(part.strip() == part != "" for part in path.split(".")):
        yield f"{word} {path!r} has an empty part or a space at an edge; write it like 'location.city'"


def source_problems(path: Any, word: str = "source") -> Iterator[str]:
    """What is wrong with a dotted path in a record, whose parts are API names or, in a list, places from 0 on."""
    yield from path_problems(path, word)
    for at, part in enumerate(str(path).split(".")):
        if part and not _API_NAME.fullmatch(part) and not (at and _PLACE.fullmatch(part)):
            of = f"{part!r} is no API name (letters, digits, _); labels are no names"
            if "[" in part:
                of = f"write the place in a list as a part of its own, from 0 on: {_dotted(str(path))!r}"
            yield f"{word} {path!r}: {of}"
    if path in INJECTED:
        yield f"{word} {path!r} is put into pages by Fenxiang; it is no field of the record"


def finder(path: str) -> Read:
    """A function from a record to what a dotted path leads to; null where anything on the way is, or where a list is
    shorter. Raises `ValueError` where there is no way on."""
    first, *below = path.split(".")

    def find(record: Record[str, Any]) -> Any:
        value = record.get(first)
        for part in below:
            if is_null(value):
                return None
            value = _part(value, part)
        return value

    return find


def found(record: Record[str, Any], path: str) -> Any:
    """The raw value at a path, for a message about it; what there is of it where there is no way on."""
    try:
        return finder(path)(record)
    except ValueError:
        return record.get(top(path))


def bounded(value: Any) -> Any:
    """A value that is fit for a message: small ones as they are, others as shortened text."""
    if isinstance(value, str):
        return value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
    return value if value is None or isinstance(value, bool | int) else shown(value)


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = _SHOWN


def shown(value: Any) -> str:
    """The value as Python writes it, shortened; null for None.

    >>> shown(None), len(shown("x" * 10_000)) <= 120
    ('null', True)
    """
    said = "null" if value is None else _repr.repr(value)
    return said if len(said) <= _SHOWN else said[:_SHOWN] + "…"


def _part(value: Any, name: str) -> Any:
    if isinstance(value, Record):
        return value.get(name)
    if isinstance(value, list) and _PLACE.fullmatch(name):
        return value[int(name)] if int(name) < len(value) else None
    if isinstance(value, list):
        way_out = f"name the place ('….0.{name}' is the first), or map all of them with Lines or explode"
        raise ValueError(f"there is no {name!r} in a list, only in an object; {way_out}")  # noqa: TRY004
    raise ValueError(f"there is no {name!r} in a {type(value).__name__}, only in an object")


def _dotted(path: str) -> str:
    """
    >>> _dotted("lines[0].name")
    'lines.0.name'
    """
    return re.sub(r"\[(\d+)\]", r".\1", path)


def base(name: str) -> str:
    """The field that a companion belongs to.

    >>> base("owner__r"), base("field_a__c"), base("field_a__c__r")
    ('owner', 'field_a__c', 'field_a__c')
    """
    for suffix in COMPANIONS:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name
