"""mend: one run that settles rows in doubt, replays dead letters, and lets old ones expire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fenxiang_sync.hub import Hub, Ladder, Selection
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.steps import doubt
from fenxiang_sync.steps.doubt import Choice
from fenxiang_sync.steps.expiry import expire
from fenxiang_sync.steps.finish import finish
from fenxiang_sync.steps.replay import replay
from fenxiang_sync.steps.run import Run
from fenxiang_sync.targets.protocol import Reach

REPLAY = "replay"
"""The kind of such a run, and what its id begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be mended: the open letters with this run, stage, error and records in common (None: any), or those
    that are `due` by the ladder alone; none where `letters` is False. `in_doubt` is for the rows in doubt of `records`.
    """

    run: str | None = None
    stage: str | None = None
    error: str | None = None
    records: Sequence[str] | None = None
    letters: bool = True
    due: bool = False
    in_doubt: Choice = Choice.NOTHING
    dry_run: bool = False

    def selection(self, pipeline: Pipeline, now: datetime) -> Selection:
        """The letters that are meant now."""
        ladder = Ladder(steps=pipeline.dead_letters.ladder, config_hash=pipeline.config_hash, now=now)
        return Selection(
            run=self.run,
            stage=self.stage,
            error=self.error,
            records=self.records,
            due=ladder if self.due else None,
        )


def mend(run: Run, wanted: Wanted, *, hub: Hub, reach: Reach, clock: Callable[[], datetime]) -> dict[str, Any]:
    """Do what is wanted; returns {dry_run, what became of letters (`replay`), of rows in doubt (`doubt`), of old
    letters (`expire`), open_letters and rows_in_doubt, which are left of the pipeline}."""
    name = run.pipeline.name
    numbers: dict[str, Any] = {"dry_run": wanted.dry_run}
    numbers |= doubt.settle(
        run, wanted.in_doubt, ids=wanted.records, hub=hub, reach=reach, clock=clock, dry_run=wanted.dry_run
    )
    selection = wanted.selection(run.pipeline, clock()) if wanted.letters else Selection(ids=())
    numbers |= replay(run, selection, hub=hub, reach=reach, clock=clock, dry_run=wanted.dry_run)
    if not wanted.dry_run:
        numbers |= expire(run, hub=hub, now=clock())
        finish(run, reach, windows=[], numbers=numbers)
    numbers["open_letters"] = hub.letters.count(name, Selection())
    numbers["rows_in_doubt"] = hub.doubts.count(name, now=clock())
    return numbers
