from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fenxiang_sync.errors import DeclarationError, ThrottledError
from fenxiang_sync.targets.pace import Pace, Rate


class Watch:
    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


def paced(rate: Rate | None, *, patience: float = 60.0) -> tuple[Pace, Watch]:
    watch = Watch()
    return Pace(rate, patience=patience, now=watch.now, sleep=watch.sleep), watch


@given(
    calls=st.integers(1, 12),
    took=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1)), min_size=1, max_size=60),
)
def test_no_span_holds_more_calls_than_the_rate(calls: int, took: list[tuple[float, float]]) -> None:
    """A call arrives somewhere between its start and its answer."""
    pace, watch = paced(Rate(calls=calls, per_seconds=10))
    arrived = []
    for duration, share in took:
        pace.wait()
        arrived.append(watch.time + duration * share)
        watch.time += duration
        pace.answered()
    for first in arrived:
        assert sum(first <= moment < first + 9.999 for moment in arrived) <= calls


def test_the_first_call_is_spaced_from_whoever_called_just_before() -> None:
    pace, watch = paced(Rate(calls=60, per_seconds=60))
    pace.wait()
    assert watch.slept == [pytest.approx(1.02)]


def test_a_target_without_a_rate_never_waits() -> None:
    pace, watch = paced(None)
    for _ in range(5):
        pace.wait()
        pace.answered()
    assert watch.slept == []


def test_a_short_cool_down_is_waited_for() -> None:
    pace, watch = paced(None)
    assert pace.back_off(7) == 7
    pace.wait()
    assert watch.slept == [7]


def test_a_long_cool_down_is_handed_back_with_its_time() -> None:
    pace, watch = paced(Rate(calls=60, per_seconds=60, cool_down=300))
    assert pace.back_off(None) == 300
    with pytest.raises(ThrottledError) as caught:
        pace.wait()
    assert caught.value.retry_after == 300
    assert watch.slept == []


def test_a_clock_that_is_turned_back_does_not_stop_the_calls() -> None:
    pace, watch = paced(Rate(calls=2, per_seconds=10))
    pace.wait()
    pace.answered()
    watch.time -= 86_400
    pace.wait()
    assert watch.slept[-1] <= 10


@pytest.mark.parametrize("wrong", [{"calls": 0}, {"per_seconds": 0}, {"cool_down": -1}])
def test_a_rate_that_cannot_be_meant_is_a_declaration_error(wrong: dict[str, float]) -> None:
    with pytest.raises(DeclarationError, match="calls must be 1 or more"):
        Rate(**{"calls": 1, "per_seconds": 1, **wrong})  # type: ignore[arg-type]
