"""Window: the half-open span of `last_modified_time` that a run reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """Epoch milliseconds of an aware datetime, floored.

    >>> to_ms(datetime(2023, 10, 1, 12, tzinfo=UTC))
    1696161600000
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; give an aware datetime")
    return datetime.__sub__(moment, _EPOCH) // _MILLISECOND  # pendulum's own difference cannot be divided


def from_ms(ms: int) -> datetime:
    """The aware UTC datetime of epoch milliseconds."""
    return _EPOCH + ms * _MILLISECOND


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Half-open: a record with stamp t is in it when ``since_ms <= t < until_ms``. Epoch milliseconds.

    >>> w = Window.between(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    >>> print(w)
    2026-01-01 00:00 → 2026-01-02 00:00 UTC
    >>> w.since_ms in w, w.until_ms in w
    (True, False)
    """

    since_ms: int
    until_ms: int

    def __post_init__(self) -> None:
        if self.since_ms > self.until_ms:
            raise ValueError(f"a window ends before it begins: since {self.since_ms} > until {self.until_ms}")

    @classmethod
    def between(cls, since: datetime, until: datetime) -> Self:
        return cls(to_ms(since), to_ms(until))

    @property
    def since(self) -> datetime:
        return from_ms(self.since_ms)

    @property
    def until(self) -> datetime:
        return from_ms(self.until_ms)

    @property
    def empty(self) -> bool:
        return self.since_ms == self.until_ms

    @property
    def length_ms(self) -> int:
        return self.until_ms - self.since_ms

    def __contains__(self, stamp_ms: int) -> bool:
        return self.since_ms <= stamp_ms < self.until_ms

    def widen(self, lookback: timedelta) -> Self:
        """The same window, reaching `lookback` further back (never before the epoch)."""
        return type(self)(max(0, self.since_ms - lookback // _MILLISECOND), self.until_ms)

    def halves(self) -> tuple[Self, Self]:
        """Both halves; only a window of 2 ms or more has them."""
        middle = (self.since_ms + self.until_ms) // 2
        if not self.since_ms < middle < self.until_ms:
            raise ValueError(f"{self} is too short to be halved")
        return type(self)(self.since_ms, middle), type(self)(middle, self.until_ms)

    def to_json(self) -> dict[str, Any]:
        return {
            "since": self.since.isoformat(timespec="milliseconds"),
            "until": self.until.isoformat(timespec="milliseconds"),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls.between(datetime.fromisoformat(data["since"]), datetime.fromisoformat(data["until"]))

    def __str__(self) -> str:
        return f"{_short(self.since)} → {_short(self.until)} UTC"


def merge(windows: Iterable[Window]) -> list[Window]:
    """The same time as few windows in order: overlapping and adjacent ones become one, empty ones go.

    >>> merge([Window(5, 7), Window(0, 3), Window(3, 4)])
    [Window(since_ms=0, until_ms=4), Window(since_ms=5, until_ms=7)]
    """
    merged: list[Window] = []
    for window in sorted(w for w in windows if not w.empty):
        if merged and window.since_ms <= merged[-1].until_ms:
            merged[-1] = Window(merged[-1].since_ms, max(merged[-1].until_ms, window.until_ms))
        else:
            merged.append(window)
    return merged


def gaps(within: Window, covered: Iterable[Window]) -> list[Window]:
    """What of `within` no window of `covered` holds.

    >>> gaps(Window(0, 10), [Window(2, 4), Window(4, 5), Window(9, 20)])
    [Window(since_ms=0, until_ms=2), Window(since_ms=5, until_ms=9)]
    """
    found: list[Window] = []
    at = within.since_ms
    for window in merge(covered):
        if window.until_ms <= at:
            continue
        if window.since_ms >= within.until_ms:
            break
        if window.since_ms > at:
            found.append(Window(at, window.since_ms))
        at = window.until_ms
    if at < within.until_ms:
        found.append(Window(at, within.until_ms))
    return found


def _short(moment: datetime) -> str:
    if moment.microsecond:
        return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
    return moment.strftime("%Y-%m-%d %H:%M:%S" if moment.second else "%Y-%m-%d %H:%M")
