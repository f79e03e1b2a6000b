"""The command `fenxiang` in this process."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from fenxiang_sync.airflow.cli import app


@pytest.fixture
def quiet_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets these for its process; here they are put back."""
    monkeypatch.setenv("AIRFLOW__LOGGING__LOGGING_LEVEL", "INFO")
    monkeypatch.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_ERROR_TRACEBACK_DEPTH", "2")
    monkeypatch.setenv("COLUMNS", "200")


@dataclass(frozen=True, slots=True)
class Said:
    exit_code: int
    stdout: str
    stderr: str


def fenxiang(*arguments: object) -> Said:
    """The command in this process, where Airflow's logging was set up long ago: its lines are left out. What it sets
    for its process is put back."""
    with pytest.MonkeyPatch.context() as settings:
        settings.setenv("AIRFLOW__LOGGING__LOGGING_LEVEL", "INFO")
        settings.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_ERROR_TRACEBACK_DEPTH", "2")
        done = CliRunner().invoke(app, [str(each) for each in arguments])
    return Said(done.exit_code, _unlogged(done.stdout), _unlogged(done.stderr))


def _unlogged(said: str) -> str:
    return "".join(line for line in said.splitlines(keepends=True) if not _LOGGED.match(line))


_LOGGED = re.compile(r"\d{4}-\d\d-\d\dT\S+Z \[")
