"""fetch: what is missing or outdated is read again, and in the deep form everything that was compared."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from fenxiang_sync.hub import Hub
from fenxiang_sync.source import Client
from fenxiang_sync.steps.extract import extract, read_ids
from fenxiang_sync.steps.plan import Segment
from fenxiang_sync.steps.reconcile.compare import FETCHED, differences
from fenxiang_sync.steps.reconcile.survey import Survey
from fenxiang_sync.steps.run import Run
from fenxiang_sync.window import Window

WANTED = "wanted-00001"
"""The file of a segment that names the records to read; a segment without one is a span of time."""
BY_ID = Window(0, 0)
HINT = "clear the task survey, with everything after it"


def segments(run: Run, *, hub: Hub, most_segments: int = 1000) -> list[Segment]:
    """What the comparison found, as segments to read: records by id and, in the deep form, all compared time.

    A dry run reads nothing by id: what differs is said already.
    """
    surveyed = Survey.of(run)
    by_id = [] if surveyed.dry_run else list(_by_id(run))
    spans = list(_spans(run, surveyed, hub, most_segments - len(by_id))) if surveyed.deep else []
    made = [
        Segment(index=index, window=window, count=count)
        for index, (window, count) in enumerate((*((BY_ID, count) for count in by_id), *spans), start=1)
    ]
    run.folder.save("segments", made)
    return made


def segment(run: Run, index: int) -> Segment:
    """One of the segments, as the stage holds it."""
    found = msgspec.convert(run.folder.need("segments", HINT), list[Segment])
    return next(each for each in found if each.index == index)


def fetch(run: Run, segment: Segment, *, client: Client) -> dict[str, int]:
    """Read one segment into the stage, as `extract` does; returns {read, outside, calls}."""
    folder = run.segment(segment.index)
    if f"{WANTED}.ndjson.gz" in folder.names():
        return read_ids(run, folder.lines_as(WANTED, _decode_id), folder, client=client)
    return extract(run, segment, client=client)


def _by_id(run: Run) -> Iterator[int]:
    """Write the ids of each segment; how many there are in each."""
    found = (each["id"] for each in differences(run, FETCHED))
    size = run.pipeline.source.most_records
    index = 0
    while ids := list(islice(found, size)):
        index += 1
        folder = run.segment(index)
        folder.clear()
        folder.write_lines(WANTED, ids)
        yield len(ids)


def _spans(run: Run, surveyed: Survey, hub: Hub, most: int) -> Iterator[tuple[Window, int]]:
    listed = hub.listed(run.pipeline.name)
    size = max(run.pipeline.source.most_records, -(-surveyed.held * 2 // max(1, most)))
    for window in surveyed.windows:
        for span in listed.slices(window, size):
            yield span, listed.count(span)


_decode_id = msgspec.json.Decoder(str).decode
