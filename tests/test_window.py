"""Windows are half-open, in whole milliseconds, and know what they leave uncovered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fenxiang_sync.window import Window, from_ms, gaps, merge, to_ms

bounds = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted)
windows = st.lists(bounds.map(lambda pair: Window(pair[0], pair[1])), max_size=8)


def milliseconds(spans: list[Window]) -> set[int]:
    return {ms for span in spans for ms in range(span.since_ms, span.until_ms)}


@given(windows)
def test_merging_keeps_exactly_the_same_time_in_windows_that_do_not_touch(spans: list[Window]) -> None:
    merged = merge(spans)
    assert milliseconds(merged) == milliseconds(spans)
    assert all(left.until_ms < right.since_ms for left, right in pairwise(merged))


@given(bounds, windows)
def test_gaps_and_what_covers_make_up_the_whole(pair: list[int], covered: list[Window]) -> None:
    whole = Window(pair[0], pair[1])
    found = gaps(whole, covered)
    assert milliseconds(found) == milliseconds([whole]) - milliseconds(covered)
    assert not any(gap.empty for gap in found)


@given(st.integers(0, 4_000_000_000_000))
def test_milliseconds_come_back_from_datetimes_exactly(ms: int) -> None:
    assert to_ms(from_ms(ms)) == ms


def test_microseconds_are_floored_never_rounded() -> None:
    assert to_ms(datetime(2026, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)) == to_ms(datetime(2026, 1, 1, tzinfo=UTC)) + 999


def test_the_zone_of_a_bound_does_not_matter() -> None:
    beijing = timezone(timedelta(hours=8))
    assert Window.between(
        datetime(2026, 1, 1, 8, tzinfo=beijing), datetime(2026, 1, 2, 8, tzinfo=beijing)
    ) == Window.between(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))


def test_a_naive_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        to_ms(datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="ends before it begins"):
        Window(5, 4)


def test_a_window_travels_as_json_to_the_millisecond() -> None:
    window = Window(1_696_161_600_001, 1_696_161_600_999)
    assert Window.from_json(window.to_json()) == window


def test_halves_meet_and_one_millisecond_has_none() -> None:
    assert Window(0, 3).halves() == (Window(0, 1), Window(1, 3))
    with pytest.raises(ValueError, match="too short"):
        Window(7, 8).halves()


def test_a_lookback_never_reaches_before_the_epoch() -> None:
    assert Window(1_000, 5_000).widen(timedelta(hours=1)) == Window(0, 5_000)
