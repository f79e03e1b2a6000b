"""inquiry: rows in doubt are looked up at the target, where it can be asked, before they are left to people."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.hub import Doubt, Hub
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.turns import LEASE_S
from fenxiang_sync.targets.protocol import Finder, Reach, Sender, Teller

log = logging.getLogger(__name__)

SETTLED_AFTER = timedelta(seconds=LEASE_S)
"""A row that the target does not show so long after it was sent did not arrive; before, it may be on its way."""


def inquire(
    run: Run, ids: Sequence[str], *, hub: Hub, sender: Sender, reach: Reach, clock: Callable[[], datetime]
) -> bool:
    """Ask the target for these rows in doubt; whether the ledger knows more of any of them now.

    What the target has is accepted. What it surely has not is in doubt no more, and whoever claims it next sends it.
    Where it cannot tell, or cannot be asked now, nothing changes.
    """
    if not isinstance(sender, Finder):
        return False
    name, known = run.pipeline.name, 0
    for group in hub.doubts.groups(name, ids=ids, now=clock()):
        found = _found(group, sender, reach, clock())
        there = [each for each, held in found if held]
        gone = [each for each, held in found if held is False and _is_settled(each, clock())]
        known += len(hub.doubts.accept(name, there, by=run.id, now=clock(), told=_told(there, sender)))
        known += len(hub.doubts.deny(name, gone, by=run.id, now=clock()))
    if known:
        log.info("%d of %d rows in doubt were looked up at the target, and are in doubt no more", known, len(ids))
    return known > 0


def _found(group: Sequence[Doubt], sender: Finder, reach: Reach, now: datetime) -> list[tuple[Doubt, bool | None]]:
    asked = [each for each in group if each.content is not None and each.sent_at is not None]
    if not asked:
        return []
    ahead = max(0.0, now.timestamp() - reach.now())  # the hub's moments are by another clock than the target's calls
    since = min(each.sent_at.timestamp() for each in asked if each.sent_at) - ahead
    try:
        return list(zip(asked, sender.find([each.row for each in asked], since=since), strict=True))
    except FenxiangSyncError as error:
        log.warning("The target could not be asked for %d rows in doubt, which stay so: %s", len(asked), error)
        return []


def _told(there: Sequence[Doubt], sender: Sender) -> Mapping[str, Mapping[str, str | int]]:
    """What the target tells of these rows, by their ids, where it can be asked; it has them all the same."""
    if not there or not isinstance(sender, Teller):
        return {}
    try:
        return dict(zip([each.id for each in there], sender.tell([each.row for each in there]), strict=True))
    except FenxiangSyncError as error:
        log.warning("The target could not be asked what it tells of %d rows that it has: %s", len(there), error)
        return {}


def _is_settled(doubt: Doubt, now: datetime) -> bool:
    return doubt.sent_at is not None and now - doubt.sent_at >= SETTLED_AFTER
