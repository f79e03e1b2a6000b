"""Courier: claims rows, sends them in batches, and settles the target's answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from fenxiang_sync.errors import RefusedError, SetupError, TransientError
from fenxiang_sync.hub import Decision, Hub, Settled
from fenxiang_sync.hub.decision import Claimant
from fenxiang_sync.rows import IdCheck, Outcome, Row
from fenxiang_sync.steps.inquiry import inquire
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.turns import LEASE_S, groups, wait_for
from fenxiang_sync.targets.crm import IntoCrm
from fenxiang_sync.targets.protocol import Answer, BringingBack, Delivery, Reach, Sender

log = logging.getLogger(__name__)

T = TypeVar("T")

ROWS_A_CLAIM = 1_000

_OUTCOME = {
    Delivery.DELIVERED: Outcome.DELIVERED,
    Delivery.REFUSED: Outcome.DEAD_LETTER,
    Delivery.UNKNOWN: Outcome.IN_DOUBT,
    Delivery.STALE: Outcome.STALE,
}


class Courier:
    """Delivers the rows of one claimant, which is a run and its `segment`, to one open target.

    `bury` gets the rows that the target refused, before that is settled: a death in between must not lose them.
    `told` gets each row's outcome, once that is stored. `doubtful`: the rows were in doubt, and those that the target
    turns out not to have taken are in doubt again.
    """

    def __init__(
        self,
        run: Run,
        segment: str,
        *,
        hub: Hub,
        reach: Reach,
        clock: Callable[[], datetime],
        sender: Sender,
        bury: Callable[[Sequence[Settled]], None],
        told: Callable[[Row, Outcome], None],
        doubtful: bool = False,
        id_check: IdCheck | None = None,
    ) -> None:
        self._run = run
        self._name = run.pipeline.name
        self._target = run.pipeline.target
        self._segment = segment
        self._hub = hub
        self._reach = reach
        self._clock = clock
        self._sender = sender
        self._bury = bury
        self._told = told
        self._doubtful = doubtful
        self._id_check = id_check or run.pipeline.id_check

    def deliver(self, group: Sequence[Row]) -> None:
        """Claim the rows, send what is to be sent, settle it; wait for rows that another claimant holds."""
        waited = 0.0
        while group:
            group = self.offer(group)
            if group:
                waited = wait_for(group[0].id, len(group), waited, self._reach)

    def offer(self, group: Sequence[Row]) -> list[Row]:
        """Claim the rows, send what is to be sent, settle it; returns the rows that another claimant holds."""
        decided = self._decided(group)
        for row, decision in decided:
            if decision.outcome is not None:
                self._told(row, decision.outcome)
        lost = self.send(self._as_held(row, decision) for row, decision in decided if decision.claimed)
        return [row for row, decision in decided if decision is Decision.BUSY] + lost

    def send(self, claimed: Iterable[Row]) -> list[Row]:
        """Send claimed rows and settle them; returns those whose claim another took meanwhile, unsent."""
        return [row for batch in groups(claimed, self._target.batch_rows) for row in self._send(batch)]

    def _decided(self, group: Sequence[Row]) -> list[tuple[Row, Decision]]:
        """The rows as the ledger decides them; those in doubt again, where the target says what became of them."""
        decided = list(zip(group, self._claim(group), strict=True))
        doubtful = [row for row, decision in decided if decision is Decision.IN_DOUBT]
        if not doubtful or not self._inquired(doubtful):
            return decided
        anew = iter(self._claim(doubtful))
        return [(row, next(anew) if decision is Decision.IN_DOUBT else decision) for row, decision in decided]

    def _inquired(self, doubtful: Sequence[Row]) -> bool:
        ids = [row.id for row in doubtful]
        return inquire(self._run, ids, hub=self._hub, sender=self._sender, reach=self._reach, clock=self._clock)

    def _claim(self, group: Sequence[Row]) -> list[Decision]:
        return self._hub.claim(
            self._name,
            group,
            run=self._run.id,
            segment=self._segment,
            id_check=self._id_check,
            upserts=self._target.upserts,
            lease_s=LEASE_S,
            now=self._clock(),
        )

    def _send(self, batch: list[Row]) -> list[Row]:
        """Send a batch and settle the answers; returns rows whose claim another took meanwhile, unsent."""
        ours = self._marked(batch, upserts=self._target.upserts)
        sending = [row for row, mine in zip(batch, ours, strict=True) if mine]
        if sending:
            self._settle(self._answers(sending))
        return [row for row, mine in zip(batch, ours, strict=True) if not mine]

    def _marked(self, batch: list[Row], *, upserts: bool) -> list[bool]:
        """Renew the claims; where the target does not upsert, note that the rows are on their way."""
        return self._hub.sending(
            self._name,
            batch,
            run=self._run.id,
            segment=self._segment,
            upserts=upserts,
            lease_s=LEASE_S,
            now=self._clock(),
        )

    def _answers(self, batch: list[Row]) -> list[tuple[Row, Answer]]:
        try:
            return list(zip(batch, self._sender.send(self._as_flagged(batch)), strict=True))
        except (TransientError, RefusedError, SetupError) as error:
            code = None if isinstance(error, SetupError) else error.code
            self._not_taken([(row, str(error), code) for row in batch])
            raise

    def _as_held(self, row: Row, decision: Decision) -> Row:
        """The row for a CRM with a mark where the ledger has it there: a look-up that does not show it is early."""
        held = decision is Decision.CHANGED and isinstance(self._target, IntoCrm)
        return replace(row, held=True) if held else row

    def _as_flagged(self, batch: list[Row]) -> list[Row]:
        """The batch, with a mark on rows that are flagged at the target: those of voided records, which stay so, and
        for a target that has to know them, those that return."""
        back = isinstance(self._target, BringingBack) and self._target.brings_back
        asked = [row.id for row in batch if row.voided or back]
        flagged = self._hub.removals.done(self._name, asked) if asked else set()
        if not flagged:
            return batch
        return [
            replace(row, flagged=row.voided, returns=back and not row.voided) if row.id in flagged else row
            for row in batch
        ]

    def _not_taken(self, told: Sequence[tuple[Row, str, int | str | None]]) -> None:
        """The target took nothing of these, each with its reason and code: they are not on their way."""
        rows = [row for row, _, _ in told]
        if self._doubtful:
            holder = Claimant(run=self._run.id, segment=self._segment).holder
            self._hub.doubts.give_back(self._name, rows, run=holder, reason=told[0][1], now=self._clock())
        else:
            self._marked(rows, upserts=True)
            self._hub.again(self._name, told, run=self._run.id, segment=self._segment, now=self._clock())

    def _settle(self, answers: list[tuple[Row, Answer]]) -> None:
        """Store the answers; raises `TransientError` where rows are left that must be sent again."""
        settled = [_settled(row, answer) for row, answer in answers if answer.delivery is not Delivery.AGAIN]
        refused = [one for one in settled if one.outcome is Outcome.DEAD_LETTER]
        if refused:
            self._bury(refused)
        lost = self._hub.settle(self._name, settled, run=self._run.id, segment=self._segment, now=self._clock())
        if lost:
            log.warning("%d of %d rows were taken over by another run before this one settled them", lost, len(settled))
        for one in settled:
            self._told(one.row, one.outcome)
        again = [(row, answer) for row, answer in answers if answer.delivery is Delivery.AGAIN]
        if again:
            _, why = again[0]
            self._not_taken([(row, answer.reason, answer.code) for row, answer in again])
            raise TransientError(
                f"{len(again)} of {len(answers)} rows of a batch must be sent again: {why.reason}",
                code=why.code,
                retry_after=why.retry_after,
            )


def _settled(row: Row, answer: Answer) -> Settled:
    return Settled(row=row, outcome=_OUTCOME[answer.delivery], reason=answer.reason, code=answer.code, told=answer.told)
