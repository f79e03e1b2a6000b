"""doubt: rows in doubt are settled as a person says: the target has them, or they are sent again, once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from itertools import chain

from fenxiang_sync.hub import Doubt, Hub, Settled
from fenxiang_sync.rows import Outcome, Row
from fenxiang_sync.steps.courier import Courier
from fenxiang_sync.steps.letters import refused as refused_letter
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.turns import LEASE_S, groups
from fenxiang_sync.targets.protocol import Reach

log = logging.getLogger(__name__)

ENDS = ("accepted", "resent", "refused", "left_in_doubt")
PART = "doubt"
"""What of a run the target is opened for."""
_DONE = "doubts"


class Choice(StrEnum):
    """What is done about rows in doubt."""

    NOTHING = "nothing"
    RESEND = "resend"
    """The target does not have them: they are sent as they were, once more."""
    ACCEPT = "accept"
    """The target has them."""


def settle(
    run: Run,
    choice: Choice,
    *,
    ids: Sequence[str] | None,
    hub: Hub,
    reach: Reach,
    clock: Callable[[], datetime],
    dry_run: bool = False,
) -> dict[str, int]:
    """Settle the rows in doubt, or those of these row or record ids; returns {doubtful, *ENDS, outdated}, in rows.

    `outdated` are those whose record was edited while they were in doubt: the next reconcile reads it again. A row
    whose answer is lost once more stays in doubt. Done twice, nothing is sent twice. A dry run only counts.
    """
    counted: Counter[str] = Counter({} if dry_run else run.folder.load(_DONE) or {})
    if choice is not Choice.NOTHING:
        with ExitStack() as stack:
            settling = _Settling(run, hub, reach, clock, stack)
            found = hub.doubts.groups(run.pipeline.name, ids=ids, now=clock(), besides=run.id)
            for batch in groups(chain.from_iterable(found), run.pipeline.target.batch_rows):
                if dry_run:
                    counted["accepted" if choice is Choice.ACCEPT else "resent"] += len(batch)
                    continue
                counted.update(settling.accept(batch) if choice is Choice.ACCEPT else settling.resend(batch))
                run.folder.save(_DONE, counted)
    if counted["outdated"]:
        log.warning(
            "%d of these records were edited while their rows were in doubt; the next reconcile of %s reads them again",
            counted["outdated"],
            run.pipeline.name,
        )
    numbers = {end: counted[end] for end in ENDS}
    return {"doubtful": sum(numbers.values()), **numbers, "outdated": counted["outdated"]}


class _Settling:
    """Settles one batch of rows after the other; the target is opened for the first row that is sent."""

    def __init__(self, run: Run, hub: Hub, reach: Reach, clock: Callable[[], datetime], stack: ExitStack) -> None:
        self._run = run
        self._name = run.pipeline.name
        self._hub = hub
        self._reach = reach
        self._clock = clock
        self._stack = stack
        self._outcomes: dict[str, Outcome] = {}

    @cached_property
    def _courier(self) -> Courier:
        return Courier(
            self._run,
            "",
            hub=self._hub,
            reach=self._reach,
            clock=self._clock,
            sender=self._stack.enter_context(self._run.pipeline.target.open(self._run.reach(self._reach, PART))),
            bury=self._bury,
            told=self._told,
            doubtful=True,
        )

    def accept(self, batch: Sequence[Doubt]) -> Counter[str]:
        outdated = self._look_again(batch)
        accepted = self._hub.doubts.accept(self._name, batch, by=self._run.id, now=self._clock())
        return Counter(accepted=len(accepted), left_in_doubt=len(batch) - len(accepted), outdated=outdated)

    def resend(self, batch: Sequence[Doubt]) -> Counter[str]:
        """One batch, taken right before it is sent: a failure leaves the others to the next try."""
        courier = self._courier  # which may not be there: before anything is taken
        known = [each for each in batch if each.content is not None]
        taken = self._hub.doubts.take(self._name, known, run=self._run.id, lease_s=LEASE_S, now=self._clock())
        outdated = self._look_again(taken)
        self._outcomes = {}
        courier.send(each.row for each in taken)
        ends = Counter(self._outcomes.values())
        resent, refused = ends[Outcome.DELIVERED], ends[Outcome.DEAD_LETTER]
        return Counter(resent=resent, refused=refused, left_in_doubt=len(batch) - resent - refused, outdated=outdated)

    def _look_again(self, batch: Sequence[Doubt]) -> int:
        """Versions that were read meanwhile could not be sent, and nobody would read them again.

        Noted before a row is settled: a death in between would leave it settled and the newer version forgotten.
        """
        newest_first = sorted(batch, key=lambda each: -each.modified_ms)
        versions = {each.source_id: each.modified_ms for each in newest_first}  # of several rows the oldest counts
        return self._hub.look_again(self._name, versions, run=self._run.id, now=self._clock())

    def _told(self, row: Row, outcome: Outcome) -> None:
        self._outcomes[row.id] = outcome

    def _bury(self, settled: Sequence[Settled]) -> None:
        self._hub.bury([refused_letter(self._run, one, None) for one in settled], now=self._clock())
