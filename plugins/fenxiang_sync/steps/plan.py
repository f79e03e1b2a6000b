"""plan: which spans of time a run reads, split into segments of bounded size."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec

from fenxiang_sync.coverage import wanted_since
from fenxiang_sync.drift import Change
from fenxiang_sync.errors import QuestionError, UnverifiedError
from fenxiang_sync.hub import Hub
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.source import Checkable, Client, Piece, Slice, slices
from fenxiang_sync.steps import drift
from fenxiang_sync.steps.getting import cost_of_getting
from fenxiang_sync.steps.run import Run
from fenxiang_sync.window import Window, from_ms, gaps, merge, to_ms

log = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=30)
"""How long a run waits for its window to close on the server's clock; beyond that the window is cut instead."""
PIECES_A_SEGMENT = 10
"""A load that has more pieces than so many in each segment that a run may have is not cut finer."""


class Kind(StrEnum):
    """How a run came to be."""

    SCHEDULED = "scheduled"
    BACKFILL = "backfill"
    MANUAL = "manual"
    LOOKBACK = "lookback"
    """A tick of one of the pipeline's lookbacks (漏单补救)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a run was asked for. A bound that is None is found from the certificates; `over` is how far back from now
    a lookback reads. `resend` sends what the ledger calls unchanged too; at a target that only inserts that takes
    `may_duplicate`. Of up to `confirmed` records the rows may be deleted that they give no
    more."""

    kind: Kind
    since: datetime | None = None
    until: datetime | None = None
    over: timedelta | None = None
    full: bool = False
    dry_run: bool = False
    resend: bool = False
    may_duplicate: bool = False
    confirmed: int = 0

    @property
    def follows(self) -> bool:
        """True for a run that takes up where the others ended, and closes the gaps that they left."""
        return self.kind is Kind.SCHEDULED or (self.kind is Kind.MANUAL and self.since is None and not self.full)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of the windows, read and delivered by one mapped task group. `count` is the server's hint.

    `ranges` are the slices that make it up, in order, each of few enough records to be read in one go; where there are
    none, it is all of `window`. One millisecond that holds very many records is in several segments, by `_id`.
    """

    index: int
    window: Window
    count: int | None
    ranges: list[Slice] = field(default_factory=list)

    @property
    def slices(self) -> list[Slice]:
        """What makes it up, in as few slices as may be compared with the server: one where it is whole."""
        if all(each.whole for each in self.ranges):
            return [Slice(self.window)]
        return self.ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will do. `window` was asked for; `windows` (it and the gaps before it) will be certified; `reading` is
    all that is read and compared: them and the lookback before each, cut into `segments`.

    `uncovered` are gaps older than the pipeline's `reach_back`, which the run leaves alone. `watches` is whether what
    it finds in certified time is late. `drift` are changes of the object's description that the pipeline has not been
    told of. `calls` is what planning cost.
    """

    kind: Kind
    dry_run: bool
    resend: bool
    window: Window
    windows: list[Window]
    reading: list[Window]
    segments: list[Segment]
    uncovered: list[Window]
    watches: bool
    config_hash: str
    calls: int
    confirmed: int = 0
    drift: list[Change] = field(default_factory=list)

    @classmethod
    def of(cls, run: Run) -> Plan:
        """The plan of a run as its stage holds it; raises `UnverifiedError` where it is gone."""
        document = run.folder.need("plan", "clear the task plan, with everything after it")
        return msgspec.convert(document, cls)

    def segment(self, index: int) -> Segment:
        """The segment of that number, from 1 on; raises `UnverifiedError` where the plan has fewer."""
        if not 1 <= index <= len(self.segments):
            raise UnverifiedError(
                f"The plan has {len(self.segments)} segments and no segment {index}: it was made anew meanwhile; clear "
                "the task plan, with everything after it"
            )
        return self.segments[index - 1]


class Spans(NamedTuple):
    """What a run is about: its `own` window; the `windows` that it will certify, gaps among them; all that it reads;
    the gaps that are too old."""

    own: Window
    windows: list[Window]
    reading: list[Window]
    uncovered: list[Window]


def plan(
    run: Run,
    asked: Asked,
    *,
    client: Client,
    hub: Hub,
    sleep: Callable[[float], None],
    most_segments: int = 1000,
) -> Plan:
    """Decide the windows, split them, and write the plan to the stage, which starts anew.

    At most `most_segments` segments: a larger load gets larger segments. Costs one call for the fields, one or two for
    each window, and one for each 5,000 records (1 in 50 of the calls that read them).
    """
    pipeline = run.pipeline
    if asked.resend:
        may_send_again(pipeline, may_duplicate=asked.may_duplicate, how='{"resend": true, "may_duplicate": true}')
    before = client.calls.total()
    news = _checked(pipeline, asked, client, hub)
    own, windows, reading, uncovered = spans(
        run, asked, client=client, certified=hub.certified(pipeline.name), sleep=sleep
    )
    segments = _segments(run, reading, client, most_segments)
    made = Plan(
        kind=asked.kind,
        dry_run=asked.dry_run,
        resend=asked.resend,
        window=own,
        windows=windows,
        reading=reading,
        segments=segments,
        uncovered=uncovered,
        watches=not asked.dry_run and (asked.follows or asked.kind is Kind.LOOKBACK),
        config_hash=pipeline.config_hash,
        calls=client.calls.total() - before,
        confirmed=asked.confirmed,
        drift=news,
    )
    run.folder.clear()
    hub.forget_readings(pipeline.name, run.id)
    run.folder.save("plan", made)
    if pipeline.got:
        log.info("%s", cost_of_getting(pipeline, [each.count for each in segments]))
    drift.told(pipeline, hub, news)
    return made


def _checked(pipeline: Pipeline, asked: Asked, client: Client, hub: Hub) -> list[Change]:
    """Hold the declaration against the description of the object; returns what has changed there since it was known,
    as far as the pipeline has not been told."""
    origin = pipeline.source.opened(client)
    if isinstance(origin, Checkable):
        origin.check(pipeline.asked)
    known = drift.examine(pipeline, client=client, hub=hub, scheduled=asked.kind is Kind.SCHEDULED)
    return known.untold(pipeline.name)


def spans(
    run: Run,
    asked: Asked,
    *,
    client: Client,
    certified: list[Window],
    sleep: Callable[[float], None],
) -> Spans:
    """Which time a run is about; what is `certified` tells where the last one ended, and the gaps."""
    own = _own_window(run, asked, certified, client, sleep)
    if asked.kind is Kind.LOOKBACK:
        return Spans(own, _proved_again(own, certified), merge([own]), _with_gaps(run, asked, own, certified)[1])
    windows, uncovered = _with_gaps(run, asked, own, certified)
    return Spans(own, windows, merge(w.widen(run.pipeline.source.lookback) for w in windows), uncovered)


def may_send_again(pipeline: Pipeline, *, may_duplicate: bool, how: str) -> None:
    """Raise `QuestionError` where rows would be there twice and nobody has said that they may be."""
    if not pipeline.target.upserts and not may_duplicate:
        raise QuestionError(
            f"The target of pipeline {pipeline.name!r} only inserts ({pipeline.target.describe()}): every row that is "
            f"still there would be there twice. If it was emptied, or that may be, say so: {how}"
        )


def _own_window(
    run: Run, asked: Asked, certified: list[Window], client: Client, sleep: Callable[[float], None]
) -> Window:
    """The window that was asked for, closed on the server's clock."""
    closed = _closed(run, client)
    until = asked.until or closed
    if asked.over is not None:
        since = max(_beginning(run), until - asked.over)
    else:
        since = asked.since or (_beginning(run) if asked.full else _watermark(run, certified))
    if closed < until <= closed + PATIENCE:
        sleep((until - closed).total_seconds())
    elif until > closed:
        log.warning("The server's clock has only reached %s: the window ends there instead of at %s", closed, until)
        until = closed
    return Window.between(min(since, until), until)


def _closed(run: Run, client: Client) -> datetime:
    """Up to when a window is closed: the server's time less `settle`, on the grain of the source's stamps.

    Its Date header may be a gateway's, of another clock than the one that stamps. As far ahead of ours as the lookback
    is, that does no harm: the next run reads that much again. Beyond, what is stamped later would be certified unseen.
    """
    source = run.pipeline.source
    time, ahead = client.server_time(), client.skew()
    if ahead > source.lookback:
        log.warning("The server's Date header is %s ahead of our clock, more than the lookback: not believed", ahead)
        time -= ahead - source.lookback
    grain_ms = source.grain // timedelta(milliseconds=1)
    return from_ms(to_ms(time - source.settle) // grain_ms * grain_ms)


def _beginning(run: Run) -> datetime:
    return run.pipeline.start or from_ms(0)


def _watermark(run: Run, certified: list[Window]) -> datetime:
    """The end of the last certified span; what is open before it is a gap, and read as one."""
    return certified[-1].until if certified else _beginning(run)


def _with_gaps(run: Run, asked: Asked, own: Window, certified: list[Window]) -> tuple[list[Window], list[Window]]:
    """The window and, for runs that follow the watermark, the gaps before it; and the gaps that are too old."""
    if own.empty:
        return [], []
    if not asked.follows:
        return [own], []
    wanted = min(wanted_since(run.pipeline), own.since_ms)
    open_spans = gaps(Window(wanted, own.since_ms), certified)
    oldest = to_ms(own.since - run.pipeline.reach_back) if certified else 0
    old = [gap for gap in open_spans if gap.until_ms <= oldest]
    healed = [gap for gap in open_spans if gap.until_ms > oldest]
    for gap in healed:
        log.warning("No run has certified %s yet; this run reads it as well", gap)
    for gap in old:
        log.warning("%s is not certified and lies before reach_back; load it with a manual run (since, until)", gap)
    return merge([own, *healed]), old


def _proved_again(own: Window, certified: list[Window]) -> list[Window]:
    """What a lookback certifies of its window: nothing behind the watermark, which is the ordinary runs' to move.

    What it proves before that is proved anew, and what was a gap there is none any more.
    """
    until = min(own.until_ms, certified[-1].until_ms) if certified else own.since_ms
    return [Window(own.since_ms, until)] if until > own.since_ms else []


def _segments(run: Run, reading: list[Window], client: Client, most: int) -> list[Segment]:
    """The pieces of each window, packed into segments; into larger ones where there would be more than `most`."""
    size = run.pipeline.source.most_records
    if len(reading) > most // 2:  # more gaps than a run can map over: read what lies between them as well
        reading = [Window(reading[0].since_ms, reading[-1].until_ms)]
    cut = [_pieces(run, client, window, size, most) for window in reading]
    packed = [_packed(pieces, size) for pieces in cut]
    while sum(map(len, packed)) > most:
        size *= 2
        packed = [_packed(pieces, size) for pieces in cut]
    return [_segment(index, pieces) for index, pieces in enumerate(itertools.chain(*packed), start=1)]


def _pieces(run: Run, client: Client, window: Window, size: int, segments: int) -> list[Piece]:
    return list(run.pipeline.source.opened(client).cut(window, most=size, pieces=PIECES_A_SEGMENT * segments))


def _packed(pieces: list[Piece], size: int) -> list[list[Piece]]:
    """Neighbours that fit together, by their counts, become one group."""
    groups: list[list[Piece]] = []
    held = 0
    for piece in pieces:
        counted = slices.STEP if piece.count is None else piece.count
        if not groups or held + counted > size:
            groups.append([])
            held = 0
        groups[-1].append(piece)
        held += counted
    return groups


def _segment(index: int, pieces: list[Piece]) -> Segment:
    counts = [piece.count for piece in pieces]
    known = [count for count in counts if count is not None]
    return Segment(
        index=index,
        window=Window(pieces[0].slice.window.since_ms, pieces[-1].slice.window.until_ms),
        count=sum(known) if len(known) == len(counts) else None,
        ranges=[piece.slice for piece in pieces],
    )
