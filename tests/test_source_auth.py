from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from fenxiang_simulator import Simulator
from fenxiang_simulator.server import Request, Response
from fenxiang_sync.errors import RefusedError, SetupError, TokenError
from fenxiang_sync.source import FenxiangClient, MemoryTokenStore, Style, Tokens
from fenxiang_sync.source.auth import Token
from tests.source_fixtures import client_of, credentials, serving, simulator, tokens_of

STYLES = list(Style)
TOKEN_PATHS = {Style.BODY: "/cgi/corpAccessToken/get/V2", Style.HEADER: "/oauth2.0/token"}


@pytest.fixture
def server() -> Any:
    with simulator() as running:
        yield running


def token_report(server: Simulator) -> dict[str, int]:
    report: dict[str, int] = server.report()["tokens"]
    return report


def assert_endpoint_respected(server: Simulator) -> None:
    report = token_report(server)
    assert report["concurrent"] == 0
    assert report["over_limit"] == 0
    assert report["most_in_a_minute"] <= 10


@pytest.mark.parametrize("style", STYLES)
def test_a_token_is_used_again_until_it_is_6600_seconds_old(server: Simulator, style: Style) -> None:
    tokens = tokens_of(server, credentials(style))
    first = tokens.token()
    server.clock.advance(6590)
    assert tokens.token() == first
    assert token_report(server)["calls"] == 1
    server.clock.advance(20)
    assert tokens.token().value != first.value
    assert token_report(server)["calls"] == 2


@pytest.mark.parametrize("style", STYLES)
def test_the_tenant_is_what_the_style_needs(server: Simulator, style: Style) -> None:
    assert tokens_of(server, credentials(style)).token().tenant == {"body": "FSCID_demo", "header": "demoea"}[style]


def test_the_age_of_a_token_that_somebody_else_got_earlier_is_known(server: Simulator) -> None:
    first = tokens_of(server).token()
    server.clock.advance(5000)
    latecomer = tokens_of(server)
    assert latecomer.token().value == first.value
    server.clock.advance(1700)
    assert latecomer.token().value != first.value


@pytest.mark.parametrize("expires_in", [None, 0, -5, "7000", 10**9, True])
def test_a_token_without_a_usable_age_counts_as_new(expires_in: Any) -> None:
    answer = {"errorCode": 0, "corpAccessToken": "CAT", "corpId": "FSCID", "expiresIn": expires_in}
    with serving(lambda request: Response.json(answer)) as (url, app):
        tokens = Tokens(session=requests.Session(), base_url=url, credentials=credentials(), sleep=lambda s: None)
        for _ in range(3):
            assert tokens.token().value == "CAT"
    assert len(app.asked) == 1


def test_a_token_that_is_always_short_lived_is_not_asked_for_at_every_call() -> None:
    answer = {"errorCode": 0, "corpAccessToken": "CAT", "corpId": "FSCID", "expiresIn": 300}
    with serving(lambda request: Response.json(answer)) as (url, app):
        tokens = Tokens(session=requests.Session(), base_url=url, credentials=credentials(), sleep=lambda s: None)
        for _ in range(5):
            tokens.token()
    assert len(app.asked) == 1


def test_many_threads_at_once_make_one_token_call(server: Simulator) -> None:
    server.knobs.token_latency_ms = 50
    tokens = tokens_of(server)
    with ThreadPoolExecutor(16) as pool:
        values = {token.value for token in pool.map(lambda _: tokens.token(), range(64))}
    assert len(values) == 1
    assert token_report(server)["calls"] == 1


def test_processes_that_share_a_store_make_one_token_call(server: Simulator) -> None:
    server.knobs.token_latency_ms = 50
    store = MemoryTokenStore()
    processes = [tokens_of(server, store=store) for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        values = {token.value for token in pool.map(Tokens.token, processes)}
    assert len(values) == 1
    assert token_report(server)["calls"] == 1


def test_a_token_that_somebody_else_renewed_is_loaded(server: Simulator) -> None:
    store = MemoryTokenStore()
    one, other = tokens_of(server, store=store), tokens_of(server, store=store)
    refused = one.token()
    assert other.token() == refused
    server.tokens.revoke()
    renewed = one.renew(refused)
    assert other.renew(refused) == renewed
    assert token_report(server)["calls"] == 2


def test_however_often_tokens_are_refused_there_are_never_over_ten_calls_a_minute(server: Simulator) -> None:
    store = MemoryTokenStore()
    for _ in range(30):
        tokens = tokens_of(server, store=store)
        refused = tokens.token()
        server.tokens.revoke()
        tokens.renew(refused)
    assert token_report(server)["calls"] == 31
    assert_endpoint_respected(server)


def test_a_process_that_died_in_its_token_call_still_counts(server: Simulator) -> None:
    store = MemoryTokenStore()
    for _ in range(12):
        server.faults.next("busy", count=1, path=TOKEN_PATHS[Style.BODY])
        with pytest.raises(KeyboardInterrupt):
            tokens_of(server, store=store, retries=Killed()).token()
    tokens_of(server, store=store).token()
    assert token_report(server)["calls"] + 12 == server.requests[TOKEN_PATHS[Style.BODY]] == 13
    waited = server.clock.offset
    assert waited > 12 * 6


class Killed:
    """Stands in for a kill right after the first attempt."""

    def attempts(self, sleep: Any) -> Any:
        yield self

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("fault", ["busy", "system_error", "html_200", "reset", "truncated_json", "throttled"])
def test_a_token_call_that_fails_for_the_moment_is_made_again(server: Simulator, fault: str) -> None:
    server.faults.next(fault, count=2, path=TOKEN_PATHS[Style.BODY])
    assert tokens_of(server).token().value
    assert_endpoint_respected(server)


def test_a_refresh_that_fails_leaves_the_token_that_still_works(server: Simulator) -> None:
    tokens = tokens_of(server)
    first = tokens.token()
    server.clock.advance(6700)
    server.faults.rate("busy", 1.0, TOKEN_PATHS[Style.BODY])
    assert tokens.token().value == first.value
    asked = server.requests[TOKEN_PATHS[Style.BODY]]
    assert tokens.token().value == first.value
    assert server.requests[TOKEN_PATHS[Style.BODY]] == asked
    server.faults.clear()
    server.clock.advance(61)
    assert tokens.token().value != first.value


def test_without_any_token_the_failure_is_told(server: Simulator) -> None:
    server.faults.rate("throttled", 1.0, TOKEN_PATHS[Style.BODY])
    with pytest.raises(TokenError, match="30004"):
        tokens_of(server).token()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"app_secret": "canary"}, r"password \(appSecret\)"),
        ({"app_id": "FSAID_canary"}, r"login \(appId\)"),
        ({"permanent_code": "canary"}, "extra permanent_code"),
    ],
)
def test_a_wrong_credential_is_told_by_the_field_to_mend(
    server: Simulator, style: Style, changes: dict[str, str], named: str
) -> None:
    with pytest.raises(RefusedError, match=named) as raised:
        tokens_of(server, credentials(style, connection="fenxiang_cn", **changes)).token()
    assert "'fenxiang_cn'" in str(raised.value)
    assert "canary" not in str(raised.value)
    assert token_report(server)["calls"] == 1


def test_a_token_answer_without_a_token_is_refused() -> None:
    answer = Response.json({"errorCode": 0, "expiresIn": 7200})
    with serving(lambda request: answer) as (url, _), pytest.raises(RefusedError, match="corpAccessToken and corpId"):
        Tokens(session=requests.Session(), base_url=url, credentials=credentials()).token()


@pytest.mark.parametrize(
    ("style", "changes", "named"),
    [
        (Style.BODY, {"app_id": ""}, "login"),
        (Style.BODY, {"app_secret": ""}, "password"),
        (Style.BODY, {"permanent_code": ""}, "permanent_code"),
        (Style.BODY, {"acting_user": ""}, "open_user_id"),
        (Style.HEADER, {"acting_user": "", "mobile": "13800000000"}, "employee_id"),
    ],
)
def test_a_connection_that_lacks_something_says_what(style: Style, changes: dict[str, str], named: str) -> None:
    with pytest.raises(SetupError, match=named):
        credentials(style, **changes)


def test_no_secret_shows_in_a_repr() -> None:
    who = credentials(app_secret="canary1", permanent_code="canary2", mobile="canary3")
    assert "canary" not in repr(who)
    assert "canary" not in repr(Token("canary", "FSCID_demo", 0, 0))


def test_the_acting_user_is_found_by_mobile_once(server: Simulator) -> None:
    client = client_of(server, credentials(acting_user="", mobile="13800000000"))
    assert client.acting_user() == client.acting_user() == "FSUID_demo0000000000000000000000001"
    assert client.objects()
    assert client.calls["/cgi/user/getByMobile"] == 1


def test_a_mobile_number_that_nobody_has_is_told_without_showing_it(server: Simulator) -> None:
    client = client_of(server, credentials(acting_user="", mobile="13912345678"))
    with pytest.raises(SetupError, match=r"nobody.*…5678.*'fenxiang'.*open_user_id"):
        client.objects()


def test_a_mobile_number_that_several_have_is_told() -> None:
    def answer(request: Request) -> Response:
        if request.path.endswith("V2"):
            return Response.json({"errorCode": 0, "corpAccessToken": "CAT", "corpId": "FSCID", "expiresIn": 7200})
        return Response.json({"errorCode": 0, "empList": [{"openUserId": "FSUID_1"}, {"openUserId": "FSUID_2"}]})

    with serving(answer) as (url, _):
        who = credentials(acting_user="", mobile="13800000000")
        tokens = Tokens(session=requests.Session(), base_url=url, credentials=who)
        client = FenxiangClient(session=requests.Session(), base_url=url, tokens=tokens, credentials=who)
        with pytest.raises(SetupError, match="2 employees"):
            client.acting_user()


def test_an_acting_user_that_is_none_is_told_by_the_field_to_mend(server: Simulator) -> None:
    with pytest.raises(RefusedError, match="extra open_user_id"):
        client_of(server, credentials(acting_user="FSUID_nobody")).objects()
    with pytest.raises(RefusedError, match="employee_id"):
        client_of(server, credentials(Style.HEADER, acting_user="9999")).objects()


@pytest.mark.parametrize("style", STYLES)
def test_a_call_has_its_credentials_in_one_style_only(style: Style) -> None:
    def answer(request: Request) -> Response:
        token = {"corpAccessToken": "TOK", "corpId": "FSCID", "accessToken": "TOK", "ea": "demoea"}
        return Response.json({"errorCode": 0, "data": {"objects": []}, **token})

    with serving(answer) as (url, app):
        who = credentials(style)
        tokens = Tokens(session=requests.Session(), base_url=url, credentials=who)
        FenxiangClient(session=requests.Session(), base_url=url, tokens=tokens, credentials=who).objects()
    asked, call = app.asked
    assert asked.path == TOKEN_PATHS[style]
    named = {name.lower() for name in call.headers if re.match("authorization|x-fs", name, re.IGNORECASE)}
    if style is Style.HEADER:
        assert asked.json()["grantType"] == "app_secret"
        assert named == {"authorization", "x-fs-ea", "x-fs-userid"}
        assert call.headers["authorization"] == "Bearer TOK"
        assert call.json() == {}
    else:
        assert named == set()
        assert call.json() == {"corpAccessToken": "TOK", "corpId": "FSCID", "currentOpenUserId": who.acting_user}
    assert call.query["thirdTraceId"] != asked.query["thirdTraceId"]
