"""Census: what the server holds in a window now, compared with what is held here.

A server's `total` is a hint: it may be capped, estimated, 0 or absent, and equal numbers are no proof (one record
leaves, another comes late). So few records are swept by `_id`; many are halved by time and counted, and swept where
the numbers differ or cannot be had.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from fenxiang_sync.errors import IncompleteError
from fenxiang_sync.source.client import FenxiangClient
from fenxiang_sync.source.paging import pages
from fenxiang_sync.source.protocol import Page, Sighting, Slice
from fenxiang_sync.source.query import MAX_LIMIT, Filter, Operator, SearchQuery
from fenxiang_sync.source.reader import ID, STAMP, TRAITS, TRIES, Bounds, Reader
from fenxiang_sync.window import Window

SWEPT = 1_000
"""Up to so many records (10 pages) are swept rather than counted."""
MEMORY = 10_000
"""A sweep that meets more ids than this is given up for its halves, so that memory stays bounded."""
CAP = 10_000
"""A total from here on may be a cap."""


class Held(Protocol):
    """What is held here, of one object."""

    def count(self, window: Window) -> int:
        """How many records whose held stamp is in the window."""
        ...

    def stamps(self, ids: Sequence[str]) -> Mapping[str, int]:
        """The held stamps (epoch ms) of those ids that are held."""
        ...


class Countable(Protocol):
    """What can be counted and swept: an `Origin`."""

    def count(self, window: Window) -> int | None: ...

    def sweep(self, part: Slice) -> Iterator[Sighting]: ...


class HeldStamps:
    """A mapping of id to stamp, as `Held`; sorted by stamp."""

    def __init__(self, stamps: Mapping[str, int]) -> None:
        self._stamps = stamps
        self._order = sorted(stamps, key=stamps.__getitem__)
        self._sorted = [stamps[record_id] for record_id in self._order]

    def count(self, window: Window) -> int:
        ends = self._ends(window)
        return int(ends.stop - ends.start)

    def stamps(self, ids: Sequence[str]) -> Mapping[str, int]:
        return {each: self._stamps[each] for each in ids if each in self._stamps}

    def within(self, window: Window) -> list[str]:
        """The ids whose held stamp is in the window."""
        return self._order[self._ends(window)]

    def _ends(self, window: Window) -> slice:
        return slice(bisect_left(self._sorted, window.since_ms), bisect_left(self._sorted, window.until_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One span of time, compared: counted here and there, and every record that was seen where it was swept."""

    window: Window
    held: int
    server: int
    seen: tuple[Sighting, ...] | None


def count(
    client: FenxiangClient,
    object_name: str,
    window: Window,
    filters: Sequence[Filter] = (),
    bounds: Bounds = Bounds.AUTO,
) -> int | None:
    """The server's number of records in the window: a hint; None where it says none or contradicts itself.

    0 only where two pages came empty too: one may be a mistake.
    """
    if window.empty:
        return 0
    reader = Reader(client, object_name, window, (), filters, MAX_LIMIT, bounds)
    page = reader.total(None, limit=MAX_LIMIT)
    if reader.inside(page).outside and reader.bounds is not Bounds.BETWEEN:
        reader = Reader(client, object_name, window, (), filters, MAX_LIMIT, Bounds.BETWEEN)
        page = reader.total(None, limit=MAX_LIMIT)
    there = len(page.records)
    if not there:
        empty = not page.total and not reader.ask(None, filtered=False).records
        return 0 if empty else page.total or None
    return None if page.total is None or page.total < there else page.total


def sweep(
    client: FenxiangClient,
    object_name: str,
    window: Window,
    filters: Sequence[Filter] = (),
    *,
    above: str | None = None,
    upto: str | None = None,
) -> Iterator[Sighting]:
    """Every record in the window, or in a slice of it by `_id`, as id, stamp and what tells its state."""
    found = pages(
        client, object_name=object_name, window=window, projection=TRAITS, filters=filters, above=above, upto=upto
    )
    for page in found:
        yield from map(sighting, page.records)


def sighting(record: Mapping[str, Any]) -> Sighting:
    """What a sweep sees of a record."""
    return Sighting(record[ID], record[STAMP], *(record.get(trait) for trait in TRAITS))


def compare(origin: Countable, window: Window, held: Held, *, counting: bool = True) -> Iterator[Bucket]:
    """The window in buckets: counted where both numbers agree, swept where not; bounded memory for any number.

    Without `counting` everything is swept, in buckets of half `MEMORY` records at most.
    """
    here = held.count(window)
    if here <= (SWEPT if counting else MEMORY // 2):
        yield from _swept(origin, window, held, here, counting)
        return
    there = origin.count(window) if counting else None
    if there == here < CAP and _halves_agree(origin, window, held):
        yield Bucket(window=window, held=here, server=there, seen=None)
    elif window.length_ms < 2:
        yield from _swept(origin, window, held, here, counting)
    else:
        for half in window.halves():
            yield from compare(origin, half, held, counting=counting)


def _swept(origin: Countable, window: Window, held: Held, here: int, counting: bool) -> Iterator[Bucket]:
    seen: dict[str, Sighting] = {}
    for sighting in origin.sweep(Slice(window)):
        seen[sighting.id] = sighting
        if len(seen) > MEMORY and window.length_ms >= 2:
            for half in window.halves():
                yield from compare(origin, half, held, counting=counting)
            return
    yield Bucket(window=window, held=here, server=len(seen), seen=tuple(seen.values()))


def _halves_agree(origin: Countable, window: Window, held: Held) -> bool:
    """A number that is right by chance is seldom right for both halves as well."""
    if window.length_ms < 2:
        return True
    return all(origin.count(half) == held.count(half) for half in window.halves())


def fetch(
    client: FenxiangClient,
    object_name: str,
    ids: Iterable[str],
    projection: Sequence[str] = (),
    filters: Sequence[Filter] = (),
) -> Iterator[Page]:
    """The records with these ids as they are now, 100 ids a call; one that is gone, may not be seen or does not pass
    the filters is left out."""
    remaining = iter(dict.fromkeys(ids))
    while batch := list(islice(remaining, MAX_LIMIT)):
        yield from _fetched(client, object_name, batch, tuple(dict.fromkeys((ID, STAMP, *projection))), filters)


def _fetched(
    client: FenxiangClient, object_name: str, batch: list[str], projection: Sequence[str], filters: Sequence[Filter]
) -> Iterator[Page]:
    """The records of one batch. Only two empty pages say that the rest is not there."""
    wanted = dict.fromkeys(batch)
    empty = 0
    while wanted and empty < 2:
        page = _answered(client, object_name, list(wanted), projection, filters)
        empty = 0 if page.records else empty + 1
        for record in page.records:
            del wanted[record[ID]]
        if page.records:
            yield page


def _answered(
    client: FenxiangClient, object_name: str, ids: list[str], projection: Sequence[str], filters: Sequence[Filter]
) -> Page:
    """A page with some of these ids, each once; asked for again where it is another page."""
    search = SearchQuery(
        object_name=object_name,
        projection=projection,
        filters=(Filter(ID, Operator.IN, ids), *filters),
        orders=((ID, True),),
    )
    for _ in range(TRIES):
        page = client.query(search)
        came = [record.get(ID) for record in page.records]
        if len(set(came)) == len(came) and set(came) <= set(ids):
            return page
    raise IncompleteError(
        f"{object_name}: asked {TRIES} times for {len(ids)} records by id, the server sent others, or one twice "
        f"(the first asked for is {ids[0]}, the first that came {came[0]})"
    )
