"""FenxiangTarget: rows become records of a CRM, each once, whatever answers are lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync.columns import Column, Kind
from fenxiang_sync.errors import RefusedError, TransientError
from fenxiang_sync.hub import Hub
from fenxiang_sync.rows import DeletePolicy
from fenxiang_sync.source import Paces, SharedPace
from fenxiang_sync.targets.protocol import Delivery, Finder, Holder, Remover
from tests.crm_fixtures import DATA, LINES, ORDERS, PRODUCTS, Office, office, product, products
from tests.hub_fixtures import hub_file
from tests.targets_fixtures import deliveries

DELIVERED, REFUSED, UNKNOWN, AGAIN = Delivery.DELIVERED, Delivery.REFUSED, Delivery.UNKNOWN, Delivery.AGAIN
ADMIN = "FSUID_demo0000000000000000000000001"


@pytest.fixture
def crm() -> Iterator[Office]:
    with office() as made:
        yield made


# What is there, and what is written


def test_a_row_without_a_record_is_created_for_the_acting_user(crm: Office) -> None:
    assert deliveries(crm.send(products(), [product("A-1", unit="pcs", is_saleable=True)])) == [DELIVERED]

    record = crm.record("A-1")
    assert (record["name"], record["price"], record["unit"], record["is_saleable"]) == ("产品A-1", "1.50", "pcs", True)
    assert record["owner"] == ["1000"]


def test_what_is_there_already_costs_no_write(crm: Office) -> None:
    row = product("A-1", price=Decimal("100.0"), unit=None, is_saleable=False)
    crm.send(products(), [row])

    assert deliveries(crm.send(products(), [row, product("A-1", price=Decimal(100), is_saleable=False)])) == [
        DELIVERED,
        DELIVERED,
    ]
    assert (crm.calls("create"), crm.calls("update")) == (1, 0)


def test_only_what_differs_is_updated(crm: Office) -> None:
    record_id = crm.simulator.tenant.create(
        PRODUCTS, {"product_code": "A-1", "name": "产品A-1", "price": "9.00", "unit": "box", "barcode": "690"}
    )
    seen: list[Any] = []
    crm.simulator.tenant.listeners.append(lambda name, key, event, stamp: seen.append((key, event)))

    assert deliveries(crm.send(products(), [product("A-1", unit=None)])) == [DELIVERED]
    record = crm.record("A-1")
    assert (record["price"], record.get("unit"), record["barcode"]) == ("1.50", None, "690")
    assert seen == [(record_id, "update")]


def test_an_update_leaves_the_owner_alone(crm: Office) -> None:
    other = "FSUID_demo0000000000000000000000003"
    columns = (Column(path="product_code", kind=Kind.TEXT), Column(path="name", kind=Kind.TEXT))
    owned = products((*columns, Column(path="owner", kind=Kind.TEXT)))
    crm.send(owned, [product("A-1", owner=other)])
    assert crm.record("A-1")["owner"] == ["1002"]

    assert deliveries(crm.send(owned, [product("A-1", owner=ADMIN)])) == [DELIVERED]
    assert (crm.record("A-1")["owner"], crm.calls("update")) == (["1002"], 0)
    crm.send(products(owner=other), [product("A-2")])
    assert crm.record("A-2")["owner"] == ["1002"]


def test_moments_and_days_become_epoch_milliseconds(crm: Office) -> None:
    columns = (
        Column(path="name", kind=Kind.TEXT),
        Column(path="field_registered_on__c", kind=Kind.DAY),
        Column(path="last_deal_closed_time", kind=Kind.INSTANT),
    )
    target = products(columns, object="AccountObj", match="name")
    row = product(
        "x", name="甲", field_registered_on__c="2026-09-24", last_deal_closed_time="2026-09-24T01:00:00+08:00"
    )

    assert deliveries(crm.send(target, [row])) == [DELIVERED]
    (record,) = (each for each in crm.simulator.tenant.records("AccountObj").values() if each["name"] == "甲")
    assert record["field_registered_on__c"] == 1790179200000
    assert record["last_deal_closed_time"] == 1790182800000
    assert deliveries(crm.send(target, [row])) == [DELIVERED]
    assert crm.calls("update") == 0


def test_each_call_states_whether_workflows_and_approvals_start(crm: Office) -> None:
    bodies: list[dict[str, Any]] = []
    answer = crm.simulator.crm.handle
    crm.simulator.crm.handle = lambda request: bodies.append(request.json()) or answer(request)  # type: ignore[method-assign]
    crm.send(products(), [product("A-1")])
    crm.send(products(trigger_workflow=True, specify_time=True), [product("A-1", name="neu"), product("A-2")])

    flags = [
        (body["triggerWorkFlow"], body["triggerApprovalFlow"], body.get("hasSpecifyTime"))
        for body in bodies
        if "triggerWorkFlow" in body
    ]
    assert sorted(flags, key=str) == [(False, False, False), (True, False, None), (True, False, True)]


def test_a_row_without_a_match_value_is_refused_by_itself(crm: Office) -> None:
    (bad, good) = crm.send(products(), [product(None, id="r1"), product("A-1")])

    assert (bad.delivery, good.delivery) == (REFUSED, DELIVERED)
    assert bad.reason == "the row has no product_code, by which its record is looked up"


def test_a_target_that_only_updates_refuses_a_row_without_a_record(crm: Office) -> None:
    target = products(creates=False)
    crm.simulator.tenant.create(PRODUCTS, {"product_code": "A-1", "name": "x"})
    there, absent = crm.send(target, [product("A-1"), product("A-2")])

    assert (there.delivery, absent.delivery) == (DELIVERED, REFUSED)
    assert "ProductObj, product_code 'A-2': no record of the CRM has it" in absent.reason
    assert crm.calls("create") == 0


def test_records_are_updated_by_their_id(crm: Office) -> None:
    record_id = crm.simulator.tenant.create(PRODUCTS, {"product_code": "A-1", "name": "x"})
    columns = (Column(path="_id", kind=Kind.TEXT), Column(path="barcode", kind=Kind.TEXT))
    target = products(columns, match="_id", creates=False)
    there, gone = crm.send(
        target, [product("A-1", _id=record_id, barcode="690"), product("A-2", _id="65aa00000000000000000009")]
    )

    assert (there.delivery, gone.delivery) == (DELIVERED, REFUSED)
    assert crm.record("A-1")["barcode"] == "690"


def test_two_records_of_one_value_refuse_the_row_and_are_named(crm: Office) -> None:
    columns = (Column(path="barcode", kind=Kind.TEXT), Column(path="name", kind=Kind.TEXT))
    ids = [crm.simulator.tenant.create(PRODUCTS, {"barcode": "690", "name": name}) for name in "ab"]
    (answer,) = crm.send(products(columns, match="barcode"), [product("x", barcode="690")])

    assert answer.delivery is REFUSED
    assert all(each in answer.reason for each in ids)


def test_rows_of_one_value_are_written_in_their_order_and_once(crm: Office) -> None:
    rows = [product("A-1", id=f"r{n}", name=f"name {n}") for n in range(3)]

    assert deliveries(crm.send(products(), [*rows, product("A-2")])) == [DELIVERED] * 4
    assert crm.record("A-1")["name"] == "name 2"
    assert (crm.calls("create"), crm.calls("update")) == (2, 2)


def test_what_was_just_written_counts_although_queries_do_not_show_it() -> None:
    with office(visibility_lag_ms=3000) as crm, products().open(crm.reach) as sender:
        sender.send([product("A-1")])
        assert deliveries(sender.send([product("A-1", name="b")])) == [DELIVERED]
        assert deliveries(sender.send([product("A-1")])) == [DELIVERED]

        assert crm.record("A-1")["name"] == "产品A-1"
        assert (crm.calls("create"), crm.calls("update")) == (1, 2)


def test_what_was_written_long_ago_is_forgotten(crm: Office) -> None:
    with products().open(crm.reach) as sender:
        sender.send([product("A-1")])
        crm.simulator.tenant.invalid(PRODUCTS, crm.record("A-1")["_id"])
        crm.simulator.tenant.delete(PRODUCTS, crm.record("A-1")["_id"])
        crm.simulator.clock.advance(61)

        assert deliveries(sender.send([product("A-1")])) == [DELIVERED]
    assert crm.record("A-1")


def test_a_new_custom_record_is_found_wherever_its_id_is_answered() -> None:
    columns = (Column(path="warehouseId", kind=Kind.TEXT), Column(path="location", kind=Kind.TEXT))
    target = products(columns, object="object_warehouse__c", match="warehouseId")
    for place in ("dataId", "data.dataId", "data._id", "none"):
        with office(created_id=place, visibility_lag_ms=3000, records={"object_warehouse__c": 0}) as crm:
            with target.open(crm.reach) as sender:
                first, second = sender.send([product("x", warehouseId="W1", location=where) for where in ("甲", "乙")])
            assert (first.delivery, second.delivery) == (DELIVERED, AGAIN if place == "none" else DELIVERED)
            assert len(crm.simulator.tenant.records("object_warehouse__c")) == 1


# What is refused


@pytest.mark.parametrize("code", [50009, 201112099])
def test_a_row_that_the_crm_refuses_is_refused_alone_with_code_and_message(crm: Office, code: int) -> None:
    crm.simulator.knobs.not_unique_code = code
    columns = (Column(path="name", kind=Kind.TEXT), Column(path="product_code", kind=Kind.TEXT))
    crm.simulator.tenant.create(PRODUCTS, {"product_code": "A-1", "name": "somebody's"})
    bad, good = crm.send(products(columns, match="name"), [product("A-1"), product("A-2")])

    assert (bad.delivery, bad.code, good.delivery) == (REFUSED, code, DELIVERED)
    assert "产品编码不能重复: A-1" in bad.reason


@pytest.mark.parametrize(("content", "told"), [({"name": None}, "请填写产品名称"), ({"unit": "ton"}, "选项不存在")])
def test_what_is_missing_or_no_option_refuses_the_row(crm: Office, content: dict[str, Any], told: str) -> None:
    (answer,) = crm.send(products(), [product("A-1", **content)])

    assert answer.delivery is REFUSED
    assert told in answer.reason


def test_a_value_that_somebody_else_took_meanwhile_is_updated(crm: Office) -> None:
    tenant, ask = crm.simulator.tenant, crm.simulator.crm._query

    def and_then(body: Any, caller: Any, path: str) -> Any:
        answer = ask(body, caller, path)
        if not crm.records("A-1") and len(crm.simulator.queries) == 2:
            tenant.create(PRODUCTS, {"product_code": "A-1", "name": "somebody's"})
        return answer

    crm.simulator.crm._handlers[f"{DATA}/query"] = and_then
    assert deliveries(crm.send(products(), [product("A-1")])) == [DELIVERED]
    assert crm.record("A-1")["name"] == "产品A-1"


def test_a_locked_record_refuses_its_row(crm: Office) -> None:
    record_id = crm.simulator.tenant.create(PRODUCTS, {"product_code": "A-1", "name": "x"})
    crm.simulator.tenant.lock_records(PRODUCTS, record_id)
    (answer,) = crm.send(products(), [product("A-1")])

    assert (answer.delivery, answer.code) == (REFUSED, 50009)
    assert "已被锁定" in answer.reason


def test_50009_is_believed_only_where_a_look_shows_that_nothing_was_written(crm: Office) -> None:
    crm.simulator.faults.next("timeout_code", path="/create")
    (refused,) = crm.send(products(), [product("A-1")])
    assert (refused.delivery, refused.code) == (REFUSED, 50009)

    crm.send(products(), [product("A-1")])
    crm.simulator.faults.next("timeout_code", path="/update")
    create = crm.simulator.faults.draw

    def but_done(path: str) -> str | None:
        fault = create(path)
        if fault == "timeout_code":
            crm.simulator.tenant.update(PRODUCTS, crm.record("A-1")["_id"], {"name": "neu"})
        return fault

    crm.simulator.faults.draw = but_done  # type: ignore[method-assign]
    assert deliveries(crm.send(products(), [product("A-1", name="neu")])) == [DELIVERED]


def test_credentials_that_are_refused_are_no_fault_of_the_rows(crm: Office) -> None:
    crm.simulator.knobs.quota_pack = False
    with pytest.raises(RefusedError, match="30003"):
        crm.send(products(), [product("A-1"), product("A-2")])


def test_rows_behind_a_call_that_ends_the_batch_are_sent_again(crm: Office) -> None:
    crm.simulator.faults.next("html_404", 10, path="/create", skip=2)
    answers = crm.send(products(at_once=1), [product(f"A-{n}") for n in range(4)])

    assert deliveries(answers) == [DELIVERED, DELIVERED, AGAIN, AGAIN]
    crm.simulator.faults.clear()
    assert deliveries(crm.send(products(), [product(f"A-{n}") for n in range(4)])) == [DELIVERED] * 4


# Lost answers


@pytest.mark.parametrize("fault", ["reset", "cut", "truncated_json", "hang"])
def test_a_create_whose_answer_was_lost_is_found(crm: Office, fault: str) -> None:
    crm.simulator.faults.next(fault, path="/create")

    assert deliveries(crm.send(products(), [product("A-1"), product("A-2")])) == [DELIVERED] * 2
    assert crm.record("A-1")
    assert crm.calls("create") == 2


@pytest.mark.parametrize("fault", ["http_502", "html_200"])
def test_a_lost_create_that_is_not_found_is_in_doubt(crm: Office, fault: str) -> None:
    crm.simulator.faults.next(fault, path="/create")
    lost, good = crm.send(products(at_once=1), [product("A-1"), product("A-2")])

    assert (lost.delivery, good.delivery) == (UNKNOWN, DELIVERED)
    assert "no record of it was found afterwards" in lost.reason
    assert crm.calls("create") == 2


def test_a_create_that_a_busy_server_refused_may_be_sent_again(crm: Office) -> None:
    crm.simulator.faults.next("busy", path="/create")
    lost, good = crm.send(products(at_once=1), [product("A-1"), product("A-2")])

    assert (lost.delivery, lost.code, good.delivery) == (AGAIN, -1, DELIVERED)


def test_a_record_that_shows_late_is_found() -> None:
    with office(visibility_lag_ms=4000) as crm:
        crm.simulator.faults.next("reset", path="/create")
        assert deliveries(crm.send(products(), [product("A-1")])) == [DELIVERED]
        assert crm.slept == [2.0, 5.0]


def test_a_create_that_may_be_under_way_is_not_made_again_by_another_row(crm: Office) -> None:
    crm.simulator.faults.next("late", path="/create")
    crm.passing = False
    with products().open(crm.reach) as sender:
        assert isinstance(sender, Finder)
        rows = [product("A-1"), product("A-1", id="r2", name="b")]
        assert deliveries(sender.send(rows)) == [UNKNOWN, UNKNOWN]
        assert deliveries(sender.send([product("A-1", id="r3", name="c")])) == [UNKNOWN]
        assert sender.find([product("A-1")], since=0.0) == [False]

        crm.simulator.clock.advance(5)
        assert deliveries(sender.send([product("A-1", id="r3", name="c")])) == [DELIVERED]
    assert crm.calls("create") == 1
    assert crm.record("A-1")["name"] == "c"


def test_rows_behind_a_lost_create_are_written_when_it_is_found(crm: Office) -> None:
    crm.simulator.faults.next("reset", path="/create")
    answers = crm.send(products(), [product("A-1"), product("A-1", id="r2", name="b")])

    assert deliveries(answers) == [DELIVERED, DELIVERED]
    assert crm.record("A-1")["name"] == "b"
    assert crm.calls("create") == 1


def test_an_update_whose_answer_was_lost_is_made_again(crm: Office) -> None:
    crm.send(products(), [product("A-1")])
    crm.simulator.faults.next("reset", path="/update")

    assert deliveries(crm.send(products(), [product("A-1", name="b")])) == [DELIVERED]
    assert crm.calls("update") == 2


def test_an_update_whose_answers_stay_away_goes_with_the_next_try(crm: Office) -> None:
    crm.send(products(), [product("A-1")])
    crm.simulator.faults.next("http_502", 2, path="/update")

    with pytest.raises(TransientError, match="502"):
        crm.send(products(), [product("A-1", name="b")])


def test_after_three_lost_creates_in_a_row_nothing_more_is_created(crm: Office) -> None:
    crm.simulator.faults.rate("http_502", 1.0, path="/create")
    answers = crm.send(products(at_once=1), [product(f"A-{n}") for n in range(6)])

    assert deliveries(answers) == [UNKNOWN] * 3 + [AGAIN] * 3
    assert "3 answers in a row were lost" in answers[-1].reason


@pytest.mark.parametrize("fault", ["empty_page", "other_page", "repeated_page", "lost_row", "short_page"])
def test_a_page_that_comes_wrong_makes_no_second_record(crm: Office, fault: str) -> None:
    rows = [product(f"A-{n}") for n in range(6)]
    crm.send(products(), rows)
    crm.send(products(), [product(f"B-{n}") for n in range(6)])
    crm.simulator.faults.next(fault, path="/query")

    assert deliveries(crm.send(products(), rows)) == [DELIVERED] * 6
    assert crm.calls("create") == 12


# Asked what it holds


def test_the_sender_says_what_the_crm_holds(crm: Office) -> None:
    with products(sample=5).open(crm.reach) as sender:
        assert isinstance(sender, Finder)
        assert isinstance(sender, Holder)
        assert isinstance(sender, Remover)
        sender.send([product("A-1"), product("A-2")])
        rows = [product("A-1"), product("A-2", name="other"), product("A-3"), product(None, id="r4")]
        assert sender.find(rows, since=0.0) == [True, False, False, None]
        assert sender.sample == 5
        assert sender.holds([product("A-1")], since=0.0) == [True]
        assert sender.holds([product("A-3")], since=0.0) == [False]


@pytest.mark.parametrize("at_once", [1, 4])
def test_what_another_task_has_written_just_now_is_looked_for_until_queries_show_it(at_once: int) -> None:
    """The ledger has the row there, so that a look-up that shows nothing is early."""
    with office(visibility_lag_ms=3_000) as crm:
        crm.send(products(), [product("A-1")])
        again = replace(product("A-1", name="b"), held=True)
        assert deliveries(crm.send(products(at_once=at_once), [again, product("A-2")])) == [DELIVERED] * 2
        assert (crm.record("A-1")["name"], crm.calls("create")) == ("b", 2)
        assert crm.slept == [2.0, 5.0]

        crm.send(products(), [product("A-3")])
        assert deliveries(crm.remove(products(), "A-3")) == [DELIVERED]
        assert crm.record("A-3")["life_status"] == "invalid"


def test_a_row_whose_record_is_gone_after_all_is_created_anew(crm: Office) -> None:
    assert deliveries(crm.send(products(), [replace(product("A-1"), held=True)])) == [DELIVERED]
    assert (len(crm.records("A-1")), crm.slept) == (1, [2.0, 5.0])


# Removal


@pytest.mark.parametrize("voided", ["visible", "hidden", "visible_if_filtered"])
@pytest.mark.parametrize("policy", [DeletePolicy.FLAG, DeletePolicy.DELETE])
def test_a_record_is_voided_or_deleted_and_the_second_time_changes_nothing(
    crm: Office, policy: DeletePolicy, voided: str
) -> None:
    crm.simulator.knobs.voided = voided
    crm.send(products(), [product("A-1"), product("A-2")])

    for _ in range(2):
        assert deliveries(crm.remove(products(), "A-1", "A-9", policy=policy)) == [DELIVERED, DELIVERED]
        left = [each["life_status"] for each in crm.records("A-1")]
        assert left == (["invalid"] if policy is DeletePolicy.FLAG else [])
    assert crm.calls("invalid") == 1
    assert crm.record("A-2")["life_status"] == "normal"


@pytest.mark.parametrize("fault", ["reset", "http_502"])
@pytest.mark.parametrize("path", ["/invalid", "/delete"])
def test_a_removal_whose_answer_was_lost_is_looked_at(crm: Office, fault: str, path: str) -> None:
    crm.send(products(), [product("A-1")])
    crm.simulator.faults.next(fault, path=path)

    (answer,) = crm.remove(products(), "A-1", policy=DeletePolicy.DELETE)
    assert answer.delivery is (DELIVERED if fault == "reset" else UNKNOWN)
    assert deliveries(crm.remove(products(), "A-1", policy=DeletePolicy.DELETE)) == [DELIVERED]
    assert crm.records("A-1") == []


def test_a_record_that_cannot_be_voided_stays_with_the_reason(crm: Office) -> None:
    crm.simulator.tenant.create(PRODUCTS, {"product_code": "A-1", "name": "x", "life_status": "under_review"})
    (answer,) = crm.remove(products(), "A-1")

    assert answer.delivery is REFUSED
    assert "只有生命状态为正常的数据才能被作废" in answer.reason


@pytest.mark.parametrize("voided", ["visible", "hidden"])
@pytest.mark.parametrize("words", [{}, {"recovers": False}])
def test_a_record_that_cannot_be_deleted_is_not_said_to_be(crm: Office, words: dict[str, Any], voided: str) -> None:
    """Where voided records are hidden, one that is not listed may be there all the same."""
    crm.simulator.knobs.voided = voided
    crm.send(products(), [product("A-1")])
    crm.simulator.faults.next("timeout_code", path="/delete")
    (answer,) = crm.remove(products(**words), "A-1", policy=DeletePolicy.DELETE)

    assert (answer.delivery, answer.touched, crm.record("A-1")["life_status"]) == (REFUSED, True, "invalid")
    if voided == "visible" and not words:
        assert deliveries(crm.remove(products(**words), "A-1", policy=DeletePolicy.DELETE)) == [DELIVERED]
        assert crm.records("A-1") == []


def test_a_record_in_the_recycle_bin_is_not_deleted_where_none_is_looked_at(crm: Office) -> None:
    """It may be that of another, voided long ago."""
    crm.send(products(), [product("A-1")])
    crm.remove(products(), "A-1")
    assert deliveries(crm.remove(products(recovers=False), "A-1", policy=DeletePolicy.DELETE)) == [DELIVERED]
    assert (crm.record("A-1")["life_status"], crm.calls("delete")) == ("invalid", 0)


def test_a_target_that_only_updates_removes_nothing() -> None:
    assert products().removals == {DeletePolicy.FLAG, DeletePolicy.DELETE}
    assert products(creates=False).removals == frozenset()


@pytest.mark.parametrize("voided", ["visible", "visible_if_filtered"])
def test_a_voided_record_comes_back_with_its_row(crm: Office, voided: str) -> None:
    crm.simulator.knobs.voided = voided
    crm.send(products(), [product("A-1")])
    record_id = crm.record("A-1")["_id"]
    crm.remove(products(), "A-1")

    assert deliveries(crm.send(products(), [product("A-1", flagged=True)])) == [DELIVERED]
    assert crm.record("A-1")["life_status"] == "invalid"
    assert deliveries(crm.send(products(), [product("A-1", name="b")])) == [DELIVERED]
    record = crm.record("A-1")
    assert (record["_id"], record["life_status"], record["name"]) == (record_id, "normal", "b")


@pytest.mark.parametrize(("words", "knobs"), [({}, {"voided": "hidden"}), ({"recovers": False}, {"voided": "visible"})])
def test_where_voided_records_are_not_seen_a_new_one_is_created(words: dict[str, Any], knobs: dict[str, Any]) -> None:
    with office(unique_among="live", **knobs) as crm:
        crm.send(products(), [product("A-1")])
        crm.remove(products(), "A-1")

        assert deliveries(crm.send(products(**words), [product("A-1")])) == [DELIVERED]
        assert len(crm.records("A-1")) == 2
        assert len(crm.records("A-1", voided=False)) == 1


@pytest.mark.parametrize("fault", ["reset", "http_502"])
def test_a_recover_whose_answer_was_lost_goes_with_the_next_try(crm: Office, fault: str) -> None:
    crm.send(products(), [product("A-1")])
    crm.remove(products(), "A-1")
    crm.simulator.faults.next(fault, path="/recover")
    with pytest.raises(TransientError):
        crm.send(products(), [product("A-1", name="b")])

    assert deliveries(crm.send(products(), [product("A-1", name="b")])) == [DELIVERED]
    assert (crm.record("A-1")["life_status"], crm.record("A-1")["name"]) == ("normal", "b")


# Details


def order(crm: Office, *quantities: str, **content: Any) -> Any:
    account = next(iter(crm.simulator.tenant.records("AccountObj")))
    good = crm.record("G-1")["_id"]
    lines = [{"product_id": good, "quantity": Decimal(each)} for each in quantities]
    return product("x", account_id=account, ship_to_add="E-1", lines=lines, **content)


def orders() -> Any:
    columns = [Column(path=path, kind=Kind.TEXT) for path in ("ship_to_add", "account_id", "remark")]
    lines = Column(path="lines", kind=Kind.JSON)
    return products((*columns, lines), object=ORDERS, match="ship_to_add", details={LINES: "lines"})


def test_lines_are_created_with_their_header_and_equal_ones_are_left(crm: Office) -> None:
    crm.send(products(), [product("G-1")])

    assert deliveries(crm.send(orders(), [order(crm, "2", "3.5")])) == [DELIVERED]
    made = crm.simulator.tenant.records(LINES).values()
    assert sorted(each["quantity"] for each in made) == ["2", "3.5"]
    assert deliveries(crm.send(orders(), [order(crm, "3.50", "2", remark="neu")])) == [DELIVERED]
    (header,) = crm.simulator.tenant.records(ORDERS).values()
    assert (header["remark"], len(crm.simulator.tenant.records(LINES))) == ("neu", 2)


@pytest.mark.parametrize("quantities", [(), ("2",), ("2", "3"), ("2", "3.5", "3.5")])
def test_lines_that_differ_from_those_of_the_record_refuse_the_row(crm: Office, quantities: tuple[str, ...]) -> None:
    crm.send(products(), [product("G-1")])
    crm.send(orders(), [order(crm, "2", "3.5")])
    (answer,) = crm.send(orders(), [order(crm, *quantities, remark="neu")])

    assert answer.delivery is REFUSED
    assert "its lines in the CRM (SalesOrderProductObj) differ from the row's" in answer.reason
    (header,) = crm.simulator.tenant.records(ORDERS).values()
    assert "remark" not in header


# Pace


def test_several_at_once_stay_within_the_quota(tmp_path: Path) -> None:
    """As tasks do it: a call counts until a window after its answer, so that a busy machine makes no difference."""
    with office(calls=40, per_seconds=1) as crm, Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub:
        note = partial(hub.revise, "calls")
        crm.client = {"pace": Paces(shared=lambda path: SharedPace(40, 1, path=path, revise=note))}
        answers = crm.send(products(at_once=8), [product(f"A-{n}") for n in range(60)])

        assert deliveries(answers) == [DELIVERED] * 60
        limits = crm.simulator.report()["limits"]
        assert limits["burst_refusals"] == {}
        assert limits["most_in_window"][f"{DATA}/create"] <= 40


def test_a_throttled_create_is_made_again_and_makes_one_record(crm: Office) -> None:
    crm.simulator.faults.next("throttled", path="/create")

    assert deliveries(crm.send(products(), [product("A-1")])) == [DELIVERED]
    assert crm.record("A-1")


def test_it_tells_the_id_of_the_record_that_each_row_went_into(crm: Office) -> None:
    rows = [product("A-1"), product("A-2", name="new")]
    first = crm.send(products(), rows[:1])
    second = crm.send(products(), rows)
    ids = [answer.told["_id"] for answer in second]
    assert first[0].told == {"_id": ids[0]}
    assert [crm.simulator.tenant.record("ProductObj", str(each))["product_code"] for each in ids] == ["A-1", "A-2"]  # type: ignore[index]
    assert products().tells == {"_id"}
