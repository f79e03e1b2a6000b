"""Records are got one by one: each in the version that a query has listed, or it is told what became of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenxiang_simulator import Simulator
from fenxiang_simulator.server import Request, Response
from fenxiang_sync.errors import QuotaError, RefusedError, TransientError
from fenxiang_sync.hub import Hub
from fenxiang_sync.source import FenxiangClient, Filter, Operator, Paces, SharedPace
from fenxiang_sync.source.getting import AT_ONCE, WITNESSES, Getting
from tests.hub_fixtures import hub_file
from tests.source_fixtures import client_of, scripted_client, serving, simulator

NAME = "ProductObj"
GET = "/cgi/crm/v2/data/get"
QUERY = "/cgi/crm/v2/data/query"
BUSINESS = 201112011


@pytest.fixture
def server() -> Iterator[Simulator]:
    with simulator({NAME: 40}, visibility_lag_ms=0) as running:
        yield running


def stamps_of(server: Simulator, few: int = 40) -> dict[str, int]:
    """What a query lists: ids and stamps."""
    records = server.tenant.records(NAME)
    return {each: records[each]["last_modified_time"] for each in sorted(records)[:few]}


def getting(server: Simulator, client: FenxiangClient | None = None, *filters: Filter) -> Getting:
    return Getting(client or client_of(server), NAME, filters)


class TestFetching:
    def test_each_record_comes_whole_with_one_call_in_the_order_in_which_it_was_asked_for(
        self, server: Simulator
    ) -> None:
        stamps = dict(reversed(stamps_of(server).items()))
        client = client_of(server)
        got = getting(server, client).fetch(stamps)
        records = server.tenant.records(NAME)
        assert list(got.given) == list(stamps)
        assert {each: made["description__c"] for each, made in got.given.items()} == {
            each: records[each]["description__c"] for each in stamps
        }
        assert client.calls == {GET: 40}
        assert got.numbers == {"got": 40, "edited": 0, "gone": 0, "refused": 0}

    def test_nothing_is_asked_for_nothing(self, server: Simulator) -> None:
        client = client_of(server)
        assert getting(server, client).fetch({}).given == {}
        assert client.calls.total() == 0

    def test_so_many_calls_are_under_way_at_once_and_no_more(self) -> None:
        lock, under_way, most = threading.Lock(), 0, 0
        all_there = threading.Barrier(AT_ONCE, timeout=20)

        def answer(request: Request) -> Response:
            nonlocal under_way, most
            if not request.path.endswith("/data/get"):
                return token_answer()
            with lock:
                under_way += 1
                most = max(most, under_way)
            all_there.wait()
            time.sleep(0.1)  # one more than may be would come now
            with lock:
                under_way -= 1
            return given_record(request)

        with serving(answer) as (url, _):
            got = Getting(scripted_client(url), NAME).fetch({f"{number:024d}": 5 for number in range(3 * AT_ONCE)})
        assert len(got.given) == 3 * AT_ONCE
        assert most == AT_ONCE

    def test_the_groups_of_several_threads_are_got_one_after_the_other(self) -> None:
        """A process that dies loses what is got and not yet written: one group, not eight."""
        groups = [{f"{group}{number:023d}": 5 for number in range(20)} for group in range(3)]
        with serving(lambda r: given_record(r) if r.path == GET else token_answer()) as (url, app):
            one = Getting(scripted_client(url), NAME)
            threads = [threading.Thread(target=one.fetch, args=(group,)) for group in groups]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            order = [each.json()["data"]["objectDataId"][0] for each in app.asked if each.path == GET]
        assert order == sorted(order, key=order.index)
        assert len(order) == 60

    def test_the_quota_is_kept_and_no_call_is_refused_as_one_too_many(self, tmp_path: Path) -> None:
        """As tasks do it: a call counts until a window after its answer, so that a busy machine makes no difference."""
        with (
            simulator({NAME: 60}, visibility_lag_ms=0, calls=20, per_seconds=1) as server,
            Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub,
        ):
            note = partial(hub.revise, "calls")
            client = client_of(server, pace=Paces(shared=lambda path: SharedPace(20, 1, path=path, revise=note)))
            assert len(getting(server, client).fetch(stamps_of(server, 60)).given) == 60
            limits = server.limits.report()
        assert limits["burst_refusals"] == {}
        assert limits["most_in_window"][GET] <= 20


class TestMeanwhile:
    def test_one_that_was_edited_is_not_taken_for_what_it_was(self, server: Simulator) -> None:
        stamps = stamps_of(server, 3)
        edited, voided, _ = stamps
        server.clock.advance(60)
        server.tenant.update(NAME, edited, {"description__c": "another"})
        server.tenant.invalid(NAME, voided)
        got = getting(server).fetch(stamps)
        assert (got.edited, len(got.given)) == ({edited, voided}, 1)

    @pytest.mark.parametrize("missing", ["error", "empty"])
    def test_one_that_was_deleted_is_gone_however_get_says_so(self, server: Simulator, missing: str) -> None:
        server.knobs.missing_record = missing
        stamps = stamps_of(server, 3)
        deleted, *_ = stamps
        server.tenant.invalid(NAME, deleted)
        server.tenant.delete(NAME, deleted)
        got = getting(server).fetch(stamps)
        assert (got.gone, got.refused, len(got.given)) == ({deleted}, {}, 2)

    def test_one_that_may_not_be_seen_any_more_is_gone(self, server: Simulator) -> None:
        stamps = stamps_of(server, 3)
        hidden, *_ = stamps
        server.tenant.hide(NAME, hidden)
        assert getting(server).fetch(stamps).gone == {hidden}

    def test_one_that_does_not_pass_the_filters_any_more_is_gone_too_where_get_refuses_it(
        self, server: Simulator
    ) -> None:
        stamps = stamps_of(server, 3)
        left, *_ = stamps
        server.tenant.update(NAME, left, {"unit": "kg"}, modified_ms=stamps[left])
        server.faults.refuse(left)
        got = getting(server, None, Filter("unit", Operator.N, "kg")).fetch(stamps)
        assert (got.gone, got.refused) == ({left}, {})

    def test_a_refused_one_that_was_edited_is_no_refusal(self, server: Simulator) -> None:
        stamps = stamps_of(server, 3)
        edited, *_ = stamps
        server.clock.advance(60)
        server.tenant.update(NAME, edited, {"name": "another"})
        server.faults.refuse(edited)
        got = getting(server).fetch(stamps)
        assert (got.edited, got.refused) == ({edited}, {})


class TestRefusals:
    def test_one_record_that_is_refused_keeps_none_of_the_others(self, server: Simulator) -> None:
        stamps = stamps_of(server)
        bad = list(stamps)[7]
        server.faults.refuse(bad, BUSINESS)
        client = client_of(server)
        got = getting(server, client).fetch(stamps)
        assert len(got.given) == 39
        assert {each: error.code for each, error in got.refused.items()} == {bad: BUSINESS}
        assert client.calls[GET] == 40, "what is refused for good is not asked for again"

    def test_a_lone_record_may_be_refused_too(self, server: Simulator) -> None:
        stamps = stamps_of(server, 1)
        server.faults.refuse(*stamps)
        assert list(getting(server).fetch(stamps).refused) == list(stamps)

    def test_an_answer_without_the_record_that_queries_still_list_is_a_refusal(self) -> None:
        def answer(request: Request) -> Response:
            if request.path == GET:
                return Response.json({"errorCode": 0, "data": None})
            if request.path == QUERY:
                return Response.json({"errorCode": 0, "data": {"dataList": [{"_id": "r1", "last_modified_time": 5}]}})
            return token_answer()

        with serving(answer) as (url, _):
            refused = Getting(scripted_client(url), NAME).fetch({"r1": 5}).refused
        assert "without the record r1" in str(refused["r1"])

    def test_where_nothing_at_all_is_given_it_is_not_the_records(self, server: Simulator) -> None:
        stamps = stamps_of(server)
        for record_id in stamps:
            server.faults.refuse(record_id, BUSINESS)
        with pytest.raises(RefusedError, match=f"lists 40 records.*{BUSINESS}.*interface data/get") as refused:
            getting(server).fetch(stamps)
        assert refused.value.code == BUSINESS

    @pytest.mark.parametrize(("code", "told"), [(15003, "allow the app this interface"), (20015, "permanent_code")])
    def test_what_is_of_the_app_or_the_connection_is_no_record_s_fault(
        self, server: Simulator, code: int, told: str
    ) -> None:
        stamps = stamps_of(server, 3)
        server.faults.refuse(list(stamps)[1], code)
        with pytest.raises(RefusedError, match=told):
            getting(server).fetch(stamps)

    def test_once_a_record_was_given_any_number_may_be_refused(self, server: Simulator) -> None:
        stamps = stamps_of(server)
        one = getting(server)
        one.fetch(dict([stamps.popitem()]))
        for record_id in stamps:
            server.faults.refuse(record_id)
        assert len(one.fetch(stamps).refused) == 39 > WITNESSES

    def test_a_time_out_that_lasts_is_no_refusal_while_nothing_is_given(self, server: Simulator) -> None:
        server.faults.rate("timeout_code", 1.0, path="/data/get")
        with pytest.raises(TransientError, match=r"for now: .*50009"):
            getting(server).fetch(stamps_of(server, 3))

    @pytest.mark.parametrize(("code", "number"), [(50009, 1), (BUSINESS, 12)])
    def test_records_without_a_right_are_refused_alone_where_others_are_given(
        self, server: Simulator, code: int, number: int
    ) -> None:
        """Nothing else may be edited for days, and a run that fails until then certifies nothing."""
        stamps = stamps_of(server, number)
        for record_id in stamps:
            server.faults.refuse(record_id, code)
        assert list(getting(server).fetch(stamps).refused) == list(stamps)

    def test_a_time_out_is_asked_again(self, server: Simulator) -> None:
        server.faults.next("timeout_code", 2, path="/data/get")
        assert len(getting(server).fetch(stamps_of(server, 3)).given) == 3

    @pytest.mark.parametrize("fault", ["busy", "throttled", "reset", "truncated_json", "other_record", "stale_record"])
    def test_what_passes_is_tried_again_in_place(self, server: Simulator, fault: str) -> None:
        server.faults.next(fault, 3, path="/data/get")
        stamps = stamps_of(server)
        got = getting(server).fetch(stamps)
        assert {made["_id"]: made["last_modified_time"] for made in got.given.values()} == stamps

    def test_a_copy_that_stays_behind_fails_the_task_and_no_record_is_made_of_two_versions(
        self, server: Simulator
    ) -> None:
        server.faults.rate("stale_record", 1.0, path="/data/get")
        with pytest.raises(TransientError, match="older than the query that listed it"):
            getting(server).fetch(stamps_of(server, 1))

    def test_the_quota_of_the_day_ends_it_at_once(self, server: Simulator) -> None:
        client = client_of(server)
        server.knobs.day_quota = 5
        with pytest.raises(QuotaError):
            getting(server, client).fetch(stamps_of(server))
        assert client.calls[GET] < 40, "the others are not asked for"


FATES = ("given", "edited", "voided", "deleted", "hidden", "refused", "slow")
EXPECTED = {"given": "given", "slow": "given", "edited": "edited", "voided": "edited", "refused": "refused"}


@settings(max_examples=25)
@given(fates=st.lists(st.sampled_from(FATES), max_size=12), missing=st.sampled_from(["error", "empty"]))
def test_whatever_becomes_of_each_record_it_is_told_of_it(server: Simulator, fates: list[str], missing: str) -> None:
    server.faults.clear()
    server.knobs.missing_record = missing
    fates = ["given", *fates]
    ids = [server.tenant.create(NAME, {"name": f"n{at}"}) for at in range(len(fates))]
    stamps = {each: server.tenant.records(NAME)[each]["last_modified_time"] for each in ids}
    server.clock.advance(5)
    for record_id, fate in zip(ids, fates, strict=True):
        befall(server, record_id, fate)
    got = getting(server).fetch(stamps)
    told = dict.fromkeys(got.given, "given") | dict.fromkeys(got.edited, "edited")
    told |= dict.fromkeys(got.gone, "gone") | dict.fromkeys(got.refused, "refused")
    assert told == {each: EXPECTED.get(fate, "gone") for each, fate in zip(ids, fates, strict=True)}


def befall(server: Simulator, record_id: str, fate: str) -> None:
    if fate == "edited":
        server.tenant.update(NAME, record_id, {"name": "another"})
    elif fate in ("voided", "deleted"):
        server.tenant.invalid(NAME, record_id)
        if fate == "deleted":
            server.tenant.delete(NAME, record_id)
    elif fate == "hidden":
        server.tenant.hide(NAME, record_id)
    elif fate == "refused":
        server.faults.refuse(record_id)
    elif fate == "slow":
        server.faults.next("busy", path="/data/get")


def token_answer() -> Response:
    return Response.json({"errorCode": 0, "corpAccessToken": "CAT", "corpId": "FSCID_demo", "expiresIn": 7200})


def given_record(request: Request) -> Response:
    record: dict[str, Any] = {"_id": request.json()["data"]["objectDataId"], "last_modified_time": 5}
    return Response.json({"errorCode": 0, "data": record})
