"""A value of the row that a function makes of several fields: with an error that names them, and never silently."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fenxiang_sync import Computed, Explode, Field, Kind
from fenxiang_sync.errors import DeclarationError, RecordError
from fenxiang_sync.mapping import Mapping

ENGINE = {"_id": "65aa", "last_modified_time": 1_790_000_001_456}


def line_total(price: Any, quantity: Any) -> Decimal | None:
    return None if price is None or quantity is None else Decimal(str(price)) * Decimal(str(quantity))


def one(entry: Computed, **record: Any) -> Any:
    return Mapping([Field("_id"), entry]).content({**ENGINE, **record})[entry.to]


def why(entry: Computed, **record: Any) -> RecordError:
    with pytest.raises(RecordError) as caught:
        one(entry, **record)
    return caught.value


TOTAL = Computed(line_total, "total", reads=["price", "quantity"], kind=Kind.DECIMAL)


class TestValues:
    def test_the_function_gets_the_values_in_the_order_of_reads_and_null_as_none(self) -> None:
        seen: list[Any] = []

        def note(*values: Any) -> str:
            seen.append(values)
            return "x"

        one(Computed(note, "a", reads=["b.c", "list.1.d", "gone", "empty"]), b={"c": 5}, list=[{}, {"d": 6}], empty="")
        assert seen == [(5, 6, None, None)]

    def test_money_stays_exact(self) -> None:
        assert one(TOTAL, price="0.1", quantity="3") == Decimal("0.3")
        assert one(TOTAL, price="0.1") is None

    def test_a_float_that_a_function_gives_is_the_number_that_it_shows(self) -> None:
        def tenth(_: Any) -> float:
            return 0.1

        assert one(Computed(tenth, "a", reads=["b"], kind=Kind.DECIMAL)) == Decimal("0.1")

    @pytest.mark.parametrize("made", ["half \ud83d", {"half \ud83d": 1}, ["x", "half \ud83d"]], ids=repr)
    def test_half_a_character_is_a_reject_that_names_the_target_path(self, made: Any) -> None:
        def halved(_: Any) -> Any:
            return made

        mapping = Mapping([Field("_id"), Field("name"), Computed(halved, "a.b", reads=["name"])])
        with pytest.raises(RecordError, match=r"a\.b ← name: half a character .*is no text") as caught:
            mapping.rows({**ENGINE, "name": "x"})
        assert caught.value.field == "name"

    def test_a_reason_with_half_a_character_can_be_written(self) -> None:
        def halved(_: Any) -> str:
            raise ValueError("cannot read half \ud83d")

        assert "cannot read half \\ud83d" in str(why(Computed(halved, "a", reads=["name"]), name="x"))

    def test_a_function_that_takes_its_values_apart_takes_them_from_nobody_else(self) -> None:
        def last(values: Any) -> Any:
            return values.pop()["goods"].pop("no")

        record = {**ENGINE, "lines": [{"goods": {"no": "G1"}}, {"goods": {"no": "G2"}}]}
        twice = [
            Computed(last, "a", reads=["lines"]),
            Field("lines", "b", convert=last),
            Field("lines.1.goods.no", "c"),
        ]
        content = Mapping([Field("_id"), *twice, Field("lines", "d")]).content(record)
        assert (content["a"], content["b"], content["c"]) == ("G2", "G2", "G2")
        assert content["d"] == record["lines"] == [{"goods": {"no": "G1"}}, {"goods": {"no": "G2"}}]

    def test_its_fields_are_asked_for_once_and_top_level(self) -> None:
        mapping = Mapping([Field("_id"), Field("price"), TOTAL, Computed(line_total, "x", reads=["a.b", "c.0.d"])])
        assert mapping.projection.count("price") == 1
        assert {"quantity", "a", "c"} <= set(mapping.projection)

    def test_it_may_read_the_header_and_the_line_of_an_exploded_record(self) -> None:
        fields = [Field("_id"), Computed(line_total, "total", reads=["rate", "lines.quantity"])]
        rows = Mapping(fields, explode=Explode("lines")).rows(
            {**ENGINE, "rate": 2, "lines": [{"_id": "1", "quantity": 3}, {"_id": "2", "quantity": 4}]}
        )
        assert [row.content["total"] for row in rows] == [6, 8]


class TestErrors:
    def test_an_error_names_the_fields_the_function_and_the_values(self) -> None:
        error = why(TOTAL, price="12x", quantity=1)
        assert error.field == "price, quantity"
        assert "total ← price, quantity: line_total: InvalidOperation" in str(error)
        assert "'12x'" in str(error)

    def test_a_value_error_rejects_with_its_text(self) -> None:
        def never(_: Any) -> None:
            raise ValueError("not in this country")

        assert "never: not in this country (value {'a': 5})" in str(why(Computed(never, "b", reads=["a"]), a=5))

    @pytest.mark.parametrize(
        ("kind", "given"),
        [
            (Kind.TEXT, 5), (Kind.INTEGER, True), (Kind.INTEGER, 2**63), (Kind.INTEGER, "5"), (Kind.DECIMAL, "5"),
            (Kind.BOOLEAN, 1), (Kind.DAY, 5), (Kind.JSON, object()),
        ],
    )  # fmt: skip
    def test_a_value_of_another_kind_is_rejected(self, kind: Kind, given: Any) -> None:
        def give(_: Any) -> Any:
            return given

        assert "give" in str(why(Computed(give, "b", reads=["a"], kind=kind), a=5))

    def test_a_required_one_that_gives_none_is_rejected(self) -> None:
        entry = Computed(line_total, "total", reads=["price", "quantity"], required=True)
        assert "it is required, and line_total gave none" in str(why(entry))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (Computed(line_total, "total", reads=["price"]), "cannot be called with the 1 values of reads"),
        (Computed(line_total, "total", reads="price"), "give a list of source fields"),
        (Computed(line_total, "total", reads=[]), "give a list of source fields"),
        (Computed(lambda a: a, "total", reads=["price"]), "use def"),
        (Computed("line_total", "total", reads=["price"]), "is no function"),  # type: ignore[arg-type]
        (Computed(line_total, "total", reads=["价格", "b"]), "labels are no names"),
        (Computed(line_total, "", reads=["a", "b"]), "to is empty"),
        (Computed(line_total, "total", reads=["a", "b"], kind="text"), "of Kind"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_meant_is_refused(entry: Computed, says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        Mapping([Field("_id"), entry])
