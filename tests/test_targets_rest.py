"""What HTTP targets share, against the simulated Qeasy and against small services of this file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from math import ceil, log2
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fenxiang_simulator.server import Request, Response
from fenxiang_simulator.targets import Fault, IdRule
from fenxiang_sync.errors import DeclarationError, RefusedError, SetupError, ThrottledError, TransientError
from fenxiang_sync.targets.envelope import Array, Envelope
from fenxiang_sync.targets.hub import HubTarget
from fenxiang_sync.targets.protocol import Answer, Delivery, tells_of
from fenxiang_sync.targets.qeasy import QeasyStore
from fenxiang_sync.targets.rest import RestTarget
from fenxiang_sync.targets.results import DELIVERED, ByIndex, ByKey, ErrorList, Item, Results, Whole
from fenxiang_sync.targets.wire import MAX_BYTES
from tests.targets_fixtures import Stand, deliveries, ids, row, rows, stand


class Service:
    """An HTTP service of a test: `answer` makes the response of each decoded body."""

    def __init__(self) -> None:
        self.answer: Callable[[Any], Response] = lambda body: Response.json({})
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []

    def handle(self, request: Request) -> Response | None:
        if request.path != "/batch":
            return None
        packed = request.headers.get("Content-Encoding") == "gzip"
        body = json.loads(gzip.decompress(request.body) if packed else request.body)
        self.bodies.append(body)
        self.headers.append(dict(request.headers.items()))
        return self.answer(body)


@dataclass(frozen=True, kw_only=True)
class Batches(RestTarget):
    """The shortest target: a path and an envelope."""

    connection: str = "service"
    path: str = "/batch"
    envelope: Envelope = Array(root="rows")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def simulated(service: Service) -> Iterator[Stand]:
    with stand(service) as made:
        yield made


@pytest.fixture(scope="module")
def shared() -> Iterator[Stand]:
    with stand() as made:
        yield made


SIZES = st.tuples(st.integers(1, 300), st.integers(1, 128)).flatmap(
    lambda size: st.tuples(*map(st.just, size), st.sets(st.integers(0, size[0] - 1), max_size=12))
)
"""Rows, rows a batch, and the places of the bad ones."""


@settings(max_examples=60)
@given(size=SIZES, counts=st.booleans(), upserts=st.booleans())
@example(size=(128, 128, set(range(128))), counts=False, upserts=True)
@example(size=(128, 128, {0}), counts=True, upserts=True)
@example(size=(128, 128, {127}), counts=False, upserts=False)
@example(size=(300, 100, set(range(0, 300, 25))), counts=True, upserts=True)
def test_exactly_the_bad_rows_are_refused_and_the_good_ones_delivered_once_in_few_calls(
    shared: Stand, size: tuple[int, int, set[int]], counts: bool, upserts: bool
) -> None:
    """The target refuses a batch with a bad row as a whole, or `counts` how many of it failed."""
    n, b, bad = size
    qeasy = shared.targets.qeasy
    qeasy.truncate("demo")
    qeasy.requests.clear()
    shared.targets.knobs.qeasy_required = {"demo": ["needed"]}
    shared.targets.knobs.qeasy_partial = counts
    shared.targets.knobs.qeasy_calls = 1_000_000
    shared.targets.knobs.qeasy_id_rule = IdRule.OVERWRITE if upserts else IdRule.APPEND
    sent = rows(n, bad=bad)
    answers = []
    with QeasyStore(scheme="demo", upserts=upserts, batch_rows=b, rate=None).open(shared.reach) as sender:
        for start in range(0, n, b):
            answers += sender.send(sent[start : start + b])
            shared.clock.advance(60)
    refused = {place for place, answer in enumerate(answers) if answer.delivery is Delivery.REFUSED}
    assert refused == bad
    assert sorted(ids(qeasy.contents("demo"))) == [one.id for place, one in enumerate(sent) if place not in bad]
    assert all(answer.delivery in (Delivery.DELIVERED, Delivery.REFUSED) for answer in answers)
    assert qeasy.requests["store"] <= ceil(n / b) + 2 * len(bad) * log2(b)


def test_a_batch_that_is_too_big_for_the_target_is_halved_and_no_good_row_is_refused(simulated: Stand) -> None:
    simulated.targets.knobs.qeasy_max_rows = 3
    answers = simulated.send(QeasyStore(scheme="demo", upserts=False), rows(16))
    assert set(deliveries(answers)) == {Delivery.DELIVERED}
    assert ids(simulated.targets.qeasy.contents("demo")) == [one.id for one in rows(16)]


def test_calls_are_cut_by_rows_and_by_bytes(simulated: Stand, service: Service) -> None:
    sent = [row(0, text="x" * 400), row(1), row(2), row(3, text="x" * 2_000), row(4)]
    simulated.send(Batches(max_bytes=600), sent)
    assert [len(body["rows"]) for body in service.bodies] == [3, 1, 1]
    service.bodies.clear()
    simulated.send(Batches(batch_rows=2), sent)
    assert [len(body["rows"]) for body in service.bodies] == [2, 2, 1]


def test_bodies_can_travel_packed(simulated: Stand, service: Service) -> None:
    answers = simulated.send(Batches(gzip=True), rows(2))
    assert deliveries(answers) == [Delivery.DELIVERED] * 2
    assert service.headers[0]["Content-Encoding"] == "gzip"
    assert ids(service.bodies[0]["rows"]) == ["r00000", "r00001"]


def test_money_travels_digit_by_digit(simulated: Stand) -> None:
    seen: list[bytes] = []

    class Listener:
        def handle(self, request: Request) -> Response | None:
            seen.append(request.body)
            return Response.json({})

    with stand(Listener()) as listening:
        listening.send(Batches(), [row(0, amount=Decimal("12345678901234567890.10"))])
    assert b'"amount":12345678901234567890.10' in seen[0]


def test_an_answer_without_end_is_no_answer_and_fills_no_memory(simulated: Stand, service: Service) -> None:
    service.answer = lambda body: Response(body=b" " * (MAX_BYTES + 1))
    (answer,) = simulated.send(Batches(tries=1), rows(1))
    assert answer.delivery is Delivery.UNKNOWN
    assert f"the answer is larger than {MAX_BYTES:,} bytes" in answer.reason


def test_a_row_that_is_no_json_is_refused_alone(simulated: Stand, service: Service) -> None:
    answers = simulated.send(Batches(), [row(0), row(1, broken=object()), row(2)])
    assert deliveries(answers) == [Delivery.DELIVERED, Delivery.REFUSED, Delivery.DELIVERED]
    assert "no JSON" in answers[1].reason
    assert ids(service.bodies[0]["rows"]) == ["r00000", "r00002"]


ITEM = Item(ok="ok", code="no", message="why")


@pytest.mark.parametrize(
    ("reading", "reply"),
    [
        (
            ByIndex(path="result", item=ITEM),
            {"result": [{"ok": True}, {"ok": False, "no": 7, "why": "odd"}, {"ok": True}]},
        ),
        (
            ByIndex(path="result", item=ITEM, index="at", first=1),
            {"result": [{"at": 2, "ok": False, "no": 7, "why": "odd"}, {"at": "1", "ok": True}, {"at": 3, "ok": True}]},
        ),
        (
            ByKey(path="result.rows", key="id", item=ITEM),
            {
                "result": {
                    "rows": [
                        {"id": "r00002", "ok": True},
                        {"id": "r00001", "ok": False, "no": 7, "why": "odd"},
                        {"id": "r00000", "ok": True},
                    ]
                }
            },
        ),
        (ErrorList(path="errors", key="id", item=ITEM), {"errors": [{"id": "r00001", "no": 7, "why": "odd"}]}),
        (ErrorList(path="errors", index="at", item=ITEM), {"errors": [{"at": 1, "no": 7, "why": "odd"}]}),
    ],
)
def test_each_way_of_answering_row_by_row_is_read(
    simulated: Stand, service: Service, reading: Results, reply: dict[str, Any]
) -> None:
    service.answer = lambda body: Response.json(reply)
    answers = simulated.send(Batches(results=reading), rows(3))
    assert deliveries(answers) == [Delivery.DELIVERED, Delivery.REFUSED, Delivery.DELIVERED]
    assert (answers[1].code, answers[1].reason) == (7, "odd")
    assert len(service.bodies) == 1


@pytest.mark.parametrize(
    ("reading", "reply", "told"),
    [
        (ByIndex(path="result", item=ITEM), {"result": [{"ok": True}]}, [True, False, False]),
        (ByIndex(path="result", item=ITEM), {"result": "?"}, [False, False, False]),
        (ByKey(path="result", key="id", item=ITEM), {"result": [{"id": "r00002", "ok": True}]}, [False, False, True]),
        (ErrorList(path="errors", key="id", item=ITEM), {"errors": [{"id": "nobody"}]}, [False, False, False]),
    ],
)
@pytest.mark.parametrize(("upserts", "otherwise"), [(True, Delivery.AGAIN), (False, Delivery.UNKNOWN)])
def test_a_row_that_the_answer_does_not_mention_is_not_called_delivered(
    simulated: Stand,
    service: Service,
    reading: Results,
    reply: dict[str, Any],
    told: list[bool],
    upserts: bool,
    otherwise: Delivery,
) -> None:
    service.answer = lambda body: Response.json(reply)
    answers = simulated.send(Batches(results=reading, upserts=upserts), rows(3))
    assert deliveries(answers) == [Delivery.DELIVERED if known else otherwise for known in told]


@pytest.mark.parametrize(
    ("status", "error"),
    [(302, RefusedError), (401, RefusedError), (403, RefusedError), (404, RefusedError), (500, TransientError)],
)
def test_the_status_says_what_the_run_does(
    simulated: Stand, service: Service, status: int, error: type[Exception]
) -> None:
    service.answer = lambda body: Response.json({"message": "no"}, status)
    with pytest.raises(error, match=f"'service', /batch: no \\(code {status}\\)"):
        simulated.send(Batches(upserts=True), rows(2))


def test_a_failure_in_mid_batch_leaves_what_was_answered_and_the_rest_to_send_again(
    simulated: Stand, service: Service
) -> None:
    def answer(body: Any) -> Response:
        return Response.json({"message": "revoked"}, 200 if len(service.bodies) < 3 else 403)

    service.answer = answer
    answers = simulated.send(Batches(batch_rows=2), rows(6))
    assert deliveries(answers) == [Delivery.DELIVERED] * 4 + [Delivery.AGAIN] * 2
    assert answers[5].code == 403
    assert "revoked" in answers[5].reason


@pytest.mark.parametrize(("header", "waited"), [("7", 7.0), (None, 1.0)])
def test_a_throttle_is_waited_for_as_the_target_says(
    simulated: Stand, service: Service, header: str | None, waited: float
) -> None:
    def answer(body: Any) -> Response:
        if len(service.bodies) > 1:
            return Response.json({})
        return Response(429, {"Retry-After": header} if header else {})

    service.answer = answer
    answers = simulated.send(Batches(), rows(1))
    assert deliveries(answers) == [Delivery.DELIVERED]
    assert simulated.slept == [pytest.approx(waited, abs=0.9)]


def test_a_pause_that_is_given_as_a_date_is_counted_on_the_clock_of_the_target(
    simulated: Stand, service: Service
) -> None:
    from email.utils import formatdate

    service.answer = lambda body: Response(429, {"Retry-After": formatdate(simulated.clock.now() + 400, usegmt=True)})
    with pytest.raises(ThrottledError) as caught:
        simulated.send(Batches(), rows(1))
    assert caught.value.retry_after == pytest.approx(400, abs=60)
    assert len(service.bodies) == 1


def test_a_lost_answer_of_a_target_that_upserts_is_tried_again(simulated: Stand, service: Service) -> None:
    lost = [Response(reset=True), Response.html("<html>", 502), Response.json({"much": "x" * 50})]
    lost[2].truncate_at = 9
    service.answer = lambda body: lost.pop() if lost else Response.json({})
    answers = simulated.send(Batches(upserts=True), rows(3))
    assert deliveries(answers) == [Delivery.DELIVERED] * 3
    assert len(service.bodies) == 4
    assert simulated.slept == [1.0, 2.0, 4.0]


def test_a_lost_answer_of_a_target_that_does_not_upsert_is_never_sent_again(simulated: Stand, service: Service) -> None:
    service.answer = lambda body: Response(reset=True)
    answers = simulated.send(Batches(batch_rows=2), rows(3))
    assert deliveries(answers) == [Delivery.UNKNOWN] * 3
    assert [len(body["rows"]) for body in service.bodies] == [2, 1]


def test_a_call_that_never_went_out_is_not_in_doubt(simulated: Stand) -> None:
    nowhere = replace(simulated, url="http://127.0.0.1:1")
    with pytest.raises(TransientError, match="nothing was sent"):
        nowhere.send(Batches(), rows(2))


@pytest.mark.parametrize("url", ["127.0.0.1", "ftp://host", "http://"])
def test_an_address_that_cannot_be_used_names_the_connection(simulated: Stand, url: str) -> None:
    with pytest.raises(SetupError, match=r"connection 'service'.*check its host"):
        replace(simulated, url=url).send(Batches(), rows(1))


def test_a_connection_without_host_names_itself(simulated: Stand) -> None:
    with pytest.raises(SetupError, match="connection 'service' has no host"):
        replace(simulated, url="").send(Batches(), rows(1))


def test_a_missing_connection_is_the_callers_error(simulated: Stand) -> None:
    with pytest.raises(SetupError, match="'absent'"):
        simulated.send(Batches(connection="absent"), rows(1))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"batch_rows": 0}, "batch_rows=0"),
        ({"max_bytes": 0}, "max_bytes=0"),
        ({"tries": 0}, "tries=0"),
        ({"patience": -1}, "patience=-1"),
        ({"connection": ""}, "connection=''"),
        ({"path": "write"}, "path='write'"),
        ({"path": "/write?key=1"}, "path='/write"),
    ],
)
def test_a_declaration_that_cannot_be_meant_names_the_value(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Batches(**wrong)
    assert f"Batches {named}" in str(caught.value)


def test_chance_faults_lose_and_double_nothing_where_the_target_upserts(simulated: Stand) -> None:
    knobs = simulated.targets.knobs
    knobs.qeasy_required = {"demo": ["needed"]}
    knobs.rates = {fault: 0.02 for fault in Fault if not fault.value.startswith("hang")}
    sent = rows(120, bad={5, 64, 65})
    todo, refused = sent, []
    for _ in range(200):
        if not todo:
            break
        try:
            answers = simulated.send(QeasyStore(scheme="demo", upserts=True, batch_rows=25), todo[:25])
        except TransientError as error:
            simulated.clock.advance(error.retry_after or 1)
            continue
        refused += [one.id for one, answer in zip(todo, answers, strict=False) if answer.delivery is Delivery.REFUSED]
        again = [one for one, answer in zip(todo, answers, strict=False) if answer.delivery is Delivery.AGAIN]
        todo = again + todo[25:]
    assert refused == ["r00005", "r00064", "r00065"]
    assert sorted(ids(simulated.targets.qeasy.contents("demo"))) == [one.id for one in sent if one.id not in refused]


TELLING = Item(ok="ok", tells={"id": "data.id", "no": "number"})


@pytest.mark.parametrize("results", [ByIndex(path="", item=TELLING), ByKey(path="", key="row", item=TELLING)])
def test_an_answer_of_its_own_tells_what_is_declared_of_a_row_that_was_taken(results: Results) -> None:
    entries = [
        {"row": "r00000", "ok": True, "data": {"id": 7}, "number": "N7"},
        {"row": "r00001", "ok": False, "data": {"id": 8}},
        {"row": "r00002", "ok": True, "data": {"id": [9]}, "number": ""},
    ]
    answers = results.read(entries, rows(3))
    assert isinstance(answers, list)
    assert [answer.told for answer in answers] == [{"id": 7, "no": "N7"}, {}, {}]
    assert RestTarget(connection="c", path="/w", results=results).tells == {"id", "no"}


def test_the_answer_of_a_call_tells_of_its_row_where_it_has_one() -> None:
    results = Whole(tells={"id": "data.id"})
    assert results.read({"data": {"id": 7}}, rows(1)) == [Answer(delivery=Delivery.DELIVERED, told={"id": 7})]
    assert results.read({"data": {"id": 7}}, rows(2)) == [DELIVERED] * 2
    assert tells_of(RestTarget(connection="c", path="/w", results=results)) == {"id"}
    assert tells_of(RestTarget(connection="c", path="/w")) == tells_of(HubTarget()) == frozenset()
