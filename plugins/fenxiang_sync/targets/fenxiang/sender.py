"""FenxiangSender: how rows become records, and how each comes to its answer.

- Fenxiang has no idempotency: a create that is made twice is two records. So records are looked up by the match field
  before anything is written. What is there with the same values costs no call; else only what differs is updated.
- A create is never made again once it went out. Where its answer is lost the record is looked for; what is not found is
  in doubt, and the next row of that value is not sent before that is settled.
- A refused write is looked up once more: the value may have been taken by somebody else meanwhile, the record may be
  gone, and code 50009 stands for a refusal as well as for a time-out.
- Rows of one match value are written in their order; those of different ones, several at once.
- A CRM that loses one answer after the other is left alone: each create leaves a row in doubt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fenxiang_sync.errors import (
    AnswerLostError,
    FenxiangSyncError,
    RecordError,
    RefusedError,
    SetupError,
    TransientError,
)
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.crm import Crm, Record
from fenxiang_sync.targets.fenxiang.details import Details
from fenxiang_sync.targets.fenxiang.known import ID, STAMP, Held, stamp_of, value_of
from fenxiang_sync.targets.fenxiang.parcels import Delivering, Lost, Parcel
from fenxiang_sync.targets.fenxiang.records import Records, refused, taken
from fenxiang_sync.targets.fenxiang.removal import Leaving, Removing
from fenxiang_sync.targets.fenxiang.values import differences, empty, wire
from fenxiang_sync.targets.protocol import Answer, Delivery, Reach, Removal
from fenxiang_sync.targets.results import DELIVERED
from fenxiang_sync.targets.sending import LOOKS, is_delivered, stopped

if TYPE_CHECKING:
    from fenxiang_sync.targets.fenxiang.target import FenxiangTarget

CREATE_ONLY = frozenset(("owner", "create_time", "created_by", STAMP))
"""What is said of a new record alone: no update changes it."""
MOST_LOST = 3
"""Lost creates in a row after which nothing more is created."""
_ENDS = (TransientError, RefusedError, SetupError)


class FenxiangSender:
    """Open records of one object. Also a `Finder`, a `Teller`, a `Holder` and, where it creates them, a `Remover`."""

    def __init__(self, target: FenxiangTarget, crm: Crm, reach: Reach) -> None:
        self._target = target
        self._crm = crm
        self._reach = reach
        self._records = Records(target, crm, reach)
        self._details = Details(crm, target.object)
        self._doubtful: set[str] = set()
        """Match values of creates whose answer was lost: such a record may still come to be."""
        self._lost_in_a_row = 0

    def send(self, rows: Sequence[Row]) -> Sequence[Answer]:
        """See `Sender.send`; the module says how each row comes to its answer."""
        answers: list[Answer | None] = [None] * len(rows)
        delivery = Delivering(self._delivered, self._reach.now, self._doubtful)
        try:
            parcels = self._parcels(rows, answers)
            self._records.each(parcels, delivery, answers, expected=self._expected(parcels))
            self._look_for(delivery.lost, answers)
            self._after(delivery, answers)
        except _ENDS as error:
            self._look_for(delivery.lost, answers)
            delivery.share(answers)
            return stopped(answers, error)
        return [answer for answer in answers if answer]

    def find(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:  # noqa: ARG002 - it has no history
        """See `Finder.find`: whether there is one record of the row's match value with the row's values."""
        parcels = self._parcels(rows, [None] * len(rows))
        known = self._records.live([each.value for each in parcels])
        found: list[bool | None] = [None] * len(rows)
        for parcel in parcels:
            live = known[parcel.value].live
            if len(live) < 2:
                found[parcel.place] = bool(live) and not self._differences(parcel, live[0])
        return found

    def tell(self, rows: Sequence[Row]) -> Sequence[Mapping[str, str | int]]:
        """See `Teller.tell`: the id of the one record of the row's match value."""
        values = [value_of(row.content.get(self._target.match)) for row in rows]
        known = self._records.live([value for value in dict.fromkeys(values) if value])
        live = [known[value].live if value else () for value in values]
        return [taken(records[0][ID]).told if len(records) == 1 else {} for records in live]

    @property
    def sample(self) -> int:
        """See `Holder.sample`."""
        return self._target.sample

    def holds(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:
        """See `Holder.holds`."""
        held: Sequence[bool | None] = []
        for pause in LOOKS:
            if pause:
                self._reach.sleep(pause)
            held = self.find(rows, since=since)
            if all(held) or None in held:
                break
        return held

    def remove(self, removals: Sequence[Removal], *, policy: DeletePolicy) -> Sequence[Answer]:
        """See `Remover.remove`: void the records, and delete them besides where that is the policy."""
        match = self._target.match
        named = [Leaving(place, value_of(each.content.get(match))) for place, each in enumerate(removals)]
        stay = {value_of(content.get(match)) for each in removals for content in each.stays}
        nameless = refused(f"the row that was sent had no {match}")
        answers = [nameless if not each.value else DELIVERED if each.value in stay else None for each in named]
        removing = Removing(self._target, self._crm, self._records)
        try:
            self._records.each(
                [each for each in named if answers[each.place] is None],
                lambda each, held: removing.remove(each, held, policy),
                answers,
                expected={each.value for each in named},
            )
        except _ENDS as error:
            answers = [*stopped(answers, error)]
        return [
            replace(answer, touched=place in removing.voided and not is_delivered(answer))
            for place, answer in enumerate(answers)
            if answer
        ]

    # A batch

    def _parcels(self, rows: Sequence[Row], answers: list[Answer | None]) -> list[Parcel]:
        """The rows that can be sent; those that cannot have their answer."""
        parcels = []
        for place, row in enumerate(rows):
            try:
                content, lines = self._target.content(row)
            except ValueError as error:
                answers[place] = refused(str(error))
                continue
            value = value_of(row.content.get(self._target.match))
            if value:
                parcels.append(Parcel(place, row, value, content, lines))
            else:
                answers[place] = refused(f"the row has no {self._target.match}, by which its record is looked up")
        return parcels

    def _expected(self, parcels: Sequence[Parcel]) -> set[str]:
        """The values of which a second record would be made, if a look-up were early."""
        return {each.value for each in parcels if each.row.held and not each.row.flagged and self._target.creates}

    # One row

    def _delivered(self, parcel: Parcel, held: Held) -> Answer:
        """The row's answer; where the CRM refuses it, by what is there afterwards. Raises `AnswerLostError`."""
        try:
            return self._written(parcel, held)
        except RecordError as refusal:
            said = refused(str(refusal), refusal.code)
        now = self._records.fresh(parcel.value)
        try:
            if now.shape != held.shape:
                return self._written(parcel, now)
            same = len(now.live) == 1 and not self._differences(parcel, now.live[0])
            return taken(now.live[0][ID]) if same else said
        except RecordError as refusal:
            return refused(str(refusal), refusal.code)

    def _written(self, parcel: Parcel, held: Held) -> Answer:
        """Create, update, or leave as it is. Raises `RecordError` where the CRM refuses, `AnswerLostError`."""
        if several := self._records.several(held.live or held.voided, parcel.value):
            return several
        if held.live:
            return self._update(parcel, held.live[0])
        if parcel.row.flagged:  # its record is voided, and stays so
            return DELIVERED
        if held.voided:
            return self._update(parcel, self._recovered(parcel, held.voided[0]))
        if not self._target.creates:
            said = "no record of the CRM has it, and this target only updates (creates=False)"
            return refused(f"{self._records.named(parcel.value)}: {said}")
        return self._create(parcel)

    def _recovered(self, parcel: Parcel, record: Record) -> Record:
        self._crm.recover(self._target.object, str(record[ID]))
        back = {**record, "life_status": "normal"}
        self._records.recent.note(parcel.value, back, stamp_of(record))
        return back

    def _create(self, parcel: Parcel) -> Answer:
        if parcel.value in self._doubtful:
            said = "a record of it may be under way: the answer to its create was lost"
            return Answer(delivery=Delivery.UNKNOWN, reason=f"{self._records.named(parcel.value)}: {said}")
        if self._lost_in_a_row >= MOST_LOST:
            raise TransientError(
                f"{self._target.describe()}: {self._lost_in_a_row} answers in a row were lost; nothing more is created "
                "now, since each call leaves its row in doubt"
            )
        owner = list(self._target.owner) or [self._crm.user()]
        values = {"owner": owner, **{name: value for name, value in parcel.content.items() if not empty(value)}}
        self._doubtful.add(parcel.value)
        try:
            record_id = self._crm.create(
                self._target.object,
                wire(values),
                details=wire({name: list(lines) for name, lines in parcel.lines.items() if lines}),
                specify_time=self._target.specify_time,
                specify_created_by=self._target.specify_created_by,
                **self._triggers,
            )
        except AnswerLostError:
            self._lost_in_a_row += 1
            raise
        except FenxiangSyncError:
            self._doubtful.discard(parcel.value)
            raise
        self._doubtful.discard(parcel.value)
        self._lost_in_a_row = 0
        self._records.recent.note(parcel.value, {**values, ID: record_id}, 0)
        return taken(record_id)

    def _update(self, parcel: Parcel, record: Record) -> Answer:
        self._doubtful.discard(parcel.value)
        if parcel.lines and (said := self._details.objection(parcel.lines, record)):
            return refused(f"{self._records.named(parcel.value)}: {said}")
        changes = self._differences(parcel, record)
        if not changes:
            return taken(record[ID])
        if record[ID] is None:
            said = "its record was just created, its id is not told, and queries do not show it yet"
            return Answer(delivery=Delivery.AGAIN, reason=f"{self._records.named(parcel.value)}: {said}")
        self._crm.update(self._target.object, str(record[ID]), wire(changes), **self._triggers)
        self._records.recent.note(parcel.value, {**record, **changes}, stamp_of(record))
        return taken(record[ID])

    def _differences(self, parcel: Parcel, record: Record) -> dict[str, Any]:
        return differences(record, {n: v for n, v in parcel.content.items() if n not in CREATE_ONLY})

    def _look_for(self, lost: Mapping[str, Lost], answers: list[Answer | None]) -> None:
        """Answer the creates whose answer was lost by a few looks, since a record shows late."""
        missing = {value: each for value, each in lost.items() if answers[each[0].place] is None}
        for pause in LOOKS if missing else ():
            if pause:
                self._reach.sleep(pause)
            try:
                known = self._records.live(list(missing))
                for parcel, _ in lost.values():
                    if parcel.value in missing and known[parcel.value].live:
                        answers[parcel.place] = self._delivered(parcel, known[parcel.value])
                        del missing[parcel.value]
            except FenxiangSyncError:
                break  # they are in doubt then: the lost answer matters, not the failed question
            if not missing:
                break
        for value, (parcel, error) in missing.items():
            if error.over:
                self._doubtful.discard(value)
            delivery = Delivery.AGAIN if error.over else Delivery.UNKNOWN
            reason = f"{error}; no record of it was found afterwards"
            answers[parcel.place] = Answer(delivery=delivery, reason=reason, code=error.code)

    def _after(self, delivery: Delivering, answers: list[Answer | None]) -> None:
        """The rows that waited behind a lost create of their value: written where that is settled."""
        ready = [each for each in delivery.waiting if is_delivered(answers[delivery.lost[each.value][0].place])]
        if ready:
            again = Delivering(self._delivered, self._reach.now, self._doubtful)
            self._records.each(ready, again, answers)
            self._look_for(again.lost, answers)
            again.share(answers)
        delivery.share(answers)

    # Words

    @property
    def _triggers(self) -> dict[str, bool]:
        return {"trigger_workflow": self._target.trigger_workflow, "trigger_approval": self._target.trigger_approval}
