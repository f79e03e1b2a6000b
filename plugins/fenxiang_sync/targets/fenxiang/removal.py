"""Removal: the one record of a match value is voided (作废), and deleted after that where it is to go for good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fenxiang_sync.errors import AnswerLostError, RecordError
from fenxiang_sync.rows import DeletePolicy
from fenxiang_sync.targets.crm import Crm
from fenxiang_sync.targets.fenxiang.known import ID, Held
from fenxiang_sync.targets.fenxiang.records import Records, refused
from fenxiang_sync.targets.protocol import Answer, Delivery
from fenxiang_sync.targets.results import DELIVERED

if TYPE_CHECKING:
    from fenxiang_sync.targets.fenxiang.target import FenxiangTarget


@dataclass(frozen=True, slots=True)
class Leaving:
    """A row that is to go: its place in the batch, and the match value of its record."""

    place: int
    value: str


class Removing:
    """Voids and deletes the records of one batch, each step once. `voided` are the places of those that it voided."""

    def __init__(self, target: FenxiangTarget, crm: Crm, records: Records) -> None:
        self.voided: set[int] = set()
        self._target = target
        self._crm = crm
        self._records = records

    def remove(self, leaving: Leaving, held: Held, policy: DeletePolicy) -> Answer:
        """Void the one record, and delete it; the answer of the step that does not succeed."""
        value, deletes = leaving.value, policy is DeletePolicy.DELETE
        if several := self._records.several(held.live or (held.voided if deletes else ()), value):
            return several
        ids = [str(record[ID]) for record in (held.live or held.voided)]
        if held.live:
            if left := self._step(self._crm.invalid, ids[0], value, lambda now: not now.live):
                return left
            self.voided.add(leaving.place)
        if deletes and ids:
            # A record that was voided just now is not listed where the CRM hides them: that does not say it is gone.
            return (
                self._step(self._crm.delete, ids[0], value, lambda now: not now.ids & set(ids), shown=bool(held.voided))
                or DELIVERED
            )
        return DELIVERED

    def _step(
        self,
        act: Callable[[str, str], None],
        record_id: str,
        value: str,
        done: Callable[[Held], bool],
        *,
        shown: bool = True,
    ) -> Answer | None:
        """Do it; None where it is done, also where only a look shows that it is. A refusal is believed at once where
        the record was not `shown` before."""
        try:
            act(self._target.object, record_id)
        except RecordError as refusal:
            left = refused(str(refusal), refusal.code)
            if not shown:
                self._records.recent.forget(value)
                return left
        except AnswerLostError as lost:
            left = Answer(delivery=Delivery.UNKNOWN, reason=str(lost), code=lost.code)
        else:
            self._records.recent.forget(value)
            return None
        return None if done(self._records.fresh(value, voided=True)) else left
