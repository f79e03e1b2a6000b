"""fill: a field that was added to a declaration reaches old rows, as a full run would bring it, with a call for 100."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fenxiang_simulator import Simulator
from fenxiang_sync import (
    Condition,
    Constant,
    Explode,
    Field,
    HubTarget,
    IdCheck,
    Logic,
    Pipeline,
    SqlTable,
    choice,
    decimal,
    integer,
    label,
    text,
)
from fenxiang_sync.airflow.terminal import progress
from fenxiang_sync.errors import QuestionError
from fenxiang_sync.hub import Hub, Selection
from fenxiang_sync.steps.fill import Filled, fill
from fenxiang_sync.window import Window
from tests.cli_fixtures import fenxiang as command
from tests.cli_fixtures import quiet_settings  # noqa: F401 - a fixture
from tests.hub_fixtures import hub_file
from tests.sql_fixtures import place
from tests.steps_fixtures import Bench, at, bench, manual, pipeline

OLD = [
    Field("_id"),
    Field("name", "who.name", convert=text),
    Field("field_credit_limit__c", "limit", convert=decimal()),
]
LEVEL = Field("account_level", "who.level", convert=label, default="?")
VIP = Field("field_vip__c", "vip")


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, AccountObj=250) as made:
        made.sync(account(), manual(full=True))
        yield made


def account(*more: Field, **words: Any) -> Pipeline:
    return pipeline(**{"fields": [*OLD, *more], **words})


def filled(there: Bench, one: Pipeline, *names: str, **how: Any) -> Filled:
    run = there.run(one)
    return fill(run, names, client=there.client(), hub=there.hub, reach=there.reach(), clock=there.now, **how)


def queries(there: Bench) -> int:
    return len(there.simulator.queries)


def test_a_new_field_comes_to_every_row_as_a_full_run_would_bring_it(there: Bench) -> None:
    visible = there.simulator.tenant.visible("AccountObj")
    before = queries(there)
    made = filled(there, account(LEVEL), "who.level")
    assert (made.lacking, made.delivered, made.wanting) == (len(visible), len(visible), 0)
    assert queries(there) - before == -(-len(visible) // 100)
    asked = there.simulator.queries[-1]
    assert {"name", "field_credit_limit__c"}.isdisjoint(asked.projection)
    held = there.held(account())
    clean = account(LEVEL, name="clean")
    there.sync(clean, manual(full=True))
    assert held == there.held(clean)
    report = there.sync(account(LEVEL), manual(full=True))
    assert (report.delivered, report.unchanged) == (0, len(visible))


def test_doing_it_again_asks_nothing(there: Bench) -> None:
    filled(there, account(LEVEL), "who.level")
    before = queries(there)
    assert filled(there, account(LEVEL), "who.level") == Filled()
    assert queries(there) == before


def test_what_was_cut_off_goes_on_where_it_was(there: Bench) -> None:
    part = filled(there, account(LEVEL), "who.level", window=Window.between(at(1), at(15)))
    rest = filled(there, account(LEVEL), "who.level")
    assert part.delivered > 0
    assert part.delivered + rest.delivered == len(there.held(account()))


def test_a_record_that_was_modified_since_is_left_to_the_run_that_reads_all_of_it(there: Bench) -> None:
    one, *_ = there.held(account())
    there.later()
    there.simulator.tenant.update("AccountObj", one, {"name": "新的名称"})
    made = filled(there, account(LEVEL), "who.level")
    assert made.newer == 1
    assert "level" not in there.held(account())[one]["who"]
    there.later()
    there.sync(account(LEVEL))
    content = there.held(account())[one]
    assert content["who"]["name"] == "新的名称"
    assert "level" in content["who"]


def test_a_record_that_is_gone_is_counted(there: Bench) -> None:
    one, *_ = there.held(account())
    there.simulator.tenant.invalid("AccountObj", one)
    there.simulator.tenant.delete("AccountObj", one)
    assert filled(there, account(LEVEL), "who.level").gone == 1


def test_a_value_that_does_not_fit_is_told_and_its_row_stays_as_it_was(there: Bench) -> None:
    strict = Field("account_level", "level", convert=choice(["1"]))
    held = there.held(account())
    made = filled(there, account(strict), "level")
    assert made.rejected > 0
    assert made.delivered + made.rejected == made.lacking
    assert "level ← account_level: not one of the declared options '1'" in made.reasons[0]
    assert len(made.reasons) == 3
    now = there.held(account())
    assert sum("level" not in content for content in now.values()) == made.rejected
    assert all(now[each] == held[each] for each in now if "level" not in now[each])


def test_several_fields_are_brought_together_and_one_that_is_forgotten_is_named(there: Bench) -> None:
    both = account(LEVEL, VIP)
    alone = filled(there, both, "who.level")
    assert (alone.delivered, alone.incomplete, alone.also) == (0, alone.lacking, ["vip"])
    together = filled(there, both, "account_level", "vip")
    assert together.delivered == alone.lacking


def test_rows_of_another_key_or_of_another_shape_are_left_as_they_are(there: Bench) -> None:
    before = there.held(account())
    by_name = account(LEVEL, key="who.name")
    made = filled(there, by_name, "who.level")
    assert (made.other_key, made.wanting, made.delivered) == (len(before), len(before), 0)
    flat = pipeline(fields=[Field("_id"), Field("name", "who", convert=text), Field("tel", convert=text)])
    made = filled(there, flat, "tel")
    assert (made.incomplete, made.also) == (len(before), ["who"])
    assert there.held(account()) == before


def test_again_reads_rows_that_have_the_field_for_another_converter(there: Bench) -> None:
    filled(there, account(LEVEL), "who.level")
    as_value = replace(LEVEL, convert=text)
    assert filled(there, account(as_value), "who.level") == Filled()
    made = filled(there, account(as_value), "who.level", again=True)
    assert made.delivered == made.lacking == len(there.held(account()))


def test_a_dry_run_counts_and_sends_nothing(there: Bench) -> None:
    before = there.held(account())
    made = filled(there, account(LEVEL), "who.level", dry_run=True)
    assert made.delivered == made.lacking == len(before)
    assert there.held(account()) == before


@pytest.mark.parametrize(
    ("one", "name", "said"),
    [
        (account(LEVEL), "nowhere", "maps no 'nowhere'; its target paths are: _id, who.name, limit, who.level"),
        (account(), "_id", "is the row's id"),
        (account(LEVEL, conditions=[[Condition("account_level", Logic.EQ, "1")]]), "who.level", "a condition is on"),
        (account(LEVEL, id_check=IdCheck.SKIP_EXISTING), "who.level", "never sends a row again"),
        (
            account(Field("lines__c.goods", "goods"), explode=Explode("lines__c")),
            "goods",
            "makes several rows of a record; read everything again: airflow dags trigger account",
        ),
        (pipeline(fields=[*OLD, Constant("origin", "CRM")]), "origin", "is not read from one field"),
    ],
)
def test_what_only_a_full_run_can_do_is_told(there: Bench, one: Pipeline, name: str, said: str) -> None:
    with pytest.raises(QuestionError, match=said):
        filled(there, one, name)


def test_a_table_gets_its_new_column_with_the_value_of_every_row(there: Bench, tmp_path: Path) -> None:
    with place("sqlite", tmp_path) as where:
        there.database = where.reach.database
        table = SqlTable(connection="warehouse", table="account")
        there.sync(account(name="stored", target=table), manual(full=True))
        one = account(LEVEL, name="stored", target=table)
        made = filled(there, one, "who.level")
        assert made.delivered == made.lacking == len(there.simulator.tenant.visible("AccountObj"))
        levels = dict(where.ask("SELECT _id, who_level FROM account"))
        assert levels == {each: content["who"]["level"] for each, content in there.held(one).items()}
        assert None not in levels.values()


def test_a_row_that_the_target_refuses_with_the_new_field_becomes_a_dead_letter(there: Bench, tmp_path: Path) -> None:
    with place("sqlite", tmp_path) as where:
        there.database = where.reach.database
        table = SqlTable(connection="warehouse", table="account")
        there.sync(account(name="stored", target=table), manual(full=True))
        refused, *others = there.held(account())
        where.run(
            f"CREATE TRIGGER keeper BEFORE UPDATE ON account WHEN NEW._id = '{refused}' "
            "BEGIN SELECT RAISE(ABORT, 'closed account'); END"
        )
        made = filled(there, account(LEVEL, name="stored", target=table), "who.level")
        assert (made.delivered, made.dead_letters, made.wanting) == (len(others), 1, 1)
        [letter] = there.hub.letters.find("stored", Selection(), whole=True)
        assert (letter.record_id, letter.stage) == (refused, "load")
        assert "closed account" in letter.reason
        assert "level" in letter.content["who"]


# The command

DAG_FILE = """
from fenxiang_sync import Field, HubTarget, Pipeline, Source, choice, text
from fenxiang_sync.airflow import sync_dag
dag = sync_dag(Pipeline(
    name="account", source=Source(object="AccountObj"), target=HubTarget(),
    fields=[Field("_id", convert=text), {more}],
))
"""


@pytest.fixture
def simulator(there: Bench) -> Simulator:
    return there.simulator


@pytest.mark.usefixtures("quiet_settings", "fenxiang")
def test_the_command_fills_records_the_run_and_says_what_is_left(
    there: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")
    there.sync(pipeline(name="account", fields=[Field("_id", convert=text)], target=HubTarget()), manual(full=True))
    rows = len(there.held(account()))
    calls = 1 + -(-rows // 100)
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "account.py").write_text(DAG_FILE.format(more='Field("name", convert=text)'), encoding="utf-8")
    tried = command("backfill-field", "account", "name", "--dry-run", "--dags", dags)
    assert tried.stdout == f"account: {rows} rows to fill: {rows} would be sent; {calls} calls\n"
    as_json = command("backfill-field", "account", "name", "--dry-run", "--json", "--dags", dags)
    assert json.loads(as_json.stdout).items() >= {"fields": ["name"], "lacking": rows, "delivered": rows}.items()
    done = command("backfill-field", "account", "name", "--dags", dags)
    assert (done.exit_code, done.stdout) == (
        0,
        f"account: {rows} rows to fill: {rows} delivered; {calls} calls\n",
    )
    with Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub:
        (newest, *_) = hub.runs("account", 1)
    assert (newest.kind, newest.numbers["delivered"], newest.requests) == ("fill", rows, calls)
    more = 'Field("name", convert=text), Field("account_level", "level", convert=choice(["1"]))'
    (dags / "account.py").write_text(DAG_FILE.format(more=more), encoding="utf-8")
    left = command("backfill-field", "account", "level", "--dags", dags)
    assert left.exit_code == 1
    assert "  rejected " in left.stdout
    unknown = command("backfill-field", "account", "nmae", "--dags", dags)
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert "maps no 'nmae'; its target paths are: _id, name, level" in unknown.stderr


@pytest.mark.usefixtures("quiet_settings", "fenxiang")
def test_after_a_death_the_command_says_how_long_its_rows_stay_claimed(
    there: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")
    one = pipeline(name="account", fields=[Field("_id", convert=text)])
    there.sync(one, manual(full=True))
    moments = iter([there.now()])  # the claim; then it is dead
    more = replace(one, fields=[*one.fields, Field("name", convert=text)])
    with pytest.raises(StopIteration):
        fill(
            there.run(more),
            ["name"],
            client=there.client(),
            hub=there.hub,
            reach=there.reach(),
            clock=lambda: next(moments),
        )
    (tmp_path / "account.py").write_text(DAG_FILE.format(more='Field("name", convert=text)'), encoding="utf-8")
    told = command("backfill-field", "account", "name", "--dags", tmp_path / "account.py")
    assert told.exit_code == 1
    rows = len(there.held(one))
    assert f"{rows} claimed by another run" in told.stdout
    assert "keeps its claims for 15 minutes" in told.stdout
    there.later(16 * 60)
    assert filled(there, more, "name").delivered == rows


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_how_far_it_is_stands_on_a_terminal_and_goes_away_again(there: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    with progress("account") as done:
        rows = filled(there, account(LEVEL), "who.level", done=done).lacking
    assert screen.getvalue() == f"\raccount: {rows} rows so far\r\x1b[K"
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())
    with progress("account") as done:
        done(1)
    assert file.getvalue() == ""


def test_numbers_as_text_are_versions_too(there: Bench) -> None:
    for record in there.simulator.tenant.records("AccountObj").values():
        record["version"] = str(record["version"])
    made = filled(there, account(replace(VIP, convert=text), Field("account_level", "n", convert=integer)), "vip", "n")
    assert made.newer == 0
