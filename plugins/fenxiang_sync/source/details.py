"""Details (从对象): the detail records of some headers, which a query of the headers does not give.

They are asked for by reference, 100 headers a call, and read page by page as every window is: a short page is no end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from fenxiang_sync.errors import IncompleteError
from fenxiang_sync.source.client import FenxiangClient
from fenxiang_sync.source.paging import pages
from fenxiang_sync.source.query import MAX_LIMIT, Filter, Operator, SearchQuery
from fenxiang_sync.source.reader import ID, TRIES, Bounds
from fenxiang_sync.window import Window

EVER = Window(0, 253_402_300_800_000)
"""All stamps up to the year 9999."""


class Changed(NamedTuple):
    """A detail record, and the header that it is of now, None for none."""

    id: str
    header: str | None


def fetch(
    client: FenxiangClient,
    object_name: str,
    ids: Sequence[str],
    *,
    by: str,
    projection: Sequence[str],
    filters: Sequence[Filter] = (),
    bounds: Bounds = Bounds.AUTO,
) -> dict[str, list[dict[str, Any]]]:
    """The detail records of each header, in the order of their `_id`; an empty list where it has none.

    `by` is their reference to the header. Raises `IncompleteError` where the server sends those of other headers.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {header: {} for header in ids}
    if found:
        _find_out_whether_filters_come_first(client, object_name, by)
    for batch in _batches(list(found)):
        for record in _of(client, object_name, batch, by, projection, filters, bounds):
            found[record[by]][record[ID]] = record
    return {header: [each[key] for key in sorted(each)] for header, each in found.items()}


def changed(
    client: FenxiangClient,
    object_name: str,
    window: Window,
    *,
    by: str,
    bounds: Bounds = Bounds.AUTO,
) -> Iterator[Changed]:
    """The detail records whose own stamp is in the window."""
    for page in pages(client, object_name=object_name, window=window, projection=(by,), bounds=bounds):
        for record in page.records:
            header = record.get(by)
            yield Changed(record[ID], header if isinstance(header, str) else None)


def _of(
    client: FenxiangClient,
    object_name: str,
    batch: Sequence[str],
    by: str,
    projection: Sequence[str],
    filters: Sequence[Filter],
    bounds: Bounds,
) -> list[dict[str, Any]]:
    strange: Any = None
    for _ in range(TRIES):
        asked = pages(
            client,
            object_name=object_name,
            window=EVER,
            projection=(by, *projection),
            filters=(Filter(by, Operator.IN, batch), *filters),
            bounds=bounds,
        )
        records: list[dict[str, Any]] = []
        for page in asked:
            strange = next((each for each in page.records if each.get(by) not in batch), None)
            if strange is not None:
                break  # the answer to another question, or a server that does not filter: no need to read on
            records += page.records
        else:
            return records
    raise IncompleteError(
        f"{object_name}: asked {TRIES} times for the details of {len(batch)} records by {by}, the server sent others "
        f"(the first asked for is {batch[0]}, {strange[ID]} came and has {strange.get(by)!r}). Is {by} the reference "
        "to the header? Reading stopped, so that nothing is left out"
    )


def _find_out_whether_filters_come_first(client: FenxiangClient, object_name: str, by: str) -> None:
    """A server that applies filters after the limit makes pages come empty before the end, so that reading has to walk
    over all records there are, for every 100 headers. Three calls show, once, that this one does not."""
    known = client.habits.filters_first
    if object_name in known:
        return
    first = {record[ID] for record in _page(client, object_name, by, ascending=True, limit=MAX_LIMIT)}
    if len(first) < MAX_LIMIT:
        return  # there are so few that it does not matter
    last = next(iter(_page(client, object_name, by, ascending=False, limit=1)), None)
    if last is None or not isinstance(last.get(by), str):
        return
    same = Filter(by, Operator.IN, [last[by]])
    if any(record[ID] not in first for record in _page(client, object_name, by, same, ascending=True, limit=MAX_LIMIT)):
        known.add(object_name)


def _page(
    client: FenxiangClient, object_name: str, by: str, *filters: Filter, ascending: bool, limit: int
) -> list[dict[str, Any]]:
    search = SearchQuery(
        object_name=object_name, projection=(ID, by), filters=filters, orders=((ID, ascending),), limit=limit
    )
    return [record for record in client.query(search).records if isinstance(record.get(ID), str)]


def _batches(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), MAX_LIMIT):
        yield ids[start : start + MAX_LIMIT]
