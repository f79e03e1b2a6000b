"""FindOne, RemoveOne: calls about one row, by its id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from string import Formatter
from typing import Any
from urllib.parse import quote

from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.rows import Row
from fenxiang_sync.targets.protocol import Removal
from fenxiang_sync.targets.results import look
from fenxiang_sync.targets.wire import Call, Reply, decode, encode

_NAMES = frozenset({"id", "source_id", "number"})


@dataclass(frozen=True, kw_only=True)
class FindOne:
    """GET `path` gives the row of an id, at the dotted path `root` of the answer; 404 or 410 says that there is none.

    The path names the row by ``{id}``, ``{source_id}`` or ``{number}``. A row is found where each value that was sent
    is there; null counts as absent, 1.50 as 1.5. Where another value is there, it cannot be told whether it arrived.
    A wrong path is answered with 404 as well, and would pass for "not there": try it with an id that is there.
    """

    path: str
    root: str = ""

    def __post_init__(self) -> None:
        _check(self, self.path)

    def call(self, row: Row) -> Call:
        return Call(path=_of(self.path, row), method="GET", absent=True)

    def held(self, reply: Reply, sent: Mapping[str, Any]) -> bool | None:
        """Whether the answer holds what was `sent`; None where it holds something else."""
        if reply.absent:
            return False
        found = look(reply.payload, self.root)
        return True if isinstance(found, dict) and covers(found, decode(encode(sent))) else None


@dataclass(frozen=True, kw_only=True)
class RemoveOne:
    """A call that flags or deletes the row of an id; an answer 404 or 410 says that it is gone already.

    With a `content`, that is sent: ``RemoveOne(path="/v1/items/{id}", method="PATCH", content={"active": False})``.
    """

    path: str
    method: str = "DELETE"
    content: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check(self, self.path)

    def call(self, removal: Removal) -> Call:
        body = b"" if self.content is None else encode(self.content)
        return Call(path=_of(self.path, removal), method=self.method, body=body, absent=True)


def filled(path: str, values: Mapping[str, Any]) -> str:
    """A path with values for its names, each quoted. Raises `ValueError` for one that would name another path.

    >>> filled("/v1/{id}", {"id": "a/b"})
    '/v1/a%2Fb'
    """
    for name, value in values.items():
        if f"{{{name}}}" in path and str(value) in ("", ".", ".."):
            raise ValueError(f"{name} {str(value)!r} cannot stand in {path}")
    return path.format_map({name: quote(str(value), safe="") for name, value in values.items()})


def covers(held: Any, sent: Any) -> bool:
    """Whether decoded JSON that is `held` has every value of what was `sent`.

    >>> covers({"a": 1, "b": {"c": Decimal("1.50")}, "more": 2}, {"a": 1, "b": {"c": Decimal("1.5")}, "none": None})
    True
    """
    if isinstance(sent, dict):
        return isinstance(held, dict) and all(covers(held.get(key), part) for key, part in sent.items())
    if isinstance(sent, list):
        return isinstance(held, list) and len(held) == len(sent) and all(map(covers, held, sent))
    return bool(held == sent) and (type(held) is type(sent) or (_number(held) and _number(sent)))


def _number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _of(path: str, row: Row | Removal) -> str:
    return filled(path, {"id": row.id, "source_id": row.source_id, "number": row.number or ""})


def _check(declared: FindOne | RemoveOne, path: str) -> None:
    names = {name for _, name, _, _ in Formatter().parse(path) if name}
    if not path.startswith("/") or not names or not names <= _NAMES:
        raise DeclarationError(
            f'{type(declared).__name__} path={path!r}: give a path that names the row, such as "/v1/items/{{id}}"; it '
            f"knows {', '.join(sorted(_NAMES))}"
        )
