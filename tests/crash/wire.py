"""Wire: proxies between a task and its outside that count what passes, and kill the task at one of its events.

An event is an HTTP request, or a COMMIT on a PostgreSQL connection. A task dies either before the event got through,
or after it was carried out, with the answer on its way.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Self

_COMMIT = re.compile(rb"\s*COMMIT\b", re.IGNORECASE)
_PLAIN_PLEASE = (80877103, 80877104)
"""Requests for encryption (TLS, GSS) in place of a start-up message."""


@dataclass(frozen=True)
class Death:
    """At which event (from 1 on) the task dies, and whether what it asked for was carried out."""

    at: int
    answered: bool

    def __str__(self) -> str:
        return f"{'after' if self.answered else 'before'} event {self.at}"


class Watcher:
    """Counts the events of one process and kills it at one of them."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.killed_at: str | None = None
        self._pid = 0
        self._death: Death | None = None
        self._lock = threading.Lock()

    def watch(self, pid: int, death: Death | None) -> None:
        with self._lock:
            self.events, self.killed_at = [], None
            self._pid, self._death = pid, death

    def arrived(self, what: str) -> int:
        """Count an event; its number. 0 where the process is dead: then nothing of it counts any more."""
        with self._lock:
            if self.killed_at is not None:
                return 0
            self.events.append(what)
            return len(self.events)

    def kills(self, number: int, *, answered: bool) -> bool:
        """Whether the process has died of that event now (or before it); then nothing goes through any more."""
        with self._lock:
            if number == 0:
                return True
            if self._death == Death(number, answered) and self.killed_at is None:
                os.kill(self._pid, signal.SIGKILL)
                self.killed_at = self.events[number - 1]
                return True
            return False


class Proxy(ABC):
    """Listens on a loopback port for one address behind it; each connection has threads of its own."""

    def __init__(self, behind: tuple[str, int], watcher: Watcher) -> None:
        self.watcher = watcher
        self._behind = behind
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._listener)
        for each in list(self._open):
            _close(each)

    @abstractmethod
    def serve(self, client: socket.socket, server: socket.socket) -> None:
        """Carry one connection until either side ends."""

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), client, socket.create_connection(self._behind) as server:
            self._open |= {client, server}
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self.serve(client, server)
            finally:
                self._open -= {client, server}
                _close(client)
                _close(server)


class HttpProxy(Proxy):
    """Requests and answers with a Content-Length, as the simulator and `requests` send them."""

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        asked, answered = client.makefile("rb"), server.makefile("rb")
        while request := _http_message(asked):
            number = self.watcher.arrived("HTTP " + request.split(b" HTTP/", 1)[0].decode().split("?")[0])
            if self.watcher.kills(number, answered=False):
                return
            server.sendall(request)
            answer = _http_message(answered)
            if not answer or self.watcher.kills(number, answered=True):
                return
            client.sendall(answer)


class PostgresProxy(Proxy):
    """The messages of PostgreSQL's protocol, version 3, unencrypted."""

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        asked = client.makefile("rb")
        first = _length_and_rest(asked)
        while struct.unpack_from("!i", first, 4)[0] in _PLAIN_PLEASE:
            client.sendall(b"N")
            first = _length_and_rest(asked)
        server.sendall(first)
        commits: list[int] = []
        threading.Thread(target=self._answers, args=(client, server, commits), daemon=True).start()
        for kind, message in _postgres_messages(asked):
            if _is_commit(kind, message):
                number = self.watcher.arrived("COMMIT")
                if self.watcher.kills(number, answered=False):
                    return
                commits.append(number)
            server.sendall(message)

    def _answers(self, client: socket.socket, server: socket.socket, commits: list[int]) -> None:
        with contextlib.suppress(OSError, EOFError):
            for kind, message in _postgres_messages(server.makefile("rb")):
                done = kind == b"C" and message[5:].startswith((b"COMMIT\0", b"ROLLBACK\0")) and commits
                if done and self.watcher.kills(commits.pop(0), answered=True):
                    break
                client.sendall(message)
        _close(client)
        _close(server)


def _http_message(stream: BinaryIO) -> bytes:
    """One request or answer, whole; b"" at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return b""
        head += line
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return head + _exactly(stream, int(length[1]) if length else 0)


def _postgres_messages(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Each message with its kind: a letter, a length, and so many bytes."""
    while kind := stream.read(1):
        yield kind, kind + _length_and_rest(stream)


def _is_commit(kind: bytes, message: bytes) -> bool:
    """A simple query, or the text of a prepared one, that is COMMIT."""
    if kind == b"Q":
        return bool(_COMMIT.match(message, 5))
    return kind == b"P" and bool(_COMMIT.match(message, message.index(b"\0", 5) + 1))


def _length_and_rest(stream: BinaryIO) -> bytes:
    length = _exactly(stream, 4)
    return length + _exactly(stream, struct.unpack("!i", length)[0] - 4)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    found = stream.read(count)
    if len(found) < count:
        raise EOFError
    return found


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
