"""No secret is left anywhere: a real Airflow at DEBUG, with runs that succeed and runs that fail in every way.

The secrets are searched for in every file of the Airflow home (logs, metadata database, stage, SQLite files), in the
hub's PostgreSQL database, and in what the REST API shows, as they are and in the forms that they travel in.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, make_url, text

from demo.crm import POOLS
from demo.local import LocalAirflow, free_port
from demo.rest import ENDED, AirflowApiError, Rest
from fenxiang_simulator import Simulator
from fenxiang_simulator.target_knobs import Fault
from tests.hub_fixtures import empty_database
from tests.server_fixtures import DAG_FILE, QUICK, home_with

pytestmark = [pytest.mark.slow, pytest.mark.airflow]

ACTING_USER = "FSUID_demo0000000000000000000000001"
CANARIES = {
    "appSecret": "demo-secret",
    "permanentCode": "demo-perm",
    "wrong appSecret": "CanaryWrongSecret7Xq",
    "wrong permanentCode": "CanaryWrongPermit4Ty",
    "Qeasy app_secret": "demo-qeasy-secret-20",
    "wrong Qeasy app_secret": "CanaryWrongQeasy8Rs1",
    "hub password": "CanaryHubPassword9Wz",
    "write password": "CanaryWritePasswd3Kp",
    "proxy password": "CanaryProxyPasswd5Mn",
}
TOKENS = {
    "Fenxiang token, body style": rb"CAT[0-9A-F]{32}",
    "Fenxiang token, header style": rb"(?<![A-Z0-9])AT[0-9A-F]{32}",
    "Qeasy token": rb"qeasy-demo-token-[0-9]{6}",
}

PIPELINE = """
    source=Source(object={object!r}, connection={connection!r}),
    fields=[Field("_id", "id", convert=text), Field("name", convert=text)],
    key="id",
    schedule=None,
    target={target},
"""
DECLARATIONS = {
    "well_body": ("DepartmentObj", "fenxiang", 'QeasyStore(scheme="well", connection="qeasy")'),
    "well_header": ("WarehouseObj", "fenxiang_header", 'WriteApi(connection="write_api")'),
    "well_qeasy_header": ("WarehouseObj", "fenxiang", 'QeasyStore(scheme="bearer", connection="qeasy_header")'),
    "well_renewed": ("object_warehouse__c", "fenxiang", "HubTarget()"),
    "ill_secret": ("WarehouseObj", "fenxiang_secret", "HubTarget()"),
    "ill_code": ("WarehouseObj", "fenxiang_code", "HubTarget()"),
    "ill_proxy": ("WarehouseObj", "fenxiang_proxy", "HubTarget()"),
    "ill_qeasy": ("WarehouseObj", "fenxiang", 'QeasyStore(scheme="s", connection="qeasy_secret")'),
    "ill_refused": ("WarehouseObj", "fenxiang", 'QeasyStore(scheme="forbidden", connection="qeasy")'),
    "ill_dropped": (
        "WarehouseObj",
        "fenxiang",
        'QeasyStore(scheme="drops", connection="qeasy", upserts=True, tries=1)',
    ),
    "ill_page": ("WarehouseObj", "fenxiang", 'QeasyStore(scheme="page", connection="qeasy", upserts=True, tries=1)'),
    "ill_written": ("WarehouseObj", "fenxiang", 'WriteApi(connection="write_api", upserts=True, tries=1)'),
    "ill_target_proxy": ("WarehouseObj", "fenxiang", 'QeasyStore(scheme="s", connection="qeasy_proxy", tries=1)'),
    "ill_reset": ("StockObj", "fenxiang", "HubTarget()"),
    "ill_html": ("object_warehouse__c", "fenxiang", "HubTarget()"),
    "ill_hang": ("StockObj", "fenxiang_hasty", "HubTarget()"),
    "ill_revoked": ("object_warehouse__c", "fenxiang_header", "HubTarget()"),
}
"""Object, connection and target of each pipeline; those whose names begin with ill fail."""
SPOILT = (
    "well_renewed", "ill_dropped", "ill_page", "ill_written", "ill_reset", "ill_html", "ill_hang", "ill_revoked",
)  # fmt: skip
"""Those that would go well by their declaration."""
PRESET, CUSTOM = "/crm/v2/data/query", "/crm/custom/v2/data/query"


@dataclass
class Scene:
    """What is left when everything has run."""

    rest: Rest
    home: Path
    hub_url: str
    states: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    """Answers of the REST API, by what was asked."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, airflow_database: Path) -> Iterator[Scene]:
    home, dags = home_with(airflow_database, tmp_path_factory), tmp_path_factory.mktemp("dags")
    for name, (object_name, connection, target) in DECLARATIONS.items():
        declaration = PIPELINE.format(object=object_name, connection=connection, target=target)
        (dags / f"{name}.py").write_text(_dag_file(name, declaration), encoding="utf-8")
    with empty_database("postgresql", tmp_path_factory.mktemp("hub")) as hub_url, Simulator(seed=7) as simulator:
        connections = list(_connections(simulator, hub_url))
        pools = {**POOLS, **_pools()}
        debug = {**QUICK, "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"}
        with LocalAirflow(home, dags=dags, connections=connections, pools=pools, env=debug) as airflow:
            made = Scene(airflow.rest, home, hub_url)
            airflow.rest.wait_parsed(*DECLARATIONS)
            _run_all(made, simulator)
            _look_at_everything(made, [str(each["connection_id"]) for each in connections])
            yield made


def _dag_file(name: str, declaration: str) -> str:
    imports = "from fenxiang_sync import QeasyStore, WriteApi\n"
    return imports + DAG_FILE.format(name=name, declaration=declaration).replace(
        "))\n", '), default_args={"retries": 0})\n'
    )


def _connections(simulator: Simulator, hub_url: str) -> Iterator[dict[str, Any]]:
    def connection(name: str, conn_type: str, login: str, password: str, **extra: Any) -> dict[str, Any]:
        return {
            "connection_id": name, "conn_type": conn_type, "host": simulator.url, "login": login,
            "password": password, "extra": json.dumps(extra),
        }  # fmt: skip

    def fenxiang(name: str, **given: Any) -> dict[str, Any]:
        password = given.pop("password", CANARIES["appSecret"])
        extra = {"permanent_code": CANARIES["permanentCode"], "open_user_id": ACTING_USER, **given}
        return connection(name, "fenxiang", "FSAID_demo001", password, **extra)

    def qeasy(name: str, password: str = CANARIES["Qeasy app_secret"], **extra: Any) -> dict[str, Any]:
        return connection(name, "qeasy", "demoappkey01", password, **extra)

    proxy = f"http://proxyuser:{CANARIES['proxy password']}@127.0.0.1:{free_port()}"
    yield fenxiang("fenxiang")
    yield fenxiang("fenxiang_header", style="header", employee_id="1000")
    yield fenxiang("fenxiang_secret", password=CANARIES["wrong appSecret"])
    yield fenxiang("fenxiang_code", permanent_code=CANARIES["wrong permanentCode"])
    yield fenxiang("fenxiang_proxy", proxy=proxy)
    yield fenxiang("fenxiang_hasty", timeout=0.5)
    yield qeasy("qeasy", token_in="query")
    yield qeasy("qeasy_header", token_in="header")
    yield qeasy("qeasy_secret", CANARIES["wrong Qeasy app_secret"])
    yield qeasy("qeasy_proxy", proxy=proxy)
    yield connection("write_api", "http", "writer", CANARIES["write password"])
    hub = make_url(hub_url)
    yield {
        "connection_id": "fenxiang_hub", "conn_type": "postgres", "host": hub.host, "schema": hub.database,
        "login": hub.username, "password": CANARIES["hub password"], "port": hub.port or 5432,
        "extra": json.dumps(dict(hub.query)),
    }  # fmt: skip


def _pools() -> dict[str, int]:
    sources = {connection for _, connection, _ in DECLARATIONS.values()}
    targets = set(re.findall(r'connection="(\w+)"', " ".join(target for *_, target in DECLARATIONS.values())))
    kinds = ("preset", "custom")
    names = [f"fenxiang-{name}-{kind}" for name in sources for kind in kinds]
    return dict.fromkeys([*names, *(f"fenxiang-target-{name}" for name in targets)], 1)


def _run_all(scene: Scene, simulator: Simulator) -> None:
    """All that needs no help at once; then, in rounds, those for which something is spoilt meanwhile."""
    faults, at_targets = simulator.faults, simulator.targets.faults
    simulator.targets.knobs.qeasy_forbidden_schemes.append("forbidden")
    rounds: list[dict[str, Callable[[], object]]] = [
        dict.fromkeys((name for name in DECLARATIONS if name not in SPOILT), lambda: None),
        {
            "well_renewed": lambda: faults.next("token_expired", path=CUSTOM, skip=1),
            "ill_dropped": lambda: at_targets.inject(Fault.DROP_BEFORE, on="store"),
            "ill_page": lambda: at_targets.inject(Fault.HTML, on="store"),
            "ill_written": lambda: at_targets.inject(Fault.UNAVAILABLE, on="write"),
        },
        {
            "ill_reset": lambda: faults.rate("reset", 1.0, PRESET),
            "ill_html": lambda: faults.rate("html_200", 1.0, CUSTOM),
        },
        {
            "ill_hang": lambda: faults.rate("hang", 1.0, PRESET),
            "ill_revoked": lambda: faults.rate("token_expired", 1.0, CUSTOM),
        },
    ]
    for together in rounds:
        for spoil in together.values():
            spoil()
        started = {name: _started(scene, name) for name in together}
        for name, run_id in started.items():
            _finished(scene, name, run_id)
        faults.clear()


def _started(scene: Scene, name: str) -> str:
    scene.rest.unpause(name)
    return scene.rest.trigger(name, {"full": True})


def _finished(scene: Scene, name: str, run_id: str) -> None:
    rest = scene.rest
    scene.states[name] = rest.wait_run(name, run_id)["state"]
    for task in rest.task_instances(name, run_id):
        where = (name, run_id, task["task_id"])
        if task["state"] in ENDED:
            scene.shown[f"log of {name}.{task['task_id']}"] = rest.log(*where, map_index=task["map_index"])
        scene.shown[f"task {name}.{task['task_id']}"] = json.dumps(task)
        path = f"/api/v2/dags/{name}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task['task_id']}/xcomEntries"
        entries = rest.call("GET", path, params={"map_index": task["map_index"]})["xcom_entries"]
        for key in {entry["key"] for entry in entries}:
            value = rest.xcom(*where, key=key, map_index=task["map_index"])
            scene.shown[f"xcom {name}.{task['task_id']}.{key}"] = json.dumps(value)
            if key == "failure":
                scene.failures[name] = value


def _look_at_everything(scene: Scene, conn_ids: list[str]) -> None:
    rest = scene.rest
    for path in ("variables", "connections", "importErrors", "eventLogs"):
        scene.shown[path] = json.dumps(rest.call("GET", f"/api/v2/{path}", params={"limit": 1000}))
    with pytest.raises(AirflowApiError, match="403"):  # Airflow does not show its configuration unless it is told to
        rest.call("GET", "/api/v2/config")
    for conn_id in conn_ids:
        scene.shown[f"connection {conn_id}"] = json.dumps(rest.call("GET", f"/api/v2/connections/{conn_id}"))
        if conn_id.startswith(("fenxiang", "qeasy")) and conn_id != "fenxiang_hub":
            _, said = rest.test_connection(conn_id)
            scene.shown[f"test of connection {conn_id}"] = said
    for name in DECLARATIONS:
        scene.shown[f"DAG {name}"] = json.dumps(rest.call("GET", f"/api/v2/dags/{name}/details"))


def _forms(secret: str) -> Iterator[bytes]:
    """As it is, in a URL, and in base64 wherever it begins in what was encoded (``login:password``)."""
    raw = secret.encode()
    yield raw
    yield quote(secret).encode()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        yield encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]


def found_in(content: bytes) -> list[str]:
    """Which secrets a text holds."""
    held = [name for name, secret in CANARIES.items() if any(form in content for form in _forms(secret))]
    return held + [name for name, pattern in TOKENS.items() if re.search(pattern, content)]


def _files(home: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(home.rglob("*")):
        if path.is_file() and path.name not in ("secrets.json", "passwords.json"):
            content = path.read_bytes()
            yield str(path.relative_to(home)), gzip.decompress(content) if path.suffix == ".gz" else content


def test_the_search_finds_what_is_there() -> None:
    assert found_in(b'{"corpAccessToken":"CAT' + b"A" * 32 + b'"}') == ["Fenxiang token, body style"]
    assert found_in(b"Bearer AT" + b"0" * 32) == ["Fenxiang token, header style"]
    assert found_in(b"?access_token=qeasy-demo-token-000001") == ["Qeasy token"]
    for name, secret in CANARIES.items():
        assert name in found_in(f"the {secret}.".encode())
        for login in ("me", "you", "them"):
            assert found_in(base64.b64encode(f"{login}:{secret}".encode())) == [name]


def test_the_runs_went_as_they_were_meant_to(scene: Scene) -> None:
    assert scene.states == {name: "success" if name.startswith("well") else "failed" for name in DECLARATIONS}
    assert set(scene.failures) == {name for name in DECLARATIONS if name.startswith("ill")}


def test_no_file_of_the_airflow_home_holds_a_secret(scene: Scene) -> None:
    held = {name: found for name, content in _files(scene.home) if (found := found_in(content))}
    assert held == {}


def test_logging_was_at_debug(scene: Scene) -> None:
    logs = [content for name, content in _files(scene.home) if name.startswith("logs/dag_id=well_body")]
    assert any(b'"level":"debug"' in log for log in logs)


def test_nothing_that_the_rest_api_shows_holds_a_secret(scene: Scene) -> None:
    assert {name: found for name, said in scene.shown.items() if (found := found_in(said.encode()))} == {}


def test_the_hub_holds_no_secret(scene: Scene) -> None:
    engine = create_engine(scene.hub_url)
    with engine.connect() as connection:
        names = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"))
        tables = [name for (name,) in names]
        rows = [repr(row) for name in tables for row in connection.execute(text(f'SELECT * FROM "{name}"'))]
    engine.dispose()
    assert rows
    assert [row[:300] for row in rows if found_in(row.encode())] == []


def test_every_failure_names_its_connection_or_host_and_a_way_out(scene: Scene) -> None:
    named = {
        "ill_secret": r"password \(appSecret\) of connection 'fenxiang_secret'",
        "ill_code": r"permanent_code of connection 'fenxiang_code'",
        "ill_qeasy": "connection 'qeasy_secret'",
        "ill_refused": "connection 'qeasy'.*forbidden",
        "ill_target_proxy": "connection 'qeasy_proxy'.*ProxyError",
        "ill_proxy": "ProxyError",
    }
    for name, pattern in named.items():
        assert re.search(pattern, scene.failures[name]), scene.failures[name]
