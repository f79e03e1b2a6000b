from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fenxiang_simulator.server import Request, Response
from fenxiang_simulator.targets import Fault
from fenxiang_sync.errors import DeclarationError, RefusedError
from fenxiang_sync.targets.protocol import Delivery, Target
from fenxiang_sync.targets.write import WriteApi
from tests.targets_fixtures import Stand, deliveries, row, rows, stand


@pytest.fixture
def simulated() -> Iterator[Stand]:
    with stand() as made:
        yield made


def test_each_row_is_one_object_per_call(simulated: Stand) -> None:
    sent = rows(3)
    assert deliveries(simulated.send(WriteApi(), sent)) == [Delivery.DELIVERED] * 3
    assert simulated.targets.write.rows == [one.content for one in sent]
    assert simulated.targets.write.requests == 3


@pytest.mark.parametrize("without", [{"id": None}, {"id": ""}])
def test_a_row_without_an_id_is_refused_and_the_others_are_written(simulated: Stand, without: dict[str, Any]) -> None:
    answers = simulated.send(WriteApi(), [row(0), row(1, **without), row(2)])
    assert deliveries(answers) == [Delivery.DELIVERED, Delivery.REFUSED, Delivery.DELIVERED]
    assert "ID is required for data loading." in answers[1].reason
    assert simulated.targets.write.requests == 2


def test_a_zero_is_an_id(simulated: Stand) -> None:
    assert deliveries(simulated.send(WriteApi(), [row(0, id=0)])) == [Delivery.DELIVERED]


def test_a_row_that_the_service_refuses_ends_nothing(simulated: Stand) -> None:
    simulated.targets.knobs.write_required = ["needed"]
    answers = simulated.send(WriteApi(), rows(4, bad={1, 2}))
    assert deliveries(answers) == [Delivery.DELIVERED, Delivery.REFUSED, Delivery.REFUSED, Delivery.DELIVERED]
    assert (answers[1].code, answers[1].reason) == (400, "needed is required.")


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.TOKEN_REFUSED])
def test_whatever_goes_wrong_once_each_row_is_there_once_where_ids_are_replaced(simulated: Stand, fault: Fault) -> None:
    simulated.targets.faults.inject(None, fault, on="write")
    answers = simulated.send(WriteApi(upserts=True), rows(3))
    assert deliveries(answers) == [Delivery.DELIVERED] * 3
    assert simulated.targets.write.rows == [one.content for one in rows(3)]


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.TOKEN_REFUSED])
def test_whatever_goes_wrong_no_row_is_there_twice_where_every_call_adds(simulated: Stand, fault: Fault) -> None:
    simulated.targets.knobs.write_appends = True
    simulated.targets.faults.inject(None, fault, on="write")
    answers = simulated.send(WriteApi(), rows(3))
    expected = Delivery.DELIVERED if fault in (Fault.THROTTLED, Fault.THROTTLED_BARE) else answers[1].delivery
    assert deliveries(answers) == [Delivery.DELIVERED, expected, Delivery.DELIVERED]
    held = [content["id"] for content in simulated.targets.write.rows]
    assert len(held) == len(set(held))
    if expected is Delivery.DELIVERED:
        assert "r00001" in held


def test_a_success_that_its_body_denies_is_none() -> None:
    class Polite:
        def handle(self, request: Request) -> Response | None:
            return Response.json({"success": False, "message": "the warehouse is closed"})

    with stand(Polite()) as polite:
        answers = polite.send(WriteApi(), rows(1))
    assert deliveries(answers) == [Delivery.REFUSED]
    assert answers[0].reason == "the warehouse is closed"


def test_a_refused_login_ends_the_batch(simulated: Stand) -> None:
    simulated.targets.faults.inject(Fault.TOKEN_REFUSED, on="write")
    with pytest.raises(RefusedError, match="'write_api', /write: Unauthorized \\(code 401\\); check login"):
        simulated.send(WriteApi(), rows(2))


def test_it_is_a_target_on_one_connection() -> None:
    target = WriteApi(connection="erp", path="/load")
    assert isinstance(target, Target)
    assert list(target.connections) == ["erp"]
    assert target.describe() == "POST /load, one object per call (connection erp)"


@pytest.mark.parametrize("wrong", [{"path": "write"}, {"id_field": ""}, {"connection": ""}])
def test_a_declaration_that_cannot_be_meant_names_the_value(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(DeclarationError, match=f"WriteApi {name}="):
        WriteApi(**wrong)
