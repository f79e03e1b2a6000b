"""TokenEndpoint: a token that is asked for, kept while it lives, and put on each call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import requests
from requests.auth import AuthBase

from fenxiang_sync.errors import AnswerLostError, DeclarationError, RefusedError, ThrottledError, TransientError
from fenxiang_sync.targets.auth import BEARER, Place, need
from fenxiang_sync.targets.meaning import Meaning, Verdict
from fenxiang_sync.targets.protocol import Endpoint
from fenxiang_sync.targets.results import look
from fenxiang_sync.targets.wire import Call, Reply, Wire, encode


def client_credentials(endpoint: Endpoint) -> Mapping[str, Any]:
    """The body of OAuth 2: login and password of the connection are client id and secret."""
    return {"grant_type": "client_credentials", "client_id": endpoint.login, "client_secret": endpoint.password}


@dataclass(frozen=True, slots=True)
class Grant:
    """A token and how long it lives (seconds)."""

    token: str = field(repr=False)
    expires_in: float


@dataclass(frozen=True, kw_only=True)
class TokenEndpoint:
    """POST `path` gives a token, which travels `at` a place of each call.

    `body` makes what is posted of the connection, as JSON or as a `form`. `token` and `expires_in` are where the answer
    has the two; without an expiry a token counts as living `life` seconds. It is renewed `early` seconds before its end
    (at most a tenth of its life), and once when a call with it is refused. `login_is` and `password_is` say what those
    of the connection are, for messages. `verdict` says what an answer of the endpoint means.
    """

    path: str
    body: Callable[[Endpoint], Mapping[str, Any]] = client_credentials
    form: bool = False
    token: str = "access_token"  # noqa: S105 - a path
    expires_in: str = "expires_in"
    life: float = 7200.0
    early: float = 300.0
    at: Place = BEARER
    login_is: str = "client id"
    password_is: str = "client secret"  # noqa: S105 - words of a message
    verdict: Verdict = Verdict()

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise DeclarationError(f'TokenEndpoint path={self.path!r}: it must be a path such as "/oauth/token"')
        if self.life <= 0 or self.early < 0:
            raise DeclarationError(f"TokenEndpoint life={self.life}, early={self.early}: seconds, life above 0")

    def open(self, endpoint: Endpoint, wire: Wire) -> TokenAuth:
        for name, meant in (("login", self.login_is), ("password", self.password_is)):
            need(endpoint, name, f"the {meant}")
        auth = TokenAuth(lambda: self.grant(endpoint, wire), now=wire.now, place=self.place(endpoint), early=self.early)
        wire.keep_secret(lambda: auth.secret)
        return auth

    def place(self, endpoint: Endpoint) -> Place:  # noqa: ARG002 - for those whose connection says it
        """Where the token travels."""
        return self.at

    def grant(self, endpoint: Endpoint, wire: Wire) -> Grant:
        """A new token. Raises `RefusedError` (wrong credentials), `ThrottledError`, `TransientError`."""
        body = self.body(endpoint)
        call = (
            Call(path=self.path, body=urlencode(body).encode(), kind="application/x-www-form-urlencoded")
            if self.form
            else Call(path=self.path, body=encode(body))
        )
        try:
            reply = wire.send(call, None)
        except AnswerLostError as lost:
            # Only a token was lost, no row.
            raise TransientError(str(lost), code=lost.code) from None
        said, code = self.verdict.reason(reply)
        where = f"connection {endpoint.conn_id!r}, {self.path}: {wire.blot(said)} (code {code})"
        match self.verdict.meaning(reply):
            case Meaning.OK:
                return self._granted(reply, where)
            case Meaning.THROTTLED:
                pause = wire.pace.back_off(reply.retry_after)
                raise ThrottledError(f"{where}; no call for {pause:.0f} s", code=code, retry_after=pause)
            case Meaning.FAILED:
                raise TransientError(where, code=code)
        raise RefusedError(
            f"{where}; check login ({self.login_is}) and password ({self.password_is}) of the connection", code=code
        )

    def _granted(self, reply: Reply, where: str) -> Grant:
        token, life = look(reply.payload, self.token), look(reply.payload, self.expires_in)
        if not isinstance(token, str) or not token:
            raise RefusedError(f"{where}; the answer has no {self.token}; is the host of the connection right?")
        return Grant(token, _seconds(life) or self.life)


class TokenAuth(AuthBase):
    """Asks `issue` for a token when there is none or it is about to expire, and puts it on each request.

    `early` seconds before its end (at most a tenth of its life) a token counts as expired. Call `ready` before each
    request: signing itself makes no call.
    """

    def __init__(
        self, issue: Callable[[], Grant], *, now: Callable[[], float], place: Place, early: float = 300.0
    ) -> None:
        self._issue = issue
        self._now = now
        self._place = place
        self._early = early
        self._grant: Grant | None = None
        self._stale_at = 0.0

    def ready(self) -> None:
        """Have a token that is good for the next call."""
        if self._grant is None or self._now() >= self._stale_at:
            self.renew()

    def renew(self) -> None:
        """Get a new token, whatever the present one is worth."""
        self._grant = None
        grant = self._issue()
        self._stale_at = self._now() + grant.expires_in - min(self._early, grant.expires_in / 10)
        self._grant = grant

    @property
    def secret(self) -> str:
        """The present token, "" where there is none: for blotting it out of texts."""
        return self._grant.token if self._grant else ""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        self._place.put(request, self.secret)
        return request


def _seconds(life: Any) -> float:
    """An expiry as services write it: a number, or its text; 0.0 where it is neither."""
    if isinstance(life, int | Decimal) or (isinstance(life, str) and life.isdigit()):
        return max(0.0, float(life))
    return 0.0
