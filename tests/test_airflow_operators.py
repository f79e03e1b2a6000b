"""FenxiangQueryOperator reads a window into files; a pipeline's failed task says why where people look."""

from __future__ import annotations

import gzip
import json
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fenxiang_simulator import Simulator
from fenxiang_sync import Field, Filter, HubTarget, Operator, Pipeline, Source
from fenxiang_sync.airflow import FenxiangQueryOperator, sync_dag
from fenxiang_sync.airflow.deployment import Deployment
from fenxiang_sync.airflow.operators import FAILURE, ExtractOperator, LoadOperator, PlanOperator, TransformOperator
from fenxiang_sync.errors import ParamError, RefusedError
from tests.airflow_fixtures import ConnectionSetter

SINCE, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


class TaskInstance(SimpleNamespace):
    """What an operator uses of a task instance."""

    dag_id, task_id, map_index = "mine", "accounts", -1

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed = {**getattr(self, "pushed", {}), key: value}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, records={"AccountObj": 250, "ProductObj": 20}) as running:
        yield running


@pytest.fixture(autouse=True)
def stage(fenxiang: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")
    return tmp_path / "stage"


def context(run_id: str = "manual__1", **more: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    run = SimpleNamespace(dag_id="mine", run_id=run_id, run_type="manual", run_after=now, start_date=now)
    return {"ti": TaskInstance(), "dag_run": run, "params": {}, **more}


def read(path: str) -> list[dict[str, Any]]:
    files = sorted(Path(path).glob("records-*.ndjson.gz"))
    return [json.loads(line) for file in files for line in gzip.open(file)]


def accounts(**words: Any) -> FenxiangQueryOperator:
    return FenxiangQueryOperator(**{"task_id": "accounts", "object_name": "AccountObj", "fields": ["name"], **words})


def test_a_window_becomes_files_and_the_task_returns_where_they_are(simulator: Simulator) -> None:
    told = accounts(since=SINCE, until=UNTIL).execute(context())
    records = read(told["path"])
    assert told["records"] == len(records) == 250
    assert {record["_id"] for record in records} == set(simulator.tenant.visible("AccountObj"))
    assert set(records[0]) == {"_id", "last_modified_time", "name"}
    assert (told["since"], told["until"]) == ("2026-01-01T00:00:00.000+00:00", "2026-12-01T00:00:00.000+00:00")


def test_the_window_is_by_default_the_data_interval_of_the_run() -> None:
    told = accounts().execute(context(data_interval_start=SINCE, data_interval_end=UNTIL))
    assert told["records"] == 250


def test_templated_bounds_are_texts_with_a_zone() -> None:
    told = accounts(since="2026-01-01T08:00:00+08:00", until="2026-12-01T00:00:00Z").execute(context())
    assert told["since"] == "2026-01-01T00:00:00.000+00:00"
    assert "since" in FenxiangQueryOperator.template_fields


def test_a_run_without_an_interval_is_told_what_to_give() -> None:
    with pytest.raises(ParamError, match="no data interval; give since="):
        accounts().execute(context())


def test_a_bound_without_a_zone_is_refused() -> None:
    with pytest.raises(ParamError, match="since='2026-01-01' is no moment with a time zone"):
        accounts(since="2026-01-01", until=UNTIL).execute(context())


def test_filters_are_asked_of_the_server(simulator: Simulator) -> None:
    told = accounts(since=SINCE, until=UNTIL, filters=[Filter("life_status", Operator.EQ, ["normal"])]).execute(
        context()
    )
    normal = [r for r in simulator.tenant.visible("AccountObj").values() if r["life_status"] == "normal"]
    assert told["records"] == len(normal) < 250


def test_an_unknown_object_fails_with_what_fenxiang_says_and_leaves_the_reason_for_the_ui() -> None:
    pipeline = Pipeline(name="nothing", source=Source(object="nothing__c"), fields=[Field("_id")], target=HubTarget())
    here = context()
    with pytest.raises(RefusedError, match="nothing__c"):
        sync_dag(pipeline).get_task("plan").execute(here)
    assert "nothing__c" in here["ti"].pushed[FAILURE]
    (run,) = Deployment().hub.runs("nothing")
    assert (run.state, run.numbers["task"]) == ("failed", "plan")
    assert "nothing__c" in run.numbers["reason"]


@pytest.fixture
def account() -> Pipeline:
    return Pipeline(name="account", source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget())


def test_a_wrong_secret_is_told_as_that_and_not_as_an_object_that_is_not_there(
    account: Pipeline, fenxiang: Mapping[str, Any], connection: ConnectionSetter
) -> None:
    connection("fenxiang", **{**fenxiang, "password": "wrong"})
    here = context()
    with pytest.raises(RefusedError, match=r"^Mend password"):
        sync_dag(account).get_task("plan").execute(here)
    assert "API name" not in here["ti"].pushed[FAILURE]


def test_the_log_of_a_failed_task_ends_with_the_reason_and_not_with_a_page_of_files(
    account: Pipeline, fenxiang: Mapping[str, Any], connection: ConnectionSetter
) -> None:
    connection("fenxiang", **{**fenxiang, "password": "wrong"})
    with pytest.raises(RefusedError) as raised:
        sync_dag(account).get_task("plan").execute(context())
    told = "".join(traceback.format_exception(raised.value))
    assert "operators.py" in told
    assert not any(deeper in told for deeper in ("client.py", "auth.py", "tenacity", "direct cause"))


def test_the_log_of_a_task_says_what_was_done(account: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="fenxiang_sync")
    sync_dag(account).get_task("plan").execute(context(params={"full": True}))
    assert "segments to read: 1" in caplog.text


def test_what_the_hub_keeps_is_not_got_again_by_the_task_of_another_run(simulator: Simulator) -> None:
    source = Source(object="ProductObj", get_fields=["description__c"])
    product = Pipeline(
        name="product", source=source, fields=[Field("_id"), Field("description__c")], target=HubTarget()
    )
    for run_id in ("manual__1", "manual__2"):
        here = context(run_id, params={"full": True})
        [segment] = PlanOperator(task_id="plan", pipeline=product).execute(here)
        for step in (ExtractOperator, TransformOperator, LoadOperator):
            step(task_id=step.__name__, pipeline=product, segment=segment).execute(here)
        assert simulator.requests["/cgi/crm/v2/data/get"] == 20
