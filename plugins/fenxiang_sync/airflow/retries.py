"""Retries: what a task does about each class of error."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import RetryDecision, RetryPolicy

from fenxiang_sync.errors import (
    DeadLettersError,
    DeclarationError,
    FenxiangSyncError,
    IncompleteError,
    QuestionError,
    QuotaError,
    RefusedError,
    SetupError,
    TransientError,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

RETRIES = 5
FIRST_DELAY = timedelta(seconds=15)
LONGEST_DELAY = timedelta(minutes=10)

TRIES: tuple[tuple[type[FenxiangSyncError], int, str], ...] = (
    (DeclarationError, 1, "the declaration in the DAG file must be mended"),
    (SetupError, 1, "a connection, param, pool or setting must be mended"),
    (QuestionError, 1, "a person must answer"),
    (DeadLettersError, 1, "a person must look at the dead letters"),
    (QuotaError, 1, "the quota is spent, and another try would spend more"),
    (RefusedError, 1, "the other side refuses, and would refuse again"),
    (IncompleteError, 2, "read and held differ again; the next run reads this span once more"),
    (TransientError, RETRIES + 1, "it did not get better"),
)
"""How many tries a task has with each class of error (the first that fits), and why there is no other.

Whatever else is raised has the tries of the task's own ``retries``, which are never exceeded.
"""


class FenxiangRetryPolicy(RetryPolicy):
    """Fail at once what a person must mend; wait as long as was asked where the other side said how long."""

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,  # noqa: ARG002 - Airflow itself stops there
        context: Context | None = None,  # noqa: ARG002
    ) -> RetryDecision:
        """`try_number` is from 1 on."""
        name = type(exception).__name__
        for error, tries, reason in TRIES:
            if isinstance(exception, error):
                if try_number >= tries:
                    return RetryDecision.fail(f"{name}: {reason}")
                return RetryDecision.retry(_delay(exception, try_number), f"{name}: try {try_number} of {tries}")
        return RetryDecision.default()


def retry_arguments() -> dict[str, Any]:
    """The retry arguments of every task, for ``default_args``."""
    return {
        "retries": RETRIES,
        "retry_delay": FIRST_DELAY,
        "retry_exponential_backoff": 2.0,  # a factor: True would mean 1, which never backs off
        "max_retry_delay": LONGEST_DELAY,
        "retry_policy": FenxiangRetryPolicy(),
    }


def _delay(error: BaseException, try_number: int) -> timedelta:
    """What was asked for, else 15 s, 30 s, 60 s …; never more than ten minutes."""
    asked = error.retry_after if isinstance(error, TransientError) else None
    if asked is not None:
        return timedelta(seconds=min(max(0.0, asked), LONGEST_DELAY.total_seconds()))
    return min(FIRST_DELAY * 2.0 ** (try_number - 1), LONGEST_DELAY)
