"""Fenxiang through an Airflow connection, against the simulator over HTTP."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fenxiang_simulator import Simulator
from fenxiang_simulator.server import Request, Response
from fenxiang_sync.airflow.hook import FenxiangHook
from fenxiang_sync.errors import SetupError
from fenxiang_sync.source import Pace
from tests.airflow_fixtures import HOME, ConnectionSetter

SECRETS = ("demo-secret", "demo-perm")
SINCE, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


class Listener:
    """An app that answers nothing and keeps what it hears."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def handle(self, request: Request) -> Response | None:
        self.requests.append(request)
        return None

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, records={"AccountObj": 250}) as running:
        yield running


@pytest.fixture
def heard(simulator: Simulator) -> Listener:
    listener = Listener()
    simulator.server.apps.insert(0, listener)
    return listener


def with_extra(fields: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
    merged = {**fields["extra"], **extra}
    return {**fields, "extra": {name: value for name, value in merged.items() if value is not None}}


HEADERS = {"host", "user-agent", "accept", "accept-encoding", "connection", "content-type", "content-length"}


class TestOnTheWire:
    """What leaves the machine, header by header."""

    def test_the_body_style_sends_no_header_of_its_own(
        self, fenxiang: Mapping[str, Any], heard: Listener, connection: ConnectionSetter
    ) -> None:
        connection("fenxiang", **with_extra(fenxiang, note="canary", timeout=30, verify=True))
        FenxiangHook().objects()
        assert heard.requests
        for request in heard.requests:
            assert {name.lower() for name in request.headers} == HEADERS, request.path

    def test_the_header_style_sends_the_three_that_the_vendor_names(
        self, fenxiang: Mapping[str, Any], heard: Listener, connection: ConnectionSetter
    ) -> None:
        connection("fenxiang", **with_extra(fenxiang, style="header", employee_id="1000", open_user_id=None))
        FenxiangHook().objects()
        token, call = heard.requests
        assert {name.lower() for name in token.headers} == HEADERS
        assert {name.lower() for name in call.headers} == HEADERS | {"authorization", "x-fs-ea", "x-fs-userid"}
        assert call.headers["authorization"].startswith("Bearer ")

    def test_the_credentials_go_into_the_token_call_alone(self, fenxiang: Mapping[str, Any], heard: Listener) -> None:
        FenxiangHook().objects()
        carriers = [
            request.path
            for request in heard.requests
            if any(secret in f"{request.headers} {request.query} {request.body!r}" for secret in SECRETS)
        ]
        assert carriers == ["/cgi/corpAccessToken/get/V2"]

    def test_a_netrc_adds_nothing(
        self, fenxiang: Mapping[str, Any], heard: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login leak password leak\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        FenxiangHook().objects()
        assert not any("authorization" in {name.lower() for name in request.headers} for request in heard.requests)

    def test_a_session_of_its_own_carries_no_credentials_either(
        self, fenxiang: Mapping[str, Any], heard: Listener
    ) -> None:
        hook = FenxiangHook()
        hook.get_conn().post(f"{hook.base_url}/somewhere", json={})
        assert {name.lower() for name in heard.requests[0].headers} == HEADERS
        assert not any(secret in f"{heard.requests[0]}" for secret in SECRETS)


class TestReading:
    def test_objects_and_their_fields(self, fenxiang: Mapping[str, Any]) -> None:
        hook = FenxiangHook("fenxiang")
        assert "AccountObj" in {each["describeApiName"] for each in hook.objects()}
        assert "name" in hook.describe("AccountObj")["fields"]

    def test_pages_hold_every_record_of_the_window(self, fenxiang: Mapping[str, Any], simulator: Simulator) -> None:
        pages = list(FenxiangHook().pages("AccountObj", SINCE, UNTIL, ["name"]))
        ids = [record["_id"] for page in pages for record in page.records]
        assert len(ids) == len(set(ids)) == 250
        assert {"_id", "name", "last_modified_time"} <= set(pages[0].records[0])

    def test_all_hooks_of_all_processes_share_one_token(self, fenxiang: Mapping[str, Any], heard: Listener) -> None:
        for _ in range(3):
            FenxiangHook().objects()
        assert heard.paths().count("/cgi/corpAccessToken/get/V2") == 1

    def test_the_pace_is_the_connections(self, fenxiang: Mapping[str, Any], connection: ConnectionSetter) -> None:
        connection("fenxiang", **with_extra(fenxiang, calls="50", per_seconds="20", share=0.5))
        pace = FenxiangHook().client()._pace("/cgi/crm/v2/data/query")
        assert pace.interval == Pace(50, 20.0, 0.5).interval

    def test_all_hooks_of_all_connections_to_one_app_share_one_quota(
        self, fenxiang: Mapping[str, Any], connection: ConnectionSetter, simulator: Simulator, tmp_path: Path
    ) -> None:
        connection("other", **with_extra(fenxiang, calls="10", per_seconds="2"))
        connection("fenxiang", **with_extra(fenxiang, calls="10", per_seconds="2"))
        simulator.knobs.set({"calls": 10, "per_seconds": 2})
        clients = [FenxiangHook(name).client() for name in ("fenxiang", "other", "fenxiang")]
        for number in range(24):
            clients[number % 3].objects()
        limits = simulator.report()["limits"]
        assert limits["burst_refusals"] == {}
        assert limits["most_in_window"]["/cgi/crm/v2/object/list"] <= 10


class TestTheConnection:
    @pytest.mark.parametrize(
        ("given", "url"),
        [
            ({"host": "open.fxiaoke.com"}, "https://open.fxiaoke.com"),
            ({"host": None}, "https://open.fxiaoke.com"),
            ({"host": "127.0.0.1", "schema": "http", "port": 8080}, "http://127.0.0.1:8080"),
            ({"host": "https://open-hwcloud.fxiaoke.com/"}, "https://open-hwcloud.fxiaoke.com"),
        ],
    )
    def test_its_host_may_be_written_as_people_do(
        self, fenxiang: Mapping[str, Any], connection: ConnectionSetter, given: dict[str, Any], url: str
    ) -> None:
        connection("fenxiang", **{**fenxiang, **given})
        hook = FenxiangHook()
        hook.get_conn()
        assert hook.base_url == url

    def test_the_airflow_uri_form_of_a_connection_works_too(
        self, fenxiang: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow.models.connection import Connection

        stored = Connection(conn_id="fenxiang", **{**fenxiang, "extra": fenxiang["extra"]})
        monkeypatch.setenv("AIRFLOW_CONN_FENXIANG", stored.get_uri())
        assert FenxiangHook().test_connection()[0] is True

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"login": ""}, "login (appId)"),
            ({"password": ""}, "password (appSecret)"),
            ({"permanent_code": None}, "extra permanent_code"),
            ({"open_user_id": None}, "extra open_user_id (FSUID_…), or mobile"),
            ({"style": "header"}, "extra employee_id"),
            ({"style": "sideways"}, "'sideways'; give body or header"),
            ({"calls": 0}, "extra calls is 0"),
            ({"calls": 1.5}, "extra calls is 1.5; give a whole number"),
            ({"per_seconds": "often"}, "extra per_seconds is 'often'"),
            ({"share": 1.2}, "extra share is 1.2; give a number above 0 up to 1"),
            ({"timeout": -1}, "extra timeout is -1"),
            ({"host": "ftp://files"}, "host is no URL"),
        ],
    )
    def test_a_field_that_is_missing_or_odd_is_named_with_its_connection(
        self, fenxiang: Mapping[str, Any], connection: ConnectionSetter, change: dict[str, Any], words: str
    ) -> None:
        standard = {name: value for name, value in change.items() if name in ("login", "password", "host")}
        extra = {name: value for name, value in change.items() if name not in standard}
        connection("fenxiang", **{**with_extra(fenxiang, **extra), **standard})
        with pytest.raises(SetupError) as raised:
            FenxiangHook().client()
        assert "'fenxiang'" in str(raised.value)
        assert words in str(raised.value)
        assert not any(secret in str(raised.value) for secret in SECRETS)

    def test_one_that_does_not_exist_is_a_sentence_with_the_way_to_add_it(self) -> None:
        with pytest.raises(SetupError, match="airflow connections add crm") as raised:
            FenxiangHook("crm").client()
        assert "type fenxiang" in str(raised.value)

    def test_it_may_be_in_the_database_without_any_server(
        self, fenxiang: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow.models.connection import Connection
        from airflow.utils.session import create_session

        with create_session() as session:
            session.add(Connection(conn_id="fenxiang_stored", **fenxiang))
        try:
            assert FenxiangHook("fenxiang_stored").objects()
        finally:
            with create_session() as session:
                session.query(Connection).filter(Connection.conn_id == "fenxiang_stored").delete()

    def test_airflow_makes_the_hook_from_the_connection_id_alone(self, fenxiang: Mapping[str, Any]) -> None:
        hook = FenxiangHook(**{FenxiangHook.conn_name_attr: "fenxiang"})
        assert hook.objects()


class TestTheConnectionTest:
    def test_it_says_who_reads_what_and_how_the_clocks_stand(
        self, fenxiang: Mapping[str, Any], simulator: Simulator
    ) -> None:
        good, sentence = FenxiangHook().test_connection()
        assert good, sentence
        assert simulator.url.removeprefix("http://") in sentence
        assert "FSCID_demo" in sentence
        assert "FSUID_demo0000000000000000000000001" in sentence
        assert "objects" in sentence
        assert "clock agrees" in sentence

    def test_it_finds_the_acting_user_by_mobile(
        self, fenxiang: Mapping[str, Any], connection: ConnectionSetter
    ) -> None:
        connection("fenxiang", **with_extra(fenxiang, open_user_id=None, mobile="13800000000"))
        good, sentence = FenxiangHook().test_connection()
        assert good, sentence
        assert "FSUID_demo0000000000000000000000001" in sentence

    def test_it_names_a_clock_that_differs(self, fenxiang: Mapping[str, Any], simulator: Simulator) -> None:
        simulator.clock.advance(300)
        good, sentence = FenxiangHook().test_connection()
        assert good, sentence
        assert "s ahead of ours" in sentence

    def test_it_says_when_airflow_would_show_the_permanent_code(
        self, fenxiang: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        setting = "AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES"
        assert setting in FenxiangHook().test_connection()[1]
        monkeypatch.setenv(setting, "iban,permanent_code")
        assert setting not in FenxiangHook().test_connection()[1]

    def test_wrong_credentials_are_a_sentence_without_the_secret(
        self, fenxiang: Mapping[str, Any], connection: ConnectionSetter
    ) -> None:
        connection("fenxiang", **{**fenxiang, "password": "wrong-secret-19"})
        good, sentence = FenxiangHook().test_connection()
        assert not good
        assert "password (appSecret)" in sentence
        assert "wrong-secret-19" not in sentence

    def test_a_worker_that_reaches_no_database_tests_with_a_token_of_its_own(
        self, fenxiang: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As Airflow's executors run a connection test that the API server handed on."""

        monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")
        monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite:////nowhere/airflow.db")
        monkeypatch.delenv("AIRFLOW_CONN_FENXIANG_HUB")
        before = set(HOME.iterdir())
        hook = FenxiangHook()
        assert hook.test_connection()[0] is True
        assert set(HOME.iterdir()) == before


def test_nothing_secret_is_logged_at_debug(fenxiang: Mapping[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    FenxiangHook().test_connection()
    list(FenxiangHook().pages("AccountObj", SINCE, UNTIL, ["name"]))
    assert "data/query" in caplog.text
    for secret in (*SECRETS, 'corpAccessToken":'):
        assert secret not in caplog.text
