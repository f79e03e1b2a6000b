"""KingdeeBatchSave: rows as documents or base data of Kingdee Cloud Galaxy (金蝶云星空), by its WebAPI.

`batchSave`, `FormId`, `Model`, a result for each row by its index and `executeBillQuery` are from vendor articles. The
paths, the log-in, the names in an answer (``Result.ResponseStatus``, ``DIndex``, ``MsgCode`` 1 for a lost session) and
those of the calls Submit, Audit, Delete and Forbid are commonly known of the product, and were not tried against one by
this project.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from requests.auth import AuthBase

from fenxiang_sync.errors import RefusedError, SetupError, TransientError
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.auth import Auth, Cookie, Place
from fenxiang_sync.targets.envelope import Array
from fenxiang_sync.targets.login import TokenAuth, TokenEndpoint
from fenxiang_sync.targets.meaning import Meaning, Says, Verdict
from fenxiang_sync.targets.protocol import Answer, Delivery, Endpoint, Reach, Removal
from fenxiang_sync.targets.rest import RestTarget
from fenxiang_sync.targets.results import DELIVERED, UNTOLD, Results, Told, look
from fenxiang_sync.targets.sending import Bad, Parcel, RestSender, stopped
from fenxiang_sync.targets.wire import Call, Reply, Wire, decode, encode

_SERVICE = "/Kingdee.BOS.WebApi.ServicesStub.{}.common.kdsvc"
_FORM = _SERVICE.format("DynamicFormService.{}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*$")
_EXTRAS = {"acct_id": "the id of the account set (数据中心)", "app_id": "the id of the application (应用ID)"}


class Operation(StrEnum):
    """How far a document is taken."""

    SAVE = "Save"
    """创建"""
    SUBMIT = "Submit"
    """提交"""
    AUDIT = "Audit"
    """提交, 审核"""

    @property
    def steps(self) -> Mapping[str, str]:
        """The calls after a save, and the document statuses (FDocumentStatus) that each is for."""
        submit, audit = {"Submit": "AD"}, {"Audit": "B"}
        return {Operation.SAVE: {}, Operation.SUBMIT: submit, Operation.AUDIT: submit | audit}[self]


def app_login(endpoint: Endpoint) -> Mapping[str, Any]:
    """What the log-in is posted: a user, and an application with its secret."""
    return {
        "acctID": endpoint.extra["acct_id"],
        "username": endpoint.login,
        "appId": endpoint.extra["app_id"],
        "appSecret": endpoint.password,
        "lcid": endpoint.extra.get("lcid", 2052),
    }


@dataclass(frozen=True, kw_only=True)
class KingdeeLogin(TokenEndpoint):
    """A session, which travels as a cookie."""

    path: str = _SERVICE.format("AuthService.LoginByAppSecret")
    body: Callable[[Endpoint], Mapping[str, Any]] = app_login
    token: str = "KDSVCSessionId"  # noqa: S105 - a path
    life: float = 1200.0
    at: Place = Cookie("kdservice-sessionid")
    login_is: str = "integration user (集成用户)"
    password_is: str = "secret of the application (应用密钥)"  # noqa: S105 - words of a message
    verdict: Verdict = Verdict(ok=Says("LoginResultType", (1, -5)), message="Message")

    def open(self, endpoint: Endpoint, wire: Wire) -> TokenAuth:
        for name, meant in _EXTRAS.items():
            if not endpoint.extra.get(name):
                raise SetupError(f"connection {endpoint.conn_id!r} has no extra {name}; set it to {meant}")
        return super().open(endpoint, wire)


@dataclass(frozen=True)
class ByDIndex:
    """``SuccessEntitys`` and ``Errors`` name their row by its place, ``DIndex``."""

    def read(self, payload: Any, rows: Sequence[Row]) -> Told:
        status = _status(payload)
        answers = [UNTOLD] * len(rows)
        if status.get("IsSuccess") is True:
            answers = [DELIVERED] * len(rows)
        for entry in _list(status, "SuccessEntitys"):
            _at(answers, entry, DELIVERED)
        for place, reason in _refusals(status).items():
            if place < len(answers):
                answers[place] = Answer(delivery=Delivery.REFUSED, reason=reason)
        return answers


@dataclass(frozen=True, kw_only=True)
class KingdeeBatchSave(RestTarget):
    """POST BatchSave of a form, a row a document; each is answered by its place.

    Kingdee tells a change from a new document by the document's id. So before each call the documents that have the
    `number_field` of its rows are looked up (ExecuteBillQuery), and their id is put into `id_field`. `where` narrows
    the look-up, for numbers that are unique in an organisation only. `look_up=False` is for rows that bring their id.

    Set ``upserts=True`` where Kingdee refuses a second document of a number. Left False, a new document whose answer
    was lost is looked for by its number; of a change that can only be told with a `stamp_field`, a text field at
    Kingdee in which the version of the row is kept. `sample` asks by it.

    `operation` says how far a document is taken; Kingdee itself refuses a change to one that is submitted or audited.
    `settings` are further members of ``data``. A row can be deleted, and with `forbids` (base data) be flagged (禁用).

    >>> KingdeeBatchSave(form="BD_Customer", id_field="FCUSTID").describe()
    'Kingdee batchSave, form BD_Customer, Save (connection kingdee)'
    """

    form: str
    number_field: str = "FNumber"
    id_field: str = "FID"
    where: str = ""
    stamp_field: str = ""
    operation: Operation = Operation.SAVE
    settings: Mapping[str, Any] = field(default_factory=dict)
    look_up: bool = True
    forbids: bool = False
    connection: str = "kingdee"
    path: str = _FORM.format("BatchSave")
    auth: Auth | None = KingdeeLogin()
    results: Results = ByDIndex()

    def __post_init__(self) -> None:
        for name in ("form", "number_field", "id_field", "stamp_field"):
            if not _NAME.match(getattr(self, name)) and (name != "stamp_field" or self.stamp_field):
                raise self.wrong(name, "give the name that Kingdee knows, as in 'BD_Customer' or 'FNumber'")
        if self.operation is not Operation.SAVE and not self.look_up:
            raise self.wrong("operation", "what becomes of a document is looked up by its number; leave look_up on")
        if self.sample and not self.stamp_field:
            raise self.wrong("sample", "which version Kingdee holds is told by a stamp_field only; give one")
        around = {"formid": self.form, "data": dict(self.settings)}
        object.__setattr__(self, "envelope", Array(root="data.Model", around=around))
        super().__post_init__()

    @property
    def finds(self) -> bool:
        return self.look_up

    @property
    def removals(self) -> AbstractSet[DeletePolicy]:
        return {DeletePolicy.DELETE, DeletePolicy.FLAG} if self.forbids else {DeletePolicy.DELETE}

    def describe(self) -> str:
        return f"Kingdee batchSave, form {self.form}, {self.operation} (connection {self.connection})"

    def content(self, row: Row) -> dict[str, Any]:
        content = super().content(row)
        return {**content, self.stamp_field: stamp_of(row)} if self.stamp_field else content

    def objection(self, row: Row) -> Answer | None:
        if not self.look_up or row.content.get(self.number_field) not in (None, ""):
            return None
        reason = f"the row has no {self.number_field}, by which Kingdee is asked whether it has the document"
        return Answer(delivery=Delivery.REFUSED, reason=reason)

    def meaning(self, reply: Reply, *, fresh_token: bool) -> Meaning:
        """A refusal that names rows by their place is a success of the call: each row has its answer."""
        by_status = super().meaning(reply, fresh_token=fresh_token)
        if by_status is not Meaning.OK or _rows_of(reply.payload) is not None:
            return by_status
        status = _status(reply.payload)
        if not status:
            return Meaning.FAILED
        if status.get("MsgCode") == 1:
            return Meaning.TOKEN
        told = status.get("IsSuccess") is True or _list(status, "SuccessEntitys") or _refusals(status)
        return Meaning.OK if told else Meaning.BAD_ROW

    def reason(self, reply: Reply) -> tuple[str, int | str]:
        errors = [str(look(entry, "Message")) for entry in _list(_status(reply.payload), "Errors")]
        said, code = super().reason(reply)
        return "; ".join(errors) or said, code

    def sender(self, wire: Wire, auth: AuthBase | None, reach: Reach) -> RestSender:
        return KingdeeSender(self, wire, auth, reach)


class Document(NamedTuple):
    """What Kingdee holds under a number."""

    id: Any
    status: str
    stamp: str


class KingdeeSender(RestSender):
    """Also a `Finder` and a `Remover`, by number."""

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

    def remove(self, removals: Sequence[Removal], *, policy: DeletePolicy) -> Sequence[Answer]:
        """See `Remover.remove`; a number that Kingdee does not know is gone already."""
        answers: list[Answer | None] = [None] * len(removals)
        places = {self._number(each.content): place for place, each in enumerate(removals)}
        if "" in places:
            reason = f"the row that was sent had no {self._target.number_field}"
            answers[places.pop("")] = Answer(delivery=Delivery.REFUSED, reason=reason)
        verb = {"Delete": "Delete"} if policy is DeletePolicy.DELETE else {"ExcuteOperation": "Forbid"}
        try:
            told = self._take(verb, list(places))
        except (TransientError, RefusedError, SetupError) as error:
            return stopped(answers, error)
        for number, place in places.items():
            answers[place] = told.get(number, DELIVERED)
        return [answer or DELIVERED for answer in answers]

    def _deliver(self, call: list[Parcel]) -> list[Answer] | Bad:
        answers = super()._deliver(call)
        if isinstance(answers, Bad):
            return answers
        for verb, waiting in self._target.operation.steps.items():
            saved = {self._number(one.row.content): at for at, one in enumerate(call) if answers[at] == DELIVERED}
            for number, refusal in self._take({verb: ""}, list(saved), waiting).items():
                answers[saved[number]] = refusal
        return answers

    def _take(self, verb: Mapping[str, str], numbers: list[str], waiting: str = "") -> dict[str, Answer]:
        """Do something to the documents of `numbers` that are there (in a status of `waiting`): the refusals.

        Where an answer is lost, they are looked up again: what is done is not done twice.
        """
        ((service, operation),) = verb.items()
        for attempt in range(1, self._target.tries + 1):
            there = self._documents(numbers)
            todo = [
                number for number in numbers if number in there and (there[number].status in waiting or not waiting)
            ]
            if not todo:
                break
            body = {"formid": self._target.form, "data": {"Numbers": todo}}
            body |= {"opNumber": operation} if service == "ExcuteOperation" else {}
            try:
                reply = self.exchange(Call(path=_FORM.format(service), body=encode(body)))
            except TransientError as error:
                self._pause(error, attempt)
                continue
            return dict(self._left(reply, operation or service, todo))
        return {}

    def _left(self, reply: Reply | Bad, verb: str, numbers: list[str]) -> Iterator[tuple[str, Answer]]:
        status = {} if isinstance(reply, Bad) else _status(reply.payload)
        done = {str(look(entry, "Number")) for entry in _list(status, "SuccessEntitys")}
        reasons = _refusals(status)
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
        keys = [target.number_field, target.id_field, "FDocumentStatus", *filter(None, [target.stamp_field])]
        query = {"FormId": target.form, "FieldKeys": ",".join(keys), "FilterString": wanted, "Limit": 2 * len(numbers)}
        reply = self.repeat(Call(path=_FORM.format("ExecuteBillQuery"), body=encode({"data": query})))
        rows = None if isinstance(reply, Bad) else _rows_of(reply.payload)
        if rows is None:
            said = reply.reason if isinstance(reply, Bad) else "its answer has no rows"
            raise RefusedError(f"connection {target.connection!r}, form {target.form}: ExecuteBillQuery: {said}")
        found: dict[str, Document] = {}
        for number, document_id, status, *stamp in rows:
            if str(number) in found:
                raise RefusedError(
                    f"form {target.form}: Kingdee has {target.number_field} {number!r} more than once; say with where= "
                    "which of them is meant, for example where=\"FCreateOrgId.FNumber='100'\""
                )
            found[str(number)] = Document(document_id, str(status), str(stamp[0]) if stamp else "")
        return found

    def _number(self, content: Mapping[str, Any]) -> str:
        number = content.get(self._target.number_field)
        return "" if number is None else str(number)


def stamp_of(row: Row) -> str:
    """The version of a row, as the stamp field keeps it."""
    return f"{row.modified_ms}.{row.version}"


def _rows_of(payload: Any) -> list[list[Any]] | None:
    """The rows of a query; None where it is no such answer. An error comes as a row of one object."""
    if not isinstance(payload, list) or any(not isinstance(row, list) or len(row) < 3 for row in payload):
        return None
    return payload


def _status(payload: Any) -> Mapping[str, Any]:
    while isinstance(payload, list) and payload:
        payload = payload[0]
    status = look(payload, "Result.ResponseStatus")
    return status if isinstance(status, dict) else {}


def _list(status: Mapping[str, Any], name: str) -> list[Any]:
    entries = status.get(name)
    return entries if isinstance(entries, list) else []


def _refusals(status: Mapping[str, Any]) -> dict[int, str]:
    """The messages for each place that errors name; none where one of them names no place: it is about all."""
    said: dict[int, list[str]] = {}
    for entry in _list(status, "Errors"):
        place = look(entry, "DIndex")
        if not isinstance(place, int) or place < 0:
            return {}
        where = look(entry, "FieldName")
        said.setdefault(place, []).append(
            f"{where}: {look(entry, 'Message')}" if where else str(look(entry, "Message"))
        )
    return {place: "; ".join(reasons) for place, reasons in said.items()}


def _at(answers: list[Answer], entry: Any, answer: Answer) -> None:
    place = look(entry, "DIndex")
    if isinstance(place, int) and 0 <= place < len(answers):
        answers[place] = answer
