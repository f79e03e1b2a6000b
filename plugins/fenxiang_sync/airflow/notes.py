"""CallNote: the calls of one app and tenant, noted in the hub for all tasks, workers and commands."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from threading import Lock
from weakref import finalize

import msgspec

from fenxiang_sync.hub import Hub
from fenxiang_sync.source import Credentials
from fenxiang_sync.source.pacing import Change


class CallNote:
    """Keeps the hub open as long as it is used: it is asked about once a second while somebody calls.

    One note per host, app and permanent code, whatever the connections are called that hold them.
    """

    def __init__(self, base_url: str, credentials: Credentials, *, hub_url: Callable[[], str]) -> None:
        identity = msgspec.json.encode([base_url.rstrip("/").lower(), credentials.app_id, credentials.permanent_code])
        self.name = f"calls {blake2b(identity, digest_size=8, person=b'calls').hexdigest()}"
        self._hub_url = hub_url
        self._hub: Hub | None = None
        self._opening = Lock()

    def revise(self, change: Change) -> None:
        """Change the note, with nobody in between."""
        self._open().revise(self.name, change)

    def _open(self) -> Hub:
        with self._opening:
            if self._hub is None:
                self._hub = Hub.connect(self._hub_url())
                finalize(self, self._hub.close)
            return self._hub
