"""Late arrivals and looks in the hub, on both databases; and taking back a delivery that did not arrive."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fenxiang_sync.hub import Certificate, Decision, Hub, LateArrival, Look, Settled
from fenxiang_sync.rows import IdCheck, Outcome, Row
from fenxiang_sync.window import Window
from tests.hub_fixtures import DATABASES, NOW, hub_database, row


@pytest.fixture(params=DATABASES)
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with hub_database(request.param, tmp_path) as url, Hub.connect(url) as hub:
        yield hub


def arrival(record_id: str, least_s: int, most_s: int) -> LateArrival:
    return LateArrival(record_id=record_id, modified_ms=7, least_ms=least_s * 1000, most_ms=most_s * 1000)


def claim(hub: Hub, *rows: Row, run: str = "run-1", id_check: IdCheck = IdCheck.UPSERT_ON_CHANGE) -> list[Decision]:
    return hub.claim("stock", rows, run=run, id_check=id_check, lease_s=60, now=NOW)


def deliver(hub: Hub, *rows: Row, outcome: Outcome = Outcome.DELIVERED) -> None:
    claim(hub, *rows)
    hub.settle("stock", [Settled(row=each, outcome=outcome) for each in rows], run="run-1", now=NOW)


def test_arrivals_are_counted_by_the_lookback_that_would_have_caught_them(hub: Hub) -> None:
    hub.note_late("stock", [arrival("a", 30, 60), arrival("b", 5, 61)], found_by="run", run="run-1", now=NOW)
    hub.note_late("stock", [arrival("c", 40, 50)], found_by="run", run="run-2", now=NOW + timedelta(hours=1))
    hub.note_late("stock", [arrival("d", 1, 2)], found_by="lookback", run="run-3", now=NOW)
    found = {(each.within_ms, each.found_by): each for each in hub.late("stock")}
    assert list(found) == [(60_000, "lookback"), (60_000, "run"), (120_000, "run")]
    minute = found[60_000, "run"]
    assert (minute.arrivals, minute.least_ms, minute.most_ms) == (2, 40_000, 60_000)
    assert (minute.record_id, minute.run, minute.found_at) == ("a", "run-1", NOW + timedelta(hours=1))
    assert hub.late("orders") == []
    assert (hub.forget_late("stock"), hub.late("stock")) == (4, [])


def test_what_the_ledger_has_met_is_not_unseen_whatever_became_of_it(hub: Hub) -> None:
    deliver(hub, row("delivered", 5))
    deliver(hub, row("refused", 5), outcome=Outcome.DEAD_LETTER)
    deliver(hub, row("doubtful", 5), outcome=Outcome.IN_DOUBT)
    claim(hub, row("claimed", 5))
    names = ("delivered", "refused", "doubtful", "claimed", "unknown")
    assert [each.id for each in hub.unseen("stock", [row(name, 5) for name in names])] == ["unknown"]
    assert [each.id for each in hub.unseen("stock", [row(name, 6) for name in names])] == [
        *("delivered", "refused", "claimed", "unknown")
    ]


def test_looks_are_those_of_other_runs_under_this_declaration_that_reach_the_window(hub: Hub) -> None:
    def certify(since: int, until: int, run: str, read_since: int | None = None, config_hash: str = "c1") -> None:
        proof = Certificate(
            pipeline="stock",
            run=run,
            window=Window(since, until),
            read_since_ms=read_since,
            config_hash=config_hash,
        )
        hub.certify(proof, now=NOW)

    certify(0, 10, "before")
    certify(10, 20, "in it")
    certify(40, 50, "behind it", read_since=25)
    certify(60, 70, "far behind it", read_since=50)
    certify(10, 20, "itself")
    certify(10, 20, "another declaration", config_hash="c2")
    found = hub.looks("stock", Window(10, 30), config_hash="c1", besides="itself")
    assert sorted(found) == [Look(Window(10, 20), 10), Look(Window(40, 50), 25)]


@pytest.mark.parametrize("id_check", list(IdCheck))
def test_a_delivery_that_is_taken_back_is_sent_again_whatever_the_id_check(hub: Hub, id_check: IdCheck) -> None:
    kept, lost, others = row("kept", 5, x=1), row("lost", 5, x=1), row("others", 5, x=1)
    deliver(hub, kept, lost, others)
    assert [each.id for each, _ in hub.delivered("stock", [kept, lost], run="run-1")] == ["kept", "lost"]
    assert hub.delivered("stock", [others], run="run-2") == []
    assert hub.forget("stock", [lost, row("others", 5, x=2)], run="run-1", now=NOW) == [lost]
    assert hub.delivered("stock", [lost], run="run-1") == []
    decided = claim(hub, lost, run="run-2", id_check=id_check)
    assert decided == [Decision.NEW]
    assert claim(hub, kept, run="run-1", id_check=id_check) == [Decision.DELIVERED]
