"""Group: lines that have values in common become one line (合并), as with `bodyGroup` of Qeasy's `groupCalculate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from enum import StrEnum
from typing import Any

from fenxiang_sync.columns import Column, Kind
from fenxiang_sync.digest import same

_exact = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_AVERAGE = Context(prec=28)
_NUMBERS = (Kind.INTEGER, Kind.DECIMAL, Kind.JSON)


class Take(StrEnum):
    """What becomes of the values of lines that are merged, by Qeasy's names. Nulls count for FIRST and LAST alone."""

    SUM = "$sum"
    """Exact; null where there is no value."""
    AVG = "$avg"
    """To 28 digits."""
    MIN = "$min"
    MAX = "$max"
    PUSH = "$push"
    """A list of all."""
    ADD_TO_SET = "$addToSet"
    """A list of the different ones, in the order in which they came."""
    FIRST = "$first"
    LAST = "$last"


@dataclass(frozen=True)
class Group:
    """`by` are target paths of a line: lines that are equal in all of them become one, where the first of them stands.
    `take` says what becomes of each other target path; one that is in neither would be lost, and is refused."""

    by: Sequence[str]
    take: Mapping[str, Take]

    def __post_init__(self) -> None:
        if not isinstance(self.by, str) and hasattr(self.by, "__iter__"):
            object.__setattr__(self, "by", tuple(self.by))
        if isinstance(self.take, Mapping):
            object.__setattr__(self, "take", dict(self.take))

    def problems(self, columns: Sequence[Column]) -> Iterator[str]:
        """What cannot be meant as written of lines with these columns, each as a sentence."""
        if not isinstance(self.by, tuple) or not self.by:
            yield f"group: by={self.by!r}: list the target paths whose values lines have in common"
            return
        if not isinstance(self.take, Mapping):
            yield f"group: take={self.take!r}: say what becomes of each other field, as in {{'quantity': Take.SUM}}"
            return
        kinds = {column.path: column.kind for column in columns}
        for path in (*self.by, *self.take):
            if path not in kinds:
                yield f"group: {path!r} is no target path of a line; there are {', '.join(map(repr, kinds))}"
        for path in kinds:
            if path in self.by and path in self.take:
                yield f"group: {path!r} is in by and in take; keep one"
            elif path not in self.by and path not in self.take:
                yield f"group: {path!r} would be lost; add it to by, or say what is taken: {{{path!r}: Take.FIRST}}"
        for path, take in self.take.items():
            yield from _take_problems(path, take, kinds.get(path, Kind.JSON))

    def merge(self, paths: Sequence[str], lines: Sequence[list[Any]]) -> list[list[Any]]:
        """The merged lines of some that have a value for each path. Raises `ValueError` with the reason."""
        keys = [place for place, path in enumerate(paths) if path in self.by]
        alike: dict[bytes, list[list[Any]]] = {}
        for line in lines:
            alike.setdefault(same([line[place] for place in keys]), []).append(line)
        return [[self._merged(path, place, group) for place, path in enumerate(paths)] for group in alike.values()]

    def _merged(self, path: str, place: int, lines: Sequence[list[Any]]) -> Any:
        values = [line[place] for line in lines]
        if path in self.by:
            return values[0]
        try:
            return _TAKES[self.take[path]](values)
        except TypeError:
            several = " and ".join(sorted({type(value).__name__ for value in values if value is not None}))
            raise ValueError(f"{path}: there is no {self.take[path]} of {several}") from None

    def said(self) -> list[Any]:
        return [list(self.by), {path: str(take) for path, take in self.take.items()}]

    def __str__(self) -> str:
        taken = ", ".join(f"{take} of {path}" for path, take in self.take.items())
        return f"one for each {', '.join(self.by)}{f' with {taken}' if taken else ''}"


def _take_problems(path: str, take: Any, kind: Kind) -> Iterator[str]:
    if not isinstance(take, Take):
        yield f"group: {path!r}: {take!r} is no Take; choose one of {', '.join(map(str, Take.__members__))}"
    elif take in (Take.SUM, Take.AVG) and kind not in _NUMBERS:
        yield f"group: there is no {take} of {path!r}, which is {kind}; convert it with decimal() or integer"


def _sum(values: Sequence[Any]) -> Any:
    there = _numbers(values)
    if all(type(value) is int for value in there):
        return sum(there) if there else None
    total = Decimal(0)
    for value in there:
        total = _exact.add(total, Decimal(value))
    return total


def _average(values: Sequence[Any]) -> Any:
    there = _numbers(values)
    return _AVERAGE.divide(Decimal(_sum(there)), Decimal(len(there))) if there else None


def _numbers(values: Sequence[Any]) -> list[Any]:
    there = _there(values)
    if any(isinstance(value, bool) or not isinstance(value, int | Decimal) for value in there):
        raise TypeError
    return there


def _different(values: Sequence[Any]) -> list[Any]:
    different: dict[bytes, Any] = {}
    for value in _there(values):
        different.setdefault(same(value), value)
    return list(different.values())


def _there(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not None]


_TAKES: dict[Take, Callable[[Sequence[Any]], Any]] = {
    Take.SUM: _sum,
    Take.AVG: _average,
    Take.MIN: lambda values: min(_there(values), default=None),
    Take.MAX: lambda values: max(_there(values), default=None),
    Take.PUSH: _there,
    Take.ADD_TO_SET: _different,
    Take.FIRST: lambda values: values[0],
    Take.LAST: lambda values: values[-1],
}
