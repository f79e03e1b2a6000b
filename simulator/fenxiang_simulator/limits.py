"""Limits: calls per interface in 20 seconds, calls a day, and what callers were seen to do against them."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from fenxiang_simulator.clock import Clock
from fenxiang_simulator.envelope import ApiError
from fenxiang_simulator.knobs import Knobs

_BEIJING = timezone(timedelta(hours=8))
_BURST_MESSAGES = {30004: "秒频次超限", 14001: "接口调用超过限制"}


class Limits:
    """Counts every authenticated call. Only calls that were let through use the burst counter up."""

    def __init__(self, clock: Clock, knobs: Knobs) -> None:
        self._clock = clock
        self._knobs = knobs
        self._lock = threading.Lock()
        self._passed: dict[tuple[str, ...], deque[float]] = defaultdict(deque)
        self._asked: dict[tuple[str, ...], deque[float]] = defaultdict(deque)
        self._day = ""
        self.today = 0
        self.bursts: Counter[str] = Counter()
        """Refused calls by path."""
        self.peaks: Counter[str] = Counter()
        """The most calls that one window saw, by path, refused ones included."""

    def spend(self, path: str, app: str) -> None:
        """Count one call. ApiError where it is one too many."""
        with self._lock:
            self._note(path)
            if not self._knobs.quota_pack:
                raise ApiError(30003, "客户没有购买openapi配额，需要提open api订单进行购买")
            self._spend_day()
            self._spend_burst(path, app)

    def forget(self) -> None:
        """Count from zero; the burst counters and the day go on."""
        with self._lock:
            self.bursts.clear()
            self.peaks.clear()

    def report(self) -> dict[str, Any]:
        with self._lock:
            return {"calls_today": self.today, "burst_refusals": dict(self.bursts), "most_in_window": dict(self.peaks)}

    def _note(self, path: str) -> None:
        now, asked = self._clock.elapsed(), self._asked[path,]
        asked.append(now)
        while now - asked[0] >= self._knobs.per_seconds:
            asked.popleft()
        self.peaks[path] = max(self.peaks[path], len(asked))

    def _spend_day(self) -> None:
        zone = UTC if self._knobs.quota_reset_tz == "UTC" else _BEIJING
        day = datetime.fromtimestamp(self._clock.now(), zone).date().isoformat()
        if day != self._day:
            self._day, self.today = day, 0
        if self.today >= self._knobs.day_quota:
            raise ApiError(30002, "当天访问频次超限（0点重新统计）")
        self.today += 1

    def _spend_burst(self, path: str, app: str) -> None:
        key = {"path_and_app": (path, app), "path_and_enterprise": (path,), "enterprise": ()}[self._knobs.burst_scope]
        now, span, passed = self._clock.elapsed(), self._knobs.per_seconds, self._passed[key]
        begins = now - now % span if self._knobs.burst_window == "fixed" else now - span
        while passed and (passed[0] < begins or (passed[0] == begins and self._knobs.burst_window == "sliding")):
            passed.popleft()
        if len(passed) >= self._knobs.calls:
            self.bursts[path] += 1
            code = self._knobs.burst_code
            raise ApiError(code, _BURST_MESSAGES[code])
        passed.append(now)
