"""The errors of this project, by what a run does about each.

::

    FenxiangSyncError
    ├── DeclarationError     a DAG file is wrong           fail now; a person mends the declaration
    ├── SetupError           a connection, pool or setting fail now; a person mends the set-up
    │   └── ParamError       a param of a manual run       fail now, before any call
    ├── QuestionError        a person must say yes     fail now, with nothing done; a person answers
    ├── DeadLettersError     too many dead letters         fail now, all else delivered; a person looks
    ├── RefusedError         the other side refuses us     fail now; a person acts there (code, permission, path)
    │   └── QuotaError       day quota spent, or no pack   fail now; more tries only spend more
    ├── TransientError       it may work later             try again, after `retry_after` if it says so
    │   ├── ThrottledError   too many calls                slow everybody down, then try again
    │   ├── TokenError       the token was refused twice   try again: the next try gets its own
    │   └── AnswerLostError  a call went out, no answer    try again only what may be done twice; else ask first
    ├── RecordError          one record does not fit       a dead letter; never fails the run
    │   └── ParentMissingError  what it looks up is not there yet   a dead letter that is tried again by itself
    └── IncompleteError      read and held differ          fail with the numbers; never a success
        └── UnverifiedError  the comparison was impossible fail: "could not verify" is no "fine"

One table maps these classes to Airflow's retries: ``fenxiang_sync.airflow.retries``.
"""

from __future__ import annotations


class FenxiangSyncError(Exception):
    """Base of all; never raised itself."""


class DeclarationError(FenxiangSyncError, ValueError):
    """A declaration cannot be meant as written. Raised when it is built."""


class SetupError(FenxiangSyncError):
    """A connection, pool, setting or permission is missing or wrong."""


class ParamError(SetupError, ValueError):
    """A param of a manual run cannot be used."""


class QuestionError(FenxiangSyncError):
    """What would be done may be a mistake; the text asks a person, and says how to answer."""


class DeadLettersError(FenxiangSyncError):
    """More records became dead letters than the pipeline allows; everything else is delivered and certified."""


class RefusedError(FenxiangSyncError):
    """The other side says no, and will say no again. `code` is its errorCode or HTTP status."""

    def __init__(self, message: str, *, code: int | str | None = None) -> None:
        super().__init__(message)
        self.code = code


class QuotaError(RefusedError):
    """The calls of the day are spent (30002) or no pack was bought (30003)."""


class TransientError(FenxiangSyncError):
    """It failed and may work later. `retry_after` is in seconds, None where nobody said."""

    def __init__(self, message: str, *, code: int | str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class ThrottledError(TransientError):
    """Too many calls in a short time (30004, 14001; HTTP 429)."""


class TokenError(TransientError):
    """A fresh token was refused as well, or none could be had now."""


class AnswerLostError(TransientError):
    """The call went out and its result is not known. `over`: the other side has ended its work on it for certain."""

    def __init__(
        self, message: str, *, over: bool = False, code: int | str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, code=code, retry_after=retry_after)
        self.over = over


class RecordError(FenxiangSyncError):
    """One record does not fit: `field` and `value` say where, the text says why; `code` is the other side's, if any."""

    def __init__(
        self, message: str, *, field: str | None = None, value: object = None, code: int | str | None = None
    ) -> None:
        super().__init__(message)
        self.field = field
        self.value = value
        self.code = code


class ParentMissingError(RecordError):
    """A record waits for one of another pipeline, which a `Lookup` requires and did not find."""


class IncompleteError(FenxiangSyncError):
    """What the run holds is not what the source holds; the text has the numbers."""


class UnverifiedError(IncompleteError):
    """The run could not compare what it holds with the source."""
