"""The simulated Kingdee as an ERP that is read: queries over its documents, and people who work on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import requests

from fenxiang_simulator import Simulator, kingdee
from fenxiang_simulator.bill_filter import DEEPEST, LONGEST, orders, parse

K3 = "/k3cloud/Kingdee.BOS.WebApi.ServicesStub."
ROW = {"FName": "O'Neill", "FQty": 3, "FUnit": None, "FUser.FNumber": "100"}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(records={"BD_MATERIAL": 40, "STK_Inventory": 20}, only="targets") as running:
        yield running


class Erp:
    """A session of the simulated Kingdee."""

    def __init__(self, simulator: Simulator) -> None:
        self._url = simulator.url
        self._session = requests.Session()
        told = {
            "acctID": kingdee.ACCT_ID, "username": kingdee.USER, "appId": kingdee.APP_ID,
            "appSecret": kingdee.APP_SECRET,
        }  # fmt: skip
        login = self._post("AuthService.LoginByAppSecret", told)
        self._session.cookies.set(kingdee.COOKIE, login["KDSVCSessionId"])

    def query(self, form: str, keys: str, where: str = "", **more: Any) -> Any:
        data = {"FormId": form, "FieldKeys": keys, "FilterString": where, **more}
        return self._post("DynamicFormService.ExecuteBillQuery", {"data": data})

    def call(self, service: str, body: Any) -> Any:
        return self._post(f"DynamicFormService.{service}", body)

    def _post(self, service: str, body: Any) -> Any:
        return self._session.post(f"{self._url}{K3}{service}.common.kdsvc", json=body, timeout=10).json()


@pytest.fixture
def api(simulator: Simulator) -> Erp:
    return Erp(simulator)


def refusal(answer: Any) -> str:
    """The message of a query that was refused."""
    [[row]] = answer
    status = row["Result"]["ResponseStatus"]
    assert status["IsSuccess"] is False
    return str(status["Errors"][0]["Message"])


# Filters


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ("", True),
        ("FName = 'O''Neill'", True),
        ("FName = 'o''neill'", True),
        ("FQty >= 3 AND FQty < 3.5", True),
        ("FQty > '2' and FQty <> 4", True),
        ("FQty IN (1, 2)", False),
        ("FQty not in (1,2)", True),
        ("FQty between 1 and 3", True),
        ("FName like 'O_Ne%'", True),
        ("FName not like '%x%'", True),
        ("FUnit is null", True),
        ("FUnit IS NOT NULL", False),
        ("FUnit = 'Pcs'", None),
        ("not (FUnit = 'Pcs')", None),
        ("FUnit = 'Pcs' or FQty = 3", True),
        ("FUnit = 'Pcs' and FQty = 4", False),
        ("FQty = 1 or FQty = 2 and FQty = 3", False),
        ("(FQty = 1 or FQty = 3) and FUser.FNumber = '100'", True),
    ],
)
def test_a_filter_holds_as_sql_means_it(said: str, holds: bool | None) -> None:
    assert parse(said)(ROW.get) is holds


@pytest.mark.parametrize(
    "said",
    [
        "FQty", "FQty =", "= 3", "FQty = 3 FName", "FQty = 3 and", "FQty in ()", "FQty in (1", "(FQty = 3", "FQty = 3)",
        "FName = 'a", "FQty between 1", "FQty is 3", "FQty ; 3", "and", "not", "FQty not 3",
        "(" * (DEEPEST + 2) + "FQty = 3" + ")" * (DEEPEST + 2), "not " * 5 + "not", "F" * (LONGEST + 1),
    ],
)  # fmt: skip
def test_what_is_no_filter_is_no_condition(said: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(said)


def test_an_order_is_keys_with_a_way() -> None:
    assert orders("FNumber, FQty DESC,FName asc") == [("FNumber", True), ("FQty", False), ("FName", True)]
    with pytest.raises(ValueError, match="FNumber up"):
        orders("FNumber up")


# Queries


def test_rows_come_in_the_order_of_the_keys_and_of_the_order_string(api: Erp) -> None:
    rows = api.query("BD_MATERIAL", "FNumber,FUseOrgId.FNumber,FMATERIALID", OrderString="FNumber DESC", Limit=3)
    assert [row[0] for row in rows] == ["MAT000039", "MAT000038", "MAT000037"]
    assert all(row[1] in ("100", "200") and isinstance(row[2], int) for row in rows)


def test_pages_are_cut_by_start_row_and_limit_and_by_what_the_server_gives_at_most(
    api: Erp, simulator: Simulator
) -> None:
    def page(start: int, limit: int) -> list[str]:
        rows = api.query("BD_MATERIAL", "FNumber", OrderString="FNumber", StartRow=start, Limit=limit)
        return [number for (number,) in rows]

    assert page(38, 10) == ["MAT000038", "MAT000039"]
    simulator.targets.knobs.kingdee_most_rows = 2
    assert page(5, 10) == ["MAT000005", "MAT000006"]


@pytest.mark.parametrize(
    ("form", "keys", "more", "says"),
    [
        ("BD_MATERIAL", "FNone", {}, "字段FNone不存在"),
        ("BD_MATERIAL", "FNumber", {"FilterString": "FNone = 1"}, "字段FNone不存在"),
        ("BD_MATERIAL", "FNumber", {"OrderString": "FNone"}, "字段FNone不存在"),
        ("BD_MATERIAL", "", {}, "FieldKeys"),
        ("BD_MATERIAL", "FNumber", {"FilterString": "FMATERIALID > 'x'"}, "数据类型转换失败"),
        ("BD_MATERIAL", "FNumber", {"FilterString": "FModifyDate > 'soon'"}, "数据类型转换失败"),
        ("BD_MATERIAL", "FNumber", {"StartRow": -1}, "StartRow"),
        ("BD_MATERIAL", "FNumber", {"Limit": "many"}, "无法解析"),
    ],
)
def test_a_query_that_is_wrong_is_a_row_of_one_error(
    api: Erp, form: str, keys: str, more: dict[str, Any], says: str
) -> None:
    assert says in refusal(api.query(form, keys, **more))


def test_stamps_are_local_and_change_with_each_save_and_status(api: Erp, simulator: Simulator) -> None:
    def stamps() -> Sequence[Any]:
        return api.query("F", "FCreateDate,FModifyDate,FApproveDate,FDocumentStatus")[0]  # type: ignore[no-any-return]

    api.call("BatchSave", {"formid": "F", "data": {"Model": [{"FNumber": "A"}]}})
    created, modified, approved, status = stamps()
    assert (created, approved, status) == (modified, None, "A")
    simulator.clock.advance(5)
    simulator.targets.knobs.kingdee_status_stamps = False
    api.call("Submit", {"formid": "F", "data": {"Numbers": ["A"]}})
    assert stamps() == [created, modified, None, "B"]
    simulator.targets.knobs.kingdee_status_stamps = True
    api.call("Audit", {"formid": "F", "data": {"Numbers": ["A"]}})
    assert stamps()[0] == created < stamps()[1] == stamps()[2]


def test_one_form_has_numbers_for_ids_and_another_texts(api: Erp) -> None:
    assert all(isinstance(key, int) for (key,) in api.query("BD_MATERIAL", "FMATERIALID"))
    assert all(len(key) == 36 for (key,) in api.query("STK_Inventory", "FID"))


# Control


def control(simulator: Simulator, body: Any = None, query: str = "", status: int = 200) -> Any:
    url = f"{simulator.url}/_simulator/kingdee{query}"
    response = requests.get(url, timeout=10) if body is None else requests.post(url, json=body, timeout=10)
    assert response.status_code == status, response.text
    return json.loads(response.text)


def test_documents_are_edited_and_erased_from_outside(api: Erp, simulator: Simulator) -> None:
    control(simulator, {"action": "edit", "form": "BD_MATERIAL", "number": "MAT000007", "data": {"FName": "改名"}})
    control(
        simulator, {"action": "edit", "form": "BD_MATERIAL", "number": "NEW", "last_modified_time": 1_790_000_000_000}
    )
    control(simulator, {"action": "erase", "form": "BD_MATERIAL", "number": "MAT000008"})
    where = "FNumber in ('MAT000007', 'MAT000008', 'NEW')"
    rows = api.query("BD_MATERIAL", "FNumber,FName,FModifyDate", where, OrderString="FNumber")
    assert [row[:2] for row in rows] == [["MAT000007", "改名"], ["NEW", None]]
    assert rows[1][2] == "2026-09-21T22:13:20"
    assert control(simulator, query="?form=BD_MATERIAL")["queries"][-1]["filter"] == where
    assert len(control(simulator, query="?form=BD_MATERIAL")["documents"]) == 40


def test_sessions_end_and_knobs_turn_from_outside(api: Erp, simulator: Simulator) -> None:
    control(simulator, {"knobs": {"kingdee_most_rows": 1}})
    assert len(api.query("BD_MATERIAL", "FNumber")) == 1
    control(simulator, {"action": "end_sessions"})
    assert "会话信息已丢失" in refusal(api.query("BD_MATERIAL", "FNumber"))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"action": "vanish"}, "no action 'vanish'"),
        ({"action": "erase", "form": "BD_MATERIAL", "number": "NOBODY"}, "BD_MATERIAL has no NOBODY"),
        ({"knobs": {"kingdee_most_row": 1}}, "there is no knob 'kingdee_most_row'"),
        ({"knobs": {"kingdee_most_rows": "1"}}, "knob kingdee_most_rows cannot be '1'; its values are of type int"),
    ],
)
def test_an_order_that_cannot_be_meant_is_a_sentence(simulator: Simulator, body: Any, says: str) -> None:
    assert says in control(simulator, body, status=400)["error"]


def test_a_reset_brings_the_seeded_documents_back(simulator: Simulator) -> None:
    before = simulator.targets.kingdee.report()["forms"]
    control(simulator, {"action": "erase", "form": "BD_MATERIAL", "number": "MAT000008"})
    simulator.reset()
    assert simulator.targets.kingdee.report()["forms"] == before == {"BD_MATERIAL": 40, "STK_Inventory": 20}
