"""RestSender: how rows are sent to an HTTP target, and how each comes to its answer.

- A call that succeeds for all its rows delivers them.
- A call that is refused because of its content is halved until the bad rows stand alone; the same where only counters
  say that some rows failed *and* the target upserts. A row is refused only by a call that carried it alone, or by
  counters that say that every row of its call failed. For k bad ones of n rows in calls of b that takes at most
  n/b + 2k·log₂b calls.
- Where the target does not upsert, no row goes out twice unless it is known not to be there. After a partial success
  or a lost answer the target is asked what it holds (`find`): what is there is delivered, the rest is refused where
  the counters agree with what was found, and unknown otherwise. A target that only counts and cannot be asked gets one
  row a call, so that every answer is about one row.
- A lost answer of a target that upserts is simply tried again; the same where a call has an idempotency key, which all
  its tries share. What is lost for good is looked up all the same.
- A target that loses one answer after the other is left alone: each such call leaves rows in doubt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from requests.auth import AuthBase

from fenxiang_sync.errors import AnswerLostError, FenxiangSyncError, RefusedError, SetupError, TransientError
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.exchange import Bad, Exchange
from fenxiang_sync.targets.protocol import Answer, Delivery, Reach, Removal
from fenxiang_sync.targets.results import DELIVERED, Answers, Counted
from fenxiang_sync.targets.wire import Call, Reply, Wire, encode

if TYPE_CHECKING:
    from fenxiang_sync.targets.rest import RestTarget

LOOKS = (0.0, 2.0, 5.0)
"""Seconds before each look at the target for rows that may be there: a write may show up late."""

_ENDS = (TransientError, RefusedError, SetupError)
"""What ends a batch: the rows without an answer are sent again."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A row on its way: its place in the batch, and its content as it is sent, encoded."""

    place: int
    row: Row
    content: bytes


class RestSender(Exchange):
    """An open REST target. For one thread."""

    _target: RestTarget

    def __init__(self, target: RestTarget, wire: Wire, auth: AuthBase | None, reach: Reach) -> None:
        super().__init__(target, wire, auth, reach)
        self._lost = 0
        """How many calls in a row ended with rows in doubt."""

    def send(self, rows: Sequence[Row]) -> Sequence[Answer]:
        """See `Sender.send`; the module says how each row comes to its answer."""
        answers: list[Answer | None] = [None] * len(rows)
        try:
            for call in self._calls(self._parcels(rows, answers)):
                self._settle(call, answers)
        except _ENDS as error:
            return stopped(answers, error)
        return [answer for answer in answers if answer]

    def find(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:  # noqa: ARG002 - it has no history
        """See `Finder.find`; None for every row where the target cannot be asked."""
        return [self._finds(row) for row in rows]

    @property
    def sample(self) -> int:
        """See `Holder.sample`."""
        return self._target.asks

    def holds(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:
        """See `Holder.holds`. A call that fails is an error: the task asks again when it is tried again."""
        held: Sequence[bool | None] = []
        for pause in LOOKS:
            if pause:
                self._sleep(pause)
            held = self.find(rows, since=since)
            if all(held) or None in held:
                break
        return held

    def remove(self, removals: Sequence[Removal], *, policy: DeletePolicy) -> Sequence[Answer]:
        """See `Remover.remove`: one call for each row, tried again where its answer is lost."""
        answers: list[Answer | None] = [None] * len(removals)
        try:
            for place, removal in enumerate(removals):
                answers[place] = self._remove(removal, policy)
        except _ENDS as error:
            if any(answers):
                answers[place] = Answer(delivery=Delivery.UNKNOWN, reason=str(error))
            return stopped(answers, error)
        return [answer for answer in answers if answer]

    def write(self, parcels: Sequence[Parcel]) -> Call:
        """The call that writes these rows; asked anew for each try."""
        return self._target.call([parcel.row for parcel in parcels], [parcel.content for parcel in parcels])

    def _finds(self, row: Row) -> bool | None:
        one = self._target.find_one
        if one is None:
            return None
        try:
            call = one.call(row)
        except ValueError:  # its id cannot stand in a path
            return None
        reply = self.repeat(call)
        return None if isinstance(reply, Bad) else one.held(reply, self._target.content(row))

    def _remove(self, removal: Removal, policy: DeletePolicy) -> Answer:
        one = self._target.removal(policy)
        if one is None:
            raise SetupError(f"{self._target.describe()}: it has no word for {policy}; declare {policy}_one")
        try:
            call = one.call(removal)
        except ValueError as error:
            return Answer(delivery=Delivery.REFUSED, reason=str(error))
        reply = self.repeat(call)
        if isinstance(reply, Bad):
            return Answer(delivery=Delivery.REFUSED, reason=reply.reason, code=reply.code)
        return DELIVERED

    def _parcels(self, rows: Sequence[Row], answers: list[Answer | None]) -> Iterator[Parcel]:
        """What can be sent; the others get their answer here."""
        for place, row in enumerate(rows):
            objection = self._target.objection(row) or self._too_deep(row)
            if objection is None:
                try:
                    yield Parcel(place, row, encode(self._target.content(row)))
                    continue
                except (TypeError, ValueError, OverflowError) as error:
                    objection = Answer(delivery=Delivery.REFUSED, reason=f"the row is no JSON: {error}")
            answers[place] = objection

    def _too_deep(self, row: Row) -> Answer | None:
        most = self._target.max_depth
        if most is None or not _deeper(row.content, most):
            return None
        return Answer(delivery=Delivery.REFUSED, reason=f"the row is nested deeper than {most} (max_depth)")

    def _calls(self, parcels: Iterator[Parcel]) -> Iterator[list[Parcel]]:
        """Parcels in calls of at most `call_rows` rows and `max_bytes` bytes; a row over the limit goes alone."""
        frame = self._target.envelope.frame
        call: list[Parcel] = []
        size = frame
        for parcel in parcels:
            length = len(parcel.content) + 1
            if call and (len(call) == self._target.call_rows or size + length > self._target.max_bytes):
                yield call
                call, size = [], frame
            call.append(parcel)
            size += length
        if call:
            yield call

    def _settle(self, call: list[Parcel], answers: list[Answer | None], *, bad: bool = False) -> None:
        """Answer every row of `call`. `bad`: a row of it is known to be bad, so only its halves are worth a call."""
        if not bad or len(call) == 1:
            said = self._deliver(call)
            if isinstance(said, Bad) and len(call) == 1:
                said = [Answer(delivery=Delivery.REFUSED, reason=said.reason, code=said.code)]
            if not isinstance(said, Bad):
                for parcel, answer in zip(call, said, strict=True):
                    answers[parcel.place] = answer
                return
        # The larger half goes second: where the first is good, the call for the second as a whole is saved.
        half = len(call) // 2
        self._settle(call[:half], answers)
        good = all(is_delivered(answers[parcel.place]) for parcel in call[:half])
        self._settle(call[half:], answers, bad=good)

    def _deliver(self, call: list[Parcel]) -> list[Answer] | Bad:
        """One call, tried again as often as that is safe; an answer for each row, or `Bad`."""
        if self._lost >= self._target.most_lost:
            raise TransientError(
                f"connection {self._wire.conn_id!r}: {self._lost} answers in a row were lost; nothing more is sent "
                "now, since each call leaves its rows in doubt"
            )
        lost: list[AnswerLostError] = []
        began = self._now()
        try:
            return self._tried(call, began, lost)
        except _ENDS:
            if lost and (answers := self._after_loss(lost[-1], call, began)):
                return answers
            raise

    def _tried(self, call: list[Parcel], began: float, lost: list[AnswerLostError]) -> list[Answer] | Bad:
        """`lost` takes the lost answers of a call with a key, which may have been taken when it raises."""
        for attempt in range(1, self._target.tries + 1):
            written = self.write(call)
            try:
                reply = self.exchange(written)
                self._lost = 0
                return reply if isinstance(reply, Bad) else self._told(reply, call, began)
            except AnswerLostError as error:
                if not self._target.upserts:
                    if self._target.key_header:
                        lost.append(error)
                    elif answers := self._after_loss(error, call, began):
                        return answers
                self._pause(error, attempt)
            except TransientError as error:
                self._pause(error, attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _told(self, reply: Reply, call: list[Parcel], began: float) -> list[Answer] | Bad:
        rows = [parcel.row for parcel in call]
        read: Answers = self._target.results.read(reply.payload, rows)
        if isinstance(read, Counted):
            return self._counted(read, reply, rows, began)
        answers = [self._blotted(answer, upserts=self._target.upserts) for answer in read]
        untold = [place for place, answer in enumerate(answers) if answer.delivery is Delivery.UNKNOWN]
        held = self._look([rows[place] for place in untold], began, expected=len(untold)) if untold else []
        for place, there in zip(untold, held, strict=True):
            if there is not None:
                again = Answer(delivery=Delivery.AGAIN, reason=f"{answers[place].reason}, and it is not there")
                answers[place] = DELIVERED if there else again
        return answers

    def _blotted(self, answer: Answer, *, upserts: bool) -> Answer:
        if answer.delivery is Delivery.DELIVERED:
            return answer
        again = upserts and answer.delivery is Delivery.UNKNOWN
        return Answer(
            delivery=Delivery.AGAIN if again else answer.delivery,
            reason=self._wire.blot(answer.reason),
            code=answer.code,
        )

    def _counted(self, told: Counted, reply: Reply, rows: list[Row], began: float) -> list[Answer] | Bad:
        said, code = self._said(reply)
        count = len(rows)
        reason = f"{told.taken} taken and {told.failed} failed of {count} ({said})"
        if told.failed == 0 and (self._target.upserts or told.taken == count):
            return [DELIVERED] * count
        if told.taken == 0 and told.failed == count:
            return [Answer(delivery=Delivery.REFUSED, reason=reason, code=code)] * count
        if self._target.upserts:
            return Bad(reason, code)
        held = self._look(rows, began, expected=told.taken)
        certain = told.taken + told.failed == count and held.count(True) == told.taken
        absent = Answer(
            delivery=Delivery.REFUSED if certain else Delivery.UNKNOWN,
            reason=reason if certain else f"{reason}; {held.count(True)} of them were found there",
            code=code,
        )
        return [DELIVERED if there else absent for there in held]

    def _after_loss(self, lost: AnswerLostError, call: list[Parcel], began: float) -> list[Answer] | None:
        """What became of rows that may not be sent twice; None where none of them was taken: they may be sent again."""
        rows = [parcel.row for parcel in call]
        held = self._look(rows, began, expected=len(rows))
        if lost.over and not any(there or there is None for there in held):
            return None
        unknown = Answer(delivery=Delivery.UNKNOWN, reason=f"{lost}; not found there afterwards", code=lost.code)
        again = Answer(delivery=Delivery.AGAIN, reason=f"{lost}; it is not there", code=lost.code)
        answers = [DELIVERED if there else again if lost.over and there is False else unknown for there in held]
        if unknown in answers:
            self._lost += 1
        return answers

    def _look(self, rows: list[Row], since: float, *, expected: int) -> list[bool | None]:
        """Which rows are there, asked a few times until `expected` of them are; None where that cannot be told."""
        held: list[bool | None] = [None] * len(rows)
        if not self._target.finds:
            return held
        for pause in LOOKS:
            if pause:
                self._sleep(pause)
            try:
                held = list(self.find(rows, since=since))
            except FenxiangSyncError:
                # The rows are unknown then, and their answer says so: the lost answer matters, not the failed question.
                return [None] * len(rows)
            if held.count(True) >= expected or None in held:
                break
        return held


def is_delivered(answer: Answer | None) -> bool:
    """Whether the row is there, whatever is told of it."""
    return answer is not None and answer.delivery is Delivery.DELIVERED


def stopped(answers: Sequence[Answer | None], error: FenxiangSyncError) -> list[Answer]:
    """The answers of a batch that ended early; raises `error` where there is none."""
    if not any(answers):
        raise error
    again = Answer(
        delivery=Delivery.AGAIN,
        reason=str(error),
        code=getattr(error, "code", None),
        retry_after=getattr(error, "retry_after", None),
    )
    return [answer or again for answer in answers]


def _deeper(value: Any, most: int) -> bool:
    """Whether objects and lists are nested more than `most` deep."""
    if not isinstance(value, dict | list):
        return False
    return most == 0 or any(_deeper(part, most - 1) for part in (value.values() if isinstance(value, dict) else value))
