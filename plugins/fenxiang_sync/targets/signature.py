"""HmacSignature: each call is signed with the connection's secret over its own text."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
from requests.auth import AuthBase

from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.targets.auth import Header, Place, need
from fenxiang_sync.targets.protocol import Endpoint
from fenxiang_sync.targets.wire import Wire


class Encoding(StrEnum):
    """How a signature is written."""

    HEX = "hex"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """What there is to sign of one call. `body` is as it travels, packed where it is packed; `query` is decoded."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    key: str
    timestamp: str
    nonce: str


def lines(call: Signing) -> bytes:
    """Method, path, sorted query, timestamp, nonce and the SHA-256 of the body, a line each."""
    query = urlencode(sorted(call.query.items()))
    parts = (call.method, call.path, query, call.timestamp, call.nonce, hashlib.sha256(call.body).hexdigest())
    return "\n".join(parts).encode()


def sorted_params(call: Signing) -> bytes:
    """Each name of the query with its value, sorted by name, one after the other, then the body."""
    return "".join(f"{name}{value}" for name, value in sorted(call.query.items())).encode() + call.body


@dataclass(frozen=True, slots=True, kw_only=True)
class HmacSignature:
    """HMAC with the connection's password over what `text` makes of the call.

    `key` (the connection's login), `timestamp` (seconds, or `milliseconds`) and `nonce` travel where they say, None for
    those that do not travel; they are there before `text` is asked. Each try of a call is signed anew.
    """

    text: Callable[[Signing], bytes] = lines
    algorithm: str = "sha256"
    encoding: Encoding = Encoding.HEX
    signature: Place = Header("X-Signature")
    key: Place | None = Header("X-Key")
    timestamp: Place | None = Header("X-Timestamp")
    nonce: Place | None = Header("X-Nonce")
    milliseconds: bool = False

    def __post_init__(self) -> None:
        if self.algorithm not in hashlib.algorithms_guaranteed or self.algorithm.startswith("shake_"):
            raise DeclarationError(f"HmacSignature algorithm={self.algorithm!r}: give one such as 'sha256' or 'sha1'")

    def open(self, endpoint: Endpoint, wire: Wire) -> AuthBase:
        secret = need(endpoint, "password", "the secret that signs")
        login = need(endpoint, "login", "the key of the signature") if self.key else endpoint.login
        return _Signer(self, login, secret.encode(), wire.now)


class _Signer(AuthBase):
    def __init__(self, said: HmacSignature, key: str, secret: bytes, now: Callable[[], float]) -> None:
        self._said = said
        self._key = key
        self._secret = secret
        self._now = now

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        said = self._said
        timestamp = str(int(self._now() * (1000 if said.milliseconds else 1)))
        nonce = secrets.token_hex(8)
        for place, value in ((said.key, self._key), (said.timestamp, timestamp), (said.nonce, nonce)):
            if place is not None:
                place.put(request, value)
        url = urlsplit(request.url or "")
        body = request.body or b""
        text = said.text(
            Signing(
                method=request.method or "",
                path=url.path,
                query=dict(parse_qsl(url.query, keep_blank_values=True)),
                body=body.encode() if isinstance(body, str) else body,
                key=self._key,
                timestamp=timestamp,
                nonce=nonce,
            )
        )
        digest = hmac.digest(self._secret, text, said.algorithm)
        said.signature.put(
            request, digest.hex() if said.encoding is Encoding.HEX else base64.b64encode(digest).decode()
        )
        return request
