"""The command `fenxiang` in this process, for tests of what it says."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from typer.testing import CliRunner

from fenxiang_sync.airflow.cli import app

_LOGGED = re.compile(r"\d{4}-\d\d-\d\dT\S+Z \[")


@dataclass(frozen=True, slots=True)
class Said:
    exit_code: int
    stdout: str
    stderr: str


def fenxiang(*arguments: object) -> Said:
    """What the command says. Airflow's logging was set up long ago: its lines are left out."""
    before = dict(os.environ)
    try:
        done = CliRunner().invoke(app, [str(each) for each in arguments])
    finally:
        _put_back(before)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    lines = done.stdout.splitlines(keepends=True)
    return Said(done.exit_code, "".join(line for line in lines if not _LOGGED.match(line)), done.stderr)


def _put_back(before: Mapping[str, str]) -> None:
    """The command sets how Airflow logs, for its process."""
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
