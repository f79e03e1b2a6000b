"""comparison: what the run holds of each window against what the server holds there now, counted and digested."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from fenxiang_sync.errors import UnverifiedError
from fenxiang_sync.source import Client, Origin, Slice, census
from fenxiang_sync.stage import Folder
from fenxiang_sync.steps.extract import Version, versions
from fenxiang_sync.steps.plan import Plan, Segment
from fenxiang_sync.steps.run import Run
from fenxiang_sync.window import Window, gaps

_SPAN = 2**128
AT_ONCE = 4
"""How many parts of a large run are compared at once, to hide the latency of the calls."""


@dataclass(slots=True)
class Span:
    """One window, compared, in records: `before` were read, `after` are what the server holds there at the end, `left`
    were read and are there no longer (edited since, deleted, or out of sight). `digest` is of ids and versions."""

    window: Window
    before: int = 0
    after: int = 0
    left: int = 0
    digest: int = 0

    def hex(self) -> str:
        return f"{self.digest % _SPAN:032x}"


@dataclass(slots=True)
class Comparison:
    """`missing` are id and stamp of what the server has and the run does not hold that new; `left` counts what was read
    and has left, the lookback included."""

    spans: list[Span]
    missing: dict[str, int] = field(default_factory=dict)
    left: int = 0
    digest: int = 0

    def hex(self) -> str:
        """A digest of the ids and versions that the run holds, independent of their order."""
        return f"{self.digest % _SPAN:032x}"


_Buckets = list[tuple[Slice, census.Bucket]]


class _Held(census.HeldStamps):
    """What one folder holds."""

    def __init__(self, found: Mapping[str, Version]) -> None:
        super().__init__({record_id: version.modified_ms for record_id, version in found.items()})
        self.versions = found


def compare(run: Run, planned: Plan, client: Client, extra: Segment) -> Comparison:
    """Ask the server again for all that was read. `extra` is where what was missing was kept, once it was read."""
    source = run.pipeline.source
    made = Comparison([Span(window) for window in planned.windows])
    more = versions(run.segment(extra.index))
    _digest(made, more)
    large = sum(segment.count or 0 for segment in planned.segments) >= census.CAP
    threads = min(AT_ONCE, source.at_once) if large else 1
    origin = source.opened(client)
    asked: deque[tuple[_Held, Future[_Buckets]]] = deque()  # no more than these are in memory

    def note() -> None:
        held, found = asked.popleft()
        _digest(made, held.versions)
        for part, bucket in found.result():
            _note(made, part, bucket, held, more)

    with ThreadPoolExecutor(max_workers=threads) as pool:
        for parts, held in _compared(run, planned):
            asked.append((held, pool.submit(_buckets, origin, source.counts, parts, held)))
            if len(asked) == threads:
                note()
        while asked:
            note()
    return made


def _buckets(origin: Origin, counting: bool, parts: Sequence[Slice], held: _Held) -> _Buckets:
    """What the server holds in each part now."""
    found: _Buckets = []
    for part in parts:
        if part.whole:
            found += [(part, bucket) for bucket in census.compare(origin, part.window, held, counting=counting)]
            continue
        seen = tuple(origin.sweep(part))
        found.append((part, census.Bucket(window=part.window, held=0, server=len(seen), seen=seen)))
    return found


def _note(made: Comparison, part: Slice, bucket: census.Bucket, held: _Held, more: Mapping[str, Version]) -> None:
    if bucket.seen is None:  # both numbers agree, so the server holds what we hold
        for span in made.spans:
            span.after += held.count(_overlap(span.window, bucket.window))
        return
    stamps = held.stamps([each.id for each in bucket.seen])
    for each in bucket.seen:
        also = more[each.id].modified_ms if each.id in more else -1
        if max(stamps.get(each.id, -1), also) < each.modified_ms:
            made.missing[each.id] = each.modified_ms
    _count(made, "after", (each.modified_ms for each in bucket.seen))
    seen = {each.id for each in bucket.seen}
    gone = [each for each in held.within(bucket.window) if each not in seen and part.holds(each)]
    made.left += len(gone)
    _count(made, "left", held.stamps(gone).values())


def _count(made: Comparison, what: str, stamps: Iterable[int]) -> None:
    for stamp in stamps:
        for span in made.spans:
            if stamp in span.window:
                setattr(span, what, getattr(span, what) + 1)


def _digest(made: Comparison, found: Mapping[str, Version]) -> None:
    for record_id, version in found.items():
        said = f"{record_id} {version.modified_ms} {version.version}"
        value = int.from_bytes(hashlib.blake2b(said.encode(), digest_size=16).digest())
        made.digest += value
        for span in made.spans:
            if version.modified_ms in span.window:
                span.before += 1
                span.digest += value


def _compared(run: Run, planned: Plan) -> Iterator[tuple[Sequence[Slice], _Held]]:
    """Each part of what was read, with what is held of it."""
    for segment in planned.segments:
        yield segment.slices, _Held(_held(run.segment(segment.index), segment))
    # What plan took for empty has no segment. But a count is a hint, and records come late.
    read = [segment.window for segment in planned.segments]
    for window in planned.reading:
        for span in gaps(window, read):
            yield [Slice(span)], _Held({})


def _held(folder: Folder, segment: Segment) -> dict[str, Version]:
    held = versions(folder)
    read = folder.need("extracted", "clear the extract task of this segment")["read"]
    if read and not held:
        raise UnverifiedError(
            f"The records of segment {segment.index} are no longer in the stage (a run that succeeded is cleaned), "
            "so there is nothing to compare; clear the task plan to run again"
        )
    return held


def _overlap(one: Window, other: Window) -> Window:
    since = max(one.since_ms, other.since_ms)
    return Window(since, max(since, min(one.until_ms, other.until_ms)))
