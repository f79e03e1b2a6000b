"""The token that everybody shares, in an Airflow Variable."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync.airflow.tokens import SharedTokenStore
from fenxiang_sync.source.auth import Credentials, Style, Token
from tests.airflow_fixtures import ROOT
from tests.hub_fixtures import hub_file

CANARY = "CAT0canary7f3a9b"
CREDENTIALS = Credentials(
    app_id="FSAID_demo001", app_secret="secret-canary-51", permanent_code="code-canary-88", acting_user="FSUID_1"
)
TOKEN = Token(CANARY, "FSCID_demo", issued_at=1_000.0, expires_in=7200.0, asked_at=1_000.5)


@pytest.fixture
def hub_url(tmp_path: Path) -> str:
    return f"sqlite:///{hub_file(tmp_path)}"


@pytest.fixture
def store(airflow_home: Path, hub_url: str) -> SharedTokenStore:
    return store_of(CREDENTIALS, hub_url)


def store_of(credentials: Credentials, hub_url: str, base_url: str = "https://open.fxiaoke.com") -> SharedTokenStore:
    return SharedTokenStore(base_url=base_url, credentials=credentials, hub_url=lambda: hub_url)


def test_what_one_saves_all_load(store: SharedTokenStore, hub_url: str) -> None:
    store.save(TOKEN)
    assert store_of(CREDENTIALS, hub_url).load() == TOKEN


def test_there_is_none_before_the_first(airflow_home: Path, hub_url: str) -> None:
    assert store_of(replace(CREDENTIALS, app_id="FSAID_never_seen"), hub_url).load() is None


@pytest.mark.parametrize(
    "other",
    [
        replace(CREDENTIALS, app_id="FSAID_other"),
        replace(CREDENTIALS, app_secret="rotated"),
        replace(CREDENTIALS, permanent_code="other-tenant"),
        replace(CREDENTIALS, style=Style.HEADER),
    ],
)
def test_other_credentials_have_another_token(store: SharedTokenStore, hub_url: str, other: Credentials) -> None:
    assert store_of(other, hub_url).key != store.key


def test_another_host_has_another_token(store: SharedTokenStore, hub_url: str) -> None:
    assert store_of(CREDENTIALS, hub_url, "https://open-hwcloud.fxiaoke.com").key != store.key
    assert store_of(CREDENTIALS, hub_url, "https://OPEN.fxiaoke.com/").key == store.key


def test_the_acting_user_is_no_part_of_it(store: SharedTokenStore, hub_url: str) -> None:
    assert store_of(replace(CREDENTIALS, acting_user="FSUID_2"), hub_url).key == store.key


def test_airflow_hides_the_value_by_its_name(store: SharedTokenStore) -> None:
    from airflow.sdk._shared.secrets_masker import should_hide_value_for_key

    assert should_hide_value_for_key(store.key)


def test_neither_token_nor_credentials_can_be_read_from_the_variable(store: SharedTokenStore) -> None:
    from airflow.models.variable import Variable

    store.save(TOKEN)
    held = f"{store.key} {Variable.get(store.key)}"
    for secret in (CANARY, CREDENTIALS.app_secret, CREDENTIALS.permanent_code):
        assert secret not in held


def test_the_token_is_masked_in_logs(store: SharedTokenStore) -> None:
    from airflow.sdk.log import redact

    store.save(replace(TOKEN, value="CAT0another5d2"))
    assert redact("got CAT0another5d2") == "got ***"


def test_a_variable_that_somebody_wrote_over_is_no_token(store: SharedTokenStore, caplog: Any) -> None:
    from airflow.models.variable import Variable

    Variable.set(store.key, "written by hand")
    assert store.load() is None
    assert store.key in caplog.text


def test_one_holder_at_a_time_has_the_lease(store: SharedTokenStore, hub_url: str) -> None:
    inside: list[int] = []
    most: list[int] = []

    def hold(number: int) -> None:
        with store_of(CREDENTIALS, hub_url).lease():
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.02)
            inside.remove(number)

    threads = [threading.Thread(target=hold, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


TASK = """
import os
from airflow.sdk import DAG, task
with DAG("token_in_a_task", schedule=None):
    @task
    def use():
        from fenxiang_sync.airflow.connections import Place
        from fenxiang_sync.airflow.tokens import SharedTokenStore
        from fenxiang_sync.source.auth import Credentials, Token
        credentials = Credentials(
            app_id="FSAID_task",
            app_secret=os.environ["APP_SECRET"],
            permanent_code=os.environ["PERMANENT_CODE"],
            acting_user="FSUID_1",
        )
        store = SharedTokenStore(base_url="https://x", credentials=credentials, hub_url=lambda: os.environ["HUB_URL"])
        assert Place.here() is Place.TASK
        assert store.load() is None
        with store.lease():
            store.save(Token(os.environ["TOKEN"], "FSCID_demo", 1000.0, 7200.0))
        assert store.load().value == os.environ["TOKEN"]
        return store.key
    use()
"""


@pytest.mark.airflow
def test_in_a_task_it_works_through_the_execution_api_and_shows_nothing_at_debug(
    airflow_home: Path, hub_url: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    database = home / "airflow.db"
    with sqlite3.connect(airflow_home / "airflow.db") as source, sqlite3.connect(database) as copy:
        source.backup(copy)
    (home / "dags").mkdir()
    (home / "dags" / "token.py").write_text(TASK)
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        "HUB_URL": hub_url,
        "TOKEN": CANARY,
        "APP_SECRET": CREDENTIALS.app_secret,
        "PERMANENT_CODE": CREDENTIALS.permanent_code,
        "PYTHONPATH": str(ROOT / "plugins"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "dags", "test", "token_in_a_task"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    logs = "".join(log.read_text() for log in home.rglob("*.log"))
    # `dags test` alone logs what it is told to mask; a real supervisor leaves the body of that message out.
    lines = (done.stdout + done.stderr + logs).splitlines()
    said = "\n".join(line for line in lines if "MaskSecret(" not in line)
    assert done.returncode == 0, said[-4000:]
    assert "PutVariable" in said, "the messages of a task are no longer logged at DEBUG: this test sees nothing"
    for secret in (CANARY, CREDENTIALS.app_secret, CREDENTIALS.permanent_code):
        assert secret not in said
        assert secret.encode() not in database.read_bytes()
