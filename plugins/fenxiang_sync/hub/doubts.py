"""Doubts: rows that were sent to a target that cannot be sent them twice, and no answer came.

Who has looked at the target, a person or a run that can ask it, says which it is: the target has the row (`accept`), or
it is to be sent again::

    in doubt ──► accept: delivered
             ├─► deny: the next claim sends it
             └─► take ──► send ──► settle (the ledger's) │ give_back

A row that is taken stays in doubt until it is settled, so that a death in between leaves it where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    TextClause,
    Update,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy import Row as Found

from fenxiang_sync.hub import events
from fenxiang_sync.hub import told as tellings
from fenxiang_sync.hub.bulk import batches
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import clean, dumps, loads
from fenxiang_sync.hub.events import What
from fenxiang_sync.hub.letters import close_delivered
from fenxiang_sync.hub.tables import Status, record
from fenxiang_sync.rows import Outcome, Row
from fenxiang_sync.window import to_ms

_PAGE = 500
_NOTHING: Mapping[str, Mapping[str, str | int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A row that may have arrived: sent at `sent_at` by `run` in this version, with `content` (None: it is not known
    any more). `reason` and `code` are what came instead of an answer."""

    id: str
    source_id: str
    number: str | None
    modified_ms: int
    version: int
    hash: str
    content: dict[str, Any] | None
    sent_at: datetime | None
    run: str | None
    reason: str
    code: str | None

    @property
    def row(self) -> Row:
        """What was sent."""
        return Row(
            id=self.id,
            source_id=self.source_id,
            number=self.number,
            modified_ms=self.modified_ms,
            version=self.version,
            content=self.content or {},
            hash=self.hash,
        )


class Doubts:
    """The rows in doubt of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def groups(
        self, pipeline: str, *, ids: Sequence[str] | None, now: datetime, besides: str | None = None
    ) -> Iterator[list[Doubt]]:
        """The rows in doubt in the order of their ids, in groups of some hundreds; `ids` are those of rows or records.

        `besides` leaves out what that claimant has sent last.
        """
        after = ""
        while True:
            wanted = [*_in_doubt(pipeline, now), record.c.id > after]
            if ids is not None:
                wanted.append(or_(record.c.id.in_(ids), record.c.source_id.in_(ids)))
            if besides is not None:
                wanted.append(func.coalesce(record.c.claim_run, "") != besides)
            with self._database.reading() as connection:
                query = select(*_COLUMNS).where(*wanted).order_by(record.c.id).limit(_PAGE)
                found = connection.execute(query).all()
            if not found:
                return
            yield [_doubt(each) for each in found]
            after = found[-1].id

    def find(self, pipeline: str, *, ids: Sequence[str] | None = None, now: datetime) -> Iterator[Doubt]:
        """The same one by one."""
        return (each for group in self.groups(pipeline, ids=ids, now=now) for each in group)

    def count(self, pipeline: str, *, now: datetime) -> int:
        """How many there are."""
        with self._database.reading() as connection:
            query = select(func.count()).select_from(record).where(*_in_doubt(pipeline, now))
            return int(connection.execute(query).scalar_one())

    def take(self, pipeline: str, doubts: Sequence[Doubt], *, run: str, lease_s: float, now: datetime) -> list[Doubt]:
        """Claim rows to send them again; those that are still in doubt, and this claimant's now."""
        claim = {"claim_run": run, "claim_until": now + timedelta(seconds=lease_s)}
        with self._database.writing(f"records of {pipeline}") as connection:
            still = _still(connection, pipeline, doubts, now)
            _write(connection, _of(pipeline).values(**claim), [{"row": each.id} for each in still])
            _tell(connection, pipeline, [each.row for each in still], What.RESENT, run, now)
        return still

    def accept(
        self,
        pipeline: str,
        doubts: Sequence[Doubt],
        *,
        by: str,
        now: datetime,
        told: Mapping[str, Mapping[str, str | int]] = _NOTHING,
    ) -> list[Doubt]:
        """Note that the target has these rows, and what it `told` of them by their ids; those that were still in doubt.
        Their dead letters are closed."""
        has = {
            "status": Status.FINISHED,
            "outcome": Outcome.DELIVERED.value,
            "reason": clean(f"accepted by {by}", 1_000),
            "code": None,
            "run_id": clean(by, 1_000),
            "settled_at": now,
            "modified_ms": record.c.claim_modified_ms,
            "version": record.c.claim_version,
            "content_hash": record.c.claim_hash,
            "content": record.c.claim_content,
            "claim_until": None,
            "in_flight_at": None,
            "claim_content": None,
            "removed_at": None,
        }
        with self._database.writing(f"records of {pipeline}") as connection:
            still = _still(connection, pipeline, doubts, now)
            _write(connection, _of(pipeline).values(**has), [{"row": each.id} for each in still])
            tellings.store(connection, pipeline, {each.id: told.get(each.id, {}) for each in still}, to_ms(now))
            close_delivered(connection, pipeline, [each.row for each in still], by, to_ms(now))
            _tell(connection, pipeline, [each.row for each in still], What.ACCEPTED, clean(by, 1_000), now)
        return still

    def deny(self, pipeline: str, doubts: Sequence[Doubt], *, by: str, now: datetime) -> list[Doubt]:
        """Note that the target does not have these rows: whoever claims them next sends them. Those that were still in
        doubt."""
        delivered = record.c.modified_ms.is_not(None)
        never = {
            "status": case((delivered, int(Status.FINISHED)), else_=int(Status.ERROR)),
            "outcome": None,
            "reason": clean(f"the target did not have it when {by} asked", 1_000),
            "code": None,
            "settled_at": now,
            "claim_until": None,
            "in_flight_at": None,
            "claim_content": None,
        }
        with self._database.writing(f"records of {pipeline}") as connection:
            still = _still(connection, pipeline, doubts, now)
            _write(connection, _of(pipeline).values(**never), [{"row": each.id} for each in still])
            _tell(connection, pipeline, [each.row for each in still], What.FORGOTTEN, clean(by, 1_000), now)
        return still

    def give_back(self, pipeline: str, rows: Iterable[Row], *, run: str, reason: str, now: datetime) -> None:
        """Rows that were taken, and that the target did not take after all: in doubt as before, nobody's."""
        left = {
            "status": Status.IN_DOUBT,
            "outcome": Outcome.IN_DOUBT.value,
            "reason": clean(reason, 1_000),
            "claim_run": None,
            "claim_until": None,
            "in_flight_at": func.coalesce(record.c.in_flight_at, literal(now, record.c.in_flight_at.type)),
            "claim_content": bindparam("said"),
        }
        claimed = (record.c.claim_run == run, record.c.claim_until.is_not(None))
        given = {row.id: row for row in rows}
        with self._database.writing(f"records of {pipeline}") as connection:
            ids = [found for batch in batches(list(given)) for found in _ids(connection, pipeline, batch, claimed)]
            values = [{"row": each, "said": dumps(given[each].content)} for each in ids]
            _write(connection, _of(pipeline).where(*claimed).values(**left), values)
            _tell(connection, pipeline, [given[each] for each in ids], What.IN_DOUBT, run, now, reason)


_COLUMNS = (
    record.c.id, record.c.source_id, record.c.number, record.c.claim_modified_ms, record.c.claim_version,
    record.c.claim_hash, record.c.claim_content, record.c.in_flight_at, record.c.claim_run, record.c.reason,
    record.c.code,
)  # fmt: skip


_UNFINISHED = text("status <> 2")  # written as in the partial index


def _in_doubt(pipeline: str, now: datetime) -> list[ColumnElement[bool] | TextClause]:
    """Settled as in doubt; or sent by a task that died before it could store an answer, which any claim would find."""
    ended = or_(record.c.claim_until.is_(None), record.c.claim_until <= now)
    parked = record.c.status == int(Status.IN_DOUBT)
    died = and_(record.c.status == int(Status.QUEUE), record.c.in_flight_at.is_not(None))
    return [record.c.pipeline == pipeline, _UNFINISHED, or_(parked, died), ended]


def _still(connection: Connection, pipeline: str, doubts: Sequence[Doubt], now: datetime) -> list[Doubt]:
    """Those that are in doubt, in the version that was looked at."""
    there: dict[str, tuple[Any, ...]] = {}
    for batch in batches([each.id for each in doubts]):
        query = select(record.c.id, record.c.claim_hash, record.c.claim_modified_ms, record.c.claim_version)
        for found in connection.execute(query.where(*_in_doubt(pipeline, now), record.c.id.in_(batch))):
            there[found.id] = tuple(found)[1:]
    return [each for each in doubts if there.get(each.id) == (each.hash, each.modified_ms, each.version)]


def _of(pipeline: str) -> Update:
    return update(record).where(record.c.pipeline == pipeline, record.c.id == bindparam("row"))


def _write(connection: Connection, statement: Update, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, rows)


def _ids(
    connection: Connection, pipeline: str, ids: Sequence[str], which: Iterable[ColumnElement[bool]]
) -> Sequence[str]:
    query = select(record.c.id).where(record.c.pipeline == pipeline, record.c.id.in_(ids), *which)
    return connection.execute(query).scalars().all()


def _tell(
    connection: Connection, pipeline: str, rows: Iterable[Row], what: What, run: str, now: datetime, reason: str = ""
) -> None:
    told = events.of_rows(rows, what, run=run, segment="", at_ms=to_ms(now), reason=reason)
    events.store(connection, pipeline, told)


def _doubt(found: Found[Any]) -> Doubt:
    return Doubt(
        id=found.id,
        source_id=found.source_id,
        number=found.number,
        modified_ms=found.claim_modified_ms or 0,
        version=found.claim_version or 0,
        hash=found.claim_hash or "",
        content=loads(found.claim_content),
        sent_at=found.in_flight_at,
        run=found.claim_run,
        reason=found.reason,
        code=found.code,
    )
