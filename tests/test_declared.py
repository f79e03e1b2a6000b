"""What the hub remembers of declarations, for the pages, which have no DAG file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pendulum
import pytest

from fenxiang_sync import Lookback
from fenxiang_sync.airflow.journal import Journal
from fenxiang_sync.coverage import Coverage
from fenxiang_sync.declared import Declared
from fenxiang_sync.hub import Hub
from fenxiang_sync.steps import Asked, Kind
from fenxiang_sync.window import Window
from tests.hub_fixtures import DATABASES, hub_database, hub_file
from tests.steps_fixtures import Bench, at, bench, pipeline


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, AccountObj=5) as made:
        yield made


@pytest.mark.parametrize("kind", DATABASES)
def test_it_comes_back_as_it_was(kind: str, tmp_path: Path) -> None:
    account = Declared.of(pipeline(title="客户", start=at(1), schedule=None), "account")
    other = Declared.of(pipeline(name="b_100", source={"lookback": timedelta(hours=2)}), "dag_of_another_name")
    with hub_database(kind, tmp_path) as url, Hub.connect(url) as hub:
        hub.revise("pipelines that are none", lambda *_: {"number": 1})
        account.note(hub)
        Declared.of(pipeline(name="b_100"), "dag_of_another_name").note(hub)
        other.note(hub)
        assert Declared.all(hub) == {"account": account, "b_100": other}
    assert (other.lookback, account.start) == (timedelta(hours=2), at(1))


def test_a_start_that_pendulum_made_is_remembered_too(tmp_path: Path) -> None:
    start = pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai")
    account = Declared.of(pipeline(start=start), "account")
    with Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub:
        account.note(hub)
        assert Declared.all(hub)["account"].start == start


def test_a_run_tells_it_when_it_has_planned(crm: Bench) -> None:
    account = pipeline(lookbacks=[Lookback(schedule="@daily", over=timedelta(days=1))])
    dag_run = SimpleNamespace(dag_id="account", run_id="one", run_type="manual", start_date=crm.now())
    of_lookback = SimpleNamespace(dag_id="account.lookback-1d", run_id="one", run_type="manual", start_date=crm.now())

    run = crm.run(account, "lookback-1d.one")
    made = crm.plan(run, Asked(kind=Kind.LOOKBACK, over=timedelta(days=1)))
    Journal(crm.hub, run, of_lookback).started(made)
    assert Declared.all(crm.hub) == {}, "the DAG of a lookback is not the pipeline's"

    run = crm.run(account, "one")
    Journal(crm.hub, run, dag_run).started(crm.plan(run, Asked(kind=Kind.MANUAL)))
    assert Declared.all(crm.hub) == {"account": Declared.of(account, "account")}


def test_a_gap_is_closed_by_a_run_of_the_dag_whatever_its_name() -> None:
    declared = Declared.of(pipeline(start=at(1)), "nightly")
    coverage = Coverage.of(declared, [Window.between(at(2), at(3))], dag_id=declared.dag_id)
    assert coverage.command(coverage.gaps[0]).startswith("airflow dags trigger nightly --conf ")
