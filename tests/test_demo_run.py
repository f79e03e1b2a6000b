"""Commands against the Airflow of `make up`."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.local import LocalAirflow
from demo.run import main


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of an Airflow that was started before, and is not running."""
    airflow = LocalAirflow(tmp_path / "home", dags=tmp_path)
    airflow.prepare_home()
    airflow.stop()
    (airflow.home / "airflow.db").touch()
    return airflow.home


@pytest.mark.parametrize("command", [[], ["rm", "-rf", "x"]])
def test_only_the_two_commands_are_run(command: list[str], home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(command, home) == 2
    assert "python -m demo.run fenxiang check" in capfd.readouterr().err


def test_before_the_first_start_it_says_how_to_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["airflow", "version"], tmp_path / "none") == 2
    assert "make up" in capfd.readouterr().err


def test_a_command_has_the_settings_of_that_airflow_and_its_exit_code_is_handed_on(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["airflow", "config", "get-value", "database", "sql_alchemy_conn"], home) == 0
    assert f"sqlite:///{home}/airflow.db" in capfd.readouterr().out
    assert main(["fenxiang", "check", "--offline", "/nowhere"], home) == 2
    assert "/nowhere" in capfd.readouterr().err
