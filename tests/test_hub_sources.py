"""The hub knows every record of the source as it was last seen, and which rows are to be removed."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests

from fenxiang_simulator.server import Request, Response
from fenxiang_sync.hub import Certificate, Due, Hub, Presence, Seen, Settled
from fenxiang_sync.rows import IdCheck, Outcome, Row
from fenxiang_sync.source import FenxiangClient, MemoryTokenStore, Pace, Paces, Tokens
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Run
from fenxiang_sync.steps.reconcile import Wanted, compare, confirm, survey
from fenxiang_sync.steps.reconcile.compare import differences
from fenxiang_sync.window import Window, from_ms
from tests.hub_fixtures import DATABASES, NOW, hub_database
from tests.source_fixtures import credentials, serving
from tests.steps_fixtures import pipeline

ALL = Window(0, 10**13)
LEASE_S = 600.0


@pytest.fixture(params=DATABASES)
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with hub_database(request.param, tmp_path) as url, Hub.connect(url) as made:
        yield made


def see(hub: Hub, *seen: Seen, run: str = "run") -> None:
    hub.see("stock", seen, run=run, now=NOW)


def entry(hub: Hub, record_id: str) -> tuple[int, int | None, Presence]:
    found = hub.listed("stock").entries([record_id])[record_id]
    return found.modified_ms, found.listed_ms, Presence(found.presence)


# What is listed


def test_the_newest_reading_counts_whatever_comes_first(hub: Hub) -> None:
    see(hub, Seen("a", 5), Seen("a", 9), Seen("b", 7, True))
    see(hub, Seen("a", 6), Seen("b", 7, True))
    assert entry(hub, "a") == (9, 9, Presence.PRESENT)
    assert entry(hub, "b") == (7, 7, Presence.VOIDED)
    assert hub.listed("stock").stamps(["a", "b", "c"]) == {"a": 9, "b": 7}
    assert hub.listed("other").count(ALL) == 0


def test_what_queries_do_not_list_is_not_counted_and_comes_back_when_it_is_seen(hub: Hub) -> None:
    see(hub, Seen("a", 5), Seen("b", 6), Seen("c", 7))
    assert hub.mark("stock", {"a": 5, "b": 6}, Presence.VANISHED, run="reconcile", now=NOW) == 2
    assert hub.listed("stock").count(ALL) == 1
    assert entry(hub, "a") == (5, None, Presence.VANISHED)
    see(hub, Seen("a", 4), Seen("b", 6))
    assert entry(hub, "a") == (5, None, Presence.VANISHED), "an older version tells nothing"
    assert entry(hub, "b") == (6, 6, Presence.PRESENT)


def test_a_record_that_was_read_anew_meanwhile_is_not_marked(hub: Hub) -> None:
    see(hub, Seen("a", 5))
    see(hub, Seen("a", 8))
    assert hub.mark("stock", {"a": 5}, Presence.VANISHED, run="reconcile", now=NOW) == 0
    assert entry(hub, "a") == (8, 8, Presence.PRESENT)


def test_slices_hold_so_many_records_each_and_leave_no_time_out(hub: Hub) -> None:
    see(hub, *(Seen(f"{number:03d}", 1_000 + number) for number in range(10)))
    see(hub, *(Seen(f"tie{number}", 1_003) for number in range(5)))
    listed = hub.listed("stock")
    slices = list(listed.slices(Window(0, 2_000), 4))
    assert (slices[0], slices[-1].until_ms) == (Window(0, 1_000), 2_000)
    assert all(one.until_ms == other.since_ms for one, other in pairwise(slices))
    assert sum(listed.count(each) for each in slices) == 15
    assert max(listed.count(each) for each in slices) == 6, "one millisecond is never divided"
    assert list(listed.slices(Window(5_000, 6_000), 4)) == [Window(5_000, 6_000)]
    assert [each for each, _ in listed.within(Window(1_002, 1_004))] == ["002", "003", *(f"tie{n}" for n in range(5))]


# What is removed


def deliver(hub: Hub, row_id: str, source_id: str, modified_ms: int, run: str = "run", **changes: Any) -> Row:
    given: dict[str, Any] = {"content": {"id": row_id}, "hash": f"hash of {row_id}", "voided": False, **changes}
    row = Row(id=row_id, source_id=source_id, number=None, modified_ms=modified_ms, version=1, **given)
    claim(hub, row, run)
    hub.settle("stock", [Settled(row=row, outcome=Outcome.DELIVERED)], run=run, now=NOW)
    return row


def claim(hub: Hub, row: Row, run: str = "run") -> str:
    [said] = hub.claim("stock", [row], run=run, id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=LEASE_S, now=NOW)
    return said.value


def due(hub: Hub) -> list[str]:
    return [each.id for batch in hub.removals.due("stock", 2) for each in batch]


def taken(hub: Hub, run: str, now: datetime = NOW) -> list[Due]:
    batches = list(hub.removals.due("stock", 10))
    return hub.removals.claim("stock", batches[0], run=run, lease_s=LEASE_S, now=now) if batches else []


def test_rows_of_voided_left_and_vanished_records_are_due_in_batches_and_hidden_ones_are_not(hub: Hub) -> None:
    marks = {"a": Presence.VANISHED, "b": Presence.HIDDEN, "c": Presence.LEFT, "d": Presence.VANISHED}
    for source_id in (*marks, "e", "f"):
        for line in (1, 2):
            deliver(hub, f"{source_id}{line}", source_id, 5)
        see(hub, Seen(source_id, 5, source_id == "e"))
    for source_id, presence in marks.items():
        hub.mark("stock", {source_id: 5}, presence, run="reconcile", now=NOW)
    assert due(hub) == ["a1", "a2", "c1", "c2", "d1", "d2", "e1", "e2"]


def test_a_removed_row_is_due_no_more_and_is_sent_again_only_when_its_record_comes_back(hub: Hub) -> None:
    row = deliver(hub, "a", "a", 5)
    see(hub, Seen("a", 5, True))
    [mine] = taken(hub, "reconcile")
    hub.removals.settle("stock", [mine], keeps_content=True, run="reconcile", now=NOW)
    assert due(hub) == []
    voided = Row(**{**{name: getattr(row, name) for name in Row.__slots__}, "voided": True})
    assert claim(hub, voided, "look-back") == "unchanged"
    assert claim(hub, row, "recovered") == "changed"


def test_a_row_that_is_being_sent_cannot_be_removed_nor_one_that_is_being_removed_be_sent(hub: Hub) -> None:
    row = deliver(hub, "a", "a", 5)
    see(hub, Seen("a", 5, True))
    newer = Row(**{**{name: getattr(row, name) for name in Row.__slots__}, "modified_ms": 6, "hash": "newer"})
    assert claim(hub, newer, "sync") == "changed"
    assert taken(hub, "reconcile") == []
    hub.settle("stock", [Settled(row=newer, outcome=Outcome.DELIVERED)], run="sync", now=NOW)
    [mine] = taken(hub, "reconcile")
    newest = Row(**{**{name: getattr(row, name) for name in Row.__slots__}, "modified_ms": 7, "hash": "newest"})
    assert claim(hub, newest, "sync") == "busy"
    hub.removals.release("stock", [(mine, "not today")], run="reconcile", now=NOW)
    assert claim(hub, newest, "sync") == "changed"


def test_a_removal_whose_claim_is_over_changes_nothing_that_came_after(hub: Hub) -> None:
    row = deliver(hub, "a", "a", 5)
    see(hub, Seen("a", 5, True))
    late = NOW + timedelta(seconds=LEASE_S + 1)
    [mine] = taken(hub, "reconcile")
    newer = Row(**{**{name: getattr(row, name) for name in Row.__slots__}, "modified_ms": 6, "hash": "newer"})
    [said] = hub.claim("stock", [newer], run="sync", id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=LEASE_S, now=late)
    assert said.claimed
    hub.removals.settle("stock", [mine], keeps_content=False, run="reconcile", now=late)
    hub.removals.release("stock", [(mine, "not today")], run="reconcile", now=NOW)
    [held] = hub.records("stock")
    assert (held.removed_at, held.hash, held.claim_run) == (None, "hash of a", "sync")
    assert held.claim_until is not None
    hub.settle("stock", [Settled(row=newer, outcome=Outcome.DELIVERED)], run="sync", now=late)
    hub.removals.settle("stock", [mine], keeps_content=False, run="reconcile", now=late)
    [held] = hub.records("stock")
    assert (held.removed_at, held.hash, held.content) == (None, "newer", {"id": "a"})


def test_a_killed_removal_is_taken_up_by_its_own_retry_and_by_others_when_its_claim_is_over(hub: Hub) -> None:
    deliver(hub, "a", "a", 5)
    see(hub, Seen("a", 5, True))
    assert taken(hub, "reconcile")
    assert taken(hub, "reconcile")
    assert taken(hub, "another") == []
    assert taken(hub, "another", NOW + timedelta(seconds=LEASE_S + 1))


def test_rows_in_doubt_are_for_people_and_not_removed(hub: Hub) -> None:
    row = deliver(hub, "a", "a", 5)
    newer = Row(**{**{name: getattr(row, name) for name in Row.__slots__}, "modified_ms": 6, "hash": "newer"})
    claim(hub, newer)
    hub.settle("stock", [Settled(row=newer, outcome=Outcome.IN_DOUBT, reason="lost")], run="run", now=NOW)
    see(hub, Seen("a", 6, True))
    assert due(hub) == []


# Many

COUNT = int(os.environ.get("FENXIANG_RECONCILE_RECORDS", "40000"))
FIRST_MS = 1_700_000_000_000
LOST, DELETED = 12_345, 37_777


def record(number: int) -> dict[str, Any]:
    return {"_id": f"{number:024x}", "last_modified_time": FIRST_MS + number * 1_000, "life_status": "normal"}


def crm(request: Request) -> Response:
    """A CRM of `COUNT` records, a second apart, without the one that is deleted; it counts and lists by arithmetic."""
    if "Token" in request.path:
        return Response.json({"errorCode": 0, "corpAccessToken": "t", "corpId": "c", "expiresIn": 7200})
    body = request.json()["data"]
    if request.path.endswith("/get"):
        number = int(body["objectDataId"], 16)
        there = number not in (0, DELETED)
        return Response.json({"errorCode": 0, "data": record(number) if there else None})
    info = body["search_query_info"]
    since, until, after, among = 0, COUNT, -1, None
    for each in info["filters"]:
        operator, values = each["operator"], each["field_values"]
        if each["field_name"] == "last_modified_time":
            place = -(-(int(values[0]) - FIRST_MS) // 1_000)
            since, until = (max(since, place), until) if operator == "GTE" else (since, min(until, place))
        elif operator == "IN":
            among = sorted(int(value, 16) for value in values)
        elif operator == "GT":
            after = int(values[0], 16)
        else:
            return Response.json(
                {"errorCode": 0, "data": {"dataList": [record(until - 1)] if until else [], "total": 0}}
            )
    numbers = range(max(since, after + 1), max(since, after + 1, until)) if among is None else among
    total = len(numbers) - (DELETED in numbers)
    found = [record(number) for number in numbers[: info["limit"] + 1] if number != DELETED][: info["limit"]]
    if not info["orders"][0]["isAsc"]:
        found = [record(numbers[-1])] if len(numbers) else []
    return Response.json({"errorCode": 0, "data": {"dataList": found, "total": total}})


def test_many_records_are_compared_in_bounded_memory_with_few_calls(hub: Hub, tmp_path: Path) -> None:
    account = pipeline(source={"check_fields": False})
    for start in range(0, COUNT, 5_000):
        numbers = (number for number in range(start, start + 5_000) if number != LOST)
        seen = [Seen(f"{number:024x}", FIRST_MS + number * 1_000) for number in numbers]
        hub.see(account.name, seen, run="run", now=NOW)
    until = FIRST_MS + COUNT * 1_000
    hub.certify(Certificate(pipeline=account.name, run="run", window=Window(0, until)), now=NOW)
    run = Run(pipeline=account, id="reconcile__1", folder=Stage(tmp_path / "stage").run(account.name, "reconcile__1"))
    with serving(crm) as (url, app):
        client = client_to(url)
        tracemalloc.start()
        made = survey(run, Wanted(), hub=hub, now=NOW)
        compare(run, client=client, hub=hub, clock=lambda: from_ms(until))
        found = confirm(run, client=client, hub=hub, clock=lambda: datetime.now(UTC))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert made.held == COUNT - 1
    assert made.calls <= 10 + COUNT / 2_000
    assert {(each["kind"], int(each["id"], 16)) for each in differences(run, ("missing", "absent"))} == {
        ("absent", DELETED),
        ("missing", LOST),
    }
    assert found["vanished"] == 1
    assert made.calls <= len(app.asked) < made.calls + 80, "two differences are found by halving"
    assert peak < 8_000_000


def client_to(url: str) -> FenxiangClient:
    who, session = credentials(), requests.Session()
    return FenxiangClient(
        session=session,
        base_url=url,
        tokens=Tokens(session=session, base_url=url, credentials=who, store=MemoryTokenStore()),
        credentials=who,
        pace=Paces(lambda: Pace(1_000_000, 1)),
    )
