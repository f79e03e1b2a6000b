"""Reconcile (对账): how often a pipeline is compared with the source as a whole, and how carefully."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from fenxiang_sync.checks import cron_problems, names_its_words, spoken_span

FEW = 5
"""So few records may always vanish: a share of a small object says nothing."""


@names_its_words
@dataclass(frozen=True, kw_only=True)
class Reconcile:
    """Compare what is held with what the source has: by counts on `schedule` (None: by hand), id by id every
    `sweep_every` (None: by hand), with all contents read again each time where it is `deep`.

    Where more than `most_vanished` records, or more than `most_share` (of 1) of those compared, are gone at once, the
    run stops with a question.
    """

    schedule: str | None = "30 3 * * *"
    sweep_every: timedelta | None = timedelta(days=7)
    deep: bool = False
    most_vanished: int = 1_000
    most_share: float = 0.05

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        if self.schedule is not None:
            yield from cron_problems(self.schedule)
        yield from self._sweep_problems()
        if not isinstance(self.deep, bool):
            yield f"deep={self.deep!r}: give True or False"
        if type(self.most_vanished) is not int or self.most_vanished < 0:
            yield f"most_vanished={self.most_vanished!r}: give a number of records, from 0 on"
        if type(self.most_share) not in (int, float) or not 0 <= self.most_share <= 1:
            yield f"most_share={self.most_share!r}: give a share from 0 to 1, as 0.05 for one in twenty"

    def most(self, compared: int) -> int:
        """How many of so many records may vanish at once.

        >>> Reconcile().most(10), Reconcile().most(2_000), Reconcile().most(1_000_000)
        (5, 100, 1000)
        """
        return max(min(FEW, self.most_vanished), min(self.most_vanished, int(compared * self.most_share)))

    def _sweep_problems(self) -> Iterator[str]:
        span = self.sweep_every
        if span is None:
            return
        if not isinstance(span, timedelta):
            yield f"sweep_every={span!r}: give a timedelta, as in timedelta(days=7), or None for by hand only"
        elif span <= timedelta(0):
            yield f"sweep_every={spoken_span(span)}: give how long, as in timedelta(days=7), or None for by hand only"
