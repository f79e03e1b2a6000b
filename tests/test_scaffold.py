"""Scaffold: the file that `fenxiang new` writes is a declaration that holds, whatever the object is called."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fenxiang_simulator import catalog
from fenxiang_sync import Pipeline, scaffold
from fenxiang_sync.errors import RefusedError
from fenxiang_sync.scaffold import Scaffold, pipeline_name
from fenxiang_sync.source.description import ObjectDescription
from tests.dagfile_fixtures import assert_formatted


def declared(text: str) -> Pipeline:
    names: dict[str, Any] = {}
    exec(compile(text, "made.py", "exec"), names)
    (found,) = [each for each in names.values() if isinstance(each, Pipeline)]
    return found


def of(document: Any, name: str = "made") -> str:
    return Scaffold(ObjectDescription.read(document), name).text()


@pytest.mark.parametrize("name", sorted(catalog.demo()))
def test_the_file_for_every_object_of_the_demo_company_holds_and_is_formatted(name: str) -> None:
    described = ObjectDescription.read(catalog.demo()[name].describe())
    text = Scaffold(described, pipeline_name(name)).text()
    made = declared(text)
    assert (made.name, made.source.object, made.title) == (pipeline_name(name), name, described.label)
    assert_formatted(text)


def test_each_type_of_field_gets_a_converter_that_takes_what_fenxiang_sends_for_it() -> None:
    types = {"a": "currency", "b": "date", "c": "date_time", "d": "true_or_false", "e": "select_many", "f": "employee"}
    fields = {name: {"label": name, "type": kind, "decimal_places": 2} for name, kind in types.items()}
    made = declared(of({"api_name": "x__c", "display_name": "对象", "fields": fields}))
    row = made.mapping.row(
        {
            "_id": "1",
            "last_modified_time": 1790000001456,
            "a": "95.0",
            "b": 1790179200000,
            "c": 1696161600000,
            "d": True,
        }
        | {"e": ["optA"], "f": ["1000"], "f__r": {"id": "1000", "name": "王芳"}}
    )
    assert row.content == {
        "_id": "1",
        "a": row.content["a"],
        "b": "2026-09-24",
        "c": "2023-10-01T20:00:00+08:00",
        "d": True,
        "e": ["optA"],
        "f": "1000",
        "f_label": "王芳",
        "modified_at": "2026-09-21T22:13:21.456000+08:00",
    }
    assert str(row.content["a"]) == "95.00"


@pytest.mark.parametrize(
    ("object_name", "name"),
    [
        ("object_8dxRj__c", "object_8dx_rj"),
        ("object_12__c", "object_12"),
        ("sync_dag__c", "sync_dag"),
        ("Field__c", "field"),
        ("text__c", "text"),
    ],
)
def test_any_name_of_an_object_gives_a_pipeline_that_is_declared(object_name: str, name: str) -> None:
    """Fenxiang names custom objects object_ and five letters or digits, unless somebody chooses a name."""
    text = of({"api_name": object_name, "fields": {"f__c": {"type": "text"}}}, pipeline_name(object_name))
    assert declared(text).name == name
    assert_formatted(text)


def test_a_label_gets_a_path_that_no_field_of_the_object_has() -> None:
    names = ["level", "level_label", "level_label_2", "modified_at"]
    fields = {name: {"label": name, "type": "select_one" if name == "level" else "text"} for name in names}
    made = declared(of({"api_name": "x__c", "fields": fields}))
    targets = [entry.target for entry in made.fields]
    assert targets == ["_id", "level", "level_label_3", "level_label", "level_label_2", "modified_at", "modified_at_2"]


@given(
    label=st.text(max_size=200),
    field_label=st.text(max_size=200),
    option=st.text(max_size=40),
    name=st.sampled_from(["x__c", "PrintObj", "class__c", "2x__c", "dag__c"]),
)
def test_labels_and_options_of_any_text_cannot_break_out_of_the_file(
    label: str, field_label: str, option: str, name: str
) -> None:
    fields = {"f__c": {"label": field_label, "type": "select_one", "options": [{"value": option, "label": label}]}}
    document = {"api_name": name if name[0].isalpha() else f"o{name}", "display_name": label, "fields": fields}
    made = declared(of(document))
    assert [entry.target for entry in made.fields] == ["_id", "f__c", "f__c_label", "modified_at"]


def test_a_field_whose_name_is_none_is_left_out() -> None:
    made = declared(
        of({"api_name": "x__c", "fields": {'"), exit(), Field("': {"type": "text"}, "ok__c": {"type": "text"}}})
    )
    assert [entry.target for entry in made.fields] == ["_id", "ok__c", "modified_at"]


@pytest.mark.parametrize("document", [None, [], {}, {"api_name": "x__c"}, {"api_name": 'x"', "fields": {}}])
def test_what_is_no_description_is_told(document: Any) -> None:
    with pytest.raises(RefusedError, match="no description of an object"):
        ObjectDescription.read(document)


def test_the_fields_that_few_targets_want_are_named_where_they_are_left_out() -> None:
    text = of(catalog.demo()["AccountObj"].describe())
    assert "Left out" in text
    assert "relevant_team" in text.partition('"""\n\nfrom')[0]
    assert scaffold.OF_THE_ENGINE.isdisjoint({entry.target for entry in declared(text).fields} - {"_id"})
