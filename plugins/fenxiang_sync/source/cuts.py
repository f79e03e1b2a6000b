"""Cuts: moments that split a window into parts with about as many records each.

Records do not lie evenly in time: of equal spans one may hold nearly all, and whoever reads the spans at once then
waits for that one. The server knows where the quarters end. A cut is a hint: every span is read whatever it holds, so
edits meanwhile, or a server that answers oddly, cost time and no record.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from fenxiang_sync.errors import QuotaError, RefusedError
from fenxiang_sync.source.client import FenxiangClient
from fenxiang_sync.source.query import MAX_OFFSET, Filter, Operator, SearchQuery
from fenxiang_sync.source.reader import ID, STAMP
from fenxiang_sync.window import Window


def equal_parts(
    client: FenxiangClient, object_name: str, window: Window, filters: Sequence[Filter], count: int, parts: int
) -> list[Window]:
    """Up to `parts` adjacent windows that make up the window, of about `count` / `parts` records each; the window
    alone where the server does not say. Costs a call for each cut."""

    def cut(part: int) -> int | None:
        rank = count * part // parts
        if part == 1:
            rank = min(rank, MAX_OFFSET - 1)
        if part == parts - 1:
            rank = max(rank, count - MAX_OFFSET)
        try:
            return _stamp_at(client, object_name, window, filters, rank, count)
        except QuotaError:
            raise
        except RefusedError:
            return None

    with ThreadPoolExecutor(max_workers=parts) as pool:
        stamps = _filled(list(pool.map(cut, range(1, parts))))
    found = sorted({at for at in stamps if at is not None and window.since_ms < at < window.until_ms})
    return [Window(since, until) for since, until in pairwise([window.since_ms, *found, window.until_ms])]


def _filled(stamps: list[int | None]) -> list[int | None]:
    """Cuts that offsets do not reach, evenly in time between the first and the last."""
    first, last = stamps[0], stamps[-1]
    if first is None or last is None:
        return stamps
    steps = max(1, len(stamps) - 1)
    return [first + (last - first) * step // steps if at is None else at for step, at in enumerate(stamps)]


def _stamp_at(
    client: FenxiangClient, object_name: str, window: Window, filters: Sequence[Filter], rank: int, count: int
) -> int | None:
    """The stamp of the record at a rank, from whichever end offsets reach it."""
    ascending = rank < MAX_OFFSET
    offset = rank if ascending else count - 1 - rank
    if not 0 <= offset < MAX_OFFSET:
        return None
    search = SearchQuery(
        object_name=object_name,
        projection=(ID, STAMP),
        filters=(Filter(STAMP, Operator.BETWEEN, (window.since_ms, window.until_ms)), *filters),
        orders=((STAMP, ascending),),
        limit=1,
        offset=offset,
    )
    stamps = [record.get(STAMP) for record in client.query(search).records]
    return stamps[0] if stamps and type(stamps[0]) is int else None
