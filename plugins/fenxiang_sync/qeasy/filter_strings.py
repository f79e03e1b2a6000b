"""Filter strings: the FilterString of a Kingdee query, a condition of SQL, cut into what must all hold.

``FApproveDate>='{{LAST_SYNC_TIME|datetime}}' and FDocumentStatus='C'`` is a bound of a stamp, and a condition that
stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(r"'(?:[^']|'')*'|[A-Za-z_]\w*|.", re.DOTALL | re.ASCII)
_KEY = r"(?P<key>[A-Za-z_][\w.]*)"
_VALUE = r"(?:(?:\{\s*ts\s*)?'(?P<quoted>[^']*)'\s*\}?|(?P<bare>\{\{?[^{}']+\}\}?))"
_COMPARED = re.compile(rf"{_KEY}\s*(?P<sign>>=|<=|>|<)\s*{_VALUE}", re.ASCII)
_BETWEEN = re.compile(rf"{_KEY}\s+between\s+'(?P<low>[^']*)'\s+and\s+'(?P<high>[^']*)'", re.ASCII | re.IGNORECASE)
_MOVES = re.compile(r"\b(getdate|getutcdate|sysdatetime|now|sysdate|current_timestamp|current_date)\b", re.IGNORECASE)
_DEEPEST = 20
_LONGEST = 20_000


class Bound(NamedTuple):
    """A comparison with a moment: its key, whether it is a lower bound, and the value as text."""

    key: str
    lower: bool
    value: str


def conditions(said: str, depth: int = 0) -> list[str]:
    """The conditions that an AND joins, each as it is written; the whole where they are joined otherwise.

    >>> conditions("(FModifyDate >= '{{LAST_SYNC_TIME}}' AND a = 'x and y') and b between 1 and 2")
    ["FModifyDate >= '{{LAST_SYNC_TIME}}'", "a = 'x and y'", 'b between 1 and 2']
    >>> conditions("a = 1 and b = 2 or c = 3")
    ['a = 1 and b = 2 or c = 3']
    """
    cuts = _cuts(said) if len(said) <= _LONGEST else None
    if cuts is None:
        return [said.strip()]
    return [each for part in _cut(said, cuts) for each in _opened(part, depth)]


def alternatives(said: str) -> list[str]:
    """The conditions that an OR joins in one condition, each as it is written; none where they are joined otherwise.

    >>> alternatives("(FCreateDate >= '{{LAST_SYNC_TIME}}' or (FModifyDate >= '{{LAST_SYNC_TIME}}'))")
    ["FCreateDate >= '{{LAST_SYNC_TIME}}'", "FModifyDate >= '{{LAST_SYNC_TIME}}'"]
    """
    said = _bare(said) if len(said) <= _LONGEST else ""
    cuts = _cuts(said, joined="or")
    return [_bare(part) for part in _cut(said, cuts)] if cuts else []


def bounds(said: str) -> list[Bound]:
    """What one condition asks of a moment: a bound, or both of a BETWEEN; none where it is no such comparison.

    >>> bounds("FModifyDate>={ts'{{LAST_SYNC_TIME|datetime}}'}")
    [Bound(key='FModifyDate', lower=True, value='{{LAST_SYNC_TIME|datetime}}')]
    """
    if found := _COMPARED.fullmatch(said):
        value = found["quoted"] if found["quoted"] is not None else found["bare"]
        return [Bound(found["key"], found["sign"].startswith(">"), value)]
    if found := _BETWEEN.fullmatch(said):
        return [Bound(found["key"], True, found["low"]), Bound(found["key"], False, found["high"])]
    return []


def moves(said: str) -> bool:
    """Whether a condition without a reference asks for the time itself, as ``GETDATE()``."""
    return _MOVES.search(re.sub(r"'(?:[^']|'')*'", "''", said)) is not None


def _cut(said: str, cuts: list[tuple[int, int]]) -> list[str]:
    starts, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(said)]
    return [part for start, end in zip(starts, ends, strict=True) if (part := said[start:end].strip())]


def _bare(part: str) -> str:
    """A condition without the parentheses around it."""
    part = part.strip()
    for _ in range(_DEEPEST):
        if not _is_wrapped(part):
            break
        part = part[1:-1].strip()
    return part


def _opened(part: str, depth: int) -> list[str]:
    """What must hold within the parentheses around a condition; the condition itself where there are none."""
    if depth >= _DEEPEST or not _is_wrapped(part):
        return [part]
    inner = conditions(part[1:-1], depth + 1)
    return inner if len(inner) > 1 or _cuts(inner[0] if inner else "") is not None else [part]


def _is_wrapped(part: str) -> bool:
    """Whether the first parenthesis ends where the condition does."""
    if not part.startswith("("):
        return False
    for level, _, end in _levels(part):
        if level == 0:
            return end == len(part)
    return False


def _cuts(said: str, joined: str = "and") -> list[tuple[int, int]] | None:
    """Where each AND stands, or what else, that joins the whole; None where it is joined by something else."""
    cuts: list[tuple[int, int]] = []
    others = {"and", "or", "case"} - {joined}
    between = False
    for level, token, end in _levels(said):
        word = token.lower()
        if level != 0:
            continue
        if word in others and not (between and word == "and"):
            return None
        if word == joined and not (between and word == "and"):
            cuts.append((end - len(token), end))
        between = word == "between" or (between and word != "and")
    return cuts


def _levels(said: str) -> Iterator[tuple[int, str, int]]:
    """Each token, with how many parentheses are open behind it, and where it ends."""
    level = 0
    for match in _TOKEN.finditer(said):
        level += (match[0] == "(") - (match[0] == ")")
        yield level, match[0], match.end()
