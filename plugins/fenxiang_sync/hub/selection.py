"""Selection: which dead letters of a pipeline are meant, and reading them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, false, func, or_, select

from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import loads
from fenxiang_sync.hub.tables import dead_letter as table

PAYLOAD_BYTES = 1_000_000
"""A record, or a row, that is larger is not kept."""
PARENT_MISSING = "ParentMissing"
"""The `error` of a letter whose record waits for a row of another pipeline: worth a try with nothing changed here."""
NOT_GOT = "NotGot"
"""The `error` of a letter whose record `get` refuses, although queries list it: worth reading again, likewise."""
_HEADS = 500
_READ_BYTES = 16_000_000
"""So much of records is read at once."""
_LARGE = ("payload", "content")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One record (or one row of it) that did not get through.

    `record_id` is the Fenxiang ``_id``; `row_id` is the row's key where one record gives several rows. `stage` is
    ``transform`` or ``load``, `error` the name of the error's class, `payload` the record as it was read, `fields` what
    was asked for of it, `content` the row that was refused (load). `modified_ms` is the refused version's stamp: only
    that version or a newer one closes the letter. `config_hash` is of the declaration that it was tried under. A value
    is cut, and a payload left out, where it is too large to keep.
    """

    pipeline: str
    run: str
    stage: str
    error: str
    reason: str
    record_id: str | None = None
    row_id: str = ""
    field: str | None = None
    value: Any = None
    payload: Any = None
    content: Any = None
    fields: Sequence[str] = ()
    code: int | str | None = None
    modified_ms: int | None = None
    config_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLetter(DeadLetter):
    """A letter as the hub holds it. `value` is text; `history` has the earlier tries, newest last; `run` is the one
    that met it last. `closed_as`: delivered, unchanged, superseded, filtered, in_doubt, dismissed, expired."""

    id: int
    open: bool
    attempts: int
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    closed_as: str | None = None
    note: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    payload_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Letters that are worth another try at `now`: a refused row, or a record that waits for another one, after each
    of `steps` since its last try, and whatever failed under another declaration than today's, `config_hash`. Not those
    whose record was not kept."""

    steps: Sequence[timedelta]
    config_hash: str
    now: datetime

    def condition(self) -> ColumnElement[bool]:
        tried = [
            and_(table.c.attempts == attempts, table.c.updated_at <= self.now - step)
            for attempts, step in enumerate(self.steps, start=1)
        ]
        again = and_(or_(table.c.stage == "load", table.c.error == PARENT_MISSING), or_(false(), *tried))
        return and_(table.c.payload.is_not(None), or_(table.c.config_hash != self.config_hash, again))


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What letters have in common; what is None does not narrow them down.

    `records` are ids of records or of rows; `besides` leaves out what that run has met already; `again` is for
    those that were tried more than once; `closed` asks for the closed ones as well.
    """

    ids: Sequence[int] | None = None
    run: str | None = None
    stage: str | None = None
    error: str | None = None
    records: Sequence[str] | None = None
    besides: str | None = None
    due: Ladder | None = None
    again: bool = False
    closed: bool = False

    def conditions(self, pipeline: str) -> list[ColumnElement[bool]]:
        wanted = [table.c.pipeline == pipeline]
        wanted += [] if self.closed else [table.c.state == "open"]
        wanted += [table.c.id.in_(self.ids)] if self.ids is not None else []
        for column, value in (("run_id", self.run), ("stage", self.stage), ("error", self.error)):
            wanted += [table.c[column] == value] if value is not None else []
        if self.records is not None:
            wanted += [or_(table.c.record_id.in_(self.records), table.c.row_id.in_(self.records))]
        wanted += [table.c.run_id != self.besides] if self.besides is not None else []
        wanted += [table.c.attempts > 1] if self.again else []
        wanted += [self.due.condition()] if self.due is not None else []
        return wanted


def groups(database: Database, pipeline: str, selection: Selection, *, whole: bool) -> Iterator[list[StoredLetter]]:
    """The letters in groups, oldest first, each looked at again right before it is handed out.

    `whole` is with records and rows, of which no more than `_READ_BYTES` are in memory; a letter that is no longer
    meant when its group's turn comes is left out.
    """
    wanted = selection.conditions(pipeline)
    after = 0
    while True:
        heads = select(table.c.id, table.c.payload_bytes).where(*wanted, table.c.id > after)
        with database.reading() as connection:
            found = connection.execute(heads.order_by(table.c.id).limit(_HEADS)).all()
        for ids in _portions(found) if whole else [[each.id for each in found]]:
            with database.reading() as connection:
                letters = _read(connection, wanted, ids, whole=whole)
            if letters:
                yield letters
        if not found:
            return
        after = found[-1].id


def one(database: Database, letter_id: int) -> StoredLetter | None:
    """The letter of that number, whole."""
    with database.reading() as connection:
        found = connection.execute(select(table).where(table.c.id == letter_id)).one_or_none()
    return None if found is None else _letter(found)


def count(database: Database, pipeline: str, selection: Selection) -> int:
    query = select(func.count()).select_from(table).where(*selection.conditions(pipeline))
    with database.reading() as connection:
        return int(connection.execute(query).scalar_one())


def closed_by(database: Database, pipeline: str, run: str) -> dict[str, int]:
    """How many letters a run closed, by what they were closed as."""
    mine = (table.c.pipeline == pipeline, table.c.state == "closed", table.c.closed_by == run)
    query = select(table.c.closed_as, func.count()).where(*mine).group_by(table.c.closed_as)
    with database.reading() as connection:
        return {str(each[0]): int(each[1]) for each in connection.execute(query)}


def _portions(heads: Sequence[Row[Any]]) -> Iterator[list[int]]:
    """The ids, in portions whose records and rows fit into memory."""
    portion: list[int] = []
    size = 0
    for head in heads:
        weight = 2 * min(head.payload_bytes, PAYLOAD_BYTES)
        if portion and size + weight > _READ_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(head.id)
        size += weight
    if portion:
        yield portion


def _read(
    connection: Connection, wanted: Sequence[ColumnElement[bool]], ids: Sequence[int], *, whole: bool
) -> list[StoredLetter]:
    columns = [column for column in table.c if whole or column.name not in _LARGE]
    query = select(*columns).where(*wanted, table.c.id.in_(ids)).order_by(table.c.id)
    return [_letter(found) for found in connection.execute(query)]


def _letter(found: Row[Any]) -> StoredLetter:
    values = found._asdict()
    values["run"] = values.pop("run_id")
    values["open"] = values.pop("state") == "open"
    for name in (*_LARGE, "history", "fields"):
        values[name] = loads(values.get(name))
    return StoredLetter(**values)
