"""Clock: the time on the simulated server's wall."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Clock:
    """Real time plus an offset: `advance` moves it, `skew_ms` is how far the server is ahead of everybody else.

    The skew is read at each look, so that a knob can change it while the server runs.
    """

    def __init__(self, *, skew_ms: Callable[[], int] = lambda: 0, real: Callable[[], float] = time.time) -> None:
        self._real = real
        self._skew_ms = skew_ms
        self._offset = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since the epoch on the server."""
        return self._real() + self._offset + self._skew_ms() / 1000

    def elapsed(self) -> float:
        """Seconds that only differences of mean something: the skew is not in them."""
        return self._real() + self._offset

    def now_ms(self) -> int:
        return int(self.now() * 1000)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once (negative: turn the clock back)."""
        with self._lock:
            self._offset += seconds

    @property
    def offset(self) -> float:
        """How many seconds `advance` has moved it in all."""
        return self._offset
