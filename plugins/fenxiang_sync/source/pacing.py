"""Pace: the calls of one interface, kept within its quota.

The quota is 100 calls in 20 s per interface (vendor documentation); whether the server's window slides is not stated,
so no window of that length may ever hold more. A `Pace` that shares a note with all others (`SharedPace`) knows what
was called before and uses what they left; one that is alone spaces its calls evenly.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from fenxiang_sync.errors import SetupError, TransientError
from fenxiang_sync.source.allowance import Quota, Tally

MARGIN = 0.035
"""How much longer than the quota's window that of a lonely pace is: 0.7 s in 20 s, for what the network shifts."""
CATCH_UP = 4
"""How many times faster than evenly a shared pace may go, to make up for a moment in which nobody called."""
AHEAD_S = 1.0
"""How far ahead turns are booked: as long, at most, others wait for what one process has booked in vain."""
LAPSE_S = 2.0
"""A booked turn that comes to nothing for so long is given back."""
SLACK_S = 3.0
"""How much later than that a call may still reach the server whose process died meanwhile."""
GUARD_S = 0.1
"""What reading a clock elsewhere may shift."""
ROUNDING_S = 0.001
"""What a moment may lose on its way to that clock and back."""

Change = Callable[[dict[str, Any] | None, float], dict[str, Any]]
Revise = Callable[[Change], None]
"""Changes the note that all processes share: `Change` gets what it says (None: nothing yet) and its keeper's clock in
epoch seconds, is called once with nobody in between, and returns what it shall say."""


class Pace:
    """Spaces the calls of all threads that share it, with nobody else to ask.

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

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for this call's turn; the call is made, and answered or given up, inside the block."""
        self.wait()
        try:
            yield
        finally:
            self.answered()

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

    def answered(self) -> None:
        """A call that had its turn is over."""

    def leave(self) -> None:
        """Nothing more is called here for now."""

    def back_off(self, seconds: float) -> None:
        """No call of any thread for so long, not even of those that are waiting; then spaced as before."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._now() + seconds)
            self._next = max(self._next, self._paused_until)


class SharedPace(Pace):
    """The calls of all processes that share a note, as one: what others called counts, and their backing off too.

    Turns are booked in the note before they are used, a second's worth at a time; who is killed leaves bookings
    that lapse. Raises what `revise` raises.
    """

    def __init__(
        self,
        calls: int = 100,
        per_seconds: float = 20,
        share: float = 1.0,
        *,
        path: str,
        revise: Revise,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(calls, per_seconds, share, now=now, sleep=sleep)
        self.quota = Quota.part(calls, per_seconds, share)
        self._path = path
        self._revise = revise
        self._holder = uuid4().hex[:12]
        self._spacing = self.quota.seconds / self.quota.limit / CATCH_UP
        self._ahead = min(AHEAD_S, self.quota.seconds / 4)
        self._block = max(1, round(self.quota.limit * self._ahead / self.quota.seconds))
        self._line = threading.Lock()
        self._turns: deque[float] = deque()
        self._over: list[float] = []
        self._under_way = 0
        self._last = float("-inf")

    def wait(self) -> None:
        """Return when this call may be made. Threads wait in line: the first for its turn, the others for it."""
        with self._line:
            at = self._own_turn()
            while at < self._paused_until - ROUNDING_S:
                at = self._own_turn()
            self._last = at
            with self._lock:
                self._under_way += 1

    def answered(self) -> None:
        with self._lock:
            self._under_way -= 1
            self._over.append(self._now())

    def leave(self) -> None:
        """Tell what came of the last turns and give the others back: the next process need not wait till they lapse."""
        with self._line:
            self._book(0)

    def back_off(self, seconds: float) -> None:
        """No call of any process for so long, once it has booked what it calls next."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._now() + seconds)
        with self._line, suppress(TransientError):  # it is told with the next booking at the latest
            self._turns.clear()
            self._book(0)

    def _own_turn(self) -> float:
        """Wait for the next booked turn; the moment from which it was ours."""
        while True:
            while self._turns:
                turn = self._turns.popleft()
                at = max(turn, self._last + self._spacing, self._now())
                if (delay := at - self._now()) > 0:
                    self._sleep(delay)
                if self._now() < turn + LAPSE_S:
                    return at
            first = self._book(self._block)
            if not self._turns:
                patience = min(first - self._now() - self._ahead / 2, self.quota.seconds / 4)
                self._sleep(max(0.0, patience))  # an answer meanwhile may make it earlier

    def _book(self, most: int) -> float:
        """Tell the note what came of the turns booked before, and book the next; returns when the first is ours."""
        booked: list[float] = []
        told: list[float] = []
        first = self._now()

        def change(document: dict[str, Any] | None, clock: float) -> dict[str, Any]:
            nonlocal first
            with self._lock:
                told.extend(self._over)
                under_way, paused, ahead = self._under_way, self._paused_until, clock - self._now()
            tally = Tally.of(document)
            allowance = tally.allowance(self._path, self.quota, clock)
            allowance.lend(self._holder, self._latest(clock), under_way)
            for moment in told:
                allowance.count(moment + ahead + self.quota.seconds + GUARD_S, self.quota)
            allowance.paused = max(allowance.paused, paused + ahead if paused else 0.0)
            turns, first = allowance.turns(self.quota, clock, most, self._ahead)
            allowance.lend(self._holder, self._latest(max([clock, *turns])), under_way + len(turns))
            booked.extend(turn - ahead for turn in turns)
            first -= ahead
            return tally.document()

        self._revise(change)
        with self._lock:
            del self._over[: len(told)]
        self._turns = deque(booked)
        return first

    def _latest(self, turn: float) -> float:
        """Until when a call counts whose turn is then, if no more is heard of it."""
        return turn + LAPSE_S + SLACK_S + self.quota.seconds


class Paces:
    """One pace for each path: each path is an interface with a quota of its own."""

    def __init__(self, make: Callable[[], Pace] = Pace, *, shared: Callable[[str], Pace] | None = None) -> None:
        """`shared` makes the pace of a path that others call as well."""
        self._make = shared or (lambda _: make())
        self._paces: dict[str, Pace] = {}
        self._lock = threading.Lock()

    def __call__(self, path: str) -> Pace:
        with self._lock:
            if path not in self._paces:
                self._paces[path] = self._make(path)
            return self._paces[path]

    def leave(self) -> None:
        """Nothing more is called here for now; see `SharedPace.leave`."""
        with self._lock:
            for pace in self._paces.values():
                pace.leave()
