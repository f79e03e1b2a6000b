"""remove: rows whose record is voided or gone go to the delete policy of the pipeline."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from itertools import chain

from fenxiang_sync.errors import RefusedError, SetupError
from fenxiang_sync.hub import Due, Hub
from fenxiang_sync.rows import DeletePolicy
from fenxiang_sync.steps.load import LEASE_S
from fenxiang_sync.steps.reconcile.survey import Survey
from fenxiang_sync.steps.run import Run
from fenxiang_sync.targets.protocol import Answer, Delivery, Reach, Removal, Remover

log = logging.getLogger(__name__)

Told = list[tuple[Due, Answer]]


def remove(run: Run, *, hub: Hub, reach: Reach, clock: Callable[[], datetime]) -> dict[str, int]:
    """Flag or delete every row that is due at the target; returns {removed, not_removed}, in rows.

    Not removed are rows that another run is sending just now, and rows whose answer was lost: they stay due for the
    next reconcile. Where the target refuses one, the others are removed, and then `RefusedError` is raised.
    """
    name, policy = run.pipeline.name, run.pipeline.removes
    numbers = {"removed": 0, "not_removed": 0}
    if policy is DeletePolicy.IGNORE or Survey.of(run).dry_run:
        return numbers
    due = hub.removals.due(name, run.pipeline.target.batch_rows)
    first = next(due, None)
    if first is None:  # then the target need not be there
        return numbers
    refused: list[tuple[Due, Answer]] = []
    with run.pipeline.target.open(reach) as sender:
        if not isinstance(sender, Remover):
            raise SetupError(f"The target of pipeline {name!r} says that it removes rows, and what it opens does not")
        for batch in chain([first], due):
            claimed = hub.removals.claim(name, batch, run=run.id, lease_s=LEASE_S, now=clock())
            told = _tell(sender, claimed, policy) if claimed else []
            counted = _settle(run, hub, told, policy, clock())
            numbers["removed"] += counted[Delivery.DELIVERED]
            numbers["not_removed"] += len(batch) - counted[Delivery.DELIVERED]
            refused += [each for each in told if each[1].delivery is Delivery.REFUSED][: 3 - len(refused)]
    log.info("%(removed)d rows removed at the target (%(policy)s), %(not_removed)d left", numbers | {"policy": policy})
    if refused:
        row, answer = refused[0]
        raise RefusedError(
            f"The target did not {policy} every row whose record is voided or gone: {numbers['removed']} are done, "
            f"{numbers['not_removed']} are not (for example {row.id!r}: {answer.reason or 'no reason given'})",
            code=answer.code,
        )
    return numbers


def _tell(sender: Remover, claimed: list[Due], policy: DeletePolicy) -> Told:
    removals = [
        Removal(
            id=each.id,
            source_id=each.source_id,
            number=each.number,
            modified_ms=each.modified_ms,
            version=each.version,
            content=each.content or {},
            why=each.presence.name.lower(),
        )
        for each in claimed
    ]
    return list(zip(claimed, sender.remove(removals, policy=policy), strict=True))


def _settle(run: Run, hub: Hub, told: Told, policy: DeletePolicy, now: datetime) -> Counter[Delivery]:
    name = run.pipeline.name
    done = [row for row, answer in told if answer.delivery is Delivery.DELIVERED]
    lost = [(row, answer.reason) for row, answer in told if answer.delivery is Delivery.UNKNOWN]
    left = [(row, answer.reason) for row, answer in told if answer.delivery in (Delivery.REFUSED, Delivery.AGAIN)]
    if done:
        hub.removals.settle(name, done, keeps_content=policy is DeletePolicy.FLAG, run=run.id, now=now)
    hub.removals.release(name, left, run=run.id, now=now)
    hub.removals.release(name, lost, run=run.id, now=now, in_doubt=True)
    return Counter(answer.delivery for _, answer in told)
