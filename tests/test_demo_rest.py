"""The client of Airflow's REST API."""

from __future__ import annotations

import http.server
import socketserver
import threading
from collections.abc import Iterator

import pytest

from demo.rest import AirflowApiError, Rest

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"dags": [1]}'


class ForgetfulHandler(socketserver.StreamRequestHandler):
    """Answers one request of a connection, and drops the connection when another comes: as uvicorn does with one that
    was idle for 5 s, if the request is under way by then."""

    def handle(self) -> None:
        self.request.recv(65536)
        self.request.sendall(ANSWER)
        self.request.recv(65536)


@pytest.fixture
def url() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), ForgetfulHandler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_server_that_ends_idle_connections_is_no_trouble(url: str) -> None:
    rest = Rest(url, user="admin", password="secret")
    assert [rest.call("POST", "/api/v2/pools") for _ in range(3)] == [{"dags": [1]}] * 3


LOCKED = [
    b'{"detail":{"reason":"Database error","statement":"hidden"}}',
    b'{"detail":"Database is locked. Backfill creation is not supported on SQLite under concurrent access."}',
]


@pytest.mark.parametrize(("status", "body"), zip((500, 503), LOCKED, strict=True))
def test_what_airflow_took_back_because_sqlite_was_locked_is_asked_for_again(status: int, body: bytes) -> None:
    answers = [(status, body), (status, body), (200, b'{"id": 7}')]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            code, said = answers.pop(0)
            self.send_response(code)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        rest = Rest(f"http://127.0.0.1:{server.server_address[1]}", user="admin", password="secret")
        assert rest.call("POST", "/api/v2/backfills") == {"id": 7}
        answers.append((500, b"Internal Server Error"))
        with pytest.raises(AirflowApiError, match="500 Internal"):
            rest.call("POST", "/api/v2/backfills")
        server.shutdown()
