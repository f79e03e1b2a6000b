"""An object of millions of records that are made when they are looked at, for a simulator that need not hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

from fenxiang_simulator import Simulator
from fenxiang_simulator.shelf import Record, Shelf

FIRST_ID = 0x65AA << 80


class _Computed(Sequence[Any]):
    """A sorted sequence whose n-th member is computed."""

    def __init__(self, length: int, member: Callable[[int], Any]) -> None:
        self._length = length
        self._member = member

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> list[Any]: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return [self._member(each) for each in range(*at.indices(self._length))]
        if not -self._length <= at < self._length:
            raise IndexError(at)
        return self._member(at % self._length)


class _Records(Mapping[str, Record]):
    def __init__(self, length: int, template: Record, stamp: Callable[[int], int]) -> None:
        self._length = length
        self._template = template
        self._stamp = stamp

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[str]:
        return map(id_at, range(self._length))

    def __getitem__(self, record_id: str) -> Record:
        at = int(record_id, 16) - FIRST_ID
        if not 0 <= at < self._length:
            raise KeyError(record_id)
        return {**self._template, "_id": record_id, "last_modified_time": self._stamp(at)}


def id_at(number: int) -> str:
    return f"{FIRST_ID + number:024x}"


def fill(simulator: Simulator, name: str, number: int, stamp: Callable[[int], int]) -> None:
    """Let the object hold so many records, all alike; the n-th has the n-th id and `stamp(n)`, which never falls."""
    template = next(iter(simulator.tenant.records(name).values()))
    shelf: Any = Shelf()
    shelf.seen = shelf.truth = _Records(number, template, stamp)
    shelf.ids = _Computed(number, id_at)
    shelf.stamps = _Computed(number, lambda at: (stamp(at), id_at(at)))
    with simulator.tenant.lock:
        simulator.tenant._shelves[name] = shelf
