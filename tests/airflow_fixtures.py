"""An Airflow home for the tests, with a migrated SQLite database of its own for each file that needs one."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.hub_fixtures import hub_file

if TYPE_CHECKING:
    from fenxiang_simulator import Simulator

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(tempfile.mkdtemp(prefix="fenxiang-airflow-"))

assert "airflow" not in sys.modules, "Airflow was imported before its home was set"
for name in [name for name in os.environ if name.startswith(("AIRFLOW", "_AIRFLOW"))]:
    del os.environ[name]
os.environ.update(
    AIRFLOW_HOME=str(HOME),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__PLUGINS_FOLDER=str(ROOT / "plugins"),
    AIRFLOW__CORE__DAGS_FOLDER=str(HOME / "dags"),
    AIRFLOW__CORE__FERNET_KEY="81HqDtbqAywKSOumSha3BhWNOdQ26slT6K0YaZeZyPs=",
)


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_database(pytestconfig: pytest.Config) -> Path:
    """A database as `airflow db migrate` makes it, to be copied: making it takes four seconds. It is kept between
    sessions."""
    template = Path(pytestconfig.cache.mkdir("airflow")) / f"{version('apache-airflow-core')}-bare.db"
    with template.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process makes it, the others wait for it
        if not template.exists():
            _make(template)
    return template


@pytest.fixture(scope="module")
def airflow_home(airflow_database: Path) -> Path:
    """The home, with a database of its own for one file of tests: no other file's DAGs are in it, in whatever order and
    process the files run."""
    from airflow import settings

    for left in HOME.glob("airflow.db*"):  # another file's, or made by looking for a connection
        left.unlink()
    shutil.copy(airflow_database, HOME / "airflow.db")
    settings.get_engine().dispose()
    return HOME


def _make(template: Path) -> None:
    fresh = HOME / "template"
    own = {"AIRFLOW_HOME": str(fresh), "AIRFLOW__CORE__PLUGINS_FOLDER": str(fresh)}
    environment = {**os.environ, **own, "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False"}
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(command, env=environment, check=True, capture_output=True, cwd=HOME)
    part = template.with_suffix(".part")
    with sqlite3.connect(fresh / "airflow.db") as source, sqlite3.connect(part) as copy:
        source.backup(copy)
    part.replace(template)


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> ConnectionSetter:
    """Sets Airflow connections for one test: ``connection("qeasy", conn_type="http", host="…")``."""
    return ConnectionSetter(monkeypatch)


@pytest.fixture
def fenxiang(
    simulator: Simulator, connection: ConnectionSetter, airflow_home: Path, tmp_path: Path
) -> Mapping[str, Any]:
    """The fields of a good connection, set under the name `fenxiang`; the hub is this test's own."""
    connection("fenxiang_hub", conn_type="sqlite", host=str(hub_file(tmp_path)))
    fields: dict[str, Any] = {
        "conn_type": "fenxiang",
        "host": simulator.url,
        "login": "FSAID_demo001",
        "password": "demo-secret",
        "extra": {
            "permanent_code": "demo-perm",
            "open_user_id": "FSUID_demo0000000000000000000000001",
            "calls": 10_000,
            "per_seconds": 1,
        },
    }
    connection("fenxiang", **fields)
    return fields


class ConnectionSetter:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, conn_id: str, **fields: object) -> None:
        self._monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
