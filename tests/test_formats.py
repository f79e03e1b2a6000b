"""Formats: converters of Qeasy's parsers and formats; what does not fit is rejected, never changed silently."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fenxiang_sync import (
    Field,
    Unmatched,
    chain,
    choice,
    cut,
    decimal,
    first,
    integer,
    joined,
    key_values,
    label,
    limited,
    money,
    prefixed,
    rounded,
    split,
    text,
    truncated,
    unwrapped,
    value_map,
    wrapped,
)
from fenxiang_sync.columns import Kind
from fenxiang_sync.errors import DeclarationError, RecordError
from fenxiang_sync.mapping import Mapping


def content(field: Field, **record: Any) -> Any:
    mapping = Mapping([Field("_id", "the_id"), field])
    return mapping.content({"_id": "1", "last_modified_time": 1790000001456, **record})[field.target]


def test_a_value_that_the_map_lacks_is_rejected_kept_or_replaced_as_declared() -> None:
    table = {"KHLB001_SYS": 1, "KHLB002_SYS": 2}
    assert content(Field("a", convert=value_map(table)), a="KHLB002_SYS") == 2
    with pytest.raises(RecordError, match="not in the value map of 'KHLB001_SYS', 'KHLB002_SYS'"):
        content(Field("a", convert=value_map(table)), a="KHLB003_SYS")
    assert content(Field("a", convert=value_map(table, unmatched=Unmatched.KEEP)), a="KHLB003_SYS") == "KHLB003_SYS"
    assert content(Field("a", convert=value_map(table, unmatched=Unmatched.NULL)), a="KHLB003_SYS") is None
    assert content(Field("a", convert=value_map(table, default=0)), a="KHLB003_SYS") == 0
    assert content(Field("a", convert=value_map(table, default=0))) is None, "null is no value that is missing"


def test_a_value_map_takes_rows_as_qeasys_table_has_them_and_compares_as_text() -> None:
    made = value_map([(1, "甲"), ("2", "乙"), (True, "是")])
    assert [made(each) for each in ("1", 2, Decimal(1), True)] == ["甲", "乙", "甲", "是"]


def untyped(value: Any) -> Any:
    """What people write although the types say no."""
    return value


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: value_map({}), "maps nothing"),
        (lambda: value_map([("1", "a"), (1, "b")]), "1 is there twice"),
        (lambda: value_map({"1": "a"}, unmatched="keep"), "unmatched='keep'; give Unmatched.REJECT, KEEP or NULL"),
        (lambda: value_map({"1": "a"}, unmatched=Unmatched.KEEP, default=1), "are two answers; keep one"),
        (lambda: value_map({"1": object()}), "'1' becomes"),
        (lambda: value_map(untyped(None)), "give a dict of what each value becomes"),
        (lambda: value_map(untyped(["ab"])), "give a dict of what each value becomes"),
        (lambda: value_map(untyped([("a",)])), "give a dict of what each value becomes"),
        (lambda: value_map([(["a"], "x")]), r"\['a'\]: a list or an object is in no value map"),
        (lambda: choice(untyped(None)), "give a list of option values"),
        (lambda: split(""), "give the text between the parts"),
        (lambda: rounded(-1), "give the number of decimals"),
        (lambda: cut(0), "how many characters"),
        (lambda: wrapped(), "name the properties"),
        (lambda: unwrapped("a", ""), "name the properties"),
        (lambda: limited(0), "how many characters the target takes"),
        (lambda: prefixed(""), "the text that stands before"),
        (lambda: chain(text), "two converters or more"),
        (lambda: chain(text, label), "reads another field"),
    ],
)
def test_a_format_that_cannot_be_meant_is_refused_when_it_is_declared(wrong: Any, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        wrong()


def test_lists_become_text_and_text_becomes_lists() -> None:
    assert content(Field("a", convert=joined("|")), a=["optA", "optB"]) == "optA|optB"
    assert content(Field("a", convert=split()), a="FNumber, FName") == ["FNumber", "FName"]
    assert content(Field("a", convert=split()), a="  ") == []
    assert content(Field("a", convert=key_values), a={"1033": "x", "name": 2}) == [
        {"Key": 1033, "Value": "x"},
        {"Key": "name", "Value": 2},
    ]


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=6))
def test_rounding_is_half_up_and_never_off_by_more_than_half(number: Decimal) -> None:
    found = rounded(2)(str(number))
    assert abs(found - number) <= Decimal("0.005")
    assert found.as_tuple().exponent == -2
    assert abs(truncated(str(number))) <= abs(number)


def test_numbers_for_people_keep_their_sign() -> None:
    assert [money()(each) for each in ("1000000", "-0.004", "-12.345")] == ["￥1,000,000.00", "￥0.00", "-￥12.35"]


def test_a_chain_ends_with_null_and_is_of_the_kind_of_its_last_link() -> None:
    made = chain(first(), value_map({"1000": "王芳"}, unmatched=Unmatched.NULL), cut(1))
    assert [made(["1000"]), made(["1001"]), made([])] == ["王…", None, None]
    assert (made.kind, chain(text, decimal(scale=2)).scale) == (Kind.TEXT, 2)
    assert content(Field("a", convert=chain(label, wrapped("FName"))), a="1", a__r="正常") == {"FName": "正常"}


def test_a_format_is_written_as_it_is_declared() -> None:
    assert str(chain(first(integer), wrapped("FNumber"))) == "chain(first(integer), wrapped('FNumber'))"
    assert str(value_map({"1": 2}, unmatched=Unmatched.KEEP)) == "value_map({'1': 2}, unmatched=Unmatched.KEEP)"
    assert value_map({"1": 2}) == value_map({"1": 2})
    assert value_map({"1": 2}) != choice({"1": 2})


def test_a_composite_value_is_read_from_an_object_and_from_the_json_of_one() -> None:
    fixed = Field("account_range", convert=chain(unwrapped("type"), choice(["FIXED", "ALL"])))
    assert content(fixed, account_range='{"type":"FIXED","value":"FIXED"}') == "FIXED"
    assert content(fixed, account_range={"type": "ALL"}) == "ALL"
    with pytest.raises(RecordError, match="not one of the declared options"):
        content(fixed, account_range='{"type":"CONDITION","value":"[]"}')
    assert content(Field("a", convert=unwrapped("rate")), a='{"rate":0.1}') == Decimal("0.1"), "numbers stay exact"
    assert content(Field("a", convert=unwrapped("x", "y")), a={"x": {"y": None}}) is None


@pytest.mark.parametrize("wrong", ["ALL", '{"value":"ALL"}', "{", '["type"]', "[" * 5_000, 7])
def test_what_is_no_composite_value_is_rejected_with_the_name_that_it_lacks(wrong: Any) -> None:
    with pytest.raises(RecordError, match="no object with 'type', and no JSON of one"):
        content(Field("account_range", convert=unwrapped("type")), account_range=wrong)


@given(st.text(min_size=1, max_size=8), st.recursive(st.integers() | st.text(min_size=1), st.lists, max_leaves=4))
def test_what_is_wrapped_is_unwrapped_again(name: str, value: Any) -> None:
    assert unwrapped(name, "b")(wrapped(name, "b")(value)) == value


def test_text_that_is_too_long_for_the_target_is_rejected_and_never_cut() -> None:
    assert content(Field("a", convert=limited(3)), a="三个字") == "三个字"
    with pytest.raises(RecordError, match="has 4 characters, and the target takes 3"):
        content(Field("a", convert=limited(3)), a="四个字了")


def test_a_prefix_keeps_the_ids_of_tenants_apart() -> None:
    assert content(Field("a", convert=prefixed("north-")), a=7) == "north-7"
    assert content(Field("a", convert=prefixed("north-"))) is None
