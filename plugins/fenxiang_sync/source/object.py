"""FenxiangObject: one object of the CRM as a declaration reads it, which is an `Origin`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fenxiang_sync.errors import RefusedError
from fenxiang_sync.source import census, slices
from fenxiang_sync.source.client import FenxiangClient
from fenxiang_sync.source.getting import asked
from fenxiang_sync.source.paging import Bounds, pages
from fenxiang_sync.source.protocol import Page, Piece, Sighting, Slice
from fenxiang_sync.source.query import MAX_LIMIT, Filter
from fenxiang_sync.source.reader import TRAITS
from fenxiang_sync.window import Window


@dataclass(frozen=True, slots=True)
class FenxiangObject:
    """See `Origin`; also `Gettable`."""

    client: FenxiangClient
    name: str
    filters: Sequence[Filter] = ()
    page_size: int = MAX_LIMIT
    bounds: Bounds = Bounds.AUTO

    def pages(
        self, part: Slice, projection: Sequence[str], *, after: str | None = None, page_size: int | None = None
    ) -> Iterator[Page]:
        return pages(
            self.client,
            object_name=self.name,
            window=part.window,
            projection=projection,
            filters=self.filters,
            page_size=min(page_size or self.page_size, self.page_size),
            after=after,
            above=part.above,
            upto=part.upto,
            bounds=self.bounds,
        )

    def sweep(self, part: Slice) -> Iterator[Sighting]:
        return census.sweep(self.client, self.name, part.window, self.filters, above=part.above, upto=part.upto)

    def count(self, window: Window) -> int | None:
        return census.count(self.client, self.name, window, self.filters, self.bounds)

    def cut(self, window: Window, *, most: int, pieces: int) -> Iterator[Piece]:
        return slices.cut(
            self.client, self.name, window, self.filters, most=most, pieces=pieces, bounds=self.bounds
        )  # fmt: skip

    def fetch(self, ids: Iterable[str], projection: Sequence[str], *, filtered: bool) -> Iterator[Page]:
        return census.fetch(self.client, self.name, ids, projection, self.filters if filtered else ())

    def look(self, ids: Iterable[str], *, filtered: bool) -> Iterator[Sighting]:
        for page in self.fetch(ids, TRAITS, filtered=filtered):
            yield from map(census.sighting, page.records)

    def get(self, record_id: str) -> dict[str, Any] | RefusedError | None:
        return asked(self.client, self.name, record_id)
