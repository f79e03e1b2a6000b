"""What a target told of a row is written with its settlement, and stands beside it while the target holds the row."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, text

from fenxiang_sync.hub import Decision, Hub, Settled
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.removals import ORPHANED, Due
from fenxiang_sync.hub.schema import _MIGRATIONS
from fenxiang_sync.hub.tables import VERSION_TABLE
from fenxiang_sync.rows import IdCheck, Outcome, Row
from tests.hub_fixtures import DATABASES, DRIVERS, NOW, empty_database, row

NAME = "customer"
ID = {"Id": 100_001, "Number": "C001"}


@pytest.fixture(params=DRIVERS)
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with empty_database(request.param, tmp_path) as url, Hub.connect(url) as hub:
        yield hub


def claim(hub: Hub, *rows: Row, run: str = "r", upserts: bool = True) -> list[Decision]:
    return hub.claim(
        NAME, rows, run=run, id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, now=NOW, upserts=upserts
    )  # fmt: skip


def settle(hub: Hub, one: Row, outcome: Outcome = Outcome.DELIVERED, run: str = "r", **told: Any) -> None:
    hub.settle(NAME, [Settled(row=one, outcome=outcome, told=told)], run=run, now=NOW)


def deliver(hub: Hub, one: Row, **told: Any) -> None:
    claim(hub, one)
    settle(hub, one, **told)


def said(hub: Hub) -> dict[str, Any]:
    return {name: each.words for name, each in hub.told.of(NAME, ["A", "B"]).items()}


def test_what_was_told_is_there_by_the_row_and_only_where_something_was(hub: Hub) -> None:
    deliver(hub, row("A"), **ID)
    deliver(hub, row("B"))
    assert said(hub) == {"A": ID}
    assert hub.told.of("other", ["A"]) == {}
    assert hub.told.of(NAME, ["A"])["A"].at == NOW


def test_the_last_word_counts_and_a_delivery_that_tells_nothing_takes_nothing_back(hub: Hub) -> None:
    deliver(hub, row("A", 1, n=1), **ID)
    deliver(hub, row("A", 2, n=2))
    assert said(hub) == {"A": ID}
    deliver(hub, row("A", 3, n=3), Number="C002")
    assert said(hub) == {"A": {"Number": "C002"}}


@pytest.mark.parametrize("outcome", [Outcome.DEAD_LETTER, Outcome.IN_DOUBT, Outcome.STALE])
def test_only_of_a_row_that_was_taken_is_anything_kept(hub: Hub, outcome: Outcome) -> None:
    claim(hub, row("A"))
    settle(hub, row("A"), outcome, **ID)
    assert said(hub) == {}


def test_what_is_told_of_a_row_that_another_has_taken_over_counts_for_nothing(hub: Hub) -> None:
    claim(hub, row("A"), run="slow")
    late = NOW + timedelta(minutes=5)
    hub.claim(NAME, [row("A")], run="quick", id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, now=late, upserts=True)
    settle(hub, row("A"), run="slow", **ID)
    assert said(hub) == {}


def test_what_a_target_is_asked_for_a_row_in_doubt_is_kept_with_its_acceptance(hub: Hub) -> None:
    claim(hub, row("A"), upserts=False)
    hub.sending(NAME, [row("A")], run="r", lease_s=60, now=NOW, upserts=False)
    settle(hub, row("A"), Outcome.IN_DOUBT)
    doubts = list(hub.doubts.find(NAME, now=NOW))
    hub.doubts.accept(NAME, doubts, by="somebody", now=NOW, told={"A": ID, "B": ID})
    assert said(hub) == {"A": ID}


def test_it_goes_with_a_row_that_is_deleted_or_turns_out_not_to_be_there_and_stays_with_one_that_is_flagged(
    hub: Hub,
) -> None:
    def remove(version: int, *, keeps_content: bool) -> None:
        due = Due(id="A", source_id="source-A", number=None, modified_ms=version, version=1, why=ORPHANED,
                  as_of=(version, 1), content={})  # fmt: skip
        [ours], _ = hub.orphans.claim(NAME, [due], run="r", lease_s=60, now=NOW)
        hub.removals.settle(NAME, [ours], keeps_content=keeps_content, run="r", now=NOW)

    deliver(hub, row("A"), **ID)
    deliver(hub, row("B"), **ID)
    hub.forget(NAME, [row("B")], run="r", now=NOW)
    assert said(hub) == {"A": ID}
    remove(1, keeps_content=True)
    assert said(hub) == {"A": ID}
    deliver(hub, row("A", 2), **ID)
    remove(2, keeps_content=False)
    assert said(hub) == {}


def test_a_value_is_cut_and_made_fit_for_both_databases(hub: Hub) -> None:
    deliver(hub, row("A"), Number="C\x00" + "9" * 5_000)
    assert said(hub)["A"]["Number"] == "C\ufffd" + "9" * 998


def test_a_settlement_that_tells_nothing_asks_the_database_nothing_more(tmp_path: Path) -> None:
    """The statements of a settlement do not name the table; a row that tells adds one."""
    with Hub.connect(f"sqlite:///{tmp_path}/hub.db") as hub:
        statements: list[str] = []
        event.listen(hub._database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
        deliver(hub, row("A"))
        assert [each for each in statements if "fenxiang_told" in each] == []
        deliver(hub, row("B"), **ID)
        assert len([each for each in statements if "fenxiang_told" in each]) == 1


def test_the_view_of_a_trace_shows_it(hub: Hub) -> None:
    deliver(hub, row("A"), **ID)
    with hub._database.reading() as connection:
        seen = "SELECT what, row_id, run_id, reason FROM fenxiang_trace WHERE source_id = 'source-A' AND what = 'told'"
        assert [tuple(each) for each in connection.execute(text(seen))] == [
            ("told", "A", "r", '{"Id":100001,"Number":"C001"}')
        ]


@pytest.mark.parametrize("kind", DATABASES)
def test_a_hub_of_the_revision_before_keeps_its_rows_and_learns_to_keep_what_is_told(kind: str, tmp_path: Path) -> None:
    with empty_database(kind, tmp_path) as url:
        make_first_revision(url)
        database = Database(url)
        with database.writing("a row") as connection:
            connection.execute(text(
                "INSERT INTO fenxiang_record (pipeline, id, source_id, status, outcome, run_id, first_seen_at, "
                "read_at, settled_at, modified_ms, version, content_hash, claim_modified_ms, claim_version, content) "
                "VALUES ('customer', 'A', 'source-A', 2, 'delivered', 'old', 1, 1, 1, 1, 1, 'h', 1, 1, "
                "'{\"code\":\"c1\"}')"
            ))  # fmt: skip
        database.close()
        with Hub.connect(url) as hub:
            [there] = hub.records(NAME)
            assert (there.id, there.content, there.outcome) == ("A", {"code": "c1"}, Outcome.DELIVERED)
            assert said(hub) == {}
            deliver(hub, row("A", 2), **ID)
            assert said(hub) == {"A": ID}


def make_first_revision(url: str) -> None:
    database = Database(url)
    scripts = ScriptDirectory(_MIGRATIONS)
    with (
        database.writing("migrations") as connection,
        EnvironmentContext(Config(), scripts, fn=lambda found, _: scripts._upgrade_revs("0001", found)) as upgrade,
    ):
        upgrade.configure(connection=connection, version_table=VERSION_TABLE)
        upgrade.run_migrations()
    database.close()
