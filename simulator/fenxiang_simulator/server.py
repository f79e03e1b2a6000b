"""Server: HTTP/1.1 on a loopback port. It hands requests to apps, and misbehaves when an answer says so."""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import Message
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from traceback import format_exc
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from fenxiang_simulator.clock import Clock

DRIP_PIECES = 10
_BLANKS = 1_000_000

_REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


@dataclass(frozen=True, slots=True)
class Request:
    """One call. `headers` are read without regard to case; `received` is the server's time in epoch seconds."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: bytes
    received: float

    def json(self) -> Any:
        """The body as JSON; ValueError where it is none."""
        return json.loads(self.body)


@dataclass(slots=True)
class Response:
    """One answer, and how to send it badly.

    `delay_s` waits before the first byte. `truncate_at` closes the connection after so many bytes of the body, with the
    whole Content-Length announced. `reset` answers with a TCP reset. `drip_s` is the pause between the ten pieces in
    which the body is then sent, `drip_head_s` the same for the headers. So many `blanks` follow the body.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0
    truncate_at: int | None = None
    reset: bool = False
    drip_s: float = 0.0
    drip_head_s: float = 0.0
    blanks: int = 0

    @classmethod
    def json(cls, payload: Any, status: int = 200) -> Response:
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        return cls(status, {"Content-Type": "application/json;charset=UTF-8"}, body)

    @classmethod
    def html(cls, text: str, status: int = 200) -> Response:
        return cls(status, {"Content-Type": "text/html"}, text.encode())


class App(Protocol):
    """A part of the simulator that answers some paths."""

    def handle(self, request: Request) -> Response | None:
        """The answer, or None where the path is not this app's."""
        ...


def http_date(now: float) -> str:
    """The header `Date` of a time in epoch seconds."""
    return formatdate(int(now), usegmt=True)


class Server:
    """Apps behind one port. Tried in order; a path that is nobody's is a 404 page as the real gateway shows it.

    `date` makes the header `Date` of the time in epoch seconds; None leaves it out.
    """

    def __init__(
        self,
        apps: Sequence[App],
        clock: Clock,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        date: Callable[[float], str | None] = http_date,
    ) -> None:
        self.apps = list(apps)
        self.clock = clock
        self.date = date
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._http = _Http((host, port), self)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._http.serve_forever, args=(0.05,), name="simulator", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Stop answering and close every open connection. Doing it twice is fine."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        if self._thread is not None:
            _shut(self._http.socket)  # wakes the thread where it waits for a call, at once rather than after its pause
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()
        with self._lock:
            for connection in self._connections:
                _shut(connection)

    def answer(self, request: Request) -> Response:
        for app in self.apps:
            response = app.handle(request)
            if response is not None:
                return response
        return not_found()

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)


def not_found() -> Response:
    """The gateway's page for an unknown path."""
    return Response.html(
        "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n"
        "<hr><center>Tengine</center>\r\n</body>\r\n</html>\r\n",
        404,
    )


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], server: Server) -> None:
        self.simulated = server
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer.server_bind asks the name service for this host's name, which can take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is none of our errors."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def setup(self) -> None:
        super().setup()
        self.server.simulated.opened(self.connection)

    def finish(self) -> None:
        self.server.simulated.closed(self.connection)
        super().finish()

    def serve(self) -> None:
        simulated = self.server.simulated
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        request = Request(self.command, url.path, query, self.headers, body, simulated.clock.now())
        self._send(self._answer(request))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = serve  # noqa: N815  (named by http.server)

    def _answer(self, request: Request) -> Response:
        try:
            return self.server.simulated.answer(request)
        except Exception:  # noqa: BLE001  (whatever went wrong in an app, its caller gets an answer)
            sys.stderr.write(f"The simulator could not answer {request.method} {request.path}:\n{format_exc()}\n")
            return Response.json({"errorCode": 500, "errorMessage": "调用接口返回500错误"}, 500)

    def _send(self, response: Response) -> None:
        stopping = self.server.simulated.stopping
        if response.delay_s:
            stopping.wait(response.delay_s)
        if response.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            _close_now(self)
            return
        head = self._head(response)
        body = b"" if self.command == "HEAD" else response.body
        if response.truncate_at is not None:
            self.wfile.write(head + body[: response.truncate_at])
            self.close_connection = True
        elif response.drip_s or response.drip_head_s:
            self._drip(head, response.drip_head_s)
            self._drip(body, response.drip_s)
        else:
            self.wfile.write(head + body)
        for sent in range(0, response.blanks, _BLANKS):
            self.wfile.write(b" " * min(_BLANKS, response.blanks - sent))

    def _drip(self, data: bytes, pause_s: float) -> None:
        step = max(1, -(-len(data) // DRIP_PIECES) if pause_s else len(data))
        for at in range(0, len(data), step):
            self.wfile.write(data[at : at + step])
            self.server.simulated.stopping.wait(pause_s)

    def _head(self, response: Response) -> bytes:
        reason = _REASONS.get(response.status, "Status")
        simulated = self.server.simulated
        date = simulated.date(simulated.clock.now())
        lines = [
            f"HTTP/1.1 {response.status} {reason}",
            "Server: Tengine",
            *([] if date is None else [f"Date: {date}"]),
            f"Content-Length: {len(response.body) + response.blanks}",
            *(f"{name}: {value}" for name, value in response.headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def log_message(self, format: str, *args: Any) -> None:
        """The report of the simulator says what was asked; the console stays readable."""


def _close_now(handler: _Handler) -> None:
    """Close the socket itself, so that the reset goes out before anything is flushed."""
    handler.rfile.close()
    handler.connection.close()


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
