from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from fenxiang_simulator import Simulator
from fenxiang_sync.errors import IncompleteError
from fenxiang_sync.source import FenxiangClient, FenxiangObject, Filter, Operator, census
from fenxiang_sync.window import Window
from tests.source_fixtures import ALL_TIME, client_of, simulator

NAME = "AccountObj"
SOME_TIME = Window(1_770_000_000_000, 1_780_000_000_000)
VOIDED = Filter("life_status", Operator.EQ, "invalid")


@pytest.fixture
def server() -> Iterator[Simulator]:
    with simulator({NAME: 3000}, visibility_lag_ms=0) as running:
        yield running


def stamps(server: Simulator, window: Window = ALL_TIME) -> dict[str, int]:
    visible = server.tenant.visible(NAME)
    return {key: row["last_modified_time"] for key, row in visible.items() if row["last_modified_time"] in window}


def missing(
    client: FenxiangClient, name: str, window: Window, filters: Sequence[Filter], held: Mapping[str, int]
) -> dict[str, int]:
    """Id and stamp of what is in the window and not held with that stamp, by the buckets of a comparison."""
    buckets = census.compare(FenxiangObject(client, name, filters), window, census.HeldStamps(held))
    seen = [each for bucket in buckets for each in bucket.seen or ()]
    return {each.id: each.modified_ms for each in seen if held.get(each.id, -1) < each.modified_ms}


def test_a_window_is_counted(server: Simulator) -> None:
    client = client_of(server)
    assert census.count(client, NAME, SOME_TIME) == len(stamps(server, SOME_TIME))
    assert census.count(client, NAME, Window(0, 5)) == 0
    assert census.count(client, NAME, Window(5, 5)) == 0
    voided = [row for row in server.tenant.visible(NAME).values() if row["life_status"] == "invalid"]
    assert census.count(client, NAME, ALL_TIME, [VOIDED]) == len(voided)


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        ({"total_mode": "capped"}, 10_000),
        ({"total_mode": "zero"}, None),
        ({"total_switch_winner": "returnTotalNum"}, "right or none"),
        ({"total_switch_winner": "need_return_count_num"}, "right or none"),
        ({"same_field_filters": "first"}, 11_000),
        ({"same_field_filters": "last"}, 11_000),
        ({"same_field_filters": "error"}, 11_000),
        ({"between": "half-open"}, 11_000),
    ],
)
def test_a_total_is_a_hint_or_none(knobs: dict[str, Any], told: int | str | None) -> None:
    with simulator({NAME: 11_000}, **knobs) as server:
        found = census.count(client_of(server), NAME, ALL_TIME)
    assert found in (None, 11_000) if told == "right or none" else found == told


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"total_mode": "capped"},
        {"total_mode": "estimated"},
        {"total_mode": "zero"},
        {"filter_after_limit": True},
        {"same_field_filters": "first"},
        {"same_field_filters": "last"},
        {"total_switch_winner": "returnTotalNum"},
    ],
    ids=str,
)
def test_0_is_said_only_where_nothing_is(knobs: dict[str, Any]) -> None:
    """A window that counts 0 is not read at all."""
    with simulator({NAME: 700}, visibility_lag_ms=0, **knobs) as server:
        client = client_of(server)
        held = stamps(server)
        for record_id in sorted(held)[::40]:
            window = Window(held[record_id], held[record_id] + 1)
            assert census.count(client, NAME, window) != 0
        last = max(key for key, row in server.tenant.visible(NAME).items() if row["life_status"] == "normal")
        server.tenant.update(NAME, last, {"remark": "only this one"})
        only = [Filter("remark", Operator.EQ, "only this one")]
        assert census.count(client, NAME, Window(0, 2_000_000_000_000), only) != 0


def test_a_sweep_sees_every_record_with_its_state(server: Simulator) -> None:
    swept = {each.id: each for each in census.sweep(client_of(server), NAME, SOME_TIME)}
    assert {key: each.modified_ms for key, each in swept.items()} == stamps(server, SOME_TIME)
    truth = server.tenant.visible(NAME)
    assert {key: (each.version, each.life_status) for key, each in swept.items()} == {
        key: (truth[key]["version"], truth[key]["life_status"]) for key in swept
    }


def test_nothing_is_missing_where_all_is_held_and_counting_is_cheap(server: Simulator) -> None:
    client = client_of(server)
    assert missing(client, NAME, ALL_TIME, (), stamps(server)) == {}
    assert client.calls.total() <= 5


@pytest.mark.parametrize("mode", ["exact", "capped", "estimated", "zero"])
def test_what_is_missing_or_older_is_found_whatever_totals_are_worth(server: Simulator, mode: str) -> None:
    server.knobs.total_mode = mode
    client = client_of(server)
    truth = stamps(server)
    held = dict(truth)
    gone, old = sorted(held)[10], sorted(held)[2000]
    del held[gone]
    held[old] -= 1
    assert missing(client, NAME, ALL_TIME, (), held) == {gone: truth[gone], old: truth[old]}


def test_a_small_window_is_swept_so_that_one_that_left_does_not_hide_one_that_came(server: Simulator) -> None:
    held = stamps(server, SOME_TIME)
    left, came = sorted(held)[:2]
    stamp = held.pop(came)
    remove(server, left)
    assert len(held) == census.count(client_of(server), NAME, SOME_TIME)
    assert missing(client_of(server), NAME, SOME_TIME, (), held) == {came: stamp}


def remove(server: Simulator, record_id: str) -> None:
    if server.tenant.records(NAME)[record_id]["life_status"] != "invalid":
        server.tenant.invalid(NAME, record_id)
    server.tenant.delete(NAME, record_id)


def test_a_record_that_was_edited_out_of_the_window_is_not_missing(server: Simulator) -> None:
    held = stamps(server)
    window = Window(0, server.clock.now_ms())
    normal = [key for key, row in server.tenant.visible(NAME).items() if row["life_status"] == "normal"]
    for record_id in sorted(normal)[:50]:
        server.tenant.update(NAME, record_id, {"remark": "edited"})
    assert missing(client_of(server), NAME, window, (), held) == {}


def test_a_record_that_is_held_newer_is_not_missing(server: Simulator) -> None:
    held = {key: stamp + 1 for key, stamp in stamps(server, SOME_TIME).items()}
    assert missing(client_of(server), NAME, SOME_TIME, (), held) == {}


def test_filters_hold_for_the_census_too(server: Simulator) -> None:
    voided = {
        key: row["last_modified_time"]
        for key, row in server.tenant.visible(NAME).items()
        if row["life_status"] == "invalid"
    }
    assert missing(client_of(server), NAME, ALL_TIME, [VOIDED], {}) == voided


def test_many_records_where_nothing_is_held_are_seen_in_buckets_of_bounded_size() -> None:
    with simulator({NAME: 25_000}) as server:
        buckets = list(census.compare(FenxiangObject(client_of(server), NAME), ALL_TIME, census.HeldStamps({})))
        truth = stamps(server)
    assert max(bucket.server for bucket in buckets) <= census.MEMORY
    assert {each.id: each.modified_ms for bucket in buckets for each in bucket.seen or ()} == truth
    assert sum(bucket.server for bucket in buckets) == 25_000


def test_a_window_of_many_records_is_halved_to_where_they_differ() -> None:
    with simulator({NAME: 25_000}) as server:
        client = client_of(server)
        held = stamps(server)
        gone = sorted(held)[12_345]
        stamp = held.pop(gone)
        assert missing(client, NAME, ALL_TIME, (), held) == {gone: stamp}
    assert client.calls.total() < 80


def test_records_are_fetched_by_id_whatever_becomes_of_some(server: Simulator) -> None:
    wanted = sorted(stamps(server))[:250]
    remove(server, wanted[7])
    client = client_of(server)
    found = [row for page in census.fetch(client, NAME, [*wanted, wanted[0]], ["name"]) for row in page.records]
    assert sorted(row["_id"] for row in found) == sorted(set(wanted) - {wanted[7]})
    assert set(found[0]) == {"_id", "last_modified_time", "name"}


@pytest.mark.parametrize("fault", ["short_page", "empty_page", "repeated_page"])
def test_a_fetch_is_complete_although_pages_go_wrong(server: Simulator, fault: str) -> None:
    wanted = sorted(stamps(server))[:250]
    server.faults.next(fault, path="/data/query", skip=1)
    found = [row["_id"] for page in census.fetch(client_of(server), NAME, wanted) for row in page.records]
    assert sorted(found) == wanted


def test_a_server_that_sends_other_records_than_asked_is_named(server: Simulator) -> None:
    wanted = sorted(stamps(server))
    fetching = census.fetch(client_of(server), NAME, wanted[:200])
    next(fetching)
    server.faults.next("repeated_page", 5, path="/data/query")
    with pytest.raises(IncompleteError, match="by id"):
        list(fetching)


@pytest.mark.parametrize("counting", [True, False])
def test_a_comparison_without_counting_sees_every_record_and_with_it_only_where_numbers_differ(
    server: Simulator, counting: bool
) -> None:
    held = census.HeldStamps(stamps(server))
    buckets = list(census.compare(FenxiangObject(client_of(server), NAME), ALL_TIME, held, counting=counting))
    seen = {each.id: each.modified_ms for bucket in buckets for each in bucket.seen or ()}
    assert sum(bucket.held for bucket in buckets) == 3000
    assert seen == ({} if counting else stamps(server))


def test_records_are_fetched_by_id_under_the_filters_too(server: Simulator) -> None:
    truth = server.tenant.visible(NAME)
    ids = sorted(truth)[:250]
    voided = {each for each in ids if truth[each]["life_status"] == "invalid"}
    pages = census.fetch(client_of(server), NAME, ids, (), [VOIDED])
    assert voided
    assert {record["_id"] for page in pages for record in page.records} == voided
