"""One record becomes a row for each of its lines (拍扁)."""

from __future__ import annotations

from typing import Any

import pytest

from fenxiang_sync import Condition, Constant, Explode, Field, HubTarget, Logic, Pipeline, Source, integer
from fenxiang_sync.errors import DeclarationError, RecordError
from fenxiang_sync.mapping import Mapping
from fenxiang_sync.rows import Row

FIELDS = [
    Field("name", "no", required=True),
    Field("customer"),
    Field("details_list.goods", "line.goods", required=True),
    Field("details_list.num", "line.num", convert=integer, default=0),
    Constant("origin", "fenxiang"),
]
LINES = [{"_id": "L7", "goods": "FOO0001", "num": 12}, {"_id": "L9", "goods": "FOO0002"}]


def record(*lines: Any, **fields: Any) -> dict[str, Any]:
    return {
        "_id": "65aa",
        "name": "OUT20210001",
        "customer": "CK0001",
        "last_modified_time": 1_700_000_000_000,
        "version": "3",
        "details_list": list(lines),
        **fields,
    }


def mapping(explode: Explode | None = None, **words: Any) -> Mapping:
    return Mapping(FIELDS, explode=explode or Explode("details_list"), **{"key": "no", **words})


def ids(rows: list[Row]) -> list[str]:
    return [row.id for row in rows]


def pipeline(*conditions: Any, **words: Any) -> Pipeline:
    return Pipeline(
        **{
            "name": "lines",
            "source": Source(object="SalesOrderObj"),
            "fields": FIELDS,
            "key": "no",
            "explode": Explode("details_list"),
            "conditions": conditions,
            "target": HubTarget(),
            **words,
        }
    )


class TestRows:
    def test_a_row_has_the_headers_values_and_its_lines_and_the_id_of_both(self) -> None:
        first, second = mapping().rows(record(*LINES))
        assert (first.id, first.source_id, first.number, first.version) == ("OUT20210001-L7", "65aa", "OUT20210001", 3)
        assert first.content == {
            "no": "OUT20210001-L7",
            "customer": "CK0001",
            "line": {"goods": "FOO0001", "num": 12},
            "origin": "fenxiang",
        }
        assert second.content["line"] == {"goods": "FOO0002", "num": 0}
        assert first.hash != second.hash

    def test_an_id_does_not_depend_on_where_its_line_stands(self) -> None:
        assert {row.id: row.hash for row in mapping().rows(record(*LINES))} == {
            row.id: row.hash for row in mapping().rows(record(*LINES[::-1]))
        }

    @pytest.mark.parametrize(("first", "expected"), [(1, ["-1", "-2"]), (0, ["-0", "-1"])])
    def test_lines_are_numbered_as_qeasy_does_where_that_is_declared(self, first: int, expected: list[str]) -> None:
        rows = mapping(Explode("details_list", key=None, first=first)).rows(record(*LINES))
        assert ids(rows) == [f"OUT20210001{suffix}" for suffix in expected]

    def test_a_key_that_is_read_from_the_line_is_the_id_as_it_is(self) -> None:
        made = Mapping([*FIELDS, Field("details_list._id", "id")], key="id", explode=Explode("details_list"))
        assert ids(made.rows(record(*LINES))) == ["L7", "L9"]

    @pytest.mark.parametrize("empty", [[], None, ""])
    def test_an_empty_list_gives_no_row_or_one_of_the_header(self, empty: Any) -> None:
        assert mapping().rows(record() | {"details_list": empty}) == []
        fields = [Field("name", "no"), Field("details_list.num", "num", convert=integer, default=0)]
        header = Mapping(fields, key="no", explode=Explode("details_list", keep_empty=True))
        [row] = header.rows(record() | {"details_list": empty})
        assert (row.id, row.content) == ("OUT20210001", {"no": "OUT20210001", "num": 0})

    def test_the_list_is_asked_for_once_and_without_explode_a_record_is_one_row(self) -> None:
        assert mapping().projection.count("details_list") == 1
        plain = Mapping([Field("_id")])
        assert plain.rows(record(*LINES)) == [plain.row(record(*LINES))]


class TestRejects:
    @pytest.mark.parametrize(
        ("lines", "says"),
        [
            ([LINES[0], LINES[0]], ["line 2", "'OUT20210001-L7'", "another line"]),
            ([{"goods": "x"}], ["line 1", "'_id'", "has none"]),
            ([{"_id": ["L"], "goods": "x"}], ["line 1", "text or a number, not list"]),
            ([LINES[0], {"_id": "L8"}], ["line.goods ← details_list.goods", "line 2", "required"]),
            ([LINES[0] | {"num": "many"}], ["details_list.num", "line 1", "'many'"]),
            (["FOO"], ["line 1 is no object but str"]),
        ],
    )
    def test_a_line_that_fits_no_row_rejects_the_whole_record(self, lines: list[Any], says: list[str]) -> None:
        with pytest.raises(RecordError) as raised:
            mapping().rows(record(*lines))
        assert all(word in str(raised.value) for word in says)

    def test_what_is_no_list_is_named_with_its_type(self) -> None:
        with pytest.raises(RecordError, match="details_list: it is to be exploded, and it is no list but dict"):
            mapping().rows(record() | {"details_list": {"a": 1}})

    def test_a_header_that_does_not_fit_is_said_once(self) -> None:
        with pytest.raises(RecordError) as raised:
            mapping().rows(record(*LINES, name=None))
        assert str(raised.value).count("required") == 1


class TestConditions:
    def test_a_condition_on_a_line_keeps_the_lines_that_it_holds_for(self) -> None:
        made = pipeline([Condition("details_list.num", Logic.GT, 5), Condition("customer", Logic.EQ, "CK0001")])
        assert ids(made.rows(record(*LINES))) == ["OUT20210001-L7"]
        assert made.rows(record(*LINES, customer="else")) == []
        assert made.mapping.projection.count("details_list") == 1

    def test_a_strict_one_drops_the_record_where_one_line_fails(self) -> None:
        made = pipeline([Condition("details_list.num", Logic.GT, 5, strict=True)])
        assert made.rows(record(*LINES)) == []
        assert ids(made.rows(record(LINES[0]))) == ["OUT20210001-L7"]

    def test_one_list_of_conditions_is_enough_for_a_line(self) -> None:
        made = pipeline(
            [Condition("details_list.num", Logic.GT, 5)], [Condition("details_list.goods", Logic.EQ, "FOO0002")]
        )
        assert len(made.rows(record(*LINES))) == 2

    def test_a_number_that_counts_lines_stays_where_others_are_filtered(self) -> None:
        made = pipeline(
            [Condition("details_list.goods", Logic.EQ, "FOO0002")], explode=Explode("details_list", key=None)
        )
        assert ids(made.rows(record(*LINES))) == ["OUT20210001-2"]

    def test_the_header_of_an_empty_list_is_filtered_as_a_line_of_nothing(self) -> None:
        fields = [Field("name", "no"), Field("details_list.num", "num")]
        explode = Explode("details_list", keep_empty=True)
        for logic, kept in ((Logic.ISNULL, 1), (Logic.NOTNULL, 0)):
            made = pipeline([Condition("details_list.num", logic)], fields=fields, explode=explode)
            assert len(made.rows(record())) == kept


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"explode": "details_list"}, "give Explode('details_list')"),
        ({"explode": Explode("details list")}, "name one field of the record"),
        ({"explode": Explode("details_list", key="a.b")}, "name one field of a line"),
        ({"explode": Explode("details_list", first=0)}, "give key=None too"),
        ({"explode": Explode("details_list", key=None, first=-1)}, "0 or more"),
        ({"explode": Explode("details_list", keep_empty=1)}, "give True or False"),  # type: ignore[arg-type]
        ({"explode": Explode("other_list")}, "no field reads a line; name what it reads as 'other_list.…'"),
        (
            {"explode": Explode("details_list", keep_empty=True), "key": "line.goods"},
            "keep_empty gives rows without a line",
        ),
        ({"conditions": [[Condition("other.num", Logic.GT, 5)]]}, "or of a line as 'details_list.…'"),
        ({"conditions": [[Condition("customer", Logic.EQ, "x", strict=True)]]}, "strict is about lines"),
        ({"conditions": [[Condition("details_list.num", Logic.GT, 5)]], "explode": None}, "name one field"),
    ],
)
def test_what_cannot_be_meant_is_said_when_it_is_declared(words: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        pipeline(**words) if "conditions" not in words else pipeline(*words.pop("conditions"), **words)
    assert says in str(raised.value)


def test_the_page_says_what_is_exploded_and_the_hash_counts_it() -> None:
    made = pipeline([Condition("details_list.num", Logic.GT, 5, strict=True)])
    page = made.describe_markdown()
    assert "one row per line of `details_list`, told apart by `_id` of the line" in page
    assert "`details_list.num gt 5 on every line`" in page
    numbered = pipeline(explode=Explode("details_list", key=None, keep_empty=True, first=0))
    assert "its number from 0 on; an empty list gives one row of the header" in numbered.describe_markdown()
    assert numbered.config_hash != pipeline().config_hash
