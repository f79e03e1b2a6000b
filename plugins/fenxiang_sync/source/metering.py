"""Meter: the calls of the day, counted for all who share the quota that was bought.

Packs of calls a day are bought, and counted anew at 0:00 (vendor documentation; the time zone is not stated, presumably
Beijing's). How many are left cannot be asked: a server only says 30002 when they are spent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from fenxiang_sync.errors import FenxiangSyncError, QuotaError

log = logging.getLogger(__name__)

BATCH = 50
"""So many calls are counted with one write, or those of `BATCH_S` seconds."""
BATCH_S = 15.0
NEARLY = 0.8
"""From this part of the bought calls on a warning is logged."""
_SHANGHAI = ZoneInfo("Asia/Shanghai")

Add = Callable[[str, int], int]
"""Adds calls to a day (YYYY-MM-DD), and returns what all have made on it."""


class Meter:
    """Counts the calls of one client; for its threads.

    `quota` is how many calls a day were bought, None where nobody said: from 80 % on it warns. `limit` is after how
    many calls a day this Airflow stops by itself, None for never.
    """

    def __init__(
        self,
        add: Add,
        *,
        connection: str,
        quota: int | None = None,
        limit: int | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._add = add
        self._connection = connection
        self._quota = quota
        self._limit = limit
        self._now = now
        self._lock = threading.Lock()
        self._day = ""
        self._known = 0
        self._pending = 0
        self._flushed_at = float("-inf")
        self._warned = ""

    def count(self) -> None:
        """Count a call that is about to be made; raises `QuotaError` where the limit is reached, and counts nothing."""
        with self._lock:
            self._turn()
            if self._limit is not None and self._known + self._pending >= self._limit:
                self._flush()
                raise QuotaError(
                    f"{self._known:,} calls were made today, and extra day_limit of connection {self._connection!r} "
                    f"allows {self._limit:,}: no more until 0:00 Asia/Shanghai. Clear the failed task then, or raise it"
                )
            self._pending += 1
            if self._is_due():
                self._flush()

    def close(self) -> None:
        """Store what is counted and not stored yet."""
        with self._lock:
            self._flush()

    def _turn(self) -> None:
        today = datetime.fromtimestamp(self._now(), _SHANGHAI).date().isoformat()
        if today != self._day:
            self._flush()
            self._day, self._known, self._flushed_at = today, 0, float("-inf")
            self._flush(known=True)

    def _is_due(self) -> bool:
        left = BATCH if self._limit is None else (self._limit - self._known) // 4
        return self._pending >= min(BATCH, max(1, left)) or self._now() - self._flushed_at >= BATCH_S

    def _flush(self, *, known: bool = False) -> None:
        """Store the pending calls. Counting is no reason to fail: where the hub does not answer they stay pending."""
        if not self._pending and not known:
            return
        try:
            self._known = self._add(self._day, self._pending)
        except FenxiangSyncError as error:
            log.warning("The calls of the day could not be counted now: %s", error)
            return
        finally:
            self._flushed_at = self._now()
        self._pending = 0
        self._warn()

    def _warn(self) -> None:
        if self._quota is None or self._known < NEARLY * self._quota or self._warned == self._day:
            return
        self._warned = self._day
        log.warning(
            "%s of the %s calls that connection %r may make today are used (%.0f %%); after the last one the CRM "
            "refuses every call until 0:00 Asia/Shanghai", f"{self._known:,}", f"{self._quota:,}", self._connection,
            100 * self._known / self._quota,
        )  # fmt: skip
