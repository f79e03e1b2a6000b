"""KingdeeSource as it is declared: what cannot be meant is a sentence, and so is what only Fenxiang has."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fenxiang_sync import (
    Condition,
    Explode,
    Field,
    HubTarget,
    KingdeeSource,
    Lines,
    Logic,
    Pipeline,
    Rate,
    Source,
    label,
)
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.lineage import Lineage
from tests.kingdee_fixtures import material


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"form": "BD MATERIAL"}, "form='BD MATERIAL': give the id of a form of Kingdee, as in 'BD_MATERIAL'"),
        ({"form": 7}, "form=7: give the id"),
        ({"id": "FMATERIALID; drop"}, "id='FMATERIALID; drop': give a field key of the form itself"),
        ({"modified": "FUser.FModifyDate"}, "modified='FUser.FModifyDate': give a field key of the form itself"),
        ({"connection": "a b"}, "connection='a b': give the id of an Airflow connection"),
        ({"timezone": "Europe/Berlin"}, "timezone: Europe/Berlin has summer time"),
        ({"timezone": "Shanghai"}, "timezone: "),
        ({"where": "1 = 1) or (1 = 1"}, "its parentheses do not match"),
        ({"settle": timedelta(milliseconds=999)}, "settle=0:00:00.999000: stamps are whole seconds, so an edit in the"),
        ({"settle": 5}, "settle=5: give a timedelta"),
        ({"lookback": timedelta(seconds=-1)}, "lookback=-1 day, 23:59:59 is negative"),
        ({"page_size": 0}, "page_size=0: Kingdee gives 1 to 10,000 rows a query"),
        ({"page_size": 10_001}, "page_size=10001"),
        ({"segment_records": 10}, "segment_records=10: a segment holds a page (2000) or more"),
        ({"rate": 100}, "rate=100: give Rate(calls=…, per_seconds=…)"),
    ],
)
def test_what_cannot_be_meant_is_named_with_the_way_out(words: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        material(source=words)
    assert f"source: {says}" in str(raised.value) or says in str(raised.value)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("object", "KingdeeSource has no 'object': a form of Kingdee is form='BD_MATERIAL'"),
        ("filters", "KingdeeSource has no 'filters': Filter is Fenxiang's; give where=, a FilterString of Kingdee"),
        ("details", "KingdeeSource has no 'details': a bill query gives a row for each entry"),
        ("check_fields", "KingdeeSource has no 'check_fields': before each run Kingdee is always asked"),
        ("drift", "KingdeeSource has no 'drift': Kingdee does not describe its forms"),
        ("bounds", "KingdeeSource has no 'bounds': Kingdee takes both ends of a window"),
        ("page_sise", "KingdeeSource has no 'page_sise'; did you mean 'page_size'?"),
    ],
)
def test_a_word_that_only_fenxiangs_source_has_says_what_kingdee_has_instead(word: str, says: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        KingdeeSource(form="BD_MATERIAL", **{word: None})
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"number": "name"}, "number='name' is no field of Kingdee; give number='FNumber' (base data), 'FBillNo'"),
        (
            {"fields": [Field("_id"), Field("version", "v")]},
            "'version' is a field of Fenxiang; a status of Kingdee is a",
        ),
        ({"fields": [Field("_id"), Field("FLines.0.FQty", "q")]}, "'FLines.0.FQty' is no field key of Kingdee"),
        ({"fields": [Field("_id"), Field("FUnit", convert=label)]}, "Kingdee sends no 'FUnit__r' with it"),
        (
            {"fields": [Field("_id"), Field("FUnit"), Field("FUnit.FNumber", "n")]},
            "'FUnit' is read as a value and, for",
        ),
        ({"fields": [Field("_id"), Field("FModifyDate.FYear", "y")]}, "'FModifyDate' is read as a value and, for"),
        (
            {"fields": [Field("_id"), Lines("FEntity", "lines", fields=[Field("FQty")])]},
            "a row for each entry; read those with",
        ),
        (
            {"fields": [Field("_id"), Field("FEntity.FQty", "q")], "explode": Explode("FEntity")},
            "explode: a bill query gives a row for each entry",
        ),
        ({"source": "BD_MATERIAL"}, "give Source(object=…), or KingdeeSource(form=…)"),
    ],
)
def test_a_mapping_that_kingdee_cannot_serve_is_named_when_it_is_declared(words: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {
        "name": "material",
        "source": KingdeeSource(form="BD_MATERIAL", id="FMATERIALID"),
        "fields": [Field("_id")],
        "target": HubTarget(),
        "number": None,
    }
    with pytest.raises(DeclarationError) as raised:
        Pipeline(**(given | words))
    assert says in str(raised.value)


def test_what_is_asked_for_are_whole_keys_each_once() -> None:
    pipeline = material(
        fields=[Field("_id"), Field("FNumber", "n"), Field("FBaseUnitId.FNumber", "unit"), Field("FBaseUnitId.FName")],
        conditions=[[Condition("FForbidStatus", Logic.EQ, "A")]],
    )
    keys = ("_id", "last_modified_time", "FNumber", "FBaseUnitId.FNumber", "FBaseUnitId.FName", "FForbidStatus")
    assert pipeline.asked == pipeline.reads == keys


def test_all_that_decides_which_rows_are_read_decides_the_hash() -> None:
    changed: list[dict[str, Any]] = [
        {}, {"form": "BD_UNIT"}, {"id": "FID"}, {"modified": "FApproveDate"}, {"where": "FUseOrgId = 1"},
        {"connection": "other"}, {"timezone": "UTC"},
    ]  # fmt: skip
    assert len({material(source=words).config_hash for words in changed}) == len(changed)
    same: list[dict[str, Any]] = [{"page_size": 10}, {"rate": Rate(calls=1, per_seconds=1)}, {"lookback": timedelta(0)}]
    assert {material(source=words).config_hash for words in same} == {material().config_hash}


def test_the_page_of_the_dag_says_form_connection_and_filter() -> None:
    page = material(source={"where": "FUseOrgId.FNumber = '100'"}).describe_markdown()
    assert "**Source** BD_MATERIAL (form of Kingdee, connection `kingdee`) where `FUseOrgId.FNumber = '100'`" in page
    assert "| `unit` | `FBaseUnitId.FNumber` |" in page


def test_lineage_tells_the_filter_of_all_columns() -> None:
    told = Lineage.of(material(source={"where": "FUseOrgId.FNumber = '100'"})).to_json()
    assert (told["object"], told["filters"]) == ("BD_MATERIAL", ["FUseOrgId.FNumber = '100'"])


def test_a_source_of_fenxiang_hashes_as_ever() -> None:
    """The certificates of a pipeline stand while its declaration does."""
    pipeline = Pipeline(
        name="a", source=Source(object="AccountObj"), fields=[Field("_id"), Field("name")], target=HubTarget()
    )  # fmt: skip
    assert pipeline.config_hash == "3b5d7ef23aad03aa"
