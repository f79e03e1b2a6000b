"""FenxiangWriter: look-ups of all pages, writes that go out once, and what each refusal means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from fenxiang_simulator import Simulator
from fenxiang_simulator.server import Request, Response
from fenxiang_sync.errors import (
    AnswerLostError,
    QuotaError,
    RecordError,
    RefusedError,
    ThrottledError,
    TransientError,
)
from fenxiang_sync.source import FenxiangClient, Tokens
from fenxiang_sync.source.codes import WRITE_CODES, error_for
from fenxiang_sync.source.retries import Retries
from fenxiang_sync.source.writer import FenxiangWriter, created_id
from tests.source_fixtures import client_of, credentials, serving, simulator

PRODUCTS = "ProductObj"
DATA = "/cgi/crm/v2/data"
FLAGS = {"trigger_workflow": False, "trigger_approval": False}
NEW: dict[str, Any] = {**FLAGS, "details": {}, "specify_time": False, "specify_created_by": False}


@pytest.fixture
def server() -> Iterator[Simulator]:
    with simulator({PRODUCTS: 0, "AccountObj": 2}, visibility_lag_ms=0) as running:
        yield running


@pytest.fixture
def writer(server: Simulator) -> FenxiangWriter:
    return writer_of(server)


def writer_of(server: Simulator, **changes: Any) -> FenxiangWriter:
    few = Retries(calls=3, first=0.01)
    return FenxiangWriter(client_of(server, retries=few, write_retries=few, timeout=(2, 3), **changes))


def test_a_record_is_created_changed_voided_recovered_and_deleted(server: Simulator, writer: FenxiangWriter) -> None:
    record_id = writer.create(PRODUCTS, {"name": "x", "product_code": "A-1"}, **NEW)
    assert record_id
    writer.update(PRODUCTS, record_id, {"name": "y", "product_code": None}, **FLAGS)
    assert server.tenant.records(PRODUCTS)[record_id]["name"] == "y"
    assert "product_code" not in server.tenant.records(PRODUCTS)[record_id]

    writer.invalid(PRODUCTS, record_id)
    with pytest.raises(RecordError, match=r"50009.*只有生命状态为正常的数据才能被作废"):
        writer.invalid(PRODUCTS, record_id)
    writer.recover(PRODUCTS, record_id)
    assert server.tenant.records(PRODUCTS)[record_id]["life_status"] == "normal"
    writer.invalid(PRODUCTS, record_id)
    writer.delete(PRODUCTS, record_id)
    assert server.tenant.records(PRODUCTS) == {}


@pytest.mark.parametrize("limit_mode", ["clamp", "honour"])
def test_all_records_of_the_values_are_found(server: Simulator, writer: FenxiangWriter, limit_mode: str) -> None:
    server.knobs.limit_mode = limit_mode
    for number in range(250):
        server.tenant.create(PRODUCTS, {"name": f"n{number}", "barcode": "690" if number < 230 else "691"})

    found = writer.find(PRODUCTS, "barcode", ["690", "692"], fields=["name"])
    assert len({each["_id"] for each in found}) == 230
    assert {each["barcode"] for each in found} == {"690"}


def test_voided_records_are_listed_where_a_question_names_the_life_status(
    server: Simulator, writer: FenxiangWriter
) -> None:
    server.knobs.voided = "visible_if_filtered"
    record_id = server.tenant.create(PRODUCTS, {"name": "x", "barcode": "690"})
    server.tenant.invalid(PRODUCTS, record_id)

    assert writer.find(PRODUCTS, "barcode", ["690"], fields=[]) == []
    (found,) = writer.find(PRODUCTS, "barcode", ["690"], fields=["life_status"], voided=True)
    assert found["life_status"] == "invalid"


def test_a_page_of_another_question_is_no_answer(server: Simulator, writer: FenxiangWriter) -> None:
    for code in ("A-1", "A-2"):
        server.tenant.create(PRODUCTS, {"name": code, "product_code": code})
    writer.find(PRODUCTS, "product_code", ["A-2"], fields=[])
    server.faults.next("other_page", path="/query")
    (found,) = writer.find(PRODUCTS, "product_code", ["A-1"], fields=[])
    assert found["product_code"] == "A-1"

    server.faults.next("other_page", 3, path="/query")
    with pytest.raises(TransientError, match="asked 3 times for records by product_code, the server sent others"):
        writer.find(PRODUCTS, "product_code", ["A-1"], fields=[])


@pytest.mark.parametrize("fault", ["reset", "cut", "truncated_json", "hang", "http_502", "html_200", "busy", "huge"])
def test_a_create_goes_out_once_whatever_is_lost(server: Simulator, writer: FenxiangWriter, fault: str) -> None:
    server.faults.next(fault, path="/create")
    with pytest.raises(AnswerLostError):
        writer.create(PRODUCTS, {"name": "x"}, **NEW)
    assert server.requests[f"{DATA}/create"] == 1


@pytest.mark.parametrize("fault", ["throttled", "over_limit", "token_expired"])
def test_a_create_that_was_not_carried_out_is_made_again(server: Simulator, fault: str) -> None:
    server.faults.next(fault, path="/create")
    assert writer_of(server).create(PRODUCTS, {"name": "x"}, **NEW)
    assert len(server.tenant.records(PRODUCTS)) == 1


@pytest.mark.parametrize("fault", ["reset", "http_502", "busy", "throttled"])
def test_an_update_is_made_again_and_ends(server: Simulator, writer: FenxiangWriter, fault: str) -> None:
    record_id = server.tenant.create(PRODUCTS, {"name": "x"})
    server.faults.next(fault, path="/update")
    writer.update(PRODUCTS, record_id, {"name": "y"}, **FLAGS)
    assert server.tenant.records(PRODUCTS)[record_id]["name"] == "y"

    server.faults.rate(fault, 1.0, path="/update")
    with pytest.raises(ThrottledError if fault == "throttled" else AnswerLostError):
        writer.update(PRODUCTS, record_id, {"name": "z"}, **FLAGS)
    assert server.requests[f"{DATA}/update"] == 5


@pytest.mark.parametrize("action", ["invalid", "recover", "delete"])
def test_a_step_of_a_records_life_goes_out_once(server: Simulator, writer: FenxiangWriter, action: str) -> None:
    record_id = server.tenant.create(PRODUCTS, {"name": "x"})
    server.faults.next("http_502", path=f"/{action}")
    with pytest.raises(AnswerLostError):
        getattr(writer, action)(PRODUCTS, record_id)
    assert server.requests[f"{DATA}/{action}"] == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-1, AnswerLostError),
        (-2, AnswerLostError),
        (None, AnswerLostError),
        (50009, RecordError),
        (201112011, RecordError),
        (500, RecordError),
        (32000, RecordError),
        (30027, RecordError),
        (20012, RecordError),
        (11008, RecordError),
        (987654, RecordError),
        ("E_ODD", RecordError),
        (10006, RefusedError),
        (11014, RefusedError),
        (15003, RefusedError),
        (20022, RefusedError),
        (30002, QuotaError),
        (14001, ThrottledError),
    ],
)
def test_what_a_code_of_a_write_means(code: Any, kind: type[Exception]) -> None:
    error = error_for("/x", {"errorCode": code}, WRITE_CODES)
    assert type(error) is kind
    assert getattr(error, "code", None) == code


def test_the_acting_user_and_the_description_are_the_clients(writer: FenxiangWriter) -> None:
    assert writer.user().startswith("FSUID_demo")
    described = writer.describe(PRODUCTS)
    assert (described.fields["product_code"].unique, described.fields["barcode"].unique) == (True, False)


def test_a_write_bears_the_credentials_of_its_connection_and_the_flags() -> None:
    def answer(request: Request) -> Response:
        if "corpAccessToken" in request.path:
            return Response.json({"errorCode": 0, "corpAccessToken": "t", "corpId": "c", "expiresIn": 7200})
        return Response.json({"errorCode": 0, "dataId": "65aa"})

    with serving(answer) as (url, app):
        session, who = requests.Session(), credentials()
        tokens = Tokens(session=session, base_url=url, credentials=who)
        writer = FenxiangWriter(FenxiangClient(session=session, base_url=url, tokens=tokens, credentials=who))
        assert writer.create("stock__c", {"name": "x"}, **{**NEW, "trigger_workflow": True}) == "65aa"

    sent = app.asked[-1]
    assert sent.path == "/cgi/crm/custom/v2/data/create"
    body = sent.json()
    assert (body["corpAccessToken"], body["currentOpenUserId"][:5]) == ("t", "FSUID")
    assert (body["triggerWorkFlow"], body["triggerApprovalFlow"], body["includeDetailIds"]) == (True, False, False)
    assert body["data"] == {"object_data": {"dataObjectApiName": "stock__c", "name": "x"}}


def test_an_id_is_found_in_no_strange_place() -> None:
    assert created_id({"data": {"object_data": {"_id": "65cc"}}}) == "65cc"
    assert created_id({"data": "65dd"}) == "65dd"
    assert created_id({"data": None, "traceId": "E-O.1"}) is None
