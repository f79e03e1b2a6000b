"""What a run was asked for, from what its context holds."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.param import ParamsDict

from fenxiang_sync.airflow.params import asked, run_params
from fenxiang_sync.errors import ParamError
from fenxiang_sync.steps.plan import Asked, Kind

NOW = datetime(2026, 11, 22, 20, 30, tzinfo=UTC)
START = datetime(2026, 11, 22, 19, tzinfo=UTC)
END = datetime(2026, 11, 22, 20, tzinfo=UTC)
DEFAULTS: dict[str, Any] = {
    "since": None,
    "until": None,
    "full": False,
    "dry_run": False,
    "resend": False,
    "may_duplicate": False,
    "confirm_drops": None,
}


def run(run_type: Any, *, interval: tuple[Any, Any] | None = (START, END), **params: Any) -> dict[str, Any]:
    """The context of a task: where a run has no logical date, the keys of its interval do not exist."""
    context: dict[str, Any] = {
        "dag_run": SimpleNamespace(run_type=run_type, run_after=NOW),
        "params": {**DEFAULTS, **params},
    }
    if interval is not None:
        context["data_interval_start"], context["data_interval_end"] = interval
    return context


def test_a_scheduled_run_reads_its_data_interval() -> None:
    assert asked(run("scheduled")) == Asked(kind=Kind.SCHEDULED, since=START, until=END)


def test_a_scheduled_run_of_no_length_follows_the_certificates_instead_of_reading_nothing() -> None:
    assert asked(run("scheduled", interval=(END, END))) == Asked(kind=Kind.SCHEDULED)


def test_a_backfill_reads_its_data_interval_whatever_its_params_say(caplog: pytest.LogCaptureFixture) -> None:
    context = run("backfill", since="2020-01-01T00:00:00Z", full=True)
    assert asked(context) == Asked(kind=Kind.BACKFILL, since=START, until=END)
    assert "since, full" in caplog.text


def test_a_backfill_may_be_a_dry_run() -> None:
    assert asked(run("backfill", dry_run=True)) == Asked(kind=Kind.BACKFILL, since=START, until=END, dry_run=True)


@pytest.mark.parametrize("run_type", ["manual", "asset_triggered", "operator_triggered"])
def test_a_run_by_hand_goes_on_from_the_last_certificate(run_type: str) -> None:
    assert asked(run(run_type)) == Asked(kind=Kind.MANUAL)


@pytest.mark.parametrize("interval", [None, (None, None)])
def test_a_run_without_a_logical_date_works(interval: Any) -> None:
    assert asked(run("manual", interval=interval)) == Asked(kind=Kind.MANUAL)


def test_a_context_without_params_works() -> None:
    context = run("manual", interval=None)
    del context["params"]
    assert asked(context) == Asked(kind=Kind.MANUAL)


def test_the_run_type_may_be_airflows_own_enumeration() -> None:
    from airflow.utils.types import DagRunType

    assert asked(run(DagRunType.BACKFILL_JOB)).kind is Kind.BACKFILL
    assert asked(run(DagRunType.SCHEDULED)).kind is Kind.SCHEDULED
    assert asked(run(DagRunType.MANUAL)).kind is Kind.MANUAL


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T08:00:00+08:00",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00Z",
        "2026-01-01 00:00:00.000Z",
        "2026-01-01T08:00:00+0800",
        "2026-01-01t00:00:00z",
    ],
)
def test_since_and_until_are_moments_with_a_zone(text: str) -> None:
    found = asked(run("manual", since=text))
    assert found == Asked(kind=Kind.MANUAL, since=datetime(2026, 1, 1, tzinfo=UTC))
    assert found.since is not None
    assert found.since.utcoffset() == pendulum.duration()


def test_sending_again_is_for_a_range_or_everything() -> None:
    found = asked(run("manual", since="2026-01-01T00:00:00Z", resend=True, may_duplicate=True))
    assert (found.resend, found.may_duplicate) == (True, True)
    assert asked(run("manual", full=True, confirm_drops=7)) == Asked(kind=Kind.MANUAL, full=True, confirmed=7)
    assert asked(run("manual", full=True, resend=True)) == Asked(kind=Kind.MANUAL, full=True, resend=True)
    assert not asked(run("backfill", resend=True)).resend


def test_all_params_together() -> None:
    context = run("manual", since="2026-01-01T00:00:00Z", until="2026-02-01T00:00:00Z", dry_run=True)
    assert asked(context) == Asked(
        kind=Kind.MANUAL,
        since=datetime(2026, 1, 1, tzinfo=UTC),
        until=datetime(2026, 2, 1, tzinfo=UTC),
        dry_run=True,
    )


def test_an_until_in_the_future_is_left_to_the_servers_clock() -> None:
    assert asked(run("manual", until="2027-01-01T00:00:00Z")).until == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"since": "2026-01-01T00:00:00"}, ["since", "zone", "2026-01-01T00:00:00+08:00", "Asia/Shanghai"]),
        ({"until": "2026-01-01"}, ["until", "zone", "2026-01-01T00:00:00+08:00"]),
        ({"since": "yesterday"}, ["since", "'yesterday'", "2026-11-22T08:00:00+08:00"]),
        ({"since": "2026-02-30T00:00:00Z"}, ["since", "no moment"]),
        ({"since": "2026-02-30"}, ["since", "no moment"]),
        ({"since": 1767225600000}, ["since", "1767225600000"]),
        ({"since": "2026-W01"}, ["since", "2026-W01"]),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, ["since", "before until"]),
        ({"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T08:00:00+08:00"}, ["since", "before until"]),
        ({"since": "2027-01-01T00:00:00Z"}, ["since", "future"]),
        ({"since": "2026-01-01T00:00:00Z", "full": True}, ["since", "full"]),
        ({"full": "yes"}, ["full", "'yes'", "true or false"]),
        ({"dry_run": 1}, ["dry_run", "true or false"]),
        ({"resend": "yes"}, ["resend", "true or false"]),
        ({"resend": True}, ["resend", "since", "full"]),
        ({"resend": True, "until": "2026-01-01T00:00:00Z"}, ["resend", "since", "full"]),
        ({"may_duplicate": True}, ["may_duplicate", "resend is not"]),
        ({"confirm_drops": -1}, ["confirm_drops", "-1", "a number of records"]),
        ({"sinse": "2026-01-01T00:00:00Z"}, ["'sinse'", "did you mean since"]),
        ({"colour": "red"}, ["'colour'", "since, until, full, dry_run"]),
    ],
)
def test_a_param_that_cannot_be_meant_is_a_sentence(params: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ParamError) as raised:
        asked(run("manual", **params))
    for word in words:
        assert word in str(raised.value)


def test_a_mistyped_dry_run_of_a_backfill_does_not_write() -> None:
    with pytest.raises(ParamError, match="did you mean dry_run"):
        asked(run("backfill", dry_rnu=True))


class TestTheForm:
    def test_its_defaults_are_valid_so_that_a_schedule_may_have_it(self) -> None:
        with DAG("form", schedule="@daily", start_date=START, params=run_params()) as dag:
            pass
        dag.validate()
        assert ParamsDict(run_params()).validate() == DEFAULTS

    def test_it_refuses_what_is_no_moment_before_a_run_is_made(self) -> None:
        params = ParamsDict(run_params())
        params["since"] = "2026-01-01T00:00:00Z"
        for wrong in ("not a date", "2026-01-01T00:00:00"):
            with pytest.raises(Exception, match="since"):
                params["since"] = wrong

    def test_what_it_gives_when_untouched_is_a_run_from_the_last_certificate(self) -> None:
        assert asked(run("manual", **ParamsDict(run_params()).validate())) == Asked(kind=Kind.MANUAL)

    def test_every_field_has_a_title_in_both_languages(self) -> None:
        for param in run_params().values():
            assert not str(param.schema["title"]).isascii()
            assert param.description
