"""Rate and Pace: how many calls a target allows, and waiting for one's turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from fenxiang_sync.errors import DeclarationError, ThrottledError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most `calls` in any span of `per_seconds`.

    `cool_down`: seconds without any call after the target said "too many", where it does not say how long itself.
    """

    calls: int
    per_seconds: float
    cool_down: float = 60.0

    def __post_init__(self) -> None:
        if self.calls < 1 or self.per_seconds <= 0 or self.cool_down < 0:
            raise DeclarationError(f"{self}: calls must be 1 or more, per_seconds above 0, cool_down 0 or more")


_SLACK = 1.02
"""So much wider than even spacing, so that calls which arrive a little unevenly stay within the rate."""


class Pace:
    """Spaces calls evenly, and never lets any `per_seconds` hold more than `calls`.

    The second rule counts from the answers: a call starts `per_seconds` after the answer of the `calls`-th call before
    it, so the target too sees no more, however long requests are under way. The first call waits for its turn as well:
    whoever called just before us is spaced from us too. For one thread.
    """

    def __init__(
        self, rate: Rate | None, *, patience: float, now: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._rate = rate
        self._patience = patience
        self._now = now
        self._sleep = sleep
        self._started = now()
        self._answered: deque[float] = deque(maxlen=rate.calls if rate else 1)
        self._blocked_until = 0.0

    def wait(self) -> None:
        """Wait for the turn of the next call.

        Raises `ThrottledError` where a cool-down lasts longer than `patience`: a worker does not sit it out.
        """
        blocked = self._blocked_until - self._now()
        if blocked > self._patience:
            raise ThrottledError(f"the target asked for a pause of {blocked:.0f} s", retry_after=blocked)
        pause = max(blocked, self._spacing())
        if pause > 0:
            self._sleep(pause)
        self._started = self._now()

    def answered(self) -> None:
        """The call that `wait` let go is over, well or badly."""
        self._answered.append(self._now())

    def back_off(self, seconds: float | None) -> float:
        """No call for `seconds`, or for the declared cool-down; how long that is."""
        pause = seconds if seconds is not None else self._rate.cool_down if self._rate else 1.0
        self._blocked_until = max(self._blocked_until, self._now() + pause)
        return pause

    def _spacing(self) -> float:
        if self._rate is None:
            return 0.0
        due = self._started + self._rate.per_seconds / self._rate.calls * _SLACK
        if len(self._answered) == self._rate.calls:
            due = max(due, self._answered[0] + self._rate.per_seconds)
        # The wall clock may be turned back: never wait longer than a whole span.
        return min(due - self._now(), self._rate.per_seconds)
