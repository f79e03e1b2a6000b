"""Reader: one window of one object, asked for page by page; how its bounds are given, what of a page is in it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Any, Self

from fenxiang_sync.errors import DeclarationError, IncompleteError, QuotaError, RefusedError
from fenxiang_sync.source.client import FenxiangClient
from fenxiang_sync.source.protocol import Page
from fenxiang_sync.source.query import Filter, Operator, SearchQuery
from fenxiang_sync.window import Window

log = logging.getLogger(__name__)

ID, STAMP = "_id", "last_modified_time"
TRAITS = ("version", "life_status", "is_deleted")
"""What is asked besides where only what there is, and which version of it, is looked at."""
SPARSE = 5
"""After so many pages in which the fields were truly empty, no other one is asked for again because of that."""
QUESTION_CODES = frozenset((15002, 32000))
"""参数不合法, 参数错误: what is refused is how it was asked (vendor documentation)."""
TRIES = 4
"""How often a question is asked whose page does not answer it, before that counts as the server's answer."""


class Bounds(StrEnum):
    """How the two ends of a window are asked for; whether two filters on one field are honoured is not documented."""

    AUTO = "auto"
    """Two filters; BETWEEN as soon as the server shows that it does not honour both."""
    TWO_FILTERS = "two_filters"
    BETWEEN = "between"


class Reader:
    """Asks for pages. Records outside the window are dropped here, whatever the server honours; so are those whose
    `_id` is not in the slice of it that is wanted: above `above`, not above `upto`, as text."""

    def __init__(
        self,
        client: FenxiangClient,
        object_name: str,
        window: Window,
        projection: Sequence[str],
        filters: Sequence[Filter],
        page_size: int,
        bounds: Bounds = Bounds.AUTO,
        above: str | None = None,
        upto: str | None = None,
    ) -> None:
        own = [each.field for each in filters if each.field in (ID, STAMP)]
        if own:
            raise DeclarationError(
                f"{object_name}: a filter on {own[0]} would change what is read; leave it to the window"
            )
        self.client = client
        self.object_name = object_name
        self.window = window
        self.page_size = page_size
        self.above = above
        self.upto = upto
        self.filters = tuple(filters)
        self._projection = tuple(dict.fromkeys((ID, STAMP, *projection)))
        self._wanted = frozenset(self._projection) - {ID, STAMP, *TRAITS}
        self.bounds = Bounds.BETWEEN if bounds is Bounds.AUTO and object_name in client.habits.between else bounds
        self._believed = 0
        self._first = True

    def on(self, window: Window) -> Self:
        """The same reader for another window."""
        other = copy(self)
        other.window = window
        return other

    def ask(
        self, cursor: str | None, *, ascending: bool = True, filtered: bool = True, limit: int | None = None
    ) -> Page:
        """The page beyond the cursor, as it came, its records checked."""
        search = partial(self._search, cursor, ascending, filtered, limit=limit or self.page_size)
        page = self._or_between(search, self._asked)
        self._watch(page)
        return page

    def _asked(self, search: Callable[[], SearchQuery]) -> Page:
        """The page; one that looks like the answer to another question once more, and that one is believed."""
        page = self._checked(self.client.query(search()))
        if not self._bare(page) and not self._elsewhere(page):
            return page
        again = self._checked(self.client.query(search()))
        self._believed += self._bare(again)
        if self._believed >= SPARSE:
            self._wanted = frozenset()
        return again

    def _bare(self, page: Page) -> bool:
        """Whether no record has any of the fields that other questions (a count, a sweep) do not ask for.

        Fields that are empty are absent, so this may be the truth; or all of them would be emptied at the target.
        """
        return bool(page.records and self._wanted) and all(self._wanted.isdisjoint(each) for each in page.records)

    def _elsewhere(self, page: Page) -> bool:
        return bool(page.records) and all(record[STAMP] not in self.window for record in page.records)

    def sure(
        self, cursor: str | None, *, ascending: bool = True, filtered: bool = True, limit: int | None = None
    ) -> Page:
        """As `ask`, for what is decided by one page: empty only where it came empty twice."""
        return self._sure(
            lambda: self.ask(cursor, ascending=ascending, filtered=filtered, limit=limit),
            lambda ids: len(ids) <= (limit or self.page_size) and all(_beyond(cursor, each, ascending) for each in ids),
        )

    def inside(self, page: Page, records: list[dict[str, Any]] | None = None) -> Page:
        """The page (or `records` of it) without what is outside the window, which is counted."""
        came = page.records if records is None else records
        kept = [record for record in came if record[STAMP] in self.window]
        outside = len(came) - len(kept)
        if self.above is not None or self.upto is not None:
            kept = [record for record in kept if self._in_slice(record[ID])]
        return replace(page, records=kept, outside=outside)

    def _in_slice(self, record_id: str) -> bool:
        return (self.above is None or record_id > self.above) and (self.upto is None or record_id <= self.upto)

    def total(self, cursor: str | None, *, limit: int = 1) -> Page:
        """The first `limit` records beyond the cursor with the server's count of all of them."""
        search = partial(self._search, cursor, True, True, limit=limit, count=True)
        return self._or_between(search, lambda search: self._checked(self.client.query(search())))

    def at_rank(self, rank: int, *, by: str, above: str | None = None, filtered: bool = True) -> Page:
        """The record that has `rank` others before it in the order of `by`, with the server's count of all of them.

        Without a record where there are not so many. It may lie outside the window, as far as the server errs.
        """
        page = self._checked(self.client.query(self._ranked(rank, by, above, filtered)))
        if self.bounds is Bounds.AUTO and self.inside(page).outside:
            self._to_between()
            page = self._checked(self.client.query(self._ranked(rank, by, above, filtered)))
        return page

    def _ranked(self, rank: int, by: str, above: str | None, filtered: bool) -> SearchQuery:
        search = self._search(above, True, filtered, limit=1, count=True)
        return replace(search, offset=rank, orders=((by, True),))

    def first_beyond(self, cursor: str) -> str | None:
        """The first id of the whole object that the server takes for greater than the cursor."""
        filters = Filter(STAMP, Operator.GTE, 0), Filter(ID, Operator.GT, cursor)
        found = self._sure(
            lambda: self._of_object(*filters, limit=1),
            lambda ids: len(ids) <= 1 and all(_beyond(cursor, each, True) for each in ids),
        ).records
        return str(found[0][ID]) if found else None

    def among(self, ids: Sequence[str]) -> Page:
        """Those of the ids that the object has, in the server's order."""
        return self._sure(
            lambda: self._of_object(Filter(ID, Operator.IN, ids), limit=len(ids)), lambda came: came <= set(ids)
        )

    def _sure(self, question: Callable[[], Page], answers: Callable[[set[str]], bool]) -> Page:
        """The page that answers the question. One that came empty is a page once it came empty again."""
        empty = False
        for _ in range(TRIES):
            page = question()
            if page.records and answers({record[ID] for record in page.records}):
                return page
            if not page.records and empty:
                return page
            empty = not page.records
        raise IncompleteError(
            f"{self.object_name}, {self.window}: asked {TRIES} times, the server sent pages of another question, "
            "or none. Reading stopped, so that nothing is left out"
        )

    def _of_object(self, *filters: Filter, limit: int) -> Page:
        search = SearchQuery(
            object_name=self.object_name, projection=(ID, STAMP), filters=filters, orders=((ID, True),), limit=limit
        )
        return self._checked(self.client.query(search))

    def _search(
        self, cursor: str | None, ascending: bool, filtered: bool, *, limit: int, count: bool = False
    ) -> SearchQuery:
        beyond = Operator.GT if ascending else Operator.LT
        return SearchQuery(
            object_name=self.object_name,
            projection=self._projection,
            filters=(
                *self._ends(),
                *(self.filters if filtered else ()),
                *(() if cursor is None else (Filter(ID, beyond, cursor),)),
            ),
            orders=((ID, ascending),),
            limit=limit,
            count=count,
        )

    def _ends(self) -> tuple[Filter, ...]:
        if self.bounds is Bounds.BETWEEN:
            # Which ends BETWEEN includes is not documented: 1 ms more on each side, dropped on ours.
            return (Filter(STAMP, Operator.BETWEEN, (max(0, self.window.since_ms - 1), self.window.until_ms)),)
        return Filter(STAMP, Operator.GTE, self.window.since_ms), Filter(STAMP, Operator.LT, self.window.until_ms)

    def _or_between(self, search: Callable[[], SearchQuery], ask: Callable[[Callable[[], SearchQuery]], Page]) -> Page:
        try:
            page = ask(search)
        except QuotaError:
            raise
        except RefusedError as refusal:
            page = self._otherwise(refusal, search)
        self._first = False
        return page

    def _otherwise(self, refusal: RefusedError, search: Callable[[], SearchQuery]) -> Page:
        """The first refused question once more with BETWEEN; its refusal where that is refused too."""
        if self.bounds is not Bounds.AUTO or not self._first or refusal.code not in QUESTION_CODES:
            raise refusal
        self.bounds = Bounds.BETWEEN
        try:
            page = self._checked(self.client.query(search()))
        except RefusedError:
            raise refusal from None
        self._to_between()
        return page

    def _watch(self, page: Page) -> None:
        outside = sum(record[STAMP] not in self.window for record in page.records)
        if outside and self.bounds is Bounds.AUTO:
            log.info("%s: %d records came from outside %s; asking with BETWEEN", self.object_name, outside, self.window)
            self._to_between()

    def _to_between(self) -> None:
        self.bounds = Bounds.BETWEEN
        self.client.habits.between.add(self.object_name)

    def _checked(self, page: Page) -> Page:
        for record in page.records:
            record_id, stamp = record.get(ID), record.get(STAMP)
            if not isinstance(record_id, str) or not record_id:
                raise IncompleteError(
                    f"{self.object_name}: a record of {self.window} came without {ID}; it has no place here"
                )
            if not isinstance(stamp, int) or isinstance(stamp, bool):
                raise IncompleteError(
                    f"{self.object_name}: record {record_id} came with {STAMP} {stamp!r}, no epoch milliseconds; "
                    "it has no place in a window"
                )
        return page


def _beyond(cursor: str | None, record_id: str, ascending: bool) -> bool:
    """Whether the id is beyond the cursor, as text or by length: which of the two a server means differs."""
    if cursor is None:
        return True
    text, length = record_id > cursor, (len(record_id), record_id) > (len(cursor), cursor)
    return text or length if ascending else record_id != cursor and not (text and length)
