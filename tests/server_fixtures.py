"""A real Airflow for the tests of one session: API server, scheduler and executor, on a simulated CRM."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from demo.crm import POOLS, connections_to
from demo.local import LocalAirflow
from demo.rest import Json, Rest
from fenxiang_simulator import Knobs, Simulator
from fenxiang_simulator.catalog import object_def
from fenxiang_simulator.crm import QueryCall
from fenxiang_sync.airflow.pools import pool_name
from fenxiang_sync.hub import Hub
from fenxiang_sync.window import Window, to_ms
from tests.hub_fixtures import POSTGRES, run_in_postgres
from tests.sharing import ONE_AIRFLOW

ROOT = Path(__file__).resolve().parent.parent
ORDER = "order__c"
"""The object of `Crm`."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running Airflow, the CRM that its connections lead to, and the folder that it reads DAG files from."""

    rest: Rest
    simulator: Simulator
    home: Path
    dags: Path
    environment: Mapping[str, str]
    """That of its processes."""

    def add_dag(self, name: str, declaration: str) -> None:
        """Declare a pipeline in a DAG file of its own, unpaused; `declaration` is the arguments of `Pipeline`."""
        self.write_dag(name, DAG_FILE.format(name=name, declaration=declaration))
        self.rest.wait_parsed(name)
        self.rest.unpause(name)

    def write_dag(self, name: str, text: str) -> Path:
        path = self.dags / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        return path

    def hub(self) -> Hub:
        """The hub of this Airflow; close it."""
        return Hub.connect(f"sqlite:///{self.home}/fenxiang_hub.db")

    def failure(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
        """What a failed task says about it in the UI."""
        return str(self.rest.xcom(dag_id, run_id, task_id, key="failure", map_index=map_index))


DAG_FILE = """
from datetime import UTC, datetime, timedelta

from fenxiang_sync import Field, HubTarget, Lookback, Pipeline, Source, WriteApi, text
from fenxiang_sync.airflow import sync_dag

dag = sync_dag(Pipeline(name={name!r}, {declaration}))
"""


class Crm:
    """A simulated CRM of one test, with connections and pools of its own in the Airflow of all tests, so that nothing
    that is done to it is met elsewhere. Calls are not limited, and a write is visible at once.

    It has one object, `ORDER`. `connection` (Fenxiang) and `writing` (``POST /write``) lead to it.
    """

    def __init__(self, server: Server, simulator: Simulator, name: str) -> None:
        self.server = server
        self.simulator = simulator
        self.connection = name
        self.writing = f"{name}_write"
        self._declared: set[str] = set()
        self.set_up()
        server.rest.put_pool(pool_name(name, ORDER), 1)
        server.rest.put_pool(f"fenxiang-target-{self.writing}", 1)

    @property
    def knobs(self) -> Knobs:
        return self.simulator.knobs

    def set_up(self, **extra: object) -> None:
        """Put the connections; `extra` goes into the one to Fenxiang."""
        fenxiang, _, write_api = connections_to(int(self.simulator.url.rsplit(":", 1)[1]))
        given = {**json.loads(str(fenxiang["extra"])), "calls": 10_000, "per_seconds": 1, **extra}
        rest = self.server.rest
        rest.put_connection({**fenxiang, "connection_id": self.connection, "extra": json.dumps(given)})
        rest.put_connection({**write_api, "connection_id": self.writing})

    def declare(
        self,
        name: str,
        *words: str,
        object_name: str = ORDER,
        connection: str = "",
        source: Sequence[str] = (),
        target: str = "HubTarget()",
        options: Sequence[str] = (),
    ) -> str:
        """Write the DAG file of a pipeline of this CRM: `words` are arguments of ``Pipeline`` (it is run by hand
        unless they say when), `source` of ``Source``, `options` of ``sync_dag``. Returns its name."""
        words = words if any(word.startswith("schedule") for word in words) else ("schedule=None", *words)
        source = (
            f"object={object_name!r}",
            f"connection={(connection or self.connection)!r}",
            "settle=timedelta(0)",
            *source,
        )
        declaration = ", ".join(
            [
                f"source=Source({', '.join(source)})",
                'fields=[Field("_id", "id", convert=text), Field("name", convert=text)]',
                f"target={target}",
                *words,
            ]
        )
        text = DAG_FILE.format(name=name, declaration=declaration)
        if options:
            text = text.replace("))\n", f"), {', '.join(options)})\n")
        self.server.write_dag(name, text)
        self._declared.add(name)
        return name

    def run(self, name: str, conf: dict[str, Any] | None = None, **trigger: object) -> Json:
        """A run by hand, ended, of a pipeline that is declared."""
        self.ready(name)
        return self.server.rest.wait_run(name, self.server.rest.trigger(name, conf, **trigger))

    def ready(self, *names: str) -> None:
        """Wait for pipelines that were declared, and let them run."""
        self.server.rest.wait_parsed(*names)
        for name in names:
            self.server.rest.unpause(name)

    def parse_again(self, name: str) -> None:
        """Let Airflow read a DAG file now, when it also finds the next interval."""
        path = self.server.dags / f"{name}.py"
        soon = time.time() + 3  # a reading that is under way has not seen what there is to be seen now
        os.utime(path, (soon, soon))

    def create(self, *moments: datetime) -> list[str]:
        """Records with these stamps; their ids."""
        return [self.simulator.tenant.create(ORDER, {"name": str(at)}, modified_ms=to_ms(at)) for at in moments]

    def ids(self) -> set[str]:
        """All records that a run should deliver."""
        return set(self.simulator.tenant.visible(ORDER))

    def asked(self) -> list[QueryCall]:
        """The queries so far that read a window."""
        return [query for query in self.simulator.queries if len(_bounds(query)) == 2]

    def windows(self) -> set[Window]:
        """The windows of `asked`."""
        return {Window(bounds["GTE"], bounds["LT"]) for bounds in map(_bounds, self.asked())}

    def forget(self) -> None:
        """Count what is asked from zero."""
        self.simulator.crm.forget()

    def held(self, name: str) -> set[str]:
        """Ids of the records that a pipeline has delivered, by the hub."""
        with self.server.hub() as hub:
            return {record.id for record in hub.records(name) if record.content is not None}

    def certified(self, name: str) -> list[Window]:
        with self.server.hub() as hub:
            return hub.certified(name)

    def written(self) -> list[str]:
        """Ids of the rows that ``POST /write`` has taken, in order."""
        return [row["id"] for row in self.simulator.targets.write.rows]

    def leave(self) -> None:
        """Pause its pipelines, so that nothing of them runs while other tests do. The files stay: Airflow keeps an
        import error for one that goes while it is read."""
        for name in self._declared & {dag["dag_id"] for dag in self.server.rest.dags()}:
            self.server.rest.pause(name)


def _bounds(query: QueryCall) -> dict[str, int]:
    return {
        each["operator"]: int(each["field_values"][0])
        for each in query.filters
        if each["field_name"] == "last_modified_time"
    }


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, airflow_database: Path) -> Iterator[Server]:
    """One Airflow for every test of the session, with the shipped DAGs, paused. A DAG with a schedule, once unpaused,
    has scheduled runs beside those that a test triggers."""
    dags = tmp_path_factory.mktemp("dags")
    shutil.copytree(ROOT / "dags", dags, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    home = home_with(airflow_database, tmp_path_factory)
    with Simulator(seed=7) as simulator, metadata_database() as database:
        connections = connections_to(int(simulator.url.rsplit(":", 1)[1]))
        airflow = LocalAirflow(home, dags=dags, connections=connections, pools=POOLS, env=QUICK, database=database)
        with airflow:
            _running.append(airflow)
            yield Server(airflow.rest, simulator, home, dags, airflow.environment)


@contextlib.contextmanager
def metadata_database() -> Iterator[str | None]:
    """The URL of an empty PostgreSQL database, as Airflow is run with; None, for SQLite, where there is no server.

    SQLite has one writer. A backfill that Airflow 3.3.2 cannot write on a busy machine it takes back, with the runs
    that the scheduler has taken up meanwhile, and that ends the scheduler.
    """
    name = f"airflow_{uuid.uuid4().hex[:12]}"
    try:
        run_in_postgres(f"CREATE DATABASE {name}", f"ALTER DATABASE {name} SET synchronous_commit TO off")
    except pytest.skip.Exception:
        yield None
        return
    try:
        url = make_url(POSTGRES).set(drivername="postgresql+psycopg2", database=name)
        yield url.render_as_string(hide_password=False)
    finally:
        run_in_postgres(f"DROP DATABASE {name} WITH (FORCE)")


def home_with(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose database is there already, as an earlier start with this version of Airflow leaves it."""
    home = tmp_path_factory.mktemp("airflow")
    shutil.copy(database, home / "airflow.db")
    (home / "airflow.db.version").write_text(version("apache-airflow-core"))
    return home


_running: list[LocalAirflow] = []


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """An idle Airflow takes a third of a core: it ends with the last test that needs it, not with the session."""
    needed = nextitem is not None and nextitem.nodeid.startswith(ONE_AIRFLOW)
    if item.nodeid.startswith(ONE_AIRFLOW) and not needed:
        for airflow in _running:
            airflow.stop()


QUICK = {
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "1",
    # A changed file is parsed at once all the same; the others need not be read again.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
}


@pytest.fixture
def crm(server: Server) -> Iterator[Crm]:
    """A CRM of the test's own, empty."""
    yield from new_crm(server)


def new_crm(server: Server) -> Iterator[Crm]:
    knobs = Knobs(calls=1_000_000, day_quota=10_000_000, visibility_lag_ms=0)
    with Simulator(knobs=knobs, objects=[object_def(ORDER, "订单")], records={ORDER: 0}) as simulator:
        made = Crm(server, simulator, f"crm_{next(_numbers)}")
        try:
            yield made
        finally:
            made.leave()
