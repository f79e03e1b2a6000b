"""Mapping: one record becomes one row, or is rejected with everything that does not fit."""

from __future__ import annotations

import copy
import doctest
from decimal import Decimal
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fenxiang_sync import digest, entry, group, mapping, paths
from fenxiang_sync.convert import as_is, boolean, choice, day, decimal, first, instant, integer, label, text
from fenxiang_sync.errors import DeclarationError, RecordError
from fenxiang_sync.mapping import Constant, Field, Mapping, content_hash

ENGINE = {"_id": "65aa00000000000000000001", "last_modified_time": 1790000001456, "version": "3"}
WAREHOUSE = Mapping(
    [
        Field("warehouseId", "id", convert=text, required=True),
        Field("warehouseName", "name", convert=text),
        Field("location", "location.city", convert=text),
        Field("capacity", "capacityInfo.totalCapacity", convert=integer),
        Field("currentStock", "capacityInfo.currentStockLevel", convert=integer),
    ],
    key="id",
)
IN_BEIJING = {
    "warehouseId": "WH123",
    "warehouseName": "Main Warehouse",
    "location": "Beijing",
    "capacity": 10000,
    "currentStock": 5000,
}
NESTED = (
    b'{"id":"WH123","name":"Main Warehouse","location":{"city":"Beijing"},'
    b'"capacityInfo":{"totalCapacity":10000,"currentStockLevel":5000}}'
)


def one(*fields: Field | Constant, **record: Any) -> dict[str, Any]:
    """The content of a record under these fields and ``_id``, without the id."""
    content = Mapping([*fields, Field("_id", "the_id")]).content(ENGINE | record)
    del content["the_id"]
    return content


def why(*fields: Field | Constant, **record: Any) -> RecordError:
    with pytest.raises(RecordError) as caught:
        one(*fields, **record)
    return caught.value


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert not any(doctest.testmod(module).failed for module in (digest, entry, group, mapping, paths))


class TestTheArticle:
    def test_the_warehouse_takes_the_nested_form_key_by_key(self) -> None:
        assert msgspec.json.encode(WAREHOUSE.content(IN_BEIJING)) == NESTED

    def test_numbers_that_arrive_as_text_give_the_same_form(self) -> None:
        as_text = IN_BEIJING | {"capacity": "10000", "currentStock": "5000.00"}
        assert msgspec.json.encode(WAREHOUSE.content(as_text)) == NESTED

    @pytest.mark.parametrize("missing", [{}, {"warehouseId": ""}, {"warehouseId": None}])
    def test_a_warehouse_without_id_is_refused(self, missing: dict[str, Any]) -> None:
        record = {name: value for name, value in IN_BEIJING.items() if name != "warehouseId"} | missing
        with pytest.raises(RecordError, match="id ← warehouseId: it is required") as caught:
            WAREHOUSE.row(record | ENGINE)
        assert caught.value.field == "warehouseId"

    @pytest.mark.parametrize("stamp", ["2023-10-01T12:00:00Z", 1696161600000, "1696161600000"])
    def test_the_report_says_shanghai_time_for_either_spelling_of_the_stamp(self, stamp: Any) -> None:
        report = Mapping(
            [
                Field("_id", convert=text),
                Field("name", convert=text),
                Field(
                    "last_modified_time",
                    "local_last_modified_time",
                    convert=instant("Asia/Shanghai", "YYYY-MM-DD HH:mm:ss"),
                ),
            ]
        )
        row = report.row({"_id": "123456", "name": "Sample Inventory Report", "last_modified_time": stamp})
        assert msgspec.json.encode(row.content) == (
            b'{"_id":"123456","name":"Sample Inventory Report","local_last_modified_time":"2023-10-01 20:00:00"}'
        )
        assert (row.modified_ms, row.number) == (1696161600000, "Sample Inventory Report")


class TestNull:
    @pytest.mark.parametrize("record", [{}, {"location": None}, {"location": ""}, {"location": []}])
    def test_an_emptied_field_is_none_in_the_row_and_all_spellings_hash_alike(self, record: dict[str, Any]) -> None:
        row = WAREHOUSE.row(ENGINE | IN_BEIJING | {"location": None} | record)
        without = WAREHOUSE.row(ENGINE | {k: v for k, v in IN_BEIJING.items() if k != "location"})
        assert row.content["location"] == {"city": None}
        assert row == without

    def test_zero_and_false_are_no_null(self) -> None:
        assert one(Field("a", convert=integer), Field("b", convert=boolean, default=True), a=0, b=False) == {
            "a": 0,
            "b": False,
        }

    def test_a_default_stands_in_for_null_only(self) -> None:
        field = Field("a", convert=text, default="-")
        assert [one(field, a=value)["a"] for value in (None, "", "x", 0)] == ["-", "-", "x", "0"]

    def test_a_function_never_sees_null_and_may_give_it(self) -> None:
        def nothing(value: Any) -> None:
            assert value

        assert one(Field("a", convert=nothing), Field("b", convert=nothing, default=1), b="x") == {"a": None, "b": 1}

    def test_a_required_list_that_is_empty_inside_is_rejected(self) -> None:
        assert "required" in str(why(Field("owner", convert=first(text), required=True), owner=[None]))


class TestPaths:
    def test_keys_come_in_the_order_of_the_declaration_however_nested(self) -> None:
        content = one(Field("a", "x.y.z"), Constant("b", 1), Field("c", "x.w"), Field("d", "x.y.v"), a=1, c=2, d=3)
        assert msgspec.json.encode(content) == b'{"x":{"y":{"z":1,"v":3},"w":2},"b":1}'

    def test_a_dotted_source_leads_into_an_object(self) -> None:
        field = Field("owner__r.dept.name", "dept", convert=text)
        assert one(field, owner__r={"dept": {"name": "Sales"}}) == {"dept": "Sales"}
        assert one(field, owner__r={"dept": None}) == {"dept": None}
        assert one(field) == {"dept": None}

    def test_a_dotted_source_into_a_list_is_rejected(self) -> None:
        assert "there is no 'name' in a list" in str(why(Field("owner__l.name", "n"), owner__l=[{"name": "x"}]))

    def test_rows_do_not_share_their_objects(self) -> None:
        first_row, second_row = (WAREHOUSE.content(IN_BEIJING) for _ in range(2))
        first_row["location"]["city"] = "changed"
        assert second_row["location"]["city"] == "Beijing"


class TestLabel:
    LEVEL = Field("account_level", "level", convert=label)

    def test_it_is_read_from_the_companion(self) -> None:
        assert one(self.LEVEL, account_level="1", account_level__r="重点客户") == {"level": "重点客户"}
        assert one(self.LEVEL) == {"level": None}

    def test_a_value_without_its_companion_is_rejected_not_emptied(self) -> None:
        error = why(self.LEVEL, account_level="1")
        assert "Fenxiang sent no account_level__r with it" in str(error)
        assert (error.field, error.value) == ("account_level", "1")

    def test_a_default_stands_in_for_a_companion_that_was_not_sent(self) -> None:
        assert one(Field("account_level", "level", convert=label, default="?"), account_level="1") == {"level": "?"}


class TestRejects:
    def test_all_that_does_not_fit_is_in_one_text_and_the_first_field_leads(self) -> None:
        error = why(
            Field("a", "x.a", convert=integer),
            Field("b", convert=boolean),
            Field("c", convert=choice(["normal", "invalid"])),
            Field("d", required=True),
            a="1.5",
            b="yes",
            c="作废",
        )
        assert (error.field, error.value) == ("a", "1.5")
        assert str(error) == (
            "x.a ← a: not a whole number; use decimal() (value '1.5'); "
            "b ← b: not true or false (value 'yes'); "
            "c ← c: not one of the declared options 'normal', 'invalid' (value '作废'); "
            "d ← d: it is required, and the record has none (value null)"
        )

    def test_a_huge_value_is_cut_in_the_text(self) -> None:
        error = why(Field("a", convert=integer), Field("b", convert=text), a="x" * 10**6, b=[["y" * 10**6]] * 1000)
        assert len(str(error)) < 1000
        assert isinstance(error.value, str)
        assert len(error.value) < 200

    def test_what_a_function_raises_is_named_with_its_kind(self) -> None:
        def ratio(value: int) -> float:
            return 1 / (value - 5)

        assert "a ← a: ZeroDivisionError: " in str(why(Field("a", convert=ratio), a=5))
        assert one(Field("a", convert=ratio), a=7) == {"a": Decimal("0.5")}

    def test_what_a_function_gives_must_be_json(self) -> None:
        def a_set(value: Any) -> Any:
            return {value}

        assert "set is no JSON value" in str(why(Field("a", convert=a_set), a=5))

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"_id": None}, "_id"),
            ({"last_modified_time": None}, "last_modified_time"),
            ({"last_modified_time": "2023-10-01 12:00:00"}, "last_modified_time"),
            ({"last_modified_time": 2**70}, "last_modified_time"),
            ({"version": "three"}, "version"),
        ],
    )
    def test_a_record_that_cannot_be_ordered_is_rejected(self, change: dict[str, Any], field: str) -> None:
        with pytest.raises(RecordError) as caught:
            WAREHOUSE.row(ENGINE | IN_BEIJING | change)
        assert caught.value.field == field

    @pytest.mark.parametrize("value", ["   ", True, Decimal("1.5"), ["a"], {"a": 1}, "a\0b"])
    def test_an_id_is_text_or_a_whole_number(self, value: Any) -> None:
        with pytest.raises(RecordError, match="it is the row's id") as caught:
            Mapping([Field("code", "k.id")], key="k.id").row(ENGINE | {"code": value})
        assert caught.value.field == "code"

    def test_an_id_that_its_converter_rejected_is_named_once(self) -> None:
        with pytest.raises(RecordError) as caught:
            Mapping([Field("code", convert=integer)], key="code").row(ENGINE | {"code": "x"})
        assert str(caught.value) == "code ← code: not a number (value 'x')"


class TestRow:
    def test_it_carries_what_orders_and_identifies_it(self) -> None:
        row = WAREHOUSE.row(ENGINE | IN_BEIJING | {"name": "WD000001"})
        assert (row.id, row.source_id, row.number) == ("WH123", ENGINE["_id"], "WD000001")
        assert (row.modified_ms, row.version) == (1790000001456, 3)
        assert row.hash == content_hash(row.content)

    def test_a_whole_number_makes_an_id(self) -> None:
        assert Mapping([Field("code", convert=integer)], key="code").row(ENGINE | {"code": "0042"}).id == "42"

    def test_a_record_without_version_or_number_has_0_and_none(self) -> None:
        row = Mapping([Field("_id")], number=None).row({"_id": "a", "last_modified_time": 1, "name": "x"})
        assert (row.version, row.number) == (0, None)

    def test_zeros_behind_an_amount_do_not_change_its_hash(self) -> None:
        amount = Mapping([Field("_id"), Field("amount", convert=decimal)])
        rows = [amount.row(ENGINE | {"amount": text}) for text in ("21735", "21735.0", "21735.00")]
        assert len({row.hash for row in rows}) == 1
        assert [str(row.content["amount"]) for row in rows] == ["21735", "21735.0", "21735.00"]

    def test_companions_and_injected_fields_do_not_change_the_hash(self) -> None:
        noise = {"total_num": 506, "searchAfterId": ["1"], "owner__l": [{"name": "x"}], "unknown__c": 1}
        assert WAREHOUSE.row(ENGINE | IN_BEIJING | noise).hash == WAREHOUSE.row(ENGINE | IN_BEIJING).hash


NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40)
CONTENT = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | NUMBERS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=6,
)


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(item) for key, item in reversed(value.items())}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


def more_zeros(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: more_zeros(item) for key, item in value.items()}
    if isinstance(value, list):
        return [more_zeros(item) for item in value]
    return Decimal(f"{value:f}" + ("000" if "." in f"{value:f}" else ".000")) if isinstance(value, Decimal) else value


class TestHash:
    @given(CONTENT)
    def test_it_is_the_same_in_any_order_with_any_zeros_and_after_a_trip_through_the_stage(self, content: Any) -> None:
        encoded = msgspec.json.Encoder(decimal_format="number").encode(content)
        staged = msgspec.json.Decoder(float_hook=Decimal).decode(encoded)
        hashes = {content_hash(each) for each in (content, reversed_keys(content), more_zeros(content), staged)}
        assert len(hashes) == 1

    @given(CONTENT, CONTENT)
    def test_it_differs_where_the_content_does(self, one: Any, other: Any) -> None:
        def told_apart(value: Any) -> str:  # by Python's own rules, but True is not 1
            if isinstance(value, dict):
                return repr(sorted((key, told_apart(item)) for key, item in value.items()))
            if isinstance(value, list):
                return repr([told_apart(item) for item in value])
            return repr(hash(value)) if type(value) in (int, Decimal) else repr(value)

        assert (content_hash(one) == content_hash(other)) == (told_apart(one) == told_apart(other))

    def test_text_numbers_and_booleans_that_look_alike_differ(self) -> None:
        values = ["1", 1, True, "true", None, "null", "", 0, False, [], {}, [1], ["1"], Decimal("1.5"), "1.5"]
        assert len({content_hash({"a": value}) for value in values}) == len(values)

    def test_it_is_stable_over_releases(self) -> None:
        assert WAREHOUSE.row(ENGINE | IN_BEIJING).hash == content_hash(msgspec.json.decode(NESTED))
        assert content_hash({"a": 1}) == "2c6b113b8dd15ffbded9860b43eb0c6c"


class TestProjection:
    def test_it_asks_for_what_is_read_once_and_for_what_the_engine_needs(self) -> None:
        fields = [
            Field("_id"),
            Field("owner", "owner_id", convert=first(text)),
            Field("owner", "owner_name", convert=label),
            Field("place.city", "city"),
            Constant("origin", "fenxiang"),
        ]
        assert Mapping(fields).projection == (
            "_id",
            "last_modified_time",
            "version",
            "life_status",
            "is_deleted",
            "name",
            "owner",
            "owner__r",
            "place",
        )

    def test_the_number_field_is_asked_for_unless_there_is_none(self) -> None:
        assert "code" in Mapping([Field("_id")], number="code").projection
        assert "name" not in Mapping([Field("_id")], number=None).projection


class TestChecks:
    @pytest.mark.parametrize(
        ("fields", "key", "says"),
        [
            ([Field("a"), Field("b", "a")], "a", "'a' is written 2 times"),
            ([Field("a", "x"), Field("b", "x.y")], "x.y", "'x' is written as a value and as the object of 'x.y'"),
            ([Field("b", "x.y.z"), Field("a", "x")], "x", "'x' is written as a value and as the object of 'x.y.z'"),
            ([Field("a", "x..y")], "x..y", "'x..y' has an empty part"),
            ([Field("a", "x. y")], "x. y", "has an empty part or a space"),
            ([Field("a", "")], "", "to is empty"),
            ([Field("")], "", "source is empty"),
            ([Field("客户名称", "name")], "name", "labels are no names"),
            ([Field("total_num")], "total_num", "put into pages by Fenxiang"),
            ([Field("a", convert="integer")], "a", "write convert=integer"),  # type: ignore[arg-type]
            ([Field("a", required=True, default=1)], "a", "keep one"),
            ([Field("a", required=cast(Any, "no"))], "a", "required='no': give True or False"),
            ([Field("a", default=object())], "a", "object is no JSON value"),
            ([Constant("a", {1, 2}), Field("_id")], None, "set is no JSON value"),
            ([Field("a.b", convert=label)], "a.b", "name a field without a dot"),
            ([Field(5)], "5", "source=5: give a name"),  # type: ignore[arg-type]
            ([("a", "b")], "b", "is no Field, Constant, Computed, Lookup or Lines"),
            ([Field("warehouseId", "id")], "ID", "key 'ID' is written by no field"),
            ([Field("warehouseId", "identity")], "identiy", "did you mean 'identity'?"),
            ([Constant("id", 1)], "id", "is a constant"),
            ([Field("a")], None, "_id is mapped 0 times"),
            ([Field("_id"), Field("_id", "id")], None, "_id is mapped 2 times"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, fields: list[Any], key: str | None, says: str) -> None:
        with pytest.raises(DeclarationError) as caught:
            Mapping(fields, key=key)
        assert says in str(caught.value)

    def test_chinese_target_names_are_fine(self) -> None:
        assert one(Field("name", "客户.名称"), name="x") == {"客户": {"名称": "x"}}

    def test_a_compiled_mapping_can_be_copied_as_airflow_copies_operators(self) -> None:
        assert copy.deepcopy(WAREHOUSE).content(IN_BEIJING) == WAREHOUSE.content(IN_BEIJING)

    def test_as_is_is_what_a_field_does_by_default(self) -> None:
        assert Field("a").convert is as_is
        assert one(Field("a"), Field("b", convert=decimal), a=[1, {"x": 0.5}], b="1.50") == {
            "a": [1, {"x": Decimal("0.5")}],
            "b": Decimal("1.50"),
        }


def test_a_mapping_tells_what_every_row_has_in_the_order_of_the_declaration() -> None:
    made = Mapping(
        [
            Field("_id", convert=text, required=True),
            Field("amount", "money.amount", convert=decimal(scale=2)),
            Field("owner", convert=first(integer)),
            Field("closed", convert=boolean, default=False),
            Field("signed_at", convert=instant("Asia/Shanghai")),
            Field("shown_at", convert=instant("Asia/Shanghai", "YYYY-MM-DD HH:mm")),
            Field("due", convert=day()),
            Field("level", convert=choice({"a": 1, "b": 2})),
            Field("owner", "owner_name", convert=label),
            Field("anything"),
            Constant("origin", "fenxiang"),
        ]
    )

    assert [(each.path, each.kind.value, each.scale, each.required) for each in made.columns] == [
        ("_id", "text", None, True),
        ("money.amount", "decimal", 2, False),
        ("owner", "integer", None, False),
        ("closed", "boolean", None, True),
        ("signed_at", "instant", None, False),
        ("shown_at", "text", None, False),
        ("due", "day", None, False),
        ("level", "integer", None, False),
        ("owner_name", "text", None, False),
        ("anything", "json", None, False),
        ("origin", "text", None, True),
    ]
