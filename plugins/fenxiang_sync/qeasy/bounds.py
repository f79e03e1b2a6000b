"""Bounds: what a request asks of the change stamp becomes the window of a run, its lookback and its settle time."""

from __future__ import annotations

from datetime import timedelta

from fenxiang_sync.checks import spoken_span
from fenxiang_sync.qeasy.reading import Reading
from fenxiang_sync.qeasy.report import Report
from fenxiang_sync.qeasy.variables import Anchor, Moment

_LOOKBACK = timedelta(minutes=10)
_LONG = timedelta(days=1)


class Bounds:
    """Reads bounds of a stamp, by the name that the scheme has for it, into a `Reading`."""

    def __init__(self, made: Reading, report: Report, stamp: str) -> None:
        self._made = made
        self._report = report
        self._stamp = stamp

    def unread(self, place: str) -> None:
        """Tell that a bound cannot be read."""
        self._report.none(place, f"a bound of {self._stamp} that cannot be read; every change is read here, run by run")

    def lower(self, place: str, bound: Moment | None) -> None:
        report, made = self._report, self._made
        if bound is None:
            self.unread(place)
        elif bound.anchor is Anchor.FIXED and bound.at is not None:
            made.start = bound.at
            report.taken(place, f"start: nothing before {bound.at:%Y-%m-%d %H:%M:%S} UTC is read")
        else:
            said = (
                "the window of the run, which begins where the last one ended, certified; nobody keeps LAST_SYNC_TIME"
            )
            if bound.before > _LOOKBACK:
                made.lookback = bound.before
            early = f"; begun {spoken_span(bound.before)} early: lookback" if bound.before > timedelta(0) else ""
            if bound.before > _LONG and bound.anchor is Anchor.LAST:
                early += " (if that many seconds were meant to be milliseconds, take lookback away)"
            elif bound.before < _LOOKBACK:
                early += f"; read {spoken_span(_LOOKBACK)} early here, since a write shows after its stamp"
            report.changed(place, said + early)

    def upper(self, place: str, bound: Moment | None, clock: str) -> None:
        """`clock` is whose clock the window ends at."""
        if bound is None or bound.anchor is not Anchor.NOW:
            self._report.none(place, f"an upper bound of {self._stamp} that cannot be read; runs read up to now")
            return
        if bound.before > timedelta(seconds=5):
            self._made.settle = bound.before
        self._report.changed(place, f"the window ends at {clock} own clock, not at the worker's")
