"""resend: rows are sent again as the hub has stored them, past the ledger's "unchanged". Fenxiang is not called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

from fenxiang_sync.errors import SetupError
from fenxiang_sync.hub import Hub
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.rows import IdCheck, Outcome, Row
from fenxiang_sync.steps.holding import can_be_walked, lacks
from fenxiang_sync.steps.load import ROWS_A_CLAIM, Deliverer
from fenxiang_sync.steps.plan import Segment
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.tally import Tally
from fenxiang_sync.steps.turns import groups
from fenxiang_sync.targets.protocol import Reach, Sender
from fenxiang_sync.window import Window

KIND = "resend"
"""What the hub calls such runs."""
_NO_SEGMENT = Segment(index=0, window=Window(0, 0), count=None)


def resend(
    run: Run,
    *,
    hub: Hub,
    reach: Reach,
    clock: Callable[[], datetime],
    window: Window | None = None,
    missing: bool = False,
    dry_run: bool = False,
) -> dict[str, int]:
    """Send the rows whose stamp is in the window (None: all), or of them those that the target lacks (`missing`).

    Returns {read, delivered, in_doubt, dead_letters, left} in rows; `left` are those that another run is sending now,
    or has sent in a newer version. A dry run counts as delivered what would be sent.
    """
    pipeline = run.pipeline
    numbers: Counter[str] = Counter()
    with pipeline.target.open(reach) as sender:
        deliverer = Deliverer(
            run, _NO_SEGMENT, hub, reach, clock, sender, None, id_check=IdCheck.OVERWRITE, tally=Tally(exploded=False)
        )
        for rows in _wanted(pipeline, sender, hub, window, missing=missing):
            numbers["read"] += len(rows)
            if dry_run:
                numbers["delivered"] += _would_send(pipeline, hub, rows)
            else:
                deliverer.offer(rows)
    counted = deliverer.tally.counted()
    numbers["delivered"] += counted[Outcome.DELIVERED]
    in_doubt, dead = counted[Outcome.IN_DOUBT], counted[Outcome.DEAD_LETTER]
    return {
        "read": numbers["read"],
        "delivered": numbers["delivered"],
        "in_doubt": in_doubt,
        "dead_letters": dead,
        "left": numbers["read"] - numbers["delivered"] - in_doubt - dead,
    }


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
