"""expiry: dead letters that nobody has tried for long are closed, and closed ones are deleted some day."""

from __future__ import annotations

import logging
from datetime import datetime

from fenxiang_sync.hub import Hub
from fenxiang_sync.steps.run import Run

log = logging.getLogger(__name__)


def expire(run: Run, *, hub: Hub, now: datetime) -> dict[str, int]:
    """Do what the pipeline declares of `keep` and `forget`; returns {expired, forgotten}, in letters."""
    name, rules = run.pipeline.name, run.pipeline.dead_letters
    expired = forgotten = 0
    if rules.keep is not None:
        expired = hub.letters.expire(name, before=now - rules.keep, by=run.id, now=now)
    if rules.forget is not None:
        forgotten = hub.letters.forget(name, before=now - rules.forget)
    if expired:
        log.warning(
            "%d dead letters were closed as expired, since nobody had tried them for %s; their records are not at the "
            "target. fenxiang letters %s --closed shows them",
            expired,
            rules.keep,
            name,
        )
    return {"expired": expired, "forgotten": forgotten}
