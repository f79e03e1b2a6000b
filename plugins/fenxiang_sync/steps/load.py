"""load: the ledger decides what is new, the target takes it in batches, and every row ends with an outcome."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar

from fenxiang_sync.errors import IncompleteError, RefusedError, SetupError, TransientError, UnverifiedError
from fenxiang_sync.hub import DeadLetter, Decision, Hub, Settled
from fenxiang_sync.rows import Outcome, Row
from fenxiang_sync.stage import Folder
from fenxiang_sync.steps.extract import projection_of, readings, sightings
from fenxiang_sync.steps.late import Watch
from fenxiang_sync.steps.plan import Segment
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.transform import rejects, rows
from fenxiang_sync.targets.protocol import Answer, Delivery, Holder, Reach, Sender

log = logging.getLogger(__name__)

T = TypeVar("T")

ROWS_A_CLAIM = 1_000
RECORDS_SEEN = 5_000
"""Records that are noted at once."""
LEASE_S = 900.0
"""How long a claim keeps other runs off a row; longer than sending `ROWS_A_CLAIM` rows takes."""
BUSY_S = 5.0
"""How long to wait before asking again for rows that another run has claimed."""

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
    watch: Watch | None = None,
    read_now: bool = True,
) -> dict[str, int]:
    """Deliver the segment's rows and bury its rejects; returns the number of records by outcome.

    The hub notes what was read, unless `read_now` is False: the records are kept ones of an earlier run. `watch` counts
    those that came late, into the hub and the segment's document ``late``.
    A dry run decides and counts (what would be sent counts as delivered), and neither sends nor writes.
    """
    folder = run.segment(segment.index)
    transformed = folder.need("transformed", "clear the transform task of this segment")
    if dry_run:
        counted = _preview(run, folder, hub)
    else:
        if read_now:
            hub.note_readings(run.pipeline.name, run.id, segment.index, readings(run, segment, clock()))
        with run.pipeline.target.open(reach) as sender:
            delivery = _Delivery(run, segment, hub, reach, clock, sender, watch)
            delivery.deliver(folder)
            delivery.ask(folder)
            counted = delivery.counted
        if read_now:
            _see(run, folder, hub, clock)
    counted[Outcome.FILTERED] += transformed["filtered"]
    if counted.total() != transformed["read"]:
        raise UnverifiedError(
            f"{folder} holds {counted.total()} records, but transform read {transformed['read']} (a run that succeeded "
            "is cleaned); clear the task plan to run again"
        )
    numbers = {outcome.value: counted[outcome] for outcome in Outcome}
    folder.save("loaded", numbers)
    return numbers


def _see(run: Run, folder: Folder, hub: Hub, clock: Callable[[], datetime]) -> None:
    """Note the records of a segment: all of them have an outcome now."""
    pipeline = run.pipeline
    projection = None
    if pipeline.keep_records:
        projection = hub.name_fields(projection_of(folder) or pipeline.mapping.projection)
    for seen in _groups(sightings(folder, keep=pipeline.keep_records), RECORDS_SEEN):
        hub.see(pipeline.name, seen, run=run.id, now=clock(), projection=projection)


def _preview(run: Run, folder: Folder, hub: Hub) -> Counter[Outcome]:
    pipeline = run.pipeline
    counted: Counter[Outcome] = Counter()
    for group in _groups(rows(folder), ROWS_A_CLAIM):
        decisions = hub.preview(pipeline.name, group, id_check=pipeline.id_check, upserts=pipeline.target.upserts)
        counted.update(decision.outcome or Outcome.DELIVERED for decision in decisions)
    counted[Outcome.DEAD_LETTER] += sum(1 for _ in rejects(folder))
    return counted


class _Delivery:
    """The delivery of one segment: claim, send, settle, and count what became of each record."""

    def __init__(
        self,
        run: Run,
        segment: Segment,
        hub: Hub,
        reach: Reach,
        clock: Callable[[], datetime],
        sender: Sender,
        watch: Watch | None,
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
        self.counted: Counter[Outcome] = Counter()

    def deliver(self, folder: Folder) -> None:
        for group in _groups(rows(folder), ROWS_A_CLAIM):
            self._look(group, folder)
            self._deliver(group)
        for letters in _groups(self._rejected(folder), ROWS_A_CLAIM):
            self._hub.bury(letters, now=self._clock())
            self.counted[Outcome.DEAD_LETTER] += len(letters)

    def ask(self, folder: Folder) -> None:
        """Ask the target for what it took, where it can be asked; what it lacks is sent again, once.

        Only to a target that upserts: at another, a row that merely shows late would be there twice. Raises
        `IncompleteError` where rows stay away, `UnverifiedError` where the target cannot tell.
        """
        if not isinstance(self._sender, Holder) or self._sender.sample == 0 or not self.counted[Outcome.DELIVERED]:
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
        self.counted[Outcome.DELIVERED] -= len(forgotten)
        self._deliver(forgotten)
        return len(forgotten)

    def _sent(self, folder: Folder, most: int | None) -> list[tuple[Row, int]]:
        """The last rows that this run delivered, at most so many, with when they were claimed (epoch ms)."""
        sent: deque[tuple[Row, int]] = deque(maxlen=most)
        for group in _groups(rows(folder), ROWS_A_CLAIM):
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
            decided = list(zip(group, self._claim(group), strict=True))
            self.counted.update(decision.outcome for _, decision in decided if decision.outcome)
            claimed = (row for row, decision in decided if decision.claimed)
            lost = [row for batch in _groups(claimed, self._target.batch_rows) for row in self._send(batch)]
            group = [row for row, decision in decided if decision is Decision.BUSY] + lost
            if group:
                waited = self._wait(group, waited)

    def _claim(self, group: Sequence[Row]) -> list[Decision]:
        return self._hub.claim(
            self._name,
            group,
            run=self._run.id,
            segment=self._segment,
            id_check=self._run.pipeline.id_check,
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
        except (TransientError, RefusedError, SetupError) as error:
            self._marked(batch, upserts=True)  # the target took nothing: the rows are not on their way
            code = None if isinstance(error, SetupError) else error.code
            self._again([(row, str(error), code) for row in batch])
            raise

    def _again(self, rows: list[tuple[Row, str, int | str | None]]) -> None:
        self._hub.again(self._name, rows, run=self._run.id, segment=self._segment, now=self._clock())

    def _settle(self, answers: list[tuple[Row, Answer]]) -> None:
        """Store the answers; raises `TransientError` where rows are left that must be sent again."""
        settled = [_settled(row, answer) for row, answer in answers if answer.delivery is not Delivery.AGAIN]
        refused = [one for one in settled if one.outcome is Outcome.DEAD_LETTER]
        if refused:
            self._hub.bury([self._refused(one) for one in refused], now=self._clock())
        lost = self._hub.settle(self._name, settled, run=self._run.id, segment=self._segment, now=self._clock())
        if lost:
            log.warning("%d of %d rows were taken over by another run before this one settled them", lost, len(settled))
        self.counted.update(one.outcome for one in settled)
        again = [(row, answer) for row, answer in answers if answer.delivery is Delivery.AGAIN]
        if again:
            self._marked([row for row, _ in again], upserts=True)
            self._again([(row, answer.reason, answer.code) for row, answer in again])
            _, why = again[0]
            raise TransientError(
                f"{len(again)} of {len(answers)} rows of a batch must be sent again: {why.reason}",
                code=why.code,
                retry_after=why.retry_after,
            )

    def _wait(self, group: Sequence[Row], waited: float) -> float:
        if waited > LEASE_S:
            raise TransientError(
                f"{len(group)} rows (the first is {group[0].id!r}) have been claimed by another run for over "
                f"{LEASE_S:.0f} s; this task tries again later"
            )
        log.info("%d rows are being delivered by another run; asking again in %.0f s", len(group), BUSY_S)
        self._reach.sleep(BUSY_S)
        return waited + BUSY_S

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


def _groups(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while group := list(islice(items, size)):
        yield group
