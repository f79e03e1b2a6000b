"""retransform: a changed mapping, applied to records that were read before (重新转换). No call to Fenxiang.

::

    kept records ─► mapped by the declaration of today ─► compared with the ledger ─► (apply) transform ─► load

Applying is the ordinary transform and load of a run of its own, so that the ledger decides what is sent: changed
content of a version that was delivered is sent, an older version than was delivered never; and rows that a record
gives no more go to the delete policy.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import msgspec

from fenxiang_sync.errors import FenxiangSyncError, IncompleteError, ParentMissingError, RecordError
from fenxiang_sync.hub import Hub, RunRecord
from fenxiang_sync.rows import Row
from fenxiang_sync.stage import DERIVED, RECORDS, Stage
from fenxiang_sync.steps import orphans
from fenxiang_sync.steps.extract import PROJECTION
from fenxiang_sync.steps.finish import finish
from fenxiang_sync.steps.kept import KeptRecords, Piece, Record
from fenxiang_sync.steps.load import load
from fenxiang_sync.steps.plan import Segment
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.transform import knowing, rows_of, transform
from fenxiang_sync.targets.protocol import Reach
from fenxiang_sync.window import Window

log = logging.getLogger(__name__)

KIND = "retransform"
EXAMPLES = 20
"""Differences that are told field by field, and of each other kind."""
LEFT_OUT = ("superseded", "gone", "unkept", "unread")
DECISIONS = ("new", "changed", "unchanged", "stale", "busy", "in_doubt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One row that would be sent: each field with what the target has and what it would get; no fields for a row that
    the target does not have."""

    row: str
    source_id: str
    fields: list[tuple[str, Any, Any]]


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a mapping makes of records, in numbers and with some examples.

    Records: ``read`` = ``mapped`` + ``filtered`` + ``rejected`` + those left out (`LEFT_OUT`). Rows of the mapped ones:
    what the ledger says of each (`DECISIONS`). ``no_longer`` are rows that the target has and the records give no more;
    where it is applied, ``removed`` of them were, by the delete policy, and ``not_removed`` the target refused.
    `unread`: which fields the unread records were not asked for.
    """

    counts: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    rejects: list[tuple[str, str]] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """As a piece of an applied one left it in the stage."""
        return cls(
            counts=Counter(document["counts"]),
            unread=Counter(document["unread"]),
            differences=msgspec.convert(document["differences"], list[Difference]),
            rejects=msgspec.convert(document["rejects"], list[tuple[str, str]]),
            orphans=document["orphans"],
        )

    def add(self, other: Tally) -> None:
        self.counts.update(other.counts)
        self.unread.update(other.unread)
        self.differences += other.differences[: EXAMPLES - len(self.differences)]
        self.rejects += other.rejects[: EXAMPLES - len(self.rejects)]
        self.orphans += other.orphans[: EXAMPLES - len(self.orphans)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retransformed:
    """What came of it. `of` is the run whose records they are, None for all; `outcomes` are those of an applied one, in
    records; `window` is what that run had read, for who reads it again."""

    pipeline: str
    run: str
    of: str | None
    tally: Tally
    outcomes: dict[str, int] | None
    window: Window | None

    @property
    def differs(self) -> bool:
        """Whether anything is to be sent, to be read again, or does not fit."""
        counts = self.tally.counts
        wrong = ("rejected", "unread", "unkept", "in_doubt")
        sent = () if self.outcomes is not None else ("new", "changed")
        left = counts["no_longer"] > counts["removed"]
        return (
            left
            or any(counts[name] for name in (*wrong, *sent))
            or bool(self.outcomes and (self.outcomes["dead_letter"] or self.outcomes["in_doubt"]))
        )

    def numbers(self) -> dict[str, Any]:
        """What may be told everywhere: no value of a record."""
        counts = {name: self.tally.counts[name] for name in _COUNTS}
        unread = dict(sorted(self.tally.unread.items()))
        return {"of": self.of, **counts, "unread_fields": unread, "outcomes": self.outcomes}

    def to_json(self) -> dict[str, Any]:
        return {
            "pipeline": self.pipeline,
            "run": self.run,
            **self.numbers(),
            "window": None if self.window is None else self.window.to_json(),
            "differences": msgspec.to_builtins(self.tally.differences, enc_hook=str),
            "rejects": self.tally.rejects,
            "orphans": self.tally.orphans,
        }


_COUNTS = ("read", "mapped", "filtered", "rejected", *LEFT_OUT, *DECISIONS, "no_longer", "removed", "not_removed")


def difference(run: Run, *, of: str | None, hub: Hub, stage: Stage) -> Retransformed:
    """Map the kept records of run `of` (None: of all, as they were read last) anew, and say what the target would get;
    nothing is sent or written. Raises `ParamError` and `UnverifiedError` where they are not kept."""
    kept = KeptRecords(run.pipeline, of, hub=hub, stage=stage)
    tally = Tally()
    for piece in kept.pieces():
        for _ in _compared(run, kept, piece, hub, tally):
            pass
    return _told(run, kept, of, tally, None)


def apply(
    run: Run, *, of: str | None, hub: Hub, stage: Stage, reach: Reach, clock: Callable[[], datetime]
) -> Retransformed:
    """The same, and deliver it. One that was cut off goes on where it stopped, under the same run id.

    Raises what a load raises, and `IncompleteError` where the numbers do not add up.
    """
    kept = KeptRecords(run.pipeline, of, hub=hub, stage=stage)
    started = clock()
    try:
        made = _applied(run, kept, of, hub, reach, clock)
    except FenxiangSyncError as error:
        said = {"of": of, "error": type(error).__name__, "reason": str(error)}
        _journal(run, hub, "failed", said, started, clock())
        raise
    _journal(run, hub, "success", made.numbers(), started, clock())
    return made


def _applied(
    run: Run, kept: KeptRecords, of: str | None, hub: Hub, reach: Reach, clock: Callable[[], datetime]
) -> Retransformed:
    pieces = _planned(run, kept, of)
    _journal(run, hub, "running", {"of": of, "pieces": len(pieces)}, clock(), None)
    tally = Tally()
    outcomes: Counter[str] = Counter()
    for piece in pieces:
        folder = run.segment(piece.index)
        if folder.load("applied") is None:
            _apply(run, kept, piece, hub, reach, clock)
        tally.add(Tally.of(folder.need("applied", "start it again")))
        outcomes.update(folder.need("loaded", "start it again"))
    mapped = sum(tally.counts[name] for name in ("mapped", "filtered", "rejected"))
    if sum(outcomes.values()) != mapped:
        raise IncompleteError(
            f"{mapped} kept records were mapped, but {sum(outcomes.values())} have an outcome; start it again"
        )
    made = _told(run, kept, of, tally, dict(outcomes))
    finish(run, reach, windows=[], numbers=made.numbers())
    run.folder.save("report", made.to_json())
    return made


def _planned(run: Run, kept: KeptRecords, of: str | None) -> list[Piece]:
    """The pieces as an earlier try of this run had them; anew where it had ended, or was asked for something else."""
    before = run.folder.load("retransform")
    if before is not None and before["of"] == of and run.folder.load("report") is None:
        return msgspec.convert(before["pieces"], list[Piece])
    pieces = kept.pieces()
    run.folder.clear()
    run.folder.save("retransform", {"of": of, "pieces": pieces})
    return pieces


def _apply(run: Run, kept: KeptRecords, piece: Piece, hub: Hub, reach: Reach, clock: Callable[[], datetime]) -> None:
    """Deliver one piece: its records become a segment of this run, which is transformed and loaded as any is."""
    folder = run.segment(piece.index)
    folder.clear()
    tally = Tally()
    read = 0
    for number, group in enumerate(_compared(run, kept, piece, hub, tally), start=1):
        folder.write_lines(f"{RECORDS}00-{number:05d}", group)
        read += len(group)
    folder.save(PROJECTION, run.pipeline.reads)
    folder.save("extracted", {"read": read, "outside": 0, "calls": 0})
    segment = Segment(index=piece.index, window=Window(0, 0), count=read)
    transform(run, segment, hub=hub)
    load(run, segment, hub=hub, reach=reach, clock=clock, read_now=False)
    tally.counts.update(folder.load(orphans.DOCUMENT) or {})
    folder.save("applied", tally)
    folder.remove(RECORDS, *DERIVED)
    log.info("piece %d: %s", piece.index, ", ".join(f"{count:,} {name}" for name, count in tally.counts.items()))


def _compared(run: Run, kept: KeptRecords, piece: Piece, hub: Hub, tally: Tally) -> Iterator[list[Record]]:
    """The records of a piece that are mapped again, each group when `tally` has counted it."""
    for group, left in kept.read(piece):
        tally.counts["read"] += len(group) + left.counts.total()
        tally.counts.update(left.counts)
        tally.unread.update(left.unread)
        if group:
            _compare(run, group, hub, tally)
            yield group


def _compare(run: Run, group: Sequence[Record], hub: Hub, tally: Tally) -> None:
    pipeline = run.pipeline
    mapping = knowing(pipeline, group, hub)
    rows: list[Row] = []
    waiting: set[str] = set()
    for record in group:
        try:
            made = rows_of(pipeline, record, mapping)
            tally.counts["mapped" if made else "filtered"] += 1
            rows += made
        except RecordError as error:
            tally.counts["rejected"] += 1
            if isinstance(error, ParentMissingError):
                waiting.add(record["_id"])
            if len(tally.rejects) < EXAMPLES:
                tally.rejects.append((record["_id"], str(error)))
    decisions = hub.preview(pipeline.name, rows, id_check=pipeline.id_check, upserts=pipeline.target.upserts)
    tally.counts.update(decision.value for decision in decisions)
    sent = [row for row, decision in zip(rows, decisions, strict=True) if decision.claimed]
    tally.differences += _differences(run, sent[: EXAMPLES - len(tally.differences)], hub)
    given = {row.id for row in rows}
    held = hub.rows_of(pipeline.name, [record["_id"] for record in group if record["_id"] not in waiting])
    no_longer = sorted(row_id for ids in held.values() for row_id in ids if row_id not in given)
    tally.counts["no_longer"] += len(no_longer)
    tally.orphans += no_longer[: EXAMPLES - len(tally.orphans)]


def _differences(run: Run, rows: Sequence[Row], hub: Hub) -> list[Difference]:
    """Field by field, what the target has of these rows and what it would get."""
    ids = [row.id for row in rows]
    held = {each.id: each.content for each in hub.records(run.pipeline.name, ids=ids)} if ids else {}
    found = []
    for row in rows:
        was = held.get(row.id)
        fields = [] if was is None else list(_fields(was, row.content))
        found.append(Difference(row=row.id, source_id=row.source_id, fields=fields))
    return found


def _fields(was: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted paths at which two contents differ, with both values."""
    if isinstance(was, dict) and isinstance(now, dict):
        for name in {**was, **now}:
            yield from _fields(was.get(name), now.get(name), f"{path}.{name}" if path else name)
    elif was != now:
        yield path, was, now


def _told(run: Run, kept: KeptRecords, of: str | None, tally: Tally, outcomes: dict[str, int] | None) -> Retransformed:
    return Retransformed(
        pipeline=run.pipeline.name, run=run.id, of=of, tally=tally, outcomes=outcomes, window=kept.window()
    )


def _journal(
    run: Run, hub: Hub, state: str, numbers: dict[str, Any], started: datetime, finished: datetime | None
) -> None:
    hub.record_run(
        RunRecord(
            pipeline=run.pipeline.name,
            run=run.id,
            kind=KIND,
            state=state,
            window=None,
            started_at=started,
            finished_at=finished,
            config_hash=run.pipeline.config_hash,
            numbers=numbers,
        )
    )
