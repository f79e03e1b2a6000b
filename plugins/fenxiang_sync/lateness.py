"""Lateness: how late the records of a pipeline became visible, and what lookback would have caught all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from fenxiang_sync.hub import LateBin

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A lookback (ms), how many of all arrivals it would have caught, and those that no smaller step catches."""

    within_ms: int
    caught: int
    bins: list[LateBin]

    @property
    def latest(self) -> LateBin:
        return max(self.bins, key=lambda each: each.most_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """The late arrivals of one pipeline so far. `present` is its lookback now, None where that is not known."""

    pipeline: str
    present: timedelta | None
    bins: Sequence[LateBin]

    @classmethod
    def of(cls, pipeline: str, present: timedelta | None, bins: Sequence[LateBin]) -> Self:
        return cls(pipeline=pipeline, present=present, bins=bins)

    @property
    def arrivals(self) -> int:
        return sum(each.arrivals for each in self.bins)

    @property
    def least(self) -> timedelta:
        """No smaller lookback would have caught all of them."""
        return timedelta(milliseconds=max((each.least_ms for each in self.bins), default=0))

    @property
    def enough(self) -> timedelta:
        """This lookback would have caught all of them for certain."""
        return timedelta(milliseconds=max((each.most_ms for each in self.bins), default=0))

    @property
    def enough_minutes(self) -> int:
        """The same, in whole minutes."""
        return -(-self.enough // _MINUTE)

    @property
    def caught(self) -> bool:
        """Whether the present lookback catches all of them."""
        return self.present is not None and self.enough <= self.present

    @property
    def last(self) -> datetime | None:
        """When the last one was found."""
        return max((each.found_at for each in self.bins), default=None)

    @property
    def steps(self) -> list[Step]:
        """The histogram, the smallest lookback first."""
        return [
            Step(
                within_ms=within,
                caught=sum(each.arrivals for each in self.bins if each.within_ms <= within),
                bins=[each for each in self.bins if each.within_ms == within],
            )
            for within in sorted({each.within_ms for each in self.bins})
        ]

    def advice(self) -> str:
        """What to write into the declaration, as a sentence; empty where nothing came late."""
        if not self.bins:
            return ""
        if self.present is not None and self.caught:
            return f"The lookback of {spoken(self.present)} catches all of them"
        return (
            f"Source(lookback=timedelta(minutes={self.enough_minutes})) would have caught all of them for certain; "
            f"less than {spoken(self.least)} would not"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "pipeline": self.pipeline,
            "lookback_s": None if self.present is None else self.present.total_seconds(),
            "arrivals": self.arrivals,
            "least_s": self.least.total_seconds(),
            "enough_s": self.enough.total_seconds(),
            "bins": [
                {
                    "within_s": each.within_ms // 1000,
                    "found_by": each.found_by,
                    "arrivals": each.arrivals,
                    "least_s": each.least_ms / 1000,
                    "enough_s": each.most_ms / 1000,
                    "record_id": each.record_id,
                    "modified_ms": each.modified_ms,
                    "run": each.run,
                    "found_at": each.found_at.isoformat(timespec="seconds"),
                }
                for each in self.bins
            ],
        }


def spoken(span: timedelta) -> str:
    """Rounded up, so that what it says is enough.

    >>> spoken(timedelta(seconds=61)), spoken(timedelta(hours=26)), spoken(timedelta(seconds=20))
    ('2 min', '1 day 2 h', '20 s')
    """
    if span < _MINUTE:
        return f"{-(-span // timedelta(seconds=1))} s"
    minutes = -(-span // _MINUTE)
    days, hours, rest = minutes // 1440, minutes % 1440 // 60, minutes % 60
    parts = [
        f"{days} day{'s' if days > 1 else ''}" * bool(days),
        f"{hours} h" * bool(hours),
        f"{rest} min" * bool(rest),
    ]
    return " ".join(part for part in parts if part)
