"""What a successful call says about its rows: nothing more, counters, or an answer for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fenxiang_sync.rows import Row
from fenxiang_sync.targets.protocol import Answer, Delivery

DELIVERED = Answer(delivery=Delivery.DELIVERED)
UNTOLD = Answer(delivery=Delivery.UNKNOWN, reason="the answer of the batch does not mention this row")


@dataclass(frozen=True, slots=True)
class Counted:
    """So many rows were taken, so many failed; which ones is not said."""

    taken: int
    failed: int


Answers = list[Answer] | Counted


class Results(Protocol):
    """How to read the body of a call that succeeded; one answer per row in their order, or counters."""

    def read(self, payload: Any, rows: Sequence[Row]) -> Answers: ...


def look(payload: Any, path: str) -> Any:
    """The value at a dotted path of JSON, None where there is none; "" is the payload itself.

    >>> look({"content": {"inserted": 3}}, "content.inserted")
    3
    """
    for name in path.split(".") if path else ():
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload


def told(entry: Any, tells: Mapping[str, str]) -> dict[str, str | int]:
    """What an entry tells of its row, by the names and paths `tells`; only text and whole numbers that are there.

    >>> told({"data": {"id": 7, "url": None}}, {"id": "data.id", "url": "data.url"})
    {'id': 7}
    """
    found = {name: look(entry, path) for name, path in tells.items()}
    return {name: value for name, value in found.items() if type(value) in (str, int) and value != ""}


@dataclass(frozen=True, slots=True)
class Whole:
    """Success holds for every row of the call. `tells` names what a call with one row says of it, each with its path:
    ``{"id": "data.id"}``."""

    tells: Mapping[str, str] = field(default_factory=dict)

    def read(self, payload: Any, rows: Sequence[Row]) -> Answers:
        if not self.tells or len(rows) != 1:
            return [DELIVERED] * len(rows)
        return [Answer(delivery=Delivery.DELIVERED, told=told(payload, self.tells))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Two numbers. Where they are missing, success holds for every row."""

    taken: str
    failed: str

    def read(self, payload: Any, rows: Sequence[Row]) -> Answers:
        taken, failed = look(payload, self.taken), look(payload, self.failed)
        if not isinstance(taken, int) or not isinstance(failed, int):
            return [DELIVERED] * len(rows)
        return Counted(taken, failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Where one entry of a list says whether its row was taken, and why not. `good` are the values that mean yes.

    `tells` names what it says of a row that was taken, each with its path: ``{"id": "data.id"}``.
    """

    ok: str
    good: tuple[Any, ...] = (True,)
    code: str = "code"
    message: str = "message"
    tells: Mapping[str, str] = field(default_factory=dict)

    def answer(self, entry: Any) -> Answer:
        if look(entry, self.ok) not in self.good:
            return self.refusal(entry)
        return Answer(delivery=Delivery.DELIVERED, told=told(entry, self.tells)) if self.tells else DELIVERED

    def refusal(self, entry: Any) -> Answer:
        code = look(entry, self.code)
        return Answer(
            delivery=Delivery.REFUSED,
            reason=str(look(entry, self.message) or "refused without a reason"),
            code=code if isinstance(code, int | str) else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ByIndex:
    """A list with one entry per row: in the order of the rows, or with the row's place at `index` (from `first`)."""

    path: str
    item: Item
    index: str | None = None
    first: int = 0

    @property
    def tells(self) -> Mapping[str, str]:
        return self.item.tells

    def read(self, payload: Any, rows: Sequence[Row]) -> Answers:
        answers = [UNTOLD] * len(rows)
        for order, entry in enumerate(_entries(payload, self.path)):
            place = order if self.index is None else _place(look(entry, self.index), self.first)
            if place is not None and 0 <= place < len(rows):
                answers[place] = self.item.answer(entry)
        return answers


@dataclass(frozen=True, slots=True, kw_only=True)
class ByKey:
    """A list whose entries name their row by its id, at `key`."""

    path: str
    key: str
    item: Item

    @property
    def tells(self) -> Mapping[str, str]:
        return self.item.tells

    def read(self, payload: Any, rows: Sequence[Row]) -> Answers:
        said = {str(look(entry, self.key)): self.item.answer(entry) for entry in _entries(payload, self.path)}
        return [said.get(row.id, UNTOLD) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorList:
    """A list of the rows that failed, by id at `key` or place at `index`; every other row was taken.

    An entry that names none of the rows makes every unnamed row unknown: it may be about any of them.
    """

    path: str
    key: str | None = None
    index: str | None = None
    first: int = 0
    item: Item = Item(ok="")

    def read(self, payload: Any, rows: Sequence[Row]) -> Answers:
        places = {row.id: place for place, row in enumerate(rows)}
        failed: dict[int, Answer] = {}
        rest = DELIVERED
        for entry in _entries(payload, self.path):
            place = (
                places.get(str(look(entry, self.key)))
                if self.key is not None
                else _place(look(entry, self.index or ""), self.first)
            )
            if place is None or not 0 <= place < len(rows):
                rest = UNTOLD
            else:
                failed[place] = self.item.refusal(entry)
        return [failed.get(place, rest) for place in range(len(rows))]


def _entries(payload: Any, path: str) -> list[Any]:
    entries = look(payload, path)
    return entries if isinstance(entries, list) else []


def _place(value: Any, first: int) -> int | None:
    try:
        return int(value) - first
    except (TypeError, ValueError):
        return None
