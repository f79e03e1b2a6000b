"""Auth: how the calls of a target are signed. The secrets come from the Airflow connection when the target opens.

`Basic`, `Bearer`, `StaticKey` and `ClientCertificate` are here, `TokenEndpoint` is in ``login``, `HmacSignature` in
``signature``. What each opens into is an auth object of `requests`, and any other of those will do as well: an auth is
whatever has a method ``open(endpoint, wire)``.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from fenxiang_sync.errors import SetupError
from fenxiang_sync.targets.protocol import Endpoint
from fenxiang_sync.targets.wire import Wire


class Auth(Protocol):
    """A way to sign, without its secrets."""

    def open(self, endpoint: Endpoint, wire: Wire) -> AuthBase | None:
        """The auth object for the calls of `wire`; raises `SetupError` where the connection lacks something."""
        ...


class Place(Protocol):
    """Where a value travels in a request."""

    def put(self, request: requests.PreparedRequest, value: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Header:
    """``name: <prefix><value>``"""

    name: str
    prefix: str = ""

    def put(self, request: requests.PreparedRequest, value: str) -> None:
        request.headers[self.name] = f"{self.prefix}{value}"


@dataclass(frozen=True, slots=True)
class Query:
    """``?name=<value>``. The value is kept out of the log of urllib3, which shows request lines at DEBUG."""

    name: str

    def put(self, request: requests.PreparedRequest, value: str) -> None:
        _hide(self.name)
        joint = "&" if "?" in (request.url or "") else "?"
        request.url = f"{request.url}{joint}{urlencode({self.name: value})}"


@dataclass(frozen=True, slots=True)
class Cookie:
    """``Cookie: name=<value>``"""

    name: str

    def put(self, request: requests.PreparedRequest, value: str) -> None:
        request.headers["Cookie"] = f"{self.name}={value}"


BEARER = Header("Authorization", "Bearer ")


@dataclass(frozen=True, slots=True)
class StaticKey:
    """The connection's password as it is, at a place of its own: ``StaticKey(Header("X-Api-Key"))``."""

    at: Place

    def open(self, endpoint: Endpoint, wire: Wire) -> AuthBase:  # noqa: ARG002 - it makes no call
        return _Key(self.at, need(endpoint, "password", "the key"))


@dataclass(frozen=True, slots=True)
class Bearer:
    """The connection's password as ``Authorization: Bearer …``."""

    def open(self, endpoint: Endpoint, wire: Wire) -> AuthBase:  # noqa: ARG002
        return _Key(BEARER, need(endpoint, "password", "the token"))


@dataclass(frozen=True, slots=True)
class Basic:
    """HTTP Basic with login and password of the connection. Not `required`: only where it has a login."""

    required: bool = True

    def open(self, endpoint: Endpoint, wire: Wire) -> AuthBase | None:  # noqa: ARG002
        if not self.required and not endpoint.login:
            return None
        return HTTPBasicAuth(need(endpoint, "login", "the user"), endpoint.password)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """mTLS: the connection must have an extra ``cert`` (a file with certificate and key, or a list of the two).

    A connection's certificate is shown whatever the auth is; this makes it an error to have none. `beside`: what else
    signs the calls.
    """

    beside: Auth | None = None

    def open(self, endpoint: Endpoint, wire: Wire) -> AuthBase | None:
        if not endpoint.extra.get("cert"):
            raise SetupError(
                f"connection {endpoint.conn_id!r} has no client certificate; set its extra cert to the path of a PEM "
                "file with certificate and key, or to a list of both paths"
            )
        return self.beside.open(endpoint, wire) if self.beside else None


def need(endpoint: Endpoint, name: str, meant: str) -> str:
    """`login` or `password` of a connection; raises `SetupError` where it is empty, saying what is `meant`."""
    value: str = getattr(endpoint, name)
    if not value:
        raise SetupError(f"connection {endpoint.conn_id!r} has no {name}; set it to {meant}")
    return value


class _Key(AuthBase):
    def __init__(self, at: Place, secret: str) -> None:
        self._at = at
        self._secret = secret

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        self._at.put(request, self._secret)
        return request


class _HideQuery(logging.Filter):
    """Blots out the values of some query parameters in what urllib3 logs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(self._blotted(arg) if isinstance(arg, str) else arg for arg in record.args)
        return True

    def _blotted(self, text: str) -> str:
        for name in self.names:
            text = re.sub(rf"([?&]{re.escape(name)}=)[^&\s'\"]+", r"\1***", text)
        return text


_URL_LOG = logging.getLogger("urllib3.connectionpool")
_HIDE = _HideQuery()


def _hide(name: str) -> None:
    _HIDE.names.add(urlencode({name: ""}).removesuffix("="))
    _URL_LOG.addFilter(_HIDE)  # once, however often it is asked for
