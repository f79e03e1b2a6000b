"""KingdeeBatchSave against the simulated Kingdee, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fenxiang_simulator.targets import Fault
from fenxiang_sync import Condition, Field, Logic, Pipeline
from fenxiang_sync.errors import DeclarationError, RefusedError, SetupError, ThrottledError, TokenError, TransientError
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.kingdee import KingdeeBatchSave, Operation
from fenxiang_sync.targets.protocol import Answer, Delivery, Removal, Remover, Target, Teller, removals_of
from tests.steps_fixtures import bench, manual, quick
from tests.targets_fixtures import Stand, deliveries, row, stand

FORM = "BD_Customer"
STAMP = "F_FX_STAMP"


@pytest.fixture
def simulated() -> Iterator[Stand]:
    with stand() as made:
        yield made


def customers(count: int, *, bad: frozenset[int] = frozenset(), **content: Any) -> list[Row]:
    """Rows with a number; those at the places `bad` lack a name."""
    return [
        row(place, FNumber=f"C{place:03d}", **({} if place in bad else {"FName": f"客户 {place}"}), **content)
        for place in range(count)
    ]


def later(rows: list[Row], **content: Any) -> list[Row]:
    """The rows as a change made them."""
    return [
        replace(one, modified_ms=one.modified_ms + 60_000, content={**one.content, **content}, hash=f"{one.hash}+")
        for one in rows
    ]


def numbers(simulated: Stand) -> list[str]:
    return [bill.number for bill in simulated.targets.kingdee.bills(FORM)]


def removal(one: Row) -> Removal:
    return Removal(
        id=one.id, source_id=one.source_id, number=None, modified_ms=one.modified_ms, version=1, content=one.content,
        why="voided",
    )  # fmt: skip


def remove(simulated: Stand, target: KingdeeBatchSave, rows: list[Row], policy: DeletePolicy) -> list[Answer]:
    with target.open(simulated.reach) as sender:
        assert isinstance(sender, Remover)
        return list(sender.remove([removal(one) for one in rows], policy=policy))


def test_rows_become_documents_and_a_change_goes_to_the_same_document(simulated: Stand) -> None:
    target = KingdeeBatchSave(form=FORM)
    rows = customers(3)
    assert deliveries(simulated.send(target, rows)) == [Delivery.DELIVERED] * 3
    assert deliveries(simulated.send(target, later(rows, FName="改名"))) == [Delivery.DELIVERED] * 3
    bills = simulated.targets.kingdee.bills(FORM)
    assert [(bill.number, bill.content["FName"], bill.saves) for bill in bills] == [
        (f"C{place:03d}", "改名", 2) for place in range(3)
    ]
    assert simulated.targets.kingdee.requests == {"login": 2, "ExecuteBillQuery": 2, "BatchSave": 2}


def test_what_goes_with_the_rows_is_said_in_the_declaration(simulated: Stand) -> None:
    seen: list[Any] = []

    class Listener:
        def handle(self, request: Any) -> None:
            if "BatchSave" in request.path:
                seen.append((request.json(), dict(request.headers)))

    with stand(Listener()) as listening:
        target = KingdeeBatchSave(form=FORM, settings={"IsVerifyBaseDataField": True}, stamp_field=STAMP)
        listening.send(target, customers(1))
    ((body, headers),) = seen
    assert (body["formid"], body["data"]["IsVerifyBaseDataField"]) == (FORM, True)
    assert body["data"]["Model"][0] | {STAMP: "1700000000000.1"} == body["data"]["Model"][0]
    assert headers["Cookie"] == "kdservice-sessionid=demo-session-000001"


def test_each_refused_row_has_the_field_and_the_reason_of_kingdee_and_the_others_are_saved(simulated: Stand) -> None:
    simulated.targets.knobs.kingdee_required = {FORM: ["FName"]}
    answers = simulated.send(KingdeeBatchSave(form=FORM), customers(5, bad=frozenset({1, 4})))
    assert [answer.delivery is Delivery.REFUSED for answer in answers] == [False, True, False, False, True]
    assert answers[1].reason == "FName: 字段“FName”是必填项"
    assert numbers(simulated) == ["C000", "C002", "C003"]
    assert simulated.targets.kingdee.requests["BatchSave"] == 1


def test_a_call_that_is_refused_as_a_whole_is_halved(simulated: Stand) -> None:
    simulated.targets.knobs.kingdee_max_rows = 3
    assert deliveries(simulated.send(KingdeeBatchSave(form=FORM), customers(8))) == [Delivery.DELIVERED] * 8
    assert sorted(numbers(simulated)) == [f"C{place:03d}" for place in range(8)]


@pytest.mark.parametrize("upserts", [True, False])
@pytest.mark.parametrize("fault", list(Fault))
def test_whatever_goes_wrong_once_each_new_document_is_there_once(
    simulated: Stand, fault: Fault, upserts: bool
) -> None:
    simulated.targets.knobs.kingdee_unique = upserts
    simulated.targets.faults.inject(fault, on="BatchSave")
    answers = simulated.send(KingdeeBatchSave(form=FORM, upserts=upserts), customers(4))
    unseen = fault in (Fault.DROP_BEFORE, Fault.HANG_BEFORE) and not upserts
    assert deliveries(answers) == [Delivery.UNKNOWN if unseen else Delivery.DELIVERED] * 4
    assert len(numbers(simulated)) == len(set(numbers(simulated)))
    assert deliveries(answers).count(Delivery.DELIVERED) == len(numbers(simulated))


@pytest.mark.parametrize("fault", [Fault.DROP_AFTER_COMMIT, Fault.HANG_AFTER_COMMIT, Fault.ERROR_AFTER_COMMIT])
@pytest.mark.parametrize(("stamp", "told"), [(STAMP, Delivery.DELIVERED), ("", Delivery.UNKNOWN)])
def test_whether_a_change_arrived_is_told_by_the_stamp_and_in_doubt_without(
    simulated: Stand, fault: Fault, stamp: str, told: Delivery
) -> None:
    target = KingdeeBatchSave(form=FORM, stamp_field=stamp)
    simulated.send(target, customers(2))
    simulated.targets.faults.inject(fault, on="BatchSave")
    assert deliveries(simulated.send(target, later(customers(2), FName="改名"))) == [told] * 2
    assert simulated.targets.kingdee.requests["BatchSave"] == 2


def test_a_lost_session_is_opened_again_once(simulated: Stand) -> None:
    with KingdeeBatchSave(form=FORM).open(simulated.reach) as sender:
        sender.send(customers(1))
        simulated.targets.kingdee.end_sessions()
        assert deliveries(sender.send(customers(2)[1:])) == [Delivery.DELIVERED]
    assert simulated.targets.kingdee.requests["login"] == 2
    simulated.targets.faults.inject(Fault.TOKEN_REFUSED, on="BatchSave", times=2)
    with pytest.raises(TokenError, match=r"BatchSave.*会话信息已丢失.*a new token was refused as well"):
        simulated.send(KingdeeBatchSave(form=FORM), customers(1))


def test_wrong_credentials_and_missing_fields_of_the_connection_say_the_way_out(simulated: Stand) -> None:
    good = simulated.connections["kingdee"]
    simulated.connections["kingdee"] = {**good, "password": "wrong"}
    with pytest.raises(RefusedError, match=r"登录失败.*check login \(integration user.*password \(secret of the app"):
        simulated.send(KingdeeBatchSave(form=FORM), customers(1))
    simulated.connections["kingdee"] = {**good, "extra": {"app_id": "x"}}
    with pytest.raises(SetupError, match="connection 'kingdee' has no extra acct_id"):
        simulated.send(KingdeeBatchSave(form=FORM), customers(1))


def test_a_throttle_is_handed_back_with_its_time(simulated: Stand) -> None:
    simulated.targets.knobs.kingdee_calls = 2
    with pytest.raises(ThrottledError) as caught:
        simulated.send(KingdeeBatchSave(form=FORM, patience=1), customers(1))
    assert caught.value.retry_after == pytest.approx(60, abs=2)
    assert numbers(simulated) == []


def test_documents_are_taken_as_far_as_declared(simulated: Stand) -> None:
    for operation, status in ((Operation.SAVE, "A"), (Operation.SUBMIT, "B"), (Operation.AUDIT, "C")):
        simulated.targets.kingdee.truncate(FORM)
        answers = simulated.send(KingdeeBatchSave(form=FORM, operation=operation), customers(2))
        assert deliveries(answers) == [Delivery.DELIVERED] * 2
        assert [bill.status for bill in simulated.targets.kingdee.bills(FORM)] == [status] * 2


@pytest.mark.parametrize("fault", [Fault.DROP_AFTER_COMMIT, Fault.ERROR_AFTER_COMMIT, Fault.DROP_BEFORE])
@pytest.mark.parametrize("on", ["Submit", "Audit"])
def test_a_lost_answer_of_submit_or_audit_is_looked_up_and_not_repeated(
    simulated: Stand, on: str, fault: Fault
) -> None:
    simulated.targets.faults.inject(fault, on=on)
    answers = simulated.send(KingdeeBatchSave(form=FORM, operation=Operation.AUDIT), customers(3))
    assert deliveries(answers) == [Delivery.DELIVERED] * 3
    assert [bill.status for bill in simulated.targets.kingdee.bills(FORM)] == ["C"] * 3
    assert simulated.targets.kingdee.requests[on] == (1 if fault.commits else 2)


def test_a_change_to_an_audited_document_is_refused_in_the_words_of_kingdee(simulated: Stand) -> None:
    target = KingdeeBatchSave(form=FORM, operation=Operation.AUDIT)
    simulated.send(target, customers(1))
    (answer,) = simulated.send(target, later(customers(1), FName="改名"))
    assert (answer.delivery, answer.reason) == (Delivery.REFUSED, "FDocumentStatus: 单据已提交或已审核，不能修改")


def test_deleted_and_forbidden_documents_and_those_that_are_gone_already(simulated: Stand) -> None:
    target = KingdeeBatchSave(form=FORM, forbids=True)
    simulated.send(target, customers(3))
    assert deliveries(remove(simulated, target, customers(1), DeletePolicy.FLAG)) == [Delivery.DELIVERED]
    assert [bill.forbidden for bill in simulated.targets.kingdee.bills(FORM)] == [True, False, False]
    simulated.targets.faults.inject(Fault.ERROR_AFTER_COMMIT, on="Delete")
    assert deliveries(remove(simulated, target, customers(2), DeletePolicy.DELETE)) == [Delivery.DELIVERED] * 2
    assert numbers(simulated) == ["C002"]
    assert deliveries(remove(simulated, target, customers(2), DeletePolicy.DELETE)) == [Delivery.DELIVERED] * 2
    assert simulated.targets.kingdee.requests["Delete"] == 1


def enabled_customers() -> Pipeline:
    return Pipeline(
        name="customer", source=quick("WarehouseObj"), key="FNumber",
        fields=[Field("number", "FNumber"), Field("name", "FName")],
        conditions=[[Condition("is_enable", Logic.EQ, "1")]],
        target=KingdeeBatchSave(form=FORM, forbids=True, upserts=True),
    )  # fmt: skip


def test_a_document_is_allowed_again_when_its_record_comes_back_and_what_people_forbade_stays(tmp_path: Path) -> None:
    with bench(tmp_path, WarehouseObj=3) as crm:
        kingdee, tenant = crm.simulator.targets.kingdee, crm.simulator.tenant
        ids = sorted(tenant.records("WarehouseObj"))
        numbers_of = [tenant.records("WarehouseObj")[each]["number"] for each in ids[:2]]

        def save(**words: str) -> None:
            for record_id in ids[:2]:
                tenant.update("WarehouseObj", record_id, words)
            crm.simulator.clock.advance(60)
            crm.sync(enabled_customers())

        save(is_enable="1")
        tenant.update("WarehouseObj", ids[0], {"is_enable": "2"})
        crm.simulator.clock.advance(60)
        assert crm.sync(enabled_customers()).removed == 1
        bills = [next(bill for bill in kingdee.bills(FORM) if bill.number == f"{number}") for number in numbers_of]
        bills[1].forbidden = True
        assert [bill.forbidden for bill in bills] == [True, True]
        save(is_enable="1", name="改名")
        assert [bill.forbidden for bill in bills] == [False, True]
        assert [bill.content["FName"] for bill in bills] == ["改名", "改名"]


def test_a_document_that_kingdee_will_not_allow_again_says_why(simulated: Stand) -> None:
    target = KingdeeBatchSave(form=FORM, forbids=True)
    simulated.send(target, customers(2))
    remove(simulated, target, customers(2), DeletePolicy.FLAG)
    simulated.targets.knobs.kingdee_enables = False
    back = [replace(each, returns=True) for each in later(customers(1), FName="改名")]
    (answer,) = simulated.send(target, back)
    assert (answer.delivery, answer.reason) == (
        Delivery.REFUSED, "Kingdee has the document, and refused Enable: 没有反禁用权限",
    )  # fmt: skip


@pytest.mark.parametrize("policy", [DeletePolicy.FLAG, DeletePolicy.DELETE])
def test_another_key_leaves_the_documents_that_its_rows_are(tmp_path: Path, policy: DeletePolicy) -> None:
    """The rows of the key that was are given no more, and what they made is what those of the new key are."""

    def customer(key: str) -> Pipeline:
        return Pipeline(
            name="customer", source=quick("WarehouseObj"), key=key, delete_policy=policy,
            fields=[Field("_id", "FOldId"), Field("number", "FNumber"), Field("name", "FName")],
            target=KingdeeBatchSave(form=FORM, number_field=key, forbids=True, upserts=True),
        )  # fmt: skip

    with bench(tmp_path, WarehouseObj=4) as crm:
        crm.sync(customer("FOldId"))
        assert crm.sync(customer("FNumber"), manual(full=True, confirmed=4)).removed == 4
        assert [bill.forbidden for bill in crm.simulator.targets.kingdee.bills(FORM)] == [False] * 4


def test_rows_that_are_told_apart_by_another_field_than_their_documents_are_refused_when_declared() -> None:
    def customer(**words: Any) -> Pipeline:
        fields = [Field("_id"), Field("number", "FNumber")]
        return Pipeline(name="customer", source=quick("WarehouseObj"), fields=fields, **words)

    with pytest.raises(DeclarationError, match=r"the rows' id is '_id', .* by 'FNumber'; say key='FNumber'"):
        customer(target=KingdeeBatchSave(form=FORM))
    assert customer(target=KingdeeBatchSave(form=FORM), key="FNumber")
    assert customer(target=KingdeeBatchSave(form=FORM, look_up=False)), "its rows bring the ids of their documents"


def test_a_document_that_kingdee_will_not_delete_says_why(simulated: Stand) -> None:
    target = KingdeeBatchSave(form=FORM, operation=Operation.AUDIT)
    simulated.send(target, customers(1))
    (answer,) = remove(simulated, target, customers(1), DeletePolicy.DELETE)
    assert (answer.delivery, answer.reason) == (
        Delivery.REFUSED, "Kingdee has the document, and refused Delete: 已提交或已审核的单据不能删除",
    )  # fmt: skip


def test_a_row_without_a_number_is_refused_without_a_call(simulated: Stand) -> None:
    (answer,) = simulated.send(KingdeeBatchSave(form=FORM), [row(1, FName="x")])
    assert answer.delivery is Delivery.REFUSED
    assert "no FNumber" in answer.reason
    assert not simulated.targets.kingdee.requests


def test_a_number_that_is_there_twice_ends_the_run_with_the_way_out(simulated: Stand) -> None:
    simulated.targets.knobs.kingdee_unique = False
    blind = KingdeeBatchSave(form=FORM, look_up=False)
    for org in ("100", "200"):
        simulated.send(blind, customers(1, FOrg={"FNumber": org}))
    with pytest.raises(RefusedError, match=r"'C000' more than once; say with where="):
        simulated.send(KingdeeBatchSave(form=FORM), customers(1))
    answers = simulated.send(KingdeeBatchSave(form=FORM, where="FOrg.FNumber='100'"), customers(1))
    assert deliveries(answers) == [Delivery.DELIVERED]
    assert [bill.saves for bill in simulated.targets.kingdee.bills(FORM)] == [2, 1]


def test_a_quote_in_a_number_names_no_other_document(simulated: Stand) -> None:
    odd = [row(1, FNumber="C'1"), row(2, FNumber="x') or ('1'='1")]
    for _ in range(2):
        assert deliveries(simulated.send(KingdeeBatchSave(form=FORM), odd)) == [Delivery.DELIVERED] * 2
    assert numbers(simulated) == ["C'1", "x') or ('1'='1"]


def test_a_look_up_that_fails_sends_nothing(simulated: Stand) -> None:
    simulated.targets.faults.inject(Fault.DROP_BEFORE, on="ExecuteBillQuery", times=4)
    with pytest.raises(TransientError, match="ExecuteBillQuery"):
        simulated.send(KingdeeBatchSave(form=FORM), customers(1))
    assert "BatchSave" not in simulated.targets.kingdee.requests


def test_it_is_a_target_on_one_connection_that_can_delete() -> None:
    target = KingdeeBatchSave(form=FORM)
    assert isinstance(target, Target)
    assert list(target.connections) == ["kingdee"]
    assert removals_of(target) == {DeletePolicy.DELETE}


@pytest.mark.parametrize(
    "wrong",
    [
        {"form": ""},
        {"form": "BD Customer"},
        {"form": FORM, "number_field": "FNumber='x' or 1"},
        {"form": FORM, "operation": Operation.AUDIT, "look_up": False},
        {"form": FORM, "sample": 10},
    ],
)
def test_a_declaration_that_cannot_be_meant_names_the_value(wrong: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=r"KingdeeBatchSave (form|number_field|operation|sample)="):
        KingdeeBatchSave(**wrong)


IDS = [{"Id": 100_001 + place, "Number": f"C{place:03d}"} for place in range(3)]


def test_it_tells_the_id_and_the_number_of_each_document_that_it_took(simulated: Stand) -> None:
    target = KingdeeBatchSave(form=FORM)
    assert [answer.told for answer in simulated.send(target, customers(3))] == IDS
    answers = simulated.send(target, later(customers(3)))
    assert [answer.told for answer in answers] == IDS
    assert target.tells == {"Id", "Number"}


def test_a_refused_document_tells_nothing(simulated: Stand) -> None:
    simulated.targets.knobs.kingdee_required[FORM] = ["FName"]
    answers = simulated.send(KingdeeBatchSave(form=FORM), customers(2, bad=frozenset({0})))
    assert [answer.told for answer in answers] == [{}, {"Id": 100_001, "Number": "C001"}]


@pytest.mark.parametrize("operation", list(Operation))
def test_of_a_document_whose_answer_was_lost_it_is_asked(simulated: Stand, operation: Operation) -> None:
    simulated.targets.faults.inject(Fault.DROP_AFTER_COMMIT, on="BatchSave")
    answers = simulated.send(KingdeeBatchSave(form=FORM, operation=operation), customers(2))
    assert deliveries(answers) == [Delivery.DELIVERED] * 2
    assert [answer.told for answer in answers] == IDS[:2]


def test_it_can_be_asked_what_it_tells(simulated: Stand) -> None:
    with KingdeeBatchSave(form=FORM).open(simulated.reach) as sender:
        assert isinstance(sender, Teller)
        sender.send(customers(1))
        assert sender.tell(customers(2)) == [IDS[0], {}]


def test_a_row_that_is_there_is_delivered_though_kingdee_cannot_be_asked_what_it_tells(simulated: Stand) -> None:
    target = KingdeeBatchSave(form=FORM, tries=1)
    simulated.targets.faults.inject(Fault.DROP_AFTER_COMMIT, on="BatchSave")
    # The look before the write and the one after its loss succeed; the one that asks what it tells does not.
    simulated.targets.faults.inject(None, None, Fault.HTML, on="ExecuteBillQuery")
    [answer] = simulated.send(target, customers(1))
    assert (answer.delivery, answer.told) == (Delivery.DELIVERED, {})
