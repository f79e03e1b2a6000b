"""The part of Airflow's REST API (v2) that a person uses in the UI: trigger, watch, backfill, pause, read results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

Json = dict[str, Any]
ENDED = frozenset({"success", "failed"})
SECONDS = 60.0
"""How long one answer may take."""


LOCKED_TRIES = 5
"""On SQLite, Airflow takes back what it was about to do, and says so, where another of its parts writes meanwhile."""


class AirflowApiError(RuntimeError):
    """Airflow refused a call, or did not get to what was waited for."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Rest:
    """A client of one Airflow, logged in as one user."""

    def __init__(self, url: str, *, user: str, password: str, check: Callable[[], None] = lambda: None) -> None:
        """`check` is called while waiting and may raise, for example when the server has died."""
        self.url = url
        self._user = user
        self._password = password
        self._check = check
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy from the environment is not for this machine's own address
        # A busy machine may keep Airflow from answering for a while; what only reads is asked again.
        again = Retry(total=4, backoff_factor=0.5, allowed_methods=["GET"])
        self._session.mount("http://", HTTPAdapter(max_retries=again))

    def call(self, method: str, path: str, **request: Any) -> Any:
        """The decoded answer (None when there is none); raises AirflowApiError with Airflow's own words."""
        answer = self._send(method, path, **request)
        if answer.status_code == requests.codes.unauthorized:
            self._log_in()
            answer = self._send(method, path, **request)
        for _ in range(LOCKED_TRIES):
            if not _is_locked(answer):
                break
            time.sleep(0.5)
            answer = self._send(method, path, **request)
        if not answer.ok:
            raise AirflowApiError(f"{method} {path}: {answer.status_code} {answer.text}", status=answer.status_code)
        return answer.json() if answer.content else None

    def health(self) -> dict[str, str]:
        """Status per component ("metadatabase", "scheduler", "dag_processor", …); empty until the server answers."""
        try:
            answer = self._send("GET", "/api/v2/monitor/health")
            components: dict[str, Json] = answer.json() if answer.ok else {}
        except requests.RequestException:
            return {}
        return {name: component["status"] or "" for name, component in components.items()}

    def wait_healthy(self, *components: str, timeout: float) -> None:
        self._wait(
            lambda: all(self.health().get(name) == "healthy" for name in components),
            timeout,
            lambda: f"Airflow at {self.url} does not report {', '.join(components)} as healthy: {self.health()}",
        )

    # DAGs

    def dags(self) -> list[Json]:
        return list(self.call("GET", "/api/v2/dags", params={"limit": 1000})["dags"])

    def import_errors(self) -> dict[str, str]:
        """Traceback per DAG file that cannot be parsed."""
        errors = self.call("GET", "/api/v2/importErrors", params={"limit": 1000})["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in errors}

    def wait_parsed(self, *dag_ids: str, timeout: float = 240) -> None:
        """Wait until the DAGs are there; a DAG file with an import error ends the wait."""

        def parsed() -> bool:
            there = {dag["dag_id"] for dag in self.dags()}
            if errors := self.import_errors():
                file, trace = next(iter(errors.items()))
                raise AirflowApiError(f"{file} cannot be parsed: {trace}")
            return there >= set(dag_ids)

        self._wait(parsed, timeout, lambda: f"The DAGs {', '.join(dag_ids)} are not all there after {timeout:.0f} s")

    def pause(self, dag_id: str, *, paused: bool = True) -> None:
        self.call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": paused})

    def unpause(self, dag_id: str) -> None:
        self.pause(dag_id, paused=False)

    # Runs

    def trigger(self, dag_id: str, conf: Mapping[str, object] | None = None, **run: object) -> str:
        """Start a run and return its id. Without `logical_date` in `run` it has none, as from the CLI."""
        body = {"logical_date": None, "conf": dict(conf or {}), **run}
        return str(self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> Json:
        return dict(self.call("GET", _run_path(dag_id, run_id)))

    def runs(self, dag_id: str) -> list[Json]:
        """The runs of a DAG, oldest first."""
        query = {"order_by": "run_after", "limit": 1000}
        return list(self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=query)["dag_runs"])

    def wait_run(self, dag_id: str, run_id: str, *, timeout: float = 420) -> Json:
        """The run once it has ended, whether well or not."""
        self._wait(
            lambda: self.run(dag_id, run_id)["state"] in ENDED,
            timeout,
            lambda: f"{dag_id} {run_id} has not ended after {timeout:.0f} s: {self.task_states(dag_id, run_id)}",
        )
        return self.run(dag_id, run_id)

    def wait_runs(self, dag_id: str, count: int, *, timeout: float = 420) -> list[Json]:
        """The runs of a DAG once at least `count` of them, and all that there are, have ended."""

        def ended() -> bool:
            states = [run["state"] for run in self.runs(dag_id)]
            return len(states) >= count and ENDED.issuperset(states)

        self._wait(ended, timeout, lambda: f"{dag_id} has not ended {count} runs after {timeout:.0f} s")
        return self.runs(dag_id)

    def end_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed, which also ends its tasks."""
        self.call("PATCH", _run_path(dag_id, run_id), json={"state": "failed"})

    def clear_run(self, dag_id: str, run_id: str, *, only_failed: bool = False) -> None:
        """Run the tasks of an ended run again."""
        body = {"dry_run": False, "only_failed": only_failed}
        self.call("POST", f"{_run_path(dag_id, run_id)}/clear", json=body)

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        tasks = self.call("GET", f"{_run_path(dag_id, run_id)}/taskInstances", params={"limit": 1000})
        return list(tasks["task_instances"])

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """State per task id, with the map index in brackets where a task is mapped."""
        return {
            task["task_id"] + (f"[{task['map_index']}]" if task["map_index"] >= 0 else ""): task["state"]
            for task in self.task_instances(dag_id, run_id)
        }

    def xcom(self, dag_id: str, run_id: str, task_id: str, *, key: str = "return_value", map_index: int = -1) -> Any:
        """The value that a task left, decoded."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path, params={"map_index": map_index, "deserialize": True})["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, *, try_number: int = 1, map_index: int = -1) -> str:
        """What a task wrote, one event a line."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{task_id}/logs/{try_number}"
        entries = self.call("GET", path, params={"map_index": map_index, "full_content": True})["content"]
        return "\n".join(str(entry) if isinstance(entry, str) else str(entry.get("event", "")) for entry in entries)

    # Backfills

    def backfill(self, dag_id: str, since: datetime, until: datetime, **settings: object) -> int:
        """Start a backfill of the intervals that begin from `since` to `until`, both included; returns its id."""
        body = {"dag_id": dag_id, "from_date": since.isoformat(), "to_date": until.isoformat(), **settings}
        return int(self.call("POST", "/api/v2/backfills", json=body)["id"])

    def wait_backfill(self, backfill_id: int, *, timeout: float = 420) -> None:
        self._wait(
            lambda: self.call("GET", f"/api/v2/backfills/{backfill_id}")["completed_at"] is not None,
            timeout,
            lambda: f"Backfill {backfill_id} is not complete after {timeout:.0f} s",
        )

    # Connections and pools

    def put_connection(self, connection: Mapping[str, object]) -> None:
        """Create the connection, or make it what `connection` (with its connection_id) says."""
        self._put("/api/v2/connections", str(connection["connection_id"]), connection)

    def test_connection(self, connection_id: str) -> tuple[bool, str]:
        """What the Test button of the UI says about a stored connection."""
        stored = self.call("GET", f"/api/v2/connections/{connection_id}")
        result = self.call("POST", "/api/v2/connections/test", json=stored)
        return bool(result["status"]), str(result["message"])

    def put_pool(self, name: str, slots: int) -> None:
        """Create the pool, or give it that many slots."""
        self._put("/api/v2/pools", name, {"name": name, "slots": slots, "include_deferred": False})

    def pools(self) -> dict[str, int]:
        """Slots per pool."""
        return {pool["name"]: pool["slots"] for pool in self.call("GET", "/api/v2/pools")["pools"]}

    def _put(self, path: str, name: str, body: Mapping[str, object]) -> None:
        try:
            self.call("POST", path, json=body)
        except AirflowApiError as error:
            if error.status != requests.codes.conflict:
                raise
            self.call("PATCH", f"{path}/{name}", json=body)

    def _send(self, method: str, path: str, **request: Any) -> requests.Response:
        try:
            return self._session.request(method, self.url + path, timeout=SECONDS, **request)
        finally:  # the server ends connections that were idle for 5 s; a call that is under way by then would fail
            self._session.close()

    def _log_in(self) -> None:
        answer = self._send("POST", "/auth/token", json={"username": self._user, "password": self._password})
        if not answer.ok:
            raise AirflowApiError(f"Airflow at {self.url} does not let {self._user} in: {answer.status_code}")
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def _wait(self, reached: Callable[[], bool], timeout: float, complaint: Callable[[], str]) -> None:
        deadline = time.monotonic() + timeout
        while not reached():
            self._check()
            if time.monotonic() > deadline:
                raise AirflowApiError(complaint())
            time.sleep(0.5)


def _is_locked(answer: requests.Response) -> bool:
    if answer.status_code == requests.codes.service_unavailable:
        return "locked" in answer.text
    return answer.status_code == requests.codes.server_error and '"Database error"' in answer.text


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
