"""Milliseconds to parse each shipped DAG file, after Airflow's own import; each file in a process of its own.

A DAG processor parses a file in a process that has imported Airflow already, and does so again and again. The first
file of a process also imports the library, so both are told: the first parse, and the next ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

DAGS = Path(__file__).resolve().parent.parent / "dags"
ROUNDS = 5

PROGRAM = """
import json, sys, time
began = time.perf_counter()
import airflow.sdk, airflow.timetables.interval, airflow.task.priority_strategy
imported = time.perf_counter() - began
import importlib.util
times = []
for number in range(6):
    began = time.perf_counter()
    spec = importlib.util.spec_from_file_location(f"parsed_{number}", sys.argv[1])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    times.append(time.perf_counter() - began)
print(json.dumps([imported, times[0], min(times[1:])]))
"""


def parsed(file: Path) -> tuple[float, float, float]:
    """Seconds: Airflow's import, the first parse, a next parse; the best of some rounds."""
    with tempfile.TemporaryDirectory() as home:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
        env = {**own, "AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        rounds = [
            json.loads(
                subprocess.run(
                    [sys.executable, "-c", PROGRAM, str(file)], env=env, capture_output=True, text=True, check=True
                ).stdout.splitlines()[-1]
            )
            for _ in range(ROUNDS)
        ]
    imported, first, again = (min(column) for column in zip(*rounds, strict=True))
    return imported, first, again


def main() -> None:
    print(f"{'milliseconds to parse':<24}{'first':>8}{'again':>8}   of Airflow's own import")
    for file in sorted(DAGS.glob("*.py")):
        imported, first, again = parsed(file)
        print(f"{file.name:<24}{first * 1000:>8.1f}{again * 1000:>8.1f}   {first / imported:.3f}  ({imported:.2f} s)")


if __name__ == "__main__":
    main()
