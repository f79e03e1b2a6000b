from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from fenxiang_simulator import Simulator
from fenxiang_sync.errors import QuotaError
from fenxiang_sync.source.cuts import equal_parts
from fenxiang_sync.window import Window
from tests.source_fixtures import ALL_TIME, client_of, simulator

NAME, NUMBER = "AccountObj", 1_000


def numbers_in(server: Simulator, parts: list[Window]) -> list[int]:
    stamps = [record["last_modified_time"] for record in server.tenant.visible(NAME).values()]
    return [sum(stamp in part for stamp in stamps) for part in parts]


@pytest.mark.parametrize("knobs", [{}, {"between": "half-open"}, {"total_mode": "zero"}])
def test_parts_hold_equal_numbers_although_nearly_all_of_the_window_is_empty(knobs: dict[str, Any]) -> None:
    with simulator({NAME: NUMBER}, **knobs) as server:
        parts = equal_parts(client_of(server), NAME, ALL_TIME, (), NUMBER, 4)
        assert (parts[0].since_ms, parts[-1].until_ms) == (ALL_TIME.since_ms, ALL_TIME.until_ms)
        assert all(left.until_ms == right.since_ms for left, right in pairwise(parts))
        assert all(abs(number - NUMBER // 4) <= 2 for number in numbers_in(server, parts))


def test_more_records_than_offsets_reach_are_parted_all_the_same() -> None:
    with simulator({NAME: 41_000}) as server:
        parts = equal_parts(client_of(server), NAME, ALL_TIME, (), 41_000, 4)
        assert len(parts) == 4
        assert max(numbers_in(server, parts)) < 20_000


@pytest.mark.parametrize("count", [NUMBER // 10, NUMBER * 10, 1_000_000])
def test_a_count_that_is_wrong_gives_parts_that_still_make_up_the_window(count: int) -> None:
    with simulator({NAME: NUMBER}) as server:
        parts = equal_parts(client_of(server), NAME, ALL_TIME, (), count, 4)
        assert sum(numbers_in(server, parts)) == NUMBER
        assert all(not part.empty for part in parts)


def test_many_records_in_one_millisecond_are_not_parted() -> None:
    with simulator({NAME: 0}, visibility_lag_ms=0) as server:
        for number in range(50):
            server.tenant.create(NAME, {"name": str(number)}, modified_ms=1_780_000_000_000)
        parts = equal_parts(client_of(server), NAME, ALL_TIME, (), 50, 4)
        assert len(parts) == 2
        assert sum(numbers_in(server, parts)) == 50


def test_a_server_that_refuses_leaves_the_window_whole_and_a_spent_quota_is_told() -> None:
    with simulator({NAME: NUMBER}) as server:
        client = client_of(server)
        server.faults.rate("html_404", 1.0, "/data/query")
        assert equal_parts(client, NAME, ALL_TIME, (), NUMBER, 4) == [ALL_TIME]
        server.faults.clear()
        server.knobs.day_quota = 0
        with pytest.raises(QuotaError):
            equal_parts(client, NAME, ALL_TIME, (), NUMBER, 4)
