"""What a deployment sets, and what holds where it sets nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from fenxiang_sync.airflow.settings import OPTIONS, Settings
from fenxiang_sync.errors import SetupError
from tests.airflow_fixtures import HOME, ConnectionSetter


def test_without_any_setting_everything_is_in_the_airflow_home() -> None:
    settings = Settings.load()
    assert settings.stage_url == f"file://{HOME}/fenxiang_stage"
    assert settings.hub_url() == f"sqlite:///{HOME}/fenxiang_hub.db"
    assert settings.stage_retention_days == 7
    assert (settings.records_retention_days, settings.events_retention_days) == (30, 180)
    assert settings.most_segments == 1024


def test_each_option_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}")
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_RETENTION_DAYS", "14")
    monkeypatch.setenv("AIRFLOW__FENXIANG__RECORDS_RETENTION_DAYS", "90")
    monkeypatch.setenv("AIRFLOW__FENXIANG__EVENTS_RETENTION_DAYS", "365")
    monkeypatch.setenv("AIRFLOW__FENXIANG__HUB_CONN_ID", "elsewhere")
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "50")
    assert Settings.load() == Settings(
        stage_url=f"file://{tmp_path}",
        stage_retention_days=14,
        records_retention_days=90,
        events_retention_days=365,
        hub_conn_id="elsewhere",
        most_segments=50,
    )
    assert [option.variable for option in OPTIONS] == [
        "AIRFLOW__FENXIANG__STAGE_URL",
        "AIRFLOW__FENXIANG__STAGE_RETENTION_DAYS",
        "AIRFLOW__FENXIANG__RECORDS_RETENTION_DAYS",
        "AIRFLOW__FENXIANG__EVENTS_RETENTION_DAYS",
        "AIRFLOW__FENXIANG__HUB_CONN_ID",
    ]


def test_the_stage_is_a_folder_that_can_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")
    file = Settings.load().stage_root() / "one"
    file.parent.mkdir(parents=True)
    file.write_text("1")
    assert (tmp_path / "stage" / "one").read_text() == "1"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("STAGE_RETENTION_DAYS", "0"), ("STAGE_RETENTION_DAYS", "a week"), ("STAGE_URL", "/data/stage")],
)
def test_a_value_of_no_use_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"AIRFLOW__FENXIANG__{variable}", value)
    with pytest.raises(SetupError) as raised:
        Settings.load()
    assert value in str(raised.value)
    assert f"AIRFLOW__FENXIANG__{variable}" in str(raised.value)


def test_a_storage_without_a_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", "nosuchstore://bucket/x")
    with pytest.raises(SetupError, match="nosuchstore"):
        Settings.load().stage_root()


def test_the_hub_is_where_its_connection_says(connection: ConnectionSetter) -> None:
    connection(
        "fenxiang_hub",
        conn_type="postgres",
        host="db",
        port=5433,
        login="hub",
        password="p@ss/word:%",
        schema="fenxiang",
        extra={"sslmode": "require"},
    )
    url = make_url(Settings.load().hub_url())
    assert (url.drivername, url.host, url.port, url.database) == ("postgresql", "db", 5433, "fenxiang")
    assert (url.username, url.password) == ("hub", "p@ss/word:%")
    assert url.query == {"sslmode": "require"}


def test_a_hub_in_a_database_that_it_cannot_use_is_refused(connection: ConnectionSetter) -> None:
    connection("fenxiang_hub", conn_type="mysql", host="db", schema="x", password="hidden-word")
    with pytest.raises(SetupError, match="mysql") as raised:
        Settings.load().hub_url()
    assert "hidden-word" not in str(raised.value)


def test_a_hub_without_a_database_name_is_refused(connection: ConnectionSetter) -> None:
    connection("fenxiang_hub", conn_type="postgres", host="db")
    with pytest.raises(SetupError, match="Schema"):
        Settings.load().hub_url()


def test_a_hub_connection_that_was_named_and_is_missing_is_no_reason_for_another_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__FENXIANG__HUB_CONN_ID", "fenxiang_hbu")
    with pytest.raises(SetupError, match="fenxiang_hbu"):
        Settings.load().hub_url()
