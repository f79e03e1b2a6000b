"""What a target gets of an Airflow connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from fenxiang_simulator import Simulator
from fenxiang_simulator.clock import Clock
from fenxiang_simulator.server import Request, Response, Server
from fenxiang_sync.airflow.pools import pool_name, target_pool
from fenxiang_sync.airflow.reach import make_reach
from fenxiang_sync.airflow.settings import Settings
from fenxiang_sync.errors import SetupError
from fenxiang_sync.hub import Hub
from fenxiang_sync.targets.files.folder import Folder
from fenxiang_sync.targets.protocol import Delivery
from tests.airflow_fixtures import ConnectionSetter
from tests.crm_fixtures import PRODUCTS, product, products


class Recorder:
    """An app that takes every call and keeps it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.delay_s = 0.0

    def handle(self, request: Request) -> Response:
        self.requests.append(request)
        return Response.json({"ok": True})


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, records={PRODUCTS: 0}) as running:
        yield running


@pytest.fixture
def url(recorder: Recorder) -> Iterator[str]:
    server = Server([recorder], Clock())
    server.start()
    yield server.url
    server.stop()


def test_an_endpoint_has_what_the_connection_holds(connection: ConnectionSetter) -> None:
    connection(
        "qeasy",
        conn_type="qeasy",
        host="https://api.qeasy.cloud/",
        login="demoappkey01",
        password="app-secret-77",
        extra={"token_in": "header"},
    )
    endpoint = make_reach().endpoint("qeasy")
    assert (endpoint.conn_id, endpoint.url, endpoint.login) == ("qeasy", "https://api.qeasy.cloud", "demoappkey01")
    assert endpoint.password == "app-secret-77"
    assert endpoint.extra == {"token_in": "header"}
    assert "app-secret-77" not in repr(endpoint)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "api.example.com"}, "https://api.example.com"),
        ({"host": "api.example.com", "schema": "http", "port": 8080}, "http://api.example.com:8080"),
        ({"host": "http://api.example.com:81/base/"}, "http://api.example.com:81/base"),
        ({"host": "https://[::1]:8443"}, "https://[::1]:8443"),
    ],
)
def test_the_url_is_built_as_people_write_hosts(
    connection: ConnectionSetter, fields: dict[str, object], url: str
) -> None:
    connection("write_api", conn_type="http", **fields)
    assert make_reach().endpoint("write_api").url == url


def test_a_missing_connection_is_a_sentence_with_the_way_to_add_it() -> None:
    with pytest.raises(SetupError) as raised:
        make_reach().endpoint("write_api")
    assert "'write_api' does not exist" in str(raised.value)
    assert "airflow connections add write_api" in str(raised.value)
    assert "AIRFLOW_CONN_WRITE_API" in str(raised.value)


@pytest.mark.parametrize("host", ["", "ftp://files", "http://user:word-33@host", "http://host:port", "http://"])
def test_a_host_of_no_use_is_named_without_its_secret(connection: ConnectionSetter, host: str) -> None:
    connection("write_api", conn_type="http", host=host)
    with pytest.raises(SetupError, match="write_api") as raised:
        make_reach().endpoint("write_api")
    assert "word-33" not in str(raised.value)


def test_a_call_carries_no_header_that_its_target_did_not_set(
    connection: ConnectionSetter,
    url: str,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login leak password leak\n")
    monkeypatch.setenv("NETRC", str(netrc))
    connection("write_api", conn_type="http", host=url, login="user", password="word", extra={"secret": "canary"})
    reach = make_reach()
    endpoint = reach.endpoint("write_api")
    reach.session().post(f"{endpoint.url}/write", json={}, headers={"Authorization": "Bearer ours"})
    headers = {name.lower(): value for name, value in recorder.requests[0].headers.items()}
    assert set(headers) == {
        "host", "user-agent", "accept", "accept-encoding", "connection", "content-type", "content-length",
        "authorization",
    }  # fmt: skip
    assert headers["authorization"] == "Bearer ours"


def test_a_call_goes_through_the_proxy_of_its_connection(
    connection: ConnectionSetter, url: str, recorder: Recorder
) -> None:
    connection("write_api", conn_type="http", host="http://unreachable.invalid", extra={"proxy": url})
    reach = make_reach()
    endpoint = reach.endpoint("write_api")
    assert reach.session().post(f"{endpoint.url}/write", timeout=5).status_code == 200
    assert len(recorder.requests) == 1


def test_a_call_waits_no_longer_than_its_connection_says(connection: ConnectionSetter) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        connection("write_api", conn_type="http", host=host, extra={"timeout": 0.2})
        reach = make_reach()
        endpoint = reach.endpoint("write_api")
        with pytest.raises(requests.ReadTimeout):
            reach.session().post(f"{endpoint.url}/write")


def test_a_ca_bundle_of_one_connection_does_not_serve_another(connection: ConnectionSetter, url: str) -> None:
    connection("secure", conn_type="http", host="https://secure.invalid", extra={"verify": "/no/such/bundle.pem"})
    connection("write_api", conn_type="http", host=url)
    reach = make_reach()
    session = reach.session()
    secure, write = reach.endpoint("secure"), reach.endpoint("write_api")
    with pytest.raises(OSError, match="bundle"):
        session.post(f"{secure.url}/x", timeout=5)
    assert session.post(f"{write.url}/write", timeout=5).status_code == 200


@pytest.mark.parametrize("timeout", ["soon", 0, -1, True])
@pytest.mark.parametrize("name", ["timeout", "connect_timeout"])
def test_a_timeout_of_no_use_is_named(connection: ConnectionSetter, name: str, timeout: object) -> None:
    connection("write_api", conn_type="http", host="http://h", extra={name: timeout})
    with pytest.raises(SetupError, match=f"extra {name} is"):
        make_reach().endpoint("write_api")


def test_each_thread_may_have_a_session_of_its_own(connection: ConnectionSetter, url: str) -> None:
    connection("write_api", conn_type="http", host=url)
    reach = make_reach()
    endpoint = reach.endpoint("write_api")
    statuses: list[int] = []

    def post() -> None:
        with reach.session() as session:
            statuses.append(session.post(f"{endpoint.url}/write").status_code)

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 4


def test_a_storage_is_a_folder_that_files_can_be_written_to(tmp_path: Path, airflow_home: Path) -> None:
    folder = Folder(make_reach().storage(f"file://{tmp_path}", None)) / "account" / "run"
    folder.write("a.ndjson", b"{}")
    assert (tmp_path / "account/run/a.ndjson").read_bytes() == b"{}"
    assert (folder.names(), folder.size("a.ndjson"), folder.read("b.ndjson")) == (["a.ndjson"], 2, None)


@pytest.mark.parametrize(
    ("url", "conn_id", "said"),
    [
        ("nowhere://bucket/crm", None, "'nowhere://bucket/crm' cannot be opened: .*comes with its provider"),
        ("s3://bucket/crm", "absent", "Connection 'absent' does not exist.*type aws"),
    ],
)
def test_a_storage_that_cannot_be_opened_says_what_is_missing(
    url: str, conn_id: str | None, said: str, airflow_home: Path
) -> None:
    with pytest.raises(SetupError, match=said):
        make_reach().storage(url, conn_id)


class TestDatabases:
    @pytest.mark.parametrize(
        ("fields", "url", "options"),
        [
            (
                {
                    "conn_type": "postgres", "host": "db", "port": 5433, "schema": "crm",
                    "login": "etl", "password": "p@ss/77",
                },
                "postgresql+psycopg2://etl:p%40ss%2F77@db:5433/crm",
                {},
            ),
            (
                {
                    "conn_type": "postgres", "host": "db", "schema": "crm",
                    "extra": {"sslmode": "verify-full", "sqlalchemy_scheme": "postgresql+psycopg", "cursor": "dict"},
                },
                "postgresql+psycopg://db/crm",
                {"sslmode": "verify-full"},
            ),
            (
                {
                    "conn_type": "mysql", "host": "db", "port": 3307, "schema": "crm", "login": "etl",
                    "extra": {"charset": "gbk"},
                },
                "mysql+pymysql://etl@db:3307/crm?charset=utf8mb4",
                {},
            ),
            (
                {
                    "conn_type": "mysql", "host": "db", "schema": "crm",
                    "extra": {"ssl_ca": "/ca.pem", "ssl_mode": "verify_identity", "read_timeout": "30"},
                },
                "mysql+pymysql://db/crm?charset=utf8mb4",
                {"ssl_ca": "/ca.pem", "ssl_verify_cert": True, "ssl_verify_identity": True, "read_timeout": 30.0},
            ),
            (
                {"conn_type": "mysql", "host": "db", "schema": "crm", "extra": {"ssl": '{"ca": "/ca.pem"}'}},
                "mysql+pymysql://db/crm?charset=utf8mb4",
                {"ssl": {"ca": "/ca.pem"}},
            ),
            ({"conn_type": "sqlite", "host": "/data/crm.db"}, "sqlite:////data/crm.db", {}),
        ],
    )  # fmt: skip
    def test_a_database_has_what_the_connection_holds_and_shows_no_password(
        self, connection: ConnectionSetter, fields: dict[str, object], url: str, options: dict[str, object]
    ) -> None:
        connection("warehouse", **fields)
        found = make_reach().database("warehouse")
        assert found.url.render_as_string(hide_password=False) == url
        assert dict(found.options) == options
        assert "ss/77" not in repr(found)
        assert "ss%2F77" not in repr(found)

    @pytest.mark.parametrize(
        ("uri", "url"),
        [
            ("postgresql://etl:x@db/crm", "postgresql+psycopg2://etl:x@db/crm"),
            ("mysql+pymysql://etl:x@db/crm", "mysql+pymysql://etl:x@db/crm?charset=utf8mb4"),
            ("mariadb://etl:x@db/crm", "mysql+pymysql://etl:x@db/crm?charset=utf8mb4"),
            ("sqlite:////data/crm.db", "sqlite:////data/crm.db"),
        ],
    )
    def test_a_connection_may_be_written_as_a_uri(self, uri: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", uri)
        assert make_reach().database("warehouse").url.render_as_string(hide_password=False) == url

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"conn_type": "http", "host": "db"}, "is of type 'http'; a SQL target takes postgres, mysql or sqlite"),
            ({"conn_type": "postgres", "host": "db"}, "needs a host and a database (field Schema)"),
            ({"conn_type": "mysql", "schema": "crm"}, "needs a host and a database (field Schema)"),
            ({"conn_type": "sqlite", "host": "crm.db"}, "needs the absolute path of a SQLite file"),
            ({"conn_type": "postgres", "host": "db", "schema": "crm", "extra": {"iam": True}}, "has the extra 'iam'"),
            (
                {"conn_type": "mysql", "host": "db", "schema": "crm", "extra": {"ssl_mode": "on"}},
                "ssl_mode is 'ON'; give",
            ),
            ({"conn_type": "mysql", "host": "db", "schema": "crm", "extra": {"ssl": "on"}}, "extra ssl is no object"),
            (
                {"conn_type": "mysql", "host": "db", "schema": "crm", "extra": {"read_timeout": -1}},
                "read_timeout is -1",
            ),
        ],
    )
    def test_what_is_missing_or_not_known_is_a_sentence(
        self, connection: ConnectionSetter, fields: dict[str, object], said: str
    ) -> None:
        connection("warehouse", password="canary-password", **fields)
        with pytest.raises(SetupError) as raised:
            make_reach().database("warehouse")
        assert said in str(raised.value)
        assert "canary-password" not in str(raised.value)

    def test_a_missing_one_is_a_sentence_with_the_way_to_add_it(self) -> None:
        with pytest.raises(SetupError, match="airflow connections add warehouse --conn-uri postgres://"):
            make_reach().database("warehouse")


def test_a_crm_of_a_fenxiang_connection_is_written_to_in_its_pace_and_counted(
    simulator: Simulator, fenxiang: Mapping[str, Any]
) -> None:
    with products().open(make_reach()) as sender:
        (answer,) = sender.send([product("A-1")])
    assert answer.delivery is Delivery.DELIVERED
    assert simulator.requests["/cgi/crm/v2/data/create"] == 1

    with Hub.connect(Settings.load().hub_url()) as hub:
        (counted,) = hub.calls(since=f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}")
    assert counted.calls == sum(n for path, n in simulator.requests.items() if "/data/" in path)


def test_a_crm_without_a_connection_says_which_type_it_is_of(airflow_home: Path) -> None:
    with pytest.raises(SetupError, match=r"'absent' does not exist.*type fenxiang"):
        make_reach().crm("absent")


def test_the_load_of_a_target_in_the_crm_waits_for_its_own_pool_and_not_for_the_sources() -> None:
    assert target_pool(products()) == "fenxiang-target-fenxiang"
    assert target_pool(products()) != pool_name("fenxiang", "ProductObj")
