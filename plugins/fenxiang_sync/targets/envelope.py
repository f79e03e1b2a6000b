"""Envelopes: how the rows of a call make its body. Each row comes encoded as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import msgspec

from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.targets.wire import encode

JSON = "application/json"


class Envelope(Protocol):
    """`kind` is the content type, `most_rows` how many rows fit in at most (None: any number)."""

    @property
    def kind(self) -> str: ...

    @property
    def most_rows(self) -> int | None: ...

    @property
    def frame(self) -> int:
        """Bytes of a body beside its rows and one separator for each."""
        ...

    def pack(self, contents: Sequence[bytes]) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Array:
    """The rows as an array at the dotted path `root` ("" = the body itself), with constants `around` it.

    >>> Array(root="data.rows", around={"source": "fenxiang"}).pack([b'{"id":1}', b'{"id":2}'])
    b'{"source":"fenxiang","data":{"rows":[{"id":1},{"id":2}]}}'
    """

    root: str = ""
    around: Mapping[str, Any] = field(default_factory=dict)

    kind: ClassVar[str] = JSON
    most_rows: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        _check(self, self.root, self.around)

    @property
    def frame(self) -> int:
        return len(self.pack([]))

    def pack(self, contents: Sequence[bytes]) -> bytes:
        return encode(_placed(self.around, self.root, [msgspec.Raw(content) for content in contents]))


@dataclass(frozen=True, kw_only=True)
class Single:
    """One row a call, at the dotted path `root` ("" = the body itself), with constants `around` it."""

    root: str = ""
    around: Mapping[str, Any] = field(default_factory=dict)

    kind: ClassVar[str] = JSON
    most_rows: ClassVar[int | None] = 1

    def __post_init__(self) -> None:
        _check(self, self.root, self.around)

    @property
    def frame(self) -> int:
        return len(self.pack([b""]))

    def pack(self, contents: Sequence[bytes]) -> bytes:
        return encode(_placed(self.around, self.root, msgspec.Raw(contents[0])))


@dataclass(frozen=True, kw_only=True)
class Framed:
    """Text before, between and after the rows."""

    prefix: str = ""
    separator: str
    suffix: str = ""
    kind: str = JSON

    most_rows: ClassVar[int | None] = None

    @property
    def frame(self) -> int:
        return len(self.prefix.encode()) + len(self.suffix.encode())

    def pack(self, contents: Sequence[bytes]) -> bytes:
        return self.prefix.encode() + self.separator.encode().join(contents) + self.suffix.encode()


@dataclass(frozen=True, kw_only=True)
class Lines(Framed):
    """NDJSON: a line for each row.

    >>> Lines().pack([b'{"id":1}', b'{"id":2}'])
    b'{"id":1}\\n{"id":2}\\n'
    """

    separator: str = "\n"
    suffix: str = "\n"
    kind: str = "application/x-ndjson"


def _placed(around: Mapping[str, Any], root: str, value: Any) -> Any:
    """`around` with `value` at a dotted path inside it."""
    name, _, rest = root.partition(".")
    return {**around, name: _placed(around.get(name, {}), rest, value)} if name else value


def _check(envelope: Array | Single, root: str, around: Mapping[str, Any]) -> None:
    kind = type(envelope).__name__
    if around and not root:
        raise DeclarationError(f"{kind} around={around!r}: say with root= where in it the rows go")
    if root and not all(root.split(".")):
        raise DeclarationError(f'{kind} root={root!r}: give a dotted path such as "data.rows"')
    inside: Any = around
    for name in root.split(".")[:-1]:
        inside = inside.get(name, {})
        if not isinstance(inside, Mapping):
            raise DeclarationError(f"{kind} root={root!r}: {name!r} is {inside!r} in around, and cannot hold the rows")
