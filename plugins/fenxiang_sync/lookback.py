"""Lookback (漏单补救, omission remedy): an extra schedule that reads a stretch of the past again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fenxiang_sync.checks import cron_problems, names_its_words, span_problems

_UNITS = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1)), ("s", timedelta(seconds=1)))


@names_its_words
@dataclass(frozen=True, kw_only=True)
class Lookback:
    """At each tick of `schedule` the last stretch `over` is read again, whatever was certified.

    What is unchanged is not sent again, and the window of the ordinary runs stays where it is. `schedule` is a cron
    expression in the time zone of the pipeline.
    """

    schedule: str
    over: timedelta

    @property
    def id(self) -> str:
        """Its name behind the pipeline's, after its length.

        >>> Lookback(schedule="0 */2 * * *", over=timedelta(days=2)).id
        'lookback-2d'
        >>> Lookback(schedule="5 * * * *", over=timedelta(minutes=90)).id
        'lookback-90m'
        """
        letter, unit = next((letter, unit) for letter, unit in _UNITS if not self.over % unit)
        return f"lookback-{self.over // unit}{letter}"

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        if self.schedule is None:
            yield "schedule=None: give a cron expression like '0 */2 * * *'; by hand there is since and until of a run"
        else:
            yield from cron_problems(self.schedule)
        found = list(span_problems("over", self.over))
        yield from found
        if not found and (self.over < timedelta(seconds=1) or self.over % timedelta(seconds=1)):
            yield f"over={self.over!r}: give a second or more, and no part of one, as in timedelta(days=2)"


def lookback_problems(lookbacks: Any) -> Iterator[str]:
    """What is wrong with the lookbacks of a pipeline, each on its own and together."""
    if not isinstance(lookbacks, tuple):
        yield f"lookbacks={lookbacks!r}: give a list, as in [Lookback(schedule='0 */2 * * *', over=timedelta(days=2))]"
        return
    wrong = 0
    for each in lookbacks:
        if not isinstance(each, Lookback):
            found = [f"{each!r} is no Lookback; write Lookback(schedule=…, over=timedelta(days=2))"]
        else:
            found = list(each.problems())
        wrong += len(found)
        yield from (f"lookbacks: {problem}" for problem in found)
    if not wrong:
        yield from _twice(lookbacks)


def _twice(lookbacks: Sequence[Lookback]) -> Iterator[str]:
    for name, number in Counter(each.id for each in lookbacks).items():
        if number > 1:
            yield (
                f"lookbacks: {number} of them reach equally far, and would both be {name!r}; give one schedule with "
                "all its ticks, or another over"
            )
