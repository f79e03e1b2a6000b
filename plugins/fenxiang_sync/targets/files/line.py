"""Line: one row, or the removal of one, as a file holds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from fenxiang_sync.columns import Column, Kind


class Mark(NamedTuple):
    """What tells one line of a run from another: the hash of its content, its version, and whether it is removed."""

    hash: str
    modified_ms: int
    version: int
    removed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`id` is the row's; `loaded_at` is when it was written."""

    id: str
    content: dict[str, Any]
    mark: Mark
    loaded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """The columns that each line has beside the row's own; their names begin with `prefix`."""

    prefix: str

    @property
    def columns(self) -> tuple[Column, ...]:
        """In the order of `values`: version and state of the row, then what it was made of and when."""
        kinds = {
            "modified_ms": Kind.INTEGER,
            "version": Kind.INTEGER,
            "deleted": Kind.BOOLEAN,
            "hash": Kind.TEXT,
            "loaded_at": Kind.INSTANT,
        }
        return tuple(Column(path=self.prefix + name, kind=kind, required=True) for name, kind in kinds.items())

    @property
    def of_mark(self) -> list[str]:
        """The names of the columns that make up a `Mark`, in its order."""
        return [self.prefix + name for name in ("hash", "modified_ms", "version", "deleted")]

    def values(self, line: Line) -> dict[str, Any]:
        mark = line.mark
        told = (mark.modified_ms, mark.version, mark.removed, mark.hash, line.loaded_at.isoformat())
        return dict(zip((column.path for column in self.columns), told, strict=True))


class Encoding(Protocol):
    """How lines become a file, and how a file tells what it holds."""

    @property
    def suffix(self) -> str:
        """What the names of its files end with."""
        ...

    def encode(self, lines: Sequence[Line]) -> bytes:
        """The content of a file; raises `ValueError` with the reason where a line does not fit."""
        ...

    def marks(self, content: bytes) -> Iterator[Mark]:
        """What a file of this content holds."""
        ...
