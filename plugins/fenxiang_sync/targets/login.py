"""TokenAuth: a token from an endpoint, as an auth object of `requests`."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlencode

import requests
from requests.auth import AuthBase

_URL_LOG = logging.getLogger("urllib3.connectionpool")


class Place(StrEnum):
    """Where a token travels."""

    HEADER = "header"
    """``Authorization: Bearer …``"""
    QUERY = "query"
    """``?access_token=…``"""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token and how long it lives (seconds)."""

    token: str = field(repr=False)
    expires_in: float


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
        if place is Place.QUERY:
            _URL_LOG.addFilter(_HIDE_TOKEN)

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
        if self._place is Place.HEADER:
            request.headers["Authorization"] = f"Bearer {self.secret}"
        else:
            joint = "&" if "?" in (request.url or "") else "?"
            request.url = f"{request.url}{joint}{urlencode({'access_token': self.secret})}"
        return request


class _HideToken(logging.Filter):
    """urllib3 logs request lines at DEBUG, and they carry the token where it travels in the query."""

    _TOKEN = re.compile(r"(access_token=)[^&\s'\"]+")

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(self._TOKEN.sub(r"\1***", arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


_HIDE_TOKEN = _HideToken()
