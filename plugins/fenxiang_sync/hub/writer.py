"""Writer: the statements by which claims and settlements get into the ledger, each with the events that tell of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection

from fenxiang_sync.hub import events, letters, told
from fenxiang_sync.hub.bulk import Upsert
from fenxiang_sync.hub.content import clean, dumps
from fenxiang_sync.hub.decision import Claimant, Held
from fenxiang_sync.hub.events import Event, What
from fenxiang_sync.hub.tables import Status, record
from fenxiang_sync.rows import IdCheck, Outcome, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of a claimed row: delivered, dead_letter, in_doubt; stale: the target holds a newer version. `told`
    is what the target says of a row that it took."""

    row: Row
    outcome: Outcome
    reason: str = ""
    code: int | str | None = None
    told: Mapping[str, str | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.outcome not in _STATUS:
            raise ValueError(f"row {self.row.id!r} cannot be settled as {self.outcome}: only as {', '.join(_STATUS)}")


_WHAT = {
    Outcome.DELIVERED: What.DELIVERED,
    Outcome.DEAD_LETTER: What.REFUSED,
    Outcome.IN_DOUBT: What.IN_DOUBT,
    Outcome.STALE: What.STALE,
}
_STATUS = {
    Outcome.DELIVERED: Status.FINISHED,
    Outcome.DEAD_LETTER: Status.ERROR,
    Outcome.IN_DOUBT: Status.IN_DOUBT,
    Outcome.STALE: Status.FINISHED,
}


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
    update=("source_id", "number", "status", "read_at", "modified_ms", "version", "outcome"),
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

_FORGET = Upsert(
    record,
    key=("pipeline", "id"),
    columns=(
        "pipeline", "id", "source_id", "status", "outcome", "reason", "run_id", "first_seen_at", "read_at",
        "modified_ms", "version", "content_hash", "content",
    ),
    update=("status", "outcome", "reason", "modified_ms", "version", "content_hash", "content"),
)  # fmt: skip


class Clock(NamedTuple):
    """Epoch milliseconds: now, and when a claim that is made now ends."""

    now: int
    until: int | None


class Writer:
    """Writes decisions that were made in this transaction; the caller holds the pipeline's lock."""

    def __init__(self, connection: Connection, pipeline: str, claimant: Claimant, clock: Clock) -> None:
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
            self._connection, self._pipeline, [row for row, _ in rows], self._claimant.run, self._now, letters.UNCHANGED
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
        taken = (Outcome.DELIVERED, Outcome.STALE)
        delivered = [one for one in settled if one.outcome in taken]
        _SETTLE.run(self._connection, [self._settled(one) for one in settled if one.outcome not in taken])
        _DELIVER.run(
            self._connection,
            [(*self._settled(one), one.row.modified_ms, one.row.version, *_held_content(one)) for one in delivered],
        )
        said = {one.row.id: one.told for one in delivered if one.outcome is Outcome.DELIVERED}
        told.store(self._connection, self._pipeline, said, self._now)
        letters.close_delivered(
            self._connection, self._pipeline, [one.row for one in delivered], self._claimant.run, self._now
        )
        events.store(self._connection, self._pipeline, [self._event(one) for one in settled])

    def tell_lost(self, settled: Sequence[Settled]) -> None:
        """What the target said of rows that another claimant had taken over: it is not what counts of them."""
        late = "another run had taken it over before this answer was stored"
        lost = [self._event(one)._replace(reason=f"{late}. {one.reason}".rstrip()) for one in settled]
        events.store(self._connection, self._pipeline, lost)

    def tell_again(self, rows: Sequence[tuple[Row, str, int | str | None]]) -> None:
        """Rows that were sent and not taken, with the target's reason and code."""
        again = [self._said(row, What.AGAIN, reason, code) for row, reason, code in rows]
        events.store(self._connection, self._pipeline, again)

    def forget(self, rows: Sequence[Row]) -> None:
        """The target turned out not to hold them: not delivered, nor refused by anybody."""
        reason = "the target did not have it when it was asked after the delivery"
        _FORGET.run(
            self._connection,
            [
                (
                    self._pipeline, row.id, row.source_id, Status.ERROR, Outcome.DEAD_LETTER.value, reason,
                    self._claimant.run, self._now, self._now, None, None, None, None,
                )
                for row in rows
            ],
        )  # fmt: skip
        told.forget(self._connection, self._pipeline, [row.id for row in rows])
        self._tell(rows, What.FORGOTTEN, reason)

    def _tell(self, rows: Iterable[Row], what: What, reason: str = "") -> None:
        run, segment = self._claimant.run, self._claimant.segment
        happened = events.of_rows(rows, what, run=run, segment=segment, at_ms=self._now, reason=reason)
        events.store(self._connection, self._pipeline, happened)

    def _event(self, one: Settled) -> Event:
        return self._said(one.row, _WHAT[one.outcome], one.reason, one.code)

    def _said(self, row: Row, what: What, reason: str, code: int | str | None) -> Event:
        """What the target said of a row."""
        return Event(
            row.source_id, row.id, self._now, self._claimant.run, what.value, self._claimant.segment,
            row.modified_ms, row.version, row.hash, None if code is None else str(code),
            clean(reason, events.REASON_CHARACTERS),
        )  # fmt: skip

    def _settled(self, one: Settled) -> tuple[Any, ...]:
        doubt = one.outcome is Outcome.IN_DOUBT
        return (
            self._pipeline, one.row.id, one.row.source_id, self._now, self._now, _STATUS[one.outcome],
            one.outcome.value, clean(one.reason, 1_000), None if one.code is None else str(one.code),
            self._claimant.run, self._now, None, self._now if doubt else None,
            dumps(one.row.content) if doubt else None,
        )  # fmt: skip


def _held_content(one: Settled) -> tuple[str | None, None, str | None]:
    """The hash of what the target holds now, no removal, and the content; of a newer version nobody here knows either,
    so that whatever is read of that record next is sent."""
    if one.outcome is Outcome.STALE:
        return (None, None, None)
    return (one.row.hash, None, dumps(one.row.content))


def _attempts(was: Held | None) -> int:
    if was is None or (was.status in (Status.FINISHED, Status.REPEAT)):
        return 1
    return was.attempts + 1


def _number(row: Row) -> str | None:
    return None if row.number is None else clean(row.number, 1_000)
