"""Records that are edited while somebody pages: offset paging loses some for ever, the reader here none.

``make bench-loss`` does the same with dlt, Airbyte's CDK and the Singer SDK.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fenxiang_simulator import Simulator
from fenxiang_sync.source import FenxiangClient, Filter, Operator, SearchQuery, pages
from fenxiang_sync.window import Window
from tests.source_fixtures import client_of, simulator

NAME, PAGE = "AccountObj", 20
Held = dict[str, int]
Sync = Callable[[FenxiangClient, Held, int], int]


def by_offset(client: FenxiangClient, held: Held, since: int) -> int:
    """What documentation of sync tools suggests: ascending by the cursor, limit and offset, from the newest seen on."""
    offset = 0
    while True:
        page = client.query(
            SearchQuery(
                object_name=NAME,
                projection=("_id", "last_modified_time"),
                filters=[Filter("last_modified_time", Operator.GTE, since)],
                orders=[("last_modified_time", True)],
                limit=PAGE,
                offset=offset,
            )
        )
        if not page.records:
            return max(held.values())
        held.update({record["_id"]: record["last_modified_time"] for record in page.records})
        offset += PAGE


def by_closed_windows(client: FenxiangClient, held: Held, since: int) -> int:
    until = int(client.server_time().timestamp() * 1000)
    for page in pages(client, object_name=NAME, window=Window(since, until), projection=(), page_size=PAGE):
        held.update({record["_id"]: record["last_modified_time"] for record in page.records})
    return until


def lost(server: Simulator, sync: Sync, edits: int) -> set[str]:
    """Ids of visible records not held in their newest version after three syncs, with edits during the first."""
    client, since = client_of(server, now=server.clock.now), 0
    held: Held = {}
    server.knobs.edits_per_request = edits
    for _ in range(3):
        since = sync(client, held, since)
        server.knobs.edits_per_request = 0
        server.clock.advance(60)
    truth = server.tenant.visible(NAME)
    return {each for each, record in truth.items() if held.get(each) != record["last_modified_time"]}


@pytest.mark.parametrize("edits", [1, 5])
def test_offset_paging_loses_what_closed_windows_by_id_do_not(edits: int) -> None:
    with simulator({NAME: 1_000}, visibility_lag_ms=0) as server:
        assert len(lost(server, by_offset, edits)) >= 5
    with simulator({NAME: 1_000}, visibility_lag_ms=0) as server:
        assert lost(server, by_closed_windows, edits) == set()
