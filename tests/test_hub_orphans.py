"""What stays of a record at the target when rows of it go, in every database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync.hub import Hub, Settled
from fenxiang_sync.hub.removals import ORPHANED, Due
from fenxiang_sync.rows import IdCheck, Outcome
from tests.hub_fixtures import DRIVERS, NOW, hub_database, row

NAME = "customer"


@pytest.fixture(params=DRIVERS)
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with hub_database(request.param, tmp_path) as url, Hub.connect(url) as hub:
        yield hub


def deliver(hub: Hub, row_id: str, record: str, outcome: Outcome = Outcome.DELIVERED) -> None:
    one = replace(row(row_id, code=row_id), source_id=record)
    hub.claim(NAME, [one], run="r", id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, now=NOW, upserts=True)
    hub.settle(NAME, [Settled(row=one, outcome=outcome)], run="r", now=NOW)


def due(row_id: str, record: str, why: str = ORPHANED) -> Due:
    given: dict[str, Any] = {"number": None, "modified_ms": 1, "version": 1, "as_of": (1, 1), "content": {}}
    return Due(id=row_id, source_id=record, why=why, **given)


def test_what_the_target_holds_of_a_record_besides_stays(hub: Hub) -> None:
    for row_id, record in (("A", "r1"), ("B", "r1"), ("C", "r1"), ("D", "r2")):
        deliver(hub, row_id, record)
    deliver(hub, "E", "r1", Outcome.DEAD_LETTER)
    assert hub.orphans.stay(NAME, [due("A", "r1"), due("B", "r1")]) == {"r1": [{"code": "C"}]}

    [ours], _ = hub.orphans.claim(NAME, [due("C", "r1")], run="r", lease_s=60, now=NOW)
    hub.removals.settle(NAME, [ours], keeps_content=True, run="r", now=NOW)
    assert hub.orphans.stay(NAME, [due("A", "r1"), due("B", "r1")]) == {}
    assert hub.orphans.stay(NAME, [due("A", "r1", "vanished")]) == {}
