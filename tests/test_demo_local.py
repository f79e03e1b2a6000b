"""The home of a local Airflow: its own settings, its own secrets, one Airflow at a time."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from demo.local import HomeInUseError, LocalAirflow, free_port, is_free


@pytest.fixture
def airflow(tmp_path: Path) -> LocalAirflow:
    """Not started; its home is laid out."""
    local = LocalAirflow(tmp_path / "home", dags=tmp_path)
    local.prepare_home()
    local.stop()
    return local


def test_the_secrets_are_generated_and_only_their_owner_reads_them(airflow: LocalAirflow) -> None:
    environment = airflow.environment

    assert len(urlsafe_b64decode(environment["AIRFLOW__CORE__FERNET_KEY"])) == 32
    assert len(environment["AIRFLOW__API_AUTH__JWT_SECRET"]) >= 64
    assert json.loads(airflow.password_file.read_text()) == {"admin": airflow.password}
    assert airflow.home.stat().st_mode & 0o077 == 0
    for path in (airflow.home / "secrets.json", airflow.password_file):
        assert path.stat().st_mode & 0o077 == 0


def test_the_secrets_stay_the_same_from_start_to_start_and_differ_between_homes(
    airflow: LocalAirflow, tmp_path: Path
) -> None:
    again = LocalAirflow(airflow.home, dags=tmp_path)
    again.prepare_home()
    again.stop()
    other = LocalAirflow(tmp_path / "other", dags=tmp_path)
    other.prepare_home()
    other.stop()

    assert again.environment["AIRFLOW__CORE__FERNET_KEY"] == airflow.environment["AIRFLOW__CORE__FERNET_KEY"]
    assert again.password == airflow.password
    assert other.environment["AIRFLOW__CORE__FERNET_KEY"] != airflow.environment["AIRFLOW__CORE__FERNET_KEY"]


def test_nothing_of_another_airflow_gets_in(airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", "/elsewhere")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql:///production")
    monkeypatch.setenv("AIRFLOW_CONN_FENXIANG", "fenxiang://production")

    environment = airflow.environment

    assert environment["AIRFLOW_HOME"] == str(airflow.home)
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith(f"sqlite:///{airflow.home}/airflow.db")
    assert "AIRFLOW_CONN_FENXIANG" not in environment


def test_a_proxy_of_the_machine_is_not_asked_for_loopback(
    airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "example.com")

    assert airflow.environment["NO_PROXY"] == "example.com,127.0.0.1,localhost"


def test_a_second_airflow_in_the_same_home_is_refused_with_the_process_that_has_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(home)], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        second = LocalAirflow(home, dags=tmp_path)

        with pytest.raises(HomeInUseError, match=rf"already runs in {home}, started by process {holder.pid}: stop"):
            second.prepare_home()
    finally:
        holder.kill()
        holder.communicate()

    third = LocalAirflow(home, dags=tmp_path)
    third.prepare_home()
    third.stop()


HOLD = """
import sys
from pathlib import Path
from demo.local import LocalAirflow
airflow = LocalAirflow(Path(sys.argv[1]), dags=Path())
airflow.prepare_home()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_free_port_is_free() -> None:
    assert is_free(free_port())


@pytest.mark.slow
def test_a_database_that_is_busy_for_longer_than_sqlite_waits_by_itself_is_waited_for(airflow: LocalAirflow) -> None:
    engine = create_engine(airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (a INTEGER)"))
    other = sqlite3.connect(airflow.home / "airflow.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(6, other.rollback)
    release.start()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    release.join()
    other.close()
    engine.dispose()
