"""Description: what ``object/describe`` says of an object and its fields (vendor documentation, real describes)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fenxiang_sync.errors import RefusedError

_API_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}", re.ASCII)

UNSTAMPED = frozenset(("formula", "count", "quote"))
"""计算字段, 统计字段, 引用字段: worked out when they are read; a change of them gives the record no new stamp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldDescription:
    """One field. `options` are the values by what people read for them; `refers_to` the object that a reference leads
    to; `decimals` the places of a number, `length` the characters of a text; `single`: at most one employee or
    department."""

    name: str
    label: str
    type: str
    required: bool = False
    unique: bool = False
    active: bool = True
    single: bool = True
    options: Mapping[str, str]
    refers_to: str = ""
    decimals: int | None = None
    length: int | None = None

    @property
    def stamped(self) -> bool:
        """Whether a change of it gives the record a new ``last_modified_time``."""
        return self.type not in UNSTAMPED


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDescription:
    """One object; its fields by API name, in the order of the answer."""

    name: str
    label: str
    fields: Mapping[str, FieldDescription]

    @classmethod
    def read(cls, document: Any) -> ObjectDescription:
        """From the inner ``describe`` of an answer; raises `RefusedError` where it is none."""
        named = document.get("api_name") if isinstance(document, Mapping) else None
        if not _API_NAME.fullmatch(_text(named)) or not isinstance(document.get("fields"), Mapping):
            raise RefusedError(
                "this is no description of an object: it has no api_name or no fields; it is the inner `describe` of "
                "what object/describe answers, as `fenxiang describe OBJECT --save FILE` keeps it"
            )
        found = {each.name: each for each in _fields(document["fields"])}
        return cls(name=_text(named), label=_text(document.get("display_name")) or _text(named), fields=found)


def _fields(entries: Mapping[str, Any]) -> Iterator[FieldDescription]:
    for name, entry in entries.items():
        if _API_NAME.fullmatch(name) and isinstance(entry, Mapping):
            yield FieldDescription(
                name=name,
                label=_text(entry.get("label")) or name,
                type=_text(entry.get("type")),
                required=entry.get("is_required") is True,
                unique=entry.get("is_unique") is True,
                active=entry.get("is_active") is not False,
                single=entry.get("is_single") is not False,
                options=_options(entry.get("options")),
                refers_to=_text(entry.get("target_api_name")),
                decimals=_whole(entry.get("decimal_places"), most=30),
                length=_whole(entry.get("max_length"), most=10_000_000),
            )


def _options(given: Any) -> dict[str, str]:
    options = given if isinstance(given, list) else []
    values = {_text(str(each.get("value", ""))): each for each in options if isinstance(each, Mapping)}
    return {value: _text(each.get("label")) or value for value, each in values.items() if value}


def _text(given: Any) -> str:
    """One line of text that can be printed, "" where there is none."""
    line = " ".join(given.split()) if isinstance(given, str) else ""
    return "".join(letter for letter in line if letter.isprintable())


def _whole(given: Any, *, most: int) -> int | None:
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= most else None
