"""Orphans: rows that the target holds and that the newest version of their record gives no more, because it is filtered
now, is rejected, has fewer lines, or has another key.

A load first notes which version of a record it has brought (`sources`), then looks for orphans. So of two loads that
bring two versions at once at least one sees what the other did: whichever ends last finds the rows that only the older
version gives. They are claimed and settled as removals are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row

from fenxiang_sync.hub import rivals
from fenxiang_sync.hub.bulk import LookUp, batches
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import loads
from fenxiang_sync.hub.removals import OF_ROW, ORPHANED, REMOVAL, Due, write
from fenxiang_sync.hub.tables import Status, record
from fenxiang_sync.window import to_ms


class Given(NamedTuple):
    """What one version of a record gives: the ids of its rows."""

    modified_ms: int
    version: int
    ids: Sequence[str] = ()


_ROWS = LookUp(
    record,
    (
        "source_id",
        "id",
        "number",
        "modified_ms",
        "version",
        "claim_run",
        "claim_hash",
        "claim_modified_ms",
        "claim_version",
        "claim_until",
        "content",
    ),
    by="id",
    where=(
        f"removed_at IS NULL AND status <> {Status.IN_DOUBT:d} AND in_flight_at IS NULL "
        "AND (modified_ms IS NOT NULL OR claim_until IS NOT NULL)"
    ),
)
"""Rows that the target holds, or may hold since whoever sent them died; not those in doubt, which are a person's."""


_HELD = LookUp(
    record, ("source_id", "id", "content"), by="source_id", where="removed_at IS NULL AND modified_ms IS NOT NULL"
)


class Orphans:
    """The orphans of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, pipeline: str, given: Mapping[str, Given]) -> list[Due]:
        """The rows of these records that this version of them does not give, and no newer one has. Takes no lock."""
        with self._database.reading() as connection:
            candidates = [*_others(connection, pipeline, given), *_contested(connection, pipeline, given)]
            rows = list(_ROWS.run(connection, pipeline, candidates)) if candidates else []
        due = {
            row.id: _made(row, given[row.source_id])
            for row in rows
            if row.source_id in given and row.id not in given[row.source_id].ids
        }
        return [due[row.id] for row in rows if row.id in due and _met(row) <= due[row.id].as_of]

    def claim(
        self, pipeline: str, due: Sequence[Due], *, run: str, lease_s: float, now: datetime
    ) -> tuple[list[Due], list[Due]]:
        """Of these rows those that are this run's now for `lease_s`, and those that another run is sending; the others
        are orphans no more."""
        with self._database.writing(f"records of {pipeline}") as connection:
            still = _still(connection, pipeline, due)
            free = {each.id for each in still.values() if _is_free(each, run, to_ms(now))}
            ours = [each for each in due if each.id in free]
            write(
                connection,
                OF_ROW,
                [{"row": each.id, "claim_modified_ms": each.as_of[0], "claim_version": each.as_of[1]} for each in ours],
                pipeline,
                {"claim_run": run, "claim_hash": REMOVAL, "claim_until": now + timedelta(seconds=lease_s)},
            )
        return ours, [each for each in due if each.id in still.keys() - free]

    def stay(self, pipeline: str, due: Sequence[Due]) -> dict[str, list[dict[str, Any]]]:
        """The contents of the other rows that the target holds of the records of orphans, by record."""
        orphans = {each.id: each.source_id for each in due if each.why == ORPHANED}
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        if orphans:
            with self._database.reading() as connection:
                for source_id, row_id, content in _HELD.run(connection, pipeline, list(set(orphans.values()))):
                    if row_id not in orphans and content is not None:
                        found[source_id].append(loads(content))
        return found


def _others(connection: Connection, pipeline: str, given: Mapping[str, Given]) -> Iterator[str]:
    """The ids of the rows that once were of these records, but for those that one of them gives.

    An index alone answers, and as a rule there are none: it is asked for every record that is read.
    """
    for batch in batches(list(given)):
        ids = [each for record_id in batch for each in given[record_id].ids]
        if connection.dialect.name == "postgresql":
            found = connection.exec_driver_sql(
                "SELECT found.id FROM unnest(%s::text[]) AS given (id) CROSS JOIN LATERAL (SELECT id FROM "
                "fenxiang_record WHERE pipeline = %s AND source_id = given.id OFFSET 0) AS found "
                "WHERE found.id NOT IN (SELECT unnest(%s::text[]))",
                (list(batch), pipeline, ids),
            )
        else:
            found = connection.exec_driver_sql(
                "SELECT held.id FROM json_each(?) AS given CROSS JOIN fenxiang_record AS held ON held.pipeline = ? "
                "AND held.source_id = given.value WHERE held.id NOT IN (SELECT value FROM json_each(?))",
                (msgspec.json.encode(batch).decode(), pipeline, msgspec.json.encode(ids).decode()),
            )
        yield from (each[0] for each in found)


def _contested(connection: Connection, pipeline: str, given: Mapping[str, Given]) -> list[str]:
    """The ids of rows that these records give and that several records gave: the ledger may hold it of one of them that
    gives it no more."""
    if not rivals.are_there(connection, pipeline):
        return []
    ids = list(dict.fromkeys(row for each in given.values() for row in each.ids))
    return list(dict.fromkeys(row for row, _ in rivals.among(connection, pipeline, ids)))


def _still(connection: Connection, pipeline: str, due: Iterable[Due]) -> dict[str, Row[Any]]:
    wanted = {each.id: each for each in due}
    rows = _ROWS.run(connection, pipeline, list(wanted))
    return {
        each.id: each
        for each in rows
        if each.source_id == wanted[each.id].source_id and _met(each) <= wanted[each.id].as_of
    }


def _met(row: Row[Any]) -> tuple[int, int]:
    """The newest version that the ledger has met of a row: delivered, refused or under way."""
    delivered = (-1, 0) if row.modified_ms is None else (row.modified_ms, row.version or 0)
    claimed = (-1, 0) if row.claim_modified_ms is None else (row.claim_modified_ms, row.claim_version or 0)
    return max(delivered, claimed)


def _is_free(row: Row[Any], run: str, now_ms: int) -> bool:
    ours = row.claim_run == run and row.claim_hash == REMOVAL
    return ours or row.claim_until is None or row.claim_until <= now_ms


def _made(row: Row[Any], given: Given) -> Due:
    sent = (row.claim_modified_ms, row.claim_version) if row.modified_ms is None else (row.modified_ms, row.version)
    return Due(
        id=row.id,
        source_id=row.source_id,
        number=row.number,
        modified_ms=sent[0],
        version=sent[1] or 0,
        why=ORPHANED,
        as_of=(given.modified_ms, given.version),
        content=loads(row.content),
    )
