"""Drift: a field that came, went or changed is noted, told once, shown, and stops a run that it would hurt."""

from __future__ import annotations

import doctest
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fenxiang_simulator import Simulator
from fenxiang_simulator.catalog import FieldDef
from fenxiang_sync import (
    Condition,
    Drift,
    Field,
    HubTarget,
    Logic,
    Pipeline,
    Source,
    choice,
    decimal,
    drift,
    label,
    text,
)
from fenxiang_sync.airflow import sync_dag
from fenxiang_sync.airflow.deployment import Deployment
from fenxiang_sync.drift import CLOSED, Known, What, note_name
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.hub import Hub
from fenxiang_sync.source.client import DESCRIBE
from fenxiang_sync.source.description import ObjectDescription
from fenxiang_sync.steps.drift import note
from fenxiang_sync.steps.fill import fill
from tests.airflow_fixtures import ConnectionSetter
from tests.cli_fixtures import fenxiang as command
from tests.cli_fixtures import quiet_settings  # noqa: F401 - a fixture
from tests.reconcile_fixtures import reconciled
from tests.steps_fixtures import Bench, at, bench, manual, pipeline, scheduled
from tests.test_airflow_operators import context

LEVELS = ["1", "2", "3"]
NOTE = note_name("fenxiang", "AccountObj")


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, AccountObj=5) as made:
        yield made


def edit(simulator: Simulator, **fields: FieldDef | None) -> None:
    """Change the object's definition in the CRM; None takes a field away."""
    definitions: Any = simulator.tenant._definitions
    held = definitions["AccountObj"]
    left = {name: each for name, each in {**held.fields, **fields}.items() if each is not None}
    definitions["AccountObj"] = replace(held, fields=left)


def level(simulator: Simulator, **options: str) -> FieldDef:
    return replace(simulator.tenant.definition("AccountObj").fields["account_level"], options=options)


def declared(policy: Drift = Drift.WARN, *more: Field, **source: Any) -> Pipeline:
    fields = [Field("_id", convert=text), Field("account_level", "level", convert=choice(LEVELS)), *more]
    return pipeline(fields=fields, source={"drift": policy, **source}, start=at(1))


def news(there: Bench, one: Pipeline, asked: Any = None) -> list[str]:
    return [str(each) for each in there.plan(there.run(one), asked or manual()).drift]


def known(hub: Hub) -> Known:
    return Known.read(hub.noted(NOTE))


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(drift).failed == 0


class TestARun:
    def test_the_first_look_is_no_alarm(self, there: Bench) -> None:
        assert news(there, declared()) == []
        assert len(known(there.hub).shape or {}) > 20
        assert known(there.hub).changes == []

    def test_every_kind_of_change_is_told_once_with_what_it_was(self, there: Bench) -> None:
        news(there, declared())
        fields = there.simulator.tenant.definition("AccountObj").fields
        edit(
            there.simulator,
            tax__c=FieldDef(name="tax__c", label="税号"),
            field_vip__c=None,
            field_credit_limit__c=replace(fields["field_credit_limit__c"], decimal_places=4),
            tel=replace(fields["tel"], type="long_text"),
            account_level=level(there.simulator, **{"1": "重点客户", "2": "普通客户", "4": "战略客户"}),
        )
        assert sorted(news(there, declared())) == [
            "'account_level' has a new option: '4' (战略客户)",
            "'account_level' has lost an option: '3'",
            "'field_credit_limit__c' (信用额度) has another type: currency, 4 decimals, was currency, 2 decimals",
            "'field_vip__c' is removed: true_or_false",
            "'tax__c' (税号) is new: text",
            "'tel' (电话) has another type: long_text, was phone_number",
        ]
        assert news(there, declared()) == []
        assert len(known(there.hub).open) == 6

    def test_another_pipeline_of_the_object_is_not_told_what_was_there_before_it(self, there: Bench) -> None:
        second = replace(declared(), name="second")
        news(there, declared())
        edit(there.simulator, tax__c=FieldDef(name="tax__c", label="税号"))
        assert news(there, second) == []
        assert news(there, declared()) == ["'tax__c' (税号) is new: text"]
        edit(there.simulator, other__c=FieldDef(name="other__c", label="其他"))
        assert news(there, second) == news(there, declared()) == ["'other__c' (其他) is new: text"]

    def test_what_a_failed_plan_has_not_told_the_next_one_tells(self, there: Bench) -> None:
        news(there, declared())
        edit(there.simulator, tax__c=FieldDef(name="tax__c", label="税号"))
        with pytest.raises(DeclarationError, match="nowhere"):
            news(there, declared(Drift.WARN, Field("nowhere")))
        assert news(there, declared()) == ["'tax__c' (税号) is new: text"]

    def test_a_change_that_is_taken_back_is_open_no_more(self, there: Bench) -> None:
        news(there, declared())
        edit(there.simulator, tax__c=FieldDef(name="tax__c", label="税号"))
        news(there, declared())
        edit(there.simulator, tax__c=None)
        assert news(there, declared()) == []
        (change,) = known(there.hub).changes
        assert (change.open, change.ended) == (False, "taken back")

    def test_the_look_costs_no_call_where_fields_are_checked_anyway(self, there: Bench) -> None:
        news(there, declared(Drift.IGNORE))
        assert there.hub.noted(NOTE) is None
        before = there.simulator.requests[DESCRIBE]
        news(there, declared())
        assert there.simulator.requests[DESCRIBE] == before + 1

    def test_where_fields_are_not_checked_a_scheduled_run_looks_once_a_day(self, there: Bench) -> None:
        unchecked = declared(check_fields=False)
        tick = scheduled(at(1), at(2))

        def calls() -> int:
            return there.simulator.requests.get(DESCRIBE, 0)

        news(there, unchecked, manual(since=at(1), until=at(2)))
        assert calls() == 0
        news(there, unchecked, tick)
        news(there, unchecked, tick)
        assert calls() == 1
        edit(there.simulator, tax__c=FieldDef(name="tax__c", label="税号"))
        there.later(timedelta(days=1, minutes=1).total_seconds())
        assert news(there, unchecked, tick) == ["'tax__c' (税号) is new: text"]
        assert calls() == 2

    def test_where_the_look_is_refused_the_run_goes_on_and_asks_again_only_a_day_later(self, there: Bench) -> None:
        unchecked = declared(check_fields=False)
        del there.simulator.tenant._definitions["AccountObj"]
        made = drift_look(there, unchecked)
        assert (made.shape, made.looked_ms, made.refused_ms > 0) == (None, 0, True)
        before = there.simulator.requests[DESCRIBE]
        drift_look(there, unchecked)
        assert there.simulator.requests[DESCRIBE] == before


def drift_look(there: Bench, one: Pipeline) -> Known:
    from fenxiang_sync.steps.drift import look

    return look(one, None, client=there.client(), hub=there.hub, scheduled=True)


class TestStop:
    @pytest.fixture
    def stopping(self, there: Bench) -> Callable[..., Pipeline]:
        news(there, declared(Drift.STOP))
        return lambda *more: declared(Drift.STOP, *more)

    def test_options_that_the_converter_does_not_know_stop_the_run_before_it_reads(
        self, there: Bench, stopping: Callable[..., Pipeline]
    ) -> None:
        edit(there.simulator, account_level=level(there.simulator, **{"1": "a", "2": "b", "3": "c", "4": "战略客户"}))
        queries = len(there.simulator.queries)
        with pytest.raises(DeclarationError) as stopped:
            news(there, stopping())
        said = str(stopped.value)
        assert "'account_level' has a new option: '4' (战略客户) since " in said
        assert "(→ level)" in said
        assert "such records are rejected" in said
        assert "fenxiang drift account --accept" in said
        assert len(there.simulator.queries) == queries
        assert [each.what for each in known(there.hub).open] == [What.OPTION_NEW]

    def test_a_change_that_stopped_runs_is_told_by_the_first_one_after_it_was_accepted(
        self, there: Bench, stopping: Callable[..., Pipeline]
    ) -> None:
        edit(there.simulator, account_level=level(there.simulator, **{"1": "a", "2": "b", "3": "c", "4": "战略客户"}))
        with pytest.raises(DeclarationError):
            news(there, stopping())
        present = ObjectDescription.read(there.client().describe("AccountObj"))
        note(stopping(), there.hub, lambda known, at_ms: known.accepted(present, at_ms))
        assert news(there, stopping()) == ["'account_level' has a new option: '4' (战略客户)"]
        assert news(there, stopping()) == []

    def test_a_declaration_that_knows_the_new_option_runs(
        self, there: Bench, stopping: Callable[..., Pipeline]
    ) -> None:
        edit(there.simulator, account_level=level(there.simulator, **{"1": "a", "2": "b", "3": "c", "4": "d"}))
        fields = [Field("_id"), Field("account_level", "level", convert=choice([*LEVELS, "4"]))]
        assert len(news(there, replace(stopping(), fields=fields))) == 1

    def test_an_option_that_went_stops_it_only_where_records_are_compared_with_it(
        self, there: Bench, stopping: Callable[..., Pipeline]
    ) -> None:
        edit(there.simulator, account_level=level(there.simulator, **{"1": "a", "2": "b"}))
        assert len(news(there, stopping())) == 1
        kept = replace(stopping(), conditions=[[Condition("account_level", Logic.NEQ, "3")]])
        with pytest.raises(DeclarationError, match=r"has lost an option: '3' since .*: it is compared with that one"):
            news(there, kept)

    @pytest.mark.parametrize("name", ["tel", "life_status"])
    def test_another_type_stops_it_for_a_field_that_is_mapped_or_compared(
        self, there: Bench, stopping: Callable[..., Pipeline], name: str
    ) -> None:
        field = there.simulator.tenant.definition("AccountObj").fields[name]
        edit(there.simulator, **{name: replace(field, type="number", options={})})
        one = replace(stopping(Field("tel", convert=text)), conditions=[[Condition("life_status", Logic.NOTNULL)]])
        with pytest.raises(DeclarationError, match=rf"'{name}' .*has another type: number"):
            news(there, one)

    def test_what_nobody_maps_never_stops_it(self, there: Bench, stopping: Callable[..., Pipeline]) -> None:
        edit(there.simulator, tel=None, tax__c=FieldDef(name="tax__c", label="税号"))
        assert len(news(there, stopping())) == 2

    def test_more_decimals_stop_it_only_where_the_converter_rejects_them(
        self, there: Bench, stopping: Callable[..., Pipeline]
    ) -> None:
        name = "field_credit_limit__c"
        field = there.simulator.tenant.definition("AccountObj").fields[name]
        edit(there.simulator, **{name: replace(field, decimal_places=4)})
        assert news(there, stopping(Field(name, convert=decimal(scale=6))))
        with pytest.raises(DeclarationError, match="has 4 decimals, which"):
            news(there, stopping(Field(name, convert=decimal(scale=2))))

    def test_it_needs_the_check_of_fields(self) -> None:
        with pytest.raises(DeclarationError, match="needs the description that check_fields asks for"):
            declared(Drift.STOP, check_fields=False)
        with pytest.raises(DeclarationError, match="choose one of IGNORE, WARN, STOP of Drift"):
            declared("stop")  # type: ignore[arg-type]


class TestWhatReadsBesideRuns:
    """A reconcile that reads contents again, and a backfill of a field, would empty columns as a run would."""

    @pytest.fixture
    def phones(self, there: Bench) -> Pipeline:
        one = declared(Drift.WARN, Field("tel", "phone", convert=text))
        there.sync(one, manual(full=True))
        return one

    def test_a_deep_reconcile_empties_no_column_whose_field_was_removed(self, there: Bench, phones: Pipeline) -> None:
        before = there.held(phones)
        assert any(content["phone"] for content in before.values())
        edit(there.simulator, tel=None)
        queries = len(there.simulator.queries)
        with pytest.raises(DeclarationError, match="'tel' is none of its fields"):
            reconciled(there, phones, deep=True)
        assert there.held(phones) == before
        assert len(there.simulator.queries) == queries

    def test_a_change_that_stops_runs_stops_a_reconcile(self, there: Bench, phones: Pipeline) -> None:
        stopping = replace(phones, source=replace(phones.source, drift=Drift.STOP))
        field = there.simulator.tenant.definition("AccountObj").fields["tel"]
        edit(there.simulator, tel=replace(field, type="number"))
        with pytest.raises(DeclarationError, match=r"'tel' .*has another type: number, .*was phone_number"):
            reconciled(there, stopping, deep=True)
        assert len(news(there, phones)) == 1, "a reconcile raises no event, so that the next run tells it"

    def test_no_field_is_filled_that_the_object_does_not_have(self, there: Bench, phones: Pipeline) -> None:
        wrong = replace(phones, fields=[*phones.fields, Field("emial", "email", convert=text)])
        with pytest.raises(DeclarationError, match="'emial' is none of its fields, did you mean 'email'"):
            fill(
                there.run(wrong), ["email"], client=there.client(), hub=there.hub, reach=there.reach(), clock=there.now
            )
        assert not any("email" in content for content in there.held(phones).values())


def test_the_history_is_bounded_and_loses_nothing_that_is_open() -> None:
    def described(names: range) -> ObjectDescription:
        fields = {f"f{number}": FieldDef(name=f"f{number}", label="x").describe() for number in names}
        return ObjectDescription.read({"api_name": "AccountObj", "fields": fields})

    made = Known().looked(described(range(1)), 1)
    for round_ in range(2, 3 * CLOSED, 2):
        made = made.looked(described(range(2)), round_).looked(described(range(1)), round_ + 1)
    made = made.looked(described(range(500)), 10_000)
    assert len(made.open) == 499
    assert len(made.changes) == 499 + CLOSED
    assert Known.read(json.loads(json.dumps(made.note()))) == made


# In Airflow

DAG_FILE = """
from fenxiang_sync import Field, HubTarget, Pipeline, Source, text
from fenxiang_sync.airflow import sync_dag
dag = sync_dag(Pipeline(
    name="account", source=Source(object="AccountObj"), target=HubTarget(),
    fields=[Field("_id", convert=text), Field("tel", "phone", convert=text)],
))
"""


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, records={"AccountObj": 5}) as running:
        yield running


def planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, Any]]:
    """The asset events of a plan task."""
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")
    one = Pipeline(
        name="account", source=Source(object="AccountObj"), target=HubTarget(),
        fields=[Field("_id", convert=text), Field("tel", "phone", convert=text), Field("owner", "who", convert=label)],
    )  # fmt: skip
    task = sync_dag(one).get_task("plan")
    (alias,) = task.outlets
    events: list[tuple[Any, Any]] = []
    accessor = SimpleNamespace(add=lambda asset, extra: events.append((asset, extra)))
    task.execute(context(outlet_events={alias: accessor}))
    return events


def test_an_asset_event_tells_a_change_and_only_a_change(
    simulator: Simulator, fenxiang: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert planned(monkeypatch, tmp_path) == []
    edit(simulator, tel=replace(simulator.tenant.definition("AccountObj").fields["tel"], type="text"))
    ((asset, extra),) = planned(monkeypatch, tmp_path)
    assert (asset.name, asset.uri) == ("account.drift", "fenxiang://fenxiang/account/drift")
    assert (extra["pipeline"], extra["object"]) == ("account", "AccountObj")
    (change,) = extra["changes"]
    assert (change["field"], change["what"], change["columns"]) == ("tel", "has another type", ["phone"])
    assert planned(monkeypatch, tmp_path) == []
    assert Deployment().hub.all_noted("pipeline ")["pipeline account"]["columns"]["owner__r"] == ["who"]


@pytest.mark.usefixtures("quiet_settings", "fenxiang")
def test_a_look_that_the_crm_refused_is_not_told_as_a_look(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "account.py").write_text(DAG_FILE, encoding="utf-8")
    hub = Deployment().hub
    hub.revise(NOTE, lambda held, now: Known.read(held).refused(round(now * 1000)).note())
    told = command("drift", "account", "--dags", tmp_path)
    assert (told.exit_code, "so nothing is known" in told.stdout) == (0, True)
    planned(monkeypatch, tmp_path)
    hub.revise(NOTE, lambda held, now: Known.read(held).refused(round(now * 1000) + 1).note())
    told = command("drift", "account", "--dags", tmp_path)
    assert re.search(r"0 open changes, looked at .* the CRM did not describe it\n", told.stdout)
    (document,) = json.loads(command("drift", "account", "--dags", tmp_path, "--json").stdout)
    assert document["looked_at"] <= document["refused_at"]


@pytest.mark.usefixtures("quiet_settings", "fenxiang")
def test_the_command_shows_the_history_and_accepts_what_is_there(
    simulator: Simulator, connection: ConnectionSetter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "account.py").write_text(DAG_FILE, encoding="utf-8")
    fresh = command("drift", "account", "--dags", dags)
    assert (fresh.exit_code, "nobody has looked at its fields yet" in fresh.stdout) == (0, True)
    planned(monkeypatch, tmp_path)
    edit(simulator, tel=replace(simulator.tenant.definition("AccountObj").fields["tel"], type="text"))
    planned(monkeypatch, tmp_path)
    told = command("drift", "--dags", dags)
    assert told.exit_code == 1
    first, change, way_out = told.stdout.splitlines()
    assert first.startswith("account: AccountObj (fenxiang): 1 open change, looked at 20")
    assert change.endswith("'tel' (电话) has another type: text, was phone_number (→ phone)")
    assert change.startswith(f"  open        {datetime.now(UTC):%Y-}")
    assert way_out.endswith("fenxiang drift account --accept")
    accepted = command("drift", "account", "--accept", "--dags", dags)
    assert (accepted.exit_code, accepted.stderr) == (0, "")
    assert "  accepted    " in accepted.stdout
    (document,) = json.loads(command("drift", "--dags", dags, "--json").stdout)
    assert (document["open"], document["policy"]) == ([], "warn")
    assert document["closed"][0]["ended"] == "accepted"
    assert planned(monkeypatch, tmp_path) == []
