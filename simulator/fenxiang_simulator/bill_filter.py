"""Bill filter: the FilterString and OrderString of a Kingdee query, which are parts of a SQL statement, understood.

Comparisons, IN, LIKE, BETWEEN, IS NULL, AND, OR, NOT and parentheses, with SQL's unknown where a value is null. What
is compared decides how: a number with a number, a moment with a moment, text without regard to case.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

Get = Callable[[str], Any]
"""The value of a field key in one row."""
Holds = Callable[[Get], bool | None]
"""Whether a row fits; None where SQL says "unknown"."""

Operand = Callable[[Get], Any]
"""One side of a comparison: its value in one row."""

LONGEST = 100_000
DEEPEST = 50
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_TOKEN = re.compile(
    rf"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<word>{KEY.pattern})|(?P<sign><>|!=|>=|<=|[=<>(),]))"
)
_COMPARES: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<>": operator.ne, "!=": operator.ne, ">": operator.gt, "<": operator.lt, ">=": operator.ge,
    "<=": operator.le,
}  # fmt: skip
_RESERVED = frozenset({"AND", "OR", "NOT", "IN", "LIKE", "IS", "NULL", "BETWEEN"})


def parse(said: str) -> Holds:
    """The condition; everything fits an empty one. Raises `ValueError` where it is no condition."""
    if not said.strip():
        return lambda _: True
    parser = _Parser(said)
    holds = parser.either(0)
    parser.end()
    return holds


def orders(said: str) -> list[tuple[str, bool]]:
    """The keys of an OrderString, each with whether it ascends. Raises `ValueError`."""
    found = []
    for part in filter(None, (each.strip() for each in said.split(","))):
        key, _, way = part.partition(" ")
        if not KEY.fullmatch(key) or way.strip().upper() not in ("", "ASC", "DESC"):
            raise ValueError(f"OrderString: {part!r}")
        found.append((key, way.strip().upper() != "DESC"))
    return found


class _Parser:
    """Recursive descent; a nesting of `DEEPEST` is the most."""

    def __init__(self, said: str) -> None:
        if len(said) > LONGEST:
            raise ValueError("FilterString is too long")
        self._tokens = list(_tokens(said))
        self._at = 0

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise ValueError(f"nothing is expected at {self._tokens[self._at][1]!r}")

    def either(self, depth: int) -> Holds:
        if depth > DEEPEST:
            raise ValueError("FilterString is nested too deeply")
        parts = [self._both(depth)]
        while self._word("OR"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else lambda get: _any([part(get) for part in parts])

    def _both(self, depth: int) -> Holds:
        parts = [self._one(depth)]
        while self._word("AND"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else lambda get: _not(_any([_not(part(get)) for part in parts]))

    def _one(self, depth: int) -> Holds:
        if self._word("NOT"):
            if depth > DEEPEST:
                raise ValueError("FilterString is nested too deeply")
            inner = self._one(depth + 1)
            return lambda get: _not(inner(get))
        if self._sign("("):
            inner = self.either(depth + 1)
            self._need(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Holds:
        left = self._operand()
        if self._word("IS"):
            negated = self._word("NOT")
            if not self._word("NULL"):
                raise ValueError("IS takes NULL")
            return lambda get: (left(get) is None) is not negated
        if self._word("NOT"):
            inner = self._of_set(left)
            return lambda get: _not(inner(get))
        kind, said = self._next()
        if kind == "sign" and said in _COMPARES:
            compare, right = _COMPARES[said], self._operand()
            return lambda get: _compared(compare, left(get), right(get))
        self._at -= 1
        return self._of_set(left)

    def _of_set(self, left: Operand) -> Holds:
        if self._word("IN"):
            self._need("(")
            values = [self._operand()]
            while self._sign(","):
                values.append(self._operand())
            self._need(")")
            return lambda get: _any([_compared(operator.eq, left(get), value(get)) for value in values])
        if self._word("LIKE"):
            pattern = self._operand()
            return lambda get: _like(left(get), pattern(get))
        if self._word("BETWEEN"):
            low = self._operand()
            if not self._word("AND"):
                raise ValueError("BETWEEN takes AND")
            high = self._operand()
            return lambda get: _not(
                _any([_compared(operator.lt, left(get), low(get)), _compared(operator.gt, left(get), high(get))])
            )
        raise ValueError("a comparison is expected")

    def _operand(self) -> Operand:
        kind, said = self._next()
        if kind == "text":
            value: Any = said[1:-1].replace("''", "'")
        elif kind == "number":
            value = float(said) if "." in said else int(said)
        elif kind == "word" and said.upper() not in _RESERVED:
            return lambda get: get(said)
        else:
            raise ValueError(f"a field or a value is expected at {said!r}")
        return lambda _: value

    def _next(self) -> tuple[str, str]:
        if self._at == len(self._tokens):
            raise ValueError("FilterString ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _word(self, word: str) -> bool:
        return self._take("word", word)

    def _sign(self, sign: str) -> bool:
        return self._take("sign", sign)

    def _need(self, sign: str) -> None:
        if not self._sign(sign):
            raise ValueError(f"{sign} is missing")

    def _take(self, kind: str, said: str) -> bool:
        there = self._at < len(self._tokens) and self._tokens[self._at][0] == kind
        taken = there and self._tokens[self._at][1].upper() == said
        self._at += taken
        return taken


def _tokens(said: str) -> Iterator[tuple[str, str]]:
    at, end = 0, len(said.rstrip())
    while at < end:
        found = _TOKEN.match(said, at)
        if found is None:
            raise ValueError(f"not understood: {said[at : at + 20]!r}")
        yield next((kind, text) for kind, text in found.groupdict().items() if text is not None)
        at = found.end()


def _any(parts: list[bool | None]) -> bool | None:
    return True if True in parts else None if None in parts else False


def _not(holds: bool | None) -> bool | None:
    return None if holds is None else not holds


def _compared(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    return compare(*_alike(left, right))


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Both in the kind of the one that is no text; raises `ValueError` as a database refuses such a conversion."""
    for kind in (datetime, int, float):
        if isinstance(left, kind) or isinstance(right, kind):
            read: Callable[[Any], Any] = datetime.fromisoformat if kind is datetime else float
            return tuple(read(each) if isinstance(each, str) else each for each in (left, right))
    return str(left).casefold(), str(right).casefold()


def _like(value: Any, pattern: Any) -> bool | None:
    if value is None or pattern is None:
        return None
    wild = {"%": ".*", "_": "."}
    expression = "".join(wild.get(letter) or re.escape(letter) for letter in str(pattern))
    return re.fullmatch(expression, str(value), re.IGNORECASE | re.DOTALL) is not None
