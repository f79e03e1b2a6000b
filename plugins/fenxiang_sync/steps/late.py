"""late: which of the records that a run meets came after their span was certified (late visibility).

A record is late when its stamp lies in a span that another run has certified, under the same declaration, and the hub
has met neither the record nor a row of it in that version. An edit is none: it moves the stamp to its own moment, which
nobody has certified yet. A record that no condition keeps, or that fits no row, is not counted, nor when it fits one
later; nor is what a range by hand or a backfill finds, since those are also how a ledger is filled again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self

from fenxiang_sync.hub import Hub, LateArrival
from fenxiang_sync.rows import Row
from fenxiang_sync.steps.plan import Kind, Plan
from fenxiang_sync.steps.run import Run
from fenxiang_sync.window import Window, merge, to_ms

_MILLISECOND = timedelta(milliseconds=1)


class Watch:
    """Watches for late arrivals in one window of one run. `found_by` is ``run``, ``lookback``, ``verify`` or
    ``reconcile``; `own` are the windows whose lookback the run reads with."""

    def __init__(self, run: Run, hub: Hub, window: Window, *, found_by: str, own: Sequence[Window] = ()) -> None:
        pipeline = run.pipeline
        self.found_by = found_by
        self._run = run
        self._hub = hub
        self._own = own
        self._reach = pipeline.source.lookback // _MILLISECOND
        self._looks = hub.looks(pipeline.name, window, config_hash=pipeline.config_hash, besides=run.id)
        self._certified = merge(look.window for look in self._looks)

    @classmethod
    def of(cls, run: Run, planned: Plan, window: Window, hub: Hub, *, by_verify: bool = False) -> Self | None:
        """Of a planned run; None where it does not count what it finds. What its windows' own lookback would have
        caught is known by its length; a lookback run has none."""
        if not planned.watches:
            return None
        lookback = planned.kind is Kind.LOOKBACK
        found_by = "verify" if by_verify else "lookback" if lookback else "run"
        return cls(run, hub, window, found_by=found_by, own=() if lookback else planned.windows)

    def note(self, rows: Sequence[Row], now: datetime) -> list[LateArrival]:
        """Count in the hub which of the rows came late. Before they are claimed: then the ledger has met them."""
        pipeline = self._run.pipeline.name
        within = [row for row in rows if any(row.modified_ms in span for span in self._certified)]
        if not within:
            return []
        unseen = self._hub.unseen(pipeline, within)
        # A record that became a dead letter, or gave another row, had been seen.
        read = self._hub.listed(pipeline).stamps([row.source_id for row in unseen])
        late = {row.source_id: row for row in unseen if read.get(row.source_id, -1) < row.modified_ms}
        found = [self._arrival(row, to_ms(now)) for row in late.values()]
        self._hub.note_late(pipeline, found, found_by=self.found_by, run=self._run.id, now=now)
        return found

    def _arrival(self, row: Row, now_ms: int) -> LateArrival:
        stamp = row.modified_ms
        missed = max(look.window.until_ms for look in self._looks if look.since_ms <= stamp < look.window.until_ms)
        # The window that reaches back to it was caught up with by exactly so much of its lookback.
        ahead = [w.since_ms - stamp for w in self._own if 0 < w.since_ms - stamp <= self._reach]
        least = missed - stamp
        return LateArrival(
            record_id=row.source_id,
            modified_ms=stamp,
            least_ms=least,
            most_ms=max(least, min(ahead, default=now_ms - stamp)),
        )
