"""What a task does about each class of error."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.definitions.retry_policy import RetryAction

from fenxiang_sync import errors
from fenxiang_sync.airflow.retries import LONGEST_DELAY, RETRIES, TRIES, FenxiangRetryPolicy, retry_arguments


def decide(error: BaseException, try_number: int = 1) -> Any:
    return FenxiangRetryPolicy().evaluate(error, try_number, RETRIES + 1)


@pytest.mark.parametrize(
    "error", [errors.DeclarationError, errors.SetupError, errors.ParamError, errors.RefusedError, errors.QuotaError]
)
def test_what_a_person_must_mend_fails_at_once(error: type[Exception]) -> None:
    decision = decide(error("the connection lacks permanent_code"))
    assert decision.action is RetryAction.FAIL
    assert error.__name__ in decision.reason


@pytest.mark.parametrize("error", [errors.TransientError, errors.ThrottledError, errors.TokenError])
def test_what_may_pass_is_tried_again_and_waits_longer_each_time(error: type[Exception]) -> None:
    decisions = [decide(error("no answer"), try_number) for try_number in (1, 2, 3, 4, 5)]
    assert {decision.action for decision in decisions} == {RetryAction.RETRY}
    assert [decision.retry_delay.total_seconds() for decision in decisions] == [15, 30, 60, 120, 240]


def test_the_other_side_says_how_long_to_wait() -> None:
    assert decide(errors.ThrottledError("429", retry_after=3.5)).retry_delay == timedelta(seconds=3.5)


@pytest.mark.parametrize("asked", [86_400.0, 10.0**12, float("inf")])
def test_nobody_makes_a_task_wait_longer_than_ten_minutes(asked: float) -> None:
    assert decide(errors.TransientError("later", retry_after=asked)).retry_delay == LONGEST_DELAY


def test_a_wait_is_never_negative() -> None:
    assert decide(errors.TransientError("now", retry_after=-1)).retry_delay == timedelta(0)


def test_a_difference_is_looked_at_once_more_and_then_fails() -> None:
    error = errors.IncompleteError("read 9 of 10")
    assert decide(error, 1).action is RetryAction.RETRY
    assert decide(error, 2).action is RetryAction.FAIL


def test_what_nobody_foresaw_follows_the_settings_of_the_task() -> None:
    assert decide(ValueError("a bug")).action is RetryAction.DEFAULT


def test_every_error_that_a_task_may_end_with_has_its_row_in_the_table() -> None:
    known = tuple(error for error, _, _ in TRIES)
    for _, error in inspect.getmembers(errors, inspect.isclass):
        if error is not errors.FenxiangSyncError and not issubclass(error, errors.RecordError):
            assert issubclass(error, known), f"{error.__name__} is in no row"


def test_no_row_hides_a_later_one() -> None:
    classes = [error for error, _, _ in TRIES]
    for place, error in enumerate(classes):
        assert not any(issubclass(error, earlier) for earlier in classes[:place]), error.__name__


def test_airflow_itself_backs_off_for_what_nobody_foresaw() -> None:
    with DAG("retries", schedule=None, default_args=retry_arguments()):
        task = BaseOperator(task_id="task")
    assert task.retries == RETRIES
    assert task.retry_exponential_backoff == 2.0
    assert isinstance(task.retry_policy, FenxiangRetryPolicy)
