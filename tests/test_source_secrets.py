"""Canaries in every credential: none may show in logs, errors, reprs or tracebacks."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from fenxiang_simulator.server import Request, Response
from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.source import FenxiangClient, Pace, Paces, Retries, SearchQuery, Style, Tokens, pages
from tests.source_fixtures import ALL_TIME, credentials, serving

CANARY = "CANARYx7"
QUERY = SearchQuery(object_name="AccountObj", projection=["_id"])
BUSINESS = [
    Response.json({"errorCode": -1, "errorMessage": "系统繁忙"}),
    Response.json({"errorCode": 20016}),
    Response.json({"errorCode": 20012}),
    Response.json({"errorCode": 77, "errorMessage": "?"}),
    Response.json({"errorCode": 0}),
    Response.json({"errorCode": 0, "data": {"dataList": [{"_id": "1"}]}}),
    Response.html("<title>?</title>"),
    Response.html("?", 404),
    Response(302, {"Location": "https://www.fxiaoke.com/"}),
    Response(503),
    Response(reset=True),
    Response(body=b'{"errorCode":0', truncate_at=3),
    Response(delay_s=5),
]
TOKEN = [
    Response.json({"errorCode": 10006, "errorMessage": "the parameter appSecret is missing or illegal"}),
    Response.json({"errorCode": 20015}),
    Response.json({"errorCode": 0}),
    Response(reset=True),
    Response(503),
    Response.html("<title>?</title>"),
]


@pytest.fixture(params=list(Style))
def style(request: pytest.FixtureRequest) -> Any:
    return request.param


def client_at(url: str, style: Style) -> FenxiangClient:
    who = credentials(
        style,
        app_id=f"FSAID_{CANARY}",
        app_secret=f"secret{CANARY}",
        permanent_code=f"perm{CANARY}",
        mobile="13800000000",
        **({"acting_user": ""} if style is Style.BODY else {}),
    )
    session, few = requests.Session(), Retries(calls=2)
    tokens = Tokens(
        session=session, base_url=url, credentials=who, timeout=(1, 0.2), retries=few, sleep=lambda seconds: None
    )
    return FenxiangClient(
        session=session,
        base_url=url,
        tokens=tokens,
        credentials=who,
        pace=Paces(lambda: Pace(1_000_000, 1, sleep=lambda seconds: None)),
        timeout=(1, 0.2),
        retries=few,
        sleep=lambda seconds: None,
    )


def told(error: BaseException) -> str:
    """All that anybody prints of an error, values of local variables included."""
    printed = [str(error), repr(error), repr(error.args), repr(vars(error))]
    for capture in (False, True):
        of = traceback.TracebackException.from_exception(error, capture_locals=capture)
        printed += list(of.format(chain=True))
    return "\n".join(printed)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def failing(call: Any) -> FenxiangSyncError:
    with pytest.raises(FenxiangSyncError) as raised:
        call()
    return raised.value


def assert_clean(error: FenxiangSyncError, log: str) -> None:
    assert CANARY not in told(error)
    assert CANARY not in log
    for each in chain(error):
        assert not isinstance(each, requests.RequestException)


@pytest.mark.parametrize("business", BUSINESS, ids=lambda response: str(response.status))
def test_no_credential_shows_when_a_call_fails(
    business: Response, style: Style, caplog: pytest.LogCaptureFixture
) -> None:
    token = {"corpAccessToken": f"CAT{CANARY}", "corpId": "FSCID", "accessToken": f"AT{CANARY}", "ea": "demoea"}

    def answer(request: Request) -> Response:
        if request.path.endswith("getByMobile"):
            return Response.json({"errorCode": 0, "empList": [{"openUserId": "FSUID_1"}]})
        asks_for_token = request.path.endswith(("/V2", "/token"))
        return Response.json({"errorCode": 0, "expiresIn": 7200, **token}) if asks_for_token else business

    caplog.set_level(logging.DEBUG)
    with serving(answer) as (url, _):
        client = client_at(url, style)
        error = failing(lambda: list(pages(client, object_name="AccountObj", window=ALL_TIME, projection=())))
        assert CANARY not in repr(vars(client))
    assert caplog.text
    assert_clean(error, caplog.text)


@pytest.mark.parametrize("token", TOKEN, ids=lambda response: str(response.status))
def test_no_credential_shows_when_a_token_call_fails(
    token: Response, style: Style, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(lambda request: token) as (url, _):
        error = failing(lambda: client_at(url, style).query(QUERY))
    assert_clean(error, caplog.text)


def test_what_the_server_echoes_of_a_credential_is_taken_out(style: Style, caplog: pytest.LogCaptureFixture) -> None:
    """A gateway may quote the request in its error."""
    token = {"corpAccessToken": f"CAT{CANARY}", "corpId": "FSCID", "accessToken": f"CAT{CANARY}", "ea": "demoea"}

    def answer(request: Request) -> Response:
        if request.path.endswith("getByMobile"):
            return Response.json({"errorCode": 0, "empList": [{"openUserId": "FSUID_1"}]})
        if request.path.endswith(("/V2", "/token")):
            return Response.json({"errorCode": 0, "expiresIn": 7200, **token})
        quoted = f"bad request: CAT{CANARY} secret{CANARY} perm{CANARY}"
        return Response.json({"errorCode": 77, "errorMessage": quoted, "traceId": f"CAT{CANARY}"})

    caplog.set_level(logging.DEBUG)
    with serving(answer) as (url, _):
        error = failing(lambda: client_at(url, style).query(QUERY))
    assert_clean(error, caplog.text)
    refused = Response.json({"errorCode": 20015, "errorMessage": f"perm{CANARY} secret{CANARY}"})
    with serving(lambda request: refused) as (url, _):
        assert_clean(failing(lambda: client_at(url, style).query(QUERY)), caplog.text)
