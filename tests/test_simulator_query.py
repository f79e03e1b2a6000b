"""data/query: operators, paging, totals, projections and what a record looks like on the wire."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenxiang_simulator import Knobs, Simulator
from tests.simulator_fixtures import Api

PATIENT = {"calls": 10**6, "day_quota": 10**9}
JANUARY = 1767225600000
NOVEMBER = 1793491200000


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(records={"AccountObj": 350}, knobs=Knobs(**PATIENT)) as running:
        yield running


@pytest.fixture
def api(simulator: Simulator) -> Api:
    return Api(simulator)


@pytest.fixture(scope="module")
def still() -> Iterator[Api]:
    """A simulator that no test of this module changes; people are written as employee ids."""
    with Simulator(records={"AccountObj": 120}, knobs=Knobs(**PATIENT)) as running:
        yield Api(running, style="header")


# Operators, against a plain model

FIELDS: dict[str, Callable[[Any], Any]] = {
    "_id": str,
    "name": str,
    "city": str,
    "remark": str,
    "account_level": str,
    "version": Decimal,
    "last_modified_time": Decimal,
    "field_registered_on__c": Decimal,
    "field_credit_limit__c": Decimal,
    "field_vip__c": lambda value: str(value).lower() == "true",
    "field_tags__c": str,
    "owner": str,
}
ORDERED = {"GT": operator.gt, "GTE": operator.ge, "LT": operator.lt, "LTE": operator.le}
TEXTUAL = {"LIKE": lambda a, b: b in a, "STARTWITH": str.startswith, "ENDWITH": str.endswith}
NEGATED = {"N": "EQ", "NLIKE": "LIKE", "ISN": "IS", "NIN": "IN", "NBETWEEN": "BETWEEN", "NHASANYOF": "HASANYOF"}


def holds(record: dict[str, Any], field: str, name: str, values: list[str]) -> bool:
    """What the documentation says of an operator, as plainly as it can be written."""
    if name in NEGATED:
        return not holds(record, field, NEGATED[name], values)
    if name == "IS":
        return field not in record
    if field not in record:
        return False
    read = FIELDS[field]
    held = [read(each) for each in record[field]] if isinstance(record[field], list) else [read(record[field])]
    wanted = [read(value) for value in values]
    if name in ("IN", "HASANYOF"):
        return any(each in wanted for each in held)
    if name == "CONTAINS":
        return all(each in held for each in wanted) if isinstance(record[field], list) else wanted[0] in held[0]
    if name == "BETWEEN":
        return any(wanted[0] <= each <= wanted[1] for each in held)
    if name in TEXTUAL:
        return any(TEXTUAL[name](str(each), str(wanted[0])) for each in held)
    return any({"EQ": operator.eq, **ORDERED}[name](each, wanted[0]) for each in held)


def operators_of(field: str) -> list[str]:
    names = ["EQ", "N", "IN", "NIN", "IS", "ISN"]
    if field in ("field_tags__c", "owner"):
        return [*names, "CONTAINS", "HASANYOF", "NHASANYOF"]
    if FIELDS[field] is str:
        return [*names, *ORDERED, "LIKE", "NLIKE", "STARTWITH", "ENDWITH", "BETWEEN", "NBETWEEN"]
    if FIELDS[field] is Decimal:
        return [*names, *ORDERED, "BETWEEN", "NBETWEEN"]
    return names


@st.composite
def filters(draw: st.DrawFn, records: list[dict[str, Any]]) -> tuple[str, str, list[str]]:
    field = draw(st.sampled_from(sorted(FIELDS)))
    name = draw(st.sampled_from(operators_of(field)))
    known = sorted(
        {str(v) for r in records if field in r for v in (r[field] if isinstance(r[field], list) else [r[field]])}
    )
    if name in ("IS", "ISN"):
        return field, name, []
    if name.endswith("BETWEEN"):
        return field, name, [draw(st.sampled_from(known)) for _ in range(2)]
    if name in ("IN", "NIN", "CONTAINS", "HASANYOF", "NHASANYOF"):
        return field, name, draw(st.lists(st.sampled_from(known), min_size=1, max_size=4 if name != "CONTAINS" else 2))
    value = draw(st.sampled_from(known))
    return field, name, [value[:2] if name in TEXTUAL or name == "NLIKE" else value]


@settings(max_examples=120)
@given(data=st.data())
def test_every_filter_finds_what_the_documentation_says(still: Api, data: st.DataObject) -> None:
    records = [
        each
        for page in (0, 100)
        for each in still.rows("AccountObj", fields=sorted(FIELDS), orders=[("_id", True)], offset=page)
    ]
    assert len(records) == 120
    chosen = data.draw(st.lists(filters(records), max_size=3, unique_by=lambda each: each[0]))
    order = data.draw(st.sampled_from([(), (("_id", True),), (("last_modified_time", True),), (("version", False),)]))
    expected = {each["_id"] for each in records if all(holds(each, *one) for one in chosen)}

    answer = still.query("AccountObj", *chosen, fields=["_id"], orders=order)["data"]

    assert answer["total"] == len(expected)
    assert len(answer["dataList"]) == min(100, len(expected))
    assert {each["_id"] for each in answer["dataList"]} <= expected
    if order:
        ((field, ascending),) = order
        read = FIELDS[field]
        keys = {each["_id"]: read(each[field]) for each in records}
        shown = [keys[each["_id"]] for each in answer["dataList"]]
        assert shown == sorted((keys[each] for each in expected), reverse=not ascending)[:100]


@settings(max_examples=60)
@given(
    since=st.integers(JANUARY, NOVEMBER),
    days=st.integers(0, 300),
    ends=st.sampled_from([("GTE", "LT"), ("GT", "LTE"), ("BETWEEN", "")]),
    limit=st.sampled_from([1, 7, 100]),
)
def test_a_keyset_over_a_window_returns_each_record_in_it_once(
    still: Api, since: int, days: int, ends: tuple[str, str], limit: int
) -> None:
    until = since + days * 86_400_000
    window = (
        [("last_modified_time", "BETWEEN", [since, until])]
        if ends[0] == "BETWEEN"
        else [("last_modified_time", ends[0], [str(since)]), ("last_modified_time", ends[1], [str(until)])]
    )
    truth = still.simulator.tenant.records("AccountObj").values()
    stamps = {each["_id"]: each["last_modified_time"] for each in truth}
    tests = {"GTE": operator.ge, "LT": operator.lt, "GT": operator.gt, "LTE": operator.le}
    expected = [
        key
        for key in sorted(stamps)
        if (
            since <= stamps[key] <= until
            if ends[0] == "BETWEEN"
            else tests[ends[0]](stamps[key], since) and tests[ends[1]](stamps[key], until)
        )
    ]

    found: list[str] = []
    while len(found) <= 130:
        after = [("_id", "GT", [found[-1]])] if found else []
        page = still.rows("AccountObj", *window, *after, orders=[("_id", True)], fields=["_id"], limit=limit)
        if not page:
            break
        found += [each["_id"] for each in page]
        if limit == 1 and len(found) > 15:
            assert found == expected[: len(found)]
            return
    assert found == expected


@pytest.mark.parametrize("field", ["_id", "last_modified_time", "version"])
@pytest.mark.parametrize("name", [*ORDERED, "EQ", "N", "BETWEEN", "NBETWEEN"])
def test_a_bound_that_a_record_meets_exactly_is_inside_or_outside_as_the_operator_says(
    still: Api, field: str, name: str
) -> None:
    records = still.simulator.tenant.records("AccountObj")
    for record in list(records.values())[:5]:
        values = [str(record[field])] * (2 if name.endswith("BETWEEN") else 1)
        expected = {key for key, each in records.items() if holds(each, field, name, values)}
        for order in ([("_id", True)], [("last_modified_time", False)]):
            answer = still.query("AccountObj", (field, name, values), fields=["_id"], orders=order, limit=100)["data"]
            assert answer["total"] == len(expected)
            assert {each["_id"] for each in answer["dataList"]} <= expected


def test_a_window_is_read_again_as_it_is_now(api: Api, simulator: Simulator) -> None:
    simulator.knobs.visibility_lag_ms = 0
    window = [("last_modified_time", "GTE", [JANUARY]), ("last_modified_time", "LT", [JANUARY + 20 * 86_400_000])]

    def read() -> list[str]:
        return [each["_id"] for each in api.rows("AccountObj", *window, orders=[("_id", True)], fields=["_id"])]

    first = read()
    simulator.tenant.update("AccountObj", first[0], {"remark": "moves to the end of time"})
    new = simulator.tenant.create("AccountObj", {"name": "x"}, modified_ms=JANUARY)
    assert read() == sorted([*first[1:], new])


@pytest.mark.parametrize("name", ["NE", "NEQ", "NOT_NULL", "EXISTS", "NCONTAINS", "eq"])
def test_an_unknown_operator_is_an_error_or_ignored(api: Api, simulator: Simulator, name: str) -> None:
    assert api.query("AccountObj", ("name", name, ["x"]))["errorCode"] == 32000

    simulator.knobs.unknown_operator = "ignore"
    assert api.query("AccountObj", ("name", name, ["x"]))["data"]["total"] == 350


def test_an_unknown_filter_field_is_an_error_or_ignored(api: Api, simulator: Simulator) -> None:
    assert api.query("AccountObj", ("nothing__c", "EQ", ["x"]))["errorCode"] == 32000

    simulator.knobs.unknown_filter_field = "ignore"
    assert api.query("AccountObj", ("nothing__c", "EQ", ["x"]))["data"]["total"] == 350


def test_a_time_that_is_no_epoch_is_an_error(api: Api) -> None:
    assert api.query("AccountObj", ("last_modified_time", "GT", ["2026-01-01 00:00:00"]))["errorCode"] == 500


def test_between_includes_its_end_or_not(api: Api, simulator: Simulator) -> None:
    (row,) = api.rows("AccountObj", limit=1)
    stamp = row["last_modified_time"]
    (alone,) = {len(api.rows("AccountObj", ("last_modified_time", "EQ", [stamp])))}

    assert len(api.rows("AccountObj", ("last_modified_time", "BETWEEN", [stamp - 1, stamp]))) >= alone
    simulator.knobs.between = "half-open"
    assert api.rows("AccountObj", ("last_modified_time", "BETWEEN", [stamp - 1, stamp])) == []
    assert len(api.rows("AccountObj", ("last_modified_time", "BETWEEN", [stamp, stamp + 1]))) == alone


def test_of_two_filters_on_one_field_both_the_first_or_the_last_count(api: Api, simulator: Simulator) -> None:
    low, high = JANUARY + 50 * 86_400_000, JANUARY + 100 * 86_400_000
    window = (("last_modified_time", "GTE", [low]), ("last_modified_time", "LT", [high]))

    def total(*chosen: tuple[str, str, list[int]]) -> int:
        return int(api.query("AccountObj", *chosen)["data"]["total"])

    both, first, last = total(*window), total(window[0]), total(window[1])
    assert 0 < both < min(first, last)
    simulator.knobs.same_field_filters = "first"
    assert total(*window) == first
    simulator.knobs.same_field_filters = "last"
    assert total(*window) == last


# Paging


@pytest.mark.parametrize(("mode", "rows"), [("clamp", 100), ("honour", 250), ("reject", None)])
def test_a_limit_over_100_is_clamped_honoured_or_refused(
    api: Api, simulator: Simulator, mode: str, rows: int | None
) -> None:
    simulator.knobs.limit_mode = mode
    answer = api.query("AccountObj", limit=250)

    assert (answer["errorCode"] == 0) == (rows is not None)
    if rows is not None:
        assert len(answer["data"]["dataList"]) == rows
        assert answer["data"]["limit"] == rows


def test_an_offset_that_is_no_multiple_of_the_limit_is_refused_or_not(api: Api, simulator: Simulator) -> None:
    assert api.query("AccountObj", limit=100, offset=50)["errorCode"] == 32000

    simulator.knobs.offset_multiple = "ignore"
    assert api.query("AccountObj", limit=100, offset=50)["errorCode"] == 0


def test_an_offset_over_10000_is_10013_word_for_word(api: Api, simulator: Simulator) -> None:
    answer = api.query("AccountObj", limit=100, offset=10_100)

    answer.pop("traceId")
    assert answer == {
        "errorCode": 10013,
        "errorMessage": "offset out of range 10000",
        "errorDescription": "offset 不能超过10000",
    }
    assert api.query("AccountObj", limit=100, offset=10_000)["errorCode"] == 0
    simulator.knobs.offset_10000_inclusive = "rejected"
    assert api.query("AccountObj", limit=100, offset=10_000)["errorCode"] == 10013


def test_offset_paging_ends_at_10000_of_12000_records() -> None:
    with Simulator(records={"AccountObj": 12_000}, knobs=Knobs(**PATIENT)) as simulator:
        api = Api(simulator)
        read = sum(
            len(api.rows("AccountObj", fields=["_id"], offset=offset, orders=[("_id", True)]))
            for offset in range(0, 10_100, 1000)
        )
        assert read == 11 * 100
        assert api.query("AccountObj", offset=11_000)["errorCode"] == 10013
        assert len(api.everything("AccountObj", fields=["_id"])) == 12_000


def test_numbers_and_booleans_as_text_are_understood(api: Api) -> None:
    answer = api.query("AccountObj", limit="10", offset="0", orders=[("_id", "false")], fields=["_id"])  # type: ignore[list-item]

    ids = [each["_id"] for each in answer["data"]["dataList"]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 10


def test_without_order_the_newest_come_first(api: Api) -> None:
    stamps = [each["last_modified_time"] for each in api.rows("AccountObj")]

    assert stamps == sorted(stamps, reverse=True)


def test_many_records_share_one_stamp(simulator: Simulator) -> None:
    stamps = [each["last_modified_time"] for each in simulator.tenant.records("SalesOrderProductObj").values()]

    assert max(map(stamps.count, set(stamps))) > 100


def test_ids_are_of_24_and_of_32_digits(simulator: Simulator) -> None:
    assert {len(each) for each in simulator.tenant.records("AccountObj")} == {24, 32}
    assert {len(each) for each in simulator.tenant.records("object_inventory_report__c")} == {24}


def test_offset_paging_over_the_stamp_loses_records_that_a_keyset_does_not() -> None:
    def offset(api: Api) -> set[str]:
        ids: set[str] = set()
        for at in range(0, 3000, 100):
            page = api.rows("AccountObj", offset=at, orders=[("last_modified_time", True)], fields=["_id"])
            ids |= {each["_id"] for each in page}
        return ids

    def keyset(api: Api) -> set[str]:
        return {each["_id"] for each in api.everything("AccountObj", fields=["_id"])}

    lost = {}
    for pull in (offset, keyset):
        knobs = Knobs(**PATIENT, edits_per_request=5, visibility_lag_ms=0)
        with Simulator(records={"AccountObj": 3000}, knobs=knobs) as simulator:
            before = set(simulator.tenant.visible("AccountObj"))
            found = pull(Api(simulator))
            lost[pull] = (before & set(simulator.tenant.visible("AccountObj"))) - found
    assert len(lost[offset]) > 20
    assert lost[keyset] == set()


@pytest.mark.parametrize("value", ["sort_shorter_first", "compare_shorter_first"])
def test_two_collations_of_ids_break_a_naive_keyset(api: Api, simulator: Simulator, value: str) -> None:
    simulator.knobs.id_order = value
    found: list[str] = []
    for _ in range(8):
        after = [("_id", "GT", [found[-1]])] if found else []
        page = api.rows("AccountObj", *after, orders=[("_id", True)], fields=["_id"])
        found += [each["_id"] for each in page]
        if not page:
            break

    assert len(set(found)) < 350 or len(found) > 350


def test_a_filter_after_the_limit_makes_pages_short_in_mid_range(api: Api, simulator: Simulator) -> None:
    simulator.knobs.filter_after_limit = True
    chosen = ("account_level", "EQ", ["1"])

    page = api.rows("AccountObj", chosen, orders=[("_id", True)])
    assert 0 < len(page) < 60
    assert len(api.everything("AccountObj", chosen)) > len(page)


# Totals


def test_the_total_is_exact_unless_it_is_switched_off(api: Api) -> None:
    assert api.query("AccountObj")["data"]["total"] == 350
    assert api.query("AccountObj", data={"find_explicit_total_num": False})["data"]["total"] == 0


@pytest.mark.parametrize(
    ("winner", "top", "data", "total"),
    [
        ("find_explicit_total_num", {"returnTotalNum": 3}, {}, 350),
        ("find_explicit_total_num", {"need_return_count_num": True}, {"find_explicit_total_num": False}, 0),
        ("returnTotalNum", {}, {"find_explicit_total_num": False}, 350),
        ("returnTotalNum", {"returnTotalNum": 3}, {"find_explicit_total_num": True}, 0),
        ("need_return_count_num", {}, {"find_explicit_total_num": True}, 0),
        ("need_return_count_num", {"need_return_count_num": True}, {"find_explicit_total_num": False}, 350),
    ],
)
def test_one_of_the_three_switches_decides_about_the_total(
    api: Api, simulator: Simulator, winner: str, top: dict[str, Any], data: dict[str, Any], total: int
) -> None:
    simulator.knobs.total_switch_winner = winner

    assert api.query("AccountObj", top=top, data=data)["data"]["total"] == total


def test_a_total_may_be_a_guess_or_nothing(api: Api, simulator: Simulator) -> None:
    simulator.knobs.total_mode = "estimated"
    guessed = api.query("AccountObj")["data"]["total"]
    assert guessed != 350
    assert abs(guessed - 350) <= 18

    simulator.knobs.total_mode = "zero"
    assert api.query("AccountObj")["data"]["total"] == 0


def test_a_total_may_end_at_10000() -> None:
    with Simulator(records={"AccountObj": 10_500}, knobs=Knobs(total_mode="capped")) as simulator:
        assert Api(simulator).query("AccountObj", limit=1)["data"]["total"] == 10_000


# What a record looks like


def test_the_envelope_is_as_documented(api: Api) -> None:
    answer = api.query("AccountObj", limit=1, fields=["name"])

    assert set(answer) == {"traceId", "errorCode", "errorMessage", "errorDescription", "data"}
    assert (answer["errorMessage"], answer["errorDescription"]) == ("OK", "success")
    assert answer["traceId"].startswith("E-O.demoea.1000-")
    assert set(answer["data"]) == {"total", "offset", "limit", "dataList"}
    assert (answer["data"]["offset"], answer["data"]["limit"]) == (0, 1)


def test_a_record_without_projection_carries_companions_and_injected_fields(api: Api) -> None:
    (row,) = api.rows("SalesOrderObj", ("account_id", "ISN", []), ("owner", "ISN", []), limit=1)

    assert row["account_id__r"]
    assert row["account_id__relation_ids"] == row["account_id"]
    assert row["life_status__r"] in ("正常", "作废", "变更中", "审核中", "未生效")
    assert {"id", "name", "phone", "email"} <= set(row["owner__r"])
    assert row["owner__l"] == [{"id": row["owner__r"]["id"], "name": row["owner__r"]["name"]}]
    assert row["data_own_department__r"]["deptName"] == row["owner_department"]
    assert row["relevant_team__r"] == row["owner__r"]["name"]
    assert row["field_account_level__c"] in ("重点客户", "普通客户", "一般客户")
    assert row["field_account_level__c__v"] in "123"
    assert row["total_num"] == 800
    stamp, indexed, record_id = row["searchAfterId"]
    assert (stamp, record_id) == (str(row["last_modified_time"]), row["_id"])
    assert 33_000 <= int(indexed) - int(stamp) * 1000 <= 45_000


def test_the_types_on_the_wire_are_those_of_real_answers(api: Api) -> None:
    (account,) = api.rows("AccountObj", *[(f, "ISN", []) for f in ("field_tags__c", "field_credit_limit__c")], limit=1)
    (order,) = api.rows("SalesOrderObj", ("delivery_date", "ISN", []), limit=1)

    assert isinstance(account["version"], str)
    assert isinstance(account["is_deleted"], bool)
    assert isinstance(account["field_tags__c"], list)
    assert isinstance(account["owner"], list)
    assert isinstance(account["last_modified_time"], int)
    assert Decimal(account["field_credit_left__c"]) == Decimal(account["field_credit_limit__c"]) - Decimal(
        account["field_credit_used__c"]
    )
    assert isinstance(order["order_amount"], str)
    assert isinstance(order["order_time"], int)
    assert datetime.fromtimestamp(order["order_time"] / 1000, UTC).strftime("%H:%M:%S") == "16:00:00"


def test_a_projection_shows_those_fields_alone(api: Api) -> None:
    for row in api.rows("AccountObj", fields=["_id", "name", "owner", "remark"]):
        assert set(row) <= {"_id", "name", "owner", "remark"}
        assert {"_id", "name"} <= set(row)


def test_an_empty_field_is_absent_unless_nulls_are_asked_for(api: Api) -> None:
    empty = ("remark", "IS", [])

    assert all("remark" not in row for row in api.rows("AccountObj", empty))
    assert all(row["remark"] is None for row in api.rows("AccountObj", empty, top={"includeNull": True}))
    assert api.rows("AccountObj", empty, fields=["remark"], limit=1, top={"includeNull": True}) == [{"remark": None}]


def test_high_seas_records_have_no_owner(api: Api) -> None:
    rows = api.rows("AccountObj", ("owner", "IS", []))

    assert rows
    assert not any("owner" in row or "owner__r" in row for row in rows)


@pytest.mark.parametrize(
    ("mode", "named", "unnamed"), [("omitted", True, False), ("included", True, True), ("never", False, False)]
)
def test_companions_under_a_projection_follow_the_knob(
    api: Api, simulator: Simulator, mode: str, named: bool, unnamed: bool
) -> None:
    simulator.knobs.companions_with_projection = mode
    fields = ["account_id", "account_id__r", "life_status"]
    (row,) = api.rows("SalesOrderObj", ("account_id", "ISN", []), fields=fields, limit=1)

    assert ("account_id__r" in row) == named
    assert ("life_status__r" in row) == unnamed


def test_find_simple_calculates_nothing(api: Api) -> None:
    chosen = ("field_credit_left__c", "ISN", [])
    (row,) = api.rows("AccountObj", chosen, action="findSimple", limit=1)
    assert "field_credit_left__c" not in row
    assert "owner__r" not in row

    (row,) = api.rows(
        "AccountObj", action="findSimple", limit="1", data={"field_projection": ["_id", "field_credit_left__c"]}
    )
    assert set(row) == {"_id"}


def test_find_one_answers_one_record_or_null(api: Api) -> None:
    (row,) = api.rows("AccountObj", fields=["_id"], limit=1)

    assert api.query("AccountObj", ("_id", "EQ", [row["_id"]]), action="findOne", fields=["_id"])["data"] == row
    assert api.query("AccountObj", ("_id", "EQ", ["nothing"]), action="findOne")["data"] is None


def test_get_answers_the_whole_record(api: Api) -> None:
    (row,) = api.rows("AccountObj", limit=1)
    body = {"data": {"dataObjectApiName": "AccountObj", "objectDataId": row["_id"]}}

    for injected in ("total_num", "searchAfterId"):
        row.pop(injected)
    assert api.call("/cgi/crm/v2/data/get", body)["data"] == row


def test_get_of_an_unknown_id_is_an_error_or_empty(api: Api, simulator: Simulator) -> None:
    body = {"data": {"dataObjectApiName": "AccountObj", "objectDataId": "nothing"}}

    assert api.call("/cgi/crm/v2/data/get", body)["errorCode"] == 32000
    simulator.knobs.missing_record = "empty"
    assert api.call("/cgi/crm/v2/data/get", body)["data"] is None


# Bodies that are wrong


def test_a_missing_search_is_named_as_the_server_names_it(api: Api) -> None:
    answer = api.call("/cgi/crm/v2/data/query", {"data": {"dataObjectApiName": "AccountObj"}})

    assert answer["errorMessage"] == "searchQueryInfo is empty"
    assert answer["errorCode"] != 0


def test_an_object_name_outside_data_is_500_in_the_body(api: Api) -> None:
    answer = api.call("/cgi/crm/v2/data/query", {"dataObjectApiName": "AccountObj", "data": {"search_query_info": {}}})

    assert answer["errorCode"] == 500


def test_an_unknown_object_is_an_error_that_names_it(api: Api) -> None:
    assert "NothingObj" in api.query("NothingObj")["errorDescription"]


def test_missing_filters_are_fine_or_not(api: Api, simulator: Simulator) -> None:
    body = {"data": {"dataObjectApiName": "AccountObj", "search_query_info": {"limit": 10, "offset": 0}}}

    assert api.call("/cgi/crm/v2/data/query", body)["errorCode"] == 0
    simulator.knobs.missing_filters_ok = False
    assert api.call("/cgi/crm/v2/data/query", body)["errorCode"] != 0


def test_a_path_of_the_wrong_kind_is_accepted_or_refused(api: Api, simulator: Simulator) -> None:
    body = {"data": {"dataObjectApiName": "AccountObj", "search_query_info": {"limit": 10, "offset": 0}}}

    assert api.call("/cgi/crm/custom/v2/data/query", body)["errorCode"] == 0
    simulator.knobs.wrong_path_kind = "error"
    assert api.call("/cgi/crm/custom/v2/data/query", body)["errorCode"] != 0
    assert api.call("/cgi/crm/v2/data/query", body)["errorCode"] == 0


# Objects and their fields


def test_the_object_list_has_the_documented_keys(api: Api) -> None:
    objects = api.call("/cgi/crm/v2/object/list", {})["data"]["objects"]

    assert {each["describeApiName"] for each in objects} >= {"AccountObj", "object_warehouse__c"}
    assert objects[0] == {
        "describeApiName": "DepartmentObj",
        "describeDisplayName": "部门",
        "defineType": "package",
        "isActive": True,
        "iconPath": "",
        "iconIndex": 1,
        "hideButton": False,
        "publicObject": False,
    }


@pytest.mark.parametrize("body", [{"data": {"apiName": "AccountObj"}}, {"apiName": "AccountObj"}])
def test_describe_names_fields_with_types_and_options(api: Api, body: dict[str, Any]) -> None:
    described = api.call("/cgi/crm/v2/object/describe", {"includeDetail": False, **body})["data"]["describe"]

    assert (described["api_name"], described["display_name"], described["define_type"]) == (
        "AccountObj",
        "客户",
        "package",
    )
    assert described["fields"]["name"]["is_required"] is True
    assert {"label": "作废", "value": "invalid"} in described["fields"]["life_status"]["options"]
    assert described["fields"]["parent_account_id"]["target_api_name"] == "AccountObj"


def test_every_field_of_every_record_is_described(api: Api, simulator: Simulator) -> None:
    suffixes = ("__r", "__l", "__v", "__relation_ids")
    for name in simulator.tenant.objects:
        described = api.call("/cgi/crm/v2/object/describe", {"data": {"apiName": name}})["data"]["describe"]["fields"]
        for row in api.rows(name):
            strangers = set(row) - set(described) - {"total_num", "searchAfterId"}
            assert all(each.endswith(suffixes) for each in strangers)


def test_a_field_added_later_is_absent_on_old_records(api: Api, simulator: Simulator) -> None:
    simulator.knobs.visibility_lag_ms = 0
    simulator.knobs.schema_drift = True
    new = simulator.tenant.create("AccountObj", {"name": "新客户"})
    described = api.call("/cgi/crm/v2/object/describe", {"data": {"apiName": "AccountObj"}})["data"]["describe"]

    assert "drift__c" in described["fields"]
    assert [each["_id"] for each in api.rows("AccountObj", ("drift__c", "ISN", []))] == [new]


# Rights


def test_the_admin_sees_everything_but_people(api: Api) -> None:
    assert api.query("AccountObj")["data"]["total"] == 350
    assert api.query("PersonnelObj")["data"] == {"total": 0, "offset": 0, "limit": 100, "dataList": []}


def test_people_are_seen_once_they_are_shared_with_exactly_that_person(api: Api, simulator: Simulator) -> None:
    simulator.tenant.share("PersonnelObj", api.user)

    assert api.query("PersonnelObj")["data"]["total"] == 24
    assert Api(simulator, style="header", user="1005").query("PersonnelObj")["data"]["total"] == 0


def test_another_user_sees_fewer_records_and_no_error(simulator: Simulator) -> None:
    seller = Api(simulator, style="header", user="1002")
    rows = seller.everything("AccountObj")

    assert 0 < len(rows) < 60
    assert all(each["owner"] == ["1002"] for each in rows)
    assert set(simulator.tenant.visible("AccountObj", "1002")) == {each["_id"] for each in rows}


@pytest.mark.parametrize(("change", "before", "after"), [("appear", False, True), ("vanish", True, False)])
def test_rights_change_without_a_stamp(api: Api, simulator: Simulator, change: str, before: bool, after: bool) -> None:
    simulator.knobs.permission_change = change
    totals = [api.query("AccountObj", limit=1)["data"]["total"] for _ in range(5)]

    assert [each == 350 for each in totals] == [before] * 3 + [after] * 2


def test_a_hidden_record_is_found_by_others_alone(api: Api, simulator: Simulator) -> None:
    record_id = next(iter(simulator.tenant.records("ProductObj")))
    simulator.tenant.hide("ProductObj", record_id, api.user)

    assert api.query("ProductObj")["data"]["total"] == 149
    assert Api(simulator, style="header", user="1002").query("ProductObj")["data"]["total"] == 150
    simulator.tenant.show("ProductObj", record_id, api.user)
    assert api.query("ProductObj")["data"]["total"] == 150


def _product(api: Api, *, fields: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """One product as a query gives it, and as `get` does."""
    [row] = api.rows("ProductObj", ("product_code", "EQ", ["P000002"]), fields=fields)
    record_id = api.rows("ProductObj", ("product_code", "EQ", ["P000002"]))[0]["_id"]
    got = api.call("/cgi/crm/v2/data/get", {"data": {"dataObjectApiName": "ProductObj", "objectDataId": record_id}})
    return row, got["data"]


@pytest.mark.parametrize("fields", [(), ("_id", "name", "description__c", "image__c")])
def test_what_only_get_gives_is_in_no_answer_to_a_query(api: Api, fields: Sequence[str]) -> None:
    row, got = _product(api, fields=fields)
    assert {"description__c", "image__c"}.isdisjoint(row)
    assert got["description__c"].startswith("<p>")
    assert got["image__c"][0]["ext"] == "png"


def test_how_much_only_get_gives_is_a_knob(api: Api, simulator: Simulator) -> None:
    simulator.knobs.only_get = "none"
    row, got = _product(api)
    assert row["description__c"] == got["description__c"]

    def fields_of(mode: str) -> set[str]:
        simulator.knobs.only_get = mode
        return {name for row in api.rows("AccountObj") for name in row}

    all_of_them = fields_of("none")
    assert all_of_them - fields_of("long") == {"remark"}
    assert all_of_them - fields_of("computed") == {"field_credit_left__c"}
