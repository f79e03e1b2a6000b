"""Exchange: calls to a REST target, with its token renewed and its answers judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from requests.auth import AuthBase

from fenxiang_sync.errors import (
    AnswerLostError,
    FenxiangSyncError,
    RefusedError,
    ThrottledError,
    TokenError,
    TransientError,
)
from fenxiang_sync.targets.login import TokenAuth
from fenxiang_sync.targets.meaning import Meaning
from fenxiang_sync.targets.protocol import Reach
from fenxiang_sync.targets.wire import Call, Reply, Wire

_GATEWAY_GAVE_UP = frozenset({408, 502, 504, 520, 521, 522, 523, 524})
"""Statuses by which a gateway answers for a server that may still be at work."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A call was refused because of its rows: at least one of them is bad."""

    reason: str
    code: int | str | None


class Manner(Protocol):
    """How the answers of another side are judged, and what is tried again: a `RestTarget`, or what reads from one.

    See there for `tries`, `pauses` and `patience`.
    """

    @property
    def tries(self) -> int: ...

    @property
    def pauses(self) -> Sequence[float]: ...

    @property
    def patience(self) -> float: ...

    def meaning(self, reply: Reply, *, fresh_token: bool) -> Meaning:
        """What an answer means for its call."""
        ...

    def reason(self, reply: Reply) -> tuple[str, int | str]:
        """What the other side says in an answer, and its code."""
        ...


class Exchange:
    """What a sender says and hears. For one thread."""

    def __init__(self, target: Manner, wire: Wire, auth: AuthBase | None, reach: Reach) -> None:
        self._target = target
        self._wire = wire
        self._auth = auth
        self._sleep = reach.sleep
        self._now = reach.now

    def exchange(self, call: Call) -> Reply | Bad:
        """One call with its token renewed once where it is refused; the answer, or `Bad`.

        Raises `AnswerLostError`, `ThrottledError`, `TokenError`, `TransientError`, `RefusedError`, `SetupError`.
        """
        reply, meaning = self._signed(call, fresh_token=False)
        if meaning is Meaning.TOKEN and isinstance(self._auth, TokenAuth):
            self._auth.renew()
            reply, meaning = self._signed(call, fresh_token=True)
        if meaning is Meaning.OK or (call.absent and reply.absent):
            return reply
        if meaning is Meaning.BAD_ROW:
            return Bad(*self._said(reply))
        raise self._failure(call, reply, meaning)

    def _failure(self, call: Call, reply: Reply, meaning: Meaning) -> FenxiangSyncError:
        said, code = self._said(reply)
        where = f"connection {self._wire.conn_id!r}, {call.path}: {said} (code {code})"
        match meaning:
            case Meaning.THROTTLED:
                pause = self._wire.pace.back_off(reply.retry_after)
                return ThrottledError(f"{where}; no call for {pause:.0f} s", code=code, retry_after=pause)
            case Meaning.TOKEN if isinstance(self._auth, TokenAuth):
                return TokenError(f"{where}; a new token was refused as well", code=code)
            case Meaning.TOKEN:
                return RefusedError(f"{where}; check login and password of the connection", code=code)
            case Meaning.REFUSED:
                return RefusedError(f"{where}; check address, path and permission at the target", code=code)
        if reply.retry_after is not None:
            self._wire.pace.back_off(reply.retry_after)
        over = reply.status not in _GATEWAY_GAVE_UP
        return AnswerLostError(where, over=over, code=code, retry_after=reply.retry_after)

    def repeat(self, call: Call) -> Reply | Bad:
        """`exchange` for a call that may be made twice, a question or a removal: tried again where that may help.

        No row is lost with its answer, so it raises `TransientError` and never `AnswerLostError`.
        """
        for attempt in range(1, self._target.tries + 1):
            try:
                return self.exchange(call)
            except TransientError as error:
                try:
                    self._pause(error, attempt)
                except AnswerLostError as lost:
                    raise TransientError(str(lost), code=lost.code, retry_after=lost.retry_after) from None
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _signed(self, call: Call, *, fresh_token: bool) -> tuple[Reply, Meaning]:
        if isinstance(self._auth, TokenAuth):
            self._auth.ready()
        reply = self._wire.send(call, self._auth)
        return reply, self._target.meaning(reply, fresh_token=fresh_token)

    def _said(self, reply: Reply) -> tuple[str, int | str]:
        said, code = self._target.reason(reply)
        if reply.page:  # a gateway's or a login's, and its status may be that of a success
            said = f"it answered with a web page (HTTP {reply.status})"
        return self._wire.blot(said), code

    def _pause(self, error: TransientError, attempt: int) -> None:
        """Wait before the next attempt; raise `error` where there is none. A throttle is waited for by the pace."""
        too_long = error.retry_after is not None and error.retry_after > self._target.patience
        pause = self._target.pauses[min(attempt, len(self._target.pauses)) - 1]
        if too_long or attempt == self._target.tries or isinstance(error, TokenError):
            raise error
        if pause > self._target.patience:
            error.retry_after = max(pause, error.retry_after or 0)
            raise error
        if not isinstance(error, ThrottledError):
            self._sleep(pause)
