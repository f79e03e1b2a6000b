"""Metadata of a scheme: what is taken for one, and a sentence for anything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.qeasy import metadata
from fenxiang_sync.qeasy.importer import Importer
from fenxiang_sync.qeasy.metadata import Scheme, read
from fenxiang_sync.qeasy.report import Report
from tests.qeasy_fixtures import declaration, fixture, node, scheme


def taken(*documents: Any) -> tuple[Scheme, Report]:
    report = Report()
    return read([json.dumps(each).encode() for each in documents], report), report


def test_both_sides_may_come_in_one_object_in_a_list_or_in_two_files() -> None:
    whole = fixture("customers")
    source, target = whole["source"], whole["target"]
    for documents in ([whole], [[source, target]], [source, target], [target, source], [[target], [source]]):
        found, _ = taken(*documents)
        assert found.source.api == "/cgi/crm/v2/data/query"
        assert found.target is not None
        assert found.target.api == "execute"
    assert taken(source)[0].target is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe{", "no UTF-8"),
        (b"[]", "the list is empty"),
        (b"1", "it is a number"),
        (b'"x"', "it is text"),
        (b"null", "it is null"),
        (b"{}", "neither source and target nor an api"),
        (b'{"source": 1}', "its source is a number"),
        (b"[" * 100_000, "nests deeper|no JSON"),
        (b"[" * 60 + b"]" * 60, "nests deeper than 40"),
        (b'{"source": {"api": NaN}}', "NaN is no number"),
        (b'{"source": {"api": 1' + b"0" * 5_000 + b"}}", "number of 5001 digits"),
        (b'{"source": {"api": "\\ud800"}}', "half a character"),
        (b"[" + b"1," * 200_000 + b"1]", "more than 100,000 values"),
        (b" " * (metadata.MOST_BYTES + 1), "more than 4,194,304 bytes"),
        (b'{"api": "execute", "effect": "EXECUTE"}', "the writing side"),
        (b'[{"api": "data/query"}, {"api": "data/query"}]', "two source sides"),
        (b'{"api": "data/query", "request": "x"}', "names no object"),
        (b'{"api": "data/query", "request": [{"field": "dataObjectApiName", "value": "a b"}]}', "no API name"),
    ],
)
def test_what_is_no_scheme_of_fenxiang_gets_a_sentence(content: bytes, says: str) -> None:
    with pytest.raises(DeclarationError, match=says) as caught:
        Importer(read([content], Report()), "made").text()
    assert len(str(caught.value)) < 400


def test_a_key_that_is_there_twice_is_told() -> None:
    report = Report()
    read([b'{"api": "data/query", "api": "x/data/query", "request": []}'], report)
    assert report.findings[0].key == "api"
    assert "there twice" in report.findings[0].said


def test_a_byte_order_mark_and_numbers_that_are_text_are_taken() -> None:
    report = Report()
    found = read(
        [b"\xef\xbb\xbf" + json.dumps({**fixture("warehouse"), "strategy": {"retry_times": "5"}}).encode()], report
    )
    assert found.retries == 5


def test_a_tree_that_is_written_as_an_object_is_read_and_told() -> None:
    document = scheme()
    document["source"]["request"] = {"dataObjectApiName": "AccountObj"}
    found, report = taken(document)
    assert [each.field for each in found.source.trees["request"]] == ["dataObjectApiName"]
    assert "not a list of nodes" in report.findings[0].said


def test_nodes_and_parsers_of_another_shape_are_told() -> None:
    document = scheme(node("a", parser=7), node("b", parser={"name": "StringToArray", "more": 1}))
    document["target"]["request"] += [5, {"field": "c", "children": "x"}]
    _, report = taken(document)
    assert {each.key for each in report.findings} >= {
        "target.request.a.parser", "target.request.b.parser.more", "target.request[2]", "target.request.c",
    }  # fmt: skip


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = {
    "source": (
        "id", "number", "idCheck", "pagination", "condition", "beatFlat", "formatResponse", "omissionRemedy",
        "operation", "response", "otherRequest", "otherResponse",
    ),
    "target": (
        "api", "id", "number", "operation", "groupCalculate", "request", "otherRequest", "response", "autoCheck",
    ),
    "strategy": ("name", "mode", "retry_times", "source", "target", "preconditions", "strategy_id"),
}  # fmt: skip


@settings(max_examples=150)
@given(st.data())
def test_any_json_in_the_place_of_any_key_gives_a_file_or_a_sentence(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["warehouse", "customers", "sales-orders"]))
    document = fixture(name)
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(st.sampled_from(sorted(KEYS)))
        document[part][data.draw(st.sampled_from(KEYS[part]))] = data.draw(json_values)
    report = Report()
    try:
        text = Importer(read([json.dumps(document).encode()], report), "made", report=report).text()
    except DeclarationError:
        return  # a sentence
    declaration(text)
    assert "\n".join(report.lines())


VALUES = [
    "_function CASE '{{a}}' WHEN '1' THEN 'x' ELSE 2 END",
    "_function IF('{{a}}' = '', 'none', 1.5)",
    "_function {{a}} * 2",
    "_function FROM_UNIXTIME({{a}} / 1000, '%Y%m')",
    "_findCollection find a from b where c={{d}}",
    "{{a}}",
    "{{a.b}}",
    "{{a|date}}",
    "{{a|timestamp}}",
    "x{{a}}",
    "{{CURRENT_TIME}}",
    "{{details_a}}",
    "details",
    "{{details.a}}",
    "100",
    "1.50",
    "true",
    " ",
    "",
]
PARSERS = [
    None,
    {"name": "StringToArray", "params": ""},
    {"name": "ArrayToString", "params": ","},
    "ConvertJson",
    {"name": "ConvertObjectParser", "params": "FNumber"},
    {"name": "ConvertTwoStageObjectParser", "params": "a,b"},
    "Other",
]
nodes = st.builds(
    lambda name, value, type, parser, required, children: node(
        name, value, type, parser=parser, is_required=required, children=children
    ),
    st.sampled_from(["a", "b", "_id", "c.d"]),
    st.sampled_from(VALUES) | st.integers() | st.booleans(),
    st.sampled_from(["string", "int", "number", "bool", "array", "object", "date", "odd", ""]),
    st.sampled_from(PARSERS),
    st.booleans(),
    st.just([]) | st.builds(lambda value: [node("e", value)], st.sampled_from(VALUES)),
)


@settings(max_examples=200)
@given(st.lists(nodes, max_size=4), st.booleans(), st.booleans())
def test_any_node_is_in_the_file_or_in_the_report(given: list[Any], flattens: bool, merges: bool) -> None:
    merge = {"groupCalculate": {"headerGroup": ["_id"], "bodyGroup": ["details_a"], "bodyName": "d"}} if merges else {}
    document = scheme(*given, target=merge, **({"beatFlat": ["details"]} if flattens else {}))
    report = Report()
    text = Importer(read([json.dumps(document).encode()], report), "made", report=report).text()
    declaration(text)
    told = {finding.key for finding in report.findings}
    for each in given:
        place = f"target.request.{each['field']}"
        assert place in told or any(f"{place}.{child['field']}" in told for child in each["children"])
