"""The hub knows of which record each detail was when that was read last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fenxiang_sync.hub import Hub
from tests.hub_fixtures import DATABASES, hub_database

NAME = "order"


@pytest.fixture(params=DATABASES)
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with hub_database(request.param, tmp_path) as url, Hub.connect(url) as connected:
        yield connected


def test_a_record_that_is_read_again_holds_what_it_has_now(hub: Hub) -> None:
    hub.details.note(NAME, {"o1": ["a", "b"], "o2": ["c"], "o3": []})
    hub.details.note(NAME, {"o1": ["b", "d"]})
    assert hub.details.holders(NAME, ["a", "b", "c", "d", "e"]) == {"b": {"o1"}, "c": {"o2"}, "d": {"o1"}}
    assert hub.details.holders("another", ["b"]) == {}


def test_until_the_record_is_read_that_a_detail_has_left_both_hold_it(hub: Hub) -> None:
    hub.details.note(NAME, {"o1": ["a"]})
    hub.details.note(NAME, {"o2": ["a"]})
    assert hub.details.holders(NAME, ["a"]) == {"a": {"o1", "o2"}}
    hub.details.note(NAME, {"o1": []})
    assert hub.details.holders(NAME, ["a"]) == {"a": {"o2"}}


def test_many_of_one_record_and_of_many_records_are_held(hub: Hub) -> None:
    lists = {f"o{number}": [f"{number}-{line}" for line in range(3)] for number in range(2_500)}
    lists["o0"] = [f"x{number}" for number in range(3_000)]
    hub.details.note(NAME, lists)
    found = hub.details.holders(NAME, [line for lines in lists.values() for line in lines])
    assert found == {line: {record_id} for record_id, lines in lists.items() for line in lines}
    hub.details.note(NAME, {record_id: [] for record_id in lists})
    assert hub.details.holders(NAME, list(found)) == {}
