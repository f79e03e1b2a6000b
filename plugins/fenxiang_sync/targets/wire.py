"""Wire: one HTTP call to a target, paced, and what came of it. It logs nothing, and its errors hold no secret."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import requests
import urllib3
from requests.auth import AuthBase

from fenxiang_sync.errors import AnswerLostError, FenxiangSyncError, SetupError, TransientError
from fenxiang_sync.targets.pace import Pace
from fenxiang_sync.targets.protocol import Endpoint

encode = msgspec.json.Encoder(decimal_format="number").encode
"""JSON with exact numbers: a Decimal is written digit by digit."""
decode = msgspec.json.Decoder(float_hook=Decimal).decode

_NEVER_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
)
_BLOTTED_LENGTH = 300
MAX_BYTES = 64 * 1024 * 1024
"""A larger answer is none: what targets say of a batch takes a few thousand bytes."""
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is sent: an encoded body of content type `kind`, and what goes with it beside the auth.

    `absent`: an answer 404 or 410 says that what `path` names is not there, and not that the path is wrong.
    """

    path: str
    body: bytes = b""
    method: str = "POST"
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `payload` is its JSON with exact numbers (None where it is none); `page`: it is markup, a gateway's or
    a login's. `retry_after` in seconds.
    """

    status: int
    payload: Any
    page: bool = False
    retry_after: float | None = None

    @property
    def absent(self) -> bool:
        """Whether it says that what the path names is not there; a page is a gateway's, and says nothing."""
        return self.status in (404, 410) and not self.page


class Wire:
    """Calls to one connection, in the pace that it allows. For one thread."""

    def __init__(
        self,
        session: requests.Session,
        endpoint: Endpoint,
        pace: Pace,
        *,
        now: Callable[[], float],
        packed: bool = False,
    ) -> None:
        self.conn_id = endpoint.conn_id
        self.pace = pace
        self.now = now
        self.skew = 0.0
        """How far the target's clock is ahead of ours, in seconds, by its last answer (to 1 s)."""
        self.dated = False
        """Whether an answer has told it."""
        self._session = session
        self._base = endpoint.url.rstrip("/")
        self._packed = packed
        self._secrets: list[Callable[[], str]] = [lambda: endpoint.password]

    def keep_secret(self, secret: Callable[[], str]) -> None:
        """Blot out what `secret` gives, too."""
        self._secrets.append(secret)

    def blot(self, text: object) -> str:
        """A text of the target, short and without our secrets."""
        shown = str(text)
        for secret in self._secrets:
            if hidden := secret():
                shown = shown.replace(hidden, "***")
        return shown[:_BLOTTED_LENGTH]

    def send(self, call: Call, auth: AuthBase | None) -> Reply:
        """One call. Raises `AnswerLostError`, `TransientError` (it never went out) or `SetupError` (address, TLS)."""
        headers = {"Accept": "application/json", **call.headers}
        body = call.body
        if body:
            headers["Content-Type"] = call.kind
            if self._packed:
                body, headers["Content-Encoding"] = gzip.compress(body, mtime=0), "gzip"
        self.pace.wait()
        outcome = self._exchange(call, body, headers, auth)
        self.pace.answered()
        if isinstance(outcome, FenxiangSyncError):
            raise outcome
        return self._reply(*outcome)

    def _exchange(
        self, call: Call, body: bytes, headers: dict[str, str], auth: AuthBase | None
    ) -> tuple[requests.Response, bytes] | FenxiangSyncError:
        """The answer and its body, or what went wrong."""
        where = f"connection {self.conn_id!r}, {call.path}"
        # What requests raises names the URL, which may hold the token: nothing of it is kept, not even as context.
        try:
            with self._session.request(
                call.method,
                self._base + call.path,
                params=dict(call.query),
                data=body or None,
                headers=headers,
                auth=auth,
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = bytearray()
                for piece in response.iter_content(_PIECE):
                    answer += piece
                    if len(answer) > MAX_BYTES:
                        return AnswerLostError(f"{where}: the answer is larger than {MAX_BYTES:,} bytes", over=True)
                return response, bytes(answer)
        except OSError as error:  # requests raises its own errors, which are some, and those of files to be read
            return _failure(error, where)

    def _reply(self, response: requests.Response, body: bytes) -> Reply:
        if date := _moment(response.headers.get("Date")):
            self.skew, self.dated = date.timestamp() - self.now(), True
        try:
            payload = decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            payload = None
        return Reply(
            status=response.status_code,
            payload=payload,
            page=body.lstrip()[:1] == b"<",
            retry_after=self._retry_after(response.headers.get("Retry-After")),
        )

    def _retry_after(self, header: str | None) -> float | None:
        """Retry-After in seconds: a number, or a date on the target's clock."""
        if header is None:
            return None
        if header.strip().isdigit():
            return float(header)
        date = _moment(header)
        return max(0.0, date.timestamp() - self.skew - self.now()) if date else None


def _failure(error: OSError, where: str) -> FenxiangSyncError:
    kind = type(error).__name__
    if not isinstance(error, requests.RequestException):
        return SetupError(f"{where}: {error}; check `verify` and `cert` of the connection")
    if isinstance(error, requests.exceptions.SSLError):
        return SetupError(f"{where}: the TLS handshake failed; check the certificate and `verify` of the connection")
    if isinstance(error, ValueError):
        return SetupError(f"{where}: the address of the connection cannot be used ({kind}); check its host and schema")
    if any(isinstance(cause, _NEVER_SENT) for cause in _causes(error)):
        return TransientError(f"{where}: no connection ({kind}); nothing was sent", code=kind)
    began = isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError)
    return AnswerLostError(f"{where}: the answer was lost ({kind})", over=began, code=kind)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps: urllib3 puts the reason into an argument or into `reason`."""
    yield error
    for inner in (*error.args, getattr(error, "reason", None)):
        if isinstance(inner, BaseException):
            yield from _causes(inner)


def _moment(header: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
