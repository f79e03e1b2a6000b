"""Slices: a window cut where its records lie, into pieces of a bounded number.

Ordered by stamp, the record at rank 5,000 tells where the first 5,000 end: one call, whatever totals are worth and
however unevenly the records lie in time. Where one millisecond holds more than that, it is cut by `_id` the same way.
A cut decides nothing about completeness: pieces are adjacent, so every record is in one of them, wherever the cuts are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from fenxiang_sync.source.census import CAP, count
from fenxiang_sync.source.client import FenxiangClient
from fenxiang_sync.source.ordering import compares_by_length
from fenxiang_sync.source.protocol import Page, Piece, Slice
from fenxiang_sync.source.query import MAX_LIMIT, Filter
from fenxiang_sync.source.reader import ID, STAMP, Bounds, Reader
from fenxiang_sync.window import Window

STEP = 5_000
"""Records in a piece: planning costs one call for 50 pages, and a reader is busy with one for 10 s. The highest rank
that can be asked for is 10,000 (vendor documentation: offset)."""

PIECES = 10_000
"""More of them, for 50 million records, are not worth the calls."""


def cut(
    client: FenxiangClient,
    object_name: str,
    window: Window,
    filters: Sequence[Filter] = (),
    *,
    most: int = STEP,
    pieces: int = PIECES,
    bounds: Bounds = Bounds.AUTO,
) -> Iterator[Piece]:
    """Adjacent pieces that make up the window, in its order, each of `most` records (at most 5,000) or fewer; none
    where the server holds nothing.

    Costs one call where few are counted, else one more for each piece, of which there are about `pieces` at most: a
    server that did not honour offsets would be asked for every record. A piece is larger behind the last of these,
    where the server says a rank is beyond the end though it is not, and where it orders ids by their length.
    """
    most = min(most, STEP)
    counted = count(client, object_name, window, filters, bounds)
    if counted is not None and counted <= most:
        yield from [Piece(Slice(window), counted)] if counted else []
        return
    reader = Reader(client, object_name, window, (), filters, MAX_LIMIT, bounds)
    yield from _Cutter(reader, most, pieces, counts=counted is not None).pieces()


class _Cutter:
    """Cuts one window."""

    def __init__(self, reader: Reader, most: int, pieces: int, *, counts: bool) -> None:
        self._reader = reader
        self._most = most
        self._looks = pieces
        self._counts = counts
        self._filtered = True

    def pieces(self) -> Iterator[Piece]:
        rest = self._reader.window
        before: tuple[Window, int | None] | None = None
        while True:
            page = self._at_rank(self._most, rest, STAMP)
            total = self._total(page)
            if before is not None:
                yield Piece(Slice(before[0]), self._difference(before[1], total))
            stamp = page.records[0][STAMP] if page.records else rest.until_ms
            at = max(stamp, rest.since_ms + 1)
            if at >= rest.until_ms or self._looks < 0:
                break
            head, rest = Window(rest.since_ms, at), Window(at, rest.until_ms)
            before = None if stamp < at else (head, total)
            if before is None:
                yield from self._by_id(head)
        if page.records and rest.length_ms == 1:  # the last millisecond holds more than a piece may
            yield from self._by_id(rest)
        else:
            yield Piece(Slice(rest), total)

    def _total(self, page: Page) -> int | None:
        return page.total if self._counts else None

    def _difference(self, before: int | None, after: int | None) -> int:
        """How many records lie between two cuts. No more than the rank that was asked for, whatever totals say."""
        if before is None or after is None or before == CAP:
            return self._most
        return min(max(0, before - after), self._most)

    def _by_id(self, window: Window) -> Iterator[Piece]:
        """One millisecond, cut by `_id`; in one piece where the server does not order ids as text."""
        cuts, left = self._id_cuts(window)
        bounds = [None, *cuts, None]
        for above, upto in pairwise(bounds):
            yield Piece(Slice(window, above, upto), left if upto is None else self._most)

    def _id_cuts(self, window: Window) -> tuple[list[str], int | None]:
        """The ids to cut at, and how many records lie beyond the last."""
        cuts: list[str] = []
        if compares_by_length(self._reader):
            return cuts, None
        while True:
            page = self._at_rank(self._most - 1, window, ID, above=cuts[-1] if cuts else None)
            total = self._total(page)
            if not page.records or total == self._most or self._looks < 0:
                return cuts, total
            found = page.records[0][ID]
            if cuts and found <= cuts[-1]:
                return [], None
            cuts.append(found)

    def _at_rank(self, rank: int, window: Window, by: str, *, above: str | None = None) -> Page:
        """The page with the record at that rank. One empty page may be a mistake; and a server that applies filters
        after the limit has nothing at a rank whose record is filtered away."""
        self._reader = self._reader.on(window)
        self._looks -= 1
        for _ in range(2):
            page = self._reader.at_rank(rank, by=by, above=above, filtered=self._filtered)
            if page.records:
                return page
        if self._filtered and self._reader.filters and (page.total or 0) > rank:
            self._filtered = False
            return self._at_rank(rank, window, by, above=above)
        return page
