"""Removals: rows whose record is voided or gone, and that the delete policy has not been done to yet. (`orphans` are
those whose record is there, and gives them no more.)

Like a delivery, a removal is claimed before the target is told and settled after, so that a run that delivers the row
anew and one that removes it do not meet::

    due ──► claim ──► tell the target ──► settle │ release
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, text, update

from fenxiang_sync.hub import events, letters, told
from fenxiang_sync.hub.bulk import LookUp
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import clean, loads
from fenxiang_sync.hub.events import Event, What
from fenxiang_sync.hub.tables import REMOVING, Presence, Status, record, source
from fenxiang_sync.window import to_ms

_ABSENT = text("presence <> 0")  # written as in the partial index
_PAGE = 1_000
REMOVAL = "removal"
"""The claim's hash: no row has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One row to be removed; `content` is what the target was sent, `why` a word of `REASONS`.

    `as_of` is the version of the record that says so: no older one brings the row back.
    """

    id: str
    source_id: str
    number: str | None
    modified_ms: int
    version: int
    why: str
    as_of: tuple[int, int]
    content: dict[str, Any] | None


ORPHANED = "orphaned"
REASONS = {
    **{each.name.lower(): f"its record is {each.name.lower()}" for each in REMOVING},
    ORPHANED: "its record gives it no more",
}


_ROWS = LookUp(
    record,
    (
        "source_id",
        "id",
        "number",
        "modified_ms",
        "version",
        "settled_at",
        "claim_run",
        "claim_hash",
        "claim_until",
        "content",
    ),
    by="source_id",
    where=f"removed_at IS NULL AND modified_ms IS NOT NULL AND status <> {Status.IN_DOUBT:d}",
)
"""Rows that the target holds, of records: not those in doubt."""
_ROWS_BY_ID = replace(_ROWS, by="id")
_DONE = LookUp(record, ("id",), by="id", where="removed_at IS NOT NULL")
_MARKS = LookUp(source, ("source_id", "presence", "modified_ms", "changed_at"), by="source_id")


class Removals:
    """The removals of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, pipeline: str, size: int) -> Iterator[list[Due]]:
        """The rows that are due, in the order of their records' ids, in batches of `size`."""
        rows = self._due(pipeline)
        while batch := list(islice(rows, size)):
            yield batch

    def _due(self, pipeline: str) -> Iterator[Due]:
        """Records first, by the small index of those that are not there, then their rows: without statistics a
        database would join them the other way round, over every row."""
        after = ""
        while marked := self._marked(pipeline, after):
            with self._database.reading() as connection:
                rows = sorted(_ROWS.run(connection, pipeline, list(marked)), key=lambda each: (each.source_id, each.id))
            yield from (_made(each, marked[each.source_id]) for each in rows)
            after = max(marked)

    def _marked(self, pipeline: str, after: str) -> dict[str, Presence]:
        query = select(source.c.source_id, source.c.presence).where(
            source.c.pipeline == pipeline,
            _ABSENT,
            source.c.presence.in_([int(each) for each in REMOVING]),
            source.c.source_id > after,
        )
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(source.c.source_id).limit(_PAGE)).all()
        return {each.source_id: Presence(each.presence) for each in found}

    def done(self, pipeline: str, ids: Sequence[str]) -> set[str]:
        """The ids, of these, whose row the delete policy was done to."""
        with self._database.reading() as connection:
            return {found[0] for found in _DONE.run(connection, pipeline, ids)}

    def claim(self, pipeline: str, due: Sequence[Due], *, run: str, lease_s: float, now: datetime) -> list[Due]:
        """Those of the rows that are still due and that nobody else is sending: they are this run's for `lease_s`."""
        with self._database.writing(f"records of {pipeline}") as connection:
            still = _still_due(connection, pipeline, [each.id for each in due], run, now)
            ours = [each for each in due if each.id in still]
            claimed = {"claim_run": run, "claim_hash": REMOVAL, "claim_until": now + timedelta(seconds=lease_s)}
            write(
                connection,
                OF_ROW,
                [
                    {"row": each.id, "claim_modified_ms": each.modified_ms, "claim_version": each.version}
                    for each in ours
                ],
                pipeline,
                claimed,
            )
        return ours

    def settle(self, pipeline: str, removed: Sequence[Due], *, keeps_content: bool, run: str, now: datetime) -> None:
        """Note that these claimed rows are removed; `keeps_content` where the target only marked them."""
        gone = {} if keeps_content else {"content": None, "content_hash": None}
        done = {
            "status": int(Status.FINISHED),
            "removed_at": now,
            "settled_at": now,
            "run_id": run,
            "code": None,
            "claim_until": None,
            **gone,
        }
        rows = [
            {
                "row": each.id,
                "reason": f"removed: {REASONS[each.why]}",
                "modified_ms": each.as_of[0],
                "version": each.as_of[1],
            }
            for each in removed
        ]
        with self._database.writing(f"records of {pipeline}") as connection:
            write(connection, _claimed_by(run), rows, pipeline, done)
            if not keeps_content:
                told.forget(connection, pipeline, [each.id for each in removed])
            letters.close_rows(connection, pipeline, [(each.source_id, each.id) for each in removed], run, to_ms(now))
            why = ((each, f"removed: {REASONS[each.why]}") for each in removed)
            events.store(connection, pipeline, _events(why, What.REMOVED, run, now))

    def release(
        self, pipeline: str, left: Sequence[tuple[Due, str]], *, run: str, now: datetime, in_doubt: bool = False
    ) -> None:
        """Give claimed rows back that the target did not remove, with its reason; they stay due.

        `in_doubt`: it may have removed them. Then whoever reads such a record again is to send its row, changed or not.
        """
        rows = [{"row": each.id, "reason": clean(reason, 1_000)} for each, reason in left]
        doubt = {"content_hash": None} if in_doubt else {}
        with self._database.writing(f"records of {pipeline}") as connection:
            write(connection, _claimed_by(run), rows, pipeline, {"claim_until": None, **doubt})
            events.store(connection, pipeline, _events(left, What.NOT_REMOVED, run, now))


def _events(removed: Iterable[tuple[Due, str]], what: What, run: str, now: datetime) -> Iterator[Event]:
    """Of the version of the record that says so; no number of it is known where another load has brought it."""
    for due, reason in removed:
        modified_ms, version = due.as_of
        said = clean(reason, events.REASON_CHARACTERS)
        yield Event(
            due.source_id, due.id, to_ms(now), run, what.value, modified_ms=modified_ms,
            version=None if version < 0 else version, reason=said,
        )  # fmt: skip


def _still_due(connection: Connection, pipeline: str, ids: Sequence[str], run: str, now: datetime) -> set[str]:
    rows = [each for each in _ROWS_BY_ID.run(connection, pipeline, ids) if _is_free(each, run, to_ms(now))]
    marks = {each[0]: each for each in _MARKS.run(connection, pipeline, [each.source_id for each in rows])}
    return {each.id for each in rows if each.source_id in marks and _is_meant(each, marks[each.source_id])}


def _is_meant(row: Row[Any], mark: Row[Any]) -> bool:
    """Whether the record is still marked, and no newer version of it was delivered since: a load notes what it read
    when it has delivered it."""
    came_back = row.modified_ms > mark.modified_ms and (row.settled_at or 0) > mark.changed_at
    return mark.presence in REMOVING and not came_back


def _is_free(row: Row[Any], run: str, now_ms: int) -> bool:
    """Whether nobody else has claimed it."""
    ours = row.claim_run == run and row.claim_hash == REMOVAL
    return ours or row.claim_until is None or row.claim_until <= now_ms


OF_ROW = (record.c.id == bindparam("row"),)


def _claimed_by(run: str) -> tuple[Any, ...]:
    """The condition of a row that this run was the last to claim, for removal."""
    return (
        *OF_ROW,
        record.c.claim_run == run,
        record.c.claim_hash == REMOVAL,
    )


def write(
    connection: Connection, which: Sequence[Any], rows: list[dict[str, Any]], pipeline: str, same: dict[str, Any]
) -> None:
    """Set `same`, and what stands in each of `rows`, in those of them that `which` is true of."""
    if rows:
        own: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "row"}
        connection.execute(update(record).where(record.c.pipeline == pipeline, *which).values({**own, **same}), rows)


def _made(found: Row[Any], presence: Presence) -> Due:
    return Due(
        id=found.id,
        source_id=found.source_id,
        number=found.number,
        modified_ms=found.modified_ms,
        version=found.version or 0,
        why=presence.name.lower(),
        as_of=(found.modified_ms, found.version or 0),
        content=loads(found.content),
    )
