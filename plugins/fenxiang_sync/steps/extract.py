"""extract: read one segment, page by page, into the stage."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import count, islice, pairwise
from typing import Any, NamedTuple

import msgspec

from fenxiang_sync.convert import integer, is_null
from fenxiang_sync.hub import Hub, Seen
from fenxiang_sync.hub import Reading as File
from fenxiang_sync.rows import is_voided
from fenxiang_sync.source import Client, Origin, Slice
from fenxiang_sync.stage import Folder
from fenxiang_sync.steps.attaching import PAGES_A_FILE, RANGES, Attaching
from fenxiang_sync.steps.getting import UNREAD
from fenxiang_sync.steps.plan import Segment
from fenxiang_sync.steps.run import Run
from fenxiang_sync.window import Window

log = logging.getLogger(__name__)

PROJECTION = "projection"
"""The document of a segment that says which fields its records were asked for, as `Pipeline.reads` names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is asked of every record of a window: of which origin, which fields; `also` is what is attached to it then,
    as `Pipeline.reads` names it."""

    origin: Origin
    projection: Sequence[str]
    page_size: int = 100
    also: Sequence[str] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """All that a record has in the end."""
        return (*self.projection, *self.also)


def extract(
    run: Run, segment: Segment, *, client: Client, hub: Hub | None = None, at_once: int | None = None
) -> dict[str, int]:
    """Read every record of the segment into ``records-…`` files; returns {read, outside, calls}, and what became of
    those that were to be got. The hub keeps records that need not be got again; without it all of them are."""
    source = run.pipeline.source
    reading = Reading(
        origin=source.opened(client),
        projection=run.pipeline.asked,
        page_size=source.page_size,
        also=[name for name in run.pipeline.reads if name not in run.pipeline.asked],
    )
    ranges = segment.ranges or [Slice(segment.window)]
    folder = run.segment(segment.index)
    attaching = Attaching(run.pipeline, client, hub, source.filters)
    at_once = min(at_once or attaching.ranges, source.at_once)
    return read(reading, ranges, folder, client=client, attaching=attaching, expected=segment.count, at_once=at_once)


def read(
    reading: Reading,
    ranges: Sequence[Slice],
    folder: Folder,
    *,
    client: Client,
    attaching: Attaching | None = None,
    expected: int | None = None,
    at_once: int = RANGES,
) -> dict[str, int]:
    """Read every record of the ranges, `at_once` of them at a time, into ``records-…`` files of the folder; returns
    {read, outside, calls}, and the numbers of `attaching`.

    Goes on from the complete files of an earlier try that was cut off; where an earlier try had finished (the
    task was cleared), or had asked for other fields (the declaration was changed meanwhile), it starts anew. `expected`
    is a hint: few records are not worth several ranges.
    """
    asked_before = projection_of(folder)
    if folder.load("extracted") is not None or asked_before not in (None, reading.fields):
        folder.clear()
    folder.save(PROJECTION, reading.fields)
    few = expected is not None and expected <= RANGES * reading.page_size
    ranges = _ranges(ranges, 1 if few else at_once, folder)
    before = client.calls.total()
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        counted = list(pool.map(lambda at: _read_range(reading, folder, at, ranges[at], attaching), range(len(ranges))))
    numbers = {
        "read": sum(held for held, _ in counted),
        "outside": sum(outside for _, outside in counted),
        "calls": client.calls.total() - before,
        **(attaching.numbers if attaching else {}),
    }
    folder.save("extracted", numbers)
    return numbers


def read_ids(
    run: Run,
    ids: Iterable[str],
    folder: Folder,
    *,
    client: Client,
    hub: Hub | None = None,
    filtered: bool = False,
) -> dict[str, int]:
    """Read the records with these ids, as they are now, into ``records-…`` files of the folder; returns what `extract`
    does. One that is gone meanwhile, or does not pass the source's own filter where it is `filtered`, is left out."""
    before = client.calls.total()
    attaching = Attaching(run.pipeline, client, hub, run.pipeline.source.filters if filtered else ())
    folder.remove("records-", "extracted")
    folder.save(PROJECTION, run.pipeline.reads)
    asked = run.pipeline.source.opened(client).fetch(ids, run.pipeline.asked, filtered=filtered)
    held = 0
    for number in count(1):
        found = [record for page in islice(asked, PAGES_A_FILE) for record in page.records]
        if not found:
            break
        if records := attaching.attach(found):
            folder.write_lines(f"records-00-{number:05d}", records)
        held += len(records)
    numbers = {"read": held, "outside": 0, "calls": client.calls.total() - before, **attaching.numbers}
    folder.save("extracted", numbers)
    return numbers


def _ranges(ranges: Sequence[Slice], parts: int, folder: Folder) -> list[Slice]:
    """The ranges as they are read, a single one in `parts`; the same in every try: the checkpoint counts by them."""
    kept = folder.load("ranges")
    if kept is not None:
        return msgspec.convert(kept, list[Slice])
    cut = _evenly(ranges[0].window, parts) if len(ranges) == 1 and ranges[0].whole else list(ranges)
    folder.save("ranges", cut)
    return cut


def _evenly(window: Window, parts: int) -> list[Slice]:
    """Up to `parts` adjacent slices of equal length that make up the window."""
    parts = max(1, min(parts, window.length_ms))
    bounds = [window.since_ms + window.length_ms * part // parts for part in range(parts + 1)]
    return [Slice(Window(since, until)) for since, until in pairwise(bounds)]


def _read_range(reading: Reading, folder: Folder, at: int, part: Slice, attaching: Attaching | None) -> tuple[int, int]:
    """Read one range, file by file; returns the records that are held and those dropped as outside."""
    prefix = f"records-{at:02d}-"
    done = folder.names(prefix)
    if done:
        log.info("%s: goes on after %d complete files of an earlier try", part.window, len(done))
    after = folder.last_line(done[-1])["_id"] if done else None
    held = sum(1 for _ in folder.lines_as(prefix, bytes))
    outside = 0
    asked = reading.origin.pages(part, reading.projection, after=after, page_size=reading.page_size)
    number = len(done)
    while group := list(islice(asked, attaching.pages_a_file if attaching else PAGES_A_FILE)):
        outside += sum(page.outside for page in group)
        records = [record for page in group for record in page.records]
        if attaching:
            records = attaching.attach(records)
        if records:
            number += 1
            folder.write_lines(f"{prefix}{number:05d}", records)
        held += len(records)
        log.info("%s: %s records held", part.window, f"{held:,}")
    return held, outside


class Version(NamedTuple):
    """Which version of a record is held: ``last_modified_time`` in epoch milliseconds, and its ``version`` as text."""

    modified_ms: int
    version: str


def versions(folder: Folder) -> dict[str, Version]:
    """What the segment holds, by ``_id``: the newest of each."""
    held: dict[str, Version] = {}
    for record in folder.lines_as("records-", _decode_stamp):
        version = Version(record.last_modified_time, "" if record.version is None else str(record.version))
        if record._id not in held or held[record._id].modified_ms <= version.modified_ms:
            held[record._id] = version
    return held


def projection_of(folder: Folder) -> tuple[str, ...] | None:
    """The fields that the records of a segment were asked for; None where it has none yet."""
    fields = folder.load(PROJECTION)
    return None if fields is None else tuple(fields)


def sightings(folder: Folder, *, keep: bool) -> Iterator[tuple[Seen, bool]]:
    """Every record of the segment as the hub notes it, and whether it was read whole; with the record itself where the
    hub is to keep it. One that lacks what could not be got is not kept, so that it is got again."""

    def seen(line: bytes) -> tuple[Seen, bool]:
        record = _decode_stamp(line)
        voided = is_voided(record.life_status, record.is_deleted)
        payload = line.rstrip(b"\n") if keep and record.unread is None else None
        note = Seen(record._id, record.last_modified_time, voided, version_number(record.version), payload)
        return note, record.unread is None

    return folder.lines_as("records-", seen)


def version_number(version: Any) -> int:
    """A record's version as its rows have it; 0 where there is none, or where it is the reason of a reject."""
    try:
        return 0 if is_null(version) else integer(version)
    except ValueError:
        return 0


def readings(run: Run, segment: Segment, now: datetime) -> list[File]:
    """The files of records of a segment, as the hub notes them."""
    folder = run.segment(segment.index)
    fields = projection_of(folder) or run.pipeline.reads
    window = None if segment.window.empty else segment.window
    found = []
    for name in folder.names("records-"):
        ids = sorted(folder.lines_of(name, _decode_id))
        found.append(File(run.id, segment.index, name, ids[0], ids[-1], len(ids), window, fields, now))
    return found


class _Stamp(msgspec.Struct, rename={"unread": UNREAD}):
    _id: str
    last_modified_time: int
    life_status: Any = None
    is_deleted: Any = None
    version: Any = None
    unread: Any = None


class _Id(msgspec.Struct):
    _id: str


_decode_stamp = msgspec.json.Decoder(_Stamp).decode
_decoder_of_id = msgspec.json.Decoder(_Id)


def _decode_id(line: bytes) -> str:
    return _decoder_of_id.decode(line)._id
