"""Pace: calls of one interface, evenly spaced below its quota.

The quota is 100 calls in 20 s per interface (vendor documentation); whether the server's window slides is not stated,
so no window of that length may ever hold more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fenxiang_sync.errors import SetupError

MARGIN = 0.035
"""How much longer than the quota's window the paced one is: 0.7 s in 20 s, for what the network shifts."""


class Pace:
    """Spaces the calls of all threads that share it.

    Even spacing, and a first call one interval after the pace was made, keep the quota also where one process follows
    another at once: the last calls of the first and the first of the second are no closer than any other two. `share`
    is the part of the quota that may be used, over 0 and up to 1.
    """

    def __init__(
        self,
        calls: int = 100,
        per_seconds: float = 20,
        share: float = 1.0,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if calls < 1 or per_seconds <= 0 or not 0 < share <= 1:
            raise SetupError(
                f"A quota of {calls} calls in {per_seconds} s, of which the share {share} may be used, cannot be kept; "
                "the Fenxiang connection needs calls >= 1, per_seconds > 0 and 0 < share <= 1"
            )
        self.interval = per_seconds * (1 + MARGIN) / (calls * share)
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = now() + self.interval
        self._paused_until = 0.0

    def wait(self) -> None:
        """Return when this call may be made."""
        while True:
            with self._lock:
                slot = max(self._next, self._now())
                self._next = slot + self.interval
            delay = slot - self._now()
            if delay > 0:
                self._sleep(delay)
            if slot >= self._paused_until:
                return

    def back_off(self, seconds: float) -> None:
        """No call of any thread for so long, not even of those that are waiting; then spaced as before."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._now() + seconds)
            self._next = max(self._next, self._paused_until)


class Paces:
    """One pace for each path: each path is an interface with a quota of its own."""

    def __init__(self, make: Callable[[], Pace] = Pace) -> None:
        self._make = make
        self._paces: dict[str, Pace] = {}
        self._lock = threading.Lock()

    def __call__(self, path: str) -> Pace:
        with self._lock:
            if path not in self._paces:
                self._paces[path] = self._make()
            return self._paces[path]
