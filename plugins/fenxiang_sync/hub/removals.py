"""Removals: rows whose record is voided or gone, and that the delete policy has not been done to yet.

Like a delivery, a removal is claimed before the target is told and settled after, so that a run that delivers the row
anew and one that removes it do not meet::

    due ──► claim ──► tell the target ──► settle │ release
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, func, or_, select, text, tuple_, update

from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import clean, loads
from fenxiang_sync.hub.tables import REMOVING, Presence, Status, record, source

_ABSENT = text("fenxiang_source.presence <> 0")  # written as in the partial index
_REMOVAL = "removal"
"""The claim's hash: no row has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One row to be removed; `content` is what the target was sent, `presence` why."""

    id: str
    source_id: str
    number: str | None
    modified_ms: int
    version: int
    presence: Presence
    content: dict[str, Any] | None


class Removals:
    """The removals of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, pipeline: str) -> int:
        """How many rows are due."""
        query = select(func.count()).select_from(_joined()).where(*_due(pipeline))
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def due(self, pipeline: str, size: int) -> Iterator[list[Due]]:
        """The rows that are due, in the order of ids, in batches of `size`."""
        key = tuple_(source.c.source_id, record.c.id)
        page = select(*_COLUMNS).select_from(_joined()).where(*_due(pipeline)).order_by(*key.clauses).limit(size)
        after: list[Any] = []
        while True:
            with self._database.reading() as connection:
                found = [_made(each) for each in connection.execute(page.where(*after))]
            if not found:
                return
            yield found
            after = [key > (found[-1].source_id, found[-1].id)]

    def claim(self, pipeline: str, due: Sequence[Due], *, run: str, lease_s: float, now: datetime) -> list[Due]:
        """Those of the rows that are still due and that nobody else is sending: they are this run's for `lease_s`."""
        with self._database.writing(f"records of {pipeline}") as connection:
            still = _still_due(connection, pipeline, [each.id for each in due], run, now)
            ours = [each for each in due if each.id in still]
            claimed = {"claim_run": run, "claim_hash": _REMOVAL, "claim_until": now + timedelta(seconds=lease_s)}
            _write(
                connection,
                _OF_ROW,
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
        done = {"removed_at": now, "settled_at": now, "run_id": run, "code": None, "claim_until": None, **gone}
        rows = [{"row": each.id, "reason": f"removed: its record is {each.presence.name.lower()}"} for each in removed]
        with self._database.writing(f"records of {pipeline}") as connection:
            _write(connection, _claimed_by(run), rows, pipeline, done)

    def release(self, pipeline: str, left: Sequence[tuple[Due, str]], *, run: str) -> None:
        """Give claimed rows back that the target did not remove, with its reason; they stay due."""
        rows = [{"row": each.id, "reason": clean(reason, 1_000)} for each, reason in left]
        with self._database.writing(f"records of {pipeline}") as connection:
            _write(connection, _claimed_by(run), rows, pipeline, {"claim_until": None})


_COLUMNS = (
    record.c.id, record.c.source_id, record.c.number, record.c.modified_ms, record.c.version, source.c.presence,
    record.c.content,
)  # fmt: skip


def _joined() -> Any:
    same = and_(record.c.pipeline == source.c.pipeline, record.c.source_id == source.c.source_id)
    return source.join(record, same)


def _due(pipeline: str) -> list[Any]:
    """Delivered, not removed, not in doubt, and its record is one that the policy is for."""
    return [
        source.c.pipeline == pipeline,
        _ABSENT,
        source.c.presence.in_([int(each) for each in REMOVING]),
        record.c.removed_at.is_(None),
        record.c.modified_ms.is_not(None),
        record.c.status != int(Status.IN_DOUBT),
    ]


def _still_due(connection: Connection, pipeline: str, ids: Sequence[str], run: str, now: datetime) -> set[str]:
    ours = and_(record.c.claim_run == run, record.c.claim_hash == _REMOVAL)
    free = or_(record.c.claim_until.is_(None), record.c.claim_until <= now, ours)
    query = select(record.c.id).select_from(_joined()).where(*_due(pipeline), free, record.c.id.in_(ids))
    return set(connection.execute(query).scalars())


_OF_ROW = (record.c.id == bindparam("row"),)


def _claimed_by(run: str) -> tuple[Any, ...]:
    """The condition of a row that this run was the last to claim, for removal."""
    return (
        *_OF_ROW,
        record.c.claim_run == run,
        record.c.claim_hash == _REMOVAL,
    )


def _write(
    connection: Connection, which: Sequence[Any], rows: list[dict[str, Any]], pipeline: str, same: dict[str, Any]
) -> None:
    """Set `same`, and what stands in each of `rows`, in those of them that `which` is true of."""
    if rows:
        own: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "row"}
        connection.execute(update(record).where(record.c.pipeline == pipeline, *which).values({**own, **same}), rows)


def _made(found: Row[Any]) -> Due:
    return Due(
        id=found.id,
        source_id=found.source_id,
        number=found.number,
        modified_ms=found.modified_ms,
        version=found.version or 0,
        presence=Presence(found.presence),
        content=loads(found.content),
    )
