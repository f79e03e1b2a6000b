"""In a real Airflow: the command that `fenxiang gaps` shows closes the gap, and a lookback's DAG is there and runs."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync.window import Window
from tests.server_fixtures import Crm

pytestmark = [pytest.mark.slow, pytest.mark.airflow]

HOUR = timedelta(hours=1)


def command(crm: Crm, *words: str) -> tuple[int, str]:
    """A command as people type it on a machine of this Airflow: its exit code, and what it printed."""
    program = Path(sys.executable).with_name(words[0])
    done = subprocess.run([program, *words[1:]], env=crm.server.environment, capture_output=True, text=True)
    return done.returncode, done.stdout


def told(crm: Crm, name: str) -> tuple[int, dict[str, Any]]:
    code, out = command(crm, "fenxiang", "gaps", name, "--json", "--dags", str(crm.server.dags / f"{name}.py"))
    [document] = json.loads(out)
    return code, document


def test_the_command_that_is_shown_closes_the_gap(crm: Crm) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    start = f"start=datetime.fromisoformat('{(now - 5 * HOUR).isoformat()}')"
    crm.declare("gappy", start, "reach_back=timedelta(0)")
    for since, until in ((now - 5 * HOUR, now - 4 * HOUR), (now - 2 * HOUR, now - HOUR)):
        conf = {"since": since.isoformat(), "until": until.isoformat()}
        assert crm.run("gappy", conf)["state"] == "success"
    missed = crm.create(now - 3 * HOUR)
    assert not crm.held("gappy") & set(missed)

    code, before = told(crm, "gappy")
    [gap] = before["gaps"]
    assert code == 1
    assert Window.from_json(gap) == Window.between(now - 4 * HOUR, now - 2 * HOUR)
    assert command(crm, *shlex.split(gap["command"]))[0] == 0
    runs = crm.server.rest.wait_runs("gappy", 3)
    assert {run["state"] for run in runs} == {"success"}

    assert crm.held("gappy") >= set(missed)
    assert crm.certified("gappy") == [Window.between(now - 5 * HOUR, now - HOUR)]
    code, after = told(crm, "gappy")
    assert (code, after["gaps"]) == (0, [])


def test_a_lookback_is_a_dag_of_its_own_that_delivers_what_came_late_and_moves_nothing(crm: Crm) -> None:
    lookbacks = "lookbacks=[Lookback(schedule='0 0 1 1 *', over=timedelta(days=2))]"
    crm.declare("watched", lookbacks, "reach_back=timedelta(0)")
    assert crm.run("watched", {"full": True})["state"] == "success"
    [certified] = crm.certified("watched")
    late = crm.create(datetime.now(UTC) - 30 * HOUR)

    rest = crm.server.rest
    rest.wait_parsed("watched.lookback-2d")
    rest.unpause("watched.lookback-2d")  # which also runs it for its last tick
    by_hand = rest.trigger("watched.lookback-2d", {})
    runs = rest.wait_runs("watched.lookback-2d", 2)
    rest.pause("watched.lookback-2d")

    assert {run["state"] for run in runs} == {"success"}
    assert crm.held("watched") >= set(late)
    assert crm.certified("watched") == [certified]
    found = [rest.xcom("watched.lookback-2d", run["dag_run_id"], "verify")["late"] for run in runs]
    assert sum(found) == 1
    with crm.server.hub() as hub:
        kinds = {each.run: each.kind for each in hub.runs("watched")}
        assert kinds[f"lookback-2d.{by_hand}"] == "lookback"
        assert [(each.arrivals, each.found_by) for each in hub.late("watched")] == [(1, "lookback")]
