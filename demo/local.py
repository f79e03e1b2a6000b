"""A whole Airflow on one machine, in a home of its own: SQLite, LocalExecutor, loopback ports only."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
import socket
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from demo.processes import Processes
from demo.rest import Rest

USER = "admin"
START_SECONDS = 240.0
PRELOADED = (
    "from airflow.__main__ import main; from fenxiang_sync import *; from fenxiang_sync.airflow import *; main()"
)
"""An `airflow` command in a process that has imported what tasks and DAG files import."""


class HomeInUseError(RuntimeError):
    """Another process runs an Airflow in the same home."""


class LocalAirflow:
    """API server, scheduler, DAG processor and local executor, with the connections and pools that they are given.

    Use it as a context manager, or `start()` and `stop()` it. What an earlier start in the same home left running, for
    example because its parent was killed, is ended first. `home` keeps the metadata database, the logs, the stage and
    the generated secrets, all readable by their owner only.
    """

    def __init__(
        self,
        home: Path,
        *,
        dags: Path,
        connections: Iterable[Mapping[str, object]] = (),
        pools: Mapping[str, int] | None = None,
        env: Mapping[str, str] | None = None,
        port: int | None = None,
        schedules: bool = True,
        database: str | None = None,
    ) -> None:
        """`env` is added to what is set here; without `port` a free one is taken.

        With `schedules=False` only what is triggered runs. `database` is the URL of the metadata database, by default
        an SQLite file in the home.
        """
        self.home = home.resolve()
        self.processes = Processes(self.home)
        self._dags = dags.resolve()
        self._connections = list(connections)
        self._pools = dict(pools or {})
        self._env = dict(env or {})
        self._port = port or free_port()
        self._schedules = schedules
        self._lock: IO[str] | None = None
        # SQLite has one writer at a time and by itself waits 5 s for it: on a busy machine components would end.
        # Longer is no better: a request that waits for it keeps the API server from ending the one that holds it.
        self._database_url = database or f"sqlite:///{self._database}?timeout=20"
        self._has_own = database is None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def password_file(self) -> Path:
        """JSON file with the password of the user `admin`."""
        return self.home / "passwords.json"

    @property
    def password(self) -> str:
        return str(json.loads(self.password_file.read_text())[USER])

    @property
    def rest(self) -> Rest:
        return Rest(self.url, user=USER, password=self.password, check=self.processes.check)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every Airflow process of this home; nothing of another Airflow gets in."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
        keep_local = ",".join(filter(None, [inherited.get("NO_PROXY"), "127.0.0.1", "localhost"]))
        settings = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self._port),
            "AIRFLOW__API__SECRET_KEY": self._secrets["api_secret_key"],
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": self._secrets["jwt_secret"],
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__FERNET_KEY": self._secrets["fernet_key"],
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES": "permanent_code",
            # The installed distribution registers the plugin; the folder would register it a second time.
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(self.home / "plugins"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.password_file),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            # A changed file is parsed at once all the same.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._database_url,
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            # After a kill -9 the tasks that ran are started again within half a minute, not after five.
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(self._schedules),
            # A task may start before the API server listens.
            "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "10",
            "NO_PROXY": keep_local,
            "no_proxy": keep_local,
        }
        return {**inherited, **settings, **self._env}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it works; on any failure nothing is left running."""
        self.prepare_home()
        try:
            self.processes.end_leftovers()
            self._migrate()
            self._start("api-server")
            self.rest.wait_healthy("metadatabase", timeout=START_SECONDS)
            self._set_up()
            self._start_forking("scheduler", "--skip-serve-logs")
            self._start_forking("dag-processor")
            self.rest.wait_healthy("scheduler", "dag_processor", timeout=START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def prepare_home(self) -> None:
        """Make the home and its secrets, and hold it until `stop`; raises HomeInUseError if another process does."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        self._lock = (self.home / "lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            holder = self._lock.read().strip()
            self._lock.close()
            self._lock = None
            raise HomeInUseError(
                f"An Airflow already runs in {self.home}, started by process {holder}: stop that one first (Ctrl-C)"
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        _write_once(
            self.home / "secrets.json",
            {
                "fernet_key": base64.urlsafe_b64encode(os.urandom(32)).decode(),
                "jwt_secret": secrets.token_urlsafe(64),
                "api_secret_key": secrets.token_urlsafe(32),
            },
        )
        _write_once(self.password_file, {USER: secrets.token_urlsafe(12)})

    def stop(self) -> None:
        """End every process of this home."""
        self.processes.stop()
        if self._lock:
            self._lock.close()
            self._lock = None

    def run(self, *arguments: str, timeout: float = 120) -> str:
        """Run one `airflow` command in this home and return what it printed."""
        name = f"airflow-{arguments[0]}"
        self.processes.run(name, [sys.executable, "-m", "airflow", *arguments], self.environment, timeout=timeout)
        return self.processes.log(name).read_text()

    @property
    def is_prepared(self) -> bool:
        """Whether an Airflow has been started in this home before."""
        return self._database.exists()

    @property
    def _database(self) -> Path:
        return self.home / "airflow.db"

    @property
    def _secrets(self) -> dict[str, str]:
        return dict(json.loads((self.home / "secrets.json").read_text()))

    def _start(self, component: str, *arguments: str) -> None:
        self.processes.start(component, [sys.executable, "-m", "airflow", component, *arguments], self.environment)

    def _start_forking(self, component: str, *arguments: str) -> None:
        """Start what forks a process for each task, or each reading of a DAG file. Those begin with their imports done:
        that is most of what a short task costs. A change to `fenxiang_sync` counts from the next start."""
        self.processes.start(component, [sys.executable, "-c", PRELOADED, component, *arguments], self.environment)

    def _migrate(self) -> None:
        """Bring the metadata database to the version of Airflow that is installed, once for each."""
        this, made_for = version("apache-airflow-core"), self.home / "airflow.db.version"
        if not self._has_own:
            self.run("db", "migrate", timeout=START_SECONDS)
            return
        if not self._database.exists():
            self._make_database()
        elif not made_for.exists() or made_for.read_text() != this:
            self.run("db", "migrate")
        made_for.write_text(this)

    def _make_database(self) -> None:
        """Let it appear whole: a half-made one cannot be brought further."""
        draft = self.home / "airflow.db.new"
        draft.unlink(missing_ok=True)
        env = {**self.environment, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{draft}"}
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        self.processes.run("airflow-db", command, env, timeout=START_SECONDS)
        draft.rename(self._database)

    def _set_up(self) -> None:
        rest = self.rest
        for connection in self._connections:
            rest.put_connection(connection)
        for name, slots in self._pools.items():
            rest.put_pool(name, slots)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _write_once(path: Path, content: Mapping[str, str]) -> None:
    """Write a file that only its owner can read, whole or not at all, unless it is there already."""
    if path.exists():
        return
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)
    draft.rename(path)
