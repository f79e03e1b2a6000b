"""The ledger: what of a batch is sent, and what became of it.

A row is claimed before it is sent and settled after, by one claimant at a time::

    claim ──► NEW, CHANGED ──► (sending) ──► send ──► settle: delivered │ dead_letter │ in_doubt
          └─► UNCHANGED, STALE, BUSY, IN_DOUBT: not sent

A claim whose lease is over may be taken: its claimant is taken for dead. What that claimant had may still have
arrived, so until the record is settled nothing older is sent, and nothing counts as unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from fenxiang_sync.hub.bulk import LookUp, batches
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.decision import Claimant, Decision, Held, decide, is_news, newest, rival_of, writes
from fenxiang_sync.hub.rivals import Pair, Rivals, note
from fenxiang_sync.hub.tables import record
from fenxiang_sync.hub.writer import Clock, Settled, Writer
from fenxiang_sync.rows import Outcome, Row
from fenxiang_sync.window import to_ms

CLAIM_BATCH = 5_000
"""Rows that are decided in one transaction."""

_STATE = LookUp(record, Held._fields, by="id")
_DELIVERY = LookUp(record, ("id", "read_at", "run_id", "outcome", "content_hash"), by="id")


class Ledger:
    """The records of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rivals = Rivals(database)

    def preview(self, pipeline: str, rows: Sequence[Row], claimant: Claimant, now: datetime) -> list[Decision]:
        """What `claim` would say, with nothing written."""
        decisions = [Decision.STALE] * len(rows)
        for places in batches(newest(rows), CLAIM_BATCH):
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
        clock = Clock(to_ms(now), to_ms(now) + round(lease_s * 1000))
        count = newest(rows)
        rivals = _rivals_within(rows, count)
        for places in batches(count, CLAIM_BATCH):
            with self._database.reading() as connection:
                held = _held(connection, pipeline, (rows[place] for place in places))
            again = []
            for place in places:
                row = rows[place]
                decisions[place] = decide(row, held.get(row.id), claimant, clock.now)
                if writes(decisions[place], row, held.get(row.id)):
                    again.append(place)
                elif decisions[place] is Decision.STALE:
                    rivals += rival_of(decisions[place], row, held.get(row.id))
            if again:
                written = self._claim([rows[place] for place in again], pipeline, claimant, clock)
                for place, decision in zip(again, written, strict=True):
                    decisions[place] = decision
        self._rivals.note(pipeline, rivals)
        return decisions

    def _claim(self, rows: Sequence[Row], pipeline: str, claimant: Claimant, clock: Clock) -> list[Decision]:
        with self._database.writing(f"records of {pipeline}") as connection:
            held = _held(connection, pipeline, rows)
            decisions = [decide(row, held.get(row.id), claimant, clock.now) for row in rows]
            writer = Writer(connection, pipeline, claimant, clock)
            decided = [(row, held.get(row.id), d) for row, d in zip(rows, decisions, strict=True)]
            writer.claim([(row, was) for row, was, d in decided if d.claimed])
            writer.note(
                [(row, was) for row, was, d in decided if d is Decision.UNCHANGED and was and is_news(row, was)]
            )
            writer.park([(row, was) for row, was, d in decided if d is Decision.IN_DOUBT and was and was.open])
            note(connection, pipeline, (pair for row, was, d in decided for pair in rival_of(d, row, was)))
        return decisions

    def sending(
        self, pipeline: str, rows: Sequence[Row], claimant: Claimant, lease_s: float, now: datetime
    ) -> list[bool]:
        """Renew the claims right before the rows are sent; False, aligned with `rows`, where another has taken it.

        For a target that cannot upsert the rows are marked in flight, with their content, so that a lost answer
        (or a death before the answer) leaves them in doubt instead of sent twice.
        """
        clock = Clock(to_ms(now), to_ms(now) + round(lease_s * 1000))
        with self._database.writing(f"records of {pipeline}") as connection:
            held = _held(connection, pipeline, rows)
            ours = [_is_ours(held.get(row.id), row, claimant.holder) for row in rows]
            writer = Writer(connection, pipeline, claimant, clock)
            writer.sending([row for row, mine in zip(rows, ours, strict=True) if mine])
        return ours

    def settle(self, pipeline: str, settled: Sequence[Settled], claimant: Claimant, now: datetime) -> int:
        """Store what became of claimed rows; how many were no longer this claimant's, and were left as they are."""
        lost = 0
        clock = Clock(to_ms(now), None)
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
                writer = Writer(connection, pipeline, claimant, clock)
                writer.settle(ours)
                writer.tell_lost(others)
                lost += len(others)
        return lost

    def again(
        self, pipeline: str, rows: Sequence[tuple[Row, str, int | str | None]], claimant: Claimant, now: datetime
    ) -> None:
        """Note that these rows were sent and not taken, with the target's reason and code; they stay claimed."""
        clock = Clock(to_ms(now), None)
        for batch in batches(rows):
            with self._database.writing(f"events of {pipeline}") as connection:
                Writer(connection, pipeline, claimant, clock).tell_again(batch)

    def delivered(self, pipeline: str, rows: Sequence[Row], run: str) -> list[tuple[Row, int]]:
        """The rows that this run delivered and nobody has since, each with when it was claimed (epoch ms)."""
        with self._database.reading() as connection:
            found = _delivered(connection, pipeline, rows)
        return [(row, found[row.id][0]) for row in rows if row.id in found and _is_of(found[row.id], row, run)]

    def forget(self, pipeline: str, rows: Sequence[Row], run: str, now: datetime) -> list[Row]:
        """Take back that this run delivered these rows, since the target does not hold them; those that were."""
        clock = Clock(to_ms(now), None)
        with self._database.writing(f"records of {pipeline}") as connection:
            found = _delivered(connection, pipeline, rows)
            ours = [row for row in rows if row.id in found and _is_of(found[row.id], row, run)]
            Writer(connection, pipeline, Claimant(run=run), clock).forget(ours)
        return ours


def _rivals_within(rows: Sequence[Row], count: Sequence[int]) -> list[Pair]:
    """Records whose row another one of these rows goes before; `count` are the places of those that do."""
    if len(count) == len(rows):
        return []
    holders = {rows[place].id: rows[place].source_id for place in count}
    return [(row.id, row.source_id) for row in rows if row.source_id != holders[row.id]]


def _held(connection: Connection, pipeline: str, rows: Iterable[Row]) -> dict[str, Held]:
    ids = [row.id for row in rows]
    return {found[0]: Held._make(found) for found in _STATE.run(connection, pipeline, ids)}


def _delivered(connection: Connection, pipeline: str, rows: Sequence[Row]) -> dict[str, tuple[Any, ...]]:
    return {each[0]: tuple(each[1:]) for each in _DELIVERY.run(connection, pipeline, [row.id for row in rows])}


def _is_of(found: tuple[Any, ...], row: Row, run: str) -> bool:
    return found[1:] == (run, Outcome.DELIVERED.value, row.hash)


def _is_ours(held: Held | None, row: Row, holder: str) -> bool:
    return held is not None and held.open and held.is_claim_of(row, holder)


def _is_repeated(held: Held | None, one: Settled, holder: str) -> bool:
    """Whether this very settlement is stored already: its first call was, though its answer got lost."""
    return (
        held is not None and not held.open and held.outcome == one.outcome.value and held.is_claim_of(one.row, holder)
    )
