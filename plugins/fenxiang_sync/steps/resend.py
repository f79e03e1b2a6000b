"""resend: rows are sent again as the hub has stored them, past the ledger's "unchanged". Fenxiang is not called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

from fenxiang_sync.errors import SetupError
from fenxiang_sync.hub import Hub
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.rows import IdCheck, Outcome, Row
from fenxiang_sync.steps.courier import ROWS_A_CLAIM, Courier
from fenxiang_sync.steps.finish import finish
from fenxiang_sync.steps.holding import can_be_walked, lacks
from fenxiang_sync.steps.letters import burial
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.tally import Tally
from fenxiang_sync.steps.turns import groups
from fenxiang_sync.targets.protocol import Reach, Sender
from fenxiang_sync.window import Window

KIND = "resend"
"""What the hub calls such runs."""


def resend(
    run: Run,
    *,
    hub: Hub,
    reach: Reach,
    clock: Callable[[], datetime],
    window: Window | None = None,
    missing: bool = False,
    dry_run: bool = False,
    done: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Send the rows whose stamp is in the window (None: all), or of them those that the target lacks (`missing`).
    `done` is told now and then how many there were so far.

    Returns {read, delivered, in_doubt, dead_letters, left} in rows; `left` are those that another run is sending now,
    or has sent in a newer version. A dry run counts as delivered what would be sent.
    """
    pipeline = run.pipeline
    numbers: Counter[str] = Counter()
    tally = Tally(several=False)

    with pipeline.target.open(run.reach(reach, KIND)) as sender:
        courier = Courier(
            run,
            "",
            hub=hub,
            reach=reach,
            clock=clock,
            sender=sender,
            bury=burial(run, hub, clock),
            told=tally.add,
            id_check=IdCheck.OVERWRITE,
        )
        for rows in _wanted(pipeline, sender, hub, window, missing=missing):
            numbers["read"] += len(rows)
            if dry_run:
                numbers["delivered"] += _would_send(pipeline, hub, rows)
            else:
                courier.offer(rows)
            if done is not None:
                done(numbers["read"])
    counted = tally.counted()
    numbers["delivered"] += counted[Outcome.DELIVERED]
    in_doubt, dead = counted[Outcome.IN_DOUBT], counted[Outcome.DEAD_LETTER]
    sent = {
        "read": numbers["read"],
        "delivered": numbers["delivered"],
        "in_doubt": in_doubt,
        "dead_letters": dead,
        "left": numbers["read"] - numbers["delivered"] - in_doubt - dead,
    }
    if not dry_run:
        finish(run, reach, windows=[], numbers=sent)
    return sent


def _wanted(
    pipeline: Pipeline, sender: Sender, hub: Hub, window: Window | None, *, missing: bool
) -> Iterator[list[Row]]:
    if not missing:
        return groups(hub.held(pipeline.name, window), ROWS_A_CLAIM)
    if not can_be_walked(sender):
        raise SetupError(
            f"The target of pipeline {pipeline.name!r} cannot say which rows it holds ({pipeline.target.describe()}); "
            "send a range again, or all"
        )
    return lacks(pipeline, sender, hub, window)


def _would_send(pipeline: Pipeline, hub: Hub, rows: list[Row]) -> int:
    upserts = pipeline.target.upserts
    decisions = hub.preview(pipeline.name, rows, id_check=IdCheck.OVERWRITE, upserts=upserts)
    return sum(1 for decision in decisions if decision.claimed)
