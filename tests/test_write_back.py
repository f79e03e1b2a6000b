"""WriteBack: what cannot be meant is a sentence when it is declared, or when it is held against the object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from fenxiang_simulator.catalog import from_describe
from fenxiang_sync import (
    Condition,
    Explode,
    Field,
    Filter,
    HubTarget,
    KingdeeBatchSave,
    KingdeeSource,
    Lines,
    Logic,
    Lookup,
    Operator,
    Outcome,
    Pipeline,
    Refusal,
    RestTarget,
    Source,
    Standing,
    Told,
    WriteBack,
    integer,
    label,
    text,
)
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.hub import Reply
from fenxiang_sync.schema import Finding, findings, parents
from fenxiang_sync.source.description import ObjectDescription
from fenxiang_sync.steps.written import record_of, written

WORDS = {Outcome.DELIVERED: "synced", Outcome.DEAD_LETTER: "failed"}


def declared(gets: Any = None, *, back: Mapping[str, Any] | None = None, **words: Any) -> Pipeline:
    """A pipeline whose records get this back; `back` are further words of its WriteBack."""
    given: dict[str, Any] = {
        "name": "customer",
        "source": Source(object="AccountObj"),
        "fields": [Field("_id"), Field("name", "FName"), Field("account_no", "FNumber")],
        "target": KingdeeBatchSave(form="BD_Customer"),
        "key": "FNumber",
        "write_back": WriteBack(fields={"erp__c": Told("Number")} if gets is None else gets, **(back or {})),
    }
    return Pipeline(**given | words)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, r"write_back: fields=\{\}: give the fields of the CRM with what each gets"),
        (["erp__c"], r"fields=\['erp__c'\]: give the fields of the CRM"),
        ({"编码": Told("Number")}, "'编码' is no API name of a field; labels are no names"),
        ({"_id": Told("Id")}, "'_id' is kept by the CRM itself; write into a field of your own"),
        ({"owner": Told("Id")}, "'owner' is kept by the CRM itself"),
        ({"erp__c__r": Told("Id")}, "'erp__c__r' is what the CRM shows beside a field; name the field itself"),
        ({"erp__c": "@told.Number"}, r"fields\['erp__c'\]='@told.Number': give Told\('Number'\), Standing"),
        ({"erp__c": Told("")}, r"Told\(''\): give the name by which the target tells it"),
        ({"erp__c": Told("Number", convert="text")}, "give the converter itself"),  # type: ignore[arg-type]
        ({"erp__c": Told("Number", convert=label)}, "reads another field of a record; here is none"),
        ({"erp__c": Told("Nummer")}, "the target does not tell 'Nummer'; did you mean 'Number'?"),
        ({"erp__c": Told("FBillNo")}, "the target does not tell 'FBillNo'; it tells Id, Number"),
        ({"s__c": Standing({})}, "give the CRM's word for each outcome"),
        ({"s__c": Standing({"delivered": "1"})}, "'delivered' is not where a record ends up"),  # type: ignore[dict-item]
        ({"s__c": Standing({Outcome.STALE: "1"})}, "give Outcome.DELIVERED, Outcome.DEAD_LETTER, Outcome.IN_DOUBT"),
        ({"s__c": Standing({Outcome.DELIVERED: {1}})}, "Standing: label={1}"),
        ({"e__c": Refusal(characters=0)}, r"Refusal\(0\): give how many characters the field takes, 10 to 2,000"),
        (
            {"name": Refusal()},
            "'name' is read by this pipeline itself, so that each write-back would change what is sent",
        ),
    ],
)
def test_a_field_that_cannot_be_meant_is_a_sentence(fields: Any, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        declared(fields)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"write_back": {"erp__c": "Number"}}, r"write_back=\{'erp__c': 'Number'\}: give WriteBack\(fields="),
        ({"back": {"connection": "纷享"}}, "connection='纷享': give the id of an Airflow connection"),
        ({"back": {"trigger_workflow": "no"}}, "trigger_workflow='no': give True or False"),
        ({"back": {"trigger_approval": None}}, "trigger_approval=None: give True or False"),
        (
            {"target": HubTarget()},
            "the target does not tell 'Number'; it tells nothing of its rows; a REST target says",
        ),
        (
            {"conditions": [[Condition("erp__c", Logic.ISNULL)]]},
            r"'erp__c' is read by this pipeline itself.* write into a field that nothing of it reads",
        ),
        (
            {"source": Source(object="AccountObj", filters=[Filter("erp__c", Operator.IS)])},
            "'erp__c' is read by this pipeline itself",
        ),
        (
            {"source": KingdeeSource(form="BD_MATERIAL"), "number": None},
            r"what is read is no record of Fenxiang but BD_MATERIAL .*; nothing can be written back there",
        ),
        ({"number": "erp__c"}, "'erp__c' is read by this pipeline itself"),
        (
            {"explode": Explode("lines"), "fields": [Field("_id"), Field("lines.a", "a")]},
            "explode makes many rows of a record, which then has no answer of its own",
        ),
        (
            {"fields": [Field("_id"), Lines("lines", fields=[Field("a")], most=2)]},
            r"Lines\(most=…\) makes many rows of a record",
        ),
    ],
)
def test_what_does_not_go_with_the_pipeline_is_a_sentence(words: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        declared(**words)


def test_a_word_that_it_does_not_know_names_the_nearest() -> None:
    with pytest.raises(DeclarationError, match="WriteBack has no 'field'; did you mean 'fields'"):
        WriteBack(field={})


def test_a_target_whose_declaration_says_what_it_tells_may_be_asked_for_it() -> None:
    from fenxiang_sync.targets.results import ByKey, Item

    results = ByKey(path="rows", key="id", item=Item(ok="ok", tells={"erp_id": "data.id"}))
    target = RestTarget(connection="erp", path="/write", results=results)
    assert declared({"erp__c": Told("erp_id")}, target=target).write_back is not None


def test_it_is_frozen_and_compares_by_value_and_decides_no_row() -> None:
    back = WriteBack(fields={"erp__c": Told("Number")})
    assert back == WriteBack(fields={"erp__c": Told("Number")})
    with pytest.raises(FrozenInstanceError):
        back.connection = "other"  # type: ignore[misc]
    assert declared().config_hash == declared(write_back=None).config_hash


def test_the_page_of_the_pipeline_tells_what_is_written_back() -> None:
    page = declared({"erp__c": Told("Number"), "s__c": Standing(WORDS), "e__c": Refusal()}).describe_markdown()
    assert (
        "- **Writes back** (回写) `erp__c` ← Number that the target told; `s__c` ← where it stands: delivered "
        "'synced', dead_letter 'failed'; `e__c` ← why it was refused" in page
    )
    assert "DAG `customer.write_back`" in page
    assert "Writes back" not in declared(write_back=None).describe_markdown()


# What is written


def reply(outcome: Outcome | None, error: str | None = None, **told: Any) -> Reply:
    return Reply(source_id="65aa", serial=7, outcome=outcome, error=error, told=told)


EACH = {
    "n__c": Told("Number"),
    "i__c": Told("Id", convert=text),
    "s__c": Standing(WORDS),
    "e__c": Refusal(characters=20),
}


@pytest.mark.parametrize(
    ("said", "content"),
    [
        (
            reply(Outcome.DELIVERED, Id=7, Number="C1"),
            {"n__c": "C1", "i__c": "7", "s__c": "synced", "e__c": None},
        ),
        (reply(Outcome.DEAD_LETTER, "no  phone\n"), {"s__c": "failed", "e__c": "no phone"}),
        (reply(Outcome.DEAD_LETTER, "x" * 30, Number="C1"), {"n__c": "C1", "s__c": "failed", "e__c": "x" * 19 + "…"}),
        (reply(None), {"s__c": None, "e__c": None}),
        (reply(Outcome.IN_DOUBT), {"s__c": None, "e__c": None}),
    ],
)
def test_a_reply_becomes_a_row_of_the_record_it_is_about(said: Reply, content: dict[str, Any]) -> None:
    [row] = written(declared(EACH)).rows(record_of(said))
    assert (row.id, row.source_id, row.modified_ms) == ("65aa", "65aa", 7)
    assert row.content == {"_id": "65aa", **content}


def test_a_reply_that_says_nothing_is_no_row() -> None:
    assert written(declared()).rows(record_of(reply(Outcome.DELIVERED))) == []


def test_the_way_back_leads_to_the_object_that_was_read_and_makes_no_record() -> None:
    target = written(declared()).target
    assert target.describe() == "Fenxiang object AccountObj, by _id, updates only (connection fenxiang)"
    assert target.upserts
    other = written(declared(back={"connection": "fenxiang_writer", "trigger_workflow": True})).target
    assert other.connections == ("fenxiang_writer",)


# Held against the object

DESCRIBED = {
    "api_name": "AccountObj",
    "display_name": "客户",
    "fields": {
        "account_no": {"label": "编号", "type": "text"},
        "erp_number__c": {"label": "ERP编码", "type": "text"},
        "erp_id__c": {"label": "ERP内码", "type": "number"},
        "credit__c": {"label": "额度", "type": "formula"},
        "serial__c": {"label": "流水", "type": "auto_number"},
        "status__c": {
            "label": "状态",
            "type": "select_one",
            "options": [{"label": "已同步", "value": "synced"}, {"label": "失败", "value": "failed"}],
        },
    },
}


def found(fields: dict[str, Any]) -> list[str]:
    described = ObjectDescription.read(from_describe(DESCRIBED).describe())
    return [str(each) for each in findings(declared(fields), described) if each.serious]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"erp_numbr__c": Told("Number")}, "is written back, and is none of its fields, did you mean 'erp_number__c'?"),
        ({"credit__c": Told("Number")}, "is written back, and the CRM works it out itself (formula)"),
        ({"serial__c": Told("Number")}, "is written back, and the CRM works it out itself (auto_number)"),
        ({"status__c": Refusal()}, "is written back, and is select_one; why it was refused (200 characters) goes into"),
        ({"erp_id__c": Refusal()}, "is written back, and is number"),
        ({"erp_number__c": Refusal()}, "takes 100 characters, and 200 are written back; write Refusal(characters=100)"),
        (
            {"status__c": Standing({Outcome.DELIVERED: "已同步"})},
            "is written back as '已同步', which is none of its options; '已同步' is a label, its option is 'synced'",
        ),
    ],
)
def test_a_field_that_cannot_take_it_is_told_with_the_way_out(fields: dict[str, Any], said: str) -> None:
    [only] = found(fields)
    assert said in only


def test_what_fits_is_not_told() -> None:
    assert found({
        "erp_number__c": Told("Number"), "erp_id__c": Told("Id", convert=integer), "status__c": Standing(WORDS),
    }) == []  # fmt: skip


def test_a_look_up_of_what_the_target_of_that_pipeline_does_not_tell_is_told() -> None:
    def order(find: str) -> list[Finding]:
        looked_up = Lookup("FCust", pipeline="customer", find=find, where={"_id": "account_id"})
        pipeline = Pipeline(
            name="order", source=Source(object="SalesOrderObj"), fields=[Field("_id"), looked_up], target=HubTarget()
        )
        return list(parents(pipeline, {"customer": declared()}))

    assert order("@told.Number") == []
    [only] = order("@told.Nummer")
    assert str(only) == "'FCust': the target of pipeline 'customer' does not tell 'Nummer'; it tells Id, Number"
