"""SharedTokenStore: one token for all tasks, workers, the command line and the connection test."""

from __future__ import annotations

import logging
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b

import msgspec
from airflow.sdk.log import mask_secret
from cryptography.fernet import Fernet, InvalidToken

from fenxiang_sync.airflow.connections import Place
from fenxiang_sync.hub import Hub
from fenxiang_sync.source import Credentials, Token
from fenxiang_sync.source.auth import Lease

log = logging.getLogger(__name__)

_LEASE_S = 90.0
"""A holder renews its lease before each call, and needs it for up to 70 s from then; a dead one is succeeded after."""
_WAIT_S = 300.0


class SharedTokenStore:
    """Keeps the token in an Airflow Variable; the lease is a row in the hub. A `TokenStore`.

    One Variable per host, app and credentials: ``fenxiang_token_…``, a name whose value Airflow hides. What it holds
    is sealed with the credentials besides, so that only who could ask for the token can read it: Airflow logs the
    messages between a task and its supervisor at DEBUG, values of Variables included, past its own masking.
    """

    def __init__(self, *, base_url: str, credentials: Credentials, hub_url: Callable[[], str]) -> None:
        identity = msgspec.json.encode(
            [
                base_url.rstrip("/").lower(),
                credentials.style,
                credentials.app_id,
                credentials.app_secret,
                credentials.permanent_code,
            ]
        )
        self.key = f"fenxiang_token_{blake2b(identity, digest_size=8, person=b'name').hexdigest()}"
        self._seal = Fernet(urlsafe_b64encode(blake2b(identity, digest_size=32, person=b"seal").digest()))
        self._hub_url = hub_url
        self._description = f"Token of Fenxiang app {credentials.app_id}. Delete it, and the next run gets another."

    def load(self) -> Token | None:
        """The stored token; None where there is none, or one that was not sealed with these credentials."""
        stored = _read(self.key)
        if not stored:
            return None
        try:
            token = msgspec.json.decode(self._seal.decrypt(stored.encode()), type=Token)
        except (InvalidToken, msgspec.DecodeError):
            log.warning("The Variable %s does not hold a token of these credentials; another is requested", self.key)
            return None
        mask_secret(token.value)
        return token

    def save(self, token: Token) -> None:
        mask_secret(token.value)
        _write(self.key, self._seal.encrypt(msgspec.json.encode(token)).decode(), self._description)

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        with Hub.connect(self._hub_url()) as hub, hub.lease(self.key, ttl_s=_LEASE_S, wait_s=_WAIT_S) as lease:
            yield lease


def _read(key: str) -> str | None:
    if Place.here() is Place.TASK:
        from airflow.sdk import Variable

        return _text(Variable.get(key, default=None))
    from airflow.models.variable import Variable as Stored

    return _text(Stored.get(key, default_var=None))


def _write(key: str, value: str, description: str) -> None:
    if Place.here() is Place.TASK:
        from airflow.sdk import Variable

        Variable.set(key, value, description=description)
        return
    # The SDK's Variable cannot be set outside a task.
    from airflow.models.variable import Variable as Stored

    Stored.set(key, value, description=description)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
