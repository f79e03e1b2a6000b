"""Auth: the credentials of a connection, and the one token that everybody who uses them shares.

A token lives 7,200 s and stays the same when asked for again before 6,600 s; after that a new one is given while the
old still works. The token endpoint takes 10 calls a minute and never two at once (vendor documentation).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

import requests

from fenxiang_sync.errors import FenxiangSyncError, RefusedError, SetupError, TokenError, TransientError
from fenxiang_sync.source.codes import error_for
from fenxiang_sync.source.retries import TOKEN_RETRIES, Retries
from fenxiang_sync.source.wire import Sealed, Wire

log = logging.getLogger(__name__)

LIFETIME_S = 7200
REFRESH_S = 6600
SPACING_S = 6.5
"""Between two token calls, by whomever: at most 10 in any minute."""
LONGEST_S = 20.0
"""For a token call to connect, and to be answered: it is made under the lease."""
AGAIN_S = 60.0
"""A token that could not be refreshed, and still works, is left alone for so long."""


class Style(StrEnum):
    """How a call carries its credentials. One connection uses one, since user ids in data differ with it."""

    BODY = "body"
    """Old: corpAccessToken, corpId and currentOpenUserId (FSUID_…) in the body."""
    HEADER = "header"
    """New: authorization, x-fs-ea and x-fs-userid (employee id)."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a Fenxiang connection holds. `connection` names it in messages; no secret shows in the repr.

    `acting_user` is the employee whose data permission the reads have: FSUID_… in the body style, the employee id in
    the header style; empty in the body style means: whoever has the `mobile` number.
    """

    app_id: str = field(repr=False)
    app_secret: str = field(repr=False)
    permanent_code: str = field(repr=False)
    style: Style = Style.BODY
    acting_user: str = ""
    mobile: str = field(default="", repr=False)
    connection: str = "fenxiang"

    @property
    def secrets(self) -> tuple[str, str]:
        return self.app_secret, self.permanent_code

    def __post_init__(self) -> None:
        needed = {
            "login (appId)": self.app_id,
            "password (appSecret)": self.app_secret,
            "extra permanent_code": self.permanent_code,
        }
        if self.style is Style.HEADER:
            needed["extra employee_id (员工ID; the header style needs it)"] = self.acting_user
        else:
            needed["extra open_user_id (FSUID_…), or mobile"] = self.acting_user or self.mobile
        empty = [name for name, value in needed.items() if not value]
        if empty:
            raise SetupError(f"Connection {self.connection!r} lacks {'; '.join(empty)}")


@dataclass(frozen=True)
class Token:
    """A token as it is stored. Times are epoch seconds.

    `tenant` is the corpId (FSCID_…) in the body style, the `ea` in the header style. `expires_in` is what the server
    said was left of it, `issued_at` follows from that. `asked_at` is when somebody last called the token endpoint; it
    is kept also where nothing came of it, with an empty `value`.
    """

    value: str = field(repr=False)
    tenant: str
    issued_at: float
    expires_in: float
    asked_at: float = 0.0

    @property
    def due_at(self) -> float:
        return self.issued_at + REFRESH_S

    @property
    def expires_at(self) -> float:
        return self.issued_at + LIFETIME_S


NO_TOKEN = Token("", "", 0.0, 0.0)


class Lease(Protocol):
    """What its holder knows of a lease."""

    @property
    def rested_s(self) -> float:
        """How long nobody had held it before, by a clock that all holders share."""
        ...

    def keep(self) -> None:
        """Hold it for its whole time again; raises `TransientError` where another has it."""
        ...


class TokenStore(Protocol):
    """Where the token of one host, app and credentials is kept for all who use it."""

    def load(self) -> Token | None: ...

    def save(self, token: Token) -> None: ...

    def lease(self) -> AbstractContextManager[Lease]:
        """Held by one at a time, everywhere; blocks. From one `keep` to the next it is needed for up to 70 s."""
        ...


class _InOneProcess:
    """The lease of a process: it is never lost, and the time of the last call is by one clock anyway."""

    rested_s = math.inf

    def keep(self) -> None: ...


class MemoryTokenStore:
    """For one process."""

    def __init__(self) -> None:
        self._token: Token | None = None
        self._lock = threading.Lock()

    def load(self) -> Token | None:
        return self._token

    def save(self, token: Token) -> None:
        self._token = token

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        with self._lock:
            yield _InOneProcess()


class Tokens:
    """The token for calls: one call to the endpoint for all threads, and through the store for all processes."""

    def __init__(
        self,
        *,
        session: requests.Session,
        base_url: str,
        credentials: Credentials,
        store: TokenStore | None = None,
        timeout: tuple[float, float] = (10, 20),
        retries: Retries = TOKEN_RETRIES,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        connect, answer = timeout
        bounded = min(connect, LONGEST_S), min(answer, LONGEST_S)
        self._wire = Wire(session, base_url, connection=credentials.connection, timeout=bounded)
        self._credentials = credentials
        self._store = store if store is not None else MemoryTokenStore()
        self._retries = retries
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._held = NO_TOKEN

    def token(self) -> Token:
        """A token that works, refreshed when it is 6,600 s old."""
        held = self._held
        return held if self._good(held, NO_TOKEN) else self._obtained(NO_TOKEN)

    def renew(self, refused: Token) -> Token:
        """Another token than the refused one: what somebody else has stored meanwhile, else a new one."""
        return self._obtained(refused)

    def _obtained(self, refused: Token) -> Token:
        with self._lock:
            if not self._good(self._held, refused):
                self._held = self._stored_or_fetched(refused)
            return self._held

    def _stored_or_fetched(self, refused: Token) -> Token:
        stored = self._store.load()
        if stored is not None and self._good(stored, refused):
            return stored
        with self._store.lease() as lease:
            stored = self._store.load() or NO_TOKEN
            return stored if self._good(stored, refused) else self._fetched(stored, refused, lease)

    def _good(self, token: Token, refused: Token) -> bool:
        now = self._now()
        if not token.value or token.value == refused.value or now >= token.expires_at:
            return False
        return now < token.due_at or now - token.asked_at < AGAIN_S

    def _fetched(self, stored: Token, refused: Token, lease: Lease) -> Token:
        last = stored
        if lease.rested_s < SPACING_S:  # `asked_at` may be by a clock that is behind ours
            self._sleep(SPACING_S - lease.rested_s)
        try:
            for attempt in self._retries.attempts(self._sleep):
                with attempt:
                    last = self._announced(last, lease)
                    token = self._asked(last.asked_at)
        except TransientError as error:
            if not self._good(last, refused):
                # Not to be tried again in place by whoever needs it for a call: that was done here.
                raise TokenError(str(error), code=error.code, retry_after=error.retry_after) from None
            log.warning("The token could not be refreshed; the one at hand still works and stays in use")
            return last
        self._store.save(token)
        return token

    def _announced(self, last: Token, lease: Lease) -> Token:
        """Wait until a call is allowed, and store that one is made now, before it is made.

        Without the lease none is allowed: who was asleep for long (a suspended machine) may have been succeeded.
        """
        wait = min(last.asked_at + SPACING_S - self._now(), SPACING_S)
        if wait > 0:
            self._sleep(wait)
        try:
            lease.keep()
        except TransientError as error:
            raise TokenError(f"No token was asked for. {error}") from None
        announced = replace(last, asked_at=self._now())
        self._store.save(announced)
        return announced

    def _asked(self, asked_at: float) -> Token:
        sealed = _token_call(self._credentials)
        received = self._wire.post(sealed)
        error = error_for(sealed.path, received.payload, secrets=self._credentials.secrets)
        if error is not None:
            raise explained(error, self._credentials)
        token = _token(received.payload, self._credentials.style, asked_at)
        if token is None:
            raise RefusedError(f"{sealed.path} answered without {' and '.join(_REPLY[self._credentials.style])}")
        return token


def acting_user_by_mobile(call: Callable[[str, dict[str, Any]], dict[str, Any]], credentials: Credentials) -> str:
    """The FSUID_… of the one employee with the connection's mobile number (body style)."""
    found = call("/cgi/user/getByMobile", {"mobile": credentials.mobile}).get("empList")
    users = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    ids = {str(user["openUserId"]) for user in users if user.get("openUserId")}
    if len(ids) == 1:
        return ids.pop()
    number = f"…{credentials.mobile[-4:]}"
    met = f"{len(ids)} employees have" if ids else "nobody in this company has"
    raise SetupError(
        f"{met} the mobile number {number} of connection {credentials.connection!r}; "
        "set extra open_user_id (FSUID_…) instead"
    )


_PATHS = {Style.BODY: "/cgi/corpAccessToken/get/V2", Style.HEADER: "/oauth2.0/token"}
_REPLY = {Style.BODY: ("corpAccessToken", "corpId"), Style.HEADER: ("accessToken", "ea")}
_FIELDS = {
    **dict.fromkeys((10001, 11001), "login (appId)"),
    **dict.fromkeys((10002, 10006, 11002), "password (appSecret)"),
    20006: "login (appId) and password (appSecret)",
    **dict.fromkeys((10012, 11013, 20015), "extra permanent_code"),
    **dict.fromkeys((10010, 11008, 20012), "extra open_user_id"),
    30027: "extra open_user_id or employee_id",
}
CREDENTIAL_CODES = frozenset(_FIELDS)
"""The codes of a refusal that is about a field of the connection, whatever was asked."""


def explained(error: FenxiangSyncError, credentials: Credentials) -> FenxiangSyncError:
    """The same error; where its code is about a field of the connection, with that field named."""
    code = error.code if isinstance(error, RefusedError) else None
    if not isinstance(code, int) or code not in _FIELDS:
        return error
    return RefusedError(f"Mend {_FIELDS[code]} of connection {credentials.connection!r}: {error}", code=code)


def _token_call(credentials: Credentials) -> Sealed:
    body = {
        "appId": credentials.app_id,
        "appSecret": credentials.app_secret,
        "permanentCode": credentials.permanent_code,
    }
    if credentials.style is Style.HEADER:
        body["grantType"] = "app_secret"
    return Sealed(_PATHS[credentials.style], body)


def _left(expires_in: object) -> float:
    """Seconds left; the whole life where the server does not say."""
    known = isinstance(expires_in, int) and not isinstance(expires_in, bool) and 0 < expires_in <= LIFETIME_S
    return float(expires_in) if known and isinstance(expires_in, int) else float(LIFETIME_S)


def _token(payload: Mapping[str, Any], style: Style, asked_at: float) -> Token | None:
    value, tenant = (payload.get(key) for key in _REPLY[style])
    if not (isinstance(value, str) and value and isinstance(tenant, str) and tenant):
        return None
    left = _left(payload.get("expiresIn"))
    return Token(value, tenant, issued_at=asked_at - (LIFETIME_S - left), expires_in=left, asked_at=asked_at)
