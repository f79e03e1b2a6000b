"""deliver: the ordinary load of a segment, which counts what came late (late visibility)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fenxiang_sync.hub import Hub
from fenxiang_sync.steps.late import Watch
from fenxiang_sync.steps.load import load
from fenxiang_sync.steps.plan import Segment
from fenxiang_sync.steps.reconcile.survey import Survey
from fenxiang_sync.steps.run import Run
from fenxiang_sync.targets.protocol import Reach
from fenxiang_sync.window import Window


def deliver(run: Run, segment: Segment, *, hub: Hub, reach: Reach, clock: Callable[[], datetime]) -> dict[str, int]:
    """Deliver the rows of a segment; returns how many records had which outcome."""
    surveyed = Survey.of(run)
    watch = None
    if surveyed.windows and not surveyed.dry_run:
        compared = Window(surveyed.windows[0].since_ms, surveyed.windows[-1].until_ms)
        watch = Watch(run, hub, compared, found_by="reconcile")
    how: dict[str, Any] = {"dry_run": surveyed.dry_run, "watch": watch, "confirmed": surveyed.confirmed}
    return load(run, segment, hub=hub, reach=reach, clock=clock, **how)
