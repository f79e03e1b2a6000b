from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from fenxiang_simulator.server import Request, Response
from fenxiang_sync.errors import AnswerLostError, RefusedError, SetupError, ThrottledError, TransientError
from fenxiang_sync.source.deadline import Deadline
from fenxiang_sync.source.wire import Sealed, Wire
from tests.source_fixtures import serving

GOOD = b'{"errorCode":0}'


def post(answer: Callable[[Request], Response], **changes: Any) -> dict[str, Any]:
    with serving(answer) as (url, _):
        return Wire(requests.Session(), url, **changes).post(Sealed("/cgi/x", {"corpAccessToken": "canary"})).payload


def test_numbers_with_a_fraction_come_as_decimals() -> None:
    assert post(lambda request: Response(body=b'{"rate":0.10,"n":7}')) == {"rate": Decimal("0.10"), "n": 7}


def test_every_call_has_a_trace_id_of_its_own() -> None:
    with serving(lambda request: Response(body=GOOD)) as (url, app):
        wire = Wire(requests.Session(), url)
        for _ in range(3):
            wire.post(Sealed("/cgi/x", {}))
    assert len({request.query["thirdTraceId"] for request in app.asked}) == 3


def test_the_date_of_the_answer_is_kept() -> None:
    with serving(lambda request: Response(body=GOOD)) as (url, _):
        received = Wire(requests.Session(), url).post(Sealed("/cgi/x", {}))
    assert received.date is not None
    assert received.date.tzinfo is not None


@pytest.mark.parametrize(
    ("response", "error", "named"),
    [
        (Response(429), ThrottledError, "429"),
        (Response(502), AnswerLostError, "502"),
        (Response.html("<html><TITLE> 请登录 </TITLE></html>"), AnswerLostError, "text/html.*'请登录'"),
        (Response(body=b'{"errorCode":0,"da'), AnswerLostError, "instead of a JSON object"),
        (Response(body=b"[1]"), AnswerLostError, "instead of a JSON object"),
        (Response(body=b""), AnswerLostError, "instead of a JSON object"),
        (Response(body=b'{"errorCode":0,"a":"\xff"}'), AnswerLostError, "instead of a JSON object"),
        (Response(body=b"[" * 100_000), AnswerLostError, "instead of a JSON object"),
        (Response(body=GOOD * 100, truncate_at=20), AnswerLostError, "whole answer|before the end"),
        (Response(body=GOOD, reset=True), AnswerLostError, "ConnectionResetError|ProtocolError"),
    ],
)
def test_what_is_no_answer_is_an_error_that_names_what_was_met(
    response: Response, error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named) as raised:
        post(lambda request: response)
    assert type(raised.value) is error


def test_a_hanging_server_is_given_up() -> None:
    with pytest.raises(TransientError, match=r"silent for 0\.2 s.*ReadTimeout.*extra timeout of.*'crm'"):
        post(lambda request: Response(body=GOOD, delay_s=30), timeout=(1, 0.2), connection="crm")


def test_a_slow_drip_is_given_up_although_bytes_keep_coming() -> None:
    with pytest.raises(TransientError, match=r"still sending after 0\.3 s"):
        post(lambda request: Response(body=GOOD, drip_s=0.15), timeout=(0.1, 0.2))


GZIP_OF_NOTHING = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
ENDLESS = {
    "headers": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
    "the length of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
    "a body of unknown length": (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "packed data that holds nothing": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 100000\r\n\r\n" + GZIP_OF_NOTHING,
        b"\x00\x00\x00\xff\xff",
    ),
}


@pytest.mark.parametrize(("what", "proxied"), [*((what, False) for what in ENDLESS), ("headers", True)])
def test_whatever_drips_is_given_up_when_the_time_of_the_call_is_over(what: str, proxied: bool) -> None:
    session = requests.Session()
    session.trust_env = False
    given_up = pytest.raises(TransientError, match=r"(still sending|silent).*'crm'")
    with dripping(*ENDLESS[what]) as url:
        session.proxies = {"http": url} if proxied else {}
        wire = Wire(session, "http://open.example" if proxied else url, connection="crm", timeout=(0.1, 0.5))
        with given_up:
            wire.post(Sealed("/cgi/x", {}))


@contextmanager
def dripping(head: bytes, drop: bytes) -> Iterator[str]:
    """A server that goes on sending the same bytes to whoever calls, 20 times a second for 10 s."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    ended = []

    def serve() -> None:
        with suppress(OSError):
            called, _ = listener.accept()
            with called:
                called.sendall(head)
                for _ in range(200):
                    called.sendall(drop)
                    if over.wait(0.05):
                        return
                ended.append(drop)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    over.set()
    listener.close()
    thread.join(5)
    assert not ended, "it was listened to until it stopped by itself"


def test_a_deadline_leaves_the_connection_alone_once_its_call_is_over() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with Deadline(0.05) as deadline:
            deadline.watch(ours)
        threading.Event().wait(0.1)
        theirs.sendall(b"next")
        assert ours.recv(10) == b"next"


AWAY = Response(302, {"Location": "https://www.fxiaoke.com/?token=x"})
REFUSALS = [AWAY, Response.html("<title>404 Not Found</title>", 404), Response(403)]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda response: str(response.status))
def test_a_path_that_never_answers_is_wrong_after_three_tries(refusal: Response) -> None:
    told = rf"HTTP {refusal.status}.*host or path is wrong.*check the host of the Fenxiang connection 'crm'"
    with serving(lambda request: refusal) as (url, _):
        wire = Wire(requests.Session(), url, connection="crm")
        for error in (TransientError, TransientError, RefusedError, RefusedError):
            with pytest.raises(error, match=told):
                wire.post(Sealed("/cgi/x", {}))
        with pytest.raises(TransientError, match=told):
            wire.post(Sealed("/cgi/y", {}))


def test_a_path_that_has_answered_may_be_refused_for_a_moment() -> None:
    answers = iter([Response(body=GOOD), *REFUSALS, *REFUSALS, Response(body=GOOD)])
    with serving(lambda request: next(answers)) as (url, _):
        wire = Wire(requests.Session(), url)
        wire.post(Sealed("/cgi/x", {}))
        for _ in range(6):
            with pytest.raises(TransientError):
                wire.post(Sealed("/cgi/x", {}))
        wire.post(Sealed("/cgi/x", {}))


def test_a_redirect_is_not_followed_and_what_it_carries_is_not_shown() -> None:
    with serving(lambda request: AWAY) as (url, app), pytest.raises(TransientError) as raised:
        Wire(requests.Session(), url).post(Sealed("/cgi/x", {}))
    assert [request.path for request in app.asked] == ["/cgi/x"]
    assert "a redirect to www.fxiaoke.com." in str(raised.value)


def test_an_answer_without_end_is_not_read_into_memory() -> None:
    with pytest.raises(RefusedError, match="page_size"):
        post(lambda request: Response(body=b" " * 3_000_000), max_bytes=1_000_000)


def test_a_small_answer_that_unpacks_to_a_huge_one_is_not_read_into_memory() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    with pytest.raises(RefusedError, match="page_size"):
        post(lambda request: Response(headers={"Content-Encoding": "gzip"}, body=bomb), max_bytes=1_000_000)


def test_a_compressed_answer_is_read() -> None:
    packed = Response(headers={"Content-Encoding": "gzip"}, body=gzip.compress(GOOD))
    assert post(lambda request: packed) == {"errorCode": 0}


def test_a_server_that_is_not_there_is_tried_again_later() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TransientError, match=r"cannot be reached.*NewConnectionError.*check.*host of.*'crm'"):
        Wire(requests.Session(), f"http://127.0.0.1:{port}", connection="crm").post(Sealed("/cgi/x", {}))


@pytest.mark.parametrize("url", ["", "open.fxiaoke.com", "ftp://open.fxiaoke.com", "https://"])
def test_a_host_that_is_none_is_named_as_such(url: str) -> None:
    with pytest.raises(SetupError, match="no usable host"):
        Wire(requests.Session(), url)


def test_a_header_that_http_cannot_carry_is_a_matter_of_the_connection() -> None:
    with serving(lambda request: Response(body=GOOD)) as (url, _):
        for value in ("员工", "a\nb"):
            with pytest.raises(SetupError, match="extra of the Fenxiang connection"):
                Wire(requests.Session(), url).post(Sealed("/cgi/x", {}, {"x-fs-userid": value}))


def test_neither_a_netrc_nor_the_sessions_own_login_replaces_the_bearer_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    session = requests.Session()
    session.auth = ("login", "password")
    with serving(lambda request: Response(body=GOOD)) as (url, app):
        Wire(session, url).post(Sealed("/cgi/x", {}, {"authorization": "Bearer AT"}))
    assert app.asked[0].headers["authorization"] == "Bearer AT"


def test_no_error_holds_the_request() -> None:
    with pytest.raises(TransientError) as raised:
        post(lambda request: Response(reset=True))
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


def test_a_tls_certificate_that_is_not_trusted_is_a_matter_of_setup(tls_url: str) -> None:
    with pytest.raises(SetupError, match="certificate that is not trusted"):
        Wire(requests.Session(), tls_url).post(Sealed("/cgi/x", {}))


@pytest.fixture
def tls_url(tmp_path: Path) -> Any:
    """A TLS server with a certificate that nobody vouches for."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {cert} -days 1 -subj /CN=localhost"
    subprocess.run(request.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)

    def accept() -> None:
        try:
            listener.accept()
        except OSError:
            return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    thread.join(5)
