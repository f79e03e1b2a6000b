"""The words of a REST target beside its auth: what travels, how an answer is judged, what is asked and removed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from fenxiang_simulator.server import Request, Response
from fenxiang_sync.errors import DeclarationError, RefusedError, TransientError
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.envelope import Array, Envelope, Framed, Lines, Single
from fenxiang_sync.targets.meaning import Codes, Meaning, Says, Verdict
from fenxiang_sync.targets.protocol import Answer, Delivery, Holder, Removal, Remover, removals_of
from fenxiang_sync.targets.rest import RestTarget, key_of
from fenxiang_sync.targets.results import Counters
from fenxiang_sync.targets.single import FindOne, RemoveOne
from tests.targets_fixtures import Stand, deliveries, row, rows, stand


@dataclass
class Items:
    """A service that keeps an object for each id: ``/items`` writes one or many, ``/items/<id>`` is one of them.

    The answer of write number n is made of `spoil[n]`, after the write where that says so. With a header
    Idempotency-Key, a write is done once for each key.
    """

    calls: list[Request] = field(default_factory=list)
    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    writes: list[list[str]] = field(default_factory=list)
    spoil: dict[int, Callable[[], Response]] = field(default_factory=dict)
    commits: bool = True
    keys: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)
    """Items of which nothing is ever answered."""

    def handle(self, request: Request) -> Response | None:
        if not request.path.startswith("/items"):
            return None
        self.calls.append(request)
        name = request.path.removeprefix("/items").lstrip("/")
        if not name:
            return self._write(request)
        if name not in self.held:
            return Response.json({"message": "no such item"}, 404)
        if request.method == "DELETE":
            del self.held[name]
        elif request.method == "PUT":
            self.held[name] |= request.json()
        if name in self.mute:
            return drop()
        return Response.json({"item": self.held.get(name)})

    def _write(self, request: Request) -> Response:
        spoilt = self.spoil.get(len(self.writes))
        body = request.json()
        contents = body if isinstance(body, list) else [body]
        self.writes.append([one["id"] for one in contents])
        key = request.headers.get("Idempotency-Key", "")
        if (self.commits or not spoilt) and key not in self.keys:
            self.held |= {one["id"]: one for one in contents}
            self.keys |= {key} - {""}
        return spoilt() if spoilt else Response.json({"message": "ok"})


def drop() -> Response:
    return Response(reset=True)


def error() -> Response:
    return Response.json({"message": "server error"}, 500)


@pytest.fixture
def items() -> Items:
    return Items()


@pytest.fixture
def simulated(items: Items) -> Iterator[Stand]:
    with stand(items) as made:
        yield made


def target(**words: Any) -> RestTarget:
    return RestTarget(**{"connection": "items", "path": "/items", **words})


# What travels


@pytest.mark.parametrize(
    ("envelope", "body", "kind"),
    [
        (Array(), b'[{"id":1},{"id":2}]', "application/json"),
        (Array(root="a.b", around={"v": 1, "a": {"c": 2}}), b'{"v":1,"a":{"c":2,"b":[{"id":1},{"id":2}]}}', None),
        (Framed(prefix="<", separator="|", suffix=">", kind="text/x"), b'<{"id":1}|{"id":2}>', "text/x"),
        (Lines(), b'{"id":1}\n{"id":2}\n', "application/x-ndjson"),
    ],
)
def test_an_envelope_makes_the_body_that_it_shows(envelope: Envelope, body: bytes, kind: str | None) -> None:
    contents = [b'{"id":1}', b'{"id":2}']
    assert envelope.pack(contents) == body
    assert kind in (None, envelope.kind)
    assert envelope.frame + sum(len(content) + 1 for content in contents) >= len(body)


def test_a_single_row_may_stand_in_constants() -> None:
    assert Single(root="data", around={"op": "put"}).pack([b'{"id":1}']) == b'{"op":"put","data":{"id":1}}'


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Array(around={"a": 1}), "say with root= where"),
        (lambda: Array(root="a..b"), "dotted path"),
        (lambda: Single(root="a.b", around={"a": 1}), "'a' is 1 in around"),
    ],
)
def test_an_envelope_that_cannot_be_meant_is_an_error(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        wrong()


@dataclass
class Listener:
    """Takes everything."""

    calls: list[Request] = field(default_factory=list)

    def handle(self, request: Request) -> Response:
        self.calls.append(request)
        return Response.json({})


def test_no_body_is_longer_than_declared() -> None:
    listener = Listener()
    with stand(listener) as listening:
        envelope = Array(root="rows", around={"note": "x" * 200})
        listening.send(target(envelope=envelope, max_bytes=600), rows(30))
    assert max(len(call.body) for call in listener.calls) <= 600
    assert len(listener.calls) > 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_method_headers_query_and_fields_in_the_path_travel_as_declared(method: str) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Depot(RestTarget):
        connection: str = "items"
        path: str = "/items/{depot}"
        depot: str

    listener = Listener()
    with stand(listener) as listening:
        listening.send(
            Depot(depot="ab/c", method=method, headers={"X-Tenant": "7"}, query={"dry": "no", "x": "a&b"}), rows(1)
        )
    (call,) = listener.calls
    assert (call.method, call.path, call.query) == (method, "/items/ab%2Fc", {"dry": "no", "x": "a&b"})
    assert call.headers["X-Tenant"] == "7"


def test_nulls_are_left_out_only_where_asked(simulated: Stand, items: Items) -> None:
    sent = [row(0, a=None, b={"c": None, "d": 0}, e=[{"f": None}])]
    simulated.send(target(), sent)
    assert items.held["r00000"]["a"] is None
    simulated.send(target(omit_nulls=True), sent)
    assert items.held["r00000"] == {"_id": "r00000", "id": "r00000", "b": {"d": 0}, "e": [{}]}


def test_a_row_that_is_nested_too_deep_is_refused_without_a_call(simulated: Stand, items: Items) -> None:
    answers = simulated.send(target(max_depth=2), [row(0, a={"b": 1}), row(1, a={"b": [1]})])
    assert deliveries(answers) == [Delivery.DELIVERED, Delivery.REFUSED]
    assert "deeper than 2" in answers[1].reason
    assert items.writes == [["r00000"]]


# How an answer is judged


SAYS_OK = Verdict(ok=Says("ok", (True,)))
CODED = Verdict(
    ok=Says("ok", (True,)),
    code="err.no",
    message="err.text",
    codes=Codes(ok=frozenset({0}), throttled=frozenset({7}), refused=frozenset({8}), failed=frozenset({9})),
)


@pytest.mark.parametrize(
    ("verdict", "status", "body", "ends"),
    [
        (Verdict(), 202, {}, Delivery.DELIVERED),
        (Verdict(statuses={202: Meaning.BAD_ROW}), 202, {"message": "parked"}, Delivery.REFUSED),
        (Verdict(statuses={403: Meaning.BAD_ROW}), 403, {"message": "parked"}, Delivery.REFUSED),
        (Verdict(statuses={409: Meaning.OK}), 409, {}, Delivery.DELIVERED),
        (SAYS_OK, 200, {"ok": True}, Delivery.DELIVERED),
        (SAYS_OK, 200, {"ok": False}, Delivery.REFUSED),
        (SAYS_OK, 200, {}, TransientError),
        (CODED, 200, {"ok": True, "err": {"no": 0}}, Delivery.DELIVERED),
        (CODED, 200, {"ok": True}, TransientError),
        (CODED, 200, {"ok": False, "err": {"no": 1, "text": "odd"}}, Delivery.REFUSED),
        (CODED, 500, {"ok": False, "err": {"no": 1, "text": "odd"}}, Delivery.REFUSED),
        (CODED, 200, {"err": {"no": 8, "text": "odd"}}, RefusedError),
        (CODED, 200, {"err": {"no": 9, "text": "odd"}}, TransientError),
        (CODED, 200, {"err": {"no": [], "text": "odd"}}, TransientError),
    ],
)
def test_status_and_body_say_together_what_an_answer_means(
    simulated: Stand, items: Items, verdict: Verdict, status: int, body: dict[str, Any], ends: Any
) -> None:
    items.spoil = {number: lambda: Response.json(body, status) for number in range(9)}
    declared = target(verdict=verdict, upserts=True)
    if isinstance(ends, Delivery):
        assert deliveries(simulated.send(declared, rows(1))) == [ends]
    else:
        with pytest.raises(ends):
            simulated.send(declared, rows(1))


def test_codes_and_where_they_are_go_together() -> None:
    with pytest.raises(DeclarationError, match="give both"):
        Verdict(code="code")


# Lost answers


def test_an_idempotency_key_is_that_of_the_rows_and_every_try_has_it(simulated: Stand, items: Items) -> None:
    items.spoil = {0: drop, 1: error}
    answers = simulated.send(target(key_header="Idempotency-Key"), rows(3))
    assert deliveries(answers) == [Delivery.DELIVERED] * 3
    assert len(items.writes) == 3
    assert {call.headers["Idempotency-Key"] for call in items.calls} == {key_of(rows(3))} == items.keys


def test_a_key_changes_with_the_version_and_the_content_and_with_nothing_else() -> None:
    one = row(1)
    assert key_of([one]) == key_of([replace(one, number="x", voided=True)])
    changed = [replace(one, modified_ms=1), replace(one, version=2), replace(one, hash="h"), replace(one, id="o")]
    assert len({key_of([each]) for each in [one, *changed]}) == 5


@pytest.mark.parametrize("finds", [True, False])
def test_what_is_lost_for_good_in_spite_of_its_key_is_looked_up_or_in_doubt(
    simulated: Stand, items: Items, finds: bool
) -> None:
    items.spoil = dict.fromkeys(range(9), drop)
    find_one = FindOne(path="/items/{id}", root="item") if finds else None
    answers = simulated.send(target(key_header="Idempotency-Key", find_one=find_one), rows(2))
    assert deliveries(answers) == [Delivery.DELIVERED if finds else Delivery.UNKNOWN] * 2
    assert len(items.writes) == 4


def test_a_conflict_of_a_key_is_waited_for(simulated: Stand, items: Items) -> None:
    items.spoil = {0: drop, 1: lambda: Response.json({"message": "in progress"}, 409)}
    assert deliveries(simulated.send(target(key_header="Idempotency-Key"), rows(1))) == [Delivery.DELIVERED]


def test_a_key_in_a_field_is_the_rows_own(simulated: Stand, items: Items) -> None:
    simulated.send(target(key_field="request_id"), rows(2))
    assert [items.held[one.id]["request_id"] for one in rows(2)] == [key_of([one]) for one in rows(2)]


@pytest.mark.parametrize(
    ("spoilt", "commits", "told", "writes"),
    [
        (drop, True, Delivery.DELIVERED, 1),
        (error, True, Delivery.DELIVERED, 1),
        (drop, False, Delivery.UNKNOWN, 1),
        (error, False, Delivery.DELIVERED, 2),
    ],
)
def test_a_row_whose_answer_was_lost_is_found_by_its_id(
    simulated: Stand, items: Items, spoilt: Callable[[], Response], commits: bool, told: Delivery, writes: int
) -> None:
    items.spoil, items.commits = {0: spoilt}, commits
    declared = target(find_one=FindOne(path="/items/{id}", root="item"))
    assert deliveries(simulated.send(declared, [row(1, money=Decimal("1.50"), none=None)])) == [told]
    assert len(items.writes) == writes


def test_another_content_under_the_id_is_no_proof_of_anything(simulated: Stand, items: Items) -> None:
    items.held["r00001"] = {"_id": "r00001", "id": "r00001", "money": 1}
    items.spoil, items.commits = {0: error}, False
    declared = target(find_one=FindOne(path="/items/{id}", root="item"))
    assert deliveries(simulated.send(declared, [row(1, money=2)])) == [Delivery.UNKNOWN]
    assert len(items.writes) == 1


def test_a_target_that_loses_one_answer_after_the_other_is_left_alone(simulated: Stand, items: Items) -> None:
    items.spoil, items.commits = {number: drop for number in range(99) if number != 1}, False
    answers = simulated.send(target(batch_rows=100, envelope=Single()), rows(10))
    kinds = deliveries(answers)
    assert kinds == [Delivery.UNKNOWN, Delivery.DELIVERED] + [Delivery.UNKNOWN] * 3 + [Delivery.AGAIN] * 5
    assert "3 answers in a row were lost" in answers[9].reason
    assert len(items.writes) == 5


def test_the_sample_of_a_segment_is_asked_for_by_id(simulated: Stand, items: Items) -> None:
    declared = target(find_one=FindOne(path="/items/{id}", root="item"), sample=5)
    with declared.open(simulated.reach) as sender:
        assert isinstance(sender, Holder)
        assert sender.sample == 5
        sender.send(rows(2))
        del items.held["r00001"]
        assert sender.holds(rows(2), since=0) == [True, False]


def test_a_counting_target_that_can_be_asked_by_id_need_not_get_one_row_a_call() -> None:
    counters = Counters(taken="taken", failed="failed")
    assert target(results=counters).call_rows == 1
    assert target(results=counters, find_one=FindOne(path="/items/{id}")).call_rows == 100


def test_pauses_are_those_declared_and_one_that_is_too_long_ends_the_batch(simulated: Stand, items: Items) -> None:
    items.spoil = dict.fromkeys(range(3), error)
    simulated.send(target(upserts=True, pauses=(5, 7)), rows(1))
    assert simulated.slept == [5, 7, 7]
    items.spoil = dict.fromkeys(range(9), error)
    with pytest.raises(TransientError) as caught:
        simulated.send(target(upserts=True, pauses=(20, 300)), rows(1))
    assert caught.value.retry_after == 300
    assert simulated.slept == [5, 7, 7, 20]


# Removing


REMOVES = {
    "delete_one": RemoveOne(path="/items/{id}"),
    "flag_one": RemoveOne(path="/items/{id}", method="PUT", content={"active": False}),
}


def removal(one: Row) -> Removal:
    return Removal(
        id=one.id, source_id=one.source_id, number=one.number, modified_ms=1, version=1, content={}, why="voided"
    )


def remove(simulated: Stand, declared: RestTarget, policy: DeletePolicy, *removed: Row) -> list[Answer]:
    with declared.open(simulated.reach) as sender:
        assert isinstance(sender, Remover)
        return list(sender.remove([removal(one) for one in removed], policy=policy))


def test_rows_are_flagged_and_deleted_by_their_id_and_gone_ones_are_done(simulated: Stand, items: Items) -> None:
    declared = target(**REMOVES)
    simulated.send(declared, rows(2))
    assert deliveries(remove(simulated, declared, DeletePolicy.FLAG, *rows(1))) == [Delivery.DELIVERED]
    assert items.held["r00000"]["active"] is False
    assert deliveries(remove(simulated, declared, DeletePolicy.DELETE, *rows(3))) == [Delivery.DELIVERED] * 3
    assert items.held == {}


def test_a_removal_that_is_never_answered_may_have_been_done(simulated: Stand, items: Items) -> None:
    declared = target(**REMOVES, tries=1)
    simulated.send(declared, rows(3))
    items.mute = {"r00001"}
    assert deliveries(remove(simulated, declared, DeletePolicy.FLAG, *rows(3))) == [
        Delivery.DELIVERED, Delivery.UNKNOWN, Delivery.AGAIN,
    ]  # fmt: skip


def test_what_a_target_can_remove_is_what_it_declares() -> None:
    assert removals_of(target(**REMOVES)) == {DeletePolicy.FLAG, DeletePolicy.DELETE}
    assert removals_of(target(delete_one=RemoveOne(path="/items/{id}"))) == {DeletePolicy.DELETE}
    assert removals_of(target()) == set()


@pytest.mark.parametrize("odd", ["", ".", ".."])
def test_an_id_that_would_name_another_path_removes_nothing(simulated: Stand, items: Items, odd: str) -> None:
    answers = remove(simulated, target(**REMOVES), DeletePolicy.DELETE, replace(row(1), id=odd))
    assert deliveries(answers) == [Delivery.REFUSED]
    assert items.calls == []


def test_a_page_that_says_404_removes_nothing(simulated: Stand) -> None:
    declared = target(delete_one=RemoveOne(path="/elsewhere/{id}"))
    with pytest.raises(RefusedError, match="check address, path and permission"):
        remove(simulated, declared, DeletePolicy.DELETE, row(1))


# Declarations


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "GET"}, "RestTarget method='GET': a write is one of POST, PUT, PATCH"),
        ({"path": "/a/{depot}"}, "RestTarget has no field 'depot' to put there"),
        ({"headers": {"authorization": "Basic x"}}, "headers: authorization carries a secret; put it into the conn"),
        ({"pauses": ()}, r"RestTarget pauses=\(\): give seconds"),
        ({"max_depth": 0}, "RestTarget max_depth=0"),
        ({"most_lost": 0}, "RestTarget most_lost=0: it must be 1 or more"),
        ({"sample": 3}, "RestTarget sample=3: this target cannot be asked"),
    ],
)
def test_a_declaration_that_cannot_be_meant_names_the_value(wrong: Mapping[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        target(**wrong)


@pytest.mark.parametrize("path", ["items/{id}", "/items", "/items/{name}"])
def test_a_path_that_names_no_row_is_an_error(path: str) -> None:
    for word in (FindOne, RemoveOne):
        with pytest.raises(DeclarationError, match="give a path that names the row"):
            word(path=path)


def test_it_says_on_the_dag_page_where_rows_go() -> None:
    assert target().describe() == "POST /items (connection items)"
    assert json.dumps(list(target().connections)) == '["items"]'
