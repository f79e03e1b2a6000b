"""Limits and faults: throttling, quotas, and answers that go wrong on demand."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from fenxiang_simulator import FAULTS, Knobs, Simulator
from tests.simulator_fixtures import CUSTOM, PRESET, Api

QUERY = f"{PRESET}/data/query"
BODY = {"data": {"dataObjectApiName": "AccountObj", "search_query_info": {"limit": 1, "offset": 0, "filters": []}}}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(records={"AccountObj": 250}) as running:
        yield running


@pytest.fixture
def api(simulator: Simulator) -> Api:
    return Api(simulator)


def codes(api: Api, count: int, path: str = QUERY) -> list[int]:
    return [api.call(path, BODY)["errorCode"] for _ in range(count)]


@pytest.mark.parametrize("code", [30004, 14001])
def test_the_101st_call_of_a_path_in_20_seconds_is_refused(api: Api, simulator: Simulator, code: int) -> None:
    simulator.knobs.burst_code = code

    assert codes(api, 101) == [0] * 100 + [code]
    response = api.send(QUERY, BODY)
    assert response.status_code == 200
    assert "Retry-After" not in response.headers
    report = simulator.report()["limits"]
    assert report["burst_refusals"] == {QUERY: 2}
    assert report["most_in_window"] == {QUERY: 102}
    simulator.clock.advance(20)
    assert codes(api, 1) == [0]


def test_each_path_has_a_counter_of_its_own_unless_the_enterprise_shares_one(api: Api, simulator: Simulator) -> None:
    simulator.knobs.calls = 3

    assert codes(api, 4) == [0, 0, 0, 30004]
    assert codes(api, 1, f"{CUSTOM}/data/query") == [0]
    simulator.knobs.burst_scope = "enterprise"
    assert codes(api, 3) + codes(api, 1, f"{CUSTOM}/data/query") == [0, 0, 0, 30004]


@pytest.mark.parametrize(("scope", "second"), [("path_and_app", 0), ("path_and_enterprise", 30004)])
def test_two_apps_share_a_counter_or_do_not(api: Api, simulator: Simulator, scope: str, second: int) -> None:
    simulator.knobs.set({"calls": 2, "burst_scope": scope})
    other = Api(simulator)
    other._token = other.token_call(appId="FSAID_demo002")["corpAccessToken"]

    assert codes(api, 2) == [0, 0]
    assert codes(other, 1) == [second]


def test_a_sliding_window_frees_call_by_call_and_a_fixed_one_at_once(api: Api, simulator: Simulator) -> None:
    simulator.knobs.calls = 2
    assert codes(api, 1) == [0]
    simulator.clock.advance(15)
    assert codes(api, 2) == [0, 30004]
    simulator.clock.advance(6)
    assert codes(api, 2) == [0, 30004]

    simulator.knobs.burst_window = "fixed"
    simulator.clock.advance(20 - simulator.clock.elapsed() % 20 + 19)
    assert codes(api, 3) == [0, 0, 30004]
    simulator.clock.advance(2)
    assert codes(api, 3) == [0, 0, 30004]


@pytest.mark.parametrize(("zone", "hour"), [("Asia/Shanghai", 16), ("UTC", 24)])
def test_the_day_quota_ends_with_30002_until_midnight(api: Api, simulator: Simulator, zone: str, hour: int) -> None:
    simulator.knobs.set({"day_quota": 3, "quota_reset_tz": zone})
    noon = 86_400 - simulator.clock.now() % 86_400 + 12 * 3600
    simulator.clock.advance(noon)
    api = Api(simulator)

    assert codes(api, 4) == [0, 0, 0, 30002]
    simulator.clock.advance((hour - 12) * 3600 - 60)
    api._token = None
    assert codes(api, 1) == [30002]
    simulator.clock.advance(120)
    assert codes(api, 1) == [0]


def test_without_a_quota_pack_every_call_is_30003(api: Api, simulator: Simulator) -> None:
    simulator.knobs.quota_pack = False

    assert codes(api, 2) == [30003, 30003]


def test_a_refused_token_uses_no_quota(api: Api, simulator: Simulator) -> None:
    api._token = "nonsense"
    codes(api, 5)

    assert simulator.report()["limits"]["calls_today"] == 0


# Faults

ANSWERS: dict[str, tuple[int, Any]] = {
    "redirect": (302, None),
    "html_404": (404, "<html>"),
    "html_200": (200, "<!DOCTYPE html>"),
    "http_502": (502, "<html>"),
    "http_503": (503, None),
    "busy": (200, -1),
    "system_error": (200, -2),
    "timeout_code": (200, 50009),
    "throttled": (200, 30004),
    "over_limit": (200, 14001),
    "token_expired": (200, 20016),
}


@pytest.mark.parametrize("fault", ANSWERS)
def test_a_fault_comes_in_place_of_the_answer_once(api: Api, simulator: Simulator, fault: str) -> None:
    api.token  # noqa: B018  (fetched before the fault)
    simulator.faults.next(fault)
    status, content = ANSWERS[fault]
    response = api.send(QUERY, BODY)

    assert response.status_code == status
    if isinstance(content, int):
        assert response.json()["errorCode"] == content
    elif content:
        assert response.text.startswith(content)
    assert codes(api, 1) == [0]
    assert simulator.report()["faults"]["injected"] == {fault: 1}
    assert simulator.queries[-1].rows == 1


def test_half_an_answer_is_no_json(api: Api, simulator: Simulator) -> None:
    simulator.faults.next("truncated_json", path="/query")
    response = api.send(QUERY, BODY)

    assert response.status_code == 200
    with pytest.raises(ValueError):
        response.json()


@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_a_connection_breaks_although_the_request_was_carried_out(api: Api, simulator: Simulator, fault: str) -> None:
    simulator.faults.next(fault, path="/create")
    before = len(simulator.tenant.records("AccountObj"))
    with pytest.raises(requests.RequestException, match="reset by peer" if fault == "reset" else "Incomplete"):
        api.send(f"{PRESET}/data/create", {"data": {"object_data": {"dataObjectApiName": "AccountObj", "name": "x"}}})

    assert len(simulator.tenant.records("AccountObj")) == before + 1
    assert codes(api, 1) == [0]


def test_a_late_write_is_carried_out_after_its_connection_was_reset(api: Api, simulator: Simulator) -> None:
    simulator.faults.next("late", path="/create")
    before = len(simulator.tenant.records("AccountObj"))
    with pytest.raises(requests.RequestException, match="reset by peer"):
        api.send(f"{PRESET}/data/create", {"data": {"object_data": {"dataObjectApiName": "AccountObj", "name": "x"}}})

    assert codes(api, 1) == [0]
    assert len(simulator.tenant.records("AccountObj")) == before
    simulator.clock.advance(5)
    assert codes(api, 1) == [0]
    assert len(simulator.tenant.records("AccountObj")) == before + 1


def test_an_answer_that_hangs_runs_into_the_clients_timeout(api: Api, simulator: Simulator) -> None:
    api.token  # noqa: B018
    simulator.faults.next("hang")
    with pytest.raises(requests.ReadTimeout):
        api.session.post(simulator.url + QUERY, json={}, timeout=0.2)


@pytest.mark.parametrize("fault", ["slow", "slow_head"])
def test_a_slow_answer_comes_whole(api: Api, simulator: Simulator, fault: str) -> None:
    simulator.faults.next(fault, path="/query")

    assert len(api.rows("AccountObj")) == 100


def test_a_huge_answer_goes_on_after_its_json(api: Api, simulator: Simulator) -> None:
    simulator.faults.next("huge", path="/query")
    with api.session.post(simulator.url + QUERY, json={}, timeout=10, stream=True) as response:
        assert int(response.headers["Content-Length"]) > 100_000_000
        assert response.raw.read(1) == b"{"


def test_pages_are_repeated_emptied_shortened_or_lose_a_row(api: Api, simulator: Simulator) -> None:
    def ids(offset: int) -> list[str]:
        return [each["_id"] for each in api.rows("AccountObj", offset=offset, orders=[("_id", True)], fields=["_id"])]

    first, second = ids(0), ids(100)
    simulator.faults.next("repeated_page", path="/query")
    assert ids(0) == second
    simulator.faults.next("other_page", path="/query")
    assert ids(100) == first
    simulator.faults.next("empty_page")
    assert ids(0) == []
    simulator.faults.next("short_page")
    assert ids(0) == first[:50]
    simulator.faults.next("lost_row")
    assert ids(0) == first[:50] + first[51:]


def test_single_records_are_spoiled_or_refused_by_get_alone(simulator: Simulator) -> None:
    api = Api(simulator)
    record_id = next(iter(simulator.tenant.records("AccountObj")))
    stamp = simulator.tenant.records("AccountObj")[record_id]["last_modified_time"]

    def got() -> dict[str, Any]:
        return api.call(f"{PRESET}/data/get", {"data": {"dataObjectApiName": "AccountObj", "objectDataId": record_id}})

    simulator.faults.next("stale_record", path="/data/get")
    assert got()["data"]["last_modified_time"] == stamp - 1
    simulator.faults.next("other_record", path="/data/get")
    assert got()["data"]["_id"] != record_id
    assert (got()["data"]["_id"], got()["data"]["last_modified_time"]) == (record_id, stamp)
    simulator.faults.refuse(record_id, 201112011)
    assert got()["errorCode"] == 201112011
    assert [row["_id"] for row in api.rows("AccountObj", ("_id", "EQ", [record_id]))] == [record_id]
    simulator.faults.clear()
    assert got()["errorCode"] == 0


def test_every_fault_is_tried_here() -> None:
    tried = {*ANSWERS, "truncated_json", "cut", "reset", "hang", "slow", "slow_head", "huge", "late"}
    tried |= {"repeated_page", "other_page", "empty_page", "short_page", "lost_row", "stale_record", "other_record"}

    assert tried == set(FAULTS)


def test_a_rate_spoils_about_that_part_and_the_same_calls_for_the_same_seed() -> None:
    def spoiled() -> list[int]:
        with Simulator(seed=5, records={"AccountObj": 5}, knobs=Knobs(calls=10**6)) as simulator:
            api = Api(simulator)
            simulator.faults.rate("busy", 0.2, path="/query")
            return codes(api, 200)

    first = spoiled()
    assert first == spoiled()
    assert 20 <= first.count(-1) <= 60
    assert set(first) == {0, -1}


def test_a_fault_may_wait_for_a_later_call(api: Api, simulator: Simulator) -> None:
    simulator.faults.next("busy", 2, path="/data/query", skip=1)

    assert codes(api, 4) == [0, -1, -1, 0]


def test_faults_on_other_paths_leave_a_path_alone(api: Api, simulator: Simulator) -> None:
    simulator.faults.rate("busy", 1.0, path="/object/list")

    assert codes(api, 3) == [0, 0, 0]
    assert api.call(f"{PRESET}/object/list", {})["errorCode"] == -1
    simulator.faults.clear()
    assert api.call(f"{PRESET}/object/list", {})["errorCode"] == 0


def test_an_unknown_fault_or_rate_is_a_sentence(simulator: Simulator) -> None:
    with pytest.raises(ValueError, match="there is no fault 'bussy'; the faults are: redirect, "):
        simulator.faults.next("bussy")
    with pytest.raises(ValueError, match="the rate of fault busy cannot be 5; it is a part between 0 and 1"):
        simulator.faults.rate("busy", 5)


def test_a_body_that_the_simulator_cannot_make_sense_of_is_answered(
    api: Api, capfd: pytest.CaptureFixture[str]
) -> None:
    change = {"data": {"dataObjectApiName": "AccountObj", "Data": ["no mapping"]}}
    response = api.send(f"{PRESET}/data/changeOwner", change)

    assert response.status_code == 500
    assert "could not answer POST /cgi/crm/v2/data/changeOwner" in capfd.readouterr().err
    assert codes(api, 1) == [0]


def test_calls_at_once_are_all_counted(api: Api, simulator: Simulator) -> None:
    simulator.knobs.calls = 10**6
    simulator.knobs.edits_per_request = 2
    api.token  # noqa: B018

    def work(_: int) -> int:
        mine = Api(simulator)
        mine._token = api.token
        return sum(codes(mine, 40))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 0
    assert simulator.requests[QUERY] == 320
    assert len(simulator.queries) == 320
    assert simulator.report()["limits"]["most_in_window"][QUERY] == 320
