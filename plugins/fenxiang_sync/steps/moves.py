"""moves: detail records that have moved from one record to another, which gives neither of the two a new stamp.

The detail tells of its new record alone. The one that it has left is the one whose kept record has it still; to find
that one, all kept records are looked through, so it is asked first which details may have moved at all: those that were
edited since they were created, and that the record they are of now did not have when it was read before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from fenxiang_sync.hub import Hub, Seen
from fenxiang_sync.hub.content import loads
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.source.details import Changed
from fenxiang_sync.stage import Folder
from fenxiang_sync.steps.plan import Plan
from fenxiang_sync.steps.run import Run

GAINED = "gained-"
"""How the files of a segment are called that have the ids of details which their records did not have before."""

_SLICE = 10_000
_ID = re.compile(rb'"_id":"([^"\\]+)"')
_decode_id = msgspec.json.Decoder(str).decode


def note_gained(run: Run, folder: Folder, seen: Sequence[Seen], hub: Hub) -> None:
    """Write which details the records of a segment did not have when they were read before; asked before the hub
    learns of them. A try that comes later finds nothing new in those that an earlier one has noted, and adds to it."""
    names = _watched(run.pipeline)
    if not names:
        return
    before = _lines_of(run.pipeline, [each.id for each in seen if each.payload is not None], hub)
    made = ((each.id, loads(each.payload.decode())) for each in seen if each.payload is not None)
    gained = [line for header, record in made for line in _lines(record, names) if line not in before.get(header, ())]
    if gained:
        folder.write_lines(f"{GAINED}{len(folder.names(GAINED)) + 1:05d}", gained)


def left(run: Run, planned: Plan, changed: Iterable[Changed], read: AbstractSet[str], hub: Hub) -> set[str]:
    """The records that changed details were of before. `read` are the records that the run has read; what is kept of
    others is what was read before."""
    moved = {each.id: each.header for each in changed if each.edited}
    if not moved or not run.pipeline.keep_records:
        return set()
    held = _lines_of(run.pipeline, [each for each in set(moved.values()) - read if each is not None], hub)
    gained = {
        line
        for segment in planned.segments
        for line in run.segment(segment.index).lines_as(GAINED, _decode_id)
        if line in moved
    }
    wanted = {
        line: header
        for line, header in moved.items()
        if line in gained or (header not in read and line not in held.get(str(header), ()))
    }
    return set(_former(run.pipeline, wanted, hub)) if wanted else set()


def _former(pipeline: Pipeline, wanted: Mapping[str, str | None], hub: Hub) -> Iterator[str]:
    """The kept records that have one of these details, though it is another one's now."""
    ids, names = frozenset(wanted), _watched(pipeline)
    for after, upto, _ in hub.cut(pipeline.name, _SLICE):
        for page in hub.kept_between(pipeline.name, after, upto):
            for kept in page:
                if kept.payload is None or ids.isdisjoint(map(bytes.decode, _ID.findall(kept.payload))):
                    continue
                lines = _lines(loads(kept.payload.decode()), names)
                if any(wanted[line] != kept.id for line in lines if line in wanted):
                    yield kept.id


def _lines_of(pipeline: Pipeline, ids: Sequence[str], hub: Hub) -> dict[str, set[str]]:
    """The ids of the details that records had when they were read last; none of those that are not kept."""
    names = _watched(pipeline)
    kept = hub.kept(pipeline.name, ids).values() if ids else ()
    return {each.id: set(_lines(loads(each.payload.decode()), names)) for each in kept if each.payload is not None}


def _lines(record: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """The ids of a record's details; an earlier declaration may have had something else under those names."""
    lists = (record.get(name) for name in names)
    lines = (line for each in lists if isinstance(each, list) for line in each if isinstance(line, dict))
    return (line["_id"] for line in lines if isinstance(line.get("_id"), str))


def _watched(pipeline: Pipeline) -> list[str]:
    """The names of the lists of details that bring their records."""
    return [each.name for each in pipeline.source.details if each.watch]
