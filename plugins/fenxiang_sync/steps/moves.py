"""moves: detail records that have moved from one record to another, which gives neither of the two a new stamp.

The detail tells of its new record alone. The one that it has left is the one that had it when it was read last.
"""

from __future__ import annotations

from collections.abc import Iterable

from fenxiang_sync.hub import Hub
from fenxiang_sync.source.details import Changed
from fenxiang_sync.source.reader import ID
from fenxiang_sync.stage import Folder
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.turns import groups

_RECORDS = 1_000


def note(run: Run, folder: Folder, hub: Hub) -> None:
    """Note which details the records of a segment have, where a detail that changes brings its record."""
    names = [each.name for each in run.pipeline.source.details if each.watch]
    if not names:
        return
    for records in groups(folder.lines("records-"), _RECORDS):
        lists = {each[ID]: {line[ID] for name in names for line in each.get(name) or ()} for each in records}
        hub.details.note(run.pipeline.name, lists)


def left(run: Run, changed: Iterable[Changed], hub: Hub) -> set[str]:
    """The records that changed details were of, and are no more."""
    now = {each.id: each.header for each in changed}
    holders = hub.details.holders(run.pipeline.name, list(now))
    return {record_id for detail, had in holders.items() for record_id in had if record_id != now[detail]}
