"""A window is cut where its records lie: pieces of a bounded number that leave none out, for a call in fifty."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from fenxiang_simulator import Simulator
from fenxiang_sync.source import Filter, Operator, Piece, Slice, pages, slices
from fenxiang_sync.window import Window
from tests.source_fixtures import ALL_TIME, client_of, simulator

NAME = "AccountObj"
TIE = 1_790_000_000_000


def cut(server: Simulator, most: int = 100, window: Window = ALL_TIME, **words: Any) -> list[Piece]:
    return list(slices.cut(client_of(server), NAME, window, most=most, **words))


def read(server: Simulator, part: Slice) -> list[dict[str, Any]]:
    asked = pages(
        client_of(server), object_name=NAME, window=part.window, projection=(), above=part.above, upto=part.upto,
        page_size=30,
    )  # fmt: skip
    return [record for page in asked for record in page.records]


def tied(server: Simulator, number: int, *, mixed: bool) -> None:
    for each in range(number):
        values: dict[str, Any] = {"name": f"客户{each}"}
        if mixed and each % 2:
            values["_id"] = f"{each * 2_654_435_761 % 2**32:032x}"[::-1]
        server.tenant.create(NAME, values, modified_ms=TIE)


def test_pieces_are_adjacent_and_make_up_the_window() -> None:
    with simulator({NAME: 1_000}) as server:
        found = cut(server)
    assert found[0].slice.window.since_ms == ALL_TIME.since_ms
    assert found[-1].slice.window.until_ms == ALL_TIME.until_ms
    for one, other in pairwise(each.slice for each in found):
        by_time = one.window.until_ms == other.window.since_ms and one.upto is None and other.above is None
        by_id = one.window == other.window and one.upto == other.above is not None
        assert by_time or by_id


def test_few_records_cost_one_call_and_many_one_call_more_for_each_piece() -> None:
    with simulator({NAME: 1_000}) as server:
        client = client_of(server)
        assert [piece.count for piece in slices.cut(client, NAME, ALL_TIME, most=1_000)] == [1_000]
        assert client.calls.total() == 1
        found = list(slices.cut(client, NAME, ALL_TIME, most=50))
        assert client.calls.total() - 1 <= 2 * len(found)
    assert len(found) < 1_000 / 50 * 2


@pytest.mark.parametrize("total", ["exact", "capped"])
def test_no_piece_holds_more_than_a_range_whatever_was_asked_for(total: str) -> None:
    with simulator({NAME: 12_000}, total_mode=total) as server:
        found = cut(server, most=20_000)
    counts = [piece.count or 0 for piece in found]
    assert len(counts) == 3
    assert max(counts) <= 5_000
    assert abs(sum(counts) - 12_000) <= 10  # where totals are capped, what is before the cap is taken for full


def test_where_nothing_is_there_is_no_piece() -> None:
    with simulator({NAME: 10}) as server:
        assert cut(server, window=Window(0, 5)) == []


@pytest.mark.parametrize(
    "knobs",
    [
        *({}, {"total_mode": "capped"}, {"total_mode": "estimated"}, {"total_mode": "zero"}),
        *({"same_field_filters": "first"}, {"same_field_filters": "last"}, {"between": "half-open"}),
        *({"offset_10000_inclusive": "rejected"}, {"limit_mode": "reject"}, {"total_switch_winner": "returnTotalNum"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("mixed", [False, True], ids=["ids of one form", "ids of both forms"])
def test_every_record_is_read_once_by_one_piece_and_none_holds_many(knobs: dict[str, Any], mixed: bool) -> None:
    with simulator({NAME: 150}, visibility_lag_ms=0, **knobs) as server:
        tied(server, 230, mixed=mixed)
        found = cut(server)
        held = [[record["_id"] for record in read(server, piece.slice)] for piece in found]
        truth = server.tenant.visible(NAME)
    assert sorted(each for ids in held for each in ids) == sorted(truth)
    assert max(map(len, held)) <= 100
    if not knobs:
        assert [len(ids) for ids in held] == [piece.count for piece in found]


@pytest.mark.parametrize("order", ["sort_shorter_first", "compare_shorter_first"])
@pytest.mark.parametrize("cuts", [["3", "a"], ["6a948d"], ["0" * 32, "f" * 24]], ids=str)
def test_whatever_the_order_of_ids_slices_by_id_read_every_record(order: str, cuts: list[str]) -> None:
    with simulator({NAME: 5}, visibility_lag_ms=0, id_order=order) as server:
        tied(server, 200, mixed=True)
        window = Window(TIE, TIE + 1)
        parts = [Slice(window, above, upto) for above, upto in pairwise([None, *cuts, None])]
        held = [{record["_id"] for record in read(server, part)} for part in parts]
        truth = {key for key, record in server.tenant.visible(NAME).items() if record["last_modified_time"] == TIE}
    assert set().union(*held) == truth
    assert sum(map(len, held)) == len(truth)


def test_filters_that_apply_after_the_limit_do_not_end_the_cutting() -> None:
    with simulator({NAME: 3_000}, filter_after_limit=True) as server:
        found = cut(server, most=20, filters=[Filter("life_status", Operator.EQ, "invalid")])
        voided = [row for row in server.tenant.visible(NAME).values() if row["life_status"] == "invalid"]
    assert len(voided) > 50
    for piece in found:
        assert sum(row["last_modified_time"] in piece.slice.window for row in voided) <= 20


def test_an_empty_page_by_mistake_does_not_end_the_cutting() -> None:
    with simulator({NAME: 1_000}) as server:
        client = client_of(server)
        pieces = slices.cut(client, NAME, ALL_TIME, most=100)
        server.faults.next("empty_page", path="/data/query", skip=3)
        assert max(piece.count or 0 for piece in pieces) <= 100
