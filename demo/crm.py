"""The CRM and the targets of the demo: the simulator as a process, the Airflow connections to it, their pools."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from demo.processes import Processes

SEED = 7
START_SECONDS = 60.0
CONNECTIONS = Path(__file__).with_name("connections.json")
"""As `airflow connections import` takes them. The credentials are the simulator's own: no secrets."""
POOLS = {
    "fenxiang-fenxiang-custom": 1,
    "fenxiang-fenxiang-preset": 1,
    "fenxiang-target-qeasy": 1,
    "fenxiang-target-write_api": 1,
}
"""One slot per connection and interface: one task at a time owns that quota. ``fenxiang setup`` would make the same."""


class SimulatedCrm:
    """The simulator on a loopback port. Its data are made from one seed, so that every start holds the same."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._session = requests.Session()
        self._session.trust_env = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, processes: Processes, env: Mapping[str, str]) -> None:
        """Start it as one of `processes` and wait until it answers."""
        command = str(Path(sys.executable).with_name("fenxiang-simulator"))
        processes.start("simulator", [command, "--port", str(self.port), "--seed", str(SEED)], env)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            processes.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"The simulator does not answer at {self.url}; see {processes.log('simulator')}")
            time.sleep(0.1)

    def report(self) -> dict[str, Any]:
        """What the simulator was asked, and what its targets hold."""
        return dict(self._session.get(f"{self.url}/_simulator/report", timeout=30).json())

    def _answers(self) -> bool:
        try:
            return self._session.get(f"{self.url}/_simulator/report", timeout=5).ok
        except requests.RequestException:
            return False


def connections_to(port: int) -> list[dict[str, object]]:
    """The connections of connections.json, for the REST API, to a simulator on a port of this machine."""
    stored: dict[str, dict[str, object]] = json.loads(CONNECTIONS.read_text(encoding="utf-8"))
    here = {"host": "http://127.0.0.1", "port": port}
    return [
        {"connection_id": name, **fields, **here, "extra": json.dumps(fields.get("extra", {}))}
        for name, fields in stored.items()
    ]
