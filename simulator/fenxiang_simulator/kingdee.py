"""Kingdee (金蝶云星空): log-in, BatchSave, ExecuteBillQuery and what is done to documents, as its WebAPI is known."""

from __future__ import annotations

import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie
from typing import Any

from fenxiang_simulator import kingdee_seed
from fenxiang_simulator.bill_query import BillQuery, QueryError
from fenxiang_simulator.bills import ID_FIELDS, NUMBER_FIELDS, Bill, Seen, text_id
from fenxiang_simulator.clock import Clock
from fenxiang_simulator.server import Request, Response
from fenxiang_simulator.target_faults import body_of, misbehave, present, spoil
from fenxiang_simulator.target_knobs import Fault, Faults, TargetKnobs

ACCT_ID = "demo-account-set"
USER = "demo-user"
APP_ID = "demo-app"
APP_SECRET = "demo-kingdee-secret"
COOKIE = "kdservice-sessionid"

_LOGIN = "/k3cloud/Kingdee.BOS.WebApi.ServicesStub.AuthService.LoginByAppSecret.common.kdsvc"
_FORM = re.compile(r"/k3cloud/Kingdee\.BOS\.WebApi\.ServicesStub\.DynamicFormService\.(\w+)\.common\.kdsvc$")

Errors = list[dict[str, Any]]


class Kingdee:
    """An app under /k3cloud. `bills` of a form are in order of arrival; duplicates stand as they came."""

    def __init__(self, clock: Clock, knobs: TargetKnobs, faults: Faults) -> None:
        self.requests: Counter[str] = Counter()
        self.throttled = 0
        self.queries: list[BillQuery] = []
        """What was asked, in order."""
        self._clock = clock
        self._knobs = knobs
        self._faults = faults
        self._forms: dict[str, list[Bill]] = {}
        self._sessions: dict[str, float] = {}
        self._opened = 0
        self._made = 100_000
        self._recent: deque[float] = deque()
        self._lock = threading.Lock()
        self._services: dict[str, Callable[[dict[str, Any]], Any]] = {
            "BatchSave": self._save, "ExecuteBillQuery": self._query, "Delete": self._delete, "Submit": self._submit,
            "Audit": self._audit, "ExcuteOperation": self._operate,
        }  # fmt: skip

    def bills(self, form: str) -> list[Bill]:
        with self._lock:
            return list(self._forms.get(form, []))

    def truncate(self, form: str) -> None:
        """Empty a form behind everybody's back."""
        with self._lock:
            self._forms.pop(form, None)

    def fill(self, form: str, count: int) -> None:
        """Put `count` documents of a form that is known here into the database: BD_MATERIAL, STK_Inventory."""
        with self._lock:
            made = kingdee_seed.documents(form, count)
            self._forms[form] = [
                Bill(self._new_id(form), number, content, "C", created_ms=stamp, modified_ms=stamp, approved_ms=stamp)
                for number, content, stamp in made
            ]

    def fill_all(self, counts: Mapping[str, int]) -> None:
        for form, count in counts.items():
            self.fill(form, count)

    def edit(self, form: str, number: str, content: dict[str, Any], *, modified_ms: int | None = None) -> Bill:
        """Somebody changes a document, whatever its status, or makes a new one of this number. It is stamped with the
        server's clock, or with `modified_ms`."""
        with self._lock:
            bill = self._bill(form, number)
            if bill is None:
                bill = Bill(self._new_id(form), number, {}, created_ms=self._clock.now_ms())
                self._forms.setdefault(form, []).append(bill)
            bill.content = bill.content | content
            bill.modified_ms = self._clock.now_ms() if modified_ms is None else modified_ms
            return bill

    def erase(self, form: str, number: str) -> None:
        """Somebody deletes a document, whatever its status. Raises `KeyError` where there is none."""
        with self._lock:
            bill = self._bill(form, number)
            if bill is None:
                raise KeyError(f"{form} has no {number}")
            self._forms[form].remove(bill)

    def _bill(self, form: str, number: str) -> Bill | None:
        return next((bill for bill in self._forms.get(form, []) if bill.number == number), None)

    def _new_id(self, form: str) -> int | str:
        self._made += 1
        return text_id(self._made) if form in self._knobs.kingdee_text_ids else self._made

    def end_sessions(self) -> None:
        """Every session is lost from now on."""
        with self._lock:
            self._sessions.clear()

    def report(self) -> dict[str, Any]:
        with self._lock:
            forms = {name: len(bills) for name, bills in self._forms.items()}
            return {
                "requests": dict(self.requests), "throttled": self.throttled, "sessions": self._opened, "forms": forms,
            }  # fmt: skip

    def handle(self, request: Request) -> Response | None:
        found = _FORM.match(request.path)
        service = "login" if request.path == _LOGIN else found[1] if found else ""
        if service != "login" and service not in self._services:
            return None
        with self._lock:
            self.requests[service] += 1
            fault = self._faults.draw(service)
            early = self._throttle() or misbehave(fault, self._knobs)
            if early is not None:
                return early
            answer = self._login(request) if service == "login" else self._call(service, request, fault)
            return spoil(Response.json(answer), fault, self._knobs)

    def _throttle(self) -> Response | None:
        now, knobs = self._clock.now(), self._knobs
        while self._recent and self._recent[0] <= now - knobs.kingdee_per_seconds:
            self._recent.popleft()
        if not knobs.kingdee_calls or len(self._recent) < knobs.kingdee_calls:
            self._recent.append(now)
            return None
        self.throttled += 1
        response = Response.json({"message": "请求过于频繁"}, 429)
        response.headers["Retry-After"] = str(max(1, round(self._recent[0] + knobs.kingdee_per_seconds - now)))
        return response

    def _login(self, request: Request) -> dict[str, Any]:
        body = _object(request)
        told = tuple(body.get(name) for name in ("acctID", "username", "appId", "appSecret"))
        if told != (ACCT_ID, USER, APP_ID, APP_SECRET):
            return {"LoginResultType": 0, "Message": "登录失败: 用户、应用或密钥不正确", "KDSVCSessionId": ""}
        self._opened += 1
        session = f"demo-session-{self._opened:06d}"
        self._sessions[session] = self._clock.now() + self._knobs.kingdee_session_seconds
        return {"LoginResultType": 1, "Message": None, "KDSVCSessionId": session}

    def _call(self, service: str, request: Request, fault: Fault | None) -> Any:
        cookie = SimpleCookie(request.headers.get("Cookie", "")).get(COOKIE)
        live = cookie is not None and self._sessions.get(cookie.value, 0.0) > self._clock.now()
        if not live or fault is Fault.TOKEN_REFUSED:
            lost = _answer([{"FieldName": None, "Message": "会话信息已丢失，请重新登录", "DIndex": 0}], [], 1)
            return [[lost]] if service == "ExecuteBillQuery" else lost
        return self._services[service](_object(request))

    def _save(self, body: dict[str, Any]) -> dict[str, Any]:
        form, models = str(body.get("formid")), _inner(body).get("Model")
        if not isinstance(models, list) or not models or not all(isinstance(each, dict) for each in models):
            return _refused("Model必须是非空数组")
        if 0 < self._knobs.kingdee_max_rows < len(models):
            return _refused(f"单次最多{self._knobs.kingdee_max_rows}条")
        errors: Errors = []
        saved: Errors = []
        for place, content in enumerate(models):
            said = self._take(form, content)
            if isinstance(said, Bill):
                saved.append({"Id": said.id, "Number": said.number, "DIndex": place})
            else:
                errors.append({"FieldName": said[0], "Message": said[1], "DIndex": place})
        return _answer(errors, saved)

    def _take(self, form: str, content: dict[str, Any]) -> Bill | tuple[str, str]:
        """Save one document: it, or the field and the message of a refusal."""
        for path in self._knobs.kingdee_required.get(form, []):
            if not present(content, path):
                return path, f"字段“{path}”是必填项"
        bills = self._forms.setdefault(form, [])
        now = self._clock.now_ms()
        told = next((name for name in ID_FIELDS if present(content, name)), None)
        if told is not None:
            held = next((bill for bill in bills if str(bill.id) == str(content[told])), None)
            if held is None:
                return told, f"单据内码{content[told]}不存在"
            if held.status in "BC":
                return "FDocumentStatus", "单据已提交或已审核，不能修改"
            held.content, held.saves, held.modified_ms = held.content | content, held.saves + 1, now
            return held
        field = next((name for name in NUMBER_FIELDS if content.get(name)), "FNumber")
        number = str(content.get(field) or f"AUTO{self._made}")
        if self._knobs.kingdee_unique and self._bill(form, number) is not None:
            return field, f"编码“{number}”已存在"
        bills.append(Bill(self._new_id(form), number, content, created_ms=now, modified_ms=now))
        return bills[-1]

    def _query(self, body: dict[str, Any]) -> Any:
        form = str(_inner(body).get("FormId"))
        fields = frozenset(self._knobs.kingdee_fields.get(form) or kingdee_seed.FIELDS.get(form, ()))
        seen = Seen(form, fields, self._knobs.kingdee_stamp_fractions)
        try:
            query = BillQuery.read(_inner(body), seen)
            rows = query.rows(self._forms.get(form, []), most=self._knobs.kingdee_most_rows)
        except QueryError as error:
            return [[_refused(str(error))]]
        self.queries.append(query)
        return rows

    def _submit(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._each(body, lambda bill: self._move(bill, "AD", "B", "只有已创建的单据可以提交"))

    def _audit(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._each(body, lambda bill: self._move(bill, "B", "C", "只有已提交的单据可以审核"))

    def _operate(self, body: dict[str, Any]) -> dict[str, Any]:
        operation = body.get("opNumber")
        if operation not in ("Forbid", "Enable"):
            return _refused(f"操作{operation}不存在")

        def operate(bill: Bill) -> str:
            if operation == "Enable" and not (self._knobs.kingdee_enables and bill.forbidden):
                return "没有反禁用权限" if bill.forbidden else "只有已禁用的数据可以反禁用"
            bill.forbidden = operation == "Forbid"
            self._stamp(bill)
            return ""

        return self._each(body, operate)

    def _delete(self, body: dict[str, Any]) -> dict[str, Any]:
        bills = self._forms.get(str(body.get("formid")), [])

        def delete(bill: Bill) -> str:
            if bill.status in "BC":
                return "已提交或已审核的单据不能删除"
            bills.remove(bill)
            return ""

        return self._each(body, delete)

    def _move(self, bill: Bill, before: str, after: str, refusal: str) -> str:
        if bill.status not in before:
            return refusal
        bill.status = after
        bill.approved_ms = self._clock.now_ms() if after == "C" else None
        self._stamp(bill)
        return ""

    def _stamp(self, bill: Bill) -> None:
        """What becomes of the stamp of a document whose status has changed."""
        if self._knobs.kingdee_status_stamps:
            bill.modified_ms = self._clock.now_ms()

    def _each(self, body: dict[str, Any], work: Callable[[Bill], str]) -> dict[str, Any]:
        """Do `work`, which gives the reason of a refusal or "", to each document of the numbers."""
        numbers = _inner(body).get("Numbers")
        if not isinstance(numbers, list):
            return _refused("Numbers必须是数组")
        bills = {bill.number: bill for bill in self._forms.get(str(body.get("formid")), [])}
        errors: Errors = []
        done: Errors = []
        for place, number in enumerate(numbers):
            bill = bills.get(str(number))
            refusal = work(bill) if bill else f"编码“{number}”不存在"
            if refusal:
                errors.append({"FieldName": "", "Message": refusal, "DIndex": place})
            elif bill:
                done.append({"Id": bill.id, "Number": bill.number, "DIndex": place})
        return _answer(errors, done)


def _answer(errors: Errors, done: Errors, code: int = 0) -> dict[str, Any]:
    status: dict[str, Any] = {
        "IsSuccess": not errors, "Errors": errors, "SuccessEntitys": done, "SuccessMessages": [], "MsgCode": code,
    }  # fmt: skip
    return {"Result": {"ResponseStatus": {"ErrorCode": 500, **status} if errors else status}}


def _refused(message: str) -> dict[str, Any]:
    return _answer([{"FieldName": None, "Message": message}], [])


def _object(request: Request) -> dict[str, Any]:
    try:
        body = body_of(request)
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}


def _inner(body: dict[str, Any]) -> dict[str, Any]:
    data = body.get("data")
    return data if isinstance(data, dict) else {}
