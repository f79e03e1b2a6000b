"""Column: what every row of a pipeline has at one target path, and of what kind it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Of what kind the values of a column are that are not null; a row holds them as JSON does."""

    TEXT = "text"
    INTEGER = "integer"
    """At most 64 bits."""
    DECIMAL = "decimal"
    """An exact number."""
    BOOLEAN = "boolean"
    INSTANT = "instant"
    """A moment, as ISO 8601 text with its offset."""
    DAY = "day"
    """A calendar day, as ``YYYY-MM-DD``."""
    JSON = "json"
    """Any JSON value: what nobody has declared more closely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`path` is dotted where rows nest. `scale` is the number of decimals, None where any may come. `required`: it is
    never null."""

    path: str
    kind: Kind
    scale: int | None = None
    required: bool = False


def kind_of(values: Iterable[Any]) -> Kind:
    """The kind of all these values, JSON where they are of several.

    >>> kind_of([1, 2]), kind_of(["a", "b"]), kind_of([1, "b"])
    (<Kind.INTEGER: 'integer'>, <Kind.TEXT: 'text'>, <Kind.JSON: 'json'>)
    """
    kinds = {_KINDS.get(type(value), Kind.JSON) for value in values if value is not None}
    return kinds.pop() if len(kinds) == 1 else Kind.JSON


_KINDS = {str: Kind.TEXT, bool: Kind.BOOLEAN, int: Kind.INTEGER}
