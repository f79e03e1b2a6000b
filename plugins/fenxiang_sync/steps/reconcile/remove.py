"""remove: rows whose record is voided or gone go to the delete policy of the pipeline."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from itertools import chain

from fenxiang_sync.errors import RefusedError
from fenxiang_sync.hub import Due, Hub
from fenxiang_sync.rows import DeletePolicy
from fenxiang_sync.steps.reconcile.survey import Survey
from fenxiang_sync.steps.removal import do_policy, remover
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.turns import LEASE_S
from fenxiang_sync.targets.protocol import Answer, Delivery, Reach

log = logging.getLogger(__name__)

REMOVALS = "removals"
"""What of a run the target is opened for."""
REMOVING = "removing"
"""The document of how many rows are removed ({removed}), and of which batch is not counted yet ({batch}: ids)."""


def remove(run: Run, *, hub: Hub, reach: Reach, clock: Callable[[], datetime]) -> dict[str, int]:
    """Flag or delete every row that is due at the target; returns {removed, not_removed}, in rows, with what earlier
    tries of the task removed.

    Not removed are rows that another run is sending just now, and rows whose answer was lost: they stay due for the
    next reconcile. Where the target refuses one, the others are removed, and then `RefusedError` is raised.
    """
    name, policy = run.pipeline.name, run.pipeline.removes
    numbers = {"removed": 0, "not_removed": 0}
    if policy is DeletePolicy.IGNORE or Survey.of(run).dry_run:
        return numbers
    before = run.folder.load(REMOVING) or {"removed": 0, "batch": []}
    numbers["removed"] = before["removed"] + len(hub.removals.done(name, before["batch"]))
    due = hub.removals.due(name, run.pipeline.target.batch_rows)
    first = next(due, None)
    if first is None:  # then the target need not be there
        return numbers
    refused: list[tuple[Due, Answer]] = []
    with run.pipeline.target.open(run.reach(reach, REMOVALS)) as sender:
        told_to = remover(run, sender)
        for batch in chain([first], due):
            run.folder.save(REMOVING, {"removed": numbers["removed"], "batch": [each.id for each in batch]})
            claimed = hub.removals.claim(name, batch, run=run.id, lease_s=LEASE_S, now=clock())
            told = do_policy(run, hub, told_to, claimed, clock()) if claimed else []
            counted = Counter(answer.delivery for _, answer in told)
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
