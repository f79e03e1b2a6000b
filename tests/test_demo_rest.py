"""The client of Airflow's REST API."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import pytest

from demo.rest import Rest

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
