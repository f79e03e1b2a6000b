"""SharedPace: the calls of all processes that keep one note, as one."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fenxiang_sync.errors import TransientError
from fenxiang_sync.source import SharedPace
from fenxiang_sync.source.pacing import SLACK_S

PATH = "/cgi/crm/v2/data/query"
Document = dict[str, Any] | None


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Keeper:
    """Keeps the note, by a clock of its own."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.document: Document = None
        self.down = False

    def revise(self, change: Callable[[Document, float], dict[str, Any]]) -> None:
        if self.down:
            raise TransientError("The hub cannot be used now")
        self.document = change(self.document, self.time.seconds + 1_790_000_000)

    def pace(self, calls: int = 100, per_seconds: float = 20, share: float = 1.0, **more: Any) -> SharedPace:
        given: dict[str, Any] = {"path": PATH, "revise": self.revise, "now": self.time.now, "sleep": self.time.sleep}
        return SharedPace(calls, per_seconds, share, **(given | more))


@pytest.fixture
def keeper() -> Keeper:
    return Keeper(Time())


def most_in_a_window(moments: list[float], seconds: float) -> int:
    moments = sorted(moments)
    return max((bisect_left(moments, at + seconds) - index for index, at in enumerate(moments)), default=0)


def calls_of(paces: list[SharedPace], time: Time, most: int) -> Iterator[float]:
    """Calls by each in turn."""
    for number in range(most):
        yield call(paces[number % len(paces)], time)


def call(pace: SharedPace, time: Time, latency: float = 0.05) -> float:
    """One call; the moment in which it was sent."""
    with pace.turn():
        sent = time.seconds
        time.seconds += latency
    return sent


@given(
    luck=st.randoms(use_true_random=False),
    quota=st.sampled_from([(100, 20.0, 1.0), (100, 20.0, 0.33), (10, 2.0, 1.0), (3, 20.0, 0.1), (1000, 20.0, 1.0)]),
)
def test_no_window_holds_more_than_the_quota_whoever_calls_dies_idles_or_takes_over(
    luck: random.Random, quota: tuple[int, float, float]
) -> None:
    """Several processes of several threads; the server counts a call at any moment between its sending and its
    answer, at most `SLACK_S` after its sending."""
    time = Time()
    keeper = Keeper(time)
    paces = [keeper.pace(*quota) for _ in range(3)]
    counted: list[float] = []
    under_way: list[tuple[SharedPace, float]] = []

    def answer(number: int) -> None:
        pace, sent = under_way.pop(number)
        counted.append(luck.uniform(sent, min(time.seconds, sent + SLACK_S)))
        pace.answered()

    for _ in range(luck.randrange(20, 300)):
        pace = luck.choice(paces)
        if sum(its is pace for its, _ in under_way) == pace.quota.limit:
            answer(next(number for number, (its, _) in enumerate(under_way) if its is pace))
        what = luck.random()
        if what < 0.03:  # it was killed, between two calls or within one
            if luck.random() < 0.5:
                pace.wait()
                counted.append(time.seconds + luck.uniform(0, SLACK_S))
            counted += [sent + luck.uniform(0, SLACK_S) for its, sent in under_way if its is pace]
            under_way = [each for each in under_way if each[0] is not pace]
            paces[paces.index(pace)] = keeper.pace(*quota)
        elif what < 0.06:
            time.seconds += luck.uniform(0, 2 * quota[1])
        elif what < 0.07:
            pace.back_off(luck.uniform(0, 5))
        else:
            pace.wait()
            under_way.append((pace, time.seconds))
            time.seconds += luck.choice([0.0, 0.0, 0.05, 0.4])
        while len(under_way) > luck.randrange(1, 9):
            answer(luck.randrange(len(under_way)))
    while under_way:
        answer(0)
    calls, per_seconds, share = quota
    assert most_in_a_window(counted, per_seconds) <= max(1, calls * share)


@pytest.mark.parametrize("latency", [0.05, 0.4])
def test_hand_overs_included_more_than_95_percent_of_the_quota_are_used(keeper: Keeper, latency: float) -> None:
    """Eight threads, segments of about 40,000 records, 3 s between the end of a task and the first call of the next."""
    time, luck = keeper.time, random.Random(7)
    sent: list[float] = []
    for _ in range(10):
        pace, free = keeper.pace(), [time.seconds] * 8
        for _ in range(luck.randrange(350, 450)):
            thread = min(range(8), key=free.__getitem__)
            time.seconds = max(time.seconds, free[thread])
            pace.wait()
            sent.append(time.seconds)
            free[thread] = time.seconds + latency
            pace.answered()
        time.seconds = max(free)
        pace.leave()
        time.seconds += 3
    assert most_in_a_window(sent, 20) == 100
    assert len(sent) / ((sent[-1] - sent[0]) / 20 * 100) > 0.96


def test_turns_that_nobody_gave_back_lapse(keeper: Keeper) -> None:
    killed, other = keeper.pace(10, 20), keeper.pace(10, 20)
    call(killed, keeper.time)
    keeper.time.seconds += 40
    assert killed.wait() is None
    sent = [call(other, keeper.time, 0) for _ in range(30)]
    assert most_in_a_window(sent, 20) <= 10
    assert sent[-1] - sent[0] < 70


def test_with_nothing_noted_the_first_window_is_spent_evenly(keeper: Keeper) -> None:
    """Nobody knows what was called before the note was lost."""
    pace = keeper.pace()
    sent = [call(pace, keeper.time, 0) for _ in range(50)]
    assert most_in_a_window(sent, 1) <= 6


def test_never_faster_than_four_times_evenly(keeper: Keeper) -> None:
    keeper.pace().wait()
    keeper.time.seconds += 60
    pace = keeper.pace()
    sent = [call(pace, keeper.time, 0) for _ in range(60)]
    assert most_in_a_window(sent, 1) <= 21
    assert sent[-1] - sent[0] < 60 * 0.06


def test_backing_off_is_felt_by_other_processes_and_by_the_next_one(keeper: Keeper) -> None:
    time = keeper.time
    one, other = keeper.pace(), keeper.pace()
    for pace in (one, other):
        call(pace, time)
    time.seconds += 30
    one.back_off(8)
    backed_off = time.seconds
    booked_before = [call(other, time, 0) for _ in range(10)][-1]
    assert booked_before > backed_off + 7.9
    one.back_off(8)
    backed_off = time.seconds
    assert call(keeper.pace(), time) > backed_off + 7.9


def test_backing_off_is_felt_although_the_note_cannot_be_written_at_once(keeper: Keeper) -> None:
    pace = keeper.pace()
    call(pace, keeper.time)
    keeper.down = True
    pace.back_off(8)
    backed_off = keeper.time.seconds
    with pytest.raises(TransientError):
        pace.wait()
    keeper.down = False
    assert call(keeper.pace(), keeper.time) < backed_off + 8
    assert call(pace, keeper.time) > backed_off + 7.9


def test_a_note_that_cannot_be_written_allows_no_call_and_loses_none(keeper: Keeper) -> None:
    pace = keeper.pace(10, 20)
    for _ in range(7):
        call(pace, keeper.time)
    keeper.down = True
    with pytest.raises(TransientError):
        list(calls_of([pace], keeper.time, 10))
    keeper.down = False
    sent = [call(pace, keeper.time) for _ in range(40)]
    assert most_in_a_window(sent, 20) <= 10


def test_two_shares_of_one_note_are_kept_together(keeper: Keeper) -> None:
    whole, half = keeper.pace(20, 20), keeper.pace(20, 20, 0.5)
    sent = []
    for _ in range(60):
        sent += [call(whole, keeper.time), call(half, keeper.time)]
    assert most_in_a_window(sent, 20) <= 20


def test_each_interface_has_an_allowance_of_its_own(keeper: Keeper) -> None:
    one, other = keeper.pace(10, 20), keeper.pace(10, 20, path="/cgi/crm/custom/v2/data/query")
    begun = keeper.time.seconds
    for _ in range(15):
        call(one, keeper.time, 0)
        call(other, keeper.time, 0)
    assert keeper.time.seconds - begun < 2 * 20


def test_the_note_stays_small_whatever_the_quota(keeper: Keeper) -> None:
    pace = keeper.pace(100_000, 20)
    for _ in range(5000):
        call(pace, keeper.time, 0.001)
    assert keeper.document is not None
    assert len(str(keeper.document)) < 20_000


def test_a_share_below_one_call_is_one_call_in_a_longer_time(keeper: Keeper) -> None:
    pace = keeper.pace(2, 20, 0.1)
    sent = [call(pace, keeper.time) for _ in range(5)]
    assert most_in_a_window(sent, 99) == 1
