"""removal: the delete policy of a pipeline, done to a batch of rows that are claimed for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fenxiang_sync.errors import SetupError
from fenxiang_sync.hub import Due, Hub
from fenxiang_sync.rows import DeletePolicy
from fenxiang_sync.steps.run import Run
from fenxiang_sync.targets.protocol import Answer, Delivery, Removal, Remover, Sender

Told = list[tuple[Due, Answer]]


def remover(run: Run, sender: Sender) -> Remover:
    """The open target as one that removes rows."""
    if not isinstance(sender, Remover):
        name = run.pipeline.name
        raise SetupError(f"The target of pipeline {name!r} says that it removes rows, and what it opens does not")
    return sender


def do_policy(run: Run, hub: Hub, sender: Remover, claimed: Sequence[Due], now: datetime) -> Told:
    """Tell the target, and store what it answers; each row with its answer."""
    policy = run.pipeline.removes
    stay = hub.orphans.stay(run.pipeline.name, claimed)
    removals = [_removal(each, stay.get(each.source_id, ())) for each in claimed]
    told = list(zip(claimed, sender.remove(removals, policy=policy), strict=True))
    done = [row for row, answer in told if answer.delivery is Delivery.DELIVERED]
    open_ = [(row, answer) for row, answer in told if answer.delivery is not Delivery.DELIVERED]
    lost = [(row, each.reason) for row, each in open_ if each.touched or each.delivery is Delivery.UNKNOWN]
    left = [(row, each.reason) for row, each in open_ if not (each.touched or each.delivery is Delivery.UNKNOWN)]
    name, keeps = run.pipeline.name, policy is DeletePolicy.FLAG
    if done:
        hub.removals.settle(name, done, keeps_content=keeps, run=run.id, now=now)
    hub.removals.release(name, left, run=run.id, now=now)
    hub.removals.release(name, lost, run=run.id, now=now, in_doubt=True)
    return told


def _removal(due: Due, stays: Sequence[Mapping[str, Any]]) -> Removal:
    return Removal(
        id=due.id,
        source_id=due.source_id,
        number=due.number,
        modified_ms=due.modified_ms,
        version=due.version,
        content=due.content or {},
        why=due.why,
        stays=stays,
    )
