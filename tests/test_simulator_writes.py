"""Writing: create, update, void, recover, delete, change of owner; stamps, versions, and when a query sees them."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from fenxiang_simulator import ApiError, Knobs, Simulator
from tests.simulator_fixtures import ADMIN, Api

DATA = "/cgi/crm/v2/data"
NOVEMBER = 1793491200000


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    counts = {"AccountObj": 40, "SalesOrderObj": 20, "SalesOrderProductObj": 40}
    with Simulator(records=counts, knobs=Knobs(visibility_lag_ms=0)) as running:
        yield running


@pytest.fixture
def api(simulator: Simulator) -> Api:
    return Api(simulator)


@pytest.fixture
def account(simulator: Simulator) -> str:
    return simulator.tenant.create("AccountObj", {"name": "测试客户", "remark": "旧"})


def body(record_id: str, **changes: Any) -> dict[str, Any]:
    return {"data": {"object_data": {"_id": record_id, "dataObjectApiName": "AccountObj", **changes}}}


def ids(*record_ids: str) -> dict[str, Any]:
    return {"data": {"dataObjectApiName": "AccountObj", "idList": list(record_ids)}}


def one(record_id: str) -> dict[str, Any]:
    return {"data": {"dataObjectApiName": "AccountObj", "object_data_id": record_id}}


def test_a_created_record_has_an_id_a_stamp_and_version_1(api: Api, simulator: Simulator) -> None:
    before = simulator.clock.now_ms()
    answer = api.call(
        f"{DATA}/create",
        {"data": {"object_data": {"dataObjectApiName": "AccountObj", "name": "新客户", "owner": [ADMIN]}}},
    )

    assert set(answer) == {"traceId", "errorCode", "errorMessage", "errorDescription", "dataId"}
    (row,) = api.rows("AccountObj", ("_id", "EQ", [answer["dataId"]]))
    assert (row["name"], row["version"], row["life_status"]) == ("新客户", "1", "normal")
    assert before <= row["last_modified_time"] == row["create_time"] <= simulator.clock.now_ms()
    assert row["owner"] == row["created_by"] == [ADMIN]


def test_a_create_twice_makes_two_records(api: Api) -> None:
    new = {"data": {"object_data": {"dataObjectApiName": "AccountObj", "name": "同一客户"}}}

    assert api.call(f"{DATA}/create", new)["dataId"] != api.call(f"{DATA}/create", new)["dataId"]


def test_a_custom_object_is_created_on_the_custom_path(api: Api) -> None:
    new = {"data": {"object_data": {"dataObjectApiName": "object_warehouse__c", "warehouseId": "WH999"}}}
    record_id = api.call("/cgi/crm/custom/v2/data/create", new)["dataId"]

    (row,) = api.rows("object_warehouse__c", ("_id", "EQ", [record_id]))
    assert (row["warehouseId"], row["name"]) == ("WH999", "WD000061")


def test_an_order_is_created_with_its_lines(api: Api, account: str) -> None:
    product = api.rows("ProductObj", limit=1)[0]["_id"]
    answer = api.call(
        f"{DATA}/create",
        {
            "includeDetailIds": True,
            "data": {
                "object_data": {
                    "dataObjectApiName": "SalesOrderObj",
                    "account_id": account,
                    "order_time": 1790179200000,
                },
                "details": {
                    "SalesOrderProductObj": [{"product_id": product, "quantity": "2", "sales_price": "100.00"}]
                },
            },
        },
    )

    (line,) = api.rows("SalesOrderProductObj", ("order_id", "EQ", [answer["dataId"]]))
    assert [line["_id"]] == answer["detailIds"]["SalesOrderProductObj"]
    assert line["order_id__r"].startswith("SO")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"remark": "no name"}, 50009),
        ({"name": "x", "parent_account_id": "北京客户"}, 201112011),
        ({"name": "x", "nothing__c": 1}, 32000),
        ({"name": "x", "field_registered_on__c": "2026-01-01"}, 500),
        ({"name": "x", "owner": ["FSUID_nobody"]}, 30027),
    ],
)
def test_a_record_that_does_not_fit_is_refused(api: Api, data: dict[str, Any], code: int) -> None:
    new = {"data": {"object_data": {"dataObjectApiName": "AccountObj", **data}}}

    assert api.call(f"{DATA}/create", new)["errorCode"] == code


def product(**values: Any) -> dict[str, Any]:
    return {"data": {"object_data": {"dataObjectApiName": "ProductObj", "name": "x", **values}}}


@pytest.mark.parametrize(("code", "among", "voided"), [(50009, "all", 50009), (201112099, "live", 0)])
def test_a_unique_value_is_taken_once(api: Api, simulator: Simulator, code: int, among: str, voided: int) -> None:
    simulator.knobs.set({"not_unique_code": code, "unique_among": among})
    first = api.call(f"{DATA}/create", product(product_code="X-1"))["dataId"]
    other = api.call(f"{DATA}/create", product(product_code="X-2"))["dataId"]
    change = {"data": {"object_data": {"dataObjectApiName": "ProductObj", "_id": other, "product_code": "X-1"}}}

    assert api.call(f"{DATA}/create", product(product_code="X-1"))["errorMessage"] == "产品编码不能重复: X-1"
    assert api.call(f"{DATA}/update", change)["errorCode"] == code
    simulator.tenant.invalid("ProductObj", first)
    assert api.call(f"{DATA}/create", product(product_code="X-1"))["errorCode"] == voided


def test_a_record_whose_unique_value_was_given_away_stays_voided(api: Api, simulator: Simulator) -> None:
    simulator.knobs.unique_among = "live"
    first = api.call(f"{DATA}/create", product(product_code="X-1"))["dataId"]
    simulator.tenant.invalid("ProductObj", first)
    api.call(f"{DATA}/create", product(product_code="X-1"))

    assert api.call(f"{DATA}/recover", {"data": {"dataObjectApiName": "ProductObj", "idList": [first]}})["errorCode"]


def test_unknown_fields_and_options_are_refused_or_not(api: Api, simulator: Simulator) -> None:
    assert api.call(f"{DATA}/create", product(nothing__c=1))["errorCode"] == 32000
    assert api.call(f"{DATA}/create", product(unit="ton"))["errorMessage"] == "单位的选项不存在: ton"
    simulator.knobs.set({"unknown_write_field": "ignore", "unknown_option": "accept"})

    record_id = api.call(f"{DATA}/create", product(nothing__c=1, unit="ton"))["dataId"]
    record = simulator.tenant.records("ProductObj")[record_id]
    assert (record["unit"], "nothing__c" in record) == ("ton", False)


@pytest.mark.parametrize("place", ["dataId", "data.dataId", "data._id", "none"])
def test_the_id_of_a_new_custom_record_is_where_the_knob_says(api: Api, simulator: Simulator, place: str) -> None:
    simulator.knobs.created_id = place
    new = {"data": {"object_data": {"dataObjectApiName": "object_warehouse__c", "warehouseId": "WH999"}}}
    answer = api.call("/cgi/crm/custom/v2/data/create", new)

    (record_id,) = [each["_id"] for each in api.rows("object_warehouse__c", ("warehouseId", "EQ", ["WH999"]))]
    for name in [] if place == "none" else place.split("."):
        answer = answer[name]
    assert answer == record_id or place == "none"
    assert api.call(f"{DATA}/create", product(product_code="X-1"))["dataId"]


def test_a_create_may_give_its_time_and_an_old_stamp_where_the_knob_says_so(api: Api, simulator: Simulator) -> None:
    values = {"name": "x", "create_time": NOVEMBER - 5, "last_modified_time": NOVEMBER}
    new = {"hasSpecifyTime": True, "data": {"object_data": {"dataObjectApiName": "AccountObj", **values}}}
    (row,) = api.rows("AccountObj", ("_id", "EQ", [api.call(f"{DATA}/create", new)["dataId"]]))
    assert row["create_time"] == NOVEMBER - 5
    assert row["last_modified_time"] != NOVEMBER

    simulator.knobs.backdated_stamp = True
    (row,) = api.rows("AccountObj", ("_id", "EQ", [api.call(f"{DATA}/create", new)["dataId"]]))
    assert row["last_modified_time"] == NOVEMBER


def test_an_update_stamps_the_record_and_counts_its_version(api: Api, simulator: Simulator, account: str) -> None:
    simulator.clock.advance(60)
    before = simulator.clock.now_ms()
    answer = api.call(f"{DATA}/update", body(account, name="改名"))

    assert set(answer) == {"traceId", "errorCode", "errorMessage", "errorDescription"}
    (row,) = api.rows("AccountObj", ("_id", "EQ", [account]))
    assert (row["name"], row["version"]) == ("改名", "2")
    assert row["last_modified_time"] >= before > row["create_time"]


def test_an_emptied_field_disappears(api: Api, account: str) -> None:
    assert api.call(f"{DATA}/update", body(account, remark=None))["errorCode"] == 0

    assert "remark" not in api.rows("AccountObj", ("_id", "EQ", [account]))[0]


def test_an_update_without_object_data_is_a_null_pointer(api: Api, account: str) -> None:
    answer = api.call(f"{DATA}/update", {"data": {"_id": account, "dataObjectApiName": "AccountObj", "name": "x"}})

    assert answer["errorMessage"] == "java.lang.NullPointerException"
    assert answer["errorCode"] != 0


def test_the_owner_changes_by_change_owner_alone(api: Api, account: str) -> None:
    other = "FSUID_demo0000000000000000000000003"
    api.call(f"{DATA}/update", body(account, owner=[other]))
    assert api.rows("AccountObj", ("_id", "EQ", [account]))[0]["owner"] == [ADMIN]

    change = {"data": {"dataObjectApiName": "AccountObj", "Data": [{"objectDataId": account, "ownerId": [other]}]}}
    assert api.call(f"{DATA}/changeOwner", change)["errorCode"] == 0
    (row,) = api.rows("AccountObj", ("_id", "EQ", [account]))
    assert (row["owner"], row["owner_department"]) == ([other], "华东销售部")


def test_a_locked_record_cannot_be_edited(api: Api, account: str) -> None:
    lock = {"data": {"dataObjectApiName": "AccountObj", "dataIds": [account]}}
    assert api.call("/cgi/crm/v2/object/lock", lock)["errorCode"] == 0
    answer = api.call(f"{DATA}/update", body(account, name="x"))
    assert (answer["errorCode"], answer["errorMessage"]) == (50009, "不能进行[编辑]操作，以下这些数据已被锁定。")

    assert api.call("/cgi/crm/v2/object/unlock", lock)["errorCode"] == 0
    assert api.call(f"{DATA}/update", body(account, name="x"))["errorCode"] == 0


def test_a_record_is_voided_then_deleted_and_no_trace_stays(api: Api, account: str) -> None:
    assert api.call(f"{DATA}/delete", ids(account))["errorCode"] == 50009
    assert api.call(f"{DATA}/invalid", one(account))["errorCode"] == 0
    (row,) = api.rows("AccountObj", ("_id", "EQ", [account]))
    assert (row["life_status"], row["life_status__r"], row["is_deleted"]) == ("invalid", "作废", False)
    assert row["life_status_before_invalid"] == "normal"

    assert api.call(f"{DATA}/delete", ids(account))["errorCode"] == 0
    assert api.rows("AccountObj", ("_id", "EQ", [account])) == []
    assert api.call(f"{DATA}/recover", ids(account))["errorCode"] == 32000


def test_many_are_voided_by_the_path_without_v2_and_recovered(api: Api, simulator: Simulator, account: str) -> None:
    other = simulator.tenant.create("AccountObj", {"name": "另一个"})
    assert api.call("/cgi/crm/custom/data/invalid", ids(account, other))["errorCode"] == 0
    assert api.call(f"{DATA}/recover", ids(account, other))["errorCode"] == 0

    rows = api.rows("AccountObj", ("_id", "IN", [account, other]))
    assert [each["life_status"] for each in rows] == ["normal", "normal"]
    assert not any("life_status_before_invalid" in each for each in rows)


def test_only_a_record_in_normal_life_can_be_voided(api: Api, simulator: Simulator) -> None:
    record_id = simulator.tenant.create("AccountObj", {"name": "审核中", "life_status": "under_review"})

    assert api.call(f"{DATA}/invalid", one(record_id))["errorMessage"] == "只有生命状态为正常的数据才能被作废"


@pytest.mark.parametrize("bumps", [True, False])
def test_void_recover_and_change_of_owner_stamp_or_do_not(api: Api, simulator: Simulator, bumps: bool) -> None:
    simulator.knobs.set(dict.fromkeys(("void_bumps_lmt", "recover_bumps_lmt", "change_owner_bumps_lmt"), bumps))
    tenant = simulator.tenant
    account = tenant.create("AccountObj", {"name": "x"}, modified_ms=NOVEMBER)
    for action in (tenant.invalid, tenant.recover, lambda name, key: tenant.change_owner(name, key, "1003")):
        before = tenant.records("AccountObj")[account]
        simulator.clock.advance(1)
        action("AccountObj", account)
        after = tenant.records("AccountObj")[account]
        assert (after["last_modified_time"] > before["last_modified_time"]) == bumps
        assert (after["version"] != before["version"]) == bumps


@pytest.mark.parametrize(
    ("mode", "plain", "filtered"),
    [("visible", True, True), ("hidden", False, False), ("visible_if_filtered", False, True)],
)
def test_voided_records_are_seen_as_the_knob_says(
    api: Api, simulator: Simulator, account: str, mode: str, plain: bool, filtered: bool
) -> None:
    simulator.tenant.invalid("AccountObj", account)
    simulator.knobs.voided = mode
    same, status = ("_id", "EQ", [account]), ("life_status", "EQ", ["invalid"])

    assert bool(api.rows("AccountObj", same)) == plain
    assert bool(api.rows("AccountObj", same, status)) == filtered
    assert (account in simulator.tenant.visible("AccountObj")) == plain


def test_a_voided_record_says_deleted_where_the_knob_says_so(api: Api, simulator: Simulator, account: str) -> None:
    simulator.tenant.invalid("AccountObj", account)
    simulator.knobs.voided_is_deleted = True

    (row,) = api.rows("AccountObj", ("_id", "EQ", [account]), fields=["is_deleted", "life_status"])
    assert row == {"is_deleted": True, "life_status": "invalid"}


def test_a_query_sees_a_write_after_the_lag_and_get_at_once(api: Api, simulator: Simulator) -> None:
    simulator.knobs.visibility_lag_ms = 5000
    account = simulator.tenant.create("AccountObj", {"name": "x"})
    get = {"data": {"dataObjectApiName": "AccountObj", "objectDataId": account}}

    assert api.call(f"{DATA}/get", get)["data"]["name"] == "x"
    assert api.rows("AccountObj", ("_id", "EQ", [account])) == []
    simulator.clock.advance(5)
    (row,) = api.rows("AccountObj", ("_id", "EQ", [account]))

    simulator.tenant.update("AccountObj", account, {"name": "y"})
    assert api.rows("AccountObj", ("_id", "EQ", [account])) == [row]
    simulator.clock.advance(5)
    assert api.rows("AccountObj", ("_id", "EQ", [account]))[0]["name"] == "y"


def test_writes_are_seen_in_their_order_when_the_lag_changes(api: Api, simulator: Simulator, account: str) -> None:
    simulator.knobs.visibility_lag_ms = 5000
    simulator.tenant.update("AccountObj", account, {"name": "first"})
    simulator.knobs.visibility_lag_ms = 0
    simulator.tenant.update("AccountObj", account, {"name": "second"})
    simulator.clock.advance(5)

    assert api.rows("AccountObj", ("_id", "EQ", [account]))[0]["name"] == "second"


def test_a_skewed_clock_shows_in_stamps_and_in_the_date_header(api: Api, simulator: Simulator) -> None:
    real = simulator.clock.now_ms()
    simulator.knobs.clock_skew_ms = 3_600_000
    account = simulator.tenant.create("AccountObj", {"name": "x"})

    assert simulator.tenant.records("AccountObj")[account]["last_modified_time"] - real >= 3_600_000
    response = api.send("/cgi/crm/v2/object/list", {})
    assert parsedate_to_datetime(response.headers["Date"]).timestamp() * 1000 - real > 3_590_000


def order_with_line(simulator: Simulator) -> tuple[str, str, str]:
    tenant = simulator.tenant
    account = tenant.create("AccountObj", {"name": "甲", "account_level": "1"})
    order = tenant.create("SalesOrderObj", {"account_id": account}, modified_ms=NOVEMBER)
    product = next(iter(tenant.records("ProductObj")))
    line = tenant.create("SalesOrderProductObj", {"order_id": order, "product_id": product, "subtotal": "10.50"})
    return account, order, line


@pytest.mark.parametrize(
    ("change", "label", "quote", "total"),
    [
        ("none", "甲", "重点客户", "0.00"),
        ("labels", "乙", "重点客户", "0.00"),
        ("quote", "甲", "普通客户", "0.00"),
        ("formula", "甲", "重点客户", "10.50"),
    ],
)
def test_computed_values_change_without_a_stamp_where_the_knob_says_so(
    api: Api, simulator: Simulator, change: str, label: str, quote: str, total: str
) -> None:
    account, order, _ = order_with_line(simulator)
    simulator.tenant.update("AccountObj", account, {"name": "乙", "account_level": "2"})
    simulator.knobs.unstamped_change = change

    (row,) = api.rows("SalesOrderObj", ("_id", "EQ", [order]))
    assert row["last_modified_time"] == NOVEMBER
    assert (row["account_id__r"], row["field_account_level__c"], row["field_lines_sum__c"]) == (label, quote, total)


@pytest.mark.parametrize("bumps", [False, True])
def test_a_new_sum_of_lines_stamps_the_order_or_does_not(simulator: Simulator, bumps: bool) -> None:
    simulator.knobs.formula_recalc_bumps_lmt = bumps
    _, order, line = order_with_line(simulator)
    simulator.tenant.update("SalesOrderProductObj", line, {"subtotal": "11.00"})

    record = simulator.tenant.records("SalesOrderObj")[order]
    assert (record["last_modified_time"] > NOVEMBER) == bumps
    assert record["field_lines_sum__c"] == ("11.00" if bumps else "0.00")


def test_people_at_work_do_the_same_for_the_same_seed() -> None:
    def work(seed: int) -> list[dict[str, Any]]:
        # New ids begin with the second they are made in, so the clock stands still: a work may else pass into the next.
        knobs = Knobs(visibility_lag_ms=0)
        simulator = Simulator(seed=seed, records={"AccountObj": 300}, knobs=knobs, real=lambda: 1_790_000_000.0)
        simulator.editor.edit("AccountObj", 400)
        assert set(simulator.editor.done) == {"create", "update", "void", "recover", "delete"}
        moving = ("last_modified_time", "create_time", "_id", "extend_obj_data_id")
        return [
            {key: value for key, value in record.items() if key not in moving}
            for record in simulator.tenant.records("AccountObj").values()
        ]

    assert work(3) == work(3)
    assert work(3) != work(4)


def test_edits_follow_each_answered_query(api: Api, simulator: Simulator) -> None:
    simulator.knobs.edits_per_request = 5
    before = simulator.tenant.records("AccountObj")
    api.query("AccountObj")

    after = simulator.tenant.records("AccountObj")
    assert 0 < sum(simulator.editor.done.values()) <= 5
    assert before != after
    api.query("NothingObj")
    assert simulator.tenant.records("AccountObj") == after


def test_edits_happen_by_the_second(simulator: Simulator) -> None:
    simulator.knobs.edits_per_second = 200
    before = simulator.tenant.records("AccountObj")
    while simulator.tenant.records("AccountObj") == before:
        simulator.server.stopping.wait(0.02)
    simulator.knobs.edits_per_second = 0


def test_live_creates_are_backdated_where_the_knob_says_so(simulator: Simulator) -> None:
    simulator.knobs.backdated_stamp = True
    before, now = set(simulator.tenant.records("AccountObj")), simulator.clock.now_ms()
    simulator.editor.edit("AccountObj", 200)

    stamps = [r["last_modified_time"] for key, r in simulator.tenant.records("AccountObj").items() if key not in before]
    old = [each for each in stamps if each < now - 1000]
    assert 0 < len(old) < len(stamps)


def test_two_starts_with_one_seed_hold_identical_records() -> None:
    first, second, other = Simulator(seed=7), Simulator(seed=7), Simulator(seed=8)

    for name in first.tenant.objects:
        assert first.tenant.records(name) == second.tenant.records(name)
        assert list(first.tenant.records(name)) == list(second.tenant.records(name))
    assert first.tenant.records("AccountObj") != other.tenant.records("AccountObj")


def test_a_number_of_records_changes_no_other_object() -> None:
    few, many = Simulator(records={"AccountObj": 10}), Simulator(records={"AccountObj": 20})

    assert few.tenant.records("ProductObj") == many.tenant.records("ProductObj")
    assert list(few.tenant.records("AccountObj").values()) == list(many.tenant.records("AccountObj").values())[:10]


def test_the_seeded_stamps_lie_in_2026_before_november(simulator: Simulator) -> None:
    for name in simulator.tenant.objects:
        for record in simulator.tenant.records(name).values():
            assert 1767225600000 <= record["last_modified_time"] < NOVEMBER
            assert record["create_time"] <= record["last_modified_time"]


def test_the_warehouse_of_the_article_is_among_the_records_and_some_have_no_number(simulator: Simulator) -> None:
    records = list(simulator.tenant.records("object_warehouse__c").values())

    wanted = {"warehouseId": "WH123", "warehouseName": "Main Warehouse", "location": "Beijing", "capacity": "10000"}
    assert any(wanted.items() <= each.items() and each["currentStock"] == "5000" for each in records)
    assert 0 < sum("warehouseId" not in each for each in records) < 10


def test_records_of_an_unknown_object_are_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"no object 'AcountObj' here; the objects are: AccountObj, "):
        Simulator(records={"AcountObj": 5})


def test_the_tenant_refuses_in_python_as_it_does_over_http(simulator: Simulator) -> None:
    with pytest.raises(ApiError, match=r"只有已作废的数据才能被删除 \(errorCode 50009\)"):
        simulator.tenant.delete("AccountObj", next(iter(simulator.tenant.records("AccountObj"))))


def test_a_user_changes_only_what_he_may_see(simulator: Simulator, account: str) -> None:
    seller = Api(simulator, user="FSUID_demo0000000000000000000000005")
    for path, asked in (("update", body(account, name="x")), ("invalid", one(account)), ("recover", ids(account))):
        answer = seller.call(f"{DATA}/{path}", asked)
        assert (answer["errorCode"], answer["errorMessage"]) == (50009, "无此操作的数据权限")
