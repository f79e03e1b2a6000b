"""The ledger: what of a batch is sent, and what became of it.

A row is claimed before it is sent and settled after, by one claimant at a time::

    claim ──► NEW, CHANGED ──► (sending) ──► send ──► settle: delivered │ dead_letter │ in_doubt
          └─► UNCHANGED, STALE, BUSY, IN_DOUBT: not sent

A claim whose lease is over may be taken: its claimant is taken for dead. What that claimant had may still have
arrived, so until the record is settled nothing older is sent, and nothing counts as unchanged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection

from fenxiang_sync.hub import events, letters
from fenxiang_sync.hub.bulk import LookUp, Upsert, batches
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import clean, dumps
from fenxiang_sync.hub.events import Event, What
from fenxiang_sync.hub.tables import Status, record
from fenxiang_sync.rows import IdCheck, Outcome, Row
from fenxiang_sync.window import to_ms

CLAIM_BATCH = 5_000
"""Rows that are decided in one transaction."""


class Decision(StrEnum):
    """What the ledger says of one row."""

    NEW = "new"
    """Claimed: send it. The target does not hold it."""
    CHANGED = "changed"
    """Claimed: send it. The target holds this id, with other content (or `IdCheck.OVERWRITE` sends it anyway)."""
    UNCHANGED = "unchanged"
    """The target holds it."""
    DELIVERED = "delivered"
    """This very run delivered it, in an earlier try of the task that asks."""
    STALE = "stale"
    """A newer version was delivered, is in this batch too, or was being sent by a claimant that died."""
    BUSY = "busy"
    """Another claimant is sending this record: ask again later."""
    IN_DOUBT = "in_doubt"
    """It was sent and no answer came; the target cannot be sent it twice, so somebody must look."""

    @property
    def claimed(self) -> bool:
        return self in (Decision.NEW, Decision.CHANGED)

    @property
    def outcome(self) -> Outcome | None:
        """The outcome that the decision itself is; None where it is still to come."""
        return _OUTCOMES.get(self)


_OUTCOMES = {
    Decision.UNCHANGED: Outcome.UNCHANGED,
    Decision.DELIVERED: Outcome.DELIVERED,
    Decision.STALE: Outcome.STALE,
    Decision.IN_DOUBT: Outcome.IN_DOUBT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of a claimed row: delivered, dead_letter or in_doubt."""

    row: Row
    outcome: Outcome
    reason: str = ""
    code: int | str | None = None

    def __post_init__(self) -> None:
        if self.outcome not in _STATUS:
            raise ValueError(f"row {self.row.id!r} cannot be settled as {self.outcome}: only as {', '.join(_STATUS)}")


_WHAT = {
    Outcome.DELIVERED: What.DELIVERED,
    Outcome.DEAD_LETTER: What.REFUSED,
    Outcome.IN_DOUBT: What.IN_DOUBT,
}
_STATUS = {
    Outcome.DELIVERED: Status.FINISHED,
    Outcome.DEAD_LETTER: Status.ERROR,
    Outcome.IN_DOUBT: Status.IN_DOUBT,
}


class Held(NamedTuple):
    """What the ledger holds of one id, in the order of `_STATE`. The delivered version is None before a delivery."""

    id: str
    modified_ms: int | None
    version: int | None
    content_hash: str | None
    status: int
    outcome: str | None
    attempts: int
    run_id: str
    claim_run: str | None
    claim_hash: str | None
    claim_modified_ms: int | None
    claim_version: int | None
    claim_until: int | None
    in_flight_at: int | None
    removed_at: int | None

    @property
    def delivered(self) -> tuple[int, int] | None:
        return None if self.modified_ms is None else (self.modified_ms, self.version or 0)

    @property
    def claimed(self) -> tuple[int, int]:
        """The version that is being sent, or was sent last."""
        return (self.claim_modified_ms or 0, self.claim_version or 0)

    @property
    def open(self) -> bool:
        """Claimed and not settled."""
        return self.claim_until is not None

    @property
    def in_doubt(self) -> bool:
        """It may have arrived, and nobody knows."""
        return self.status == Status.IN_DOUBT or (self.open and self.in_flight_at is not None)

    def misses(self, row: Row) -> bool:
        """Whether the delete policy was done to a row whose record has come back."""
        return self.removed_at is not None and not row.voided

    def is_claim_of(self, row: Row, holder: str) -> bool:
        return (
            self.claim_run == holder and self.claim_hash == row.hash and self.claimed == (row.modified_ms, row.version)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """Who asks: one loading task. Two segments of a run are two claimants; a retry of one is the same."""

    run: str
    segment: str = ""
    id_check: IdCheck = IdCheck.UPSERT_ON_CHANGE
    upserts: bool = False

    @property
    def holder(self) -> str:
        return f"{self.run}/{self.segment}" if self.segment else self.run


def decide(row: Row, held: Held | None, claimant: Claimant, now_ms: int) -> Decision:
    """What to do with `row`, given what the ledger holds of its id."""
    if held is None:
        return Decision.NEW
    stamp = (row.modified_ms, row.version)
    delivered = held.delivered
    if delivered is not None and stamp < delivered:
        return Decision.STALE
    if held.claim_until is not None and held.claim_until > now_ms and held.claim_run != claimant.holder:
        return Decision.BUSY
    if held.in_doubt:
        if not claimant.upserts or stamp < held.claimed:
            return Decision.IN_DOUBT
    elif held.open:
        if stamp < held.claimed:
            return Decision.STALE
    elif delivered is not None and not held.misses(row) and _is_there(row, held, claimant):
        return Decision.DELIVERED if _is_by_this_run(row, held, claimant) else Decision.UNCHANGED
    return Decision.NEW if delivered is None else Decision.CHANGED


def _is_there(row: Row, held: Held, claimant: Claimant) -> bool:
    """Whether the settled content of `held` will do for `row`, by the claimant's id check."""
    if held.content_hash is None:  # deleted there, or it may be: the answer to its removal was lost
        return False
    if claimant.id_check is IdCheck.SKIP_EXISTING:
        return True
    if row.hash != held.content_hash:
        return False
    if claimant.id_check is IdCheck.UPSERT_ON_CHANGE:
        return True
    # Every reading is sent, but this very reading was: a retry of the run that delivered it.
    return _is_by_this_run(row, held, claimant)


def _is_by_this_run(row: Row, held: Held, claimant: Claimant) -> bool:
    return (
        held.run_id == claimant.run
        and held.outcome == Outcome.DELIVERED
        and held.delivered == (row.modified_ms, row.version)
    )


_STATE = LookUp(record, Held._fields, by="id")

_CLAIM = Upsert(
    record,
    key=("pipeline", "id"),
    columns=(
        "pipeline", "id", "source_id", "number", "status", "attempts", "run_id", "first_seen_at", "read_at",
        "claim_run", "claim_hash", "claim_modified_ms", "claim_version", "claim_until", "in_flight_at", "claim_content",
    ),
    update=(
        "source_id", "number", "status", "attempts", "read_at",
        "claim_run", "claim_hash", "claim_modified_ms", "claim_version", "claim_until", "in_flight_at", "claim_content",
    ),
)  # fmt: skip

_NOTE = Upsert(
    record,
    key=("pipeline", "id"),
    columns=(
        "pipeline", "id", "source_id", "number", "status", "run_id", "first_seen_at", "read_at", "modified_ms",
        "version", "outcome",
    ),
    update=("number", "status", "read_at", "modified_ms", "version", "outcome"),
)  # fmt: skip

_SENDING = Upsert(
    record,
    key=("pipeline", "id"),
    columns=(
        "pipeline", "id", "source_id", "status", "run_id", "first_seen_at", "read_at", "claim_until", "in_flight_at",
        "claim_content",
    ),
    update=("claim_until", "in_flight_at", "claim_content"),
)  # fmt: skip

_PARK = Upsert(
    record,
    key=("pipeline", "id"),
    columns=(
        "pipeline", "id", "source_id", "status", "run_id", "first_seen_at", "read_at", "outcome", "reason",
        "claim_until",
    ),
    update=("status", "outcome", "reason", "claim_until"),
)  # fmt: skip

_SETTLED_ANYHOW = ("status", "outcome", "reason", "code", "run_id", "settled_at", "claim_until")

_SETTLE = Upsert(
    record,
    key=("pipeline", "id"),
    columns=(
        "pipeline", "id", "source_id", "first_seen_at", "read_at", *_SETTLED_ANYHOW, "in_flight_at", "claim_content",
    ),
    update=(*_SETTLED_ANYHOW, "in_flight_at", "claim_content"),
)  # fmt: skip

_DELIVER = Upsert(
    record,
    key=("pipeline", "id"),
    columns=(*_SETTLE.columns, "modified_ms", "version", "content_hash", "removed_at", "content"),
    update=(*_SETTLE.update, "modified_ms", "version", "content_hash", "removed_at", "content"),
)


_DELIVERY = LookUp(record, ("id", "read_at", "run_id", "outcome", "content_hash"), by="id")
_FORGET = Upsert(
    record,
    key=("pipeline", "id"),
    columns=(
        "pipeline", "id", "source_id", "status", "outcome", "reason", "run_id", "first_seen_at", "read_at",
        "modified_ms", "version", "content_hash", "content",
    ),
    update=("status", "outcome", "reason", "modified_ms", "version", "content_hash", "content"),
)  # fmt: skip


class Ledger:
    """The records of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def preview(self, pipeline: str, rows: Sequence[Row], claimant: Claimant, now: datetime) -> list[Decision]:
        """What `claim` would say, with nothing written."""
        decisions = [Decision.STALE] * len(rows)
        for places in batches(_newest(rows), CLAIM_BATCH):
            with self._database.reading() as connection:
                held = _held(connection, pipeline, (rows[place] for place in places))
            for place in places:
                decisions[place] = decide(rows[place], held.get(rows[place].id), claimant, to_ms(now))
        return decisions

    def claim(
        self, pipeline: str, rows: Sequence[Row], claimant: Claimant, lease_s: float, now: datetime
    ) -> list[Decision]:
        """Decide each row, aligned with `rows`, and claim those to be sent for `lease_s` seconds.

        A first look takes no lock, since most rows of most runs are unchanged; only rows that it would write are
        decided again, and written, with nobody in between.
        """
        decisions = [Decision.STALE] * len(rows)
        clock = _Clock(to_ms(now), to_ms(now) + round(lease_s * 1000))
        for places in batches(_newest(rows), CLAIM_BATCH):
            with self._database.reading() as connection:
                held = _held(connection, pipeline, (rows[place] for place in places))
            again = []
            for place in places:
                row = rows[place]
                decisions[place] = decide(row, held.get(row.id), claimant, clock.now)
                if _writes(decisions[place], row, held.get(row.id)):
                    again.append(place)
            if again:
                written = self._claim([rows[place] for place in again], pipeline, claimant, clock)
                for place, decision in zip(again, written, strict=True):
                    decisions[place] = decision
        return decisions

    def _claim(self, rows: Sequence[Row], pipeline: str, claimant: Claimant, clock: _Clock) -> list[Decision]:
        with self._database.writing(f"records of {pipeline}") as connection:
            held = _held(connection, pipeline, rows)
            decisions = [decide(row, held.get(row.id), claimant, clock.now) for row in rows]
            writer = _Writer(connection, pipeline, claimant, clock)
            decided = [(row, held.get(row.id), d) for row, d in zip(rows, decisions, strict=True)]
            writer.claim([(row, was) for row, was, d in decided if d.claimed])
            writer.note(
                [(row, was) for row, was, d in decided if d is Decision.UNCHANGED and was and _is_news(row, was)]
            )
            writer.park([(row, was) for row, was, d in decided if d is Decision.IN_DOUBT and was and was.open])
        return decisions

    def sending(
        self, pipeline: str, rows: Sequence[Row], claimant: Claimant, lease_s: float, now: datetime
    ) -> list[bool]:
        """Renew the claims right before the rows are sent; False, aligned with `rows`, where another has taken it.

        For a target that cannot upsert the rows are marked in flight, with their content, so that a lost answer
        (or a death before the answer) leaves them in doubt instead of sent twice.
        """
        clock = _Clock(to_ms(now), to_ms(now) + round(lease_s * 1000))
        with self._database.writing(f"records of {pipeline}") as connection:
            held = _held(connection, pipeline, rows)
            ours = [_is_ours(held.get(row.id), row, claimant.holder) for row in rows]
            writer = _Writer(connection, pipeline, claimant, clock)
            writer.sending([row for row, mine in zip(rows, ours, strict=True) if mine])
        return ours

    def settle(self, pipeline: str, settled: Sequence[Settled], claimant: Claimant, now: datetime) -> int:
        """Store what became of claimed rows; how many were no longer this claimant's, and were left as they are."""
        lost = 0
        clock = _Clock(to_ms(now), None)
        for batch in batches(settled):
            with self._database.writing(f"records of {pipeline}") as connection:
                held = _held(connection, pipeline, (one.row for one in batch))
                ours, others = [], []
                for one in batch:
                    was = held.get(one.row.id)
                    if _is_ours(was, one.row, claimant.holder):
                        ours.append(one)
                    elif not _is_repeated(was, one, claimant.holder):
                        others.append(one)
                writer = _Writer(connection, pipeline, claimant, clock)
                writer.settle(ours)
                writer.tell_lost(others)
                lost += len(others)
        return lost

    def again(
        self, pipeline: str, rows: Sequence[tuple[Row, str, int | str | None]], claimant: Claimant, now: datetime
    ) -> None:
        """Note that these rows were sent and not taken, with the target's reason and code; they stay claimed."""
        told = [
            Event(
                row.source_id, row.id, to_ms(now), claimant.run, What.AGAIN.value, claimant.segment, row.modified_ms,
                row.version, row.hash, None if code is None else str(code), clean(reason, events.REASON_CHARACTERS),
            )
            for row, reason, code in rows
        ]  # fmt: skip
        for batch in batches(told):
            with self._database.writing(f"events of {pipeline}") as connection:
                events.store(connection, pipeline, batch)

    def delivered(self, pipeline: str, rows: Sequence[Row], run: str) -> list[tuple[Row, int]]:
        """The rows that this run delivered and nobody has since, each with when it was claimed (epoch ms)."""
        with self._database.reading() as connection:
            found = _delivered(connection, pipeline, rows)
        return [(row, found[row.id][0]) for row in rows if row.id in found and _is_of(found[row.id], row, run)]

    def forget(self, pipeline: str, rows: Sequence[Row], run: str, now: datetime) -> list[Row]:
        """Take back that this run delivered these rows, since the target does not hold them; those that were."""
        reason = "the target did not have it when it was asked after the delivery"
        with self._database.writing(f"records of {pipeline}") as connection:
            found = _delivered(connection, pipeline, rows)
            ours = [row for row in rows if row.id in found and _is_of(found[row.id], row, run)]
            _FORGET.run(
                connection,
                [
                    (
                        pipeline, row.id, row.source_id, Status.ERROR, Outcome.DEAD_LETTER.value, reason, run,
                        to_ms(now), to_ms(now), None, None, None, None,
                    )
                    for row in ours
                ],
            )  # fmt: skip
            told = events.of_rows(ours, What.FORGOTTEN, run=run, segment="", at_ms=to_ms(now), reason=reason)
            events.store(connection, pipeline, told)
        return ours


def _delivered(connection: Connection, pipeline: str, rows: Sequence[Row]) -> dict[str, tuple[Any, ...]]:
    return {each[0]: tuple(each[1:]) for each in _DELIVERY.run(connection, pipeline, [row.id for row in rows])}


def _is_of(found: tuple[Any, ...], row: Row, run: str) -> bool:
    return found[1:] == (run, Outcome.DELIVERED.value, row.hash)


class _Clock(NamedTuple):
    """Epoch milliseconds: now, and when a claim that is made now ends."""

    now: int
    until: int | None


class _Writer:
    """Writes decisions that were made in this transaction; the caller holds the pipeline's lock."""

    def __init__(self, connection: Connection, pipeline: str, claimant: Claimant, clock: _Clock) -> None:
        self._connection = connection
        self._pipeline = pipeline
        self._claimant = claimant
        self._now = clock.now
        self._until = clock.until

    def claim(self, rows: Sequence[tuple[Row, Held | None]]) -> None:
        _CLAIM.run(
            self._connection,
            [
                (
                    self._pipeline, row.id, row.source_id, _number(row), Status.QUEUE, _attempts(was),
                    self._claimant.run, self._now, self._now,
                    self._claimant.holder, row.hash, row.modified_ms, row.version, self._until, None, None,
                )
                for row, was in rows
            ],
        )  # fmt: skip
        taken: dict[str | None, list[Row]] = defaultdict(list)
        for row, was in rows:
            if was and was.open and was.claim_run != self._claimant.holder:
                taken[was.claim_run].append(row)
        for holder, few in taken.items():
            self._tell(few, What.TAKEN_OVER, f"the claim of {holder} was over, and it had not said what became of it")

    def note(self, rows: Sequence[tuple[Row, Held]]) -> None:
        """A newer version with the content that is there: only its stamp is new."""
        repeat = self._claimant.id_check is IdCheck.SKIP_EXISTING
        status = Status.REPEAT if repeat else Status.FINISHED
        _NOTE.run(
            self._connection,
            [
                (
                    self._pipeline, row.id, row.source_id, _number(row), status, self._claimant.run, self._now,
                    self._now, row.modified_ms, row.version, Outcome.UNCHANGED.value,
                )
                for row, _ in rows
            ],
        )  # fmt: skip
        letters.close_delivered(
            self._connection, self._pipeline, [row for row, _ in rows], self._claimant.run, self._now
        )
        self._tell([row for row, _ in rows], What.UNCHANGED)

    def park(self, rows: Sequence[tuple[Row, Held]]) -> None:
        """Claims that died in flight: from now on in doubt, whoever asks."""
        reason = "the task that sent it ended before the target's answer was stored"
        _PARK.run(
            self._connection,
            [
                (
                    self._pipeline, row.id, row.source_id, Status.IN_DOUBT, self._claimant.run, self._now, self._now,
                    Outcome.IN_DOUBT.value, reason, None,
                )
                for row, _ in rows
            ],
        )  # fmt: skip
        self._tell([row for row, _ in rows], What.IN_DOUBT, reason)

    def sending(self, rows: Sequence[Row]) -> None:
        mark = None if self._claimant.upserts else self._now
        _SENDING.run(
            self._connection,
            [
                (
                    self._pipeline, row.id, row.source_id, Status.QUEUE, self._claimant.run, self._now, self._now,
                    self._until, mark, None if mark is None else dumps(row.content),
                )
                for row in rows
            ],
        )  # fmt: skip

    def settle(self, settled: Sequence[Settled]) -> None:
        delivered = [one for one in settled if one.outcome is Outcome.DELIVERED]
        _SETTLE.run(self._connection, [self._settled(one) for one in settled if one.outcome is not Outcome.DELIVERED])
        _DELIVER.run(
            self._connection,
            [
                (*self._settled(one), one.row.modified_ms, one.row.version, one.row.hash, None, dumps(one.row.content))
                for one in delivered
            ],
        )
        letters.close_delivered(
            self._connection, self._pipeline, [one.row for one in delivered], self._claimant.run, self._now
        )
        events.store(self._connection, self._pipeline, [self._event(one) for one in settled])

    def tell_lost(self, settled: Sequence[Settled]) -> None:
        """What the target said of rows that another claimant had taken over: it is not what counts of them."""
        late = "another run had taken it over before this answer was stored"
        told = [self._event(one)._replace(reason=f"{late}. {one.reason}".rstrip()) for one in settled]
        events.store(self._connection, self._pipeline, told)

    def _tell(self, rows: Iterable[Row], what: What, reason: str = "") -> None:
        run, segment = self._claimant.run, self._claimant.segment
        told = events.of_rows(rows, what, run=run, segment=segment, at_ms=self._now, reason=reason)
        events.store(self._connection, self._pipeline, told)

    def _event(self, one: Settled) -> Event:
        row = one.row
        return Event(
            row.source_id, row.id, self._now, self._claimant.run, _WHAT[one.outcome].value, self._claimant.segment,
            row.modified_ms, row.version, row.hash, None if one.code is None else str(one.code),
            clean(one.reason, events.REASON_CHARACTERS),
        )  # fmt: skip

    def _settled(self, one: Settled) -> tuple[Any, ...]:
        doubt = one.outcome is Outcome.IN_DOUBT
        return (
            self._pipeline, one.row.id, one.row.source_id, self._now, self._now, _STATUS[one.outcome],
            one.outcome.value, clean(one.reason, 1_000), None if one.code is None else str(one.code),
            self._claimant.run, self._now, None, self._now if doubt else None,
            dumps(one.row.content) if doubt else None,
        )  # fmt: skip


def _held(connection: Connection, pipeline: str, rows: Iterable[Row]) -> dict[str, Held]:
    ids = [row.id for row in rows]
    return {found[0]: Held._make(found) for found in _STATE.run(connection, pipeline, ids)}


def _newest(rows: Sequence[Row]) -> list[int]:
    """The places of the rows that count: of one id the newest, of equal versions the last."""
    places: dict[str, int] = {}
    for place, row in enumerate(rows):
        first = places.setdefault(row.id, place)
        if first != place and _stamp(row) >= _stamp(rows[first]):
            places[row.id] = place
    return list(places.values())


def _stamp(row: Row) -> tuple[int, int]:
    return (row.modified_ms, row.version)


def _writes(decision: Decision, row: Row, held: Held | None) -> bool:
    if decision is Decision.UNCHANGED:
        return held is not None and _is_news(row, held)
    if decision is Decision.IN_DOUBT:
        return held is not None and held.open
    return decision.claimed


def _is_news(row: Row, held: Held) -> bool:
    """Whether an unchanged row tells the ledger something: a newer stamp, or that a refused version is history."""
    return held.delivered != _stamp(row) or (held.status == Status.ERROR and held.claimed <= _stamp(row))


def _is_ours(held: Held | None, row: Row, holder: str) -> bool:
    return held is not None and held.open and held.is_claim_of(row, holder)


def _is_repeated(held: Held | None, one: Settled, holder: str) -> bool:
    """Whether this very settlement is stored already: its first call was, though its answer got lost."""
    return (
        held is not None and not held.open and held.outcome == one.outcome.value and held.is_claim_of(one.row, holder)
    )


def _attempts(was: Held | None) -> int:
    if was is None or (was.status in (Status.FINISHED, Status.REPEAT)):
        return 1
    return was.attempts + 1


def _number(row: Row) -> str | None:
    return None if row.number is None else clean(row.number, 1_000)
