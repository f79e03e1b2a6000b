"""A target that was truncated or restored is found, and what the hub has stored is sent again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import HubTarget
from fenxiang_sync.errors import QuestionError, SetupError
from fenxiang_sync.hub import Selection
from fenxiang_sync.rows import IdCheck
from fenxiang_sync.steps import Asked, Kind
from fenxiang_sync.steps.holding import demand, holding
from fenxiang_sync.steps.load import load
from fenxiang_sync.steps.plan import may_send_again
from fenxiang_sync.steps.resend import resend
from fenxiang_sync.targets.protocol import Answer, Delivery
from fenxiang_sync.window import Window
from tests.hub_fixtures import DATABASES, hub_database
from tests.orphans_fixtures import SEGMENT, SHELVES, InShelf, Orders, Shelf, order, orders, pipeline
from tests.reconcile_fixtures import reconciled
from tests.steps_fixtures import bench
from tests.steps_fixtures import pipeline as account


@pytest.fixture(params=DATABASES)
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Orders]:
    with hub_database(request.param, tmp_path) as url, orders(url, tmp_path) as made:
        made.load(order(1, "a", "b"), order(2, "a", "b", _id="o2"), order(3, "a", _id="o3"))
        yield made


def sent_again(crm: Orders, **how: Any) -> dict[str, int]:
    run = crm.run([])
    return resend(run, hub=crm.hub, reach=crm.reach(), clock=lambda: crm.now, **how)


def look(crm: Orders, *, walk: bool = False) -> Any:
    return holding(crm.pipeline, hub=crm.hub, reach=crm.reach(), walk=walk)


def test_a_target_that_holds_what_was_delivered_lacks_nothing_though_rows_were_removed(crm: Orders) -> None:
    crm.load(order(4, "b", _id="o2"))
    found = look(crm, walk=True)
    assert (found.in_ledger, found.at_target, found.lacking, found.walked) == (4, 4, 0, True)
    demand(crm.pipeline, found)


def test_a_truncated_target_is_found_by_its_count_and_filled_from_the_hub(crm: Orders) -> None:
    before = dict(crm.shelf.rows)
    crm.shelf.rows.clear()
    found = look(crm)
    assert (found.in_ledger, found.at_target, found.lacking) == (5, 0, 5)
    with pytest.raises(QuestionError, match=r"lacks 5 rows .* has 5, it holds 0.*fenxiang resend lines --all"):
        demand(crm.pipeline, found)
    assert sent_again(crm, dry_run=True)["delivered"] == 5
    assert crm.shelf.rows == {}
    assert sent_again(crm) == {"read": 5, "delivered": 5, "in_doubt": 0, "dead_letters": 0, "left": 0}
    assert crm.shelf.rows == before
    assert look(crm).lacking == 0


def test_a_walk_names_exactly_what_is_gone_or_old_and_only_that_is_sent_again(crm: Orders) -> None:
    old = crm.shelf.rows["O2-a"]
    crm.shelf.rows["O2-a"] = replace(old, content={"no": "O2-a"}, hash="of a backup")
    del crm.shelf.rows["O1-b"]
    crm.shelf.rows["somebody else's"] = old
    assert look(crm).lacking == 0, "the count does not tell"
    found = look(crm, walk=True)
    assert (found.lacking, set(found.examples)) == (2, {"O1-b", "O2-a"})
    with pytest.raises(QuestionError, match=r"asked for one by one.*--missing"):
        demand(crm.pipeline, found)
    assert sent_again(crm, missing=True) == {"read": 2, "delivered": 2, "in_doubt": 0, "dead_letters": 0, "left": 0}
    assert look(crm, walk=True).lacking == 0
    assert crm.shelf.rows["O2-a"] == old


def test_a_walk_leaves_out_what_a_run_delivers_or_removes_while_the_target_is_asked(crm: Orders) -> None:
    asked = crm.shelf.holds

    def meanwhile(rows: Any, *, since: float) -> Any:
        crm.shelf.holds = asked  # type: ignore[method-assign]
        crm.load(order(4, "a"), order(4, "a", "b", _id="o2"))
        return asked(rows, since=since)

    crm.shelf.holds = meanwhile  # type: ignore[method-assign]
    assert look(crm, walk=True).lacking == 0


def test_a_range_is_of_the_stamps_of_the_records(crm: Orders) -> None:
    crm.shelf.rows.clear()
    assert sent_again(crm, window=Window(2_000, 3_000))["delivered"] == 2
    assert crm.shelf.rows.keys() == {"O2-a", "O2-b"}


def test_a_row_that_was_removed_is_not_sent_again(crm: Orders) -> None:
    crm.load(order(4, "a", _id="o2"))
    assert sent_again(crm)["read"] == 4
    assert crm.shelf.flagged == {"O2-b"}


def test_a_row_that_another_run_is_sending_is_left_to_it(crm: Orders) -> None:
    row = next(crm.hub.held("lines"))
    crm.hub.claim("lines", [row], run="x", id_check=IdCheck.OVERWRITE, lease_s=60, now=crm.now, upserts=True)
    assert sent_again(crm) == {"read": 5, "delivered": 4, "in_doubt": 0, "dead_letters": 0, "left": 1}


def test_refused_rows_and_lost_answers_are_counted_apart(crm: Orders) -> None:
    crm.shelf.send = lambda rows: [  # type: ignore[method-assign]
        Answer(delivery={"O1-a": Delivery.REFUSED, "O1-b": Delivery.UNKNOWN}.get(row.id, Delivery.DELIVERED))
        for row in rows
    ]
    assert sent_again(crm) == {"read": 5, "delivered": 3, "in_doubt": 1, "dead_letters": 1, "left": 0}


def test_a_row_that_is_refused_when_it_is_sent_again_becomes_a_dead_letter_with_what_was_sent(crm: Orders) -> None:
    crm.shelf.send = lambda rows: [  # type: ignore[method-assign]
        Answer(delivery=Delivery.REFUSED, reason="no such shelf", code=42)
        if row.id == "O1-a"
        else Answer(delivery=Delivery.DELIVERED)
        for row in rows
    ]
    sent = next(row for row in crm.hub.held("lines") if row.id == "O1-a")
    sent_again(crm)
    [letter] = crm.hub.letters.find("lines", Selection(), whole=True)
    assert (letter.row_id, letter.record_id, letter.stage) == ("O1-a", "o1", "load")
    assert (letter.reason, str(letter.code), letter.content) == ("no such shelf", "42", sent.content)


def test_a_target_that_cannot_be_counted_lacks_nothing_that_is_known(crm: Orders) -> None:
    crm.shelf.counts = False
    assert look(crm).at_target is None
    in_hub = pipeline("none", name="in_hub", target=HubTarget())
    found = holding(in_hub, hub=crm.hub, reach=crm.reach(), walk=True)
    assert (found.at_target, found.lacking, found.walked) == (None, 0, False)
    with pytest.raises(SetupError, match="cannot say which rows it holds"):
        resend(crm.run([], in_hub), hub=crm.hub, reach=crm.reach(), clock=lambda: crm.now, missing=True)


def test_a_count_that_meets_a_row_on_its_way_is_made_again(crm: Orders) -> None:
    row = crm.shelf.rows.pop("O1-a")
    reach = replace(crm.reach(), sleep=lambda _: crm.shelf.rows.update({"O1-a": row}))
    assert holding(crm.pipeline, hub=crm.hub, reach=reach).lacking == 0


def test_a_run_sends_again_what_the_ledger_calls_unchanged_but_nothing_older(crm: Orders) -> None:
    crm.shelf.rows.clear()
    run = crm.run([order(1, "a", "b"), order(1, "a", "b", _id="o2"), order(3, "a", _id="o3")])
    say = {"hub": crm.hub, "reach": crm.reach(), "clock": lambda: crm.now, "resend": True}
    dry = load(run, SEGMENT, dry_run=True, **say)
    assert (dry["delivered"], dry["stale"]) == (2, 1)
    numbers = load(run, SEGMENT, **say)
    assert (numbers["delivered"], numbers["stale"]) == (2, 1)
    assert crm.shelf.rows.keys() == {"O1-a", "O1-b", "O3-a"}
    crm.shelf.before = lambda: pytest.fail("a retry sends nothing twice")
    assert load(run, SEGMENT, **say) == numbers


@dataclass(frozen=True, kw_only=True)
class _Inserts(InShelf):
    upserts: bool = False


def test_a_target_that_only_inserts_asks_before_anything_is_sent_twice(crm: Orders) -> None:
    inserts = pipeline("none", target=_Inserts(name="none"))
    with pytest.raises(QuestionError, match=r"would be there twice.*--may-duplicate"):
        may_send_again(inserts, may_duplicate=False, how="--may-duplicate")
    may_send_again(inserts, may_duplicate=True, how="--may-duplicate")
    may_send_again(crm.pipeline, may_duplicate=False, how="--may-duplicate")


def test_runs_and_reconciles_tell_of_a_truncated_target_and_a_run_fills_it(tmp_path: Path) -> None:
    with bench(tmp_path, AccountObj=20) as crm:
        SHELVES["whole"] = shelf = Shelf()
        made = account(target=InShelf(name="whole", batch_rows=50))
        crm.later()
        assert crm.sync(made).lacking == 0
        assert reconciled(crm, made).lacking == 0
        held = dict(shelf.rows)
        for row_id in sorted(held)[:3]:
            del shelf.rows[row_id]
        crm.later()
        assert crm.sync(made).lacking == 3
        told = reconciled(crm, made, full=True)
        assert (told.in_ledger, told.at_target, told.lacking) == (20, 17, 3)
        report = crm.sync(made, Asked(kind=Kind.MANUAL, full=True, resend=True))
        assert (report.delivered, report.unchanged, report.lacking) == (20, 0, 0)
        assert shelf.rows == held
        with pytest.raises(QuestionError, match="may_duplicate"):
            crm.sync(account(target=_Inserts(name="whole")), Asked(kind=Kind.MANUAL, full=True, resend=True))
