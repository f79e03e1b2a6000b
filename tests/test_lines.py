"""A list of the record becomes a list of the row: mapped, kept, merged and cut to what a document may have."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fenxiang_sync import (
    Computed,
    Condition,
    Constant,
    Explode,
    Field,
    Group,
    HubTarget,
    Kind,
    Lines,
    Logic,
    Pipeline,
    Source,
    Take,
    decimal,
    integer,
    text,
)
from fenxiang_sync.errors import DeclarationError, RecordError
from fenxiang_sync.mapping import Mapping

ENGINE = {"_id": "65aa", "last_modified_time": 1_790_000_001_456}
LINE = [Field("product_id", "FMaterialId.FNumber", convert=text), Field("quantity", "FQty", convert=decimal())]
SAME = Group(by=["FMaterialId.FNumber"], take={"FQty": Take.SUM})


def entry(**words: Any) -> Lines:
    return Lines("lines", "FEntry", **{"fields": LINE, **words})


def mapping(*entries: Any, **words: Any) -> Mapping:
    return Mapping([Field("_id", "id"), *entries], **words)


def made(lines: Any, **words: Any) -> Any:
    return mapping(entry(**words)).content({**ENGINE, "lines": lines})["FEntry"]


def line(product: str, quantity: Any) -> dict[str, Any]:
    return {"product_id": product, "quantity": quantity}


class TestValues:
    def test_each_line_is_an_object_of_its_own_fields(self) -> None:
        assert made([line("P1", "2.50"), line("P2", 3)]) == [
            {"FMaterialId": {"FNumber": "P1"}, "FQty": Decimal("2.50")},
            {"FMaterialId": {"FNumber": "P2"}, "FQty": 3},
        ]

    @pytest.mark.parametrize("empty", [None, [], ""])
    def test_no_lines_are_an_empty_list_whatever_spells_it(self, empty: Any) -> None:
        assert made(empty) == []

    def test_lines_that_no_condition_keeps_are_left_out(self) -> None:
        keeps = [[Condition("quantity", Logic.GT, 1)], [Condition("product_id", Logic.EQ, "P9")]]
        assert [each["FQty"] for each in made([line("P1", 1), line("P1", 2), line("P9", 0)], keeps=keeps)] == [2, 0]

    def test_constants_and_functions_work_in_a_line(self) -> None:
        def double(quantity: Any) -> int:
            return int(quantity) * 2

        fields = [Constant("kind", "x"), Computed(double, "twice", reads=["quantity"], kind=Kind.INTEGER)]
        assert made([line("P1", "2")], fields=fields) == [{"kind": "x", "twice": 4}]

    def test_a_list_deeper_in_the_record_may_be_named_by_its_path(self) -> None:
        deep = mapping(Lines("data.0.lines", "FEntry", fields=LINE))
        assert deep.content({**ENGINE, "data": [{"lines": [line("P1", 1)]}]})["FEntry"][0]["FQty"] == 1
        assert "data" in deep.projection

    def test_the_hash_says_which_lines_there_are_and_not_how_a_number_is_written(self) -> None:
        rows = [
            mapping(entry()).row({**ENGINE, "lines": lines})
            for lines in ([line("P1", "1.0")], [line("P1", 1)], [line("P1", 2)])
        ]
        assert rows[0].hash == rows[1].hash != rows[2].hash


class TestRejects:
    def test_every_line_that_does_not_fit_is_named_with_its_value(self) -> None:
        with pytest.raises(RecordError) as caught:
            made([line("P1", "x"), line("P2", 1), line("P3", "y")])
        said = str(caught.value)
        assert "line 1: FQty ← quantity: not a number (value 'x')" in said
        assert "line 3: FQty ← quantity" in said
        assert caught.value.field == "lines"

    @pytest.mark.parametrize(
        ("lines", "says"), [({"a": 1}, "it is no list but dict"), (["x"], "line 1 is no object but str")]
    )
    def test_what_is_no_list_of_objects_is_named(self, lines: Any, says: str) -> None:
        with pytest.raises(RecordError, match=says):
            made(lines)

    def test_a_required_list_without_a_line_that_is_kept_rejects_the_record(self) -> None:
        keeps = [[Condition("quantity", Logic.GT, 1)]]
        with pytest.raises(RecordError, match="the record has no line that is kept"):
            made([line("P1", 1)], keeps=keeps, required=True)

    def test_a_line_that_a_condition_cannot_compare_is_named(self) -> None:
        with pytest.raises(RecordError, match="line 1: condition on quantity: 'x' is no number"):
            made([line("P1", "x")], keeps=[[Condition("quantity", Logic.GT, 1)]])


class TestGroup:
    @pytest.mark.parametrize(
        ("take", "expected"),
        [
            (Take.SUM, Decimal("0.6")), (Take.AVG, Decimal("0.2")), (Take.MIN, Decimal("0.1")),
            (Take.MAX, Decimal("0.3")), (Take.FIRST, Decimal("0.2")), (Take.LAST, None),
            (Take.PUSH, [Decimal("0.2"), Decimal("0.1"), Decimal("0.3")]),
        ],
    )  # fmt: skip
    def test_what_is_taken_of_lines_that_are_merged_is_exact(self, take: Take, expected: Any) -> None:
        lines = [line("P1", "0.2"), line("P1", "0.1"), line("P1", "0.3"), line("P1", None)]
        group = Group(by=["FMaterialId.FNumber"], take={"FQty": take})
        assert made(lines, group=group) == [{"FMaterialId": {"FNumber": "P1"}, "FQty": expected}]

    def test_a_set_has_each_value_once_in_the_order_in_which_they_came(self) -> None:
        group = Group(by=["FMaterialId.FNumber"], take={"FQty": Take.ADD_TO_SET})
        lines = [line("P1", "2"), line("P1", "1"), line("P1", "2.0")]
        assert [str(each) for each in made(lines, group=group)[0]["FQty"]] == ["2", "1"]

    def test_merged_lines_stand_where_the_first_of_them_stood(self) -> None:
        lines = [line("P2", 1), line("P1", 2), line("P2", 3)]
        assert [(each["FMaterialId"]["FNumber"], each["FQty"]) for each in made(lines, group=SAME)] == [
            ("P2", 4),
            ("P1", 2),
        ]

    def test_values_that_cannot_be_compared_reject_the_record(self) -> None:
        group = Group(by=["p"], take={"q": Take.MAX})
        fields = [Field("product_id", "p"), Field("quantity", "q")]
        with pytest.raises(RecordError, match=r"q: there is no \$max of int and str"):
            made([line("P1", 1), line("P1", "x")], fields=fields, group=group)

    @given(
        st.lists(st.tuples(st.sampled_from("abc"), st.decimals(allow_nan=False, allow_infinity=False, places=3))),
        st.randoms(),
    )
    def test_sums_do_not_depend_on_the_order_of_the_lines_and_lose_nothing(self, pairs: list[Any], random: Any) -> None:
        lines = [line(product, str(quantity)) for product, quantity in pairs]
        shuffled = random.sample(lines, len(lines))
        expected: dict[str, Fraction] = defaultdict(Fraction)
        for product, quantity in pairs:
            expected[product] += Fraction(quantity)
        for some in (lines, shuffled):
            sums = {each["FMaterialId"]["FNumber"]: each["FQty"] for each in made(some, group=SAME)}
            assert {product: Fraction(total) for product, total in sums.items()} == expected


class TestMost:
    LIMITED = mapping(entry(most=2), Constant("FType", "x"))

    def rows(self, number: int) -> list[Any]:
        return self.LIMITED.rows({**ENGINE, "lines": [line(f"P{at}", at) for at in range(number)]})

    @pytest.mark.parametrize(
        ("number", "ids"),
        [(0, ["65aa"]), (2, ["65aa"]), (3, ["65aa", "65aa-2"]), (5, ["65aa", "65aa-2", "65aa-3"])],
    )
    def test_a_record_of_more_lines_gives_more_rows_and_the_first_keeps_its_id(
        self, number: int, ids: list[str]
    ) -> None:
        rows = self.rows(number)
        assert [row.id for row in rows] == [row.content["id"] for row in rows] == ids
        assert {row.source_id for row in rows} == {"65aa"}
        assert [each["FQty"] for row in rows for each in row.content["FEntry"]] == list(range(number))
        assert all(row.content["FType"] == "x" for row in rows)

    def test_the_parts_are_told_apart_by_their_hash_and_lines_are_merged_before_they_are_cut(self) -> None:
        assert len({row.hash for row in self.rows(5)}) == 3
        merged = mapping(entry(most=1, group=SAME)).rows({**ENGINE, "lines": [line("P1", 1), line("P1", 2)]})
        assert [row.content["FEntry"][0]["FQty"] for row in merged] == [3]

    def test_a_record_that_fits_no_row_is_rejected_as_a_whole(self) -> None:
        with pytest.raises(RecordError, match="line 3"):
            self.LIMITED.rows({**ENGINE, "lines": [line("P", 1), line("P", 1), line("P", "x")]})


@pytest.mark.parametrize(
    ("entries", "words", "says"),
    [
        ([entry(fields=[])], {}, "list what a line is made of"),
        ([entry(fields=["a"])], {}, "lines do not nest further"),
        ([entry(fields=[entry()])], {}, "lines do not nest further"),
        ([entry(fields=[Field("a"), Field("b", "a")])], {}, "'a' is written 2 times"),
        ([entry(fields=[Field("数量", "a")])], {}, "labels are no names"),
        ([entry(most=0)], {}, "most=0"),
        ([entry(keeps=[Condition("a", Logic.NOTNULL)])], {}, "is no list of Condition"),
        ([entry(keeps=[[Condition("a", Logic.EQ)]])], {}, "is no text"),
        ([entry(group="a")], {}, "give Group"),
        ([entry(group=Group(by=["FMaterialId.FNumber"], take={}))], {}, "'FQty' would be lost"),
        ([entry(group=Group(by=["x"], take={"FQty": Take.SUM}))], {}, "'x' is no target path of a line"),
        ([entry(group=Group(by=["FQty"], take={"FMaterialId.FNumber": Take.SUM}))], {}, r"no \$sum of"),
        ([entry(group=Group(by=["FQty"], take={"FMaterialId.FNumber": "sum"}))], {}, "is no Take"),  # type: ignore[dict-item]
        ([entry(most=1), Lines("other", fields=LINE, most=2)], {}, "split by one list only"),
        ([entry(most=1), Field("other.a", "a")], {"explode": Explode("other")}, "keep one of them"),
        ([entry(), Field("lines.a", "a")], {"explode": Explode("lines")}, "keep one of them"),
        ([entry()], {"key": "FEntry"}, "is a list of lines"),
        ([entry(most=2), Field("n", convert=integer)], {"key": "n"}, "convert it with text"),
        ([Field("lines[0].a", "a")], {}, r"from 0 on: 'lines\.0\.a'"),
        ([Field("lines.0.a")], {}, "name the target path as well"),
        (
            [Field("lines.0.a", "a"), Field("lines.b", "b")],
            {"explode": Explode("lines")},
            "reads one place of the list",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(entries: list[Any], words: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        mapping(*entries, **words)


class TestPlaces:
    FIRST = mapping(Field("lines.0.quantity", "first", convert=integer))

    @pytest.mark.parametrize(
        ("lines", "expected"), [([line("P1", 5)], 5), ([], None), (None, None), ([{"quantity": None}], None)]
    )
    def test_a_place_of_a_list_is_a_part_of_the_path_and_null_where_the_list_is_shorter(
        self, lines: Any, expected: Any
    ) -> None:
        assert self.FIRST.content({**ENGINE, "lines": lines})["first"] == expected

    def test_a_path_through_a_list_without_a_place_says_how_to_go_on(self) -> None:
        with pytest.raises(RecordError, match=r"'….0.quantity' is the first.*Lines or explode"):
            mapping(Field("lines.quantity", "q")).content({**ENGINE, "lines": [line("P1", 5)]})


def test_a_pipeline_with_lines_says_what_it_makes_and_another_group_is_another_configuration() -> None:
    def pipeline(**words: Any) -> Pipeline:
        source = Source(object="SalesOrderObj")
        return Pipeline(name="orders", source=source, fields=[Field("_id"), entry(**words)], target=HubTarget())

    plain, grouped = pipeline(), pipeline(group=SAME, most=50)
    assert plain.config_hash == pipeline().config_hash != grouped.config_hash
    assert "one for each FMaterialId.FNumber with $sum of FQty; at most 50 in a row" in grouped.describe_markdown()
    assert [column.kind for column in plain.mapping.columns] == [Kind.JSON, Kind.JSON]
