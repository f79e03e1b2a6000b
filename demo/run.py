"""An `airflow` or `fenxiang` command against the Airflow of `make up`: its settings, in the environment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from demo.demo import HOME, ROOT
from demo.local import LocalAirflow

PROGRAMS = ("airflow", "fenxiang")
USAGE = "Usage: python -m demo.run airflow|fenxiang ARGUMENTS, for example: python -m demo.run fenxiang check"
WRONG = 2


def main(command: Sequence[str], home: Path = HOME) -> int:
    """Run the command and return its exit code."""
    if not command or command[0] not in PROGRAMS:
        print(USAGE, file=sys.stderr)
        return WRONG
    airflow = LocalAirflow(home, dags=ROOT / "dags")
    if not airflow.is_prepared:
        print(f"There is no Airflow in {home} yet. Start it with: make up", file=sys.stderr)
        return WRONG
    program = Path(sys.executable).with_name(command[0])
    try:
        return subprocess.run([program, *command[1:]], env=airflow.environment, check=False).returncode
    except KeyboardInterrupt:  # the command has had it too, and has ended
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
