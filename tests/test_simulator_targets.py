"""The simulated targets, by plain HTTP calls as their documents describe them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from fenxiang_simulator import kingdee
from fenxiang_simulator.targets import Fault, IdRule
from tests.targets_fixtures import HANG_S, Stand, stand

STORE = "/v2/open-api/business/demo/store"
QUERY = "/v2/open-api/business/demo/query"


@pytest.fixture
def simulated() -> Iterator[Stand]:
    with stand() as made:
        yield made


def post(simulated: Stand, path: str, body: Any, **options: Any) -> Any:
    return requests.post(simulated.url + path, json=body, timeout=5, **options).json()


def token(simulated: Stand) -> str:
    body = {"app_key": simulated.login, "app_secret": simulated.password}
    granted: str = post(simulated, "/v2/oauth", body)["content"]["access_token"]
    return granted


def store(simulated: Stand, *contents: dict[str, Any]) -> Any:
    return post(simulated, STORE, {"content": list(contents)}, params={"access_token": token(simulated)})


def test_the_token_endpoint_answers_as_documented(simulated: Stand) -> None:
    body = {"app_key": simulated.login, "app_secret": simulated.password}
    answer = post(simulated, "/v2/oauth", body)
    assert (answer["success"], answer["code"], answer["content"]["expires_in"]) == (True, 0, 7200)
    assert len(simulated.login) == 12
    assert len(simulated.password) == 20


@pytest.mark.parametrize(("page", "code"), [(1, 40101), (2, 40001), (3, 10001)])
def test_wrong_keys_are_refused_with_the_code_of_the_page(simulated: Stand, page: int, code: int) -> None:
    simulated.targets.knobs.qeasy_error_page = page
    answer = post(simulated, "/v2/oauth", {"app_key": "no", "app_secret": "no"})
    assert (answer["success"], answer["code"], answer["content"]) == (False, code, None)


def test_the_token_is_taken_from_the_query_or_the_header_until_it_expires(simulated: Stand) -> None:
    granted = token(simulated)
    in_query = {"params": {"access_token": granted}}
    in_header = {"headers": {"Authorization": f"Bearer {granted}"}}
    for where in (in_query, in_header):
        assert post(simulated, STORE, {"content": [{"_id": "1"}]}, **where)["code"] == 0
    assert post(simulated, STORE, {"content": [{"_id": "1"}]})["code"] == 40102
    simulated.clock.advance(7_201)
    assert post(simulated, STORE, {"content": [{"_id": "1"}]}, **in_query)["code"] == 40102


def test_store_counts_and_a_missing_required_field_refuses_the_batch(simulated: Stand) -> None:
    simulated.targets.knobs.qeasy_required = {"demo": ["FNumber"]}
    assert store(simulated, {"_id": "1", "FNumber": "A"})["content"] == {"inserted": 1, "failed": 0}
    refused = store(simulated, {"_id": "2", "FNumber": "B"}, {"_id": "3"})
    assert refused == {"success": False, "code": 40001, "message": "必填字段缺失: FNumber", "content": None}
    assert [row.id for row in simulated.targets.qeasy.rows("demo")] == ["1"]


def test_store_takes_the_good_rows_where_it_fails_in_part(simulated: Stand) -> None:
    simulated.targets.knobs.qeasy_required = {"demo": ["FNumber"]}
    simulated.targets.knobs.qeasy_partial = True
    assert store(simulated, {"_id": "2", "FNumber": "B"}, {"_id": "3"})["content"] == {"inserted": 1, "failed": 1}
    assert [row.id for row in simulated.targets.qeasy.rows("demo")] == ["2"]


@pytest.mark.parametrize(
    ("rule", "held"),
    [(IdRule.APPEND, ["old", "new"]), (IdRule.OVERWRITE, ["new"]), (IdRule.REPEAT, ["old"])],
)
def test_what_a_known_id_does_is_the_rule_of_the_scheme(simulated: Stand, rule: IdRule, held: list[str]) -> None:
    simulated.targets.knobs.qeasy_id_rule = rule
    store(simulated, {"_id": "1", "name": "old"})
    store(simulated, {"_id": "1", "name": "new"})
    assert [content["name"] for content in simulated.targets.qeasy.contents("demo")] == held
    assert simulated.targets.report()["qeasy"]["schemes"]["demo"]["repeats"] == (1 if rule is IdRule.REPEAT else 0)


@pytest.mark.parametrize("in_body", [True, False])
def test_the_sixty_first_call_of_a_minute_ends_five_minutes_of_calls(simulated: Stand, in_body: bool) -> None:
    simulated.targets.knobs.qeasy_throttle_in_body = in_body
    where = {"params": {"access_token": token(simulated)}}
    for _ in range(59):
        assert post(simulated, QUERY, {}, **where)["code"] == 0
    throttled = requests.post(simulated.url + QUERY, json={}, timeout=5, **where)
    assert throttled.status_code == (200 if in_body else 429)
    assert throttled.json()["code"] == 42901
    if not in_body:
        assert throttled.headers["Retry-After"] == "300"
    simulated.clock.advance(295)
    assert post(simulated, QUERY, {}, **where)["code"] == 42901
    simulated.clock.advance(10)
    assert post(simulated, QUERY, {}, **where)["code"] == 0


def test_query_pages_and_filters_and_find_one_gives_one(simulated: Stand) -> None:
    store(simulated, *({"_id": str(number), "name": f"n{number}", "size": number} for number in range(25)))
    where = {"params": {"access_token": token(simulated)}}
    page = post(simulated, QUERY, {"page": 3, "pageSize": 10}, **where)["content"]
    assert (page["total"], [row["id"] for row in page["list"]]) == (25, ["20", "21", "22", "23", "24"])
    found = post(simulated, QUERY, {"CONTENT_size": {"$gte": 23}}, **where)["content"]["list"]
    assert [row["content"]["size"] for row in found] == [23, 24]
    found = post(simulated, QUERY, {"CONTENT_name": "2", "pageSize": 100}, **where)["content"]["list"]
    assert [row["id"] for row in found] == ["2", "12", "20", "21", "22", "23", "24"]
    later = post(simulated, QUERY, {"begin_at": simulated.clock.now() + 1}, **where)["content"]
    assert later["list"] == []
    one = requests.get(f"{simulated.url}/v2/open-api/business/demo/find-one/{found[0]['_id']}", timeout=5, **where)
    assert one.json()["content"]["content"]["name"] == "n2"


def test_the_older_query_takes_a_form_and_shows_ten_rows(simulated: Stand) -> None:
    store(simulated, *({"_id": str(number), "day": f"2026-01-{number + 1:02d}"} for number in range(25)))
    form = {"token": token(simulated), "page": "1", "condition[content.day][$gte]": "2026-01-11"}
    url = f"{simulated.url}/api/open/operation/demo/query"
    content = requests.post(url, data=form, timeout=5).json()["content"]
    assert (content["total"], len(content["rows"]), content["rows"][0]["id"]) == (15, 10, "10")


def test_bodies_may_be_packed(simulated: Stand) -> None:
    body = gzip.compress(json.dumps({"content": [{"_id": "1"}]}).encode())
    headers = {"Content-Encoding": "gzip", "Authorization": f"Bearer {token(simulated)}"}
    answer = requests.post(simulated.url + STORE, data=body, headers=headers, timeout=5)
    assert answer.json()["content"] == {"inserted": 1, "failed": 0}


@pytest.mark.parametrize("body", [b"", b"[1]", b"no json", b'{"content":[]}', b'{"content":[1]}', b'{"content":{}}'])
def test_a_body_that_is_none_is_a_parameter_error(simulated: Stand, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {token(simulated)}"}
    assert requests.post(simulated.url + STORE, data=body, headers=headers, timeout=5).json()["code"] == 40001


def test_write_takes_one_object_and_insists_on_its_id(simulated: Stand) -> None:
    url = simulated.url + "/write"
    assert requests.post(url, json={"id": "WH1", "name": "a"}, timeout=5).status_code == 200
    for record in ({"name": "b"}, {"id": ""}, {"id": None}):
        refused = requests.post(url, json=record, timeout=5)
        assert (refused.status_code, refused.json()) == (400, {"message": "ID is required for data loading."})
    assert requests.post(url, json=[{"id": "WH2"}], timeout=5).status_code == 400
    assert requests.get(url, timeout=5).status_code == 405
    assert simulated.targets.write.rows == [{"id": "WH1", "name": "a"}]
    assert simulated.targets.report()["write"] == {"requests": 6, "refused": 4, "rows": 1}


@pytest.mark.parametrize(("appends", "held"), [(False, ["new"]), (True, ["old", "new"])])
def test_write_replaces_by_id_or_adds(simulated: Stand, appends: bool, held: list[str]) -> None:
    simulated.targets.knobs.write_appends = appends
    for name in ("old", "new"):
        requests.post(simulated.url + "/write", json={"id": 1, "name": name}, timeout=5)
    assert [row["name"] for row in simulated.targets.write.rows] == held


@pytest.mark.parametrize("fault", list(Fault))
def test_each_fault_stores_the_row_exactly_when_its_name_says_so(simulated: Stand, fault: Fault) -> None:
    simulated.targets.faults.inject(fault, on="write")
    try:
        answer = requests.post(simulated.url + "/write", json={"id": 1}, timeout=HANG_S / 3)
        seen = "page" if answer.text.startswith("<") else "json"
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        seen = "dropped"
    except requests.Timeout:
        seen = "silent"
    assert len(simulated.targets.write.rows) == (1 if fault.commits else 0)
    expected = {"drop": "dropped", "hang": "silent", "html": "page", "unavailable": "page", "bad": "page"}
    assert seen == expected.get(fault.split("_")[0], "dropped" if "truncated" in fault else "json")
    assert requests.post(simulated.url + "/write", json={"id": 2}, timeout=5).status_code == 200


def test_faults_by_chance_are_the_same_for_one_seed() -> None:
    def outcomes() -> list[int]:
        with stand() as simulated:
            simulated.targets.knobs.rates = {Fault.UNAVAILABLE: 0.3}
            url = simulated.url + "/write"
            return [requests.post(url, json={"id": 1}, timeout=5).status_code for _ in range(20)]

    first = outcomes()
    assert {200, 503} == set(first)
    assert first == outcomes()


K3 = "/k3cloud/Kingdee.BOS.WebApi.ServicesStub."


def k3(simulated: Stand, service: str, body: Any) -> Any:
    """A call of a Kingdee session of its own."""
    told = {"acctID": kingdee.ACCT_ID, "username": kingdee.USER, "appId": kingdee.APP_ID}
    login = post(simulated, f"{K3}AuthService.LoginByAppSecret.common.kdsvc", {**told, "appSecret": kingdee.APP_SECRET})
    cookies = {kingdee.COOKIE: login["KDSVCSessionId"]}
    return post(simulated, f"{K3}DynamicFormService.{service}.common.kdsvc", body, cookies=cookies)


def test_kingdee_answers_each_document_by_its_place_and_numbers_those_without_a_number(simulated: Stand) -> None:
    models = [{"FNumber": "A"}, {"FNumber": "A"}, {"FName": "x"}, {"FID": 7}]
    status = k3(simulated, "BatchSave", {"formid": "F", "data": {"Model": models}})["Result"]["ResponseStatus"]
    assert status["IsSuccess"] is False
    assert [entry["DIndex"] for entry in status["SuccessEntitys"]] == [0, 2]
    assert {entry["DIndex"]: entry["FieldName"] for entry in status["Errors"]} == {1: "FNumber", 3: "FID"}
    assert [bill.number for bill in simulated.targets.kingdee.bills("F")][1].startswith("AUTO")


@pytest.mark.parametrize(
    ("service", "body"),
    [
        ("BatchSave", {"formid": "F", "data": {"Model": []}}),
        ("BatchSave", ["no object"]),
        ("Submit", {"formid": "F", "data": {"Numbers": "A"}}),
        ("ExcuteOperation", {"formid": "F", "opNumber": "Vanish", "data": {"Numbers": []}}),
    ],
)
def test_a_body_that_kingdee_cannot_read_is_refused_as_a_whole(simulated: Stand, service: str, body: Any) -> None:
    status = k3(simulated, service, body)["Result"]["ResponseStatus"]
    assert status["IsSuccess"] is False
    assert all("DIndex" not in entry for entry in status["Errors"])


def test_a_kingdee_query_that_cannot_be_read_is_a_row_of_one_error(simulated: Stand) -> None:
    ((answer,),) = k3(simulated, "ExecuteBillQuery", {"data": {"FormId": "F", "FilterString": "1 in ("}})
    assert answer["Result"]["ResponseStatus"]["IsSuccess"] is False
