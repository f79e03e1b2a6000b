"""A form of Kingdee, read over HTTP: every document of a window, whatever the server does meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests

from fenxiang_simulator.server import Request, Response
from fenxiang_simulator.targets import Fault
from fenxiang_sync import KingdeeSource, Rate
from fenxiang_sync.errors import (
    DeclarationError,
    IncompleteError,
    RefusedError,
    SetupError,
    ThrottledError,
    TransientError,
)
from fenxiang_sync.kingdee import KingdeeClient, KingdeeForm
from fenxiang_sync.source import Slice
from fenxiang_sync.targets.protocol import Endpoint, Reach
from fenxiang_sync.window import Window, to_ms
from tests.kingdee_fixtures import CONNECTION, MATERIAL, STOCK, Erp, erp
from tests.source_fixtures import serving

EVER = Window(0, to_ms(datetime(2030, 1, 1, tzinfo=UTC)))
MAY = Window.between(datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC))
SECOND = 1_790_000_000_000
KEYS = ("FNumber", "FBaseUnitId.FNumber")


@pytest.fixture
def kingdee(tmp_path: Path) -> Iterator[Erp]:
    with erp(tmp_path, **{MATERIAL: 300, STOCK: 120}) as made:
        made.simulator.targets.knobs.hang_s = 0.2
        yield made


def form(kingdee: Erp, client: KingdeeClient | None = None, **words: Any) -> KingdeeForm:
    given: dict[str, Any] = {"form": MATERIAL, "id": "FMATERIALID", "page_size": 50}
    return KingdeeSource(**(given | words)).opened(client or kingdee.client())


def stock(kingdee: Erp, **words: Any) -> KingdeeForm:
    return form(kingdee, form=STOCK, id="FID", **words)


def read(made: KingdeeForm, window: Window = EVER, **bounds: Any) -> dict[str, int]:
    """Stamps by id; no document may come twice."""
    found = [record for page in made.pages(Slice(window, **bounds), KEYS[:1]) for record in page.records]
    stamps = {record["_id"]: record["last_modified_time"] for record in found}
    assert len(stamps) == len(found)
    return stamps


def truth(kingdee: Erp, name: str = MATERIAL, window: Window = EVER) -> dict[str, int]:
    """What there is, as stamps in whole seconds by id."""
    stamps = {key: (bill.modified_ms or 0) // 1000 * 1000 for key, bill in kingdee.truth(name).items()}
    return {key: stamp for key, stamp in stamps.items() if stamp in window}


@pytest.mark.parametrize("page_size", [1, 7, 50, 300, 10_000])
def test_pages_of_any_size_give_every_document_of_the_window_once(kingdee: Erp, page_size: int) -> None:
    made = form(kingdee, page_size=page_size)
    if page_size > 1:
        assert read(made) == truth(kingdee)
    assert read(made, MAY) == truth(kingdee, window=MAY) != {}


def test_ids_that_are_numbers_go_in_their_order_where_one_has_more_digits(tmp_path: Path) -> None:
    with erp(tmp_path) as kingdee:
        kingdee.kingdee._made = 99_950
        kingdee.kingdee.fill(MATERIAL, 100)
        found = read(form(kingdee, page_size=7))
        assert list(found) == [str(number) for number in range(99_951, 100_051)]
        assert list(read(form(kingdee), above="99998", upto="100002", numbers=True)) == [
            "99999", "100000", "100001", "100002",
        ]  # fmt: skip


def test_ids_that_are_texts_go_in_the_order_of_the_database(kingdee: Erp) -> None:
    assert read(stock(kingdee, page_size=7)) == truth(kingdee, STOCK)


def test_dotted_keys_become_objects_as_the_paths_of_a_mapping_read_them(kingdee: Erp) -> None:
    [page, *_] = form(kingdee).pages(Slice(EVER), KEYS)
    bill = kingdee.truth()[page.records[0]["_id"]]
    assert page.records[0]["FBaseUnitId"] == bill.content["FBaseUnitId"]
    assert page.records[0]["FNumber"] == bill.number


def test_a_reading_goes_on_behind_the_last_id_of_an_earlier_one(kingdee: Erp) -> None:
    pages = list(form(kingdee).pages(Slice(EVER), KEYS))
    first = pages[0].records[-1]["_id"]
    rest = [record["_id"] for page in form(kingdee).pages(Slice(EVER), KEYS, after=first) for record in page.records]
    assert rest == [record["_id"] for page in pages[1:] for record in page.records]


def test_a_server_that_gives_fewer_rows_than_it_is_asked_for_is_read_to_the_end(kingdee: Erp) -> None:
    kingdee.simulator.targets.knobs.kingdee_most_rows = 7
    assert read(form(kingdee)) == truth(kingdee)


def test_stamps_with_fractions_are_in_the_window_that_they_belong_to(kingdee: Erp) -> None:
    kingdee.simulator.targets.knobs.kingdee_stamp_fractions = True
    for place, fraction in enumerate((0, 1, 499, 999)):
        kingdee.kingdee.edit(MATERIAL, f"MAT{place:06d}", {}, modified_ms=SECOND + fraction)
    stamps = [
        read(form(kingdee), window) for window in (Window(SECOND, SECOND + 499), Window(SECOND + 499, SECOND + 999))
    ]
    assert [sorted(each.values()) for each in stamps] == [[SECOND, SECOND + 1], [SECOND + 499]]


def test_the_stamp_is_local_time_of_the_declared_zone(kingdee: Erp) -> None:
    shanghai, utc = read(form(kingdee)), read(form(kingdee, timezone="UTC"))
    hours = timedelta(hours=8) // timedelta(milliseconds=1)
    assert {key: stamp - hours for key, stamp in utc.items()} == shanghai


def test_a_session_that_is_lost_is_opened_again_and_nothing_is_left_out(kingdee: Erp) -> None:
    asked = iter(range(1000))
    kingdee.between_calls(lambda: kingdee.kingdee.end_sessions() if next(asked) == 3 else None)
    client = kingdee.client()
    assert read(form(kingdee, client)) == truth(kingdee)
    assert kingdee.kingdee.requests["login"] == 2
    assert client.calls.total() == kingdee.kingdee.requests.total()


@pytest.mark.parametrize("fault", list(Fault))
def test_whatever_goes_wrong_with_a_call_every_document_is_read(kingdee: Erp, fault: Fault) -> None:
    kingdee.simulator.targets.faults.inject(None, fault, on="ExecuteBillQuery")
    assert read(form(kingdee)) == truth(kingdee)


def test_the_declared_rate_is_kept(kingdee: Erp) -> None:
    knobs = kingdee.simulator.targets.knobs
    knobs.kingdee_calls, knobs.kingdee_per_seconds = 5, 10.0
    client = KingdeeClient(kingdee.reach(), "kingdee", Rate(calls=5, per_seconds=10))
    assert read(form(kingdee, client)) == truth(kingdee)
    assert kingdee.kingdee.throttled == 0


def test_a_pause_that_is_too_long_is_for_the_run_to_wait_out(kingdee: Erp) -> None:
    kingdee.simulator.targets.knobs.retry_after = "600"
    kingdee.simulator.targets.faults.inject(Fault.THROTTLED, on="ExecuteBillQuery")
    with pytest.raises(ThrottledError) as raised:
        read(form(kingdee))
    assert raised.value.retry_after == 600


def test_a_filter_of_ones_own_is_anded(kingdee: Erp) -> None:
    where = "FUseOrgId.FNumber = '200' or FNumber like 'MAT00000_'"
    here = {
        key: bill
        for key, bill in kingdee.truth().items()
        if bill.content["FUseOrgId"]["FNumber"] == "200" or bill.number < "MAT000010"
    }
    assert set(read(form(kingdee, where=where))) == set(here)
    assert 0 < len(here) < 300


def test_documents_are_fetched_by_id_and_those_that_are_gone_or_filtered_are_left_out(kingdee: Erp) -> None:
    made = form(kingdee, where="FUseOrgId.FNumber = '200'")
    ids = [*kingdee.truth(), "7", "no number"]
    filtered = {each.id for each in made.look(ids, filtered=True)}
    assert {each.id for each in made.look(ids, filtered=False)} == set(kingdee.truth())
    assert filtered == {
        key for key, bill in kingdee.truth().items() if bill.content["FUseOrgId"]["FNumber"] == "200"
    }  # fmt: skip
    [page] = made.fetch(ids[:1], KEYS, filtered=False)
    assert page.records[0]["FNumber"] == kingdee.truth()[ids[0]].number


# Cuts


def pieces(made: KingdeeForm, window: Window = EVER, *, most: int, pieces: int = 1000) -> list[Slice]:
    """The slices of a cut, which are adjacent and make up the window."""
    found = [piece.slice for piece in made.cut(window, most=most, pieces=pieces)]
    for one, other in pairwise(found):
        assert one.window.until_ms == other.window.since_ms or (one.window, one.upto) == (other.window, other.above)
    if found:
        assert (found[0].window.since_ms, found[-1].window.until_ms) == (window.since_ms, window.until_ms)
    return found


@pytest.mark.parametrize("window", [EVER, MAY])
def test_a_window_is_cut_where_its_documents_lie(kingdee: Erp, window: Window) -> None:
    made = form(kingdee)
    sizes = [len(read(made, each.window)) for each in pieces(made, window, most=40)]
    assert sum(sizes) == len(truth(kingdee, window=window))
    assert max(sizes) <= 40
    assert len(sizes) <= len(truth(kingdee, window=window)) // 40 + 2


def test_many_documents_of_one_second_are_cut_by_id_where_that_is_a_number(kingdee: Erp) -> None:
    for place in range(100):
        kingdee.kingdee.edit(MATERIAL, f"MAT{place:06d}", {}, modified_ms=SECOND)
        kingdee.kingdee.edit(STOCK, f"STK{place:06d}", {}, modified_ms=SECOND)
    made = form(kingdee)
    cut = pieces(made, most=30)
    read_in = [read(made, each.window, above=each.above, upto=each.upto, numbers=each.numbers) for each in cut]
    assert max(map(len, read_in)) <= 30
    assert {key: stamp for each in read_in for key, stamp in each.items()} == truth(kingdee)
    assert sum(map(len, read_in)) == 300
    for each, found in zip(cut, read_in, strict=True):
        assert all(each.holds(key) for key in found)
    of_stock = stock(kingdee)
    assert {key for each in pieces(of_stock, most=30) for key in read(of_stock, each.window)} == set(
        truth(kingdee, STOCK)
    )


def test_few_documents_are_one_piece_and_none_is_none(kingdee: Erp) -> None:
    assert pieces(form(kingdee), most=300) == [Slice(EVER)]
    assert pieces(form(kingdee), Window(5, 10_000), most=300) == []
    assert pieces(form(kingdee), Window(5, 5), most=300) == []


def test_a_cut_makes_no_more_pieces_than_it_may(kingdee: Erp) -> None:
    made = form(kingdee)
    cut = pieces(made, most=10, pieces=3)
    assert len(cut) == 4
    assert sum(len(read(made, each.window)) for each in cut) == 300


# What is asked before a run


def test_a_field_that_the_form_does_not_have_is_named_before_anything_is_read(kingdee: Erp) -> None:
    with pytest.raises(DeclarationError, match=r"字段FNamee不存在.*FNamee"):
        form(kingdee).check(("FNumber", "FNamee"))
    with pytest.raises(DeclarationError, match="字段FUseOrg"):
        form(kingdee, where="FUseOrg.FNumber = '100'").check(KEYS)
    form(kingdee, where="FUseOrgId.FNumber = '100'").check(KEYS)


def test_a_log_in_that_is_refused_is_no_fault_of_the_declaration(kingdee: Erp) -> None:
    reach = kingdee.reach()
    wrong = replace(reach, endpoint=lambda conn_id: replace(reach.endpoint(conn_id), password="wrong"))
    with pytest.raises(RefusedError, match="登录失败"):
        form(kingdee, KingdeeClient(wrong, "kingdee")).check(KEYS)


def test_documents_without_a_stamp_are_told_since_no_window_holds_them(
    kingdee: Erp, caplog: pytest.LogCaptureFixture
) -> None:
    form(kingdee).check(KEYS)
    assert caplog.text == ""
    kingdee.kingdee.bills(MATERIAL)[0].modified_ms = None
    form(kingdee).check(KEYS)
    assert "documents without FModifyDate" in caplog.text
    assert len(read(form(kingdee))) == 299


def test_a_refusal_is_believed_when_it_comes_twice(kingdee: Erp) -> None:
    client = kingdee.client()
    with pytest.raises(RefusedError, match="字段FNone不存在"):
        list(form(kingdee, client).pages(Slice(EVER), ("FNone",)))
    assert client.calls.total() == 3  # the log-in, and the query twice


def test_entries_that_repeat_the_id_are_refused_and_read_by_their_own(kingdee: Erp) -> None:
    lines = [{"FEntryID": number, "FQty": number * 1.5} for number in (11, 12, 13)]
    kingdee.kingdee.edit("SAL_SaleOrder", "SO1", {"FEntity": lines})
    with pytest.raises(DeclarationError, match=r"in several rows.*id='FEntity_FEntryID'"):
        list(form(kingdee, form="SAL_SaleOrder", id="FID").pages(Slice(EVER), ("FEntity_FQty",)))
    of_lines = form(kingdee, form="SAL_SaleOrder", id="FEntity_FEntryID")
    [page] = of_lines.pages(Slice(EVER), ("FNumber", "FEntity_FQty"))
    assert [(each["_id"], each["FNumber"], float(each["FEntity_FQty"])) for each in page.records] == [
        ("11", "SO1", 16.5), ("12", "SO1", 18.0), ("13", "SO1", 19.5),
    ]  # fmt: skip


# A server that answers what it was not asked

LOGIN = {"LoginResultType": 1, "KDSVCSessionId": "demo-session"}
Rows = Sequence[Sequence[Any]]


def scripted(answer: Callable[[dict[str, Any]], Any], headers: dict[str, str] | None = None) -> Any:
    """A Kingdee whose queries are answered by script."""

    def respond(request: Request) -> Response:
        body = LOGIN if "AuthService" in request.path else answer(json.loads(request.body)["data"])
        return Response.json(body) if headers is None else Response(body=json.dumps(body).encode(), headers=headers)

    return serving(respond)


def opened(url: str, **words: Any) -> KingdeeForm:
    reach = Reach(
        endpoint=lambda conn_id: Endpoint(conn_id=conn_id, url=url, **CONNECTION),  # type: ignore[arg-type]
        session=requests.Session,
        sleep=lambda _: None,
        now=lambda: 0.0,
    )
    return KingdeeSource(form=MATERIAL, id="FMATERIALID", **words).opened(KingdeeClient(reach, "kingdee"))


STAMP = "2026-05-01T10:00:00"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([[1, STAMP], [3, STAMP], [2, STAMP]], "in no order"),
        ([["a", STAMP], [2, STAMP]], "in no order"),
        ([[None, STAMP]], "which is no id"),
        ([["", STAMP]], "which is no id"),
        ([[True, STAMP]], "which is no id"),
        ([[1, None]], "which is no moment"),
        ([[1, "yesterday"]], "which is no moment"),
    ],
)
def test_a_page_that_cannot_be_one_stops_the_reading(rows: Rows, says: str) -> None:
    with scripted(lambda _: rows) as (url, _), pytest.raises(IncompleteError, match=says):
        list(opened(url).pages(Slice(EVER), ()))


def test_a_page_that_comes_again_and_again_stops_the_reading() -> None:
    with scripted(lambda _: [[1, STAMP], [2, STAMP]]) as (url, _), pytest.raises(IncompleteError, match="repeat"):
        list(opened(url).pages(Slice(EVER), ()))


@pytest.mark.parametrize("rows", [[[1]], [[1, STAMP, "more"]], [7], [[1, STAMP]] * 3])
def test_rows_of_another_shape_are_asked_for_again_and_are_no_answer(rows: Any) -> None:
    with scripted(lambda _: rows) as (url, _), pytest.raises(TransientError, match="another shape"):
        list(opened(url, page_size=2, segment_records=2).pages(Slice(EVER), ()))


def test_an_empty_page_is_the_end_only_when_it_came_twice() -> None:
    answers = iter([[], [[1, STAMP]], [], [[2, STAMP]], [], []])
    with scripted(lambda _: next(answers)) as (url, _):
        assert [each.id for each in opened(url).sweep(Slice(EVER))] == ["1", "2"]


def test_records_from_outside_the_window_are_dropped_and_counted() -> None:
    answers = iter([[[1, STAMP], [2, "2026-06-01T10:00:00"]], [], []])
    with scripted(lambda _: next(answers)) as (url, _):
        [page] = opened(url).pages(Slice(MAY), ())
    assert ([each["_id"] for each in page.records], page.outside) == (["1"], 1)


def test_documents_that_were_not_asked_for_by_id_are_no_answer() -> None:
    with scripted(lambda _: [[9, STAMP]]) as (url, _), pytest.raises(IncompleteError, match="sent others"):
        list(opened(url).fetch(["1", "2"], (), filtered=False))


def test_what_the_erp_says_the_time_is_decides_and_without_it_nothing_is_read(kingdee: Erp) -> None:
    kingdee.simulator.knobs.clock_skew_ms = 90_000
    client, clock = kingdee.client(), kingdee.simulator.clock
    before = clock.now()
    told = client.server_time().timestamp()
    after = clock.now()
    assert before - 1 <= told <= after, "a Date header is in whole seconds"
    assert abs(client.skew().total_seconds() - 90) <= after - before + 1
    kingdee.simulator.knobs.date_header = "missing"
    with pytest.raises(SetupError, match="no Date header"):
        kingdee.client().server_time()


def test_a_client_of_another_source_is_refused_by_name(kingdee: Erp) -> None:
    other: Any = object()
    with pytest.raises(TypeError, match="object is no client of Kingdee"):
        KingdeeSource(form=MATERIAL).opened(other)
