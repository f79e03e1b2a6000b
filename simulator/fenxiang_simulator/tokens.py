"""Tokens: the two token endpoints and the life of a token."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from fenxiang_simulator import directory
from fenxiang_simulator.clock import Clock
from fenxiang_simulator.envelope import ApiError, trace_id
from fenxiang_simulator.knobs import Knobs
from fenxiang_simulator.server import Response

APPS = ("FSAID_demo001", "FSAID_demo002")
APP_SECRET = "demo-secret"
PERMANENT_CODE = "demo-perm"

HEADER_PATH = "/oauth2.0/token"
BODY_PATH = "/cgi/corpAccessToken/get/V2"
OLD_BODY_PATH = "/cgi/corpAccessToken/get"

SAME_FOR_S = 6600
LIVES_S = 7200
CALLS_A_MINUTE = 10
_LIMIT_MESSAGES = {14001: "接口调用超过限制", 30004: "秒频次超限", -1: "系统繁忙"}


class Tokens:
    """Issues and checks tokens, and counts what callers must not do: over ten calls a minute, two calls at once."""

    def __init__(self, clock: Clock, knobs: Knobs, *, seed: int = 7) -> None:
        self._clock = clock
        self._knobs = knobs
        self._random = Random(f"{seed}:tokens")
        self._lock = threading.Lock()
        self._live: dict[str, tuple[str, float]] = {}
        self._current: dict[tuple[str, str], str] = {}
        self._calls: deque[float] = deque()
        self._in_flight = 0
        self.forget()

    def forget(self) -> None:
        """Count from zero; tokens stay what they are."""
        self.calls = 0
        self.over_limit = 0
        self.concurrent = 0
        self.most_in_a_minute = 0

    def report(self) -> dict[str, int]:
        return {
            "calls": self.calls,
            "over_limit": self.over_limit,
            "concurrent": self.concurrent,
            "most_in_a_minute": self.most_in_a_minute,
        }

    def handle(self, path: str, body: Mapping[str, Any], wait: Callable[[float], object]) -> Response | None:
        """The answer of a token endpoint; None where `path` is none. `wait` sleeps for seconds."""
        if path == OLD_BODY_PATH:
            message = "the parameter appAccessToken is missing or illegal"
            return Response.json({"errorCode": 10003, "errorMessage": message, "errorDescription": message})
        if path not in (HEADER_PATH, BODY_PATH):
            return None
        with self._lock:
            refusal = self._enter()
        try:
            wait(self._knobs.token_latency_ms / 1000)
            with self._lock:
                return Response.json(self._answer(path, body, refusal))
        finally:
            with self._lock:
                self._in_flight -= 1

    def app_of(self, token: str) -> str | None:
        """The app whose token this is; None for a token that is wrong or too old."""
        with self._lock:
            found = self._live.get(token)
            if found is None or self._clock.elapsed() - found[1] > LIVES_S:
                return None
            return found[0]

    def revoke(self) -> None:
        """Let every token be refused from now on; the next token call issues a new one."""
        with self._lock:
            self._live.clear()
            self._current.clear()

    def _enter(self) -> bool:
        now = self._clock.elapsed()
        while self._calls and now - self._calls[0] >= 60:
            self._calls.popleft()
        self._calls.append(now)
        self.calls += 1
        self.most_in_a_minute = max(self.most_in_a_minute, len(self._calls))
        self._in_flight += 1
        together = self._in_flight > 1
        over = len(self._calls) > CALLS_A_MINUTE
        self.concurrent += together
        self.over_limit += over
        return over or (together and self._knobs.token_concurrent == "reject")

    def _answer(self, path: str, body: Mapping[str, Any], refused: bool) -> dict[str, Any]:
        if refused:
            code = self._knobs.token_over_limit_code
            return {"errorCode": code, "errorMessage": _LIMIT_MESSAGES[code], "traceId": _trace()}
        try:
            app = _checked(path, body)
        except ApiError as error:
            return _refusal(path, error)
        token, remaining = self._token(app, path)
        if path == BODY_PATH:
            return {
                "errorCode": 0,
                "errorMessage": "success",
                "corpAccessToken": token,
                "corpId": directory.CORP_ID,
                "expiresIn": remaining,
            }
        return {
            "errorCode": 0,
            "errorMessage": "success",
            "traceId": trace_id(),
            "accessToken": token,
            "expiresIn": remaining,
            "appId": app,
            "ea": directory.EA,
            "openUserId": directory.CORP_ID,
        }

    def _token(self, app: str, path: str) -> tuple[str, int]:
        now = self._clock.elapsed()
        current = self._current.get((app, path))
        if current is not None and now - self._live[current][1] < SAME_FOR_S:
            return current, int(LIVES_S - (now - self._live[current][1]))
        token = f"{'CAT' if path == BODY_PATH else 'AT'}{self._random.getrandbits(128):032X}"
        self._live = {each: held for each, held in self._live.items() if now - held[1] <= LIVES_S}
        self._live[token] = (app, now)
        self._current[app, path] = token
        return token, LIVES_S


def _checked(path: str, body: Mapping[str, Any]) -> str:
    app = body.get("appId")
    if not app:
        raise ApiError(10001, "the parameter appId is missing or illegal")
    if body.get("appSecret") != APP_SECRET:
        raise ApiError(10006, "the parameter appSecret is missing or illegal")
    if app not in APPS:
        raise ApiError(20006, "appId或appSecret错误")
    if path == HEADER_PATH and body.get("grantType") != "app_secret":
        raise ApiError(10006, "the parameter grantType is missing or illegal")
    if body.get("permanentCode") != PERMANENT_CODE:
        raise ApiError(20015, "永久授权码错误")
    return str(app)


def _refusal(path: str, error: ApiError) -> dict[str, Any]:
    body: dict[str, Any] = {
        "errorCode": error.code,
        "errorMessage": error.message,
        "errorDescription": error.message,
        "traceId": _trace(),
    }
    if path == HEADER_PATH:
        body |= {"error": str(error.code), "error_description": error.message}
    return body


def _trace() -> str:
    return trace_id().replace("E-O.null.-1000-", "open-api-gateway-web/")
