"""The calls of the day are counted for all who share the quota, cheaply, and stop where somebody set a limit."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import RetryAction

from fenxiang_simulator import Simulator
from fenxiang_sync import Field, HubTarget, Pipeline, Source
from fenxiang_sync.airflow import FenxiangHook, sync_dag
from fenxiang_sync.airflow.retries import FenxiangRetryPolicy
from fenxiang_sync.airflow.settings import Settings
from fenxiang_sync.errors import QuotaError, SetupError, TransientError
from fenxiang_sync.hub import DayCalls, Hub
from fenxiang_sync.source import Meter
from tests.airflow_fixtures import ConnectionSetter
from tests.hub_fixtures import DATABASES, NOW, hub_database
from tests.source_fixtures import client_of
from tests.source_fixtures import simulator as crm


class Book:
    """What meters have stored, and how often they did."""

    def __init__(self) -> None:
        self.days: dict[str, int] = {}
        self.writes = 0
        self.fails = False

    def add(self, day: str, calls: int) -> int:
        self.writes += 1
        if self.fails:
            raise TransientError("The hub cannot be used now.")
        self.days[day] = self.days.get(day, 0) + calls
        return self.days[day]


NOON = datetime(2026, 11, 23, 4, tzinfo=UTC).timestamp()
"""Noon in Shanghai."""


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture(params=DATABASES)
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with hub_database(request.param, tmp_path) as url, Hub.connect(url) as hub:
        yield hub


def test_a_thousand_calls_are_all_counted_with_a_few_writes(book: Book) -> None:
    meter = Meter(book.add, connection="fenxiang", now=lambda: NOON)
    for _ in range(1_000):
        meter.count()
    meter.close()
    assert book.days == {"2026-11-23": 1_000}
    assert book.writes < 30


def test_a_day_ends_at_midnight_in_shanghai(book: Book) -> None:
    clock = SimpleNamespace(now=datetime(2026, 11, 23, 15, 59, 59, tzinfo=UTC).timestamp())
    meter = Meter(book.add, connection="fenxiang", now=lambda: clock.now)
    meter.count()
    meter.count()
    clock.now += 1
    meter.count()
    meter.close()
    assert book.days == {"2026-11-23": 2, "2026-11-24": 1}


def test_from_80_percent_on_it_warns_once_and_goes_on(book: Book, caplog: pytest.LogCaptureFixture) -> None:
    meter = Meter(book.add, connection="fenxiang", quota=1_000, now=lambda: NOON)
    for _ in range(1_200):
        meter.count()
    [warning] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "800 of the 1,000 calls that connection 'fenxiang' may make today are used (80 %)" in warning.getMessage()


def test_it_stops_at_the_limit_and_not_one_call_later(book: Book) -> None:
    meter = Meter(book.add, connection="fenxiang", limit=130, now=lambda: NOON)
    for _ in range(130):
        meter.count()
    with pytest.raises(QuotaError, match=r"130 calls were made today, and extra day_limit of connection 'fenxiang'"):
        meter.count()
    assert book.days == {"2026-11-23": 130}


def test_what_others_have_called_before_counts_at_the_first_call(book: Book) -> None:
    book.days["2026-11-23"] = 500
    with pytest.raises(QuotaError):
        Meter(book.add, connection="fenxiang", limit=500, now=lambda: NOON).count()
    assert book.days == {"2026-11-23": 500}


def test_a_hub_that_does_not_answer_stops_no_call_and_loses_none(book: Book, caplog: pytest.LogCaptureFixture) -> None:
    book.fails = True
    meter = Meter(book.add, connection="fenxiang", now=lambda: NOON)
    for _ in range(10):
        meter.count()
    assert "could not be counted now" in caplog.text
    book.fails = False
    meter.close()
    assert book.days == {"2026-11-23": 10}


def test_the_hub_adds_by_app_day_and_connection_and_tells_what_the_app_has_used(hub: Hub) -> None:
    def add(connection: str, calls: int, day: str = "2026-11-23", app: str = "host/app") -> int:
        return hub.add_calls(DayCalls(app=app, day=day, connection=connection, calls=calls), now=NOW)

    assert [add("one", 5), add("two", 7), add("one", 1), add("one", 0)] == [5, 12, 13, 13]
    assert add("one", 3, day="2026-11-22") == 3
    assert add("one", 4, app="host/other") == 4
    assert [(each.day, each.app, each.connection, each.calls) for each in hub.calls("2026-11-23")] == [
        ("2026-11-23", "host/app", "one", 6),
        ("2026-11-23", "host/app", "two", 7),
        ("2026-11-23", "host/other", "one", 4),
    ]


def test_every_request_of_a_client_is_counted_also_those_that_are_tried_again(book: Book) -> None:
    with crm() as server:
        client = client_of(server, meter=Meter(book.add, connection="fenxiang"))
        server.faults.next("busy", 2, path="object/list")
        for _ in range(20):
            client.objects()
        client.close()
        assert sum(book.days.values()) == client.calls.total() == 22


class TestInADag:
    @pytest.fixture
    def simulator(self) -> Iterator[Simulator]:
        with Simulator(seed=7, records={"AccountObj": 5}) as running:
            yield running

    @pytest.fixture(autouse=True)
    def stage(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")

    def plan(self) -> None:
        now = datetime.now(UTC)
        account = Pipeline(
            name="account", source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget()
        )
        run = SimpleNamespace(dag_id="account", run_id="manual__1", run_type="manual", run_after=now, start_date=now)
        ti = SimpleNamespace(dag_id="account", xcom_push=lambda **_: None)
        sync_dag(account).get_task("plan").execute({"ti": ti, "dag_run": run, "params": {}})

    def counted(self) -> list[DayCalls]:
        with Hub.connect(Settings.load().hub_url()) as hub:
            return hub.calls("2000-01-01")

    def test_the_calls_of_a_task_are_in_the_hub_when_it_ends(
        self, fenxiang: Mapping[str, Any], simulator: Simulator
    ) -> None:
        self.plan()
        [made] = self.counted()
        asked = [path for path in simulator.requests if "oken" not in path]
        assert made.connection == "fenxiang"
        assert made.app == f"{simulator.url.removeprefix('http://')}/FSAID_demo001"
        assert made.calls == sum(simulator.requests[path] for path in asked) > 1

    def test_a_limit_fails_the_task_with_one_try(
        self, fenxiang: Mapping[str, Any], connection: ConnectionSetter
    ) -> None:
        self.plan()
        [made] = self.counted()
        connection("fenxiang", **{**fenxiang, "extra": {**fenxiang["extra"], "day_limit": made.calls + 1}})
        with pytest.raises(QuotaError) as raised:
            self.plan()
        assert self.counted()[0].calls == made.calls + 1
        assert FenxiangRetryPolicy().evaluate(raised.value, 1, 5).action is RetryAction.FAIL
        assert FenxiangHook("fenxiang").test_connection()[0], "who tests the connection is not held up"

    @pytest.mark.parametrize("knob", [{"day_quota": 1}, {"quota_pack": False}])
    def test_a_spent_quota_is_asked_once_and_not_tried_again(
        self, knob: dict[str, Any], fenxiang: Mapping[str, Any], simulator: Simulator
    ) -> None:
        for name, value in knob.items():
            setattr(simulator.knobs, name, value)
        with pytest.raises(QuotaError) as raised:
            self.plan()
        asked = sum(simulator.requests.values())
        assert FenxiangRetryPolicy().evaluate(raised.value, 1, 5).action is RetryAction.FAIL
        assert raised.value.code in (30002, 30003)
        assert asked <= 1 + 2, "the call that was allowed, the token, and one that was refused"

    @pytest.mark.parametrize("value", ["many", 0, 1.5])
    def test_a_quota_that_is_no_number_is_said(
        self, value: object, fenxiang: Mapping[str, Any], connection: ConnectionSetter
    ) -> None:
        connection("fenxiang", **{**fenxiang, "extra": {**fenxiang["extra"], "day_quota": value}})
        with pytest.raises(SetupError, match="extra day_quota"):
            self.plan()
