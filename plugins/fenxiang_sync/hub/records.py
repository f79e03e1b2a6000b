"""Reading the ledger: records with what was delivered of them, and how many stand where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, func, literal, select, text, tuple_

from fenxiang_sync.hub.bulk import LookUp
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import loads
from fenxiang_sync.hub.tables import Status, record
from fenxiang_sync.rows import Outcome
from fenxiang_sync.rows import Row as DeliveredRow
from fenxiang_sync.window import Window

_PAGE = 500

_UNFINISHED = text("status <> 2")  # written as in the partial index, which is used for nothing else


_HELD = LookUp(record, ("source_id", "id"), by="source_id", where="removed_at IS NULL AND modified_ms IS NOT NULL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One id of a pipeline. `modified_ms`, `version`, `hash` and `content` are of what the target holds (None before
    a delivery; content and hash also after a deletion); `claim_*` are of what is being sent, or was sent last."""

    id: str
    source_id: str
    number: str | None
    modified_ms: int | None
    version: int | None
    hash: str | None
    content: dict[str, Any] | None
    status: Status
    outcome: Outcome | None
    reason: str
    code: str | None
    attempts: int
    run: str
    first_seen_at: datetime
    read_at: datetime
    settled_at: datetime | None
    claim_run: str | None
    claim_hash: str | None
    claim_modified_ms: int | None
    claim_version: int | None
    claim_until: datetime | None
    in_flight_at: datetime | None
    removed_at: datetime | None
    claim_content: dict[str, Any] | None


class Records:
    """The records of one hub, to read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(
        self,
        pipeline: str,
        *,
        ids: Sequence[str] | None,
        source_id: str | None,
        number: str | None,
        status: Status | None,
        window: Window | None,
        content: bool,
    ) -> Iterator[Record]:
        """In the order of ids (with `window`: of delivered stamps, then ids), read page by page."""
        wanted = [record.c.pipeline == pipeline]
        wanted += [record.c.id.in_(ids)] if ids is not None else []
        wanted += [record.c.source_id == source_id] if source_id is not None else []
        wanted += [record.c.number == number] if number is not None else []
        wanted += [record.c.status == int(status)] if status is not None else []
        if window is not None:
            wanted += [record.c.modified_ms >= window.since_ms, record.c.modified_ms < window.until_ms]
        key = (record.c.id,) if window is None else (record.c.modified_ms, record.c.id)
        columns = [c for c in record.c if content or c.name not in ("content", "claim_content")]
        page = select(*columns).order_by(*key).limit(_PAGE)
        after: list[ColumnElement[bool]] = []
        while True:
            with self._database.reading() as connection:
                found = connection.execute(page.where(*wanted, *after)).all()
            yield from map(_record, found)
            if len(found) < _PAGE:
                return
            after = [_after(found[-1], window is not None)]

    def count_unfinished(self, pipeline: str, status: Status) -> int:
        """How many records stand in a status other than FINISHED, by the index of those."""
        wanted = (record.c.pipeline == pipeline, _UNFINISHED, record.c.status == int(status))
        with self._database.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(record).where(*wanted)).scalar_one())

    def held(self, pipeline: str, window: Window | None) -> Iterator[DeliveredRow]:
        """The rows that the target holds, as they were delivered, in the order of ids (with `window`: of stamps)."""
        wanted = [*_held(pipeline), record.c.content.is_not(None), record.c.status != int(Status.IN_DOUBT)]
        if window is not None:
            wanted += [record.c.modified_ms >= window.since_ms, record.c.modified_ms < window.until_ms]
        key = (record.c.id,) if window is None else (record.c.modified_ms, record.c.id)
        page = select(*_OF_ROW).where(*wanted).order_by(*key).limit(_PAGE)
        after: list[ColumnElement[bool]] = []
        while True:
            with self._database.reading() as connection:
                found = connection.execute(page.where(*after)).all()
            yield from map(_row, found)
            if len(found) < _PAGE:
                return
            after = [_after(found[-1], window is not None)]

    def count_held(self, pipeline: str) -> int:
        """How many rows were delivered and not removed since."""
        with self._database.reading() as connection:
            return int(connection.execute(select(func.count()).where(*_held(pipeline))).scalar_one())

    def rows_of(self, pipeline: str, source_ids: Sequence[str]) -> dict[str, set[str]]:
        """The ids of the rows that the target holds, by the records of the source that gave them."""
        held: dict[str, set[str]] = {}
        with self._database.reading() as connection:
            for source_id, row_id in _HELD.run(connection, pipeline, source_ids):
                held.setdefault(source_id, set()).add(row_id)
        return held

    def counts(self, pipeline: str) -> dict[Status, int]:
        """How many records stand where. Only the unfinished ones are counted one by one."""
        mine = record.c.pipeline == pipeline
        unfinished = select(record.c.status, func.count()).where(mine, _UNFINISHED).group_by(record.c.status)
        with self._database.reading() as connection:
            total = connection.execute(select(func.count()).select_from(record).where(mine)).scalar_one()
            counts = {Status(status): count for status, count in connection.execute(unfinished)}
        finished = total - sum(counts.values())
        return {Status.FINISHED: finished, **counts} if finished else counts


_OF_ROW = [
    record.c[name] for name in ("id", "source_id", "number", "modified_ms", "version", "content_hash", "content")
]


def _held(pipeline: str) -> list[ColumnElement[bool]]:
    """Without a hash is what was deleted, and what may be: the answer to its removal was lost."""
    there = (record.c.modified_ms.is_not(None), record.c.removed_at.is_(None), record.c.content_hash.is_not(None))
    return [record.c.pipeline == pipeline, *there]


def _row(found: Row[Any]) -> DeliveredRow:
    values = found._asdict()
    values["version"] = values["version"] or 0
    values["content"] = loads(values["content"])
    return DeliveredRow(hash=values.pop("content_hash"), **values)


def _after(last: Row[Any], by_stamp: bool) -> ColumnElement[bool]:
    if not by_stamp:
        return record.c.id > literal(last.id)
    return tuple_(record.c.modified_ms, record.c.id) > tuple_(literal(last.modified_ms), literal(last.id))


def _record(found: Row[Any]) -> Record:
    values = found._asdict()
    values.pop("pipeline")
    values["hash"] = values.pop("content_hash")
    values["run"] = values.pop("run_id")
    values["status"] = Status(values["status"])
    values["outcome"] = None if values["outcome"] is None else Outcome(values["outcome"])
    values["content"] = loads(values.get("content"))
    values["claim_content"] = loads(values.get("claim_content"))
    return Record(**values)
