"""Qeasy (轻易云): the open API by which rows are written into a scheme, as its documents describe it."""

from __future__ import annotations

import re
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from fenxiang_simulator.clock import Clock
from fenxiang_simulator.server import Request, Response
from fenxiang_simulator.target_faults import body_of, look_in, misbehave, present, spoil
from fenxiang_simulator.target_knobs import Fault, Faults, IdRule, TargetKnobs

APP_KEY = "demoappkey01"
APP_SECRET = "demo-qeasy-secret-20"

_V2 = re.compile(r"/v2/open-api/business/(?P<scheme>[^/]+)/(?P<verb>[a-z-]+)(?:/(?P<data_id>[^/]+))?$")
_V1 = re.compile(r"/api/open/operation/(?P<scheme>[^/]+)/query$")
_V1_CONDITION = re.compile(r"condition\[content\.(?P<field>[^\]]+)\]\[(?P<operator>\$\w+)\]$")

# The three pages of the documents disagree; the knob `qeasy_error_page` says which one is in force.
_CODES: dict[str, tuple[int, int, int]] = {
    "credentials": (40101, 40001, 10001),
    "token": (40102, 40002, 10001),
    "param": (40001, 40005, 40002),
    "not_found": (40401, 40003, 40003),
    "forbidden": (40301, 40004, 40004),
    "throttled": (42901, 40029, 429),
}


class QeasyError(Exception):
    """A refusal: `kind` is a row of the code table."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(slots=True)
class StoredRow:
    """One row of a scheme's ADATA."""

    data_id: str
    id: str
    content: dict[str, Any]
    stored_at: float
    written: int = 1
    """How often it was written; more than 1 = overwritten."""

    def shown(self) -> dict[str, Any]:
        return {
            "_id": self.data_id, "id": self.id, "content": self.content, "status": 0, "created_at": self.stored_at,
        }  # fmt: skip


@dataclass(slots=True)
class _Scheme:
    rows: list[StoredRow] = field(default_factory=list)
    by_id: dict[str, StoredRow] = field(default_factory=dict)
    repeats: int = 0
    failed: int = 0


class Qeasy:
    """An app: /v2/oauth and the calls of a scheme. 60 calls a minute, then nothing for five minutes."""

    def __init__(self, clock: Clock, knobs: TargetKnobs, faults: Faults) -> None:
        self.requests: Counter[str] = Counter()
        self.throttled = 0
        self.most_calls = 0
        """The most calls that any span of `qeasy_per_seconds` has held."""
        self._clock = clock
        self._knobs = knobs
        self._faults = faults
        self._schemes: dict[str, _Scheme] = {}
        self._tokens: dict[str, float] = {}
        self._issued = 0
        self._recent: deque[float] = deque()
        self._cool_until = 0.0
        self._lock = threading.Lock()
        self._verbs: dict[str, Callable[[str, Request, str], Any]] = {
            "store": self._store, "store-dispatch": self._store, "query": self._query, "find-one": self._find_one,
        }  # fmt: skip

    def rows(self, scheme: str) -> list[StoredRow]:
        """The rows of a scheme in order of arrival; duplicates stand as they came."""
        with self._lock:
            return list(self._scheme(scheme).rows)

    def contents(self, scheme: str) -> list[dict[str, Any]]:
        return [row.content for row in self.rows(scheme)]

    def truncate(self, scheme: str) -> None:
        """Empty a scheme behind everybody's back."""
        with self._lock:
            self._schemes.pop(scheme, None)

    def expire_tokens(self) -> None:
        """Every token handed out so far is invalid from now on."""
        with self._lock:
            self._tokens.clear()

    def report(self) -> dict[str, Any]:
        with self._lock:
            schemes = {
                name: {"rows": len(scheme.rows), "repeats": scheme.repeats, "failed": scheme.failed}
                for name, scheme in self._schemes.items()
            }
            return {
                "requests": dict(self.requests), "throttled": self.throttled, "most_calls": self.most_calls,
                "tokens": self._issued, "schemes": schemes,
            }  # fmt: skip

    def handle(self, request: Request) -> Response | None:
        route = self._route(request)
        if route is None:
            return None
        interface, work = route
        with self._lock:
            self.requests[interface] += 1
            fault = self._faults.draw(interface)
            early = self._throttle() or misbehave(fault, self._knobs)
            if early is not None:
                return early
            if fault is Fault.TOKEN_REFUSED:
                return self._refusal(_invalid_token())
            try:
                answer = Response.json(work())
            except QeasyError as error:
                answer = self._refusal(error)
            return spoil(answer, fault, self._knobs)

    def _route(self, request: Request) -> tuple[str, Callable[[], dict[str, Any]]] | None:
        if request.path == "/v2/oauth":
            return "oauth", lambda: self._oauth(request)
        if found := _V1.match(request.path):
            return "query-v1", lambda: self._query_v1(found["scheme"], request)
        found = _V2.match(request.path)
        verb = self._verbs.get(found["verb"]) if found else None
        if found is None or verb is None:
            return None
        return found["verb"], lambda: self._call(verb, found["scheme"], found["data_id"] or "", request)

    def _throttle(self) -> Response | None:
        now, knobs = self._clock.now(), self._knobs
        while self._recent and self._recent[0] <= now - knobs.qeasy_per_seconds:
            self._recent.popleft()
        self._recent.append(now)
        self.most_calls = max(self.most_calls, len(self._recent))
        if now >= self._cool_until and len(self._recent) <= knobs.qeasy_calls:
            return None
        if now >= self._cool_until:
            self._cool_until = now + knobs.qeasy_cool_down
        self.throttled += 1
        payload = self._payload(QeasyError("throttled", "请求过于频繁"))
        if knobs.qeasy_throttle_in_body:
            return Response.json(payload)
        response = Response.json(payload, 429)
        response.headers["Retry-After"] = str(max(1, round(self._cool_until - now)))
        return response

    def _payload(self, error: QeasyError) -> dict[str, Any]:
        code = _CODES[error.kind][self._knobs.qeasy_error_page - 1]
        return {"success": False, "code": code, "message": str(error), "content": None}

    def _refusal(self, error: QeasyError) -> Response:
        return Response.json(self._payload(error))

    def _oauth(self, request: Request) -> dict[str, Any]:
        body = _object(request)
        if (body.get("app_key"), body.get("app_secret")) != (APP_KEY, APP_SECRET):
            raise QeasyError("credentials", "app_key或app_secret错误")
        self._issued += 1
        token = f"qeasy-demo-token-{self._issued:06d}"
        self._tokens[token] = self._clock.now() + self._knobs.qeasy_token_seconds
        return _success({"access_token": token, "expires_in": self._knobs.qeasy_token_seconds})

    def _call(
        self, verb: Callable[[str, Request, str], Any], scheme: str, data_id: str, request: Request
    ) -> dict[str, Any]:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self._check(request.query.get("access_token", bearer), scheme)
        return _success(verb(scheme, request, data_id))

    def _check(self, token: str, scheme: str) -> None:
        if self._tokens.get(token, 0.0) <= self._clock.now():
            raise _invalid_token()
        if scheme in self._knobs.qeasy_forbidden_schemes:
            raise QeasyError("forbidden", f"没有方案权限: {scheme}")
        if scheme in self._knobs.qeasy_unknown_schemes:
            raise QeasyError("not_found", f"方案不存在: {scheme}")

    def _scheme(self, name: str) -> _Scheme:
        return self._schemes.setdefault(name, _Scheme())

    def _store(self, scheme: str, request: Request, _data_id: str) -> dict[str, int]:
        content = _object(request).get("content")
        if not isinstance(content, list) or not content or not all(isinstance(row, dict) for row in content):
            raise QeasyError("param", "content必须是非空数组")
        if 0 < self._knobs.qeasy_max_rows < len(content):
            raise QeasyError("param", f"单次最多{self._knobs.qeasy_max_rows}条")
        lacking = [self._lacks(scheme, row) for row in content]
        bad = [name for name in lacking if name]
        if bad and not self._knobs.qeasy_partial:
            raise QeasyError("param", f"必填字段缺失: {bad[0]}")
        inserted = sum(self._insert(scheme, row) for row, name in zip(content, lacking, strict=True) if not name)
        self._scheme(scheme).failed += len(bad)
        return {"inserted": inserted, "failed": len(bad)}

    def _lacks(self, scheme: str, row: dict[str, Any]) -> str:
        required = self._knobs.qeasy_required.get(scheme, [])
        return next((path for path in required if not present(row, path)), "")

    def _insert(self, scheme: str, content: dict[str, Any]) -> int:
        """Store one row by the id rule; what `inserted` counts it as."""
        held = self._scheme(scheme)
        rule, value = self._knobs.qeasy_id_rule, look_in(content, self._knobs.qeasy_id_field)
        row_id = "" if value is None else str(value)
        old = held.by_id.get(row_id) if row_id and rule != IdRule.APPEND else None
        if old is None:
            row = StoredRow(f"{len(held.rows) + 1:024x}", row_id, content, self._clock.now())
            held.rows.append(row)
            held.by_id[row_id] = row
            return 1
        if rule == IdRule.REPEAT:
            held.repeats += 1
            return int(self._knobs.qeasy_counts_repeats)
        old.content, old.stored_at, old.written = content, self._clock.now(), old.written + 1
        return 1

    def _query(self, scheme: str, request: Request, _data_id: str) -> Any:
        body = _object(request)
        conditions = {name.removeprefix("CONTENT_"): want for name, want in body.items() if name.startswith("CONTENT_")}
        page, size = _number(body.get("page", 1)), min(100, _number(body.get("pageSize", 10)))
        found = self._found(scheme, body.get("begin_at"), body.get("end_at"), conditions)
        shown = [row.shown() for row in found[(page - 1) * size : page * size]]
        if self._knobs.qeasy_query_bare_list:
            return shown
        return {"list": shown, "total": len(found), "page": page, "pageSize": size}

    def _query_v1(self, scheme: str, request: Request) -> dict[str, Any]:
        form = dict(parse_qsl(request.body.decode()))
        self._check(form.get("token", ""), scheme)
        conditions: dict[str, Any] = {}
        for name, value in form.items():
            if named := _V1_CONDITION.match(name):
                conditions.setdefault(named["field"], {})[named["operator"]] = value
        page, size = _number(form.get("page", 1)), min(100, _number(form.get("pageSize", 10)))
        found = self._found(scheme, form.get("begin_at"), form.get("end_at"), conditions)
        rows = [row.shown() for row in found[(page - 1) * size : page * size]]
        return _success({"rows": rows, "total": len(found), "condition": conditions})

    def _found(self, scheme: str, begin: Any, end: Any, conditions: dict[str, Any]) -> list[StoredRow]:
        visible = self._clock.now() - self._knobs.qeasy_query_lag_s
        since = float(begin) if begin is not None else 0.0
        until = min(float(end) if end is not None else visible, visible)
        return [
            row
            for row in self._scheme(scheme).rows
            if since <= row.stored_at <= until
            and all(_matches(look_in(row.content, path), want) for path, want in conditions.items())
        ]

    def _find_one(self, scheme: str, _request: Request, data_id: str) -> dict[str, Any]:
        for row in self._scheme(scheme).rows:
            if row.data_id == data_id:
                return row.shown()
        raise QeasyError("not_found", f"数据不存在: {data_id}")


def _invalid_token() -> QeasyError:
    return QeasyError("token", "access_token无效或已过期")


def _success(content: Any) -> dict[str, Any]:
    return {"success": True, "code": 0, "message": "操作成功", "content": content}


def _object(request: Request) -> dict[str, Any]:
    try:
        body = body_of(request)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise QeasyError("param", "请求体不是JSON对象")
    return body


def _number(value: Any) -> int:
    try:
        return max(1, int(value))
    except (TypeError, ValueError):
        raise QeasyError("param", "page和pageSize必须是正整数") from None


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda held, want: bool(held == want),
    "$ne": lambda held, want: bool(held != want),
    "$gt": lambda held, want: bool(held > want),
    "$gte": lambda held, want: bool(held >= want),
    "$lt": lambda held, want: bool(held < want),
    "$lte": lambda held, want: bool(held <= want),
    "$in": lambda held, want: held in want,
}


def _matches(held: Any, want: Any) -> bool:
    """A condition of query: text means "contains", an object compares by its operators."""
    if isinstance(want, dict):
        try:
            return all(_COMPARE[operator](held, value) for operator, value in want.items())
        except (KeyError, TypeError):
            return False
    if isinstance(want, str):
        return held is not None and want in str(held)
    return bool(held == want)
