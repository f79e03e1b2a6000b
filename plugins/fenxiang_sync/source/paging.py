"""Paging: every record of a window, by `_id` keyset inside the closed window.

Offset paging loses records while others edit (each edit shifts the rest) and ends at 10,000. A keyset does neither:
offset 0 for ever, ordered by `_id`, each page after the last id of the one before. A record that is edited meanwhile
leaves the window and is in a later one. Only an empty page ends a range: a short one may be a clamped limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

from fenxiang_sync.errors import IncompleteError
from fenxiang_sync.source.client import FenxiangClient
from fenxiang_sync.source.ordering import (
    ABOVE_SHORT,
    BELOW_LONG,
    Order,
    compares_by_length,
    id_of,
    number_of,
    order_of,
    sorts_by_length,
)
from fenxiang_sync.source.protocol import Page
from fenxiang_sync.source.query import MAX_LIMIT, Filter
from fenxiang_sync.source.reader import ID, TRIES, Bounds, Reader
from fenxiang_sync.window import Window

__all__ = ["Bounds", "pages"]


def pages(
    client: FenxiangClient,
    *,
    object_name: str,
    window: Window,
    projection: Sequence[str],
    filters: Sequence[Filter] = (),
    page_size: int = MAX_LIMIT,
    after: str | None = None,
    above: str | None = None,
    upto: str | None = None,
    bounds: Bounds = Bounds.AUTO,
) -> Iterator[Page]:
    """Pages of the records whose stamp is in the window; `_id` and `last_modified_time` always come along.

    `after` goes on behind the last id of an earlier reading that was cut off. Where a server sorts or compares ids in
    a way of its own, records may then come twice; none stays away. With `above` and `upto` only the records come whose
    `_id` is, as text, above the one and not above the other: a slice of a window that holds very many. Raises
    `IncompleteError` for a record without `_id` or stamp, and where pages do not follow one another.
    """
    if not window.empty:
        reader = Reader(client, object_name, window, projection, filters, page_size, bounds, above, upto)
        yield from _Sweep(reader).read(after)


class _Sweep:
    """One reading of one window."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._cursor: str | None = None
        self._tops: dict[int, str] = {}
        self._mistakes = 0
        self._highest: str | None = None
        self._last_page: tuple[str | None, str] | None = None

    def read(self, after: str | None) -> Iterator[Page]:
        if compares_by_length(self._reader):
            yield from self._walk(ABOVE_SHORT, ascending=True)
            yield from self._walk(BELOW_LONG, ascending=False)
        elif self._reader.client.habits.sorts_by_length.get(self._reader.object_name):
            yield from self._short_then_long(None)
        else:
            after = None if self._doubtful(after) else after
            yield from self._ascending(after)
            if self._passed_over():
                # Where the reading goes on from an earlier one, that may have ended among such records.
                yield from _Sweep(self._reader).read(None) if after is not None else self._down_from_short()

    def _ascending(self, after: str | None) -> Iterator[Page]:
        """All of the slice from `after` on, where the server sorts ids as text; else only part of it."""
        if after is not None:
            self._seen(after)
        else:
            self._cursor = self._reader.above
        while True:
            page, order = self._following(self._reader.ask, self._cursor, check=self._cursor)
            if order is Order.LENGTH:
                self._reader.client.habits.sorts_by_length[self._reader.object_name] = True
                only_short = after is None and len(self._tops) <= 1
                yield from self._short_then_long(self._cursor) if only_short else _Sweep(self._reader).read(None)
                self._tops.clear()
                return
            if page.records:
                yield self._reader.inside(page)
                self._last_page = self._cursor, page.records[-1][ID]
                for record in page.records:
                    self._seen(record[ID])
                self._mistakes = 0
                if self._reader.upto is not None and page.records[-1][ID] > self._reader.upto:
                    return
            elif not self._goes_on():
                return

    def _seen(self, record_id: str) -> None:
        self._tops[len(record_id)] = record_id
        self._cursor = record_id

    def _following(
        self, ask: Callable[..., Page], cursor: str | None, *, check: str | None, ascending: bool = True
    ) -> tuple[Page, Order]:
        """The page beyond the cursor. A page that came before, or in no order, is asked for again."""
        for _ in range(TRIES):
            page = ask(cursor, ascending=ascending)
            order = order_of([record[ID] for record in page.records], check, ascending=ascending)
            if order is not Order.NONE:
                return page, order
        ids = f"{page.records[0][ID]} … {page.records[-1][ID]}"
        raise IncompleteError(
            f"{self._reader.object_name}, {self._reader.window}: asked {TRIES} times for what comes after {cursor}, "
            f"the server sent ids that repeat or are in no order ({ids}). Reading stopped, so that nothing is left out"
        )

    def _walk(
        self, start: str | None, *, ascending: bool, wanted: Callable[[str], bool] = lambda _: True
    ) -> Iterator[Page]:
        """Pages beyond `start`, up to the first id that is not wanted or to the end."""
        cursor, check = start, None
        while True:
            page, _ = self._following(self._reader.sure, cursor, check=check, ascending=ascending)
            records = list(takewhile(lambda record: wanted(record[ID]), page.records))
            if records:
                yield self._reader.inside(page, records)
            last = records[-1][ID] if records else None
            if not page.records:
                last = self._last_filtered(cursor, ascending=ascending, wanted=wanted)
            if last is None or len(records) < len(page.records):
                return
            cursor = check = last

    def _last_filtered(self, cursor: str | None, *, ascending: bool, wanted: Callable[[str], bool]) -> str | None:
        """Where to go on behind an empty page of a server that applies filters after the limit; None at the end."""
        if not self._reader.filters or self._reader.object_name in self._reader.client.habits.filters_first:
            return None
        left = self._reader.sure(cursor, ascending=ascending, filtered=False).records
        passed = list(takewhile(wanted, (record[ID] for record in left)))
        return passed[-1] if passed else None

    # Where a range ends

    def _goes_on(self) -> bool:
        """Whether there is more behind an empty page; the cursor is then where to go on."""
        if self._reader.filters and self._goes_on_behind_filtered():
            return True
        self._highest = self._below(None, filtered=True)
        if self._highest is not None and self._highest == self._cursor:
            return False
        return self._goes_on_behind_hidden()

    def _goes_on_behind_filtered(self) -> bool:
        """A server may apply filters after the limit, so that pages come empty before the end.

        Without the filters the page shows whether anything is left, and how far the server looked at most.
        """
        known = self._reader.client.habits.filters_first
        if self._reader.object_name in known:
            return False
        left = self._reader.ask(self._cursor, filtered=False).records
        if left and self._reader.ask(self._cursor).records:
            return True  # the empty page was a mistake
        if left and self._last_page is not None:
            start, end = self._last_page
            self._last_page = None
            looked_at = self._reader.ask(start, filtered=False).records
            if len(looked_at) == self._reader.page_size and end > looked_at[-1][ID]:
                known.add(self._reader.object_name)
                return False
        if left:
            self._seen(left[-1][ID])
        return bool(left)

    def _goes_on_behind_hidden(self) -> bool:
        """The page may have been a mistake. Or the server takes records away after the limit (of other owners).

        Where it counts more than it sends, the first of them is looked for: between two ids, by halves.
        """
        look = self._reader.total(self._cursor)
        if look.records:
            self._mistakes += 1
            return self._mistakes <= TRIES or self._stuck(look.total)
        if not look.total or self._reader.object_name in self._reader.client.habits.counts_hidden:
            return False
        return self._found_behind_hidden(look.total)

    def _found_behind_hidden(self, left: int) -> bool:
        low, high = number_of(self._cursor or ""), number_of("f" * 32)
        while high - low > 1:
            middle = (low + high) // 2
            look = self._reader.total(id_of(middle), limit=self._reader.page_size)
            if look.total == left and look.records:
                self._cursor = id_of(middle)
                return True
            low, high = (middle, high) if look.total == left else (low, middle)
        if self._reader.total(self._cursor).total == left:
            self._reader.client.habits.counts_hidden.add(self._reader.object_name)
            return False
        self._mistakes += 1
        return self._mistakes <= TRIES or self._stuck(left)

    def _stuck(self, left: int | None) -> bool:
        raise IncompleteError(
            f"{self._reader.object_name}, {self._reader.window}: {TRIES} times the server sent an empty page after "
            f"{self._cursor}, though {left} records are left there. Reading stopped, so that nothing is left out"
        )

    # Where the server sorts by length

    def _below(self, start: str | None, *, filtered: bool = False) -> str | None:
        """The id that the server sorts just below `start`, whatever the filters; the last of all below None."""
        found = self._reader.sure(start, ascending=False, filtered=filtered, limit=1).records
        return str(found[0][ID]) if found else None

    def _doubtful(self, after: str | None) -> bool:
        """Whether an earlier reading may have passed by longer ids than the ones it had read; then it says nothing."""
        if after is None or self._reader.object_name in self._reader.client.habits.sorts_by_length:
            return False
        first = self._reader.sure(None, filtered=False, limit=1).records
        return bool(first) and len(first[0][ID]) < len(after)

    def _passed_over(self) -> bool:
        """Whether longer ids were left behind the cursor, because the server sorts every shorter one before them."""
        if not self._tops or self._reader.client.habits.sorts_by_length.get(self._reader.object_name) is False:
            return False
        complete = max(self._tops) if self._highest == self._cursor else None
        for top in (top for length, top in self._tops.items() if length != complete):
            below = self._below(top)
            if below is not None and len(below) > len(top) and below < top:
                return sorts_by_length(self._reader, top, below)
        return False

    def _down_from_short(self) -> Iterator[Page]:
        short = min(self._tops)
        yield from self._walk(self._tops[short], ascending=False, wanted=lambda record_id: len(record_id) > short)

    def _short_then_long(self, start: str | None) -> Iterator[Page]:
        """The short ids from `start` up, the long ones from the top down."""
        first = self._reader.sure(None, filtered=False, limit=1).records
        if first:
            short = len(first[0][ID])
            yield from self._walk(start, ascending=True, wanted=lambda record_id: len(record_id) == short)
            yield from self._walk(None, ascending=False, wanted=lambda record_id: len(record_id) > short)
