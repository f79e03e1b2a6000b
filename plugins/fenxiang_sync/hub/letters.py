"""Dead letters: records that could not be mapped or were refused, parked for people with reason and payload.

One letter is open at a time per pipeline, record (row) and stage. The same failure again updates it, a delivery of
the record closes it, and the next failure after that opens a new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, exists, insert, select, update
from sqlalchemy import Row as Found

from fenxiang_sync.hub import events
from fenxiang_sync.hub.bulk import LookUp
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import clean, dumps, loads
from fenxiang_sync.hub.events import Event, What
from fenxiang_sync.hub.tables import dead_letter
from fenxiang_sync.rows import Row
from fenxiang_sync.window import from_ms, to_ms

VALUE_CHARACTERS = 1_000
REASON_CHARACTERS = 4_000
PAYLOAD_BYTES = 1_000_000
HISTORY = 10
"""Earlier tries that a letter remembers."""

_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One record (or one row of it) that did not get through.

    `record_id` is the Fenxiang ``_id``; `row_id` is the row's key where one record gives several rows. `stage` is
    ``transform`` or ``load``, `error` the name of the error's class, `payload` the record as it was read (transform)
    or the row's content (load). `modified_ms` is the refused version's stamp: only that version or a newer one
    closes the letter. A value is cut, and a payload left out, where it is too large to keep.
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
    code: int | str | None = None
    modified_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLetter(DeadLetter):
    """A letter as the hub holds it. `value` is text; `history` has the earlier tries, newest last."""

    id: int
    open: bool
    attempts: int
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    history: list[dict[str, Any]] = field(default_factory=list)
    payload_bytes: int = 0


class Letters:
    """The dead letters of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def bury(self, letters: Sequence[DeadLetter], now: datetime) -> None:
        """Park `letters`: a new one each, or one more attempt of the one that is open."""
        for pipeline in {letter.pipeline: None for letter in letters}:
            with self._database.writing(f"records of {pipeline}") as connection:
                _bury(connection, pipeline, [letter for letter in letters if letter.pipeline == pipeline], to_ms(now))

    def find(
        self,
        pipeline: str,
        *,
        run: str | None,
        stage: str | None,
        error: str | None,
        record_id: str | None,
        open_only: bool,
    ) -> Iterator[StoredLetter]:
        """Letters by what they have in common, oldest first, read page by page."""
        wanted = [dead_letter.c.pipeline == pipeline]
        wanted += [dead_letter.c.state == "open"] if open_only else []
        for column, value in (("run_id", run), ("stage", stage), ("error", error), ("record_id", record_id)):
            wanted += [dead_letter.c[column] == value] if value is not None else []
        after = 0
        while True:
            page = select(dead_letter).where(*wanted, dead_letter.c.id > after).order_by(dead_letter.c.id).limit(_PAGE)
            with self._database.reading() as connection:
                found = connection.execute(page).all()
            yield from map(_letter, found)
            if not found:
                return
            after = found[-1].id

    def close(self, pipeline: str, record_ids: Sequence[str], by: str, now: datetime) -> int:
        """Close every open letter of these records, whatever its stage; how many there were."""
        with self._database.writing(f"records of {pipeline}") as connection:
            found = list(_OPEN_OF.run(connection, pipeline, list(dict.fromkeys(record_ids))))
            _close(connection, [each.id for each in found], by, to_ms(now))
            told = [
                Event(each.record_id, each.row_id, to_ms(now), clean(by, 1_000), What.PUT_ASIDE.value, reason="")
                for each in found
            ]
            events.store(connection, pipeline, told)
        return len(found)


_OPEN_OF = LookUp(dead_letter, ("id", "record_id", "row_id", "modified_ms"), by="record_id", where="state = 'open'")
_OPEN_WHOLE = LookUp(
    dead_letter,
    ("id", "record_id", "row_id", "stage", "attempts", "run_id", "error", "reason", "updated_at", "history"),
    by="record_id",
    where="state = 'open'",
)


def close_delivered(connection: Connection, pipeline: str, rows: Sequence[Row], run: str, now_ms: int) -> None:
    """Close the letters that these delivered rows answer; the caller holds the pipeline's lock."""
    if not rows or not _any_open(connection, pipeline):
        return
    stamps: dict[tuple[str, str], int] = {}
    for row in rows:
        # A letter names the record, the row, or both; what it names must have been delivered.
        for key in ((row.source_id, ""), (row.source_id, row.id), (row.id, ""), (row.id, row.id)):
            stamps[key] = max(row.modified_ms, stamps.get(key, 0))
    found = _OPEN_OF.run(connection, pipeline, list({record_id: None for record_id, _ in stamps}))
    answered = [
        letter.id
        for letter in found
        if (letter.record_id, letter.row_id) in stamps
        and (letter.modified_ms or 0) <= stamps[letter.record_id, letter.row_id]
    ]
    _close(connection, answered, run, now_ms)


def _any_open(connection: Connection, pipeline: str) -> bool:
    query = select(exists().where(dead_letter.c.pipeline == pipeline, dead_letter.c.state == "open"))
    return bool(connection.execute(query).scalar())


def _close(connection: Connection, ids: Iterable[int], by: str, now_ms: int) -> None:
    statement = (
        update(dead_letter)
        .where(dead_letter.c.id == bindparam("letter"))
        .values(state="closed", closed_at=from_ms(now_ms), closed_by=clean(by, 1_000))
    )
    closing = [{"letter": letter} for letter in ids]
    if closing:
        connection.execute(statement, closing)


def _bury(connection: Connection, pipeline: str, letters: Sequence[DeadLetter], now_ms: int) -> None:
    newest = {(_record_id(letter), letter.row_id, letter.stage): letter for letter in letters}
    found = _OPEN_WHOLE.run(connection, pipeline, list({record_id: None for record_id, _, _ in newest}))
    there = {(letter.record_id, letter.row_id, letter.stage): letter for letter in found}
    new = [_values(letter, now_ms) for key, letter in newest.items() if key not in there]
    again = [_again(letter, there[key], now_ms) for key, letter in newest.items() if key in there]
    if new:
        connection.execute(insert(dead_letter), new)
    if again:
        changes: dict[str, Any] = {name: bindparam(name) for name in again[0] if name != "letter"}
        connection.execute(update(dead_letter).where(dead_letter.c.id == bindparam("letter")).values(changes), again)
    events.store(
        connection, pipeline, [_event(letter, now_ms) for letter in newest.values() if letter.stage == "transform"]
    )


def _event(letter: DeadLetter, now_ms: int) -> Event:
    """Of a record that fits no row; what the target refused is told where it is settled."""
    reason = clean(letter.reason, events.REASON_CHARACTERS)
    return Event(
        _record_id(letter), letter.row_id, now_ms, letter.run, What.REJECTED.value, modified_ms=letter.modified_ms,
        code=None if letter.code is None else str(letter.code), reason=reason,
    )  # fmt: skip


def _values(letter: DeadLetter, now_ms: int) -> dict[str, Any]:
    payload = dumps(letter.payload)
    size = len(payload.encode())
    return {
        "pipeline": letter.pipeline,
        "record_id": _record_id(letter),
        "row_id": letter.row_id,
        "stage": letter.stage,
        "state": "open",
        "attempts": 1,
        "run_id": letter.run,
        "error": letter.error,
        "code": None if letter.code is None else str(letter.code),
        "field": letter.field,
        "value": None if letter.value is None else clean(str(letter.value), VALUE_CHARACTERS),
        "reason": clean(letter.reason, REASON_CHARACTERS),
        "modified_ms": letter.modified_ms,
        "created_at": from_ms(now_ms),
        "updated_at": from_ms(now_ms),
        "history": "[]",
        "payload_bytes": size,
        "payload": payload if size <= PAYLOAD_BYTES else None,
    }


_OF_THE_LAST_TRY = (
    "run_id", "error", "code", "field", "value", "reason", "modified_ms", "updated_at", "payload_bytes", "payload",
)  # fmt: skip


def _again(letter: DeadLetter, was: Found[Any], now_ms: int) -> dict[str, Any]:
    """The letter that is there, after one more try."""
    values = _values(letter, now_ms)
    earlier = {"run": was.run_id, "at": was.updated_at, "error": was.error, "reason": was.reason[:200]}
    history = [*loads(was.history), earlier][-HISTORY:]
    return {
        "letter": was.id,
        **{name: values[name] for name in _OF_THE_LAST_TRY},
        "attempts": was.attempts + 1,
        "history": dumps(history),
    }


def _record_id(letter: DeadLetter) -> str:
    """The record's id; for a record without one a digest of it, so that a retry finds its letter."""
    if letter.record_id is not None:
        return letter.record_id
    return "no-id-" + hashlib.blake2b(dumps(letter.payload).encode(), digest_size=12).hexdigest()


def _letter(found: Found[Any]) -> StoredLetter:
    return StoredLetter(
        id=found.id,
        pipeline=found.pipeline,
        run=found.run_id,
        stage=found.stage,
        error=found.error,
        reason=found.reason,
        record_id=found.record_id,
        row_id=found.row_id,
        field=found.field,
        value=found.value,
        payload=loads(found.payload),
        code=found.code,
        modified_ms=found.modified_ms,
        open=found.state == "open",
        attempts=found.attempts,
        created_at=found.created_at,
        updated_at=found.updated_at,
        closed_at=found.closed_at,
        closed_by=found.closed_by,
        history=loads(found.history),
        payload_bytes=found.payload_bytes,
    )
