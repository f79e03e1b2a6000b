"""A pipeline that reads Kingdee, as Airflow runs it: its DAG file, its tasks, its pool and what `check` says of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fenxiang_simulator import Simulator
from fenxiang_sync import KingdeeBatchSave
from fenxiang_sync.airflow import sync_dag
from fenxiang_sync.airflow.fitness import Fitness
from fenxiang_sync.hub import Hub
from tests.airflow_fixtures import ConnectionSetter
from tests.cli_fixtures import fenxiang
from tests.hub_fixtures import hub_file
from tests.kingdee_fixtures import CONNECTION, MATERIAL, material

FILE = """
from fenxiang_sync import Field, HubTarget, KingdeeSource, Pipeline
from fenxiang_sync.airflow import sync_dag

dag = sync_dag(
    Pipeline(
        name="material",
        source=KingdeeSource(form="BD_MATERIAL", id="FMATERIALID"),
        fields=[Field("_id"), Field("FNumber", "number"), Field("FBaseUnitId.FNumber", "unit")],
        target=HubTarget(),
        number="FNumber",
    )
)
"""

pytestmark = pytest.mark.usefixtures("airflow_home")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(only="targets") as running:
        running.targets.kingdee.fill(MATERIAL, 120)
        yield running


@pytest.fixture
def hub(simulator: Simulator, connection: ConnectionSetter, tmp_path: Path) -> str:
    """The URL of the hub of this test, which has the connections to it and to Kingdee."""
    fields: dict[str, Any] = {"conn_type": "http", "host": f"{simulator.url}/k3cloud", **CONNECTION}
    connection("kingdee", **fields)
    connection("fenxiang_hub", conn_type="sqlite", host=str(hub_file(tmp_path)))
    return f"sqlite:///{hub_file(tmp_path)}"


@pytest.fixture
def dags(airflow_home: Path) -> Iterator[Path]:
    """Airflow's own folder of DAG files: a DAG must be in it to run."""
    folder = airflow_home / "dags"
    folder.mkdir()
    (folder / "material.py").write_text(FILE)
    yield folder
    shutil.rmtree(folder)


def test_a_run_reads_the_form_delivers_it_and_certifies(hub: str, dags: Path, simulator: Simulator) -> None:
    from airflow.dag_processing.dagbag import DagBag

    dag = DagBag(str(dags)).dags["material"]
    run = dag.test(run_conf={"full": True})
    assert run.state == "success"
    with Hub.connect(hub) as opened:
        held = {record.id: record.content for record in opened.records("material")}
        [window] = opened.certified("material")
    assert {key: (content or {})["number"] for key, content in held.items()} == {
        str(bill.id): bill.number for bill in simulator.targets.kingdee.bills(MATERIAL)
    }
    assert window.since_ms == 0


def test_all_that_call_one_kingdee_share_one_pool() -> None:
    dag = sync_dag(material(target=KingdeeBatchSave(form="BD_MATERIAL", upserts=True)))
    pools = {task.task_id: task.pool for task in dag.tasks}
    called = {"plan", "segment.extract", "segment.load", "verify"}
    assert {pools[name] for name in called} == {"fenxiang-target-kingdee"}
    assert pools["segment.transform"] == "default_pool"


def test_check_asks_kingdee_whether_it_knows_the_fields(hub: str, dags: Path) -> None:
    good, bad = Fitness(dags), Fitness(dags)
    good.ask([material()])
    bad.ask([material(source={"where": "FNone = 1"})])
    assert good.problems == []
    assert "pipeline material: " in bad.problems[0]
    assert "字段FNone不存在" in bad.problems[0]


def test_a_preview_shows_documents_beside_what_they_become(hub: str, dags: Path) -> None:
    said = fenxiang("preview", "material", "--rows", "2", "--since", "2026-01-01T00:00:00Z", "--dags", dags)
    assert said.exit_code == 0, said
    assert "material: BD_MATERIAL (kingdee) → " in said.stdout
    assert "FBaseUnitId.FNumber" in said.stdout
    assert "the source does not tell how many records there are" in said.stdout


def test_what_kingdee_does_not_describe_cannot_drift(hub: str, dags: Path) -> None:
    said = fenxiang("drift", "material", "--dags", dags)
    assert (said.exit_code, said.stdout) == (2, "")
    assert "pipeline 'material' does not read Fenxiang" in said.stderr


def test_a_connection_that_is_missing_is_named(dags: Path) -> None:
    asked = Fitness(dags)
    asked.ask([material(source={"connection": "erp"})])
    assert "'erp' does not exist" in asked.problems[0]
