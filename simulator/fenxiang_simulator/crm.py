"""Crm: the Fenxiang Open API, an app of the server."""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fenxiang_simulator import directory, metadata
from fenxiang_simulator.editor import Editor
from fenxiang_simulator.envelope import ApiError, bad, good, trace_id
from fenxiang_simulator.faults import AFTER, GETS, LATE, LATE_S, PAGES, Faults, replacement, spoil
from fenxiang_simulator.knobs import Knobs
from fenxiang_simulator.limits import Limits
from fenxiang_simulator.query import page, plan
from fenxiang_simulator.search import Search, object_name, read_search
from fenxiang_simulator.server import Request, Response
from fenxiang_simulator.tenant import Tenant
from fenxiang_simulator.tokens import Tokens
from fenxiang_simulator.wire import Wire
from fenxiang_simulator.writes import Writes

PRESET, CUSTOM = "/cgi/crm/v2/data/", "/cgi/crm/custom/v2/data/"
TOTAL_CAP = 10_000
KEPT_CALLS = 100_000
KEPT_PAGES = 10
"""For faults: a page that comes again, or in place of another."""
_NO_CREDENTIAL = ApiError(20017, "corpAccessToken为必填项，不能为空")
_BAD_TOKEN = ApiError(20016, "the cropId,cropAccessToken or authorization is error")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: `user` is the acting employee id. `header_style` decides how people are written in answers."""

    app: str
    user: str
    header_style: bool
    open_ids: bool

    @property
    def trace(self) -> str:
        return trace_id(directory.EA, self.user)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryCall:
    """One data/query, findSimple or findOne as it was asked, without credentials. `rows` None: refused with `code`."""

    at_ms: int
    path: str
    object: str
    user: str
    filters: tuple[dict[str, Any], ...]
    orders: tuple[tuple[str, bool], ...]
    offset: int
    limit: int
    projection: tuple[str, ...] | None
    total: str
    rows: int | None
    code: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


Handler = Callable[[Mapping[str, Any], Caller, str], dict[str, Any]]


class Crm:
    """Answers ``/cgi/…`` and ``/oauth2.0/…``. `queries` holds what was asked, `requests` counts calls by path."""

    def __init__(
        self,
        tenant: Tenant,
        tokens: Tokens,
        limits: Limits,
        faults: Faults,
        editor: Editor,
        wait: Callable[[float], object],
    ) -> None:
        self._tenant = tenant
        self._knobs: Knobs = tenant.knobs
        self._tokens = tokens
        self._limits = limits
        self._faults = faults
        self._editor = editor
        self._wait = wait
        self._pages: deque[dict[str, Any]] = deque(maxlen=KEPT_PAGES)
        self._late: deque[tuple[float, Request]] = deque()
        self._counting = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        """Refusals by errorCode; what faults did is in the report of faults."""
        self.mixed_styles = 0
        self.queries: deque[QueryCall] = deque(maxlen=KEPT_CALLS)
        writes = Writes(tenant)
        self._handlers: dict[str, Handler] = {
            **{f"{base}query": self._query for base in (PRESET, CUSTOM)},
            **{f"{base}findSimple": self._find_simple for base in (PRESET, CUSTOM)},
            **{f"{base}findOne": self._find_one for base in (PRESET, CUSTOM)},
            **{f"{base}get": self._get for base in (PRESET, CUSTOM)},
        }
        for base in (PRESET, CUSTOM):
            for action, write in writes.actions.items():
                self._handlers[base + action] = _writing(write)
        self._handlers["/cgi/crm/custom/data/invalid"] = _writing(writes.invalid)
        self._handlers["/cgi/crm/v2/object/lock"] = _writing(writes.lock)
        self._handlers["/cgi/crm/v2/object/unlock"] = _writing(writes.unlock)
        for base in ("/cgi/crm/v2/object/", "/cgi/crm/custom/v2/object/"):
            self._handlers[f"{base}list"] = lambda _body, _caller, _path: metadata.object_list(tenant)
            self._handlers[f"{base}describe"] = lambda body, _caller, _path: metadata.describe(tenant, body)
        self._directory: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "/cgi/user/getByMobile": metadata.by_mobile,
            "/cgi/user/get": metadata.user,
            "/cgi/user/list": metadata.user_list,
            "/cgi/user/simpleList": metadata.simple_list,
            "/cgi/department/list": metadata.department_list,
        }

    def forget(self) -> None:
        """Count from zero."""
        with self._counting:
            self.requests.clear()
            self.codes.clear()
            self.queries.clear()
            self.mixed_styles = 0

    def handle(self, request: Request) -> Response | None:
        path = request.path
        if not path.startswith(("/cgi/", "/oauth2.0/")):
            return None
        self._catch_up()
        with self._counting:
            self.requests[path] += 1
        fault = self._faults.draw(path)
        instead = replacement(fault) if fault else None
        if instead is not None:
            return instead
        if fault == LATE:
            self._late.append((self._tenant.clock.elapsed() + LATE_S, request))
            return Response(reset=True)
        response = self._respond(request, fault if fault in (*PAGES, *GETS) else None)
        if response is not None and fault in AFTER:
            spoil(fault, response)
        return response

    def _catch_up(self) -> None:
        """Carry out the writes whose connection was reset before, and whose time has come."""
        with self._counting:
            now = self._tenant.clock.elapsed()
            due = [self._late.popleft() for _ in range(len(self._late)) if self._late[0][0] <= now]
        for _, request in due:
            self._respond(request, None)

    def _respond(self, request: Request, page_fault: str | None) -> Response | None:
        path = request.path
        known = path in self._handlers or path in self._directory
        body = _body(request)
        token_answer = self._tokens.handle(path, body, self._wait)
        if token_answer is not None:
            return token_answer
        if not known:
            return _unknown(path)
        if request.method != "POST":
            return Response.html("<html><head><title>405 Not Allowed</title></head></html>", 405)
        trace = trace_id()
        try:
            caller = self._caller(request, body)
            trace = caller.trace
            payload = self._answer(request, body, caller)
        except ApiError as error:
            with self._counting:
                self.codes[str(error.code)] += 1
            return self._sent(bad(trace, error))
        if page_fault in GETS:
            self._spoil_record(page_fault, payload)
        elif page_fault is not None:
            self._spoil_page(page_fault, payload)
        elif "dataList" in (payload.get("data") or {}):
            self._pages.append(payload["data"])
        return self._sent(good(trace, **payload))

    def _sent(self, payload: dict[str, Any]) -> Response:
        response = Response.json(payload)
        response.delay_s = self._knobs.latency_ms / 1000
        return response

    def _answer(self, request: Request, body: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        path = request.path
        self._limits.spend(path, caller.app)
        if self._knobs.missing_third_trace_id == "reject" and "thirdTraceId" not in request.query:
            raise ApiError(32000, "参数错误", "thirdTraceId 不能为空")
        if path in self._directory:
            return self._directory[path](body)
        if not caller.user:
            if self._knobs.missing_acting_user == "error":
                raise ApiError(10010, "currentOpenUserId 不能为空")
            caller = Caller(caller.app, directory.ADMIN, caller.header_style, caller.open_ids)
        return self._handlers[path](body, caller, path)

    # Who calls

    def _caller(self, request: Request, body: Mapping[str, Any]) -> Caller:
        authorization = request.headers.get("authorization", "")
        in_body = body.get("corpAccessToken")
        if not authorization and not in_body:
            raise _NO_CREDENTIAL
        if authorization and in_body:
            with self._counting:
                self.mixed_styles += 1
        header_style = bool(authorization)
        if header_style:
            token = authorization.removeprefix("Bearer ")
            right = authorization.startswith("Bearer ") and request.headers.get("x-fs-ea") == directory.EA
            user = request.headers.get("x-fs-userid", "")
        else:
            token, right = str(in_body), body.get("corpId") == directory.CORP_ID
            user = str(body.get("currentOpenUserId") or "")
        app = self._tokens.app_of(token) if right else None
        if app is None:
            raise _BAD_TOKEN
        employee = directory.employee_id(user) if user else ""
        if employee is None or (user and user.startswith("FSUID_") == header_style):
            raise ApiError(20012, "openUserId未找到") if not header_style else ApiError(30027, "员工不存在")
        converted = body.get("convertUserId") is True if header_style else body.get("convertUserId") is not False
        open_ids = self._knobs.token_style_ids == "always_fsuid" or converted
        return Caller(app, employee, header_style, open_ids)

    # Reading

    def _query(self, body: Mapping[str, Any], caller: Caller, path: str) -> dict[str, Any]:
        return {"data": self._find(body, caller, path, simple=False)}

    def _find_simple(self, body: Mapping[str, Any], caller: Caller, path: str) -> dict[str, Any]:
        return {"data": self._find(body, caller, path, simple=True)}

    def _find_one(self, body: Mapping[str, Any], caller: Caller, path: str) -> dict[str, Any]:
        rows = self._find(body, caller, path, simple=False)["dataList"]
        return {"data": rows[0] if rows else None}

    def _find(self, body: Mapping[str, Any], caller: Caller, path: str, *, simple: bool) -> dict[str, Any]:
        search = None
        try:
            search = read_search(body, self._knobs, simple=simple)
            found = self._found(search, caller, path, simple=simple)
        except ApiError as error:
            self._log(search or _refused_search(body), caller, path, None, error.code)
            raise
        self._log(search, caller, path, len(found["dataList"]), 0)
        self._tenant.answered()
        if self._knobs.edits_per_request:
            self._editor.edit(search.object, self._knobs.edits_per_request)
        return found

    def _found(self, search: Search, caller: Caller, path: str, *, simple: bool) -> dict[str, Any]:
        tenant, knobs = self._tenant, self._knobs
        fields = tenant.fields(search.object)
        self._check_path(search.object, path)
        with tenant.lock:
            made = plan(search, fields, knobs, tenant.permission(search.object, caller.user))
            unvoided = tenant.unvoided(asked=any(each.field == "life_status" for each in search.filters))
            if unvoided is not None:
                made.before.append(unvoided)
            records, count = page(tenant.shelf(search.object), made, search, fields, knobs)
            total = _total(count, search.total, knobs)
            wire = Wire(tenant, search.object, open_ids=caller.open_ids, simple=simple, listing=True)
            if search.projection is not None:
                rows = wire.projected(records, search.projection, include_null=search.include_null)
            else:
                rows = [wire.full(record, include_null=search.include_null) for record in records]
                if not simple:
                    wire.inject(rows, records, [name for name, _ in search.orders], total)
        return {"total": total, "offset": search.offset, "limit": search.limit, "dataList": rows}

    def _get(self, body: Mapping[str, Any], caller: Caller, path: str) -> dict[str, Any]:
        data = body.get("data")
        if not isinstance(data, Mapping):
            raise ApiError(500, "调用接口返回500错误", "data is missing")
        name, record_id = object_name(data), str(data.get("objectDataId", ""))
        self._check_path(name, path)
        permission = self._tenant.permission(name, caller.user)
        record = self._tenant.record(name, record_id)
        if record is not None and permission is not None and not permission(record):
            raise ApiError(50009, "无此操作的数据权限")
        if record is None:
            if self._knobs.missing_record == "empty":
                return {"data": None}
            raise ApiError(32000, "参数错误", f"数据不存在或已被删除: {record_id}")
        refusal = self._faults.refusal(record_id)
        if refusal is not None:
            raise ApiError(refusal, "数据处理失败", f"无法读取该数据: {record_id}")
        wire = Wire(self._tenant, name, open_ids=caller.open_ids)
        return {"data": wire.full(record, include_null=body.get("includeNull") is True)}

    def _check_path(self, name: str, path: str) -> None:
        custom = self._tenant.definition(name).custom
        wrong = custom != path.startswith("/cgi/crm/custom/") and not path.endswith(("/findSimple", "/findOne"))
        if wrong and self._knobs.wrong_path_kind == "error":
            raise ApiError(32000, "参数错误", f"{'自定义' if custom else '预设'}对象不支持该接口: {name}")

    def _spoil_record(self, fault: str, payload: dict[str, Any]) -> None:
        record = payload["data"]
        if record and fault == "stale_record":
            payload["data"] = {**record, "last_modified_time": record["last_modified_time"] - 1}
        elif record:
            payload["data"] = {**record, "_id": record["_id"][::-1]}

    def _spoil_page(self, fault: str, payload: dict[str, Any]) -> None:
        data = payload["data"]
        rows = data["dataList"]
        if fault == "repeated_page":
            payload["data"] = self._pages[-1] if self._pages else data
        elif fault == "other_page":
            payload["data"] = next((one for one in list(self._pages) if one["dataList"] != rows), data)
        elif fault == "empty_page":
            data["dataList"] = []
        elif fault == "short_page":
            data["dataList"] = rows[: len(rows) // 2]
        elif fault == "lost_row":
            data["dataList"] = rows[: len(rows) // 2] + rows[len(rows) // 2 + 1 :]

    def _log(self, search: Search, caller: Caller, path: str, rows: int | None, code: int) -> None:
        self.queries.append(
            QueryCall(
                at_ms=self._tenant.clock.now_ms(),
                path=path,
                object=search.object,
                user=caller.user,
                filters=tuple(each.as_dict() for each in search.filters),
                orders=search.orders,
                offset=search.offset,
                limit=search.limit,
                projection=search.projection,
                total=search.total,
                rows=rows,
                code=code,
            )
        )


def _writing(write: Callable[[Mapping[str, Any], str], dict[str, Any]]) -> Handler:
    return lambda body, caller, _path: write(body, caller.user)


def _body(request: Request) -> Mapping[str, Any]:
    try:
        body = request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return body if isinstance(body, dict) else {}


def _unknown(path: str) -> Response | None:
    if not path.startswith("/oauth2.0/"):
        return None
    message = f"the request uri=[{path}],apiName=[null] is not exists"
    return Response.json(
        {
            "errorCode": 10006,
            "errorMessage": message,
            "errorDescription": message,
            "traceId": trace_id(),
            "error": "10006",
            "error_description": message,
        }
    )


def _total(count: int | None, switch: str, knobs: Knobs) -> int:
    if count is None or knobs.total_mode == "zero":
        return 0
    if knobs.total_mode == "estimated" or switch == "estimate":
        return max(0, count + (count * 7919 % 11 - 5) * count // 100)
    return min(count, TOTAL_CAP) if knobs.total_mode == "capped" else count


def _refused_search(body: Mapping[str, Any]) -> Search:
    """What can be said of a search that could not be read."""
    data = body.get("data")
    info = data.get("search_query_info") if isinstance(data, Mapping) else None
    info = info if isinstance(info, Mapping) else {}
    return Search(
        object=str(data.get("dataObjectApiName")) if isinstance(data, Mapping) else "",
        filters=(),
        orders=(),
        offset=_int(info.get("offset")),
        limit=_int(info.get("limit")),
        projection=None,
        total="none",
        include_null=False,
    )


def _int(value: Any) -> int:
    return value if isinstance(value, int) else 0
