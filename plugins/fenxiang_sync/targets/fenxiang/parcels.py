"""Parcels: the rows of a batch on their way, and what becomes of those behind a create whose answer was lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fenxiang_sync.errors import AnswerLostError, TransientError
from fenxiang_sync.rows import Row
from fenxiang_sync.targets.crm import Record
from fenxiang_sync.targets.fenxiang.known import Held
from fenxiang_sync.targets.protocol import Answer

LONGEST_S = 600.0
"""No row is begun so long after its batch: a claim lasts 15 minutes, and one row may take a few."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A row on its way: its place in the batch, its match value, and its values in the CRM's terms."""

    place: int
    row: Row
    value: str
    content: Mapping[str, Any]
    lines: Mapping[str, Sequence[Record]]


Lost = tuple[Parcel, AnswerLostError]
"""A create whose answer was lost, and how."""


@dataclass(slots=True)
class Delivering:
    """Delivers the parcels of one batch. `lost` are creates whose answer was lost, by match value; `waiting` are later
    rows of such a value, which share what becomes of it."""

    act: Callable[[Parcel, Held], Answer]
    now: Callable[[], float]
    doubtful: set[str]
    lost: dict[str, Lost] = field(default_factory=dict)
    waiting: list[Parcel] = field(default_factory=list)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.now()

    def __call__(self, parcel: Parcel, held: Held) -> Answer | None:
        if self.now() - self.began > LONGEST_S:
            raise TransientError(f"a batch took over {LONGEST_S:g} s; the rest of it goes with the next try")
        if parcel.value in self.lost:
            self.waiting.append(parcel)
            return None
        try:
            return self.act(parcel, held)
        except AnswerLostError as error:
            if parcel.value not in self.doubtful:
                raise  # of an update, which may be made twice
            self.lost[parcel.value] = parcel, error
            return None

    def share(self, answers: list[Answer | None]) -> None:
        """Give the rows that waited, and were not sent, the answer that their value got."""
        for parcel in self.waiting:
            if answers[parcel.place] is None:
                answers[parcel.place] = answers[self.lost[parcel.value][0].place]
