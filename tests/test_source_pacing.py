from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fenxiang_sync.errors import SetupError
from fenxiang_sync.source import Pace, Paces

JITTER_S = 0.69
"""How much later than another a call may arrive, in the tests that hold the quota."""


class Time:
    """A clock that only sleeping moves; `meanwhile` holds what happens during the next sleeps."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []
        self.meanwhile: list[Callable[[], None]] = []

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        if self.meanwhile:
            self.meanwhile.pop()()


def most_in_a_window(moments: list[float], seconds: float) -> int:
    moments = sorted(moments)
    return max((bisect_left(moments, at + seconds) - index for index, at in enumerate(moments)), default=0)


@given(
    processes=st.lists(st.integers(1, 260), min_size=1, max_size=4),
    delays=st.lists(st.floats(0, 0.4), min_size=1, max_size=30),
    jitters=st.lists(st.floats(0, JITTER_S), min_size=1, max_size=30),
    quota=st.sampled_from([(100, 20.0, 1.0), (100, 20.0, 0.5), (1000, 20.0, 1.0), (7, 20.0, 1.0)]),
)
def test_no_window_holds_more_than_the_quota_whatever_the_network_and_whoever_takes_over(
    processes: list[int], delays: list[float], jitters: list[float], quota: tuple[int, float, float]
) -> None:
    calls, per_seconds, share = quota
    time = Time()
    arrivals: list[float] = []
    for number in processes:
        pace = Pace(calls, per_seconds, share, now=time.now, sleep=time.sleep)
        for index in range(number):
            pace.wait()
            arrivals.append(time.seconds + jitters[index % len(jitters)])
            time.seconds += delays[index % len(delays)] if number % 2 else 0.0
        time.seconds = max(time.seconds, *arrivals)
    assert most_in_a_window(arrivals, per_seconds) <= calls * share


@given(latency=st.floats(0.05, 0.4), calls=st.sampled_from([100, 500]))
def test_a_long_pull_by_several_threads_uses_over_95_percent_of_the_quota(latency: float, calls: int) -> None:
    """Waiting threads reserve their turns, so that the time a call takes does not show."""
    time = Time()
    pace = Pace(calls, 20, now=time.now, sleep=time.sleep)
    threads = [0.0] * 50
    begun = time.seconds
    sent = 0
    while time.seconds - begun < 300:
        free = min(range(50), key=threads.__getitem__)
        time.seconds = max(time.seconds, threads[free])
        pace.wait()
        sent += 1
        threads[free] = time.seconds + latency
    assert sent >= 0.95 * 300 / 20 * calls


def test_all_threads_share_one_spacing() -> None:
    time = Time()
    lock = threading.Lock()

    def sleep(seconds: float) -> None:
        with lock:
            time.slept.append(seconds)

    pace = Pace(100, 20, now=time.now, sleep=sleep)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: pace.wait(), range(40)))
    assert sorted(time.slept) == pytest.approx([pace.interval * turn for turn in range(1, 41)])


def test_backing_off_is_felt_by_those_who_already_wait_and_spacing_goes_on_after() -> None:
    time = Time()
    pace = Pace(100, 20, now=time.now, sleep=time.sleep)
    pace.wait()
    time.meanwhile.append(lambda: pace.back_off(5))
    pace.wait()
    woke = time.seconds
    assert woke >= 1000 + 5
    pace.wait()
    assert time.seconds - woke == pytest.approx(pace.interval)


def test_backing_off_twice_at_once_is_backing_off_once() -> None:
    time = Time()
    pace = Pace(100, 20, now=time.now, sleep=time.sleep)
    for _ in range(8):
        pace.back_off(5)
    pace.wait()
    assert time.seconds == 1005


def test_a_share_leaves_the_rest_to_others() -> None:
    assert Pace(100, 20, 0.25).interval == pytest.approx(4 * Pace(100, 20).interval)


@pytest.mark.parametrize(("calls", "seconds", "share"), [(0, 20, 1.0), (100, 0, 1.0), (100, 20, 0.0), (100, 20, 1.1)])
def test_a_quota_that_cannot_be_kept_names_its_parts(calls: int, seconds: float, share: float) -> None:
    with pytest.raises(SetupError, match=f"{calls} calls in {seconds} s.*{share}"):
        Pace(calls, seconds, share)


def test_each_path_has_a_pace_of_its_own() -> None:
    paces = Paces()
    assert paces("/a") is paces("/a")
    assert paces("/a") is not paces("/b")
