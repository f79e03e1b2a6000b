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
from fenxiang_sync.details import Details
from fenxiang_sync.hub import Reading as File
from fenxiang_sync.hub import Seen
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.rows import is_voided
from fenxiang_sync.source import Client, FenxiangClient, Origin, Slice
from fenxiang_sync.source.details import fetch
from fenxiang_sync.stage import Folder
from fenxiang_sync.steps.plan import Segment
from fenxiang_sync.steps.run import Run
from fenxiang_sync.window import Window

log = logging.getLogger(__name__)

PAGES_A_FILE = 10
"""A killed task reads at most this many pages of each range again."""
PROJECTION = "projection"
"""The document of a segment that says which fields its records were asked for, those of details dotted."""
RANGES = 8
"""How many ranges are read at once, to hide the latency of the calls."""


class Attached(NamedTuple):
    """Details that are fetched for each record, with the fields that are asked for."""

    details: Details
    projection: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is asked of every record of a window: of which origin, which fields, with which details."""

    origin: Origin
    projection: Sequence[str]
    page_size: int = 100
    details: Sequence[Attached] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """All that a record has then, as `Pipeline.reads` names it: a list of details, and their fields dotted."""
        of_details = (f"{details.name}.{name}" for details, names in self.details for name in names)
        return (*self.projection, *(details.name for details, _ in self.details), *of_details)


def extract(run: Run, segment: Segment, *, client: Client, at_once: int = RANGES) -> dict[str, int]:
    """Read every record of the segment into ``records-…`` files; returns {read, outside, calls}."""
    source = run.pipeline.source
    reading = Reading(
        origin=source.opened(client),
        projection=run.pipeline.asked,
        page_size=source.page_size,
        details=details_of(run.pipeline),
    )
    at_once = min(at_once, source.at_once)
    ranges = segment.ranges or [Slice(segment.window)]
    folder = run.segment(segment.index)
    return read(reading, ranges, folder, client=client, expected=segment.count, at_once=at_once)


def read(
    reading: Reading,
    ranges: Sequence[Slice],
    folder: Folder,
    *,
    client: Client,
    expected: int | None = None,
    at_once: int = RANGES,
) -> dict[str, int]:
    """Read every record of the ranges, `at_once` of them at a time, into ``records-…`` files of the folder; returns
    {read, outside, calls}.

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
        counted = list(pool.map(lambda at: _read_range(reading, folder, at, ranges[at], client), range(len(ranges))))
    numbers = {
        "read": sum(held for held, _ in counted),
        "outside": sum(outside for _, outside in counted),
        "calls": client.calls.total() - before,
    }
    folder.save("extracted", numbers)
    return numbers


def read_ids(run: Run, ids: Iterable[str], folder: Folder, *, client: Client, filtered: bool = False) -> dict[str, int]:
    """Read the records with these ids, as they are now, into ``records-…`` files of the folder; returns
    {read, outside, calls}. One that is gone meanwhile, or does not pass the source's own filter where it is `filtered`,
    is left out."""
    before = client.calls.total()
    folder.remove("records-", "extracted")
    folder.save(PROJECTION, run.pipeline.reads)
    asked = run.pipeline.source.opened(client).fetch(ids, run.pipeline.asked, filtered=filtered)
    details = details_of(run.pipeline)
    held = 0
    for number in count(1):
        records = [record for page in islice(asked, PAGES_A_FILE) for record in page.records]
        if not records:
            break
        attach(client, details, records)
        folder.write_lines(f"records-00-{number:05d}", records)
        held += len(records)
    numbers = {"read": held, "outside": 0, "calls": client.calls.total() - before}
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


def _read_range(reading: Reading, folder: Folder, at: int, part: Slice, client: Client) -> tuple[int, int]:
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
    while group := list(islice(asked, PAGES_A_FILE)):
        records = [record for page in group for record in page.records]
        outside += sum(page.outside for page in group)
        if records:
            number += 1
            attach(client, reading.details, records)
            folder.write_lines(f"{prefix}{number:05d}", records)
        held += len(records)
        log.info("%s: %s records held", part.window, f"{held:,}")
    return held, outside


def details_of(pipeline: Pipeline) -> list[Attached]:
    """What is fetched for each record of the pipeline."""
    return [Attached(each, pipeline.asked_of(each)) for each in pipeline.source.details]


def attach(client: Client, attached: Iterable[Attached], records: Sequence[dict[str, Any]]) -> None:
    """Put the details into their records. Voided ones are no part of a record that is not voided."""
    for details, projection in attached:
        ids = [record["_id"] for record in records]
        asked = FenxiangClient.of(client)
        found = fetch(asked, details.object, ids, by=details.by, projection=projection, filters=details.filters)
        for record in records:
            lines = found[record["_id"]]
            record[details.name] = lines if _voided(record) else [line for line in lines if not _voided(line)]


def _voided(record: dict[str, Any]) -> bool:
    return is_voided(record.get("life_status"), record.get("is_deleted"))


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


def sightings(folder: Folder, *, keep: bool) -> Iterator[Seen]:
    """Every record of the segment as the hub notes it; with the record itself where the hub is to keep it."""

    def seen(line: bytes) -> Seen:
        record = _decode_stamp(line)
        voided = is_voided(record.life_status, record.is_deleted)
        payload = line.rstrip(b"\n") if keep else None
        return Seen(record._id, record.last_modified_time, voided, _number(record.version), payload)

    return folder.lines_as("records-", seen)


def _number(version: Any) -> int:
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


class _Stamp(msgspec.Struct):
    _id: str
    last_modified_time: int
    life_status: Any = None
    is_deleted: Any = None
    version: Any = None


class _Id(msgspec.Struct):
    _id: str


_decode_stamp = msgspec.json.Decoder(_Stamp).decode
_decoder_of_id = msgspec.json.Decoder(_Id)


def _decode_id(line: bytes) -> str:
    return _decoder_of_id.decode(line)._id
