"""The hub remembers which records gave a row that another one holds, and lets them be found when it is removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event

from fenxiang_sync.hub import Decision, Hub, Settled
from fenxiang_sync.hub.removals import ORPHANED, Due
from fenxiang_sync.hub.sources import Seen
from fenxiang_sync.rows import IdCheck, Outcome, Row
from tests.hub_fixtures import DRIVERS, NOW, hub_database, row

NAME = "customer"


@pytest.fixture(params=DRIVERS)
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with hub_database(request.param, tmp_path) as url, Hub.connect(url) as hub:
        yield hub


def of(record: str, modified_ms: int, row_id: str = "C001", name: str = "") -> Row:
    return replace(row(row_id, modified_ms, name=name or record), source_id=record)


def load(hub: Hub, *rows: Row) -> list[Decision]:
    """What a load of these rows does."""
    decisions = hub.claim(NAME, rows, run="r", id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, now=NOW)
    sent = [each for each, decision in zip(rows, decisions, strict=True) if decision.claimed]
    hub.settle(NAME, [Settled(row=each, outcome=Outcome.DELIVERED) for each in sent], run="r", now=NOW)
    seen = [Seen(each.source_id, each.modified_ms) for each in rows]
    hub.see(NAME, seen, run="r", now=NOW)
    return decisions


def remove(hub: Hub, record: str, row_id: str = "C001") -> None:
    due = Due(
        id=row_id, source_id=record, number=None, modified_ms=9, version=1, why=ORPHANED, as_of=(9, 1), content={}
    )  # fmt: skip
    claimed, _ = hub.orphans.claim(NAME, [due], run="r", lease_s=60, now=NOW)
    hub.removals.settle(NAME, claimed, keeps_content=False, run="r", now=NOW)


def unlisted(hub: Hub, records: Sequence[str] = ("A", "B", "C")) -> list[str]:
    return [each for each, entry in sorted(hub.listed(NAME).entries(records).items()) if entry.listed_ms is None]


@pytest.mark.parametrize(
    "loads",
    [
        [[of("A", 1)], [of("B", 2)]],
        [[of("B", 2)], [of("A", 1)]],
        [[of("A", 1), of("B", 2)]],
        [[of("B", 2), of("A", 1)]],
        [[of("A", 1, name="same")], [of("B", 2, name="same")]],
    ],
    ids=["newer", "older", "together", "together, the newer first", "equal"],
)
def test_whichever_comes_first_the_other_is_found_when_the_holder_goes(hub: Hub, loads: list[list[Row]]) -> None:
    for rows in loads:
        load(hub, *rows)
    assert hub.rivals.look_again(NAME, run="reconcile", now=NOW) == 0
    remove(hub, "B")
    assert hub.rivals.look_again("other", run="reconcile", now=NOW) == 0
    assert hub.rivals.look_again(NAME, run="reconcile", now=NOW) == 1
    assert unlisted(hub) == ["A"]
    assert hub.rivals.look_again(NAME, run="reconcile", now=NOW) == 0
    assert load(hub, of("A", 1)) == [Decision.CHANGED]
    assert unlisted(hub) == []


def test_of_many_rivals_each_is_found(hub: Hub) -> None:
    load(hub, *(of(record, stamp) for stamp, record in enumerate("ABC", start=1)))
    remove(hub, "C")
    assert hub.rivals.look_again(NAME, run="reconcile", now=NOW) == 2
    assert unlisted(hub) == ["A", "B"]


def test_the_next_record_of_a_row_that_was_removed_is_no_rival_of_the_one_before(hub: Hub) -> None:
    load(hub, of("A", 1))
    remove(hub, "A")
    load(hub, of("B", 2))
    remove(hub, "B")
    assert hub.rivals.look_again(NAME, run="reconcile", now=NOW) == 0


def test_a_record_that_is_gone_itself_is_not_looked_for(hub: Hub) -> None:
    load(hub, of("A", 1), of("B", 2))
    hub.see(NAME, [Seen("A", 3, voided=True)], run="r", now=NOW)
    remove(hub, "B")
    assert hub.rivals.look_again(NAME, run="reconcile", now=NOW) == 0


def test_rows_of_one_record_each_write_nothing_and_what_is_known_is_not_written_again(hub: Hub) -> None:
    statements: list[str] = []
    event.listen(hub._database.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    load(hub, of("A", 1, "C001"), of("B", 2, "C002"))
    load(hub, of("A", 1, "C001"), of("B", 2, "C002"))
    assert [each for each in statements if "fenxiang_rival" in each] == []
    load(hub, of("Z", 1, "C002"))
    assert [each.split()[0] for each in statements if "fenxiang_rival" in each] == ["SELECT", "INSERT"]
    statements.clear()
    load(hub, of("Z", 1, "C002"))
    assert [each.split()[0] for each in statements if "fenxiang_rival" in each] == ["SELECT"]
