"""Retries: how often a call is tried again in place, before its task is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tenacity

from fenxiang_sync.errors import AnswerLostError, TokenError, TransientError


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """`calls` in all, waiting about `first`, 2 × `first`, 4 × `first` … `longest` seconds in between.

    None begins later than `within` seconds after the first.
    """

    calls: int = 6
    first: float = 0.5
    longest: float = 20.0
    within: float = 600.0

    def attempts(
        self,
        sleep: Callable[[float], None],
        before: Callable[[TransientError, int], None] | None = None,
        *,
        twice: bool = True,
    ) -> Iterator[tenacity.AttemptManager]:
        """Attempts for ``for … with``: a `TransientError` is tried again, the last one is raised as it is.

        `before(error, attempt)` is called ahead of each wait. A `TokenError` is not tried again in place: what it
        needed (another token) was done. Where the call must not be made `twice`, nor is one whose answer was lost.
        """

        def told(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            if before is not None and isinstance(error, TransientError):
                before(error, state.attempt_number)

        return iter(
            tenacity.Retrying(
                sleep=sleep,
                stop=tenacity.stop_any(
                    tenacity.stop_after_attempt(self.calls), tenacity.stop_before_delay(self.within)
                ),
                wait=tenacity.wait_exponential_jitter(initial=self.first, max=self.longest, jitter=self.first),
                retry=tenacity.retry_if_exception(_worth_it if twice else _not_made),
                before_sleep=told,
                reraise=True,
            )
        )


ONCE = Retries(calls=1)
READ_RETRIES = Retries()
WRITE_RETRIES = Retries(calls=4, within=120.0)
"""Few: many rows may be on their way in one claim, which lasts for 15 minutes."""
TOKEN_RETRIES = Retries(calls=8, first=1.0, longest=20.0, within=75.0)
"""Past the minute in which the token endpoint counts, and well within the lease under which it is called."""


def _worth_it(error: BaseException) -> bool:
    return isinstance(error, TransientError) and not isinstance(error, TokenError)


def _not_made(error: BaseException) -> bool:
    return _worth_it(error) and not isinstance(error, AnswerLostError)
