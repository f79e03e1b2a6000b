"""Each kind of run reads the right window, and no time is left out: in a real Airflow, by what the CRM was asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from demo.rest import AirflowApiError, Json
from fenxiang_sync.window import Window, merge
from tests.server_fixtures import Crm, Server, new_crm

pytestmark = [pytest.mark.slow, pytest.mark.airflow]

SHANGHAI = ZoneInfo("Asia/Shanghai")
LOOKBACK = timedelta(minutes=10)
MS = timedelta(milliseconds=1)


def day(number: int, hour: int = 0) -> datetime:
    """A moment of October 2026 in Shanghai."""
    return datetime(2026, 10, number, hour, tzinfo=SHANGHAI)


def midnight() -> datetime:
    """The last tick of a daily schedule in Shanghai."""
    return datetime.now(SHANGHAI).replace(hour=0, minute=0, second=0, microsecond=0)


def interval(run: Json) -> Window:
    ends = (datetime.fromisoformat(run[f"data_interval_{end}"]) for end in ("start", "end"))
    return Window.between(*ends)


def span(since: datetime, until: datetime) -> Window:
    return Window.between(since, until)


def starts(moment: datetime) -> str:
    return f"start=datetime.fromisoformat('{moment.isoformat()}')"


@pytest.fixture(scope="module", autouse=True)
def minutely(server: Server) -> Iterator[Crm]:
    """A pipeline with a tick every minute whose scheduled runs failed (one, or two where that took longer than a
    minute), paused since: time goes by meanwhile."""
    made = new_crm(server)
    crm = next(made)
    crm.create(*(day(number) for number in range(1, 31)))
    crm.declare("minutely", "schedule='* * * * *'", starts(day(1)))
    crm.knobs.quota_pack = False
    crm.ready("minutely")
    assert {run["state"] for run in server.rest.wait_runs("minutely", 1)} == {"failed"}
    server.rest.pause("minutely")
    crm.knobs.quota_pack = True
    yield crm
    made.close()


def test_a_scheduled_run_reads_its_data_interval_half_open_and_the_lookback_before_it(crm: Crm) -> None:
    since, until = day(1), midnight()
    inside = crm.create(since - LOOKBACK, since, until - MS)
    crm.create(since - LOOKBACK - MS, until)
    crm.declare("daily", "schedule='0 0 * * *'", starts(since))
    crm.ready("daily")
    [run] = crm.server.rest.wait_runs("daily", 1)

    assert (run["state"], run["run_type"], interval(run)) == ("success", "scheduled", span(since, until))
    assert merge(crm.windows()) == [span(since - LOOKBACK, until)]
    assert crm.held("daily") == set(inside)
    assert crm.certified("daily") == [span(since, until)]


def test_a_backfill_over_three_days_is_three_runs_that_read_a_day_each_whatever_its_params_say(crm: Crm) -> None:
    rest = crm.server.rest
    crm.create(*(day(number, 12) for number in range(1, 8)))
    # Airflow counts a backfill as the last automated run: without an end, a scheduled run would go on behind it.
    no_more = [f"end_date=datetime.fromisoformat('{day(6).isoformat()}')"]
    crm.declare("days", "schedule='0 0 * * *'", starts(midnight()), options=no_more)
    crm.declare("rehearsed", "schedule='0 0 * * *'", starts(midnight()), object_name="AccountObj", options=no_more)
    crm.server.rest.put_pool(f"fenxiang-{crm.connection}-preset", 1)
    crm.ready("days", "rehearsed")
    conf = {"since": "2026-10-01T00:00:00+08:00", "until": "2026-10-08T00:00:00+08:00", "full": False}
    real = rest.backfill("days", day(3), day(5), dag_run_conf=conf)
    rehearsal = rest.backfill("rehearsed", day(3), day(3), dag_run_conf={"dry_run": True})
    rest.wait_backfill(real)
    rest.wait_backfill(rehearsal)
    runs = rest.runs("days")

    assert {(run["state"], run["run_type"]) for run in runs} == {("success", "backfill")}
    assert sorted(interval(run) for run in runs) == [span(day(n), day(n + 1)) for n in (3, 4, 5)]
    assert crm.windows() >= {span(day(n) - LOOKBACK, day(n + 1)) for n in (3, 4, 5)}
    assert merge(crm.windows()) == [span(day(3) - LOOKBACK, day(6))]
    assert crm.certified("days") == [span(day(3), day(6))]
    assert len(crm.held("days")) == 3
    assert [run["state"] for run in rest.runs("rehearsed")] == ["success"]
    assert (crm.certified("rehearsed"), crm.held("rehearsed")) == ([], set())


def test_a_manual_run_reads_what_its_params_say_or_else_from_the_last_certified_moment_to_now(crm: Crm) -> None:
    crm.create(*(day(number, 12) for number in range(1, 8)))
    crm.declare("asked", "schedule='0 0 1 1 *'", starts(day(1)), "reach_back=timedelta(0)")

    conf = {"since": "2026-10-02T00:00:00+08:00", "until": "2026-10-05T00:00:00+08:00"}
    assert crm.run("asked", conf)["state"] == "success"
    assert merge(crm.windows()) == [span(day(2) - LOOKBACK, day(5))]
    assert len(crm.held("asked")) == 3
    assert crm.certified("asked") == [span(day(2), day(5))]

    ways: list[dict[str, object]] = [
        {},
        {"logical_date": datetime.now(UTC).isoformat()},
        {
            "logical_date": day(20).isoformat(),
            "data_interval_start": day(1).isoformat(),
            "data_interval_end": day(2).isoformat(),
        },
    ]
    for way in ways:
        crm.forget()
        [before] = crm.certified("asked")
        run = crm.run("asked", **way)
        [after] = crm.certified("asked")

        assert run["state"] == "success", way
        assert after.since == day(2), "one span, without a hole"
        assert timedelta(0) <= datetime.fromisoformat(run["end_date"]) - after.until < timedelta(minutes=10)
        assert merge(crm.windows()) == [Window(before.until_ms, after.until_ms).widen(LOOKBACK)]
    assert len(crm.held("asked")) == 6


WRONG_TYPES: list[dict[str, object]] = [
    {"full": "yes"},
    {"dry_run": 1},
    {"since": 20261001},
    {"since": "yesterday"},
    {"since": "2026-10-01"},
    {"since": "2026-10-01T00:00:00"},
]


def test_a_bad_param_is_refused_at_the_trigger_or_by_plan_with_a_sentence_before_any_call(crm: Crm) -> None:
    crm.declare("misled", options=["max_active_runs=4"])
    crm.ready("misled")
    rest = crm.server.rest
    for conf in WRONG_TYPES:
        with pytest.raises(AirflowApiError, match=f"Invalid input for param {next(iter(conf))}") as refused:
            rest.trigger("misled", conf)
        assert refused.value.status == 400
    sentences = {
        rest.trigger("misled", conf): sentence
        for sentence, conf in {
            "must be before until": {"since": "2026-10-02T00:00:00Z", "until": "2026-10-01T00:00:00Z"},
            "Unknown param 'sinse'; did you mean since?": {"sinse": "2026-10-02T00:00:00Z"},
            "full reads from the beginning; give one": {"since": "2026-10-02T00:00:00Z", "full": True},
        }.items()
    }
    for run_id, sentence in sentences.items():
        assert rest.wait_run("misled", run_id)["state"] == "failed"
        assert sentence in crm.server.failure("misled", run_id, "plan")
        assert {task["task_id"]: task["try_number"] for task in rest.task_instances("misled", run_id)}["plan"] == 1

    assert crm.simulator.requests == {}


def test_a_failed_run_a_pause_and_a_backfill_of_a_later_range_in_it_leave_no_hole(crm: Crm) -> None:
    rest = crm.server.rest
    crm.create(*(day(number, 12) for number in range(1, 31)))
    crm.declare("interrupted", "schedule='0 0 * * *'", starts(day(1)), "reach_back=timedelta(days=400)")
    crm.knobs.quota_pack = False
    crm.ready("interrupted")
    [failed] = rest.wait_runs("interrupted", 1)
    rest.pause("interrupted")
    crm.knobs.quota_pack = True
    backfill = rest.backfill("interrupted", day(20), day(21))
    assert crm.certified("interrupted") == []
    rest.unpause("interrupted")
    crm.parse_again("interrupted")
    rest.wait_backfill(backfill)
    rest.wait_runs("interrupted", 4)

    assert failed["state"] == "failed"
    assert crm.held("interrupted") == crm.ids()
    assert crm.certified("interrupted") == [span(day(1), midnight())]


def test_the_run_after_a_failed_one_and_a_pause_starts_where_that_ended_and_reads_what_it_left(minutely: Crm) -> None:
    rest = minutely.server.rest
    failures = rest.runs("minutely")
    first, failed = failures[0], failures[-1]
    next_date = failed["data_interval_end"]
    rest.trigger("minutely", {"dry_run": True}, logical_date=next_date)  # a date that only one run can have
    rest.unpause("minutely")
    rest.wait_runs("minutely", len(failures) + 2)
    rest.pause("minutely")
    run = next(run for run in rest.runs("minutely") if run["run_type"] == "scheduled" and run not in failures)

    assert (run["state"], interval(run).since_ms) == ("success", interval(failed).until_ms)
    assert interval(first).since == day(1)
    assert minutely.held("minutely") == minutely.ids()
    assert minutely.certified("minutely")[0].since == day(1)
    assert minutely.certified("minutely")[0].until >= interval(run).until
