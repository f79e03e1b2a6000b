"""Entry: what the words of a mapping have in common, and how many of them become one object of a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Record
from typing import Any, NamedTuple, Protocol

from fenxiang_sync.columns import Column
from fenxiang_sync.errors import ParentMissingError, RecordError
from fenxiang_sync.paths import Read, bounded, shown


class Entry(Protocol):
    """One value of the row. `sources` are the paths in the record that it is made of; `origin` names them."""

    @property
    def target(self) -> str: ...

    @property
    def sources(self) -> tuple[str, ...]: ...

    @property
    def asks(self) -> tuple[str, ...]:
        """The record's own fields that it reads."""
        ...

    @property
    def column(self) -> Column: ...

    @property
    def origin(self) -> str: ...

    @property
    def rule(self) -> str:
        """What null becomes, for people: required, a default, or nothing."""
        ...

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        ...

    def compile(self) -> Read:
        """A function from a record to this entry's value; raises `ValueError` with the reason."""
        ...

    def found(self, record: Record[str, Any]) -> Any:
        """The raw value, for a message about it."""
        ...

    def named(self) -> str:
        """The entry as a message names it."""
        ...

    def said(self) -> list[Any]:
        """All that decides what it makes, as JSON."""
        ...

    def made_by(self) -> str:
        """What becomes of the source, for people."""
        ...


class UnfitError(ValueError):
    """A reason with a value of its own, where that is not what the entry finds in the record."""

    def __init__(self, reason: str, value: Any = None) -> None:
        super().__init__(reason)
        self.value = value


class WaitingError(UnfitError):
    """The record waits for another one: what is looked up is not there yet."""


class Rejected(NamedTuple):
    """An entry that failed, the record's value, why, and whether it may fit later with nothing changed here."""

    entry: Any
    value: Any
    reason: str
    waits: bool = False


Reads = Sequence[tuple[Any, Read]]


def values(reads: Reads, record: Record[str, Any], rejected: list[Rejected]) -> list[Any]:
    """Each entry's value; what does not fit is added to `rejected` and None here."""
    made: list[Any] = []
    for entry, read in reads:
        try:
            made.append(read(record))
        except Exception as error:  # noqa: BLE001  a function of the declaration may raise anything
            rejected.append(_rejected(entry, record, error))
            made.append(None)
    return made


def _rejected(entry: Any, record: Record[str, Any], error: Exception) -> Rejected:
    said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    said = said.encode(errors="backslashreplace").decode()  # a function of the declaration may say anything
    value = error.value if isinstance(error, UnfitError) else entry.found(record)
    return Rejected(entry, value, said, isinstance(error, WaitingError))


def error_of(rejected: Sequence[Rejected]) -> RecordError:
    """What is said of a record: everything that does not fit; `ParentMissingError` where all of it may fit later."""
    first = rejected[0]
    kind: Callable[..., RecordError] = ParentMissingError if all(each.waits for each in rejected) else RecordError
    return kind(reasons(rejected), field=first.entry.origin or first.entry.target, value=bounded(first.value))


def reasons(rejected: Sequence[Rejected]) -> str:
    return "; ".join(f"{_arrow(each.entry)}: {each.reason} (value {shown(each.value)})" for each in rejected)


def _arrow(entry: Any) -> str:
    return f"{entry.target} ← {entry.origin}" if entry.origin else str(entry.target)


class Form:
    """The nested dicts that target paths draw, their keys in the order of the paths."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._keys: list[list[str]] = [[]]
        self._links: list[tuple[int, str, int]] = []
        self._places: list[tuple[int, str]] = []
        parts = {"": 0}
        for path in paths:
            parent, _, name = path.rpartition(".")
            at = self._part(parent, parts)
            self._keys[at].append(name)
            self._places.append((at, name))

    def _part(self, path: str, parts: dict[str, int]) -> int:
        if path not in parts:
            parent, _, name = path.rpartition(".")
            above = self._part(parent, parts)
            parts[path] = len(self._keys)
            self._keys.append([])
            self._keys[above].append(name)
            self._links.append((above, name, parts[path]))
        return parts[path]

    def fill(self, filling: list[Any]) -> dict[str, Any]:
        """The dicts with these values, one for each path."""
        if not self._links:
            return dict(zip(self._keys[0], filling, strict=True))
        parts: list[dict[str, Any]] = [dict.fromkeys(keys) for keys in self._keys]
        for above, name, at in self._links:
            parts[above][name] = parts[at]
        for (at, name), value in zip(self._places, filling, strict=True):
            parts[at][name] = value
        return parts[0]


def target_problems(targets: Sequence[str]) -> Iterator[str]:
    """Target paths that are written twice, or as a value and as an object."""
    written = set(targets)
    for target in dict.fromkeys(targets):
        times = targets.count(target)
        if times > 1:
            yield f"{target!r} is written {times} times; give each field a target path of its own"
        parents = [target[:at] for at, letter in enumerate(target) if letter == "."]
        yield from (
            f"{parent!r} is written as a value and as the object of {target!r}; rename one of them"
            for parent in parents
            if parent in written
        )
