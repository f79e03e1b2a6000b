from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenxiang_simulator import Knobs, Simulator
from fenxiang_sync.errors import DeclarationError, IncompleteError, QuotaError, RefusedError
from fenxiang_sync.source import Bounds, FenxiangClient, Filter, Operator, Page, pages
from fenxiang_sync.window import Window
from tests.source_fixtures import ALL_TIME, client_of, credentials, simulator

SOME_TIME = Window(1_770_000_000_000, 1_780_000_000_000)
VOIDED = Filter("life_status", Operator.EQ, "invalid")


@pytest.fixture
def server() -> Iterator[Simulator]:
    with simulator({"AccountObj": 700}) as running:
        yield running


def asked(client: FenxiangClient, window: Window = ALL_TIME, **changes: Any) -> Iterator[Page]:
    given: dict[str, Any] = {"object_name": "AccountObj", "window": window, "projection": ("name",)}
    return pages(client, **(given | changes))


def read(client: FenxiangClient, window: Window = ALL_TIME, **changes: Any) -> list[dict[str, Any]]:
    return [record for page in asked(client, window, **changes) for record in page.records]


def ids(records: Sequence[dict[str, Any]]) -> list[str]:
    return [record["_id"] for record in records]


def true_ids(server: Simulator, window: Window = ALL_TIME, *, voided_only: bool = False) -> list[str]:
    shown = True if voided_only and server.knobs.voided == "visible_if_filtered" else None
    return sorted(
        record_id
        for record_id, record in server.tenant.visible("AccountObj", voided=shown).items()
        if record["last_modified_time"] in window and (record["life_status"] == "invalid" or not voided_only)
    )


def test_every_record_of_the_window_comes_once_and_no_other(server: Simulator) -> None:
    for window in (ALL_TIME, SOME_TIME):
        assert sorted(ids(read(client_of(server), window))) == true_ids(server, window)


def test_an_empty_window_is_not_asked_for(server: Simulator) -> None:
    client = client_of(server)
    assert read(client, Window(5, 5)) == []
    assert client.calls.total() == 0


def test_the_offset_stays_0_and_no_total_is_asked_for_on_the_way(server: Simulator) -> None:
    read(client_of(server))
    queries = [query for query in server.queries if query.rows]
    assert {query.offset for query in queries} == {0}
    assert {query.total for query in queries} == {"none"}


def test_id_and_stamp_come_along_whatever_is_projected(server: Simulator) -> None:
    assert set(read(client_of(server), projection=())[0]) == {"_id", "last_modified_time"}


def test_a_short_page_does_not_end_a_range(server: Simulator) -> None:
    server.faults.next("short_page", 3, path="/data/query", skip=1)
    assert sorted(ids(read(client_of(server)))) == true_ids(server)


def test_an_empty_page_by_mistake_does_not_end_a_range(server: Simulator) -> None:
    for skip in (1, 3, 6):
        server.faults.next("empty_page", 1, path="/data/query", skip=skip)
        assert sorted(ids(read(client_of(server)))) == true_ids(server)
        server.faults.clear()


def test_a_page_that_comes_twice_is_asked_for_again(server: Simulator) -> None:
    server.faults.next("repeated_page", 1, path="/data/query", skip=4)
    assert sorted(ids(read(client_of(server)))) == true_ids(server)


def test_a_server_that_never_gets_on_is_an_error_that_names_it(server: Simulator) -> None:
    client = client_of(server)
    server.faults.next("repeated_page", 100, path="/data/query", skip=3)
    with pytest.raises(IncompleteError, match=r"AccountObj.*4 times.*repeat"):
        read(client)


def test_an_error_code_is_never_the_end_of_data(server: Simulator) -> None:
    client = client_of(server)
    reading = asked(client)
    next(reading)
    server.knobs.day_quota = 1
    with pytest.raises(QuotaError):
        list(reading)


def test_a_reading_that_was_cut_off_goes_on_after_its_last_id(server: Simulator) -> None:
    client = client_of(server)
    begun = [record for page in islice(asked(client, page_size=50), 5) for record in page.records]
    rest = read(client, page_size=50, after=begun[-1]["_id"])
    assert sorted(ids(begun) + ids(rest)) == true_ids(server)


def test_25000_records_on_one_millisecond_are_read() -> None:
    with simulator({"AccountObj": 10}) as server:
        tie = 1_790_000_000_000
        server.knobs.visibility_lag_ms = 0
        for number in range(25_000):
            server.tenant.create("object_warehouse__c", {"name": f"仓{number}"}, modified_ms=tie)
        found = read(client_of(server), Window(tie, tie + 1), object_name="object_warehouse__c")
    assert len(found) == len(set(ids(found))) == 25_000


def test_a_filter_on_what_the_window_decides_is_refused(server: Simulator) -> None:
    with pytest.raises(DeclarationError, match="last_modified_time"):
        read(client_of(server), filters=[Filter("last_modified_time", Operator.GT, 5)])


# What a server may do otherwise

KNOBS = [
    {name: value}
    for name, choices in Knobs.choices().items()
    for value in choices[1:]
    if name not in ("quota_pack", "permission_change", "calls", "per_seconds", "latency_ms", "edits_per_request")
    and name not in ("edits_per_second", "backdated_stamp")
]


@pytest.mark.parametrize("knob", KNOBS, ids=str)
def test_for_every_habit_of_a_server_a_reading_is_complete(knob: dict[str, Any]) -> None:
    with simulator({"AccountObj": 700}, **knob) as server:
        client = client_of(server)
        for window in (ALL_TIME, SOME_TIME):
            assert sorted(ids(read(client, window))) == true_ids(server, window)
            found = read(client, window, filters=[VOIDED], page_size=20)
            visible = true_ids(server, window, voided_only=True)
            assert sorted(ids(found)) == visible


@pytest.mark.parametrize("honoured", ["first", "last"])
def test_a_server_that_honours_one_of_two_bounds_is_asked_with_between(honoured: str) -> None:
    with simulator({"AccountObj": 700}, same_field_filters=honoured) as server:
        client = client_of(server)
        came = list(asked(client, SOME_TIME))
        assert came[0].outside > 0
        assert sum(page.outside for page in came[1:]) <= 2
        assert sorted(ids([record for page in came for record in page.records])) == true_ids(server, SOME_TIME)
        assert sum(page.outside for page in asked(client, SOME_TIME)) <= 2


@pytest.mark.parametrize("between", ["inclusive", "half-open"])
@pytest.mark.parametrize("bounds", list(Bounds))
def test_the_edges_of_a_window_are_exact_in_every_way_of_asking(between: str, bounds: Bounds) -> None:
    with simulator(between=between, visibility_lag_ms=0) as server:
        made = {
            stamp: server.tenant.create("object_warehouse__c", {"name": "边"}, modified_ms=stamp)
            for stamp in range(1_799_999_999_997, 1_800_000_000_004)
        }
        window = Window(1_799_999_999_999, 1_800_000_000_001)
        found = read(client_of(server), window, object_name="object_warehouse__c", bounds=bounds)
    assert sorted(ids(found)) == sorted(made[stamp] for stamp in (1_799_999_999_999, 1_800_000_000_000))


def test_two_filters_stay_where_they_are_set_and_what_is_outside_is_dropped() -> None:
    with simulator({"AccountObj": 700}, same_field_filters="first") as server:
        found = read(client_of(server), SOME_TIME, bounds=Bounds.TWO_FILTERS)
        assert sorted(ids(found)) == true_ids(server, SOME_TIME)
        operators = {each["operator"] for query in server.queries for each in query.filters}
    assert "BETWEEN" not in operators


def test_a_refused_object_is_asked_for_both_ways_and_told(server: Simulator) -> None:
    client = client_of(server)
    with pytest.raises(RefusedError, match="NoSuchObj"):
        read(client, object_name="NoSuchObj")


@pytest.mark.parametrize("order", ["same", "sort_shorter_first", "compare_shorter_first"])
@pytest.mark.parametrize("page_size", [1, 3, 10, 100])
@pytest.mark.parametrize("stopped_after", [None, 1, 4, 9, 13])
def test_ids_of_two_lengths_are_read_whatever_their_order(
    order: str, page_size: int, stopped_after: int | None
) -> None:
    """Also where a reading is cut off anywhere and goes on; some records may come twice then, none stays away."""
    with simulator({"AccountObj": 40}, id_order=order) as server:
        client = client_of(server)
        begun: list[dict[str, Any]] = []
        if stopped_after is not None:
            begun = [
                record for page in islice(asked(client, page_size=page_size), stopped_after) for record in page.records
            ]
        rest = read(client, page_size=page_size, after=begun[-1]["_id"] if begun else None)
        assert sorted(set(ids(begun) + ids(rest))) == true_ids(server)
        if not begun:
            assert len(rest) == 40


@pytest.mark.parametrize("fault", ["empty_page", "repeated_page"])
@pytest.mark.parametrize("filters", [(), (VOIDED,)], ids=["all", "voided"])
@pytest.mark.parametrize(
    "knobs",
    [{}]
    + [{"id_order": order} for order in ("sort_shorter_first", "compare_shorter_first")]
    + [{"filter_after_limit": True}],
    ids=str,
)
def test_no_single_page_that_is_empty_or_of_another_question_is_believed_wherever_it_comes(
    knobs: dict[str, Any], filters: Sequence[Filter], fault: str
) -> None:
    with simulator({"AccountObj": 24}, **knobs) as server:
        server.tenant.invalid("AccountObj", sorted(server.tenant.visible("AccountObj"))[::5])
        server.clock.advance(5)
        wanted = true_ids(server, voided_only=bool(filters))
        assert wanted
        read(client := client_of(server), filters=filters, page_size=10)
        for skip in range(client.calls.total()):
            server.faults.next(fault, path="/data/query", skip=skip)
            found = ids(read(client_of(server), filters=filters, page_size=10))
            server.faults.clear()
            assert (skip, set(wanted) - set(found)) == (skip, set())


@pytest.fixture(scope="module")
def warehouses() -> Iterator[Simulator]:
    """One simulator for the examples of Hypothesis; starting one for each would be slow."""
    with simulator({"object_warehouse__c": 0}, visibility_lag_ms=0) as running:
        yield running


@given(
    shorts=st.sets(st.integers(0, 2**12 - 1), max_size=12),
    longs=st.sets(st.integers(0, 2**12 - 1), max_size=12),
    order=st.sampled_from(["same", "sort_shorter_first", "compare_shorter_first"]),
    page_size=st.integers(1, 5),
)
@settings(max_examples=40)
def test_any_mixture_of_short_and_long_ids_is_read_once(
    warehouses: Simulator, shorts: set[int], longs: set[int], order: str, page_size: int
) -> None:
    wanted = [f"{number:03x}{7:021x}" for number in shorts] + [f"{number:03x}{7:029x}" for number in longs]
    warehouses.knobs.id_order = order
    if old := list(warehouses.tenant.records("object_warehouse__c")):
        warehouses.tenant.invalid("object_warehouse__c", old)
        warehouses.tenant.delete("object_warehouse__c", old)
    for record_id in wanted:
        warehouses.tenant.create("object_warehouse__c", {"_id": record_id, "name": "仓"})
    found = ids(read(client_of(warehouses), object_name="object_warehouse__c", page_size=page_size))
    assert sorted(found) == sorted(wanted)


WAREHOUSES = st.dictionaries(
    st.tuples(st.integers(0, 2**12 - 1), st.booleans()), st.sampled_from("仓库"), min_size=1, max_size=20
)
"""Name by number and whether the id is a long one."""


@given(
    there=WAREHOUSES,
    order=st.sampled_from(["same", "sort_shorter_first", "compare_shorter_first"]),
    late=st.booleans(),
    page_size=st.integers(1, 5),
    cuts=st.sets(st.integers(0, 19), max_size=2),
    filtered=st.booleans(),
)
@settings(max_examples=30)
def test_filtered_or_in_slices_any_mixture_of_ids_is_read_whatever_comes_first_filter_or_limit(
    warehouses: Simulator,
    there: dict[tuple[int, bool], str],
    order: str,
    late: bool,
    page_size: int,
    cuts: set[int],
    filtered: bool,
) -> None:
    """Cuts are ids that the object has: a cut at a long one says that its ids were compared as text."""
    name = "object_warehouse__c"
    warehouses.knobs.set({"id_order": order, "filter_after_limit": late})
    if old := list(warehouses.tenant.records(name)):
        warehouses.tenant.invalid(name, old)
        warehouses.tenant.delete(name, old)
    for key, named in there.items():
        warehouses.tenant.create(name, {"_id": spelled(*key), "name": named})
    filters = [Filter("name", Operator.EQ, "仓")] if filtered else []
    wanted = {spelled(*key) for key, named in there.items() if named == "仓" or not filtered}
    held = sorted(spelled(*key) for key in there)
    bounds = [None, *sorted({held[cut % len(held)] for cut in cuts}), None]
    for above, upto in pairwise(bounds):
        found = ids(
            read(client_of(warehouses), object_name=name, page_size=page_size, filters=filters, above=above, upto=upto)
        )
        inside = {each for each in wanted if (above is None or each > above) and (upto is None or each <= upto)}
        assert set(found) == inside
    warehouses.knobs.set({"id_order": "same", "filter_after_limit": False})


def spelled(number: int, long: bool) -> str:
    return f"{number:03x}{7:029x}" if long else f"{number:03x}{7:021x}"


def test_a_user_who_sees_few_records_gets_all_of_them_from_a_server_that_hides_the_others_after_the_limit() -> None:
    fsuid = "FSUID_demo0000000000000000000000005"
    with simulator({"AccountObj": 1500}, filter_after_limit=True) as server:
        seen = server.tenant.visible("AccountObj", fsuid)
        keep = set(sorted(seen)[:3] + sorted(seen)[-2:])
        for record_id in set(seen) - keep:
            server.tenant.hide("AccountObj", record_id)
        server.clock.advance(5)
        found = ids(read(client_of(server, credentials(acting_user=fsuid))))
        wanted = sorted(server.tenant.visible("AccountObj", fsuid))
    assert wanted
    assert sorted(set(found)) == wanted


# While others work


@given(
    seed=st.integers(0, 10_000),
    page_size=st.integers(5, 100),
    edits=st.integers(0, 5),
    lag_ms=st.sampled_from([0, 50, 3000]),
    skew_ms=st.sampled_from([0, 90_000, -90_000]),
    order=st.sampled_from(["same", "sort_shorter_first", "compare_shorter_first"]),
)
@settings(max_examples=15)
def test_what_is_edited_while_it_is_read_is_in_this_window_or_in_the_next(
    seed: int, page_size: int, edits: int, lag_ms: int, skew_ms: int, order: str
) -> None:
    knobs: dict[str, Any] = {"visibility_lag_ms": lag_ms, "clock_skew_ms": skew_ms, "id_order": order}
    with Simulator(seed=seed, records={"AccountObj": 300}, knobs=Knobs(calls=10**6, **knobs)) as server:
        client = client_of(server)
        until = server.clock.now_ms()
        server.knobs.edits_per_request = edits
        held: dict[str, int] = {}
        hold(held, read(client, Window(0, until), page_size=page_size))
        server.knobs.edits_per_request = 0
        server.clock.advance(10)
        hold(held, read(client, Window(until - 5_000, server.clock.now_ms()), page_size=page_size))
        truth = {key: record["last_modified_time"] for key, record in server.tenant.visible("AccountObj").items()}
    assert {key: held.get(key) for key in truth} == truth


def hold(held: dict[str, int], records: Sequence[dict[str, Any]]) -> None:
    for record in records:
        held[record["_id"]] = max(held.get(record["_id"], 0), record["last_modified_time"])


@pytest.mark.parametrize(
    "rates",
    [
        {fault: 0.05}
        for fault in ("busy", "timeout_code", "html_200", "http_502", "truncated_json", "cut", "reset", "throttled")
    ]
    + [{"token_expired": 0.02}, {"repeated_page": 0.05}, {"empty_page": 0.02}, {"short_page": 0.05}]
    + [{"busy": 0.05, "html_200": 0.05, "http_502": 0.05, "cut": 0.05, "reset": 0.05, "repeated_page": 0.05}],
    ids=lambda rates: "+".join(rates),
)
def test_with_faults_all_along_a_reading_is_complete(rates: dict[str, float]) -> None:
    with simulator({"AccountObj": 1000}) as server:
        client = client_of(server)
        for fault, rate in rates.items():
            server.faults.rate(fault, rate, "/data/query")
        found = ids(read(client, page_size=10))
        assert sorted(set(found)) == true_ids(server)
        assert server.report()["faults"]["injected"]


def test_threads_read_ranges_of_a_window_with_one_token_and_complete(server: Simulator) -> None:
    client = client_of(server)
    ranges = [SOME_TIME, Window(0, SOME_TIME.since_ms), Window(SOME_TIME.until_ms, ALL_TIME.until_ms)]
    server.knobs.latency_ms = 5
    with ThreadPoolExecutor(3) as pool:
        found = [
            record_id
            for records in pool.map(lambda one: read(client, one, page_size=20), ranges)
            for record_id in ids(records)
        ]
    assert Counter(found) == Counter(true_ids(server))
    tokens = server.report()["tokens"]
    assert (tokens["calls"], tokens["concurrent"]) == (1, 0)
