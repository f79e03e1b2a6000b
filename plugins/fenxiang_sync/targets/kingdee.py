"""KingdeeBatchSave: rows as documents or base data of Kingdee Cloud Galaxy (金蝶云星空), by its WebAPI.

`batchSave`, `FormId`, `Model`, a result for each row by its index and `executeBillQuery` are from vendor articles. The
paths, the log-in, the names in an answer (``Result.ResponseStatus``, ``DIndex``, ``MsgCode`` 1 for a lost session) and
those of the calls Submit, Audit, Delete and Forbid are commonly known of the product, and were not tried against one by
this project.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from requests.auth import AuthBase

from fenxiang_sync.columns import Column
from fenxiang_sync.errors import DeclarationError, SetupError
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.auth import Auth, Cookie, Place
from fenxiang_sync.targets.envelope import Array
from fenxiang_sync.targets.kingdee_answers import ByDIndex, entries_of, refusals_of, rows_of, status_of
from fenxiang_sync.targets.kingdee_sender import FORM_SERVICE, KingdeeSender, stamp_of
from fenxiang_sync.targets.login import TokenAuth, TokenEndpoint
from fenxiang_sync.targets.meaning import Meaning, Says, Verdict
from fenxiang_sync.targets.protocol import Answer, Delivery, Endpoint, Reach
from fenxiang_sync.targets.rest import RestTarget
from fenxiang_sync.targets.results import Results, look
from fenxiang_sync.targets.sending import RestSender
from fenxiang_sync.targets.wire import Reply, Wire

_LOGIN = "/Kingdee.BOS.WebApi.ServicesStub.AuthService.LoginByAppSecret.common.kdsvc"
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

    path: str = _LOGIN
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
    `settings` are further members of ``data``. A row can be deleted, and with `forbids` (base data) be flagged (禁用);
    when its record comes back, the document is allowed again (反禁用). What people forbade at Kingdee stays so.

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
    path: str = FORM_SERVICE.format("BatchSave")
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

    @property
    def brings_back(self) -> bool:
        return self.forbids and self.look_up

    def describe(self) -> str:
        return f"Kingdee batchSave, form {self.form}, {self.operation} (connection {self.connection})"

    def fit(self, columns: Sequence[Column], *, key: str) -> KingdeeBatchSave:
        """See `Fitting.fit`: a row whose number changes would leave its document behind, and two rows of one number
        would share one, which goes with either."""
        if self.look_up and key != self.number_field and self.number_field in [column.path for column in columns]:
            raise DeclarationError(
                f"target {self.describe()}: the rows' id is {key!r}, and their documents are told by "
                f"{self.number_field!r}; say key={self.number_field!r}"
            )
        return self

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
        if by_status is not Meaning.OK or rows_of(reply.payload) is not None:
            return by_status
        status = status_of(reply.payload)
        if not status:
            return Meaning.FAILED
        if status.get("MsgCode") == 1:
            return Meaning.TOKEN
        told = status.get("IsSuccess") is True or entries_of(status, "SuccessEntitys") or refusals_of(status)
        return Meaning.OK if told else Meaning.BAD_ROW

    def reason(self, reply: Reply) -> tuple[str, int | str]:
        errors = [str(look(entry, "Message")) for entry in entries_of(status_of(reply.payload), "Errors")]
        said, code = super().reason(reply)
        return "; ".join(errors) or said, code

    def sender(self, wire: Wire, auth: AuthBase | None, reach: Reach) -> RestSender:
        return KingdeeSender(self, wire, auth, reach)
