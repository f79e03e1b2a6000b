"""Digest: a hash of what a row says, equal where it says the same."""

from __future__ import annotations

from decimal import MAX_PREC, Context, Decimal
from hashlib import blake2b
from typing import Any

import msgspec


def content_hash(content: dict[str, Any]) -> str:
    """32 hex digits that are equal where the content is: in any order of keys, and for 1, 1.0 and 1.00.

    >>> content_hash({"a": Decimal("1.0"), "b": "x"}) == content_hash({"b": "x", "a": Decimal("1.00")})
    True
    """
    return digest(canonical(content))


def digest(content: dict[str, Any]) -> str:
    """The same for a content that is canonical already."""
    return blake2b(_json.encode(content), digest_size=16).hexdigest()


_json = msgspec.json.Encoder(order="sorted", decimal_format="number")
_unbounded = Context(prec=MAX_PREC)
AS_WRITTEN = frozenset({str, int, bool, type(None)})
"""Types of values that JSON writes in one way only; a row of these alone needs no canonical form."""


def canonical(value: Any) -> Any:
    """The value with each number in its shortest form."""
    if isinstance(value, dict):
        return {key: item if type(item) in AS_WRITTEN else canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, Decimal):
        shortest = value.normalize(_unbounded)
        return int(shortest) if shortest == shortest.to_integral_value() else shortest
    return value


def same(value: Any) -> bytes:
    """Bytes that are equal for values that say the same.

    >>> same([1, {"a": 2, "b": None}]) == same([Decimal("1.0"), {"b": None, "a": 2}])
    True
    """
    return _json.encode(canonical(value))
