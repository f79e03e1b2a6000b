"""SqlSender: a batch goes into the table in one transaction, in which a bad row stands alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Table, delete, func, select, types, update
from sqlalchemy.exc import DBAPIError

from fenxiang_sync.columns import Kind
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.protocol import Answer, Delivery, Removal
from fenxiang_sync.targets.sql.connect import Session
from fenxiang_sync.targets.sql.dialect import Type, Values, Writer
from fenxiang_sync.targets.sql.faults import Meaning, code_of, said_by
from fenxiang_sync.targets.sql.form import SqlColumn
from fenxiang_sync.targets.sql.layout import Layout
from fenxiang_sync.targets.sql.values import Bind, iso_moment

AT_ONCE = 1_000
"""Ids in one look-up."""
_DELIVERED = Answer(delivery=Delivery.DELIVERED)
_STALE = Answer(delivery=Delivery.STALE, reason="the table holds a newer version of the row")
_GONE = "the table does not hold it afterwards: another row has one of its unique values, or a trigger kept it out"

T = TypeVar("T")
Stamp = tuple[int, int]


class Kept(NamedTuple):
    """What the table holds of one id; rows that somebody else put there have no stamp."""

    stamp: Stamp | None
    hash: str | None
    removed: bool


class SqlSender:
    """An open table. Also says what it holds, removes rows, and counts."""

    sample: int | None = None
    """It is asked for every row of a segment: that is one statement per thousand."""

    def __init__(self, session: Session, layout: Layout, found: Mapping[str, Type]) -> None:
        self._session = session
        self._layout = layout
        self._table: Table = layout.lookup(found)
        self._id: Any = self._table.c[layout.form.key.name]
        self._book: list[Any] = [self._table.c[name] for name in layout.form.book]
        self._removed = self._book[-1]
        self._key_is_text = isinstance(found[layout.form.key.name], types.String)
        self._binds: list[tuple[SqlColumn, str, tuple[str, ...], Bind]] = [
            (column, column.path[0], column.path[1:], session.kind.bind(column, found[column.name]))
            for column in layout.form.values
        ]
        key = layout.form.key
        self._bind_key = session.kind.bind(key, found[key.name])
        self._writer: Writer = session.transact(
            lambda connection: session.kind.writer(connection, layout.quoted(session.kind), layout.form)
        )

    def send(self, rows: Sequence[Row]) -> Sequence[Answer]:
        """Upsert one batch. A row that does not fit is refused by itself; an older one than the table's is stale."""
        answers: dict[int, Answer] = {}
        newest = _newest(rows)
        bound: dict[int, Values] = {}
        for place, row in enumerate(rows):
            if newest[row.id] != place:
                answers[place] = _STALE
                continue
            values, reason = self._bound(row)
            if reason:
                answers[place] = Answer(delivery=Delivery.REFUSED, reason=reason)
            else:
                bound[place] = values
        if bound:
            answers.update(self._upserted(rows, bound))
        return [answers[place] for place in range(len(rows))]

    def remove(self, removals: Sequence[Removal], *, policy: DeletePolicy) -> Sequence[Answer]:
        """Mark or delete rows that are not newer than what is to be removed."""
        by_id = {each.id: each for each in removals}
        answers = self._isolated(sorted(by_id), lambda connection, ids: self._remove(connection, ids, by_id, policy))
        return [answers[each.id] for each in removals]

    def holds(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:  # noqa: ARG002 - it shows at once
        """Whether the table has each row with this content, or a newer version of it."""
        kept = self._session.transact(lambda connection: self._kept(connection, [row.id for row in rows]))
        return [_holds(kept.get(row.id), row) for row in rows]

    def count(self) -> int | None:
        """How many rows are in the table that are not removed: all, or those that are `own`."""
        own = (self._table.c[name] == value for name, value in self._layout.form.own.items())
        query = select(func.count()).select_from(self._table).where(self._removed.is_(None), *own)
        return int(self._session.transact(lambda connection: connection.execute(query).scalar_one()))

    def _upserted(self, rows: Sequence[Row], bound: dict[int, Values]) -> dict[int, Answer]:
        def upsert(connection: Connection, places: Sequence[int]) -> dict[int, Answer]:
            taken = self._writer.write(connection, [bound[place] for place in places])
            if taken == len(places):
                return dict.fromkeys(places, _DELIVERED)
            kept = self._kept(connection, [rows[place].id for place in places])
            return {place: _answer(kept.get(rows[place].id), rows[place]) for place in places}

        # Every load takes its locks in one order, so that no two wait for each other.
        return self._isolated(sorted(bound, key=lambda place: rows[place].id), upsert)

    def _isolated(
        self, items: Sequence[T], work: Callable[[Connection, Sequence[T]], dict[T, Answer]]
    ) -> dict[T, Answer]:
        """The answers of `work` for all items in one transaction; where the database refuses that, it is halved until
        the bad ones stand alone."""
        try:
            return self._session.transact(lambda connection: work(connection, items), passes=Meaning.ROW)
        except (DBAPIError, self._session.kind.driver_error) as error:
            if len(items) == 1:
                return {items[0]: self._refused(error)}
        return self._session.transact(lambda connection: self._halved(connection, items, work))

    def _halved(
        self, connection: Connection, items: Sequence[T], work: Callable[[Connection, Sequence[T]], dict[T, Answer]]
    ) -> dict[T, Answer]:
        middle = len(items) // 2
        answers: dict[T, Answer] = {}
        for half in (items[:middle], items[middle:]):
            try:
                with connection.begin_nested():
                    answers.update(work(connection, half))
            except (DBAPIError, self._session.kind.driver_error) as error:
                if self._session.kind.meaning(error) is not Meaning.ROW:
                    raise
                answers.update(
                    {half[0]: self._refused(error)} if len(half) == 1 else self._halved(connection, half, work)
                )
        return answers

    def _refused(self, error: BaseException) -> Answer:
        return Answer(delivery=Delivery.REFUSED, reason=said_by(error), code=code_of(error))

    def _remove(
        self, connection: Connection, ids: Sequence[str], by_id: dict[str, Removal], policy: DeletePolicy
    ) -> dict[str, Answer]:
        kept = self._kept(connection, ids, lock=True)
        answers = dict.fromkeys(ids, _DELIVERED)
        going = []
        for key, there in kept.items():
            if there.stamp is not None and there.stamp > (by_id[key].modified_ms, by_id[key].version):
                answers[key] = Answer(delivery=Delivery.AGAIN, reason=_STALE.reason)
            elif policy is DeletePolicy.DELETE or not there.removed:
                going.append(key)
        for group in _groups(going):
            which = self._id.in_(self._keys(group))
            if policy is DeletePolicy.DELETE:
                connection.execute(delete(self._table).where(which))
            else:
                connection.execute(update(self._table).where(which).values({self._removed: self._now()}))
        return answers

    def _kept(self, connection: Connection, ids: Sequence[str], *, lock: bool = False) -> dict[str, Kept]:
        """What the table holds of these ids."""
        kept: dict[str, Kept] = {}
        columns = [self._id, *self._book]
        for group in _groups(ids):
            query = select(*columns).where(self._id.in_(self._keys(group)))
            if lock:
                query = query.order_by(self._id).with_for_update()
            for key, modified, version, content, removed in connection.execute(query):
                stamp = None if modified is None else (int(modified), int(version or 0))
                kept[str(key)] = Kept(stamp, content, removed is not None)
        return kept

    def _bound(self, row: Row) -> tuple[Values, str]:
        """What the driver is given for a row, or why it cannot be sent."""
        form = self._layout.form
        given: list[Any] = []
        wrong: list[str] = []
        if "\0" in row.id:
            wrong.append("an id has no NUL character")
        try:
            given.append(self._bind_key(int(row.id) if form.key.kind is Kind.INTEGER else row.id))
        except ValueError as error:
            wrong.append(f"column {form.key.name!r}: {error}")
        for column, first, below, bind in self._binds:
            value = row.content.get(first)
            for part in below:
                value = None if value is None else value.get(part)
            try:
                given.append(None if value is None else bind(value))
            except ValueError as error:
                wrong.append(f"column {column.name!r}: {error}")
        values = (*given, row.modified_ms, row.version, row.hash)
        reason = "; ".join(wrong) or self._writer.oversized(values)
        return values, reason

    def _keys(self, ids: Iterable[str]) -> list[Any]:
        return list(ids) if self._key_is_text else [int(each) for each in ids]

    def _now(self) -> Any:
        now = self._session.now()
        return {"SQLite": iso_moment(now), "MySQL": now.replace(tzinfo=None)}.get(self._session.kind.name, now)


def _newest(rows: Sequence[Row]) -> dict[str, int]:
    """The place of the row that counts of each id: the newest, of equal versions the last."""
    places: dict[str, int] = {}
    for place, row in enumerate(rows):
        first = places.setdefault(row.id, place)
        if first != place and _stamp(row) >= _stamp(rows[first]):
            places[row.id] = place
    return places


def _stamp(row: Row) -> Stamp:
    return (row.modified_ms, row.version)


def _answer(kept: Kept | None, row: Row) -> Answer:
    """The answer for a row, by what the table holds after the upsert."""
    if kept is None or kept.stamp is None or kept.stamp < _stamp(row):
        return Answer(delivery=Delivery.REFUSED, reason=_GONE)
    if kept.stamp > _stamp(row):
        return _STALE
    return _DELIVERED if kept.hash == row.hash else Answer(delivery=Delivery.REFUSED, reason=_GONE)


def _holds(kept: Kept | None, row: Row) -> bool:
    if kept is None or kept.removed:
        return False
    return kept.hash == row.hash or (kept.stamp is not None and kept.stamp > _stamp(row))


def _groups(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]
