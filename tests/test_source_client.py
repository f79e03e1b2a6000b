from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from fenxiang_simulator import Simulator
from fenxiang_simulator.server import Request, Response
from fenxiang_sync.errors import (
    AnswerLostError,
    IncompleteError,
    QuotaError,
    RefusedError,
    SetupError,
    ThrottledError,
    TokenError,
    TransientError,
)
from fenxiang_sync.source import Filter, Operator, Pace, Paces, SearchQuery, Style, pages
from tests.source_fixtures import ALL_TIME, client_of, credentials, scripted_client, serving, simulator, tokens_of

QUERY = "/cgi/crm/v2/data/query"
FIRST_PAGE = SearchQuery(object_name="AccountObj", projection=["_id", "name"], orders=[("_id", True)], limit=10)


@pytest.fixture
def server() -> Any:
    with simulator({"AccountObj": 300}) as running:
        yield running


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize("name", ["AccountObj", "object_warehouse__c"])
def test_preset_and_custom_objects_are_read_in_both_styles(server: Simulator, style: Style, name: str) -> None:
    client = client_of(server, credentials(style))
    page = client.query(SearchQuery(object_name=name, projection=["_id"], limit=10, count=True))
    assert len(page.records) == 10
    assert page.total == len(server.tenant.records(name))
    assert (page.limit, page.offset) == (10, 0)
    assert server.report()["mixed_styles"] == 0


def test_calls_are_counted_by_path_with_those_that_failed(server: Simulator) -> None:
    client = client_of(server)
    server.faults.next("busy", 2, path="/data/query")
    client.query(FIRST_PAGE)
    client.objects()
    assert client.calls == {QUERY: 3, "/cgi/crm/v2/object/list": 1}


@pytest.mark.parametrize(
    "fault",
    [
        "busy",
        "system_error",
        "timeout_code",
        "throttled",
        "html_200",
        "http_502",
        "http_503",
        "truncated_json",
        "cut",
        "reset",
        "hang",
        "slow",
    ],
)
def test_what_fails_for_the_moment_is_asked_again_in_place(server: Simulator, fault: str) -> None:
    client = client_of(server, timeout=(0.2, 0.4))
    server.faults.next(fault, 2, path="/data/query")
    assert len(client.query(FIRST_PAGE).records) == 10
    assert server.report()["faults"]["injected"][fault] == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("busy", TransientError),
        ("throttled", ThrottledError),
        ("html_200", AnswerLostError),
        ("http_502", AnswerLostError),
        ("reset", AnswerLostError),
    ],
)
def test_what_keeps_failing_is_raised_for_the_task_after_a_bounded_number_of_calls(
    server: Simulator, fault: str, error: type[Exception]
) -> None:
    client = client_of(server)
    server.faults.rate(fault, 1.0, "/data/query")
    with pytest.raises(error) as raised:
        client.query(FIRST_PAGE)
    assert type(raised.value) is error
    assert client.calls[QUERY] == 6


@pytest.mark.parametrize("fault", ["redirect", "html_404"])
def test_a_wrong_host_or_path_is_told_after_three_tries(server: Simulator, fault: str) -> None:
    client = client_of(server)
    server.faults.rate(fault, 1.0, "/data/query")
    with pytest.raises(RefusedError, match="host or path is wrong"):
        client.query(FIRST_PAGE)
    assert client.calls[QUERY] == 3


@pytest.mark.parametrize(("knob", "code"), [({"quota_pack": False}, 30003), ({"day_quota": 0}, 30002)])
def test_a_spent_quota_stops_at_the_first_call(server: Simulator, knob: dict[str, Any], code: int) -> None:
    server.knobs.set(knob)
    client = client_of(server)
    with pytest.raises(QuotaError) as raised:
        client.query(FIRST_PAGE)
    assert raised.value.code == code
    assert client.calls.total() == 1


def test_an_unknown_code_is_never_the_end_of_data(server: Simulator) -> None:
    with pytest.raises(RefusedError, match=r"32000.*字段不存在"):
        client_of(server).query(
            SearchQuery(object_name="AccountObj", projection=["_id"], filters=[Filter("nope", Operator.EQ, "1")])
        )


@pytest.mark.parametrize("code", [30004, 14001])
def test_a_throttled_call_slows_every_thread_down(server: Simulator, code: int) -> None:
    server.knobs.set({"calls": 20, "burst_code": code})
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        server.clock.advance(seconds)

    paces = Paces(lambda: Pace(1000, 1, now=server.clock.now, sleep=sleep))
    client = client_of(server, pace=paces)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: len(client.query(FIRST_PAGE).records), range(60)))
    assert found == [10] * 60
    assert max(slept) > 2


def test_at_its_pace_a_client_is_never_throttled(server: Simulator) -> None:
    server.knobs.set({"calls": 100})
    paces = Paces(lambda: Pace(100, 20, now=server.clock.now, sleep=server.clock.advance))
    client = client_of(server, pace=paces)
    for _ in range(350):
        client.query(FIRST_PAGE)
    report = server.report()["limits"]
    assert report["burst_refusals"] == {}
    assert 95 <= report["most_in_window"][QUERY] <= 100


def test_a_token_that_is_refused_is_renewed_once_for_all_threads(server: Simulator) -> None:
    client = client_of(server)
    client.query(FIRST_PAGE)
    server.tokens.revoke()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: len(client.query(FIRST_PAGE).records), range(32)))
    assert found == [10] * 32
    assert server.report()["tokens"]["calls"] == 2
    assert server.report()["tokens"]["concurrent"] == 0


def test_a_token_that_expires_while_paging_loses_no_page(server: Simulator) -> None:
    client = client_of(server)
    read = []
    for page in pages(client, object_name="AccountObj", window=ALL_TIME, projection=(), page_size=20):
        read += [record["_id"] for record in page.records]
        server.tokens.revoke()
    assert sorted(read) == sorted(server.tenant.visible("AccountObj"))


def test_a_fresh_token_that_is_refused_too_is_left_to_the_next_try_of_the_task(server: Simulator) -> None:
    client = client_of(server)
    server.faults.rate("token_expired", 1.0, "/data/query")
    with pytest.raises(TokenError, match="20016"):
        client.query(FIRST_PAGE)
    assert client.calls[QUERY] == 2


def answering(payload: Any) -> Callable[[Request], Response]:
    token = {"errorCode": 0, "corpAccessToken": "CAT", "corpId": "FSCID", "expiresIn": 7200}
    return lambda request: Response.json(token if request.path.endswith("V2") else payload)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"errorCode": 0}, "without a usable data;"),
        ({"errorCode": 0, "data": None}, "without a usable data;"),
        ({"errorCode": 0, "data": {"_id": "1"}}, "data.dataList"),
        ({"errorCode": 0, "data": {"dataList": None}}, "data.dataList"),
        ({"errorCode": 0, "data": {"dataList": {}}}, "data.dataList"),
        ({"errorCode": 0, "dataList": []}, "data;"),
        ({"errorCode": 0, "data": {"dataList": [None]}}, "no objects"),
        ({"data": {"dataList": []}}, "without an errorCode"),
    ],
)
def test_an_answer_without_a_list_of_records_is_no_empty_page(payload: dict[str, Any], told: str) -> None:
    with serving(answering(payload)) as (url, _), pytest.raises(TransientError, match=told):
        scripted_client(url).query(FIRST_PAGE)


@pytest.mark.parametrize("total", [None, -1, "231", True, 1.5])
def test_a_total_that_is_no_number_is_no_total(total: Any) -> None:
    with serving(answering({"errorCode": 0, "data": {"dataList": [], "total": total}})) as (url, _):
        assert scripted_client(url).query(FIRST_PAGE).total is None


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"last_modified_time": 5}, "without _id"),
        ({"_id": "", "last_modified_time": 5}, "without _id"),
        ({"_id": "65aa"}, "65aa.*None"),
        ({"_id": "65aa", "last_modified_time": "5"}, "65aa.*'5'"),
        ({"_id": "65aa", "last_modified_time": True}, "65aa.*True"),
    ],
)
def test_a_record_that_cannot_be_placed_is_named_and_never_dropped(record: dict[str, Any], told: str) -> None:
    answer = answering({"errorCode": 0, "data": {"dataList": [record]}})
    with serving(answer) as (url, _), pytest.raises(IncompleteError, match=told):
        list(pages(scripted_client(url), object_name="AccountObj", window=ALL_TIME, projection=()))


def test_get_gives_a_record_and_none_where_there_is_none(server: Simulator) -> None:
    client = client_of(server)
    record_id = next(iter(server.tenant.visible("AccountObj")))
    record = client.get("AccountObj", record_id)
    assert record is not None
    assert record["_id"] == record_id
    server.knobs.missing_record = "empty"
    assert client.get("AccountObj", "f" * 24) is None
    server.knobs.missing_record = "error"
    with pytest.raises(RefusedError, match="32000"):
        client.get("AccountObj", "f" * 24)


def test_get_says_at_once_that_the_acting_user_has_no_right_to_a_record(server: Simulator) -> None:
    client = client_of(server)
    record_id = next(iter(server.tenant.visible("AccountObj")))
    server.tenant.hide("AccountObj", record_id)
    with pytest.raises(RefusedError, match="50009") as refused:
        client.get("AccountObj", record_id)
    assert refused.value.code == 50009
    assert client.calls["/cgi/crm/v2/data/get"] == 1


def test_objects_and_their_descriptions_are_told(server: Simulator) -> None:
    client = client_of(server)
    assert "AccountObj" in {each["describeApiName"] for each in client.objects()}
    assert client.describe("object_warehouse__c")["fields"]["warehouseName"]["type"] == "text"
    with pytest.raises(RefusedError):
        client.describe("NoSuchObj")


def test_the_description_of_another_object_is_not_taken_for_the_one_that_was_asked_for(server: Simulator) -> None:
    definitions: Any = server.tenant._definitions
    definitions["AccountObj"] = server.tenant.definition("ContactObj")
    with pytest.raises(TransientError, match="described 'ContactObj' when it was asked for 'AccountObj'"):
        client_of(server).describe("AccountObj")


@pytest.mark.parametrize("skew_s", [0, 90, -90])
def test_the_servers_time_is_read_from_its_answers(server: Simulator, skew_s: int) -> None:
    server.knobs.clock_skew_ms = skew_s * 1000
    client = client_of(server)
    before = datetime.fromtimestamp(server.clock.now(), UTC)
    told = client.server_time()
    after = datetime.fromtimestamp(server.clock.now(), UTC)
    second = timedelta(seconds=1)
    assert before - second <= told <= after, "a Date header is in whole seconds"
    assert abs(client.skew() - timedelta(seconds=skew_s)) <= after - before + second


def test_the_servers_time_goes_on_between_answers(server: Simulator) -> None:
    moment = [1_800_000_000.0]
    client = client_of(server, now=lambda: moment[0])
    first = client.server_time()
    moment[0] += 60
    assert client.server_time() - first == timedelta(seconds=60)
    assert client.calls.total() == 1


class Dateless(BaseHTTPRequestHandler):
    """Answers everything, without a Date header."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"errorCode":0,"corpAccessToken":"C","corpId":"F","data":{"objects":[]}}'
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def test_a_server_without_a_date_says_so() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Dateless) as dateless:
        Thread(target=dateless.serve_forever, args=(0.05,), daemon=True).start()
        client = scripted_client(f"http://127.0.0.1:{dateless.server_address[1]}")
        with pytest.raises(SetupError, match="no Date header"):
            client.server_time()
        dateless.shutdown()


def test_the_token_of_one_client_serves_another(server: Simulator) -> None:
    tokens = tokens_of(server)
    for _ in range(3):
        assert client_of(server, tokens=tokens).tenant() == "FSCID_demo"
    assert server.report()["tokens"]["calls"] == 1
