"""load: the ledger decides what is new, the target takes it in batches, and every row ends with an outcome."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from fenxiang_sync.errors import IncompleteError, UnverifiedError
from fenxiang_sync.hub import DeadLetter, Hub, Settled
from fenxiang_sync.rows import DeletePolicy, IdCheck, Outcome, Row
from fenxiang_sync.stage import Folder, segment_name
from fenxiang_sync.steps import orphans
from fenxiang_sync.steps.courier import ROWS_A_CLAIM, Courier
from fenxiang_sync.steps.extract import readings
from fenxiang_sync.steps.late import Watch
from fenxiang_sync.steps.letters import Originals, refused, rejected
from fenxiang_sync.steps.plan import Segment
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.tally import Tally
from fenxiang_sync.steps.transform import rejects, rows
from fenxiang_sync.steps.turns import groups
from fenxiang_sync.targets.protocol import Holder, Reach, Sender

log = logging.getLogger(__name__)


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
    read_now: bool = True,
    confirmed: int = 0,
) -> dict[str, int]:
    """Deliver the segment's rows and bury its rejects; returns the number of records by outcome.

    The hub notes what was read, unless `read_now` is False: the records are kept ones of an earlier run. `watch` counts
    those that came late, into the hub and the segment's document ``late``.
    A dry run decides and counts (what would be sent counts as delivered), and neither sends nor writes. `resend` sends
    what the ledger calls unchanged as well, but nothing older than what it has. Raises `QuestionError` where the
    rows of too many records, and of more than `confirmed`, would be deleted.
    """
    id_check = IdCheck.OVERWRITE if resend else run.pipeline.id_check
    folder = run.segment(segment.index)
    transformed = folder.need("transformed", "clear the transform task of this segment")
    if dry_run:
        numbers = _checked(_preview(run, folder, hub, id_check), transformed, folder)
        orphans.preview(run, folder, hub)
    else:
        if read_now:
            hub.note_readings(run.pipeline.name, run.id, segment.index, readings(run, segment, clock()))
        with run.pipeline.target.open(run.reach(reach, segment_name(segment.index))) as sender:
            delivery = _Delivery(run, segment, hub, reach, clock, sender, watch, id_check=id_check)
            delivery.deliver()
            delivery.ask()
            # Before anything is removed: records are kept longer than rows, and without rows they would give none.
            numbers = _checked(delivery.tally.counted(), transformed, folder)
            freed = orphans.note_and_remove(
                run,
                folder,
                hub=hub,
                sender=sender,
                reach=reach,
                clock=clock,
                read_now=read_now,
                confirmed=confirmed,
            )
            delivery.deliver_freed(freed)
    folder.save("loaded", numbers)
    return numbers


def _checked(counted: Counter[Outcome], transformed: dict[str, int], folder: Folder) -> dict[str, int]:
    """The records by outcome; raises `UnverifiedError` where they are not those that transform has read."""
    counted[Outcome.FILTERED] += transformed["filtered"]
    if counted.total() != transformed["read"]:
        raise UnverifiedError(
            f"{folder} holds {counted.total()} records, but transform read {transformed['read']} (a run that succeeded "
            "is cleaned); clear the task plan to run again"
        )
    return {outcome.value: counted[outcome] for outcome in Outcome}


def _preview(run: Run, folder: Folder, hub: Hub, id_check: IdCheck) -> Counter[Outcome]:
    pipeline = run.pipeline
    tally = Tally(several=bool(pipeline.several))
    for group in tally.groups(rows(folder), ROWS_A_CLAIM):
        decisions = hub.preview(pipeline.name, group, id_check=id_check, upserts=pipeline.target.upserts)
        for row, decision in zip(group, decisions, strict=True):
            tally.add(row, decision.outcome or Outcome.DELIVERED)
    tally.records(Outcome.DEAD_LETTER, sum(1 for _ in rejects(folder)))
    return tally.counted()


class _Delivery:
    """The delivery of one segment, and what became of each of its records."""

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
    ) -> None:
        self.tally = Tally(several=bool(run.pipeline.several))
        self._run = run
        self._name = run.pipeline.name
        self._target = run.pipeline.target
        self._folder = run.segment(segment.index)
        self._originals = Originals(self._folder)
        self._hub = hub
        self._reach = reach
        self._clock = clock
        self._sender = sender
        self._watch = watch
        self._courier = Courier(
            run,
            str(segment.index),
            hub=hub,
            reach=reach,
            clock=clock,
            sender=sender,
            bury=self._bury,
            told=self.tally.add,
            id_check=id_check,
        )

    def deliver(self) -> None:
        for group in self.tally.groups(rows(self._folder), max(ROWS_A_CLAIM, self._target.batch_rows)):
            current = self._current(group)
            self._look(current)
            self._courier.deliver(current)
        for letters in groups(self._rejected(), ROWS_A_CLAIM):
            self._hub.bury(letters, now=self._clock())
            self.tally.records(Outcome.DEAD_LETTER, len(letters))

    def deliver_freed(self, ids: Sequence[str]) -> None:
        """Deliver the rows of the segment that another record has given up: till then that one's stamps counted."""
        freed = set(ids)
        for group in groups((row for row in rows(self._folder) if row.id in freed), ROWS_A_CLAIM) if freed else ():
            self._courier.deliver(self._current(group))

    def _current(self, group: list[Row]) -> list[Row]:
        """Without the rows of a record that another load has brought in a newer version: that one may not give them any
        more, and then the ledger does not know them."""
        newer = superseded(self._run, self._hub, group)
        for row in group:
            if row.source_id in newer:
                self.tally.add(row, Outcome.STALE)
        return [row for row in group if row.source_id not in newer] if newer else group

    def ask(self) -> None:
        """Ask the target for what it took, where it can be asked; what it lacks is sent again, once.

        Only to a target that upserts: at another, a row that merely shows late would be there twice. Raises
        `IncompleteError` where rows stay away, `UnverifiedError` where the target cannot tell.
        """
        delivered = self.tally.counted()[Outcome.DELIVERED]
        if not isinstance(self._sender, Holder) or self._sender.sample == 0 or not delivered:
            return
        asked, absent = self._asked(self._sender)
        sent_again = 0
        if absent and self._target.upserts:
            sent_again = self._send_again(absent)
            asked, absent = self._asked(self._sender)
        if absent:
            raise IncompleteError(
                f"{len(absent)} of {asked} rows that the target took are not there (for example "
                f"{absent[0].id!r}). Does it drop changes of a row (idCheck: true)? Then declare IdCheck.SKIP_EXISTING"
            )
        self._folder.save("asked", {"asked": asked, "sent_again": sent_again})

    def _asked(self, sender: Holder) -> tuple[int, list[Row]]:
        """How many rows the target was asked for, and those that it lacks."""
        asked, absent = 0, []
        for sent in self._sent(sender.sample):
            asked += len(sent)
            absent += self._absent(sent, sender)
        return asked, absent

    def _send_again(self, absent: list[Row]) -> int:
        log.warning("%d rows that the target took are not there; sending them again", len(absent))
        forgotten = self._hub.forget(self._name, absent, run=self._run.id, now=self._clock())
        self.tally.take_back(len(forgotten))
        self._courier.deliver(forgotten)
        return len(forgotten)

    def _sent(self, most: int | None) -> Iterator[list[tuple[Row, int]]]:
        """The rows that this run delivered, with when they were claimed (epoch ms): all of them, a group at a time, or
        the last `most`."""
        last: deque[tuple[Row, int]] = deque(maxlen=most)
        for group in groups(rows(self._folder), ROWS_A_CLAIM):
            sent = self._hub.delivered(self._name, group, run=self._run.id)
            if most is None:
                yield sent
            else:
                last.extend(sent)
        if last:
            yield list(last)

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

    def _look(self, group: list[Row]) -> None:
        late = self._watch.note(group, self._clock()) if self._watch else []
        if late:  # a retry adds to what its first try found, which the ledger has met since
            before = self._folder.load("late") or {"late": 0, "late_ms": 0}
            largest = max(before["late_ms"], *(each.most_ms for each in late))
            self._folder.save("late", {"late": before["late"] + len(late), "late_ms": largest})

    def _bury(self, settled: Sequence[Settled]) -> None:
        records = self._originals.find([one.row for one in settled])
        letters = [refused(self._run, one, record) for one, record in zip(settled, records, strict=True)]
        self._hub.bury(letters, now=self._clock())

    def _rejected(self) -> Iterator[DeadLetter]:
        for reject in rejects(self._folder):
            said = {name: reject[name] for name in ("reason", "field", "value", "waits")}
            yield rejected(self._run, reject["record"], **said)


def superseded(run: Run, hub: Hub, rows: Sequence[Row]) -> dict[str, int]:
    """The records of these rows that another load has brought in a newer version, each with its stamp; none where rows
    that a record gives no more are left at the target anyway."""
    if run.pipeline.removes is DeletePolicy.IGNORE:
        return {}
    return hub.newer(run.pipeline.name, {row.source_id: row.modified_ms for row in rows})
