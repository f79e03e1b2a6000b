"""DeadLetters (死信): how many a run may have, when they are tried again, and how long they are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from fenxiang_sync.checks import as_tuple, cron_problems, names_its_words, spoken_span

FEW = 5
"""So many dead letters are never too large a share: of a small run it says nothing."""

QEASY_LADDER = tuple(timedelta(seconds=seconds) for seconds in (20, 300, 3_600, 14_400, 72_000))
"""Qeasy's retries (轻易云): 20 s, 5 min, 1 h, 4 h and 20 h after the try before."""


@names_its_words
@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    """A run of more than `most` dead letters, or more than the share `most_share` (of 1) of what it read, fails when
    all else is delivered (None: never).

    With a `ladder`, as `QEASY_LADDER`, a refused row is tried again after each of its steps; and whatever failed once
    the declaration has changed. `schedule` is when that is looked for; None with a ladder is every five minutes, and
    without one it is by hand. A letter that nobody has tried for `keep` is closed as expired, a closed one is deleted
    after `forget` (None: never).
    """

    most: int | None = None
    most_share: float | None = None
    ladder: Sequence[timedelta] = ()
    schedule: str | None = None
    keep: timedelta | None = timedelta(days=30)
    forget: timedelta | None = timedelta(days=90)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ladder", as_tuple(self.ladder))

    @property
    def rhythm(self) -> str | None:
        """When letters are tried again by themselves; None: never.

        >>> DeadLetters().rhythm, DeadLetters(ladder=QEASY_LADDER).rhythm
        (None, '*/5 * * * *')
        """
        return self.schedule or ("*/5 * * * *" if self.ladder else None)

    @property
    def limits(self) -> str:
        """The two limits as they are declared.

        >>> DeadLetters(most_share=0.05).limits
        'most_share=0.05'
        """
        given = {"most": self.most, "most_share": self.most_share}
        return ", ".join(f"{word}={value}" for word, value in given.items() if value is not None)

    def too_many(self, dead: int, read: int) -> bool:
        """Whether a run that read so many records has too many dead letters.

        >>> DeadLetters(most_share=0.05).too_many(5, 20), DeadLetters(most_share=0.05).too_many(6, 20)
        (False, True)
        >>> DeadLetters(most=0).too_many(1, 20), DeadLetters().too_many(20, 20)
        (True, False)
        """
        if self.most is not None and dead > self.most:
            return True
        return self.most_share is not None and dead > max(FEW, self.most_share * read)

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        if self.most is not None and (type(self.most) is not int or self.most < 0):
            yield f"most={self.most!r}: give a number of records, from 0 on, or None for any number"
        if self.most_share is not None and (type(self.most_share) not in (int, float) or not 0 <= self.most_share <= 1):
            yield f"most_share={self.most_share!r}: give a share from 0 to 1, as 0.05 for one in twenty, or None"
        yield from self._ladder_problems()
        if self.schedule is not None:
            yield from cron_problems(self.schedule)
        for word in ("keep", "forget"):
            span = getattr(self, word)
            if span is not None and not isinstance(span, timedelta):
                yield f"{word}={span!r}: give a timedelta, as in timedelta(days=30), or None for ever"
            elif span is not None and span <= timedelta(0):
                yield f"{word}={spoken_span(span)}: give how long, as in timedelta(days=30), or None for ever"

    def _ladder_problems(self) -> Iterator[str]:
        if not isinstance(self.ladder, tuple) or not all(isinstance(step, timedelta) for step in self.ladder):
            yield f"ladder={self.ladder!r}: give a list of timedelta, as QEASY_LADDER is one"
        elif any(step <= timedelta(0) for step in self.ladder):
            yield "ladder: each step is the time since the try before; give times above 0, as QEASY_LADDER does"
