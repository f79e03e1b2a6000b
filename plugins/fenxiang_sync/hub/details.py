"""Details: which detail records (从对象) each record had when it was read last.

A detail that moves to another record tells of the new one alone; here stands which one it has left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from fenxiang_sync.hub.bulk import Delete, LookUp, Upsert, batches
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.tables import detail as table

_COLUMNS = ("pipeline", "source_id", "detail_id")
_NOTE = Upsert(table, key=_COLUMNS, columns=_COLUMNS, update=("detail_id",))
_FORGET = Delete(table, _COLUMNS)
_OF = LookUp(table, ("source_id", "detail_id"), by="source_id")
_HOLDERS = LookUp(table, ("source_id", "detail_id"), by="detail_id")


class Details:
    """The details of the records of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, pipeline: str, lists: Mapping[str, Collection[str]]) -> None:
        """Note of each record which details it has now, by its id; what is known takes no lock."""
        for few in batches(list(lists)):
            wanted = {(record_id, detail_id) for record_id in few for detail_id in lists[record_id]}
            with self._database.reading() as connection:
                known = {(each.source_id, each.detail_id) for each in _OF.run(connection, pipeline, few)}
            if wanted == known:
                continue
            with self._database.writing(f"details of {pipeline}") as connection:
                _NOTE.run(connection, [(pipeline, *pair) for pair in sorted(wanted - known)])
                _FORGET.run(connection, [(pipeline, *pair) for pair in sorted(known - wanted)])

    def holders(self, pipeline: str, details: Sequence[str]) -> dict[str, set[str]]:
        """The records that had each of these details when they were read last."""
        found: dict[str, set[str]] = defaultdict(set)
        with self._database.reading() as connection:
            for each in _HOLDERS.run(connection, pipeline, details):
                found[each.detail_id].add(each.source_id)
        return found
