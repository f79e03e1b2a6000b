"""Values: types, parsers (解析器) and constants of nodes."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from fenxiang_sync import formats
from fenxiang_sync.convert import as_is
from fenxiang_sync.dagfile import quoted
from fenxiang_sync.qeasy.metadata import Node, is_true, text_of

TYPES = {
    **dict.fromkeys(("string", "text", "varchar", "date", "datetime", "time"), "string"),
    **dict.fromkeys(("int", "integer", "long", "bigint"), "int"),
    **dict.fromkeys(("number", "float", "double", "decimal"), "number"),
    **dict.fromkeys(("bool", "boolean"), "bool"),
    **dict.fromkeys(("array", "list"), "array"),
    "object": "object",
    "": "",
}
"""What a node's type means; several names are seen for each."""
CONVERTERS = {"string": "text", "int": "integer", "number": "decimal()", "bool": "boolean"}
"""The converter that gives each, as Python text."""


def parser_of(node: Node) -> tuple[str, Callable[[Any], Any]] | None:
    """A node's parser as Python text and as the converter itself, None for one that is unknown."""
    first = node.params[0] if node.params and node.params[0] else ","
    names = [name.strip() for param in node.params for name in param.split(",") if name.strip()]
    match node.parser:
        case "StringToArray":
            return f"split({quoted(first)})", formats.split(first)
        case "ArrayToString":
            return f"joined({quoted(first)})", formats.joined(first)
        case "ConvertJson":
            return "key_values", formats.key_values
        case "ConvertObjectParser" if len(names) == 1:
            return f"wrapped({quoted(names[0])})", formats.wrapped(names[0])
        case "ConvertTwoStageObjectParser" if len(names) == 2:
            return f"wrapped({', '.join(map(quoted, names))})", formats.wrapped(*names)
    return None


def through_parser(given: Any, node: Node) -> Any:
    found = parser_of(node) if node.parser else None
    return given if found is None or given is None else found[1](given)


def constant(node: Node) -> Any:
    """The value of a constant node, as its type and parser have it; raises `ValueError` with what is wrong."""
    given, wanted = node.value, TYPES.get(node.type, "")
    if isinstance(given, str):
        given = given if wanted in ("string", "array", "") else given.strip()
    if not isinstance(given, dict | list):
        given = as_type(given, wanted)
    made = through_parser(given, node)
    as_is(made)  # what no row can hold, as a number of more than 100 digits
    return made


def as_type(given: Any, wanted: str) -> Any:
    if given is None:
        return None
    said = text_of(given)
    if wanted in ("int", "number"):
        return _number(said, whole=wanted == "int")
    if wanted == "bool":
        found = is_true(given)
        if found is None:
            raise ValueError("is neither true nor false, as its type wants it")
        return found
    if wanted == "string" and not isinstance(given, str):
        return str(given).lower() if isinstance(given, bool) else said
    return given


def _number(said: str, *, whole: bool) -> int | Decimal:
    if not re.fullmatch(r"[+-]?\d{1,40}" + ("" if whole else r"(\.\d{1,40})?"), said, re.ASCII):
        raise ValueError(f"is no {'whole ' if whole else ''}number, as its type wants it")
    return int(said) if whole else Decimal(said)
