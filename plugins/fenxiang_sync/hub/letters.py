"""Dead letters: records that could not be mapped or were refused, parked for people with reason and payload.

One letter is open at a time per pipeline, record (row) and stage. The same failure again updates it, a delivery of
the record closes it, and the next failure after that opens a new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    bindparam,
    delete,
    exists,
    insert,
    literal,
    select,
    type_coerce,
    update,
)
from sqlalchemy import Row as Found

from fenxiang_sync.hub import events, selection
from fenxiang_sync.hub.bulk import LookUp
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import clean, dumps, loads
from fenxiang_sync.hub.events import Event, What
from fenxiang_sync.hub.selection import PAYLOAD_BYTES, DeadLetter, Selection, StoredLetter
from fenxiang_sync.hub.tables import dead_letter, event
from fenxiang_sync.rows import Row
from fenxiang_sync.window import from_ms, to_ms

VALUE_CHARACTERS = 1_000
REASON_CHARACTERS = 4_000
NO_ID = "no-id-"
"""How the record of a letter is called that has no id of its own."""
HISTORY = 10
"""Earlier tries that a letter remembers."""

DELIVERED, UNCHANGED, SUPERSEDED, FILTERED, IN_DOUBT, DISMISSED, EXPIRED = (
    "delivered", "unchanged", "superseded", "filtered", "in_doubt", "dismissed", "expired",
)  # fmt: skip
"""What a letter is closed as."""


class Letters:
    """The dead letters of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def bury(self, letters: Sequence[DeadLetter], now: datetime) -> None:
        """Park `letters`: a new one each, or one more attempt of the one that is open."""
        for pipeline in {letter.pipeline: None for letter in letters}:
            with self._database.writing(f"records of {pipeline}") as connection:
                _bury(connection, pipeline, [letter for letter in letters if letter.pipeline == pipeline], to_ms(now))

    def retry(self, pipeline: str, tried: Mapping[int, DeadLetter], now: datetime) -> None:
        """One more try of these very letters, by their numbers, in whatever stage they failed now.

        Where another letter of that record, row and stage is open, it gets the try, and this one is superseded.
        """
        with self._database.writing(f"records of {pipeline}") as connection:
            _retry(connection, pipeline, tried, to_ms(now))

    def find(self, pipeline: str, wanted: Selection, *, whole: bool = False) -> Iterator[StoredLetter]:
        """Letters, oldest first, read page by page; `whole` with their records and rows."""
        return chain.from_iterable(self.groups(pipeline, wanted, whole=whole))

    def groups(self, pipeline: str, wanted: Selection, *, whole: bool = True) -> Iterator[list[StoredLetter]]:
        """The same in groups that fit in memory, each read when it is asked for."""
        return selection.groups(self._database, pipeline, wanted, whole=whole)

    def one(self, letter_id: int) -> StoredLetter | None:
        """The letter of that number, whole; None where there is none."""
        return selection.one(self._database, letter_id)

    def count(self, pipeline: str, wanted: Selection) -> int:
        """How many there are."""
        return selection.count(self._database, pipeline, wanted)

    def closed_by(self, pipeline: str, run: str) -> dict[str, int]:
        """How many letters a run closed, by what they were closed as."""
        return selection.closed_by(self._database, pipeline, run)

    def close(
        self, pipeline: str, wanted: Selection, *, by: str, closed_as: str, now: datetime, note: str | None = None
    ) -> int:
        """Close the letters that are meant and open; how many there were."""
        closing = _closing(by, closed_as, to_ms(now), note)
        mine = (*wanted.conditions(pipeline), dead_letter.c.state == "open")
        with self._database.writing(f"records of {pipeline}") as connection:
            return _put_aside(connection, mine, closing)

    def close_seen(
        self, pipeline: str, seen: Sequence[StoredLetter], *, by: str, closed_as: str, now: datetime
    ) -> None:
        """Close letters that were read, but for those that another run has written to since."""
        read = {each.id: each.updated_at for each in seen}
        closing = _closing(by, closed_as, to_ms(now))
        there = select(dead_letter.c.id, dead_letter.c.updated_at).where(dead_letter.c.state == "open")
        with self._database.writing(f"records of {pipeline}") as connection:
            found = connection.execute(there.where(dead_letter.c.id.in_(list(read)))).all() if read else []
            ids = [each.id for each in found if each.updated_at == read[each.id]]
            if closed_as in (FILTERED, SUPERSEDED):
                _put_aside(connection, (dead_letter.c.id.in_(ids),), closing)
            else:  # what the ledger says of it is told there
                _close(connection, ids, closing)

    def expire(self, pipeline: str, *, before: datetime, by: str, now: datetime) -> int:
        """Close the letters that nobody has tried since `before`; how many there were."""
        old = (dead_letter.c.pipeline == pipeline, dead_letter.c.state == "open", dead_letter.c.updated_at < before)
        with self._database.writing(f"records of {pipeline}") as connection:
            return _put_aside(connection, old, _closing(by, EXPIRED, to_ms(now)))

    def forget(self, pipeline: str, *, before: datetime) -> int:
        """Delete the letters that were closed before that; how many there were."""
        old = (dead_letter.c.pipeline == pipeline, dead_letter.c.state == "closed", dead_letter.c.closed_at < before)
        with self._database.writing(f"records of {pipeline}") as connection:
            return connection.execute(delete(dead_letter).where(*old)).rowcount


_OPEN_OF = LookUp(dead_letter, ("id", "record_id", "row_id", "modified_ms"), by="record_id", where="state = 'open'")
_LAST_TRY = (
    "id", "record_id", "row_id", "stage", "attempts", "run_id", "error", "reason", "updated_at", "history",
    "modified_ms", "payload_bytes",
)  # fmt: skip
_OPEN_WHOLE = LookUp(dead_letter, _LAST_TRY, by="record_id", where="state = 'open'")


def close_delivered(
    connection: Connection, pipeline: str, rows: Sequence[Row], run: str, now_ms: int, closed_as: str = DELIVERED
) -> None:
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
    _close(connection, answered, _closing(run, closed_as, now_ms))


def close_rows(connection: Connection, pipeline: str, rows: Sequence[tuple[str, str]], run: str, now_ms: int) -> None:
    """Close the letters of these rows (record id, row id), which are removed; a record's own letters stay open."""
    if not rows or not _any_open(connection, pipeline):
        return
    found = _OPEN_OF.run(connection, pipeline, list({record_id: None for record_id, _ in rows}))
    removed = set(rows)
    answered = [each.id for each in found if (each.record_id, each.row_id) in removed]
    _close(connection, answered, _closing(run, FILTERED, now_ms))


def _any_open(connection: Connection, pipeline: str) -> bool:
    query = select(exists().where(dead_letter.c.pipeline == pipeline, dead_letter.c.state == "open"))
    return bool(connection.execute(query).scalar())


def _closing(by: str, closed_as: str, now_ms: int, note: str | None = None) -> dict[str, Any]:
    """What a closed letter says of its end."""
    return {
        "state": "closed",
        "closed_at": from_ms(now_ms),
        "closed_by": clean(by, 1_000),
        "closed_as": closed_as,
        "note": None if note is None else clean(note, REASON_CHARACTERS),
    }


def _close(connection: Connection, ids: Iterable[int], closing: dict[str, Any]) -> None:
    statement = update(dead_letter).where(dead_letter.c.id == bindparam("letter")).values(**closing)
    meant = [{"letter": letter} for letter in ids]
    if meant:
        connection.execute(statement, meant)


def _put_aside(connection: Connection, which: Sequence[ColumnElement[bool]], closing: dict[str, Any]) -> int:
    """Close letters without a delivery, and tell so; how many there were."""
    said = closing["closed_as"] if closing["note"] is None else f"{closing['closed_as']}: {closing['note']}"
    told = {
        "pipeline": dead_letter.c.pipeline,
        "source_id": dead_letter.c.record_id,
        "row_id": dead_letter.c.row_id,
        "at": literal(closing["closed_at"], event.c.at.type),
        "run_id": literal(closing["closed_by"]),
        "segment": literal(""),
        "what": literal(What.PUT_ASIDE.value),
        "modified_ms": dead_letter.c.modified_ms,
        "reason": literal(clean(said, events.REASON_CHARACTERS)),
    }
    letters = select(*told.values()).where(*which).order_by(dead_letter.c.id)
    connection.execute(insert(event).from_select(list(told), letters))
    return connection.execute(update(dead_letter).where(*which).values(**closing)).rowcount


def _bury(connection: Connection, pipeline: str, letters: Sequence[DeadLetter], now_ms: int) -> None:
    newest = {_key(letter): letter for letter in letters}
    found = _OPEN_WHOLE.run(connection, pipeline, list({record_id: None for record_id, _, _ in newest}))
    there = {(letter.record_id, letter.row_id, letter.stage): letter for letter in found}
    new = [_values(letter, now_ms) for key, letter in newest.items() if key not in there]
    _tried_again(connection, [(there[key], letter) for key, letter in newest.items() if key in there], now_ms)
    if new:
        connection.execute(insert(dead_letter), new)
    _tell_rejected(connection, pipeline, newest.values(), now_ms)


def _retry(connection: Connection, pipeline: str, tried: Mapping[int, DeadLetter], now_ms: int) -> None:
    columns = (dead_letter.c[name] for name in _LAST_TRY if name != "updated_at")
    at = type_coerce(dead_letter.c.updated_at, BigInteger).label("updated_at")  # a number, as a LookUp has it
    asked = select(*columns, at).where(dead_letter.c.id.in_(list(tried)), dead_letter.c.state == "open")
    mine = {found.id: found for found in connection.execute(asked)}
    others = {
        (found.record_id, found.row_id, found.stage): found
        for found in _OPEN_WHOLE.run(connection, pipeline, [_record_id(letter) for letter in tried.values()])
        if found.id not in mine
    }
    moved = {id_: letter for id_, letter in tried.items() if id_ in mine and _key(letter) not in others}
    # What is not open any more, or has a place taken already, is an ordinary try of what is there.
    rest = {id_: letter for id_, letter in tried.items() if id_ not in moved}
    _tried_again(connection, [(mine[id_], letter) for id_, letter in moved.items()], now_ms)
    _tell_rejected(connection, pipeline, moved.values(), now_ms)
    _bury(connection, pipeline, list(rest.values()), now_ms)
    for id_ in rest.keys() & mine.keys():
        _close(connection, [id_], _closing(rest[id_].run, SUPERSEDED, now_ms))


def _tried_again(connection: Connection, tried: Sequence[tuple[Any, DeadLetter]], now_ms: int) -> None:
    """Write the last try of each letter over the one before, which becomes history. A newer version's stays."""
    tried = [
        (was, letter) for was, letter in tried if (letter.modified_ms or was.modified_ms or 0) >= (was.modified_ms or 0)
    ]
    for keeps in (False, True):  # a try that does not know the record keeps that of the same version
        again = [_again(letter, was, now_ms, keeps=keeps) for was, letter in tried if _keeps(letter, was) is keeps]
        if again:
            changes: dict[str, Any] = {name: bindparam(name) for name in again[0] if name != "letter"}
            statement = update(dead_letter).where(dead_letter.c.id == bindparam("letter")).values(changes)
            connection.execute(statement, again)


def _keeps(letter: DeadLetter, was: Any) -> bool:
    return letter.payload is None and letter.modified_ms == was.modified_ms


def _key(letter: DeadLetter) -> tuple[str, str, str]:
    return (_record_id(letter), letter.row_id, letter.stage)


def _tell_rejected(connection: Connection, pipeline: str, letters: Iterable[DeadLetter], now_ms: int) -> None:
    """Of records that fit no row; what the target refused is told where it is settled."""
    events.store(connection, pipeline, [_rejected(each, now_ms) for each in letters if each.stage == "transform"])


def _rejected(letter: DeadLetter, now_ms: int) -> Event:
    reason = clean(letter.reason, events.REASON_CHARACTERS)
    return Event(
        _record_id(letter), letter.row_id, now_ms, letter.run, What.REJECTED.value, modified_ms=letter.modified_ms,
        code=None if letter.code is None else str(letter.code), reason=reason,
    )  # fmt: skip


def _values(letter: DeadLetter, now_ms: int) -> dict[str, Any]:
    payload, size = _kept(letter.payload)
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
        "config_hash": letter.config_hash,
        "fields": dumps(list(letter.fields)),
        "payload_bytes": size,
        "payload": payload,
        "content": _kept(letter.content)[0],
    }


def _kept(document: Any) -> tuple[str | None, int]:
    """The document as it is stored (None: there is none, or it is too large to keep), and its size in bytes."""
    if document is None:
        return None, 0
    said = dumps(document)
    size = len(said.encode())
    return said if size <= PAYLOAD_BYTES else None, size


_OF_THE_LAST_TRY = (
    "record_id", "row_id", "stage", "run_id", "error", "code", "field", "value", "reason", "modified_ms", "updated_at",
    "config_hash", "content",
)  # fmt: skip
_OF_THE_RECORD = ("payload_bytes", "payload", "fields")


def _again(letter: DeadLetter, was: Found[Any], now_ms: int, *, keeps: bool) -> dict[str, Any]:
    """The letter that is there, after one more try."""
    values = _values(letter, now_ms)
    earlier = {"run": was.run_id, "at": was.updated_at, "stage": was.stage, "error": was.error}
    history = [*loads(was.history), {**earlier, "reason": was.reason[:200]}][-HISTORY:]
    return {
        "letter": was.id,
        **{name: values[name] for name in (*_OF_THE_LAST_TRY, *(() if keeps else _OF_THE_RECORD))},
        "attempts": was.attempts + 1,
        "history": dumps(history),
    }


def _record_id(letter: DeadLetter) -> str:
    """The record's id; for a record without one a digest of it, so that a retry finds its letter."""
    if letter.record_id is not None:
        return letter.record_id
    return NO_ID + hashlib.blake2b(dumps(letter.payload).encode(), digest_size=12).hexdigest()
