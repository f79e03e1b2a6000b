"""The command `fenxiang`, as a process in an Airflow home of its own: what it says, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from demo.crm import POOLS, connections_to
from fenxiang_simulator import Simulator
from tests.airflow_fixtures import ROOT

COMMAND = Path(sys.executable).with_name("fenxiang")
GOOD = """
from fenxiang_sync import Field, HubTarget, Pipeline, Source
from fenxiang_sync.airflow import sync_dag
dag = sync_dag(Pipeline(name="good", source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget()))
"""
BAD = """
from fenxiang_sync import Field, HubTarget, Pipeline, Source
from fenxiang_sync.airflow import sync_dag
dag = sync_dag(Pipeline(name="Bad", source=Source(object="Accountobj"), fields=[Field("_id")], target=HubTarget()))
"""

pytestmark = pytest.mark.airflow


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


@dataclass
class Deployment:
    """An Airflow home with a migrated database and DAG files; connections are environment variables."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def dags(self) -> Path:
        return self.home / "dags"

    def write(self, name: str, text: str) -> Path:
        self.dags.mkdir(exist_ok=True)
        (self.dags / name).write_text(text, encoding="utf-8")
        return self.dags / name

    def fenxiang(self, *arguments: str) -> Said:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
        own = {"AIRFLOW_HOME": str(self.home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "COLUMNS": "200"}
        done = subprocess.run(
            [COMMAND, *arguments], env={**inherited, **own, **self.env}, cwd=self.home, capture_output=True, text=True
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def connect(self, connections: Mapping[str, Mapping[str, object]]) -> None:
        for name, fields in connections.items():
            self.env[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(fields)

    def pools(self) -> dict[str, int]:
        with sqlite3.connect(self.home / "airflow.db") as database:
            return dict(database.execute("SELECT pool, slots FROM slot_pool WHERE pool LIKE 'fenxiang-%'"))

    def sql(self, statement: str) -> None:
        with sqlite3.connect(self.home / "airflow.db") as database:
            database.execute(statement)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, records={"AccountObj": 5}) as running:
        yield running


@pytest.fixture
def deployment(airflow_home: Path, tmp_path: Path, simulator: Simulator) -> Deployment:
    """One with everything in order but the pools: the shipped DAG files, and connections to a simulator."""
    shutil.copy(airflow_home / "airflow.db", tmp_path / "airflow.db")
    shutil.copytree(ROOT / "dags", tmp_path / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    made = Deployment(tmp_path)
    port = int(simulator.url.rsplit(":", 1)[1])
    made.connect({str(each.pop("connection_id")): each for each in connections_to(port)})
    return made


def test_setup_makes_the_hub_and_the_pools_and_the_check_then_finds_nothing(deployment: Deployment) -> None:
    before = deployment.fenxiang("check")
    assert before.code == 1
    assert "pool fenxiang-fenxiang-preset is missing" in before.err
    assert "run: fenxiang setup" in before.err

    made = deployment.fenxiang("setup")
    assert (made.code, made.err) == (0, "")
    assert made.out.splitlines() == ["hub      ready", *(f"pool     {name} made, 1 slot" for name in sorted(POOLS))]
    assert deployment.pools() == POOLS, "the demo makes the same"
    assert (deployment.home / "fenxiang_hub.db").exists()

    again = deployment.fenxiang("setup")
    assert (again.code, again.err) == (0, "")
    assert again.out.splitlines()[1:] == [f"pool     {name} was there" for name in sorted(POOLS)]

    good = deployment.fenxiang("check")
    assert (good.code, good.err) == (0, "")
    *notes, last = good.out.splitlines()
    assert last == "3 pipelines, nothing wrong: account, inventory_report, warehouse"
    assert all("only a deep reconcile finds it" in each for each in notes)
    assert list((deployment.home / "fenxiang_stage").iterdir()) == [], "what was tried in the stage is gone"


def test_offline_it_parses_the_files_and_touches_nothing(tmp_path: Path) -> None:
    alone = Deployment(tmp_path)
    alone.write("good.py", GOOD)
    said = alone.fenxiang("check", "--offline")
    assert (said.code, said.out, said.err) == (0, "1 pipelines, nothing wrong: good\n", "")
    assert not {"airflow.db", "fenxiang_hub.db", "fenxiang_stage"} & {path.name for path in tmp_path.iterdir()}


def test_a_broken_file_is_named_with_its_line_and_everything_that_is_wrong(tmp_path: Path) -> None:
    alone = Deployment(tmp_path)
    alone.write("good.py", GOOD)
    bad = alone.write("bad.py", BAD)
    syntax = alone.write("syntax.py", "from fenxiang_sync.airflow import sync_dag\ndag = sync_dag(\n")
    absent = alone.write("absent.py", GOOD.replace("import Field", "import Feild"))
    said = alone.fenxiang("check", "--offline")
    assert (said.code, said.out) == (1, "")
    assert "Traceback" not in said.err
    lines = said.err.splitlines()
    assert lines[0].startswith(f"{absent}, line 2: ")
    assert "Feild" in lines[0]
    assert lines[1] == f"{bad}, line 4: DeclarationError: pipeline 'Bad':"
    assert [line[:8] for line in lines[2:4]] == ["- name='", "- source"]
    assert lines[4] == f"{syntax}, line 2: SyntaxError: '(' was never closed"
    assert len(lines) == 5


def test_a_broken_file_does_not_keep_setup_from_serving_the_others(deployment: Deployment) -> None:
    deployment.write("bad.py", BAD)
    said = deployment.fenxiang("setup")
    assert said.code == 1
    assert deployment.pools() == POOLS
    assert "bad.py, line 4: DeclarationError" in said.err


def test_a_folder_without_a_pipeline_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    said = Deployment(tmp_path).fenxiang("check", "--offline")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"{tmp_path}/dags declares no pipeline; ")


def test_a_folder_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    said = Deployment(tmp_path).fenxiang("check", "nowhere")
    assert said.code == 2
    assert "'nowhere' does not exist" in said.err


@pytest.mark.parametrize("command", ["setup", "check"])
def test_a_database_that_was_not_migrated_is_a_sentence_with_the_way_out(command: str, tmp_path: Path) -> None:
    alone = Deployment(tmp_path)
    alone.write("good.py", GOOD)
    said = alone.fenxiang(command)
    assert said.code == 1
    assert "Traceback" not in said.err
    assert "Airflow's own database cannot be used: no such table" in said.err
    assert "Run `airflow db migrate`" in said.err


def _with_slots(deployment: Deployment) -> None:
    deployment.sql("UPDATE slot_pool SET slots = 4 WHERE pool = 'fenxiang-fenxiang-preset'")


def _without_connection(deployment: Deployment) -> None:
    del deployment.env["AIRFLOW_CONN_WRITE_API"]


def _changed(name: str, **changes: object) -> Callable[[Deployment], None]:
    def change(deployment: Deployment) -> None:
        variable = f"AIRFLOW_CONN_{name.upper()}"
        deployment.env[variable] = json.dumps({**json.loads(deployment.env[variable]), **changes})

    return change


def _set(**settings: str) -> Callable[[Deployment], None]:
    return lambda deployment: deployment.env.update(settings)


def _in_the_way(deployment: Deployment) -> None:
    (deployment.home / "fenxiang_stage").write_text("a file where a folder should be")


Spoils = Callable[[Deployment], None]


@pytest.mark.parametrize(
    "spoiled",
    [
        {
            _with_slots: ["pool fenxiang-fenxiang-preset has 4 slots", "it must have 1", "airflow pools set"],
            _without_connection: ["connection write_api is missing; add it under Admin, Connections"],
            _changed("fenxiang", password="CanaryWrongSecret"): ["connection fenxiang: ", "password (appSecret)"],
            _changed("qeasy", password="CanaryWrongSecret"): ["connection qeasy: ", "password (app_secret)"],
            _in_the_way: ["stage: ", "fenxiang_stage", "AIRFLOW__FENXIANG__STAGE_URL"],
        },
        {_changed("fenxiang", host="http://127.0.0.1", port=9): ["connection fenxiang: ", "127.0.0.1:9"]},
        {_set(AIRFLOW_CONN_FENXIANG_HUB="postgres://u:CanaryHubPassword@127.0.0.1:9/hub"): ["hub: ", "127.0.0.1:9"]},
        {_changed("fenxiang", extra="{}"): ["connection fenxiang: ", "extra permanent_code", "open_user_id"]},
        {_changed("fenxiang", conn_type="http", password="CanaryWrongSecret"): ["password (appSecret)"]},
        {_set(AIRFLOW__FENXIANG__STAGE_URL="/var/stage"): ["settings: ", "stage_url", "file:///var/stage"]},
    ],
    ids=("much", "host", "hub", "extras", "type", "setting"),
)
def test_the_check_names_each_thing_that_is_wrong_and_the_way_out(
    deployment: Deployment, spoiled: dict[Spoils, list[str]]
) -> None:
    for name in POOLS:
        deployment.sql(
            "INSERT INTO slot_pool (pool, slots, description, include_deferred, team_name) "
            f"VALUES ('{name}', 1, '', 0, NULL)"
        )
    for spoil in spoiled:
        spoil(deployment)
    said = deployment.fenxiang("check")
    assert (said.code, said.out) == (1, "")
    lines = said.err.splitlines()
    assert len(lines) == len(spoiled), said.err
    for says in spoiled.values():
        assert [line for line in lines if all(each in line for each in says)], (says, said.err)
    assert "Canary" not in said.err


TABLE = """
from fenxiang_sync import Field, Pipeline, Source, SqlTable, text
from fenxiang_sync.airflow import sync_dag
dag = sync_dag(Pipeline(
    name="table", source=Source(object="AccountObj"), target=SqlTable(connection="warehouse", table="account"),
    fields=[Field("_id", convert=text), Field("name", convert=text)],
))
"""


def test_the_check_asks_the_database_of_a_table_and_makes_nothing(deployment: Deployment) -> None:
    shutil.rmtree(deployment.dags)
    deployment.write("table.py", TABLE)
    file = deployment.home / "warehouse.db"
    deployment.connect({"warehouse": {"conn_type": "sqlite", "host": str(file)}})
    assert "pool     fenxiang-target-warehouse made" in deployment.fenxiang("setup").out
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE account (_id TEXT PRIMARY KEY, name INTEGER)")
    said = deployment.fenxiang("check")
    assert said.code == 1
    assert "target SQL table account (connection warehouse): Table account of the SQLite file" in said.err
    assert "column 'name' is INTEGER, which does not hold every value of a text" in said.err
    with sqlite3.connect(file) as database:
        assert len(database.execute("SELECT * FROM pragma_table_info('account')").fetchall()) == 2
        database.execute("DROP TABLE account")
    good = deployment.fenxiang("check")
    assert (good.code, good.err) == (0, "")
    assert "1 pipelines, nothing wrong: table" in good.out


def test_without_a_command_it_says_what_there_is(tmp_path: Path) -> None:
    said = Deployment(tmp_path).fenxiang()
    assert said.code == 2
    assert "setup" in said.out + said.err
    assert "check" in said.out + said.err
