"""write_back (回写): what has changed of where records stand, and of what the target told, goes into the CRM's records.

A run looks at the records of which something happened since the last one, and at those that the CRM refused and that
are due again. The ledger decides what of them is sent, so a second look costs no call. An update may be made twice, so
none is ever in doubt: a run that died is made good by the next one, whose bookmark is where the last one stood.

What is written gives the record a new stamp, and the pipeline reads it once more. It makes the row that the target
has, so nothing is sent and nothing new is told: that is where it ends.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from itertools import chain
from typing import Any

from fenxiang_sync.hub import DeadLetter, Hub, Ladder, Reply, Selection, Settled
from fenxiang_sync.letters import QEASY_LADDER
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.rows import Outcome, Row
from fenxiang_sync.steps.courier import ROWS_A_CLAIM, Courier
from fenxiang_sync.steps.expiry import expire
from fenxiang_sync.steps.letters import refused, rejected
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.transform import mapped
from fenxiang_sync.steps.turns import groups
from fenxiang_sync.steps.written import KIND, record_of, written
from fenxiang_sync.targets.protocol import Reach

log = logging.getLogger(__name__)

ENDS = {
    Outcome.DELIVERED: "delivered",
    Outcome.UNCHANGED: "unchanged",
    Outcome.STALE: "stale",
    Outcome.IN_DOUBT: "in_doubt",
    Outcome.DEAD_LETTER: "dead_letters",
}
_BOOKMARK = "write-back "


def write_back(
    run: Run,
    *,
    hub: Hub,
    reach: Reach,
    clock: Callable[[], datetime],
    every: bool = False,
    dry_run: bool = False,
) -> dict[str, int]:
    """Write back what has changed; returns {looked_at, *ENDS, nothing_to_say}, in records, which add up.

    `every` looks at all records of the pipeline and not at those that changed alone; what the CRM has is not sent
    again. So does the first run, and one whose declaration has changed. A dry run decides and counts, and writes
    nothing. `run` is of the pipeline that declares it.
    """
    back = Run(pipeline=written(run.pipeline), id=run.id, folder=run.folder)
    bookmark = _Bookmark(hub, run.pipeline, back.pipeline)
    after = None if every else bookmark.after()
    counted: Counter[str] = Counter()
    with ExitStack() as stack:
        one = (_Preview if dry_run else _WriteBack)(back, run.pipeline, stack, hub=hub, reach=reach, clock=clock)
        for ids in _ids(hub, run.pipeline, back.pipeline, after, bookmark.upto, clock()):
            counted.update(one.write(ids))
    if not dry_run:
        bookmark.move()
        expire(back, hub=hub, now=clock())
    return {name: counted[name] for name in ("looked_at", *ENDS.values(), "nothing_to_say")}


def _ids(
    hub: Hub, pipeline: Pipeline, back: Pipeline, after: int | None, upto: int, now: datetime
) -> Iterator[list[str]]:
    """The records to look at, in groups; one may come twice."""
    due = Ladder(steps=pipeline.dead_letters.ladder or QEASY_LADDER, config_hash=back.config_hash, now=now)
    refused_ids = dict.fromkeys(str(each.record_id) for each in hub.letters.find(back.name, Selection(due=due)))
    changed = hub.replies.all(pipeline.name) if after is None else hub.replies.changed(pipeline.name, after, upto)
    return chain(changed, groups(refused_ids, ROWS_A_CLAIM))


class _Bookmark:
    """How far the events of a pipeline have been written back, by which declaration."""

    def __init__(self, hub: Hub, pipeline: Pipeline, back: Pipeline) -> None:
        self._hub = hub
        self._name = f"{_BOOKMARK}{pipeline.name}"
        self._config_hash = back.config_hash
        self.upto = hub.replies.newest(pipeline.name)
        """The newest event as the run begins."""

    def after(self) -> int | None:
        """The event up to which all is written back; None where that is not known, or was by another declaration."""
        noted = self._hub.noted(self._name) or {}
        if noted.get("config_hash") != self._config_hash or not self._hub.replies.reaches(noted["event"]):
            return None
        return int(noted["event"])

    def move(self) -> None:
        """All up to the newest event has an outcome; a run that went on meanwhile may be further."""

        def moved(noted: dict[str, Any] | None, _now: float) -> dict[str, Any]:
            other = (noted or {}).get("config_hash") != self._config_hash
            event = self.upto if noted is None or other else max(self.upto, noted["event"])
            return {"event": event, "config_hash": self._config_hash}

        self._hub.revise(self._name, moved)


class _WriteBack:
    """Writes back one group of records after the other; the CRM is opened for the first row that there is."""

    def __init__(
        self,
        run: Run,
        of: Pipeline,
        stack: ExitStack,
        *,
        hub: Hub,
        reach: Reach,
        clock: Callable[[], datetime],
    ) -> None:
        self._run = run
        self._of = of
        self._stack = stack
        self._hub = hub
        self._reach = reach
        self._clock = clock
        self._courier: Courier | None = None
        self._records: dict[str, dict[str, Any]] = {}
        self._ends: Counter[str] = Counter()

    def write(self, ids: Sequence[str]) -> Counter[str]:
        """What became of each of the records."""
        self._ends = Counter(looked_at=len(ids))
        self._records = {each.source_id: record_of(each) for each in self._replies(ids)}
        made = mapped(self._run, list(self._records.values()))
        self._ends["nothing_to_say"] = len(ids) - len(self._records) + made.filtered
        self._bury([rejected(self._run, **each) for each in made.rejects])
        self._ends[ENDS[Outcome.DEAD_LETTER]] += len(made.rejects)
        if made.rows:
            self._deliver(made.rows)
        return self._ends

    def _replies(self, ids: Sequence[str]) -> Iterator[Reply]:
        """The replies that are worth a word. Where a record stands nowhere any more, as when its letter was put aside,
        that is one only to a record that was told something before."""
        replies = self._hub.replies.of(self._of.name, ids)
        before = self._hub.rows_of(self._run.pipeline.name, [each.source_id for each in replies if not each.outcome])
        back = self._of.write_back
        for reply in replies:
            doubtful = reply.outcome is Outcome.IN_DOUBT and back is not None and not back.doubts
            if not doubtful and (reply.outcome is not None or reply.source_id in before):
                yield reply

    def _deliver(self, rows: Sequence[Row]) -> None:
        if self._courier is None:
            self._courier = Courier(
                self._run,
                "",
                hub=self._hub,
                reach=self._reach,
                clock=self._clock,
                sender=self._stack.enter_context(self._run.pipeline.target.open(self._run.reach(self._reach, KIND))),
                bury=self._bury_refused,
                told=self._told,
            )
        self._courier.deliver(rows)

    def _told(self, _row: Row, outcome: Outcome) -> None:
        self._ends[ENDS[outcome]] += 1

    def _bury_refused(self, settled: Sequence[Settled]) -> None:
        self._bury([refused(self._run, one, self._records[one.row.source_id]) for one in settled])

    def _bury(self, letters: Sequence[DeadLetter]) -> None:
        if letters:
            self._hub.bury(letters, now=self._clock())


class _Preview(_WriteBack):
    """Says what would become of them; what would be sent counts as delivered."""

    def _deliver(self, rows: Sequence[Row]) -> None:
        back = self._run.pipeline
        decisions = self._hub.preview(
            back.name, rows, id_check=back.id_check, upserts=back.target.upserts, now=self._clock()
        )
        for row, decision in zip(rows, decisions, strict=True):
            self._told(row, decision.outcome or Outcome.DELIVERED)

    def _bury(self, letters: Sequence[DeadLetter]) -> None:
        pass
