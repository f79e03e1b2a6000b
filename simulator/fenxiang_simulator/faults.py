"""Faults: answers that go wrong on demand, at a seeded rate or for the next calls of a path."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

from fenxiang_simulator.envelope import ApiError, bad, trace_id
from fenxiang_simulator.server import Response, not_found

FAULTS = {
    "redirect": "302 to a web page (a wrong host)",
    "html_404": "404 with an HTML page (a wrong path)",
    "html_200": "200 with an HTML page (a login page, a gateway)",
    "http_502": "502 with an HTML page",
    "http_503": "503 without a body",
    "truncated_json": "200 with half of the JSON",
    "cut": "the connection closes in mid-body",
    "reset": "the connection is reset",
    "hang": "no answer for an hour",
    "slow": "the body comes in ten pieces, 0.3 s apart",
    "slow_head": "the headers come in ten pieces, 0.3 s apart",
    "huge": "the JSON is followed by 100 MB of blanks",
    "busy": "errorCode -1 系统繁忙",
    "system_error": "errorCode -2 系统错误",
    "timeout_code": "errorCode 50009 服务异常，如:超时",
    "throttled": "errorCode 30004 秒频次超限",
    "over_limit": "errorCode 14001 接口调用超过限制",
    "token_expired": "errorCode 20016, although the token is good",
    "late": "a write is carried out 5 s after its connection was reset",
    "repeated_page": "a query is answered with the page before it",
    "other_page": "a query is answered with a page that was the answer to another one",
    "empty_page": "a query is answered with no rows",
    "short_page": "the last half of a page's rows is missing",
    "lost_row": "one row in the middle of a page is missing",
    "stale_record": "a get is answered with an older version of the record",
    "other_record": "a get is answered with another record",
}
CODES = {
    "busy": (-1, "系统繁忙"),
    "system_error": (-2, "系统错误"),
    "timeout_code": (50009, "服务异常，如:超时"),
    "throttled": (30004, "秒频次超限"),
    "over_limit": (14001, "接口调用超过限制"),
    "token_expired": (20016, "the cropId,cropAccessToken or authorization is error"),
}
PAGES = ("repeated_page", "other_page", "empty_page", "short_page", "lost_row")
GETS = ("stale_record", "other_record")
LATE = "late"
LATE_S = 5.0
WRITES = ("/create", "/update", "/invalid", "/recover", "/delete")
AFTER = ("truncated_json", "cut", "reset", "hang", "slow", "slow_head", "huge")
"""These spoil an answer whose request was carried out; the others come in its place."""
_HOUR = 3600.0
_BLANK_BYTES = 100_000_000
_PAGE_HTML = "<!DOCTYPE html><html><head><title>纷享销客</title></head><body>请登录</body></html>"


@dataclass(slots=True)
class _Order:
    fault: str
    path: str
    left: int
    skip: int


class Faults:
    """`rates` are parts of one by fault; `next` orders come first. `injected` counts what happened. `get` refuses the
    records that are named."""

    def __init__(self, seed: int = 7) -> None:
        self._random = Random(f"{seed}:faults")
        self._lock = threading.Lock()
        self._rates: dict[tuple[str, str], float] = {}
        self._orders: list[_Order] = []
        self._refused: dict[str, int] = {}
        self.injected: Counter[str] = Counter()

    def rate(self, fault: str, part: float, path: str = "") -> None:
        """Spoil this part of the calls (0.05: one in twenty) whose path ends with `path`; 0 stops it."""
        _known(fault)
        if not 0 <= part <= 1:
            raise ValueError(f"the rate of fault {fault} cannot be {part}; it is a part between 0 and 1, as 0.05")
        with self._lock:
            self._rates[fault, path] = part

    def next(self, fault: str, count: int = 1, *, path: str = "", skip: int = 0) -> None:
        """Spoil the next `count` calls whose path ends with `path`, after leaving `skip` of them alone."""
        _known(fault)
        with self._lock:
            self._orders.append(_Order(fault, path, count, skip))

    def refuse(self, record_id: str, code: int = 201112011) -> None:
        """Let `get` refuse this record with the code, though queries list it."""
        with self._lock:
            self._refused[record_id] = code

    def refusal(self, record_id: str) -> int | None:
        with self._lock:
            return self._refused.get(record_id)

    def clear(self) -> None:
        with self._lock:
            self._refused.clear()
            self._rates.clear()
            self._orders.clear()

    def draw(self, path: str) -> str | None:
        """The fault of this call, None where it goes well."""
        with self._lock:
            fault = self._ordered(path) or self._by_rate(path)
            if fault in PAGES and not path.endswith(("/query", "/findSimple")):
                return None
            if fault in GETS and not path.endswith("/data/get"):
                return None
            if fault == LATE and not path.endswith(WRITES):
                return None
            if fault is not None:
                self.injected[fault] += 1
            return fault

    def as_dict(self) -> dict[str, Any]:
        with self._lock:
            return {
                "rates": {f"{fault} {path}".strip(): part for (fault, path), part in self._rates.items() if part},
                "next": [{"fault": o.fault, "path": o.path, "left": o.left, "skip": o.skip} for o in self._orders],
                "refused": dict(self._refused),
                "injected": dict(self.injected),
            }

    def _ordered(self, path: str) -> str | None:
        for order in self._orders:
            if not path.endswith(order.path):
                continue
            if order.skip:
                order.skip -= 1
                continue
            order.left -= 1
            if order.left <= 0:
                self._orders.remove(order)
            return order.fault
        return None

    def _by_rate(self, path: str) -> str | None:
        for (fault, ending), part in self._rates.items():
            if part and path.endswith(ending) and self._random.random() < part:
                return fault
        return None


def replacement(fault: str) -> Response | None:
    """The answer that comes instead of the real one; None for a fault that spoils the real one."""
    if fault in CODES:
        return Response.json(bad(trace_id(), ApiError(*CODES[fault])))
    if fault == "redirect":
        return Response(302, {"Location": "https://www.fxiaoke.com/", "Content-Type": "text/html"}, b"")
    if fault == "html_404":
        return not_found()
    if fault == "html_200":
        return Response.html(_PAGE_HTML)
    if fault == "http_502":
        return Response.html("<html><head><title>502 Bad Gateway</title></head><body></body></html>", 502)
    if fault == "http_503":
        return Response(503)
    return None


def spoil(fault: str, response: Response) -> Response:
    """The real answer, sent badly."""
    if fault == "truncated_json":
        response.body = response.body[: len(response.body) // 2]
    elif fault == "cut":
        response.truncate_at = len(response.body) // 2
    elif fault == "reset":
        response.reset = True
    elif fault == "hang":
        response.delay_s = _HOUR
    elif fault == "slow":
        response.drip_s = 0.3
    elif fault == "slow_head":
        response.drip_head_s = 0.3
    elif fault == "huge":
        response.blanks = _BLANK_BYTES
    return response


def _known(fault: str) -> None:
    if fault not in FAULTS:
        raise ValueError(f"there is no fault {fault!r}; the faults are: {', '.join(FAULTS)}")
