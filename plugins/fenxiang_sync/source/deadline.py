"""Deadline: a call that is not over in time loses its connection, whatever it is waiting for.

The time-outs of `requests` are about silence. A server that sends a byte now and then (of headers, of a chunk's
length, of packed data that holds nothing) would keep a call for ever, and with it the task, its pool and its lease.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_calls = threading.local()


class Deadline:
    """``with Deadline(30) as deadline: …``; what the body waits for on a `DeadlineAdapter` ends after 30 s.

    It ends by an error, or as a shorter answer: only `passed` tells.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        _calls.deadline = self
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        _calls.deadline = None
        with self._lock:
            self._socket = None  # it may be another call's by now

    def watch(self, connected: socket.socket) -> None:
        with self._lock:
            self._socket = connected
            if self.passed:
                _shut(connected)

    def _pass(self) -> None:
        with self._lock:
            self.passed = True
            if self._socket is not None:
                _shut(self._socket)


class DeadlineAdapter(HTTPAdapter):
    """Lets the deadline of a call reach its connection; through a SOCKS proxy only `requests`' own time-outs hold."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager


class _Connection(HTTPConnection):
    def getresponse(self) -> Any:
        _watch(self)
        return super().getresponse()


class _TlsConnection(HTTPSConnection):
    def getresponse(self) -> Any:
        _watch(self)
        return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


def _watch(connection: HTTPConnection) -> None:
    deadline: Deadline | None = getattr(_calls, "deadline", None)
    if deadline is not None and connection.sock is not None:
        deadline.watch(connection.sock)


def _shut(connected: socket.socket) -> None:
    with suppress(OSError):
        # Not the TLS socket's own shutdown: that one pulls the session from under the thread that reads.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
