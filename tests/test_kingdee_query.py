"""What is written into a filter of Kingdee: every value of ours is one value there, whatever it is made of."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fenxiang_simulator.bill_filter import parse
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.kingdee.query import LocalTime, among, is_key, literal, where_problems
from fenxiang_sync.window import to_ms

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
HOSTILE = st.sampled_from(["'", "''", "' or 1 = 1 or FName = '", "') or (1 = 1", "--", "/*", ";", "\\'", "%"])


@given(st.lists(TEXTS | HOSTILE, min_size=1).map("".join), TEXTS)
def test_a_text_is_one_value_of_the_filter_whatever_it_is_made_of(value: str, other: str) -> None:
    holds = parse(f"FName = {literal(value)} and FNumber = 'N'")
    assert holds({"FName": value, "FNumber": "N"}.get) is True
    assert holds({"FName": value, "FNumber": "M"}.get) is False
    assert holds({"FName": other, "FNumber": "N"}.get) is (other.casefold() == value.casefold())


@given(st.lists(TEXTS | HOSTILE | st.integers(), min_size=1, max_size=5))
def test_each_of_several_values_is_found_and_no_other(values: list[str | int]) -> None:
    texts = [value for value in values if isinstance(value, str)] or ["x"]
    holds = parse(among("FName", texts))
    assert all(holds({"FName": value}.get) for value in texts)
    assert not holds({"FName": "".join(texts) + "x"}.get) or ("".join(texts) + "x").casefold() in map(
        str.casefold, texts
    )


def test_a_nul_is_refused() -> None:
    with pytest.raises(DeclarationError, match="NUL"):
        literal("a\0b")


@pytest.mark.parametrize("name", ["", "1F", "F Name", "F'", "F.", ".F", "F..G", "F-G", "字段", "a.b.c.d.e.f", 7, None])
def test_what_is_no_field_key_is_told(name: object) -> None:
    assert not is_key(name)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("FName = 'a", "does not end"),
        ("FName = 'a''", "does not end"),
        ("FName = 'a'; delete", "';'"),
        ("FName = 'a' -- all", "'--'"),
        ("FName = 'a' /* all", "'/*'"),
        ("1 = 1) or (1 = 1", "parentheses"),
        ("(FName = 'a'", "parentheses"),
        ("F" * 2_001, "2,001 characters"),
        (["FName"], "give a FilterString"),
    ],
)
def test_a_filter_that_would_not_stand_alone_is_named(where: object, says: str) -> None:
    [problem] = where_problems(where)
    assert says in problem


@pytest.mark.parametrize("where", ["", "FName = 'a;--/*)('", "(FName in ('a','b''c') or FUseOrgId.FNumber = '100')"])
def test_a_filter_that_stands_alone_is_taken(where: str) -> None:
    assert list(where_problems(where)) == []


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Europe/Moscow", "Asia/Pyongyang"])
def test_a_zone_in_which_a_stamp_could_mean_two_moments_is_refused(zone: str) -> None:
    with pytest.raises(DeclarationError, match=f"{zone} has summer time"):
        LocalTime.of(zone)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "UTC", "Asia/Kolkata", "Etc/GMT+5"])
@given(seconds=st.integers(0, 4_000_000_000), ms=st.integers(0, 999))
def test_a_stamp_that_is_written_reads_as_the_same_moment(zone: str, seconds: int, ms: int) -> None:
    time = LocalTime.of(zone)
    assert time.read(time.written(seconds * 1000 + ms)) == seconds * 1000
    assert time.read(time.written(seconds * 1000 + ms, up=True)) == (seconds + (ms > 0)) * 1000


def test_a_stamp_with_a_zone_of_its_own_is_that_moment() -> None:
    moment = to_ms(datetime(2026, 5, 1, 2, tzinfo=UTC))
    assert LocalTime.of("Asia/Shanghai").read("2026-05-01T02:00:00Z") == moment
    assert LocalTime.of("Asia/Shanghai").read("2026-05-01 10:00:00") == moment
    assert LocalTime.of("Asia/Shanghai").read(1234) is None
