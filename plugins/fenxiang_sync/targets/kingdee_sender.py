"""KingdeeSender: documents are looked up by their number before they are written, taken further, or removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from requests.auth import AuthBase

from fenxiang_sync.errors import FenxiangSyncError, RefusedError, SetupError, TransientError
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.exchange import Bad
from fenxiang_sync.targets.kingdee_answers import ByDIndex, entries_of, refusals_of, rows_of, status_of
from fenxiang_sync.targets.protocol import Answer, Delivery, Reach, Removal
from fenxiang_sync.targets.results import DELIVERED, look, told
from fenxiang_sync.targets.sending import Parcel, RestSender, is_delivered
from fenxiang_sync.targets.wire import Call, Reply, Wire, decode, encode

if TYPE_CHECKING:
    from fenxiang_sync.targets.kingdee import KingdeeBatchSave

_ENABLE = {"ExcuteOperation": "Enable"}
FORM_SERVICE = "/Kingdee.BOS.WebApi.ServicesStub.DynamicFormService.{}.common.kdsvc"


class Document(NamedTuple):
    """What Kingdee holds under a number."""

    id: Any
    status: str
    forbidden: bool
    stamp: str


class KingdeeSender(RestSender):
    """Also a `Finder`, a `Teller` and a `Remover`, by number."""

    _target: KingdeeBatchSave

    def __init__(self, target: KingdeeBatchSave, wire: Wire, auth: AuthBase | None, reach: Reach) -> None:
        super().__init__(target, wire, auth, reach)
        self._before: Mapping[str, Document] = {}
        """What was there just before the last write."""

    def write(self, parcels: Sequence[Parcel]) -> Call:
        if not self._target.look_up:
            return super().write(parcels)
        self._before = self._documents([self._number(parcel.row.content) for parcel in parcels])
        return self._target.call(
            [parcel.row for parcel in parcels],
            [self._known(parcel) for parcel in parcels],
        )

    def find(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:  # noqa: ARG002 - it has no history
        documents = self._documents([self._number(row.content) for row in rows])
        return [self._held(row, documents.get(self._number(row.content))) for row in rows]

    def tell(self, rows: Sequence[Row]) -> Sequence[Mapping[str, str | int]]:
        """See `Teller.tell`: as an answer names a document."""
        numbers = [self._number(row.content) for row in rows]
        there = self._documents(numbers)
        return [
            told({"Id": there[each].id, "Number": each}, ByDIndex.tells) if each in there else {} for each in numbers
        ]

    def remove(self, removals: Sequence[Removal], *, policy: DeletePolicy) -> Sequence[Answer]:
        """See `Remover.remove`; a number that Kingdee does not know is gone already."""
        answers: list[Answer | None] = [None] * len(removals)
        places = {self._number(each.content): place for place, each in enumerate(removals)}
        if "" in places:
            reason = f"the row that was sent had no {self._target.number_field}"
            answers[places.pop("")] = Answer(delivery=Delivery.REFUSED, reason=reason)
        for number in {self._number(content) for each in removals for content in each.stays}:
            places.pop(number, None)
        verb = {"Delete": "Delete"} if policy is DeletePolicy.DELETE else {"ExcuteOperation": "Forbid"}
        try:
            refusals = self._take(verb, list(places))
        except (TransientError, RefusedError, SetupError) as error:
            if not any(answers):
                raise
            return [answer or Answer(delivery=Delivery.UNKNOWN, reason=str(error)) for answer in answers]
        for number, place in places.items():
            answers[place] = refusals.get(number, DELIVERED)
        return [answer or DELIVERED for answer in answers]

    def _deliver(self, call: list[Parcel]) -> list[Answer] | Bad:
        back = [self._number(one.row.content) for one in call if one.row.returns]
        stay = self._take(_ENABLE, back, lambda document: document.forbidden)
        answers = super()._deliver(call)
        if isinstance(answers, Bad):
            return answers
        for at, one in enumerate(call):
            if is_delivered(answers[at]):
                answers[at] = stay.get(self._number(one.row.content), answers[at])
        for verb, waiting in self._target.operation.steps.items():
            saved = {self._number(one.row.content): at for at, one in enumerate(call) if is_delivered(answers[at])}
            for number, refusal in self._take({verb: ""}, list(saved), _in_status(waiting)).items():
                answers[saved[number]] = refusal
        return self._telling(call, answers)

    def _telling(self, call: list[Parcel], answers: list[Answer]) -> list[Answer]:
        """The answers, and what Kingdee tells when it is asked where they tell nothing: one was lost, and the row is
        there all the same. It is delivered whether Kingdee answers that or not."""
        untold = [at for at, answer in enumerate(answers) if is_delivered(answer) and not answer.told]
        if untold and self._target.look_up:
            with suppress(FenxiangSyncError):
                for at, said in zip(untold, self.tell([call[each].row for each in untold]), strict=True):
                    answers[at] = replace(answers[at], told=said)
        return answers

    def _take(
        self, verb: Mapping[str, str], numbers: list[str], waits: Callable[[Document], bool] = lambda _: True
    ) -> dict[str, Answer]:
        """Do something to the documents of `numbers` that are there and wait for it: the refusals.

        Where an answer is lost, they are looked up again: what is done is not done twice.
        """
        ((service, operation),) = verb.items()
        for attempt in range(1, self._target.tries + 1):
            there = self._documents(numbers)
            todo = [number for number in numbers if number in there and waits(there[number])]
            if not todo:
                break
            body = {"formid": self._target.form, "data": {"Numbers": todo}}
            body |= {"opNumber": operation} if service == "ExcuteOperation" else {}
            try:
                reply = self.exchange(Call(path=FORM_SERVICE.format(service), body=encode(body)))
            except TransientError as error:
                self._pause(error, attempt)
                continue
            return dict(self._left(reply, operation or service, todo))
        return {}

    def _left(self, reply: Reply | Bad, verb: str, numbers: list[str]) -> Iterator[tuple[str, Answer]]:
        status = {} if isinstance(reply, Bad) else status_of(reply.payload)
        done = {str(look(entry, "Number")) for entry in entries_of(status, "SuccessEntitys")}
        reasons = refusals_of(status)
        for place, number in enumerate(numbers):
            if number in done or status.get("IsSuccess") is True:
                continue
            why = reply.reason if isinstance(reply, Bad) else reasons.get(place, "no reason given")
            reason = self._wire.blot(f"Kingdee has the document, and refused {verb}: {why}")
            yield number, Answer(delivery=Delivery.REFUSED, reason=reason)

    def _known(self, parcel: Parcel) -> bytes:
        """The content of a row, with the id of its document where there is one."""
        document = self._before.get(self._number(parcel.row.content))
        if document is None:
            return parcel.content
        return encode({**decode(parcel.content), self._target.id_field: document.id})

    def _held(self, row: Row, document: Document | None) -> bool | None:
        if document is None:
            return False
        if self._target.stamp_field:
            return document.stamp == stamp_of(row)
        # A number that was not there before the write is ours; whether a change arrived cannot be told.
        return None if self._number(row.content) in self._before else True

    def _documents(self, numbers: Sequence[str]) -> dict[str, Document]:
        """What Kingdee holds of these numbers."""
        if not numbers:
            return {}
        target = self._target
        named = ",".join("'" + number.replace("'", "''") + "'" for number in numbers)
        wanted = f"{target.number_field} in ({named})" + (f" and ({target.where})" if target.where else "")
        keys = [target.number_field, target.id_field, "FDocumentStatus"]
        keys += ["FForbidStatus"] if target.forbids else []
        keys += [target.stamp_field] if target.stamp_field else []
        query = {"FormId": target.form, "FieldKeys": ",".join(keys), "FilterString": wanted, "Limit": 2 * len(numbers)}
        reply = self.repeat(Call(path=FORM_SERVICE.format("ExecuteBillQuery"), body=encode({"data": query})))
        rows = None if isinstance(reply, Bad) else rows_of(reply.payload)
        if rows is None:
            said = reply.reason if isinstance(reply, Bad) else "its answer has no rows"
            raise RefusedError(f"connection {target.connection!r}, form {target.form}: ExecuteBillQuery: {said}")
        found: dict[str, Document] = {}
        for number, document_id, status, *rest in rows:
            if str(number) in found:
                raise RefusedError(
                    f"form {target.form}: Kingdee has {target.number_field} {number!r} more than once; say with where= "
                    "which of them is meant, for example where=\"FCreateOrgId.FNumber='100'\""
                )
            forbidden = target.forbids and rest[0] == "B"
            stamp = str(rest[-1]) if target.stamp_field else ""
            found[str(number)] = Document(document_id, str(status), forbidden, stamp)
        return found

    def _number(self, content: Mapping[str, Any]) -> str:
        number = content.get(self._target.number_field)
        return "" if number is None else str(number)


def _in_status(statuses: str) -> Callable[[Document], bool]:
    return lambda document: document.status in statuses


def stamp_of(row: Row) -> str:
    """The version of a row, as the stamp field keeps it."""
    return f"{row.modified_ms}.{row.version}"
