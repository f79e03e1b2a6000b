"""Import of schemes that read a form of Kingdee: the window out of the filter, the rest of it kept word for word."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenxiang_sync import KingdeeSource, Logic
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.kingdee.query import where_problems
from fenxiang_sync.qeasy.report import Fate
from tests.dagfile_fixtures import assert_formatted
from tests.kingdee_fixtures import MATERIAL, erp
from tests.qeasy_fixtures import LAST, Imported, imported, materials, node
from tests.steps_fixtures import manual

FILTER = "source.otherRequest.FilterString"


def source_of(made: Imported) -> KingdeeSource:
    source = made.declared().source
    assert isinstance(source, KingdeeSource)
    return source


def filtered_by(said: Any) -> tuple[KingdeeSource, list[tuple[Fate, str]]]:
    made = imported(materials(node("FNumber"), said=said))
    return source_of(made), made.told(FILTER)


def test_a_form_is_read_with_its_keys_its_page_size_and_the_names_that_rows_have() -> None:
    made = imported(materials(node("id", "{{FMATERIALID}}"), node("unit", "{{FBaseUnitId_FNumber}}")))
    assert_formatted(made.text)
    pipeline, source = made.declared(), source_of(made)
    assert (source.form, source.id, source.connection, source.page_size) == (MATERIAL, "FMATERIALID", "kingdee", 500)
    assert (pipeline.number, pipeline.mapping.key) == ("FNumber", "id")
    assert set(pipeline.mapping.paths) >= {"FMATERIALID", "FBaseUnitId.FNumber"}
    assert made.told("source.otherRequest.StartRow")[0][0] is Fate.CHANGED


def test_parameters_may_stand_in_request_and_names_be_given_by_the_keys_alone() -> None:
    document = materials(node("unit", "{{FBaseUnitId_FNumber}}"))
    document["source"]["request"] = document["source"].pop("otherRequest")
    made = imported({**document, "source": {**document["source"], "api": "ExecuteBillQuery"}})
    assert source_of(made).where == "FUseOrgId.FNumber = '100'"
    assert "FBaseUnitId.FNumber" in made.declared().mapping.paths


@pytest.mark.parametrize(
    ("said", "modified", "where"),
    [
        (LAST, "FModifyDate", ""),
        ("FApproveDate>='{{LAST_SYNC_TIME|datetime}}' and FDocumentStatus='C'", "FApproveDate", "FDocumentStatus='C'"),
        (f"(a = 1 or b = 'x or y') AND ({LAST})", "FModifyDate", "(a = 1 or b = 'x or y')"),
        ("FModifyDate >= {ts'{LAST_SYNC_TIME|datetime}'} and a between 1 and 2", "FModifyDate", "a between 1 and 2"),
        (f"{LAST} and FModifyDate < '{{{{CURRENT_TIME|datetime}}}}'", "FModifyDate", ""),
        ("FDate >= '2026-01-01' and FNumber like 'A%'", "FModifyDate", "FDate >= '2026-01-01' and FNumber like 'A%'"),
        ("", "FModifyDate", ""),
    ],
)
def test_the_bound_of_the_stamp_is_the_window_and_the_rest_is_where(said: Any, modified: str, where: str) -> None:
    source, told = filtered_by(said)
    assert (source.modified, source.where) == (modified, where)
    assert all(fate is not Fate.NONE for fate, _ in told)
    assert any("the window of the run" in each for _, each in told) == ("LAST_SYNC_TIME" in said)


def test_what_a_filter_reads_earlier_is_the_lookback_and_a_remedy_a_lookback_of_its_own() -> None:
    past = "(FModifyDate>='{{DAYS_AGO_3|datetime}}' or FCreateDate>='{{DAYS_AGO_2|datetime}}')"
    remedy = node("FilterString", f"{past} and FModifyDate<'{{{{DAYS_AGO_1|datetime}}}}'")
    document = materials(
        node("FNumber"),
        said="FModifyDate>='{{MINUTE_AGO_90|datetime}}'",
        omissionRemedy={"crontab": "15 2 * * *", "takeOverRequest": [remedy]},
    )
    made = imported(document)
    assert source_of(made).lookback == timedelta(minutes=90)
    assert [(each.schedule, each.over) for each in made.declared().lookbacks] == [("15 2 * * *", timedelta(days=3))]


@pytest.mark.parametrize(
    ("said", "names"),
    [
        (f"{LAST} and FApproveDate>='{{{{LAST_SYNC_TIME|datetime}}}}'", "FApproveDate>="),
        (f"{LAST} and {LAST}", "a second bound"),
        (f"{LAST} and FDate > GETDATE()", "FDate > GETDATE()"),
        (f"{LAST} and FID > {{{{MAX_DATA_ID}}}}", "FID >"),
        (f"{LAST} and FName = 'x'; drop table T", "drop table T"),
        (f"{LAST} and (a = 1", "its parentheses do not match"),
        ("_function CONCAT('FModifyDate>=', {{LAST_SYNC_TIME}})", "is an expression"),
        (f"{LAST} and a = '{'x' * 3000}'", "at most 2,000"),
    ],
)
def test_what_cannot_be_kept_of_a_filter_is_named(said: str, names: str) -> None:
    source, told = filtered_by(said)
    assert source.where == ""
    (left,) = [each for fate, each in told if fate is Fate.NONE]
    assert names in left
    assert "more is read than Qeasy reads" in left


@pytest.mark.parametrize(
    ("said", "modified", "other"),
    [
        (f"{LAST} or FCreateDate>='{{{{LAST_SYNC_TIME|datetime}}}}'", "FModifyDate", "FCreateDate"),
        (f"(FApproveDate>='{{{{LAST_SYNC_TIME|datetime}}}}' or ({LAST})) and a = 1", "FModifyDate", "FApproveDate"),
        ("FCreateDate>='{{LAST_SYNC_TIME}}' or FApproveDate>='{{LAST_SYNC_TIME}}'", "FCreateDate", "FApproveDate"),
    ],
)
def test_of_two_stamps_one_makes_the_window_and_the_other_is_told(said: str, modified: str, other: str) -> None:
    source, told = filtered_by(said)
    assert (source.modified, source.where) == (modified, "a = 1" if "a = 1" in said else "")
    assert any("the window of the run" in each for fate, each in told if fate is Fate.CHANGED)
    (left,) = [each for fate, each in told if fate is Fate.NONE]
    assert left.startswith(f"or {other}: one stamp makes a window")
    assert f"modified='{other}'" in left


def test_an_or_with_a_variable_among_other_things_is_told_for_what_is_read() -> None:
    source, told = filtered_by(f"{LAST} or FDocumentStatus = 'Z'")
    assert (source.modified, source.where) == ("FModifyDate", "")
    (left,) = [each for fate, each in told if fate is Fate.NONE]
    assert left.endswith("what moves FModifyDate is read")


@settings(max_examples=80)
@given(
    parts=st.lists(
        st.sampled_from(
            [LAST, "a = 'x'", "(b = 1)", "c in ('and', 'or')", "(d = 1 or e = 2)", "f between 1 and 2", "not g = 1",
             "h = '{{LAST_SYNC_TIME}}'", "i > GETDATE()", "(", ")", "'", "{{", "/*", "or", "and", ";"]
        ),
        max_size=6,
    )
)  # fmt: skip
def test_every_condition_of_a_filter_is_in_the_declaration_or_named(parts: list[str]) -> None:
    source, told = filtered_by(" and ".join(parts))
    assert not list(where_problems(source.where))
    said = source.where + " ".join(each for _, each in told)
    for part in set(parts) & {"a = 'x'", "c in ('and', 'or')", "i > GETDATE()", "f between 1 and 2"}:
        assert part in said or "…" in said  # a long one is shown shortened
    assert (LAST in parts) <= ("the window of the run" in said or "more is read" in said)


def condition(field: str, logic: str, value: Any = None) -> dict[str, Any]:
    return {"field": field, "logic": logic, "value": value}


def test_conditions_are_on_fields_of_the_document_and_the_others_are_where() -> None:
    asked = [
        condition("FDocumentStatus", "eq", "C"),
        condition("FBaseUnitId_FNumber", "in", "Pcs, O'Neill"),
        condition("FUseOrgId.FNumber", "eq", "100"),
        condition("FX.FQty", "egt", "5"),
        condition("FX.FNote", "neq", "x"),
        condition("FX.FPrice", "gt", "1.5"),
        condition("FX.FName", "notnull"),
    ]
    made = imported(materials(node("FNumber"), said=f"{LAST} and (a = 1 or b = 2)", condition=[asked]))
    [[kept]] = made.declared().conditions
    assert (kept.field, kept.logic, kept.value) == ("FDocumentStatus", Logic.EQ, "C")
    assert source_of(made).where == (
        "(a = 1 or b = 2) and FBaseUnitId.FNumber in ('Pcs','O''Neill') and FUseOrgId.FNumber = '100' and FX.FQty >= 5"
    )
    left = [said for fate, said in made.told("source.condition") if fate is Fate.NONE]
    assert [said.partition(":")[0] for said in left] == ["FX.FNote", "FX.FPrice", "FX.FName"]


def test_where_keeps_its_meaning_beside_a_condition() -> None:
    asked = [[condition("FUseOrgId.FNumber", "eq", "100")]]
    made = imported(materials(node("FNumber"), said="a = 1 and b = 2 or c = 3", condition=asked))
    assert source_of(made).where == "(a = 1 and b = 2 or c = 3) and FUseOrgId.FNumber = '100'"
    assert made.declared().conditions == ()
    assert not any("nothing left to ask" in said for _, said in made.told("source.condition"))


def test_of_several_lists_of_conditions_nothing_can_be_where() -> None:
    lists = [[condition("FDocumentStatus", "eq", "C"), condition("FUseOrgId.FNumber", "eq", "100")],
             [condition("FNumber", "like", "A")]]  # fmt: skip
    made = imported(materials(node("FNumber"), said=LAST, condition=lists))
    assert [[each.field for each in group] for group in made.declared().conditions] == [
        ["FDocumentStatus"],
        ["FNumber"],
    ]
    assert source_of(made).where == ""
    assert any(fate is Fate.NONE and "write it into where=…" in said for fate, said in made.told("source.condition"))


def test_what_kingdee_gives_in_another_way_is_told() -> None:
    lines = node("lines", "details", "array", children=[node("a", "{{details.a}}")])
    document = materials(
        node("number", "{{FNumber}}"),
        node("unit", "{{FBaseUnitId}}"),
        node("code", "{{FBaseUnitId.FNumber}}"),
        node("status", "{{life_status}}"),
        node("ms", "{{FModifyDate|timestamp_ms}}"),
        lines,
        other=[node("FieldX", "canary-value"), node("TopRowCount", "5"), node("OrderString", "FID ASC")],
        id="{{FBillNo}}-{{FSeq}}",
        number="FUseOrgId.FNumber",
        beatFlat=["FEntity"],
        pagination={"pageSize": "many"},
        target={"groupCalculate": {"headerGroup": ["FNumber"]}},
    )
    document["source"]["request"] += [
        node("客户", "FCustId"),
        node("e", "FEntity_FEntryID"),
        node("password", "canary"),
    ]
    made = imported(document)
    pipeline = made.declared()
    assert [entry.target for entry in pipeline.fields] == ["_id", "number", "code"]
    assert pipeline.number is None
    left = dict.fromkeys(key for fate, key, _ in made.report.findings if fate is Fate.NONE)
    assert set(left) >= {
        "source.id", "source.number", "source.beatFlat", "source.request.客户", "source.otherRequest.FieldX",
        "source.otherRequest.TopRowCount", "target.groupCalculate", "target.request.unit", "target.request.status",
        "target.request.ms", "target.request.lines",
    }  # fmt: skip
    assert any("id='FEntity_FEntryID'" in each for _, each in made.told("source.id"))
    assert "no number of rows" in made.told("source.pagination")[0][1]
    assert "canary" not in made.text + "\n".join(made.report.lines())


def test_a_number_that_no_form_has_and_unknown_words_about_pages_are_told() -> None:
    pages = {"pageSize": 500, "cursorField": "FID"}
    made = imported(materials(node("number", "{{FNumber}}"), number="name", pagination=pages))
    assert made.declared().number is None
    assert made.told("source.number")[0][0] is Fate.NONE
    assert made.told("source.pagination.cursorField")[0][0] is Fate.UNKNOWN


def test_names_of_the_response_are_taken_for_keys_where_there_are_no_others() -> None:
    document = materials(response=[{"field": "FNumber", "type": "string"}])
    document["source"]["request"] = []
    document["source"]["otherRequest"] = [node("FormId", "BD_MATERIAL"), node("FieldKeys", "", "array")]
    made = imported(document)
    assert [entry.target for entry in made.declared().fields] == ["_id", "FNumber"]
    assert "names no field keys" in made.told("source.request")[0][1]


def test_a_source_alone_goes_into_the_hub_with_all_that_it_reads() -> None:
    made = imported(materials(number="FNumber")["source"])
    assert [entry.target for entry in made.declared().fields] == [
        "FMATERIALID", "FNumber", "FName", "FBaseUnitId_FNumber", "FDocumentStatus", "FModifyDate",
    ]  # fmt: skip
    assert made.declared().mapping.key == "FMATERIALID"


names = st.sampled_from(
    ["FNumber", "FUseOrgId", "FUseOrgId.FNumber", "FUseOrgId_FNumber", "FUseOrgId.FNumber.FName", "life_status", "_id",
     "客户", "a b", "1x", "a.b.c.d.e.f.g", "FID", "FModifyDate", "last_modified_time", "total_num", "", "F" * 120]
) | st.text(max_size=20)  # fmt: skip


@settings(max_examples=80)
@given(said=st.lists(names, min_size=12, max_size=12))
def test_whatever_the_keys_are_the_file_declares_a_pipeline(said: list[str]) -> None:
    condition = [[{"field": said[0], "logic": "eq", "value": "C"}, {"field": said[1], "logic": "notnull"}]]
    document = materials(
        *(node(f"n{at}", f"{{{{{name}}}}}") for at, name in enumerate(said[2:8])),
        node("f", f"_function CONCAT({{{{{said[8]}}}}}, 'x')"),
        condition=condition,
        id=said[9],
        number=said[10],
        formatResponse=[{"old": said[0], "new": said[11], "format": "date"}],
    )
    document["source"]["request"] = [node(one, other) for one, other in zip(said[:6], said[6:], strict=True)]
    made = imported(document)
    assert made.declared().mapping.columns


@pytest.mark.parametrize(
    ("form", "says"), [(None, "names no form of Kingdee"), ("BD MATERIAL; drop", "no id of a form")]
)
def test_a_query_without_a_form_is_refused_with_a_sentence(form: str | None, says: str) -> None:
    document = materials(node("FNumber"))
    document["source"]["otherRequest"] = [node("FormId", form)] if form else []
    with pytest.raises(DeclarationError, match=says):
        imported(document)


def test_times_of_kingdee_are_read_as_the_clock_of_its_server() -> None:
    formats = [{"old": "FModifyDate", "new": "day", "format": "date"}]
    made = imported(materials(node("at", "{{FModifyDate|datetime}}"), node("day"), formatResponse=formats))
    record = {"_id": "1", "last_modified_time": 1, "FModifyDate": "2026-01-02T03:04:05.6", "FMATERIALID": 1}
    (row,) = made.declared().rows({**record, "FNumber": "M"})
    assert (row.content["at"], row.content["day"]) == ("2026-01-02 03:04:05", "2026-01-02")


def test_entries_that_are_read_by_their_own_key_are_records(tmp_path: Path) -> None:
    nodes = [node("entry", "{{FEntity_FEntryID}}"), node("bill", "{{FBillNo}}"), node("qty", "{{FQty}}", "number")]
    document = materials(*nodes, said=LAST, id="FEntity_FEntryID", number="FBillNo", target={"id": "entry"})
    keys = [("FBillNo", "FBillNo"), ("FEntity_FEntryID", "FEntity_FEntryID"), ("FQty", "FEntity_FQty")]
    document["source"]["request"] = [node(name, key) for name, key in keys]
    document["source"]["otherRequest"][-2:] = [node("FormId", "SAL_OUTSTOCK")]
    pipeline = imported(document, "outstock").declared()
    with erp(tmp_path) as kingdee:
        lines = [{"FEntryID": number, "FQty": number * 1.5} for number in (11, 12, 13)]
        kingdee.kingdee.edit("SAL_OUTSTOCK", "XS001", {"FEntity": lines})
        kingdee.later()
        assert kingdee.sync(pipeline, manual(full=True)).certified
        assert {row["entry"]: (row["bill"], float(row["qty"])) for row in kingdee.held(pipeline).values()} == {
            str(number): ("XS001", number * 1.5) for number in (11, 12, 13)
        }


def test_an_imported_form_is_read_through_to_the_hub_and_its_changes_after_it(tmp_path: Path) -> None:
    condition = [[{"field": "FDocumentStatus", "logic": "eq", "value": "C"}]]
    nodes = [node("number", "{{FNumber}}"), node("name", "{{FName}}"), node("unit", "{{FBaseUnitId_FNumber}}")]
    made = imported(materials(*nodes, condition=condition, target={"id": "number"}), "material")
    pipeline = made.declared()
    with erp(tmp_path, **{MATERIAL: 120}) as kingdee:
        report = kingdee.sync(pipeline, manual(full=True))
        bills = kingdee.kingdee.bills(MATERIAL)
        wanted = {
            bill.number: (bill.content["FName"], bill.content["FBaseUnitId"]["FNumber"])
            for bill in bills
            if bill.content["FUseOrgId"]["FNumber"] == "100"
        }
        assert {key: (row["name"], row["unit"]) for key, row in kingdee.held(pipeline).items()} == wanted
        assert report.certified
        assert 0 < len(wanted) < 120

        kingdee.later()
        number = min(wanted)
        kingdee.kingdee.edit(MATERIAL, number, {"FName": "新名"})
        kingdee.later()
        report = kingdee.sync(pipeline, manual())
        assert (report.delivered, kingdee.held(pipeline)[number]["name"]) == (1, "新名")
