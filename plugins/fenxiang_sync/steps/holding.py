"""holding: does the target hold what the ledger says? A target that was truncated or restored holds fewer rows.

A count says how many are gone; a target that is a `Holder` too says which, in a walk over the whole ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fenxiang_sync.errors import QuestionError
from fenxiang_sync.hub import Hub
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.rows import Row
from fenxiang_sync.steps.turns import BUSY_S, groups
from fenxiang_sync.targets.protocol import Counting, Holder, Reach, Sender
from fenxiang_sync.window import Window

ROWS_A_QUESTION = 1_000
LOOKS = 3
"""How often a target that holds too few is counted: a row may be on its way from or to it."""
EXAMPLES = 3


COUNTING = "counting"
"""What of a run the target is opened for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What the ledger says that the target holds, and what it holds; both None where it cannot be counted.

    `lacking` rows are not there, some of which are `examples`; `walked` tells whether each row was asked for.
    """

    in_ledger: int | None
    at_target: int | None
    lacking: int
    examples: tuple[str, ...] = ()
    walked: bool = False


def holding(pipeline: Pipeline, *, hub: Hub, reach: Reach, walk: bool = False) -> Holding:
    """Count, and with `walk` ask for each row, where the target can be asked."""
    with pipeline.target.open(reach) as sender:
        counted = _counted(pipeline, sender, hub, reach)
        if not walk or not can_be_walked(sender):
            return counted
        lacking, examples = 0, list[str]()
        for rows in lacks(pipeline, sender, hub):
            lacking += len(rows)
            examples += [row.id for row in rows[: EXAMPLES - len(examples)]]
    return Holding(
        in_ledger=counted.in_ledger,
        at_target=counted.at_target,
        lacking=max(lacking, counted.lacking),
        examples=tuple(examples),
        walked=True,
    )


def _counted(pipeline: Pipeline, sender: Sender, hub: Hub, reach: Reach) -> Holding:
    """Counted until it is enough: what a run removes meanwhile is gone at the target before the ledger knows."""
    if not isinstance(sender, Counting):
        return Holding(in_ledger=None, at_target=None, lacking=0)
    for look in range(1, LOOKS + 1):
        before, there, after = hub.count_held(pipeline.name), sender.count(), hub.count_held(pipeline.name)
        lacking = 0 if there is None else max(0, min(before, after) - there)
        if lacking == 0 or look == LOOKS:
            break
        reach.sleep(BUSY_S)
    return Holding(in_ledger=min(before, after), at_target=there, lacking=lacking)


def can_be_walked(sender: Sender) -> bool:
    return isinstance(sender, Counting) and isinstance(sender, Holder)


def lacks(pipeline: Pipeline, sender: Sender, hub: Hub, window: Window | None = None) -> Iterator[list[Row]]:
    """The rows of the ledger that the target does not hold as they are, batch by batch; the sender can be walked."""
    assert isinstance(sender, Holder)  # noqa: S101 - for the types: `can_be_walked`
    for rows in groups(hub.held(pipeline.name, window), ROWS_A_QUESTION):
        there = sender.holds(rows, since=0.0)
        absent = [row for row, holds in zip(rows, there, strict=True) if holds is False]
        absent = _as_before(pipeline, absent, hub) if absent else []
        if absent:
            yield absent


def _as_before(pipeline: Pipeline, rows: list[Row], hub: Hub) -> list[Row]:
    """Without those that a run has delivered or removed while the target was asked."""
    held = hub.records(pipeline.name, ids=[row.id for row in rows], content=False)
    now = {each.id: each.hash for each in held if each.removed_at is None}
    return [row for row in rows if now.get(row.id) == row.hash]


def told(pipeline: Pipeline, found: Holding) -> str:
    """What is lacking, as a sentence with the way out."""
    some = f" (for example {', '.join(map(repr, found.examples))})" if found.examples else ""
    how = (
        "asked for one by one" if found.walked else f"the ledger has {found.in_ledger:,}, it holds {found.at_target:,}"
    )
    only = "--missing" if found.walked else "--all"
    return (
        f"The target of pipeline {pipeline.name!r} lacks {found.lacking:,} rows that were delivered{some}: {how}. Was "
        "it truncated, or restored from a backup? What the hub has stored is sent again, with no call to Fenxiang, by: "
        f"fenxiang resend {pipeline.name} {only} (with --dry-run it only says how many)"
    )


def demand(pipeline: Pipeline, found: Holding) -> None:
    """Raise `QuestionError` where rows are lacking."""
    if found.lacking:
        raise QuestionError(told(pipeline, found))
