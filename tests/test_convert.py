"""Converters: one value in, one exact value out, or the reason why not."""

from __future__ import annotations

import doctest
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pendulum
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fenxiang_sync import convert
from fenxiang_sync.convert import (
    as_is,
    boolean,
    choice,
    converter,
    day,
    decimal,
    first,
    instant,
    integer,
    is_null,
    label,
    text,
    written,
)
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.window import from_ms, to_ms

NOON = 1696161600000
YEAR_1000, YEAR_9999 = -30_610_137_600_000, 253_402_128_000_000
MOMENTS = st.integers(YEAR_1000, YEAR_9999).map(from_ms)


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(convert).failed == 0


class TestNull:
    @pytest.mark.parametrize("value", [None, "", [], {}])
    def test_what_fenxiang_leaves_out_is_null(self, value: Any) -> None:
        assert is_null(value)

    @pytest.mark.parametrize("value", [0, False, Decimal(0), 0.0, " ", [None], "0"])
    def test_zero_and_false_are_values(self, value: Any) -> None:
        assert not is_null(value)


class TestText:
    def test_a_number_is_written_as_it_came(self) -> None:
        assert [text(v) for v in (10000, Decimal("21735.00"), 0.1, True)] == ["10000", "21735.00", "0.1", "true"]

    @pytest.mark.parametrize("value", [["a"], {"name": "a"}])
    def test_a_list_or_an_object_is_no_text(self, value: Any) -> None:
        with pytest.raises(ValueError, match=r"is no text; .*first\(text\)"):
            text(value)


class TestInteger:
    @given(st.integers(-(2**63), 2**63 - 1))
    def test_every_whole_number_of_64_bits_survives_as_number_text_and_decimal(self, number: int) -> None:
        assert integer(number) == integer(str(number)) == integer(f"{number}.00") == integer(Decimal(number)) == number

    @pytest.mark.parametrize(
        "value", [1.5, "1.5", Decimal("0.1"), "abc", "", "1_000", "１２", "1,000", "0x10", " 1", True]
    )
    def test_anything_else_is_rejected(self, value: Any) -> None:
        with pytest.raises(ValueError, match=r"number"):
            integer(value)

    @pytest.mark.parametrize("value", [2**63, -(2**63) - 1, str(2**63), "9" * 40])
    def test_more_than_64_bits_is_rejected(self, value: Any) -> None:
        with pytest.raises(ValueError, match="64 bits"):
            integer(value)

    def test_a_text_of_a_million_digits_is_rejected_at_once(self) -> None:
        with pytest.raises(ValueError, match="not a"):
            integer("9" * 1_000_000)


class TestDecimal:
    @given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=6))
    def test_money_as_text_keeps_every_digit(self, amount: Decimal) -> None:
        assert str(decimal()(str(amount))) == str(amount)

    @given(st.just(0.0) | st.floats(1e-90, 1e90) | st.floats(-1e90, -1e-90))
    def test_a_float_counts_as_the_shortest_text_that_means_it(self, number: float) -> None:
        converted = decimal()(number)
        assert isinstance(converted, Decimal)
        assert float(converted) == number

    @given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**60), max_value=10**60, places=2))
    def test_scale_fills_up_and_changes_no_amount(self, amount: Decimal) -> None:
        scaled = decimal(scale=4)(str(amount))
        assert scaled == amount
        assert str(scaled) == f"{amount}00"

    def test_scale_never_rounds(self) -> None:
        with pytest.raises(ValueError, match="more than 2 decimals"):
            decimal(scale=2)("0.125")
        assert str(decimal(scale=2)("0.1200")) == "0.12"

    @pytest.mark.parametrize(
        "value", ["1,000.00", "￥1", "NaN", "Infinity", "", "1e", "１", "--1", True, [1], float("nan")]
    )
    def test_what_is_no_number_is_rejected(self, value: Any) -> None:
        with pytest.raises(ValueError, match="number"):
            decimal()(value)

    @pytest.mark.parametrize(
        "value", ["1e999", "1e-999", Decimal("1E+999999"), Decimal("0E-999999"), "1" * 500, "0." + "1" * 150]
    )
    @pytest.mark.parametrize("scale", [None, 2])
    def test_a_number_that_would_fill_the_memory_is_rejected(self, value: Any, scale: int | None) -> None:
        with pytest.raises(ValueError, match="digits"):
            decimal(scale=scale)(value)

    @pytest.mark.parametrize("scale", [-1, 1.5, "2", True, 1000])
    def test_a_scale_is_a_small_whole_number(self, scale: Any) -> None:
        with pytest.raises(DeclarationError, match=r"decimal\(scale="):
            decimal(scale=scale)


class TestBoolean:
    def test_only_true_and_false_are_booleans(self) -> None:
        assert [boolean(v) for v in (True, False, "true", "false")] == [True, False, True, False]

    @pytest.mark.parametrize("value", [0, 1, "True", "1", "yes", "是", [], Decimal(1)])
    def test_anything_else_is_rejected(self, value: Any) -> None:
        with pytest.raises(ValueError, match="not true or false"):
            boolean(value)


class TestInstant:
    @pytest.mark.parametrize("value", [NOON, str(NOON), "2023-10-01T12:00:00Z", "2023-10-01T20:00:00+08:00"])
    def test_the_same_moment_in_any_spelling_gives_the_same_text(self, value: Any) -> None:
        assert instant("Asia/Shanghai", "YYYY-MM-DD HH:mm:ss")(value) == "2023-10-01 20:00:00"

    def test_without_a_format_the_offset_is_written(self) -> None:
        assert instant("Asia/Shanghai")(NOON + 1) == "2023-10-01T20:00:00.001000+08:00"

    @given(MOMENTS, st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York", "Asia/Kathmandu"]))
    @example(datetime(1988, 7, 1, tzinfo=UTC), "Asia/Shanghai")
    def test_iso_text_reads_back_as_the_same_moment(self, moment: datetime, zone: str) -> None:
        assert datetime.fromisoformat(instant(zone)(to_ms(moment))) == moment

    @given(
        MOMENTS,
        st.sampled_from(
            [
                "YYYY-MM-DD HH:mm:ss",
                "YYYY年MM月DD日 HH:mm",
                "DD/MM/YYYY 100%",
                "YYYYMMDDHHmmss",
                "YYYY-MM-DD[T]HH:mm:ss.SSSZ",
                "MMMM D, YYYY h:mm A",
                "YYYY-DDDD",
                "X x",
            ]
        ),
        st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York"]),
    )
    def test_every_format_is_pendulums(self, moment: datetime, format: str, zone: str) -> None:
        assert instant(zone, format)(to_ms(moment)) == pendulum.instance(moment).in_timezone(zone).format(format)

    def test_a_year_of_long_ago_has_four_digits(self) -> None:
        assert day()("0001-01-01") == day()(-62135596800000) == "0001-01-01"
        assert day("YYYYMMDD")("0987-06-05") == "09870605"

    @pytest.mark.parametrize("value", ["2023-10-01T12:00:00", "2023-10-01 12:00:00", "2023-10-01"])
    def test_a_naive_time_is_rejected(self, value: str) -> None:
        with pytest.raises(ValueError, match="without zone"):
            instant()(value)

    @pytest.mark.parametrize("value", ["soon", "20231001120000000", "1696161600", "12:00", 1.5, True, [NOON], {}])
    def test_what_is_no_moment_is_rejected(self, value: Any) -> None:
        with pytest.raises(ValueError, match=r"moment|number|zone"):
            instant()(value)

    @pytest.mark.parametrize("value", [10**18, -(10**18), 10**30, 253402300799999 + 1])
    def test_a_moment_beyond_the_calendar_is_rejected(self, value: int) -> None:
        with pytest.raises(ValueError, match="years 1 to 9999"):
            instant("Asia/Shanghai")(value)

    def test_an_unknown_zone_is_refused_with_the_nearest(self) -> None:
        with pytest.raises(DeclarationError, match="'Asia/Shangai' is no time zone; did you mean 'Asia/Shanghai'"):
            instant("Asia/Shangai")

    @pytest.mark.parametrize("format", ["%Y-%m-%d", "yyyy-MM-dd", "YYYY-MM-DD HH:MM", "", 5])
    def test_a_format_of_another_language_is_refused(self, format: Any) -> None:
        with pytest.raises(DeclarationError, match="format="):
            instant("UTC", format)

    def test_a_clock_of_the_zone_is_read_as_such_only_where_that_is_said(self) -> None:
        erp = instant("Asia/Shanghai", local=True)
        assert erp("2023-10-01T20:00:00.123") == "2023-10-01T20:00:00.123000+08:00"
        assert erp("2023-10-01T12:00:00Z") == erp(NOON) == "2023-10-01T20:00:00+08:00"
        assert erp.written == 'instant("Asia/Shanghai", local=True)'
        assert erp != instant("Asia/Shanghai")
        with pytest.raises(ValueError, match="a time without zone"):
            instant("Asia/Shanghai")("2023-10-01T20:00:00")
        with pytest.raises(DeclarationError, match="local='yes'"):
            instant(local="yes")  # type: ignore[arg-type]

    @pytest.mark.parametrize("clock", ["2026-10-25T02:30:00", "2026-03-29T02:30:00"])
    def test_a_clock_that_summer_time_shows_twice_or_never_is_rejected(self, clock: str) -> None:
        with pytest.raises(ValueError, match="twice or never"):
            instant("Europe/Berlin", local=True)(clock)


class TestDay:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (1790179200000, "2026-09-24"),
            (1619712000000, "2021-04-30"),
            ("1790179200000", "2026-09-24"),
            ("2026-09-24", "2026-09-24"),
            ("2026-09-23T16:00:00Z", "2026-09-24"),
            (0, "1970-01-01"),
        ],
    )
    def test_a_day_is_its_midnight_in_shanghai(self, value: Any, expected: str) -> None:
        assert day()(value) == expected

    def test_a_day_of_the_summers_with_daylight_saving_is_that_day_by_either_midnight(self) -> None:
        by_zone = to_ms(pendulum.datetime(1988, 7, 1, tz="Asia/Shanghai"))
        by_offset = to_ms(pendulum.datetime(1988, 7, 1, tz=8))
        assert by_zone != by_offset
        assert day()(by_zone) == day()(by_offset) == "1988-07-01"

    @given(st.dates(min_value=date(1000, 1, 2)))
    def test_every_day_survives(self, any_day: date) -> None:
        midnight = pendulum.datetime(any_day.year, any_day.month, any_day.day, tz="Asia/Shanghai")
        assert day("YYYY/MM/DD")(to_ms(midnight)) == midnight.format("YYYY/MM/DD")

    @pytest.mark.parametrize("value", ["2026-13-01", "2026/09/24", "yesterday!", "", True, ["2026-09-24"]])
    def test_what_is_no_day_is_rejected(self, value: Any) -> None:
        with pytest.raises(ValueError, match=r"day|moment|number"):
            day()(value)


class Level(StrEnum):
    HIGH = "1"
    LOW = "2"


class TestChoice:
    def test_the_declared_options_pass_and_a_dict_says_what_they_become(self) -> None:
        assert choice(["1", "2"])("1") == "1"
        assert choice(Level)("2") == "2"
        assert choice({"1": {"FNumber": "A"}})("1") == {"FNumber": "A"}

    def test_an_unknown_option_is_rejected_with_the_nearest(self) -> None:
        with pytest.raises(ValueError, match="the nearest is 'under_review'"):
            choice(["under_review", "normal"])("under-review")

    def test_an_unknown_option_is_rejected_with_the_allowed_ones(self) -> None:
        with pytest.raises(ValueError, match="declared options '1', '2'"):
            choice(Level)("重点客户")

    def test_a_thousand_options_are_not_all_listed(self) -> None:
        with pytest.raises(ValueError) as caught:
            choice(map(str, range(1000)))("x")
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize("value", [["1"], {"1": 1}])
    def test_a_list_is_no_option(self, value: Any) -> None:
        with pytest.raises(ValueError, match=r"first\(choice"):
            choice(Level)(value)

    @pytest.mark.parametrize("options", ["normal", [], {}, [["a"]], {"a": object()}])
    def test_options_that_cannot_be_meant_are_refused(self, options: Any) -> None:
        with pytest.raises(DeclarationError, match="choice"):
            choice(options)


class TestFirst:
    def test_the_first_is_converted_by_the_inner_converter(self) -> None:
        assert first()(["FSUID_a", "FSUID_b"]) == "FSUID_a"
        assert first(decimal(scale=1))(["1", "2"]) == Decimal("1.0")

    @pytest.mark.parametrize("value", [[], [None], [""], [[]]])
    def test_the_first_of_nothing_is_null(self, value: Any) -> None:
        assert first(integer)(value) is None

    def test_a_single_value_is_itself(self) -> None:
        assert first(text)("FSUID_a") == "FSUID_a"

    def test_it_cannot_take_a_label_since_that_is_another_field(self) -> None:
        with pytest.raises(DeclarationError, match="label reads another field"):
            first(label)


class TestLabel:
    @pytest.mark.parametrize(
        ("companion", "expected"),
        [
            ("正常", "正常"),
            ({"id": "1000", "name": "Demo User", "status": 0}, "Demo User"),
            ({"deptId": "1003", "deptName": "Sales"}, "Sales"),
            ([{"name": "A"}, {"name": "B"}], "A, B"),
            ({}, None),
            ({"name": ""}, None),
        ],
    )
    def test_it_reads_what_people_read(self, companion: Any, expected: str | None) -> None:
        assert label(companion) == expected

    @pytest.mark.parametrize("companion", [5, True, {"id": "1000"}])
    def test_what_has_no_name_is_no_label(self, companion: Any) -> None:
        with pytest.raises(ValueError, match="is no label"):
            label(companion)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False, width=32),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


class TestAsIs:
    @given(JSON)
    def test_what_it_gives_is_equal_and_holds_no_float(self, value: Any) -> None:
        def flat(item: Any) -> Any:
            parts = item.values() if isinstance(item, dict) else item if isinstance(item, list) else []
            return [item, *(deep for part in parts for deep in flat(part))]

        assert not any(isinstance(item, float) for item in flat(as_is(value)))
        if not any(isinstance(item, float) for item in flat(value)):
            assert as_is(value) == value

    @pytest.mark.parametrize("value", [object(), {1}, b"x", datetime.now(UTC), {1: "a"}, [float("inf")]])
    def test_what_is_no_json_is_rejected(self, value: Any) -> None:
        with pytest.raises(ValueError):
            as_is(value)


def shout(value: Any) -> Any:
    return value.upper()


def halve(value: Any) -> Any:
    return value / 2


class TestWhatConvertTakes:
    def test_a_function_of_ones_own_is_shown_by_its_name(self) -> None:
        assert written(converter(shout)) == "shout"
        assert converter(shout)("a") == "A"

    def test_a_function_that_gives_a_float_gives_an_exact_number(self) -> None:
        assert converter(halve)(5) == Decimal("2.5")

    @pytest.mark.parametrize("bare", [decimal, instant, day, first])
    def test_a_converter_without_its_brackets_has_its_defaults(self, bare: Any) -> None:
        assert converter(bare) == bare()

    @pytest.mark.parametrize(
        ("given", "way_out"),
        [
            ("decimal(2)", "write convert=decimal"),
            ("date", "give the converter itself"),
            (5, "is no converter; use text, integer"),
            (int, "is no converter"),
            (choice, "choice needs its options"),
            (lambda value: value, "use def"),
        ],
    )
    def test_anything_else_is_refused_with_a_way_out(self, given: Any, way_out: str) -> None:
        with pytest.raises(DeclarationError) as caught:
            converter(given)
        assert way_out in str(caught.value)

    def test_converters_that_are_written_alike_are_equal(self) -> None:
        assert decimal(scale=2) == decimal(scale=2) != decimal(scale=3)
        assert instant("UTC") == instant() != instant("Asia/Shanghai")
