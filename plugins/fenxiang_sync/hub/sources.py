"""Sources: the records of the source as they were last seen, whatever became of them.

A record that was filtered or rejected has no row in the ledger, and one of several lines has many; here each has one
entry with the newest version that has an outcome. That is what reconcile compares with the source.

The record itself may be kept with it, as it was read last, so that all of them can be mapped again.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, func, select, text, tuple_, update

from fenxiang_sync.hub import events
from fenxiang_sync.hub.bulk import LookUp, Upsert, batches
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.events import Event, What
from fenxiang_sync.hub.tables import Presence
from fenxiang_sync.hub.tables import source as table
from fenxiang_sync.window import Window, to_ms

BATCH = 5_000
"""Records that are looked at, and written, in one transaction."""


class Seen(NamedTuple):
    """A record as it was read. `payload` is the record itself, JSON, where it is to be kept."""

    id: str
    modified_ms: int
    voided: bool = False
    version: int = 0
    payload: bytes | None = None


class Entry(NamedTuple):
    """What is held of one record; `listed_ms` is None where queries do not list it."""

    id: str
    modified_ms: int
    listed_ms: int | None
    presence: int
    payload_digest: int | None = None


class Kept(NamedTuple):
    """A record of the hub. `payload` is its JSON as it was read last, None where it was not kept; `projection` the
    digest of the fields that were asked for."""

    id: str
    modified_ms: int
    presence: Presence
    projection: str | None
    payload: bytes | None


_ENTRIES = LookUp(table, ("source_id", "modified_ms", "listed_ms", "presence", "payload_digest"), by="source_id")
_KEPT = LookUp(table, ("source_id", "modified_ms", "presence", "projection", "payload"), by="source_id")
_STORE = Upsert(
    table,
    key=("pipeline", "source_id"),
    columns=("pipeline", "source_id", "modified_ms", "listed_ms", "presence", "run_id", "changed_at"),
    update=("modified_ms", "listed_ms", "presence", "run_id", "changed_at"),
)
_KEEP = Upsert(
    table,
    key=_STORE.key,
    columns=(*_STORE.columns, "projection", "payload_digest", "payload"),
    update=(*_STORE.update, "projection", "payload_digest", "payload"),
)
_PAGE_WORDS = ("searchAfterId", "total_num")
_INJECTED = tuple(f'"{word}"'.encode() for word in _PAGE_WORDS)


class Sources:
    """The source's records of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def see(
        self, pipeline: str, seen: Sequence[Seen], run: str, now: datetime, projection: str | None
    ) -> dict[str, int]:
        """Note records that were read and have an outcome: they are there. An older version than is held says nothing.

        A payload is kept with its `projection`; one that differs from the one that is kept is news, since labels and
        computed fields change without a stamp. Returns the stamp that is held of each record that was noted in a newer
        version before. Most readings of most runs bring nothing new, so a first look takes no lock.
        """
        newest = {each.id: each for each in sorted(seen, key=lambda each: each.modified_ms)}
        newer: dict[str, int] = {}
        for batch in batches(list(newest.values()), BATCH):
            held = self._entries(pipeline, [each.id for each in batch])
            digests = {each.id: _digest(each.payload, projection) for each in batch}
            news = [each for each in batch if _is_news(each, held.get(each.id), digests[each.id])]
            if news:
                held |= self._see(pipeline, news, run, now, projection)
            newer |= _newer(((each.id, each.modified_ms) for each in batch), held)
        return newer

    def newer(self, pipeline: str, stamps: Mapping[str, int]) -> dict[str, int]:
        """The stamp that is held of each of these records that was noted in a newer version than the one given.

        The database compares: it is asked for every row that is loaded, and as a rule has nothing to say.
        """
        newer: dict[str, int] = {}
        with self._database.reading() as connection:
            for batch in batches(list(stamps)):
                given = [stamps[each] for each in batch]
                newer |= {each[0]: each[1] for each in _newer_than(connection, pipeline, list(batch), given)}
        return newer

    def mark(self, pipeline: str, ids: Mapping[str, int], presence: Presence, run: str, now: datetime) -> int:
        """Note that queries do not list these records, and why; `ids` has the version that is meant of each.

        One that was read in a newer version meanwhile is left as it is. Returns how many were marked.
        """
        marked = 0
        for batch in batches(list(ids), BATCH):
            with self._database.writing(f"sources of {pipeline}") as connection:
                found = (Entry._make(each) for each in _ENTRIES.run(connection, pipeline, batch))
                meant = [entry for entry in found if entry.modified_ms == ids[entry.id]]
                values = [
                    (pipeline, entry.id, entry.modified_ms, None, int(presence), run, to_ms(now)) for entry in meant
                ]
                _STORE.run(connection, values)
                told = [
                    Event(entry.id, "", to_ms(now), run, _WHAT[presence].value, modified_ms=entry.modified_ms)
                    for entry in meant
                    if entry.presence != presence
                ]
                events.store(connection, pipeline, told)
                marked += len(meant)
        return marked

    def look_again(self, pipeline: str, ids: Mapping[str, int], run: str, now: datetime) -> int:
        """Note of records that no version newer than the given one has an outcome; how many were noted in one."""
        behind = 0
        for batch in batches(list(ids), BATCH):
            with self._database.writing(f"sources of {pipeline}") as connection:
                found = (Entry._make(each) for each in _ENTRIES.run(connection, pipeline, batch))
                ahead = [entry for entry in found if entry.modified_ms > ids[entry.id]]
                _STORE.run(
                    connection,
                    [
                        (
                            pipeline, entry.id, ids[entry.id], None if entry.listed_ms is None else ids[entry.id],
                            entry.presence, run, to_ms(now),
                        )
                        for entry in ahead
                    ],
                )  # fmt: skip
                behind += len(ahead)
        return behind

    def kept(self, pipeline: str, ids: Sequence[str]) -> dict[str, Kept]:
        """What is held of these records, and the records themselves."""
        with self._database.reading() as connection:
            return {each[0]: _kept(each) for each in _KEPT.run(connection, pipeline, ids)}

    def kept_between(self, pipeline: str, after: str, upto: str, size: int) -> Iterator[list[Kept]]:
        """The records with ids in ``(after, upto]``, in their order, `size` at a time."""
        columns = [table.c[name] for name in _KEPT.columns]
        while True:
            inside = (table.c.pipeline == pipeline, table.c.source_id > after, table.c.source_id <= upto)
            with self._database.reading() as connection:
                page = select(*columns).where(*inside).order_by(table.c.source_id).limit(size)
                found = connection.execute(page).all()
            if not found:
                return
            yield [_kept(each) for each in found]
            after = found[-1].source_id

    def cut(self, pipeline: str, size: int) -> Iterator[tuple[str, str, int]]:
        """All records in slices of `size`: the id before the slice, its last id, and how many it holds."""
        after = ""
        while True:
            inside = select(table.c.source_id).where(table.c.pipeline == pipeline, table.c.source_id > after)
            few = inside.order_by(table.c.source_id).limit(size).subquery()
            with self._database.reading() as connection:
                last, count = connection.execute(select(func.max(few.c.source_id), func.count())).one()
            if last is None:
                return
            yield after, last, count
            after = last

    def _see(
        self, pipeline: str, seen: Sequence[Seen], run: str, now: datetime, projection: str | None
    ) -> dict[str, Entry]:
        """Write what is still news; what was held before."""
        with self._database.writing(f"sources of {pipeline}") as connection:
            found = _ENTRIES.run(connection, pipeline, [each.id for each in seen])
            held = {each[0]: Entry._make(each) for each in found}
            digests = {each.id: _digest(each.payload, projection) for each in seen}
            news = [each for each in seen if _is_news(each, held.get(each.id), digests[each.id])]
            entries = {
                each.id: (
                    pipeline, each.id, each.modified_ms, each.modified_ms, int(_presence(each)), run, to_ms(now),
                )
                for each in news
            }  # fmt: skip
            _STORE.run(connection, [entries[each.id] for each in news if each.payload is None])
            _KEEP.run(
                connection,
                [
                    (*entries[each.id], projection, digests[each.id], zlib.compress(each.payload, 1))
                    for each in news
                    if each.payload is not None
                ],
            )
            _tell(connection, pipeline, [(each, held.get(each.id)) for each in news], run, now)
        return held

    def _entries(self, pipeline: str, ids: Sequence[str]) -> dict[str, Entry]:
        with self._database.reading() as connection:
            return {each[0]: Entry._make(each) for each in _ENTRIES.run(connection, pipeline, ids)}


def unlist(database: Database, pipeline: str, ids: Collection[str], run: str, now: datetime) -> int:
    """Let records count as not listed until they are read again, if they are there; how many do.

    Whoever compares them with the source finds them there, and reads them.
    """
    found = 0
    for batch in batches(sorted(ids)):
        present = (
            table.c.pipeline == pipeline,
            table.c.source_id.in_(list(batch)),
            table.c.presence == int(Presence.PRESENT),
        )
        unlisted = update(table).where(*present).values(listed_ms=None, run_id=run, changed_at=now)
        with database.writing(f"sources of {pipeline}") as connection:
            found += connection.execute(unlisted).rowcount
    return found


class Listed:
    """What one pipeline holds of what queries list, as a census compares it; nothing of it is in memory."""

    def __init__(self, database: Database, pipeline: str) -> None:
        self._database = database
        self._pipeline = pipeline
        self._mine = table.c.pipeline == pipeline

    def count(self, window: Window) -> int:
        """How many records whose listed stamp is in the window."""
        return int(self._one(select(func.count()).where(self._mine, *_within(window))))

    def stamps(self, ids: Sequence[str]) -> dict[str, int]:
        """The newest stamp of each of the ids that was ever read."""
        return {each: entry.modified_ms for each, entry in self.entries(ids).items()}

    def entries(self, ids: Sequence[str]) -> dict[str, Entry]:
        with self._database.reading() as connection:
            return {each[0]: Entry._make(each) for each in _ENTRIES.run(connection, self._pipeline, ids)}

    def within(self, window: Window) -> Iterator[tuple[str, int]]:
        """Id and listed stamp of each record in the window, read page by page."""
        page = select(table.c.source_id, table.c.listed_ms).where(self._mine, *_within(window))
        page = page.order_by(table.c.listed_ms, table.c.source_id).limit(BATCH)
        after: list[Any] = []
        while True:
            with self._database.reading() as connection:
                found = connection.execute(page.where(*after)).all()
            yield from ((each.source_id, each.listed_ms) for each in found)
            if len(found) < BATCH:
                return
            after = [tuple_(table.c.listed_ms, table.c.source_id) > (found[-1].listed_ms, found[-1].source_id)]

    def hidden(self, window: Window, most: int) -> dict[str, int]:
        """Id and stamp of at most so many records that may not be seen and have a stamp in the window, those that were
        looked for longest ago."""
        mine = (self._mine, text("presence <> 0"), table.c.presence == int(Presence.HIDDEN))
        inside = (table.c.modified_ms >= window.since_ms, table.c.modified_ms < window.until_ms)
        query = select(table.c.source_id, table.c.modified_ms).where(*mine, *inside)
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(table.c.changed_at, table.c.source_id).limit(most)).all()
        return {each.source_id: each.modified_ms for each in found}

    def slices(self, window: Window, size: int) -> Iterator[Window]:
        """The window in adjacent slices that hold `size` records each, or one millisecond that holds more; the time
        before the first record is a slice of its own."""
        since = window.since_ms
        first = self._stamp_at(0, window)
        if first is not None and first > since:
            yield Window(since, first)
            since = first
        while since < window.until_ms:
            end = self._stamp_at(size, Window(since, window.until_ms))
            until = window.until_ms if end is None else max(end, since + 1)
            yield Window(since, until)
            since = until

    def _stamp_at(self, place: int, window: Window) -> int | None:
        """The listed stamp of the record at this place of the window."""
        stamps = select(table.c.listed_ms).where(self._mine, *_within(window))
        found = self._one(stamps.order_by(table.c.listed_ms, table.c.source_id).offset(place).limit(1))
        return None if found is None else int(found)

    def _one(self, query: Any) -> Any:
        with self._database.reading() as connection:
            return connection.execute(query).scalar()


def _within(window: Window) -> list[Any]:
    return [table.c.listed_ms >= window.since_ms, table.c.listed_ms < window.until_ms]


def _presence(seen: Seen) -> Presence:
    return Presence.VOIDED if seen.voided else Presence.PRESENT


def _newer_than(connection: Connection, pipeline: str, ids: list[str], stamps: list[int]) -> Iterator[Any]:
    if connection.dialect.name == "postgresql":
        yield from connection.exec_driver_sql(
            "SELECT found.* FROM unnest(%s::text[], %s::bigint[]) AS given (id, stamp) CROSS JOIN LATERAL "
            "(SELECT source_id, modified_ms FROM fenxiang_source "
            "WHERE pipeline = %s AND source_id = given.id AND modified_ms > given.stamp OFFSET 0) AS found",
            (ids, stamps, pipeline),
        )
    else:
        yield from connection.exec_driver_sql(
            "SELECT source_id, modified_ms FROM json_each(?) AS given CROSS JOIN fenxiang_source "
            "ON pipeline = ? AND source_id = given.key AND modified_ms > given.value",
            (msgspec.json.encode(dict(zip(ids, stamps, strict=True))).decode(), pipeline),
        )


def _newer(stamps: Iterable[tuple[str, int]], held: Mapping[str, Entry]) -> dict[str, int]:
    return {each: held[each].modified_ms for each, stamp in stamps if each in held and held[each].modified_ms > stamp}


def _is_news(seen: Seen, held: Entry | None, digest: int | None) -> bool:
    if held is None or seen.modified_ms > held.modified_ms:
        return True
    if seen.modified_ms < held.modified_ms:
        return False
    known = (held.listed_ms, held.presence) == (seen.modified_ms, _presence(seen))
    return not known or (digest is not None and digest != held.payload_digest)


def _digest(payload: bytes | None, projection: str | None) -> int | None:
    """A number that differs where the record or what was asked for does; None where it is not kept."""
    if payload is None:
        return None
    if any(word in payload for word in _INJECTED):  # of the page, not of the record: another in every reading
        record = msgspec.json.decode(payload)
        payload = msgspec.json.encode({name: value for name, value in record.items() if name not in _PAGE_WORDS})
    key = (projection or "").encode()
    return int.from_bytes(blake2b(payload, digest_size=8, key=key).digest(), "big", signed=True)


def _tell(
    connection: Connection, pipeline: str, news: Iterable[tuple[Seen, Entry | None]], run: str, now: datetime
) -> None:
    """Note which records were voided, or are there again."""
    turned = [
        (seen, What.VOIDED if seen.voided else What.RETURNED)
        for seen, held in news
        if _presence(seen) != (Presence.PRESENT if held is None else held.presence)
    ]
    told = [Event(seen.id, "", to_ms(now), run, what.value, modified_ms=seen.modified_ms) for seen, what in turned]
    events.store(connection, pipeline, told)


def _kept(found: Any) -> Kept:
    payload = None if found.payload is None else zlib.decompress(found.payload)
    return Kept(found.source_id, found.modified_ms, Presence(found.presence), found.projection, payload)


_WHAT = {
    Presence.PRESENT: What.RETURNED,
    Presence.VOIDED: What.VOIDED,
    Presence.LEFT: What.LEFT,
    Presence.HIDDEN: What.HIDDEN,
    Presence.VANISHED: What.VANISHED,
}
