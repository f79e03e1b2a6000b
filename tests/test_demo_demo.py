"""The demo, as `make demo` runs it: after one that was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.airflow]

RUN = "import sys; from pathlib import Path; from demo.demo import main; sys.exit(main(Path(sys.argv[1])))"


def run_demo(home: Path) -> str:
    done = subprocess.run([sys.executable, "-c", RUN, str(home)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def processes_of(home: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cwd", "status"])
        if process.info["cwd"] == str(home) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def test_a_demo_that_was_killed_in_its_middle_is_cleaned_up_by_the_next_which_delivers_everything(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    killed = subprocess.Popen([sys.executable, "-c", RUN, str(home)], stdout=subprocess.PIPE, text=True)
    assert killed.stdout
    assert next(line for line in killed.stdout if "Triggered" in line)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert processes_of(home)

    (home / "logs" / "airflow-db.log").unlink()
    said = run_demo(home)
    assert "3 fit no row of their target" in said
    assert said.count("id ← warehouseId") == 3
    assert processes_of(home) == []
    assert not (home / "logs" / "airflow-db.log").exists(), "its database was made for this version of Airflow"
