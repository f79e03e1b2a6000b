"""A token that processes share without Airflow: its value in a file, its lease in a hub, its time the simulator's."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import requests

from fenxiang_sync.hub import Hub
from fenxiang_sync.source import Token
from fenxiang_sync.source.auth import Lease


@dataclass(frozen=True)
class FileTokenStore:
    """As `SharedTokenStore` keeps it, but for the place of the value."""

    file: Path
    hub_url: str
    ttl_s: float = 90.0

    def load(self) -> Token | None:
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=Token)
        except FileNotFoundError:
            return None

    def save(self, token: Token) -> None:
        part = self.file.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        part.write_bytes(msgspec.json.encode(token))
        part.replace(self.file)

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        with Hub.connect(self.hub_url) as hub, hub.lease("token", ttl_s=self.ttl_s, wait_s=120) as lease:
            yield lease


@dataclass(frozen=True)
class RemoteClock:
    """The clock of a simulator in another process, `behind_s` as this machine's may be; sleeping moves it."""

    url: str
    behind_s: float = 0.0

    def now(self) -> float:
        return float(requests.get(f"{self.url}/_simulator/clock", timeout=30).json()["now_ms"]) / 1000 - self.behind_s

    def sleep(self, seconds: float) -> None:
        requests.post(f"{self.url}/_simulator/clock", json={"advance": seconds}, timeout=30).raise_for_status()


def until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    """Wait until the condition holds."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.02)
