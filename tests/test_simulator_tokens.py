"""Tokens and credentials as the documentation and recorded calls show them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fenxiang_simulator import Simulator
from tests.simulator_fixtures import APP, BODY_TOKEN, HEADER_TOKEN, Api

QUERY = "/cgi/crm/v2/data/query"
BODY = {"data": {"dataObjectApiName": "AccountObj", "search_query_info": {"limit": 1, "offset": 0, "filters": []}}}
BAD_SECRET = "the parameter appSecret is missing or illegal"
BAD_TOKEN = "the cropId,cropAccessToken or authorization is error"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(records={"AccountObj": 20}) as running:
        yield running


@pytest.fixture
def api(simulator: Simulator) -> Api:
    return Api(simulator)


def test_the_body_style_endpoint_answers_at_the_top_level(api: Api) -> None:
    answer = api.token_call(BODY_TOKEN)

    assert answer.pop("corpAccessToken").startswith("CAT")
    assert answer == {"errorCode": 0, "errorMessage": "success", "corpId": "FSCID_demo", "expiresIn": 7200}


def test_the_header_style_endpoint_names_the_company_as_open_user(api: Api) -> None:
    answer = api.token_call(HEADER_TOKEN)

    assert answer.pop("accessToken").startswith("AT")
    assert answer.pop("traceId").startswith("E-O.")
    assert answer == {
        "errorCode": 0,
        "errorMessage": "success",
        "expiresIn": 7200,
        "appId": "FSAID_demo001",
        "ea": "demoea",
        "openUserId": "FSCID_demo",
    }


def test_expires_in_is_what_is_left(api: Api, simulator: Simulator) -> None:
    api.token_call()
    simulator.clock.advance(116)

    assert api.token_call()["expiresIn"] in (7083, 7084)


@pytest.mark.parametrize("path", [BODY_TOKEN, HEADER_TOKEN])
@pytest.mark.parametrize("secret", ["wrong", "", None])
def test_a_wrong_or_missing_secret_is_10006(api: Api, path: str, secret: str | None) -> None:
    answer = api.token_call(path, appSecret=secret)

    assert (answer["errorCode"], answer["errorMessage"], answer["errorDescription"]) == (10006, BAD_SECRET, BAD_SECRET)
    assert ("error" in answer, "error_description" in answer) == (path == HEADER_TOKEN, path == HEADER_TOKEN)


def test_a_wrong_permanent_code_is_20015_and_a_wrong_app_20006(api: Api) -> None:
    assert api.token_call(permanentCode="x")["errorCode"] == 20015
    assert api.token_call(appId="FSAID_other")["errorCode"] == 20006


def test_the_path_without_v2_asks_for_the_token_of_2015(api: Api) -> None:
    answer = api.post("/cgi/corpAccessToken/get", APP).json()

    assert answer["errorCode"] != 0
    assert answer["errorMessage"] == "the parameter appAccessToken is missing or illegal"


def test_an_unknown_oauth_path_is_200_with_10006(api: Api) -> None:
    response = api.post("/oauth2.0/x", {})

    assert response.status_code == 200
    assert response.json()["errorCode"] == 10006
    assert response.json()["errorMessage"] == "the request uri=[/oauth2.0/x],apiName=[null] is not exists"


def test_any_other_unknown_path_is_a_404_page(api: Api) -> None:
    for path in ("/cgi/mcp", "/api/mcp", "/cgi/crm/v2/data/nothing"):
        response = api.post(path, {})

        assert response.status_code == 404
        assert "text/html" in response.headers["Content-Type"]


def test_a_token_stays_the_same_for_6600_seconds_and_both_work_until_7200(api: Api, simulator: Simulator) -> None:
    def works(token: str) -> bool:
        credentials = {"corpAccessToken": token, "corpId": "FSCID_demo", "currentOpenUserId": api.user}
        return api.post(QUERY, {**credentials, **BODY}).json()["errorCode"] == 0

    first = api.token_call()["corpAccessToken"]
    simulator.clock.advance(6590)
    assert api.token_call()["corpAccessToken"] == first

    simulator.clock.advance(20)
    second = api.token_call()["corpAccessToken"]
    assert second != first
    assert works(first)
    assert works(second)
    assert api.token_call()["corpAccessToken"] == second

    simulator.clock.advance(600)
    assert not works(first)
    assert works(second)


def test_a_token_that_was_never_renewed_is_dead_after_7200_seconds(api: Api, simulator: Simulator) -> None:
    assert api.query("AccountObj")["errorCode"] == 0
    simulator.clock.advance(7201)

    assert api.query("AccountObj")["errorCode"] == 20016


def test_a_call_without_credentials_is_20017_word_for_word(api: Api) -> None:
    answer = api.post(QUERY, BODY).json()

    assert answer.pop("traceId").startswith("E-O.null.-1000-")
    assert answer == {"errorMessage": "corpAccessToken为必填项，不能为空", "errorCode": 20017}


@pytest.mark.parametrize("style", ["body", "header"])
def test_a_wrong_token_is_20016_word_for_word_in_both_styles(simulator: Simulator, style: str) -> None:
    api = Api(simulator, style=style)
    simulator.tokens.revoke()
    api.token_call()
    api._token = "nonsense"

    answer = api.call(QUERY, BODY)
    assert answer.pop("traceId").startswith("E-O.null.-1000-")
    assert answer == {"errorMessage": BAD_TOKEN, "errorCode": 20016}


@pytest.mark.parametrize("headers", [{"x-fs-ea": "otherea"}, {"authorization": "Token x"}, {"authorization": "x"}])
def test_a_wrong_tenant_or_scheme_is_20016(simulator: Simulator, headers: dict[str, str]) -> None:
    api = Api(simulator, style="header")
    good = {"authorization": f"Bearer {api.token}", "x-fs-ea": "demoea", "x-fs-userid": "1000"}

    assert api.post(QUERY, BODY, headers=good).json()["errorCode"] == 0
    assert api.post(QUERY, BODY, headers={**good, **headers}).json()["errorCode"] == 20016


def test_without_an_acting_user_the_server_asks_for_one_unless_the_knob_says_otherwise(
    api: Api, simulator: Simulator
) -> None:
    api.user = ""
    assert api.query("AccountObj")["errorMessage"] == "currentOpenUserId 不能为空"

    simulator.knobs.missing_acting_user = "accept"
    assert api.query("AccountObj")["errorCode"] == 0


def test_an_acting_user_in_the_form_of_the_other_style_is_not_found(simulator: Simulator) -> None:
    assert Api(simulator, user="1000").query("AccountObj")["errorCode"] == 20012
    assert (
        Api(simulator, style="header", user="FSUID_demo0000000000000000000000001").query("AccountObj")["errorCode"] != 0
    )


def test_the_styles_write_people_in_their_own_way(simulator: Simulator) -> None:
    by_body, by_header = Api(simulator), Api(simulator, style="header")
    filters = ("owner", "ISN", [])

    (fsuid,) = by_body.rows("AccountObj", filters, fields=["owner"], limit=1)[0]["owner"]
    (number,) = by_header.rows("AccountObj", filters, fields=["owner"], limit=1)[0]["owner"]
    assert fsuid.startswith("FSUID_demo")
    assert number.isdigit()
    assert by_header.rows("AccountObj", filters, fields=["owner"], limit=1, top={"convertUserId": True})[0][
        "owner"
    ] == [fsuid]

    simulator.knobs.token_style_ids = "always_fsuid"
    assert by_header.rows("AccountObj", filters, fields=["owner"], limit=1)[0]["owner"] == [fsuid]


def test_both_styles_in_one_call_are_reported(simulator: Simulator) -> None:
    api = Api(simulator, style="header")
    api.call(QUERY, {**BODY, "corpAccessToken": api.token, "corpId": "FSCID_demo"})

    assert simulator.report()["mixed_styles"] == 1


@pytest.mark.parametrize("code", [14001, 30004, -1])
def test_the_eleventh_token_call_of_a_minute_is_refused_and_reported(api: Api, simulator: Simulator, code: int) -> None:
    simulator.knobs.token_over_limit_code = code
    codes = [api.token_call()["errorCode"] for _ in range(11)]

    assert codes == [0] * 10 + [code]
    assert simulator.report()["tokens"]["over_limit"] == 1
    simulator.clock.advance(60)
    assert api.token_call()["errorCode"] == 0


def test_token_calls_at_once_are_reported_and_refused_where_the_knob_says_so(simulator: Simulator) -> None:
    simulator.knobs.token_latency_ms = 200
    with ThreadPoolExecutor(3) as pool:
        codes = list(pool.map(lambda _: Api(simulator).token_call()["errorCode"], range(3)))
    assert codes == [0, 0, 0]
    assert simulator.report()["tokens"]["concurrent"] == 2

    simulator.knobs.token_concurrent = "reject"
    with ThreadPoolExecutor(3) as pool:
        codes = list(pool.map(lambda _: Api(simulator).token_call()["errorCode"], range(3)))
    assert sorted(codes) == [0, 14001, 14001]


def test_a_missing_trace_id_is_refused_where_the_knob_says_so(api: Api, simulator: Simulator) -> None:
    simulator.knobs.missing_third_trace_id = "reject"

    assert api.query("AccountObj")["errorCode"] == 32000
    assert api.call(f"{QUERY}?thirdTraceId=1", BODY)["errorCode"] == 0


def test_get_by_mobile_finds_the_acting_user_without_one(api: Api) -> None:
    credentials = {"corpAccessToken": api.token, "corpId": "FSCID_demo"}
    answer = api.post("/cgi/user/getByMobile", {**credentials, "mobile": "13800000000"}).json()

    assert answer["errorCode"] == 0
    assert answer["empList"][0]["openUserId"] == "FSUID_demo0000000000000000000000001"
    assert api.post("/cgi/user/getByMobile", {**credentials, "mobile": "1"}).json()["empList"] == []


def test_the_directory_lists_people_and_departments_at_the_top_level(api: Api) -> None:
    everybody = api.call("/cgi/user/list", {"departmentId": 999999, "fetchChild": True})["userList"]
    short = api.call("/cgi/user/simpleList", {})["userList"]

    assert len(everybody) == len(short) == 24
    assert set(short[0]) == {"openUserId", "name", "nickName"}
    assert len(api.call("/cgi/user/list", {"departmentId": 1007})["userList"]) < 24
    assert api.call("/cgi/user/list", {"departmentId": 5})["errorCode"] == 30007
    assert len(api.call("/cgi/department/list", {})["departments"]) == 8
    assert api.call("/cgi/user/get", {"openUserId": api.user})["name"] == "系统管理员"
