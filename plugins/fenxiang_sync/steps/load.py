"""load: the ledger decides what is new, the target takes it in batches, and every row ends with an outcome."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from fenxiang_sync.errors import IncompleteError, RefusedError, SetupError, TransientError, UnverifiedError
from fenxiang_sync.hub import DeadLetter, Decision, Hub, Settled
from fenxiang_sync.rows import DeletePolicy, IdCheck, Outcome, Row
from fenxiang_sync.stage import Folder
from fenxiang_sync.steps import orphans
from fenxiang_sync.steps.late import Watch
from fenxiang_sync.steps.plan import Segment
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.tally import Tally
from fenxiang_sync.steps.transform import rejects, rows
from fenxiang_sync.steps.turns import LEASE_S, groups, wait_for
from fenxiang_sync.targets.protocol import Answer, Delivery, Holder, Reach, Sender

log = logging.getLogger(__name__)

ROWS_A_CLAIM = 1_000
_OUTCOME = {
    Delivery.DELIVERED: Outcome.DELIVERED,
    Delivery.REFUSED: Outcome.DEAD_LETTER,
    Delivery.UNKNOWN: Outcome.IN_DOUBT,
}


def load(
    run: Run,
    segment: Segment,
    *,
    hub: Hub,
    reach: Reach,
    clock: Callable[[], datetime],
    dry_run: bool = False,
    resend: bool = False,
    watch: Watch | None = None,
) -> dict[str, int]:
    """Deliver the segment's rows and bury its rejects; returns the number of records by outcome.

    `watch` counts those that came late, into the hub and the segment's document ``late``.
    A dry run decides and counts (what would be sent counts as delivered), and neither sends nor writes. `resend` sends
    what the ledger calls unchanged as well, but nothing older than what it has.
    """
    id_check = IdCheck.OVERWRITE if resend else run.pipeline.id_check
    folder = run.segment(segment.index)
    transformed = folder.need("transformed", "clear the transform task of this segment")
    if dry_run:
        counted = _preview(run, folder, hub, id_check)
    else:
        with run.pipeline.target.open(reach) as sender:
            delivery = Deliverer(run, segment, hub, reach, clock, sender, watch, id_check=id_check)
            delivery.deliver(folder)
            delivery.ask(folder)
            orphans.note_and_remove(run, folder, hub=hub, sender=sender, reach=reach, clock=clock)
            counted = delivery.tally.counted()
    counted[Outcome.FILTERED] += transformed["filtered"]
    if counted.total() != transformed["read"]:
        raise UnverifiedError(
            f"{folder} holds {counted.total()} records, but transform read {transformed['read']} (a run that succeeded "
            "is cleaned); clear the task plan to run again"
        )
    numbers = {outcome.value: counted[outcome] for outcome in Outcome}
    folder.save("loaded", numbers)
    return numbers


def _preview(run: Run, folder: Folder, hub: Hub, id_check: IdCheck) -> Counter[Outcome]:
    pipeline = run.pipeline
    tally = Tally(exploded=pipeline.explode is not None)
    for group in tally.groups(rows(folder), ROWS_A_CLAIM):
        decisions = hub.preview(pipeline.name, group, id_check=id_check, upserts=pipeline.target.upserts)
        for row, decision in zip(group, decisions, strict=True):
            tally.add(row, decision.outcome or Outcome.DELIVERED)
    tally.records(Outcome.DEAD_LETTER, sum(1 for _ in rejects(folder)))
    orphans.preview(run, folder, hub)
    return tally.counted()


class Deliverer:
    """The delivery of one segment, or of rows that the hub has: claim, send, settle, and count what became of them."""

    def __init__(
        self,
        run: Run,
        segment: Segment,
        hub: Hub,
        reach: Reach,
        clock: Callable[[], datetime],
        sender: Sender,
        watch: Watch | None,
        *,
        id_check: IdCheck,
        tally: Tally | None = None,
    ) -> None:
        self._run = run
        self._name = run.pipeline.name
        self._target = run.pipeline.target
        self._segment = str(segment.index)
        self._hub = hub
        self._reach = reach
        self._clock = clock
        self._sender = sender
        self._watch = watch
        self._id_check = id_check
        self.tally = tally or Tally(exploded=run.pipeline.explode is not None)

    def deliver(self, folder: Folder) -> None:
        for group in self.tally.groups(rows(folder), ROWS_A_CLAIM):
            current = self._current(group)
            self._look(current, folder)
            self._deliver(current)
        for letters in groups(self._rejected(folder), ROWS_A_CLAIM):
            self._hub.bury(letters, now=self._clock())
            self.tally.records(Outcome.DEAD_LETTER, len(letters))

    def _current(self, group: list[Row]) -> list[Row]:
        """Without the rows of a record that another load has brought in a newer version: that one may not give them any
        more, and then the ledger does not know them."""
        newer = superseded(self._run, self._hub, group)
        for row in group:
            if row.source_id in newer:
                self.tally.add(row, Outcome.STALE)
        return [row for row in group if row.source_id not in newer] if newer else group

    def ask(self, folder: Folder) -> None:
        """Ask the target for what it took, where it can be asked; what it lacks is sent again, once.

        Only to a target that upserts: at another, a row that merely shows late would be there twice. Raises
        `IncompleteError` where rows stay away, `UnverifiedError` where the target cannot tell.
        """
        if (
            not isinstance(self._sender, Holder)
            or self._sender.sample == 0
            or not self.tally.counted()[Outcome.DELIVERED]
        ):
            return
        sent = self._sent(folder, self._sender.sample)
        absent = self._absent(sent, self._sender)
        sent_again = 0
        if absent and self._target.upserts:
            sent_again = self._send_again(absent)
            absent = self._absent(self._sent(folder, self._sender.sample), self._sender)
        if absent:
            raise IncompleteError(
                f"{len(absent)} of {len(sent)} rows that the target took are not there (for example "
                f"{absent[0].id!r}). Does it drop changes of a row (idCheck: true)? Then declare IdCheck.SKIP_EXISTING"
            )
        folder.save("asked", {"asked": len(sent), "sent_again": sent_again})

    def _send_again(self, absent: list[Row]) -> int:
        log.warning("%d rows that the target took are not there; sending them again", len(absent))
        forgotten = self._hub.forget(self._name, absent, run=self._run.id, now=self._clock())
        self.tally.take_back(len(forgotten))
        self._deliver(forgotten)
        return len(forgotten)

    def _sent(self, folder: Folder, most: int | None) -> list[tuple[Row, int]]:
        """The last rows that this run delivered, at most so many, with when they were claimed (epoch ms)."""
        sent: deque[tuple[Row, int]] = deque(maxlen=most)
        for group in groups(rows(folder), ROWS_A_CLAIM):
            sent.extend(self._hub.delivered(self._name, group, run=self._run.id))
        return list(sent)

    def _absent(self, sent: Sequence[tuple[Row, int]], sender: Holder) -> list[Row]:
        """Those that the target does not hold and no other run has sent since."""
        asked = [row for row, _ in sent]
        held = list(sender.holds(asked, since=self._since(sent))) if asked else []
        if None in held:
            raise UnverifiedError(
                f"The target could not say whether it holds {held.count(None)} of {len(asked)} rows that it took; "
                "sample=0 in its declaration asks for none"
            )
        absent = [row for row, there in zip(asked, held, strict=True) if not there]
        return [row for row, _ in self._hub.delivered(self._name, absent, run=self._run.id)]

    def _since(self, sent: Sequence[tuple[Row, int]]) -> float:
        """When the first of them was claimed, by the clock that a target goes by; the claims bear the hub's."""
        ahead = max(0.0, self._clock().timestamp() - self._reach.now())
        return min(at for _, at in sent) / 1000 - ahead

    def _look(self, group: list[Row], folder: Folder) -> None:
        late = self._watch.note(group, self._clock()) if self._watch else []
        if late:  # a retry adds to what its first try found, which the ledger has met since
            before = folder.load("late") or {"late": 0, "late_ms": 0}
            largest = max(before["late_ms"], *(each.most_ms for each in late))
            folder.save("late", {"late": before["late"] + len(late), "late_ms": largest})

    def _deliver(self, group: list[Row]) -> None:
        """Claim the rows, send what is to be sent, settle it; wait for rows that another claimant holds."""
        waited = 0.0
        while group:
            group = self.offer(group)
            if group:
                waited = wait_for(group[0].id, len(group), waited, self._reach)

    def offer(self, group: list[Row]) -> list[Row]:
        """Claim the rows, send what is to be sent, settle it; returns the rows that another claimant holds."""
        decided = list(zip(group, self._claim(group), strict=True))
        for row, decision in decided:
            if decision.outcome:
                self.tally.add(row, decision.outcome)
        claimed = (row for row, decision in decided if decision.claimed)
        lost = [row for batch in groups(claimed, self._target.batch_rows) for row in self._send(batch)]
        return [row for row, decision in decided if decision is Decision.BUSY] + lost

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
            return list(zip(batch, self._sender.send(batch), strict=True))
        except (TransientError, RefusedError, SetupError):
            self._marked(batch, upserts=True)  # the target took nothing: the rows are not on their way
            raise

    def _settle(self, answers: list[tuple[Row, Answer]]) -> None:
        """Store the answers; raises `TransientError` where rows are left that must be sent again."""
        settled = [_settled(row, answer) for row, answer in answers if answer.delivery is not Delivery.AGAIN]
        refused = [one for one in settled if one.outcome is Outcome.DEAD_LETTER]
        if refused:
            self._hub.bury([self._refused(one) for one in refused], now=self._clock())
        lost = self._hub.settle(self._name, settled, run=self._run.id, segment=self._segment, now=self._clock())
        if lost:
            log.warning("%d of %d rows were taken over by another run before this one settled them", lost, len(settled))
        for one in settled:
            self.tally.add(one.row, one.outcome)
        again = [(row, answer) for row, answer in answers if answer.delivery is Delivery.AGAIN]
        if again:
            self._marked([row for row, _ in again], upserts=True)
            _, why = again[0]
            raise TransientError(
                f"{len(again)} of {len(answers)} rows of a batch must be sent again: {why.reason}",
                code=why.code,
                retry_after=why.retry_after,
            )

    def _refused(self, settled: Settled) -> DeadLetter:
        return DeadLetter(
            pipeline=self._name,
            run=self._run.id,
            stage="load",
            error="Refused",
            reason=settled.reason,
            code=settled.code,
            record_id=settled.row.source_id,
            row_id=settled.row.id,
            modified_ms=settled.row.modified_ms,
            payload=settled.row.content,
        )

    def _rejected(self, folder: Folder) -> Iterator[DeadLetter]:
        for reject in rejects(folder):
            record = reject["record"]
            yield DeadLetter(
                pipeline=self._name,
                run=self._run.id,
                stage="transform",
                error="RecordError",
                reason=reject["reason"],
                field=reject["field"],
                value=reject["value"],
                record_id=record["_id"],
                modified_ms=record["last_modified_time"],
                payload=record,
            )


def _settled(row: Row, answer: Answer) -> Settled:
    return Settled(row=row, outcome=_OUTCOME[answer.delivery], reason=answer.reason, code=answer.code)


def superseded(run: Run, hub: Hub, rows: Sequence[Row]) -> dict[str, int]:
    """The records of these rows that another load has brought in a newer version, each with its stamp; none where rows
    that a record gives no more are left at the target anyway."""
    if run.pipeline.removes is DeletePolicy.IGNORE:
        return {}
    return hub.newer(run.pipeline.name, {row.source_id: row.modified_ms for row in rows})
