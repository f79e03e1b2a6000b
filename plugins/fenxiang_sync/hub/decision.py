"""Decision: what becomes of one row, given what the ledger holds of its id. Nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from fenxiang_sync.hub.tables import Status
from fenxiang_sync.rows import IdCheck, Outcome, Row


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


class Held(NamedTuple):
    """What the ledger holds of one id; its look-up reads these columns. The delivered version is None before a
    delivery."""

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
    source_id: str

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

    def was_given_up(self, row: Row) -> bool:
        """Whether another record gave this id and does no more: that record's stamps say nothing about this one's."""
        return self.removed_at is not None and self.source_id != row.source_id

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
    if delivered is not None and stamp < delivered and not held.was_given_up(row):
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


def newest(rows: Sequence[Row]) -> list[int]:
    """The places of the rows that count: of one id the newest, of equal versions the last."""
    places: dict[str, int] = {}
    for place, row in enumerate(rows):
        first = places.setdefault(row.id, place)
        if first != place and _stamp(row) >= _stamp(rows[first]):
            places[row.id] = place
    return list(places.values())


def _stamp(row: Row) -> tuple[int, int]:
    return (row.modified_ms, row.version)


def writes(decision: Decision, row: Row, held: Held | None) -> bool:
    if decision is Decision.UNCHANGED:
        return held is not None and is_news(row, held)
    if decision is Decision.IN_DOUBT:
        return held is not None and held.open
    return decision.claimed


def rival_of(decision: Decision, row: Row, held: Held | None) -> list[tuple[str, str]]:
    """The row's id and the record that gives it as well and does not hold it now, if there is one."""
    if held is None or held.source_id == row.source_id or held.removed_at is not None:
        return []
    if decision is Decision.STALE:
        return [(row.id, row.source_id)]
    return [(row.id, held.source_id)] if decision.claimed or decision is Decision.UNCHANGED else []


def is_news(row: Row, held: Held) -> bool:
    """Whether an unchanged row tells the ledger something: a newer stamp, that another record gives it now, or that a
    refused version is history."""
    if held.delivered != _stamp(row) or held.source_id != row.source_id:
        return True
    return held.status == Status.ERROR and held.claimed <= _stamp(row)
