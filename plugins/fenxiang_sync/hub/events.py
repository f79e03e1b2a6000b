"""Events: what happened to each row and record, in the order in which it happened.

Written in the transaction of what they tell, so that one is not there without the other. A row that was read again and
is as the target has it leaves none: what was read is told by `readings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, select, text

from fenxiang_sync.hub.bulk import Append
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import clean
from fenxiang_sync.hub.tables import event as table
from fenxiang_sync.rows import Row
from fenxiang_sync.window import to_ms

REASON_CHARACTERS = 1_000
SWEPT_AT_ONCE = 5_000
SWEEPS = 40
"""Batches that one sweep removes at most; the next run's sweep goes on."""


class What(StrEnum):
    """What can happen. Of a row:"""

    DELIVERED = "delivered"
    UNCHANGED = "unchanged"
    """A newer version makes the row that the target has: nothing was sent."""
    REFUSED = "refused"
    """The target would not take it: it is a dead letter."""
    IN_DOUBT = "in_doubt"
    """It was sent, and the answer was lost."""
    STALE = "stale"
    """It was sent, and the target holds a newer version."""
    AGAIN = "again"
    """It was sent and not taken; the task that sent it is tried again."""
    TAKEN_OVER = "taken_over"
    """The claimant that was sending it died; another sends it."""
    FORGOTTEN = "forgotten"
    """The target was asked for what it took, and had it not."""
    REMOVED = "removed"
    NOT_REMOVED = "not_removed"
    ACCEPTED = "accepted"
    """It was in doubt, and the target has it: a person said so, or it was asked."""
    RESENT = "resent"
    """It was in doubt, and a person said that the target does not have it: it is sent again."""

    # Of a record:
    REJECTED = "rejected"
    """It fits no row: it is a dead letter."""
    PUT_ASIDE = "put_aside"
    """Its letters were closed without a delivery."""
    VOIDED = "voided"
    LEFT = "left"
    HIDDEN = "hidden"
    VANISHED = "vanished"
    RETURNED = "returned"


class Event(NamedTuple):
    """One thing that happened. `run` is the run, or the person; `at_ms` epoch milliseconds by the run's clock.
    `modified_ms` and `version` are of the version that it happened to. `row_id` is "" where it is about the record."""

    source_id: str
    row_id: str
    at_ms: int
    run: str
    what: str
    segment: str = ""
    modified_ms: int | None = None
    version: int | None = None
    hash: str | None = None
    code: str | None = None
    reason: str = ""


_COLUMNS = (
    "source_id", "row_id", "at", "run_id", "what", "segment", "modified_ms", "version", "content_hash", "code",
    "reason",
)  # fmt: skip
_APPEND = Append(table, ("pipeline", *_COLUMNS))


class Events:
    """The events of one hub, to read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, pipeline: str, source_id: str) -> list[Event]:
        """All that happened to one record and its rows, oldest first."""
        columns = [table.c[name] for name in _COLUMNS]
        mine = (table.c.pipeline == pipeline, table.c.source_id == source_id)
        with self._database.reading() as connection:
            found = connection.execute(select(*columns).where(*mine).order_by(table.c.id)).all()
        return [Event._make(each)._replace(at_ms=to_ms(each.at)) for each in found]

    def tell(self, pipeline: str, events: Iterable[Event]) -> None:
        """Note what happened where nothing else is written."""
        with self._database.writing(f"events of {pipeline}") as connection:
            store(connection, pipeline, events)

    def sweep(self, older_than: datetime) -> int:
        """Remove events of all pipelines that are older, in small transactions; how many.

        The newest one stays: SQLite would else begin its numbers anew, and who remembers one would miss what follows.
        """
        oldest = f"SELECT id, at FROM {table.name} ORDER BY id LIMIT {SWEPT_AT_ONCE}"  # noqa: S608
        newest = f"SELECT max(id) FROM {table.name}"  # noqa: S608
        old = f"SELECT id FROM ({oldest}) AS oldest WHERE at < :limit AND id < ({newest})"  # noqa: S608
        statement = text(f"DELETE FROM {table.name} WHERE id IN ({old})")  # noqa: S608
        removed = 0
        for _ in range(SWEEPS):
            with self._database.writing("events to sweep") as connection:
                swept = connection.execute(statement, {"limit": to_ms(older_than)}).rowcount
            removed += swept
            if swept < SWEPT_AT_ONCE:
                break
        return removed


def store(connection: Connection, pipeline: str, events: Iterable[Event]) -> None:
    """Append events in the caller's transaction."""
    _APPEND.run(connection, [(pipeline, *each) for each in events])


def of_rows(
    rows: Iterable[Row], what: What, *, run: str, segment: str, at_ms: int, reason: str = ""
) -> Iterator[Event]:
    """The same thing, happening to many rows."""
    said = clean(reason, REASON_CHARACTERS)
    for row in rows:
        yield Event(
            row.source_id, row.id, at_ms, run, what.value, segment, row.modified_ms, row.version, row.hash, None, said
        )
