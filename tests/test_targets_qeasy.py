from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from fenxiang_simulator.server import Request, Response
from fenxiang_simulator.targets import Fault, IdRule
from fenxiang_sync.errors import (
    DeclarationError,
    FenxiangSyncError,
    RefusedError,
    SetupError,
    ThrottledError,
    TokenError,
    TransientError,
)
from fenxiang_sync.rows import Row
from fenxiang_sync.targets.protocol import Answer, Delivery, Finder, Target
from fenxiang_sync.targets.qeasy import QeasyStore
from tests.targets_fixtures import Stand, deliveries, ids, row, rows, stand


@pytest.fixture
def simulated() -> Iterator[Stand]:
    with stand() as made:
        yield made


def delivered(simulated: Stand, target: QeasyStore, sent: Sequence[Row]) -> list[Delivery]:
    """What becomes of rows that are sent until each has an answer, as a task does that is tried again."""
    answers: dict[str, Answer] = {}
    for _ in range(5):
        todo = [one for one in sent if one.id not in answers or answers[one.id].delivery is Delivery.AGAIN]
        if not todo:
            break
        with suppress(TransientError):
            answers.update(zip([one.id for one in todo], simulated.send(target, todo), strict=True))
        simulated.clock.advance(300)
    return [answers[one.id].delivery for one in sent]


def stored(simulated: Stand) -> list[str]:
    return sorted(ids(simulated.targets.qeasy.contents("demo")))


def names(count: int) -> list[str]:
    return [one.id for one in rows(count)]


@pytest.mark.parametrize("place", ["query", "header"])
def test_rows_arrive_whichever_way_the_token_travels(simulated: Stand, place: str) -> None:
    simulated.extra["token_in"] = place
    assert deliveries(simulated.send(QeasyStore(scheme="demo"), rows(3))) == [Delivery.DELIVERED] * 3
    assert stored(simulated) == names(3)


def test_one_token_serves_an_open_target_and_is_replaced_before_it_ends(simulated: Stand) -> None:
    with QeasyStore(scheme="demo", upserts=True).open(simulated.reach) as sender:
        sender.send(rows(1))
        simulated.clock.advance(6_800)
        sender.send(rows(1))
        assert simulated.targets.report()["qeasy"]["tokens"] == 1
        simulated.clock.advance(200)
        sender.send(rows(1))
    assert simulated.targets.report()["qeasy"]["tokens"] == 2
    assert simulated.targets.report()["qeasy"]["requests"] == {"oauth": 2, "store": 3}


@pytest.mark.parametrize("page", [1, 2, 3])
class TestWhicheverPageOfTheDocumentsIsRight:
    @pytest.fixture(autouse=True)
    def _page(self, simulated: Stand, page: int) -> None:
        simulated.targets.knobs.qeasy_error_page = page

    def test_a_token_that_was_revoked_is_renewed_once(self, simulated: Stand) -> None:
        with QeasyStore(scheme="demo").open(simulated.reach) as sender:
            sender.send(rows(1))
            simulated.targets.qeasy.expire_tokens()
            assert deliveries(sender.send(rows(1, start=1))) == [Delivery.DELIVERED]
        assert simulated.targets.report()["qeasy"]["tokens"] == 2
        assert stored(simulated) == names(2)

    def test_wrong_credentials_are_refused_with_the_way_out(self, simulated: Stand) -> None:
        with pytest.raises(RefusedError, match=r"'qeasy', /v2/oauth: .*check login \(app_key\) and password"):
            replace(simulated, password="x" * 20).send(QeasyStore(scheme="demo"), rows(1))
        assert simulated.targets.report()["qeasy"]["requests"] == {"oauth": 1}

    def test_a_bad_row_is_refused_with_its_reason(self, simulated: Stand) -> None:
        simulated.targets.knobs.qeasy_required = {"demo": ["needed"]}
        answers = simulated.send(QeasyStore(scheme="demo"), rows(4, bad={2}))
        assert deliveries(answers) == [Delivery.DELIVERED] * 2 + [Delivery.REFUSED, Delivery.DELIVERED]
        assert answers[2].reason == "必填字段缺失: needed"

    @pytest.mark.parametrize("knob", ["qeasy_forbidden_schemes", "qeasy_unknown_schemes"])
    def test_a_scheme_that_is_not_ours_ends_the_run(self, simulated: Stand, knob: str) -> None:
        setattr(simulated.targets.knobs, knob, ["demo"])
        with pytest.raises(RefusedError, match=r"demo/store: .*check address, path and permission"):
            simulated.send(QeasyStore(scheme="demo"), rows(3))

    @pytest.mark.parametrize("in_body", [True, False])
    def test_a_throttle_hands_back_the_five_minutes(self, simulated: Stand, in_body: bool) -> None:
        simulated.targets.knobs.qeasy_throttle_in_body = in_body
        simulated.targets.knobs.qeasy_calls = 1
        with pytest.raises(ThrottledError) as caught:
            simulated.send(QeasyStore(scheme="demo"), rows(1))
        assert caught.value.retry_after == 300
        assert max(simulated.slept) < 60


def test_a_token_that_is_refused_twice_is_a_token_error(simulated: Stand) -> None:
    simulated.targets.faults.inject(Fault.TOKEN_REFUSED, Fault.TOKEN_REFUSED, on="store")
    with pytest.raises(TokenError, match="a new token was refused as well"):
        simulated.send(QeasyStore(scheme="demo"), rows(1))


def test_sixty_calls_a_minute_are_never_exceeded_and_nearly_used(simulated: Stand) -> None:
    began = simulated.clock.offset
    for start in range(0, 100, 50):
        with QeasyStore(scheme="demo", upserts=True, batch_rows=1).open(simulated.reach) as sender:
            for one in rows(50, start=start):
                sender.send([one])
    report = simulated.targets.report()["qeasy"]
    assert report["throttled"] == 0
    assert report["most_calls"] >= 57
    assert simulated.clock.offset - began < 108


@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("rule", [IdRule.OVERWRITE, IdRule.REPEAT])
@pytest.mark.parametrize("fault", list(Fault))
def test_whatever_goes_wrong_once_each_row_is_there_once_where_ids_are_checked(
    simulated: Stand, fault: Fault, rule: IdRule, partial: bool
) -> None:
    knobs = simulated.targets.knobs
    knobs.qeasy_id_rule, knobs.qeasy_partial, knobs.qeasy_required = rule, partial, {"demo": ["needed"]}
    simulated.targets.faults.inject(None, fault, on="store")
    answers = delivered(simulated, QeasyStore(scheme="demo", upserts=True), rows(8, bad={5}))
    assert answers == [Delivery.DELIVERED] * 5 + [Delivery.REFUSED] + [Delivery.DELIVERED] * 2
    assert stored(simulated) == [name for name in names(8) if name != "r00005"]


@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("fault", list(Fault))
def test_whatever_goes_wrong_once_no_row_is_there_twice_where_every_call_adds(
    simulated: Stand, fault: Fault, bare: bool
) -> None:
    knobs = simulated.targets.knobs
    knobs.qeasy_id_rule, knobs.qeasy_query_bare_list = IdRule.APPEND, bare
    simulated.targets.faults.inject(fault, on="store")
    answers = delivered(simulated, QeasyStore(scheme="demo"), rows(8))
    if fault in (Fault.DROP_BEFORE, Fault.HANG_BEFORE):
        assert answers == [Delivery.UNKNOWN] * 8
        assert stored(simulated) == []
    else:
        assert answers == [Delivery.DELIVERED] * 8
        assert stored(simulated) == names(8)


@pytest.mark.parametrize("fault", [Fault.DROP_AFTER_COMMIT, Fault.ERROR_AFTER_COMMIT])
def test_rows_that_were_taken_in_part_before_the_answer_was_lost_are_told_apart(simulated: Stand, fault: Fault) -> None:
    knobs = simulated.targets.knobs
    knobs.qeasy_id_rule, knobs.qeasy_partial, knobs.qeasy_required = IdRule.APPEND, True, {"demo": ["needed"]}
    simulated.targets.faults.inject(fault, on="store")
    answers = simulated.send(QeasyStore(scheme="demo"), rows(4, bad={1}))
    absent = Delivery.AGAIN if fault is Fault.ERROR_AFTER_COMMIT else Delivery.UNKNOWN
    assert deliveries(answers) == [Delivery.DELIVERED, absent, Delivery.DELIVERED, Delivery.DELIVERED]
    assert stored(simulated) == ["r00000", "r00002", "r00003"]


def test_a_partial_failure_where_every_call_adds_is_sorted_out_by_asking_not_by_sending(simulated: Stand) -> None:
    knobs = simulated.targets.knobs
    knobs.qeasy_id_rule, knobs.qeasy_partial, knobs.qeasy_required = IdRule.APPEND, True, {"demo": ["needed"]}
    answers = simulated.send(QeasyStore(scheme="demo"), rows(8, bad={0, 6}))
    refused = {place for place, answer in enumerate(answers) if answer.delivery is Delivery.REFUSED}
    assert refused == {0, 6}
    assert "6 taken and 2 failed of 8" in answers[0].reason
    assert simulated.targets.report()["qeasy"]["requests"]["store"] == 1
    assert len(stored(simulated)) == 6


def test_a_row_that_shows_up_late_is_waited_for(simulated: Stand) -> None:
    simulated.targets.knobs.qeasy_id_rule = IdRule.APPEND
    simulated.targets.knobs.qeasy_query_lag_s = 4
    simulated.targets.faults.inject(Fault.ERROR_AFTER_COMMIT, on="store")
    assert deliveries(simulated.send(QeasyStore(scheme="demo"), rows(3))) == [Delivery.DELIVERED] * 3
    assert stored(simulated) == names(3)


def test_rows_are_in_doubt_where_the_scheme_cannot_be_asked_after_a_lost_answer(simulated: Stand) -> None:
    simulated.targets.faults.inject(Fault.ERROR_AFTER_COMMIT, on="store")
    simulated.targets.faults.inject(Fault.UNAVAILABLE, on="query", times=4)
    answers = simulated.send(QeasyStore(scheme="demo"), rows(3))
    assert deliveries(answers) == [Delivery.UNKNOWN] * 3
    assert simulated.targets.report()["qeasy"]["requests"]["store"] == 1


def test_without_look_up_each_call_carries_one_row_so_that_every_answer_is_about_one(simulated: Stand) -> None:
    knobs = simulated.targets.knobs
    knobs.qeasy_id_rule, knobs.qeasy_partial, knobs.qeasy_required = IdRule.APPEND, True, {"demo": ["needed"]}
    simulated.targets.faults.inject(None, Fault.ERROR_AFTER_COMMIT, on="store")
    answers = simulated.send(QeasyStore(scheme="demo", look_up=False), rows(4, bad={2}))
    assert deliveries(answers) == [Delivery.DELIVERED, Delivery.UNKNOWN, Delivery.REFUSED, Delivery.DELIVERED]
    assert "query" not in simulated.targets.report()["qeasy"]["requests"]


def test_a_scheme_that_drops_known_ids_leaves_a_row_that_was_declared_new_in_doubt(simulated: Stand) -> None:
    simulated.targets.knobs.qeasy_id_rule = IdRule.REPEAT
    simulated.send(QeasyStore(scheme="demo"), [row(0)])
    simulated.clock.advance(60)
    answers = simulated.send(QeasyStore(scheme="demo"), [row(0, changed=1)])
    assert deliveries(answers) == [Delivery.UNKNOWN]
    assert "0 taken and 0 failed of 1" in answers[0].reason


def test_find_tells_what_a_scheme_holds_by_content_whatever_the_number_of_pages(simulated: Stand) -> None:
    target = QeasyStore(scheme="demo", batch_rows=150)
    began = simulated.clock.now()
    money = row(900, amount=Decimal("10.50"), empty=None, lines=[{"price": Decimal("3.00"), "on": True}])
    with target.open(simulated.reach) as sender:
        assert isinstance(sender, Finder)
        sender.send([*rows(130), money])
        asked = [*rows(130)[125:], replace(money), row(7, needed="other"), money]
        assert sender.find(asked, since=began) == [True] * 6 + [False, False]
        assert sender.find([money], since=simulated.clock.now() + 60) == [False]


def test_a_query_that_repeats_its_page_proves_nothing_absent(simulated: Stand) -> None:
    class OnePage:
        def handle(self, request: Request) -> Response | None:
            if not request.path.endswith("/query"):
                return None
            entry = {"_id": "1", "content": row(0).content}
            return Response.json({"success": True, "code": 0, "message": "", "content": {"list": [entry]}})

    with stand(OnePage()) as repeating, QeasyStore(scheme="demo").open(repeating.reach) as sender:
        assert isinstance(sender, Finder)
        assert sender.find([row(0), row(1)], since=repeating.clock.now()) == [True, None]


def test_a_lost_answer_of_the_token_endpoint_puts_no_row_in_doubt(simulated: Stand) -> None:
    simulated.targets.faults.inject(Fault.DROP_AFTER_COMMIT, on="oauth", times=2)
    assert deliveries(simulated.send(QeasyStore(scheme="demo"), rows(2))) == [Delivery.DELIVERED] * 2
    simulated.targets.faults.inject(Fault.HTML, on="oauth", times=4)
    with pytest.raises(TransientError, match="/v2/oauth"):
        simulated.send(QeasyStore(scheme="demo"), rows(2))


@pytest.mark.parametrize("answer", [{"success": True, "code": 0, "content": {}}, {"success": True, "code": 0}])
def test_a_token_endpoint_without_a_token_names_the_connection(answer: dict[str, Any]) -> None:
    class Odd:
        def handle(self, request: Request) -> Response | None:
            return Response.json(answer) if request.path == "/v2/oauth" else None

    with stand(Odd()) as odd, pytest.raises(RefusedError, match=r"'qeasy'.*no content\.access_token"):
        odd.send(QeasyStore(scheme="demo"), rows(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"login": ""}, "connection 'qeasy' has no login; set it to the app_key"),
        ({"password": ""}, "connection 'qeasy' has no password; set it to the app_secret"),
        ({"extra": {"token_in": "cookie"}}, "extra token_in='cookie' is neither 'query' nor 'header'"),
    ],
)
def test_a_connection_that_lacks_something_says_what(simulated: Stand, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SetupError, match=message), QeasyStore(scheme="demo").open(replace(simulated, **change).reach):
        pass


CANARY = "canary-secret-7f3a9c"


@pytest.mark.parametrize("place", ["query", "header"])
def test_no_secret_shows_in_logs_errors_or_answers(place: str, caplog: pytest.LogCaptureFixture) -> None:
    """The token endpoint hands out a canary, and every other answer repeats it, as careless services do."""

    class Careless:
        def __init__(self) -> None:
            self.calls = 0

        def handle(self, request: Request) -> Response | None:
            if request.path == "/v2/oauth":
                content = {"access_token": f"token-{CANARY}", "expires_in": 7200}
                return Response.json({"success": True, "code": 0, "message": "ok", "content": content})
            self.calls += 1
            said = f"bad call with token-{CANARY} by app-{CANARY}"
            code = {1: 40001, 2: 40301, 3: 50001, 4: 42901, 5: 99}.get(self.calls)
            if code is None:
                return Response(reset=True)
            return Response.json({"success": False, "code": code, "message": said, "content": None})

    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    with stand(Careless()) as careless:
        keyed = replace(careless, login="app-key", password=f"app-{CANARY}", extra={"token_in": place})
        for target in (QeasyStore(scheme="demo"), QeasyStore(scheme="demo", tries=1, upserts=True)):
            for _ in range(6):
                keyed.clock.advance(400)
                try:
                    with target.open(keyed.reach) as sender:
                        texts.append(repr(sender.send([row(1)])))
                except FenxiangSyncError as error:
                    texts += traceback.format_exception(error)
                    texts.append(repr(error.__context__))
        texts += [repr(keyed.reach.endpoint("qeasy")), repr(target), target.describe(), caplog.text]
    assert "/store" in caplog.text
    assert any("40301" in text for text in texts)
    assert CANARY not in "".join(texts)


def test_it_is_a_target_on_one_connection() -> None:
    target = QeasyStore(scheme="s-1", connection="qeasy_test", upserts=True)
    assert isinstance(target, Target)
    assert list(target.connections) == ["qeasy_test"]
    assert target.describe() == "Qeasy store, scheme s-1 (connection qeasy_test)"


@pytest.mark.parametrize("scheme", ["", "a/b", "a?b", "方案"])
def test_a_scheme_that_cannot_be_one_is_a_declaration_error(scheme: str) -> None:
    with pytest.raises(DeclarationError, match="QeasyStore scheme="):
        QeasyStore(scheme=scheme)


def test_a_path_of_ones_own_writes_and_starts_the_scheme(simulated: Stand) -> None:
    path = "/v2/open-api/business/{scheme}/store-dispatch"
    assert deliveries(simulated.send(QeasyStore(scheme="demo", path=path), rows(2))) == [Delivery.DELIVERED] * 2
    assert simulated.targets.qeasy.requests["store-dispatch"] == 1
