"""Replies: what is to be told the source of its records: where each stands, why it was refused, what the target told.

What has changed is found by the events: each settlement, letter and removal leaves one in the transaction of what it
tells. So a bookmark, the number of an event, is all that must be remembered to find it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, exists, func, select

from fenxiang_sync.hub import told
from fenxiang_sync.hub.bulk import LookUp
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.letters import NO_ID
from fenxiang_sync.hub.tables import Status, dead_letter, event, record
from fenxiang_sync.rows import Outcome

AT_ONCE = 1_000
"""Records in one group."""
_EVENTS = 5_000

_ROWS = LookUp(record, ("source_id", "id", "status", "modified_ms", "removed_at"), by="source_id")
_LETTERS = LookUp(dead_letter, ("record_id", "id", "reason"), by="record_id", where="state = 'open'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is to be told of one record of the source.

    `outcome` is DELIVERED, DEAD_LETTER or IN_DOUBT; None where nobody is at work on it and nothing of it is at the
    target. `error` is the reason of its newest open letter. `serial` orders the replies of one record: of two, the one
    with the larger number knows more.
    """

    source_id: str
    serial: int
    outcome: Outcome | None
    error: str | None
    told: Mapping[str, str | int]


class Replies:
    """The replies of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self, pipeline: str) -> int:
        """The number of the newest event; all of this pipeline's rows and letters up to it are committed."""
        # Numbers are given before the commit. Who holds the lock of the records meets no transaction that has one.
        with self._database.writing(f"records of {pipeline}") as connection:
            return int(connection.execute(select(func.coalesce(func.max(event.c.id), 0))).scalar_one())

    def reaches(self, after: int) -> bool:
        """Whether all events behind this one are still there."""
        with self._database.reading() as connection:
            return after >= _swept(connection)

    def changed(self, pipeline: str, after: int, upto: int) -> Iterator[list[str]]:
        """The records of which something happened in the events ``(after, upto]``, in groups."""
        while after < upto:
            wanted = select(event.c.id, event.c.source_id).where(
                event.c.pipeline == pipeline, event.c.id > after, event.c.id <= upto
            )
            with self._database.reading() as connection:
                found = connection.execute(wanted.order_by(event.c.id).limit(_EVENTS)).all()
            ids = list(dict.fromkeys(each.source_id for each in found))
            yield from (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))
            after = found[-1].id if len(found) == _EVENTS else upto

    def all(self, pipeline: str) -> Iterator[list[str]]:
        """All records that have a row, and then those that have nothing but an open letter, in groups."""
        rows, letters = record.c.source_id, dead_letter.c.record_id
        rowless = ~exists().where(record.c.pipeline == pipeline, rows == letters)
        yield from self._pages(select(rows).where(record.c.pipeline == pipeline), rows)
        opened = (dead_letter.c.pipeline == pipeline, dead_letter.c.state == "open")
        yield from self._pages(select(letters).where(*opened, rowless), letters)

    def _pages(self, wanted: Select[Any], key: Any) -> Iterator[list[str]]:
        page, after = wanted.distinct().order_by(key).limit(AT_ONCE), ""
        while True:
            with self._database.reading() as connection:
                found = list(connection.execute(page.where(key > after)).scalars())
            if not found:
                return
            yield found
            after = found[-1]

    def of(self, pipeline: str, source_ids: Sequence[str]) -> list[Reply]:
        """The replies of these records; none of one whose row was removed, which has nothing more to say, nor of one
        without an id, which cannot be told."""
        source_ids = [each for each in source_ids if not each.startswith(NO_ID)]
        with self._database.reading() as connection:
            # First: what is read after it is at least as new.
            serials = _serials(connection, pipeline, source_ids)
            rows = _by_record(_ROWS.run(connection, pipeline, source_ids))
            letters = _by_record(_LETTERS.run(connection, pipeline, source_ids))
            ids = [row.id for found in rows.values() for row in found]
            said = {row_id: each.words for row_id, each in told.read(connection, pipeline, ids)}
        made = (_reply(each, serials[each], rows.get(each, []), letters.get(each, []), said) for each in source_ids)
        return [reply for reply in made if reply is not None]


def _reply(
    source_id: str,
    serial: int,
    rows: Sequence[Row[Any]],
    letters: Sequence[Row[Any]],
    said: Mapping[str, Mapping[str, str | int]],
) -> Reply | None:
    live = [row for row in rows if row.removed_at is None]
    if rows and not live and not letters:
        return None
    row = max(live, key=lambda each: (each.modified_ms or 0, each.id), default=None)
    return Reply(
        source_id=source_id,
        serial=serial,
        outcome=Outcome.DEAD_LETTER if letters else _outcome(row),
        error=max(letters, key=lambda each: each.id).reason if letters else None,
        told={} if row is None else said.get(row.id, {}),
    )


def _outcome(row: Row[Any] | None) -> Outcome | None:
    if row is None:
        return None
    if row.status == Status.IN_DOUBT:
        return Outcome.IN_DOUBT
    return None if row.modified_ms is None else Outcome.DELIVERED


def _by_record(found: Iterator[Row[Any]]) -> dict[str, list[Row[Any]]]:
    made: dict[str, list[Row[Any]]] = defaultdict(list)
    for each in found:
        made[each[0]].append(each)
    return made


def _swept(connection: Connection) -> int:
    """The number of the last event that was swept; the newest one never is."""
    return int(connection.execute(select(func.coalesce(func.min(event.c.id), 1))).scalar_one()) - 1


def _serials(connection: Connection, pipeline: str, source_ids: Sequence[str]) -> dict[str, int]:
    """The number of the newest event of each record. Where all of them were swept, that of the last one swept: it is at
    least as large."""
    newest = "SELECT max(id) FROM fenxiang_event WHERE pipeline = {} AND source_id = given.value"
    if connection.dialect.name == "postgresql":
        statement = f"SELECT value, ({newest.format('%s')}) FROM unnest(%s::text[]) AS given (value)"  # noqa: S608
        found = connection.exec_driver_sql(statement, (pipeline, list(source_ids)))
    else:
        statement = f"SELECT value, ({newest.format('?')}) FROM json_each(?) AS given"  # noqa: S608
        found = connection.exec_driver_sql(statement, (pipeline, msgspec.json.encode(source_ids).decode()))
    swept = _swept(connection)
    return {each[0]: swept if each[1] is None else each[1] for each in found}
