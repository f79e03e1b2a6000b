"""Airflow with its UI and the simulated CRM, in the foreground until Ctrl-C."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from demo.crm import POOLS, SimulatedCrm, connections_to
from demo.demo import HOME, ROOT
from demo.local import USER, HomeInUseError, LocalAirflow, free_port, is_free
from demo.processes import ProcessDiedError, end_on_signals
from demo.rest import AirflowApiError

PORT = 8080


def main() -> int:
    end_on_signals()
    crm = SimulatedCrm(free_port())
    port = PORT if is_free(PORT) else free_port()
    airflow = LocalAirflow(HOME, dags=ROOT / "dags", connections=connections_to(crm.port), pools=POOLS, port=port)
    print("Starting Airflow and the simulated CRM …", flush=True)
    try:
        with airflow:
            crm.start(airflow.processes, airflow.environment)
            print(_welcome(airflow, crm), flush=True)
            while True:
                airflow.processes.check()
                time.sleep(1)
    except KeyboardInterrupt:
        print("\nEverything has been stopped. The data stay in", HOME)
        return 0
    except (AirflowApiError, HomeInUseError, ProcessDiedError, TimeoutError) as error:
        print(f"Airflow cannot go on: {error}", file=sys.stderr)
        return 1


def _welcome(airflow: LocalAirflow, crm: SimulatedCrm) -> str:
    password = f"{airflow.password} " if _is_first(airflow.home) else ""
    return f"""
  Airflow    {airflow.url}
  User       {USER}
  Password   {password}(kept in {_shown(airflow.password_file)})
  CRM        {crm.url} (simulated; the connections fenxiang, qeasy and write_api lead to it)

  Trigger    open a DAG, press Trigger: as it is for what is new, with since and until for a range, full for all
  Schedule   switch the DAG on (it comes paused)
  Backfill   Trigger, then Backfill, over a range of past days
  Commands   .venv/bin/python -m demo.run airflow …, or fenxiang …
  Logs       {_shown(airflow.processes.log("scheduler").parent)}

Ctrl-C stops everything.
"""


def _is_first(home: Path) -> bool:
    """Whether the password has not been shown yet; from now on it has."""
    shown = home / "password.shown"
    first = not shown.exists()
    shown.touch()
    return first


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT)


if __name__ == "__main__":
    sys.exit(main())
