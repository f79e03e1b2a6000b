"""A window is read when it is closed on the server's clock; what is stamped or seen oddly is found when it can be.

What is stamped or visible late is found by the next run while that is within the lookback. Later than that no window
holds it, and only reading its range again, as reconciling does, finds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fenxiang_sync.errors import SetupError
from fenxiang_sync.window import Window, gaps, to_ms
from tests.steps_fixtures import Bench, bench, manual, pipeline, scheduled

LOOKBACK = timedelta(minutes=10)
SETTLE = timedelta(seconds=5)
HOUR = timedelta(hours=1)
EARLY, LATE = 9 * 60_000, 11 * 60_000
"""Milliseconds: within the lookback, and beyond it."""
account = pipeline(source={"lookback": LOOKBACK, "settle": SETTLE})


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, AccountObj=20) as made:
        crm = made
        crm.later(1)
        yield crm


def add(crm: Bench, *, stamp_ms: int = 0) -> str:
    """A record that is written now; its stamp is so far from now."""
    tenant = crm.simulator.tenant
    return tenant.create("AccountObj", {"name": "新"}, modified_ms=crm.simulator.clock.now_ms() + stamp_ms)


def found(crm: Bench, record_id: str) -> bool:
    return record_id in crm.held(account)


def next_run_finds(crm: Bench, record_id: str) -> bool:
    crm.later()
    crm.sync(account)
    return found(crm, record_id)


def reading_its_range_again_finds(crm: Bench, record_id: str) -> bool:
    stamp = crm.simulator.tenant.records("AccountObj")[record_id]["last_modified_time"]
    around = Window(stamp, stamp + 1)
    crm.sync(account, manual(since=around.since, until=around.until))
    return found(crm, record_id)


def one_span_is_certified(crm: Bench) -> bool:
    (span,) = crm.hub.certified(account.name)
    return gaps(Window(0, span.until_ms), [span]) == []


# The server's clock and ours


@pytest.mark.parametrize("skew_s", [-8 * 3600, -90, 0, 90, 8 * 3600])
def test_a_window_ends_when_it_has_settled_on_the_servers_clock(crm: Bench, skew_s: int) -> None:
    crm.simulator.knobs.clock_skew_ms = skew_s * 1000
    for asked in (manual(), manual(until=crm.now() + 24 * HOUR), scheduled(crm.now() - 24 * HOUR, crm.now() + HOUR)):
        made = crm.plan(crm.run(account), asked)
        assert made.window.until_ms <= crm.simulator.clock.now_ms() - SETTLE / timedelta(milliseconds=1)


@pytest.mark.parametrize("skew_s", [-8 * 3600, -90, 90, 8 * 3600])
def test_whatever_the_skew_what_is_written_after_a_run_is_in_a_later_one(crm: Bench, skew_s: int) -> None:
    crm.simulator.knobs.clock_skew_ms = skew_s * 1000
    crm.sync(account)
    written = [add(crm) for _ in range(3)]
    assert not any(found(crm, each) for each in written)
    crm.later(max(60, skew_s + 60))  # a server that is ahead of us stamps what our clock has yet to reach
    crm.sync(account)
    assert all(found(crm, each) for each in written)
    assert one_span_is_certified(crm)


def test_a_clock_that_is_set_right_leaves_no_hole(crm: Bench) -> None:
    written = []
    for skew_s in (0, 90, -90, 300, 0):
        crm.simulator.knobs.clock_skew_ms = skew_s * 1000
        written.append(add(crm))
        crm.later()
        crm.sync(account)
    crm.later(600)
    crm.sync(account)
    assert all(found(crm, each) for each in written)
    assert one_span_is_certified(crm)


# The Date header


@pytest.mark.parametrize("header", ["missing", "garbled"])
def test_without_the_servers_time_no_window_is_closed_and_the_run_says_why(crm: Bench, header: str) -> None:
    crm.simulator.knobs.date_header = header
    with pytest.raises(SetupError, match=r"sends no Date header, so its time is unknown; a proxy may remove it"):
        crm.sync(account)
    assert crm.hub.certified(account.name) == []
    crm.simulator.knobs.date_header = "sent"
    assert crm.sync(account).delivered == 20


@pytest.mark.parametrize("hours", [1, 8, 24 * 30])
def test_a_date_far_ahead_of_the_stamps_is_not_believed(
    crm: Bench, hours: int, caplog: pytest.LogCaptureFixture
) -> None:
    crm.simulator.knobs.date_skew_ms = hours * 3_600_000
    crm.sync(account)
    assert "ahead of our clock, more than the lookback: not believed" in caplog.text
    assert crm.hub.certified(account.name)[-1].until <= crm.now() + LOOKBACK
    written = add(crm)
    crm.later(700)
    crm.sync(account)
    assert found(crm, written)


def test_a_date_ahead_by_less_than_the_lookback_is_made_good_by_it(crm: Bench) -> None:
    crm.simulator.knobs.date_skew_ms = EARLY
    crm.sync(account)
    written = add(crm)
    assert crm.simulator.tenant.records("AccountObj")[written]["last_modified_time"] in crm.hub.certified("account")[0]
    assert next_run_finds(crm, written)


def test_a_date_behind_the_stamps_only_delays(crm: Bench) -> None:
    crm.simulator.knobs.date_skew_ms = -8 * 3_600_000
    written = add(crm)
    crm.later()
    crm.sync(account, scheduled(crm.now() - HOUR, crm.now()))
    assert not found(crm, written)
    crm.simulator.knobs.date_skew_ms = 0
    crm.sync(account)
    assert found(crm, written)


# Stamps


def test_a_stamp_set_back_by_less_than_the_lookback_is_found_by_the_next_run(crm: Bench) -> None:
    crm.sync(account)
    assert next_run_finds(crm, add(crm, stamp_ms=-EARLY))


def test_a_stamp_set_back_by_more_is_found_when_its_range_is_read_again(crm: Bench) -> None:
    crm.sync(account)
    imported = add(crm, stamp_ms=-LATE)
    assert not next_run_finds(crm, imported)
    assert reading_its_range_again_finds(crm, imported)


def test_imports_with_the_stamps_of_30_days_are_found_when_that_range_is_read_again(crm: Bench) -> None:
    crm.sync(account)
    crm.simulator.knobs.backdated_stamp = True
    crm.simulator.editor.edit("AccountObj", 60)
    crm.later()
    crm.sync(account)
    behind = missing(crm)
    assert behind
    assert all(stamp < to_ms(crm.now() - LOOKBACK) for stamp in behind.values())
    crm.sync(account, manual(since=crm.now() - timedelta(days=31)))
    assert missing(crm) == {}


def test_a_stamp_in_the_future_is_found_when_its_time_has_come(crm: Bench) -> None:
    crm.sync(account)
    early = add(crm, stamp_ms=3_600_000)
    assert not next_run_finds(crm, early)
    crm.later(3_600)
    crm.sync(account)
    assert found(crm, early)
    assert one_span_is_certified(crm)


def test_stamps_of_a_clock_that_is_up_to_an_hour_ahead_are_all_found_in_the_end(crm: Bench) -> None:
    crm.simulator.knobs.future_stamp = True
    crm.simulator.editor.edit("AccountObj", 300)
    crm.later()
    crm.sync(account)
    assert missing(crm)
    crm.later(3_600)
    crm.sync(account)
    assert missing(crm) == {}


def missing(crm: Bench) -> dict[str, int]:
    """Id and stamp of what can be seen and is not held as new."""
    held = {record.id: record.modified_ms for record in crm.hub.records(account.name)}
    seen = {key: row["last_modified_time"] for key, row in crm.simulator.tenant.visible("AccountObj").items()}
    return {key: stamp for key, stamp in seen.items() if held.get(key, -1) < stamp}


# Visibility


@pytest.mark.parametrize("lag_ms", [50, 3_000, EARLY])
def test_a_write_that_is_seen_late_is_found_by_the_next_run_within_the_lookback(crm: Bench, lag_ms: int) -> None:
    crm.simulator.knobs.visibility_lag_ms = lag_ms
    late = add(crm)
    crm.later(20)
    crm.sync(account)
    assert found(crm, late) == (lag_ms < 20_000)
    crm.later(EARLY / 1000 - 19)
    crm.sync(account)
    assert found(crm, late)


def test_a_write_that_is_seen_later_than_that_is_found_when_its_range_is_read_again(crm: Bench) -> None:
    crm.simulator.knobs.visibility_lag_ms = LATE + 60_000
    late = add(crm)
    for _ in range(12):
        assert not next_run_finds(crm, late)
    assert not next_run_finds(crm, late)
    assert reading_its_range_again_finds(crm, late)
