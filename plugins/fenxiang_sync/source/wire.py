"""Wire: one POST of JSON to Fenxiang and what came back, judged as HTTP only.

What goes over the wire holds credentials (the body style carries the token in the body), so nothing here logs a body
and no error keeps one: an exception of `requests` holds the whole request, so it is never raised on, nor chained.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from fenxiang_sync.errors import (
    AnswerLostError,
    FenxiangSyncError,
    RefusedError,
    SetupError,
    ThrottledError,
    TransientError,
)
from fenxiang_sync.source.deadline import Deadline, DeadlineAdapter

MAX_BYTES = 64 * 1024 * 1024
"""The largest answer that is read; 100 records with long texts are a few megabytes."""

REFUSALS = 3
"""How often a path that has never answered is refused (a redirect, 404, 403) before host or path count as wrong. One
that has answered never counts as wrong: a gateway has its moments."""

_PIECE = 64 * 1024
_UNUSABLE = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
    UnicodeError,
)
_SILENT = (requests.exceptions.ReadTimeout, ReadTimeoutError)
_UNREACHED = ("NewConnectionError", "NameResolutionError", "ConnectTimeout", "ProxyError")
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


@dataclass(frozen=True, slots=True)
class Sealed:
    """A request with its credentials; its repr shows the path alone."""

    path: str
    body: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def encoded(self) -> bytes:
        return msgspec.json.encode(self.body)


@dataclass(frozen=True, slots=True)
class Received:
    """A JSON object, and the server's `Date` (1 s resolution; None where it sent none)."""

    payload: dict[str, Any] = field(repr=False)
    date: datetime | None


class Wire:
    """`timeout` is (connect, silence) in seconds; together they are what a whole call may take, dripping or not.

    `connection` names the Airflow connection in messages. The session's adapter for the host becomes one that a
    deadline can reach.
    """

    def __init__(
        self,
        session: requests.Session,
        base_url: str,
        *,
        connection: str = "fenxiang",
        timeout: tuple[float, float] = (10, 60),
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._connection = f"the Fenxiang connection {connection!r}"
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SetupError(
                f"The Fenxiang connection {connection!r} has no usable host; it looks like https://open.fxiaoke.com"
            )
        self.host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._longest = sum(timeout)
        self._max_bytes = max_bytes
        self._answered: set[str] = set()
        self._refusals: Counter[str] = Counter()
        if not isinstance(session.get_adapter(f"{self._base_url}/"), DeadlineAdapter):
            session.mount(f"{self._base_url}/", DeadlineAdapter())

    def post(self, sealed: Sealed) -> Received:
        """Send it once. `AnswerLostError`: no answer, or none in JSON; `TransientError`: it was not carried out;
        `RefusedError`: wrong host or path, or an answer that is too long (no code)."""
        outcome = self._exchange(sealed)
        if isinstance(outcome, FenxiangSyncError):
            # Raised here and not where it happened: the frames and the chain of a failed request hold its body.
            raise outcome
        return outcome

    def _exchange(self, sealed: Sealed) -> Received | FenxiangSyncError:
        with Deadline(self._longest) as deadline:
            outcome = self._asked(sealed)
        if deadline.passed:
            return AnswerLostError(
                f"{self.host}{sealed.path} was still sending after {self._longest:g} s; "
                f"if it is always that slow, raise extra timeout of {self._connection}"
            )
        return outcome

    def _asked(self, sealed: Sealed) -> Received | FenxiangSyncError:
        try:
            with self._session.post(
                f"{self._base_url}{sealed.path}",
                params={"thirdTraceId": str(uuid4())},
                data=sealed.encoded(),
                headers={"Content-Type": "application/json", **sealed.headers},
                auth=_as_it_is,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                refusal = self._refusal(sealed.path, response)
                return refusal or self._read(sealed.path, response)
        except (HTTPError, OSError, UnicodeError) as error:  # requests' own errors are OSErrors
            return self._failure(sealed.path, error)

    def _failure(self, path: str, error: Exception) -> FenxiangSyncError:
        what = _named(error)
        if isinstance(error, _UNUSABLE):
            return SetupError(
                f"{self.host}{path} cannot be called ({what}); check host and extra of {self._connection}"
            )
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return SetupError(f"{self.host} shows a TLS certificate that is not trusted here; check host and CA bundle")
        if isinstance(error, _SILENT):
            told = f"{self.host}{path} was silent for {self._timeout[1]:g} s ({what})"
            return AnswerLostError(f"{told}; extra timeout of {self._connection} is how long to wait")
        if any(each in what for each in _UNREACHED):
            return TransientError(
                f"{self.host} cannot be reached ({what}); check network, proxy, and the host of {self._connection}"
            )
        return AnswerLostError(f"{self.host}{path} gave no whole answer: {what} ({self._connection})")

    def _refusal(self, path: str, response: requests.Response) -> FenxiangSyncError | None:
        status, where = response.status_code, f"{self.host}{path}"
        if status == 200:
            return None
        if status == 429:
            return ThrottledError(f"{where} answered HTTP 429: too many calls", code=429)
        if status >= 500 or status == 408:
            return AnswerLostError(f"{where} answered HTTP {status}", code=status)
        target = urlsplit(response.headers.get("Location", "")).hostname
        told = (
            f"{where} answered HTTP {status}" + (f", a redirect to {target}" if target else "") + ". Fenxiang itself "
            f"answers 200: host or path is wrong, or something in between refuses; check the host of {self._connection}"
        )
        self._refusals[path] += 1
        if path in self._answered or self._refusals[path] < REFUSALS:
            return TransientError(told, code=status)
        return RefusedError(told, code=status)

    def _read(self, path: str, response: requests.Response) -> Received | FenxiangSyncError:
        body = bytearray()
        while piece := response.raw.read1(_PIECE, decode_content=True):
            body += piece
            if len(body) > self._max_bytes:
                return RefusedError(f"{self.host}{path} sent over {self._max_bytes:,} bytes; use a smaller page_size")
        missing = response.raw.length_remaining
        if missing:
            return AnswerLostError(f"{self.host}{path} stopped {missing} bytes before the end of its answer")
        return self._parsed(path, body, response)

    def _parsed(self, path: str, body: bytearray, response: requests.Response) -> Received | FenxiangSyncError:
        payload = _payload(body)
        if isinstance(payload, dict):
            self._answered.add(path)
            return Received(payload, _date(response.headers.get("Date")))
        kind = response.headers.get("Content-Type", "no content type").split(";")[0]
        return AnswerLostError(f"{self.host}{path} answered {kind} instead of a JSON object{_title(body)}")


def _payload(body: bytearray) -> Any:
    """The JSON of a body, None where it is none.

    One field that JSON cannot hold (``\\ud83d``, half of a character where a text was cut; NaN) does not make the whole
    page unreadable: the half becomes ``?``, NaN and infinity become their names as text. Bytes that are no UTF-8 do:
    in another encoding all of it would be wrong.
    """
    with suppress(msgspec.DecodeError, ValueError, RecursionError):
        return _decode(body)
    with suppress(ValueError, RecursionError):
        return _mended(json.loads(body.decode(), parse_float=Decimal, parse_constant=str))
    return None


def _mended(value: Any) -> Any:
    """The same without halves of surrogate pairs, which no file and no database takes."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [_mended(each) for each in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(each) for name, each in value.items()}
    return value


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No authentication of the session's, and none from a .netrc: either would replace the bearer token."""
    return request


def _named(error: BaseException) -> str:
    """The classes of an error and of what is behind it. Their texts may hold addresses with passwords (proxies)."""
    names = [type(error).__name__]
    inner: object = error
    while isinstance(inner, BaseException):
        inner = getattr(inner, "reason", None) or next((a for a in inner.args if isinstance(a, BaseException)), None)
        if isinstance(inner, BaseException):
            names.append(type(inner).__name__)
    return ", ".join(dict.fromkeys(names))


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return date if date and date.tzinfo else None


def _title(body: bytearray) -> str:
    found = re.search(rb"<title[^>]*>([^<]{1,80})</title>", body[:4096], re.IGNORECASE)
    return f" (a page titled {found[1].decode(errors='replace').strip()!r})" if found else ""
