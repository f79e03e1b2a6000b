"""A pipeline into a SQL table, plan to verify: the table ends as the CRM is, and every row is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import Field, Pipeline, SqlTable, boolean, instant, text
from fenxiang_sync.hub import Hub
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Run, Segment, load
from fenxiang_sync.steps.turns import LEASE_S
from fenxiang_sync.window import Window
from tests.hub_fixtures import hub_file
from tests.sql_fixtures import DATABASES, Place, place, row
from tests.steps_fixtures import Bench, bench, manual, pipeline

FIELDS = [
    Field("_id", convert=text),
    Field("name", convert=text, required=True),
    Field("account_no", "more.number", convert=text),
    Field("life_status", convert=text),
    Field("last_modified_time", "more.modified", convert=instant()),
    Field("is_deleted", "gone", convert=boolean),
]


@pytest.fixture(params=DATABASES)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def crm(where: Place, tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, AccountObj=250) as made:
        made.database = where.reach.database
        yield made


def account() -> Pipeline:
    return pipeline(fields=FIELDS, target=SqlTable(connection="warehouse", table="account"))


def stored(where: Place) -> dict[Any, Any]:
    return dict(where.ask("SELECT _id, name FROM account"))


def visible(crm: Bench) -> dict[str, Any]:
    return {key: record["name"] for key, record in crm.simulator.tenant.visible("AccountObj").items()}


def test_the_table_is_what_the_crm_is_and_every_row_was_asked_for(crm: Bench, where: Place) -> None:
    first, second = crm.sync(account(), manual(full=True)), crm.sync(account(), manual(full=True))
    assert (first.delivered, first.asked, first.sent_again) == (250, 250, 0)
    assert (second.delivered, second.unchanged, second.asked) == (0, 250, 0)
    assert stored(where) == visible(crm)
    edited = next(iter(visible(crm)))
    crm.simulator.tenant.update("AccountObj", edited, {"name": "新名称", "account_no": None})
    crm.later()
    assert crm.sync(account()).delivered == 1
    assert stored(where)[edited] == "新名称"
    assert where.ask("SELECT more_number FROM account WHERE _id = :id", id=edited) == [(None,)]


def test_a_newer_row_at_the_table_is_kept_and_counts_as_stale(crm: Bench, where: Place) -> None:
    crm.sync(account(), manual(full=True))
    other = next(iter(visible(crm)))
    before = visible(crm)[other]
    where.run(f"UPDATE account SET fx_modified_ms = {2**50}, name = 'newer', fx_hash = 'newer' WHERE _id = '{other}'")
    crm.simulator.tenant.update("AccountObj", other, {"name": "older"})
    crm.later()
    report = crm.sync(account())
    assert (report.stale, report.delivered, report.dead_letters) == (1, 0, 0)
    assert stored(where)[other] == "newer"
    where.run(f"UPDATE account SET fx_modified_ms = 1 WHERE _id = '{other}'")
    crm.simulator.tenant.update("AccountObj", other, {"name": before})
    crm.later()
    assert crm.sync(account()).delivered == 1, "the hub does not know that the table has something else by now"
    assert stored(where)[other] == before


def test_a_row_that_the_table_refuses_is_a_dead_letter_and_the_others_arrive(crm: Bench, where: Place) -> None:
    target = account().target
    assert isinstance(target, SqlTable)
    with target.open(where.reach):
        pass
    bad = next(iter(visible(crm)))
    name = visible(crm)[bad]
    crm.simulator.tenant.update("AccountObj", bad, {"name": "x" * 5_000 if where.kind == "mysql" else name + "\0"})
    if where.kind == "mysql":
        where.run("ALTER TABLE account MODIFY name VARCHAR(500) NOT NULL")
    if where.kind == "sqlite":
        where.run(
            "CREATE TRIGGER no_nul BEFORE INSERT ON account WHEN instr(NEW.name, char(0)) "
            "BEGIN SELECT RAISE(ABORT, 'no NUL here'); END"
        )
    crm.later()
    report = crm.sync(account(), manual(full=True))
    assert (report.delivered, report.dead_letters) == (249, 1)
    assert set(stored(where)) == set(visible(crm)) - {bad}


class Interrupted:
    """A hub at which somebody else does `meanwhile` between the claim of rows and their sending."""

    def __init__(self, hub: Hub, meanwhile: Any) -> None:
        self._hub = hub
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub, name)

    def sending(self, *args: Any, **words: Any) -> Any:
        answer = self._hub.sending(*args, **words)
        meanwhile, self._meanwhile = self._meanwhile, lambda: None
        meanwhile()
        return answer


def test_a_load_that_hung_for_longer_than_its_lease_overwrites_nothing(where: Place, tmp_path: Path) -> None:
    now, stage = datetime(2026, 11, 1, tzinfo=UTC), Stage(tmp_path / "stage")
    small = pipeline(
        fields=[Field("_id", convert=text), Field("name", convert=text)],
        target=SqlTable(connection="warehouse", table="account"),
    )

    def one_load(run_id: str, hub: Any, later: float, *batch: Row) -> dict[str, int]:
        run = Run(pipeline=small, id=run_id, folder=stage.run(small.name, run_id))
        folder = run.segment(1)
        folder.write_lines("rows-00001", batch)
        folder.save("transformed", {"read": len(batch), "rows": len(batch), "filtered": 0, "rejected": 0})
        segment = Segment(index=1, window=Window(0, 1), count=None)
        clock = now + timedelta(seconds=later)
        return load(run, segment, hub=hub, reach=where.reach, clock=lambda: clock)

    with Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub:
        told: list[dict[str, int]] = []
        newer = [row("a", 2, name="newer"), row("b", 1, name="same")]
        hung = Interrupted(hub, lambda: told.append(one_load("second", hub, LEASE_S + 1, *newer)))
        first = one_load("first", hung, 0, row("a", 1, name="older"), row("c", 1, name="its own"))
        assert told[0]["delivered"] == 2
        assert (first["stale"], first["delivered"]) == (1, 1)
        assert where.ask("SELECT _id, name FROM account ORDER BY 1") == [
            ("a", "newer"),
            ("b", "same"),
            ("c", "its own"),
        ]
        assert one_load("third", hub, 5_000, *newer)["unchanged"] == 2
        (kept,) = hub.records(small.name, ids=["a"])
        assert (kept.modified_ms, kept.content) == (2, {"_id": "a", "name": "newer"})


def test_the_pipeline_flags_where_nothing_else_is_said_and_gives_the_table_its_columns() -> None:
    assert account().removes is DeletePolicy.FLAG
    target = account().target
    assert isinstance(target, SqlTable)
    assert '"more_modified" TIMESTAMP WITH TIME ZONE' in target.ddl("postgresql")
    assert '"name" TEXT NOT NULL' in target.ddl("postgresql")
