"""How the calls of a target are signed: the headers and queries that travel, and what a connection may lack."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import ipaddress
import json
import logging
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fenxiang_simulator.server import Request, Response
from fenxiang_sync.airflow.reach import make_reach
from fenxiang_sync.errors import DeclarationError, RefusedError, SetupError, TokenError, TransientError
from fenxiang_sync.targets.auth import Auth, Basic, Bearer, ClientCertificate, Cookie, Header, Query, StaticKey
from fenxiang_sync.targets.login import TokenEndpoint
from fenxiang_sync.targets.meaning import Codes, Verdict
from fenxiang_sync.targets.protocol import Delivery, Endpoint
from fenxiang_sync.targets.rest import RestTarget
from fenxiang_sync.targets.signature import Encoding, HmacSignature, Signing, sorted_params
from tests.airflow_fixtures import ConnectionSetter
from tests.targets_fixtures import Stand, deliveries, rows, stand

SECRET = "canary-9f1b-word"
PLAIN = {"host", "user-agent", "accept", "accept-encoding", "connection", "content-type", "content-length"}


@dataclass
class Service:
    """Takes everything at /batch that carries what `wants` says; gives tokens at /token."""

    calls: list[Request] = field(default_factory=list)
    tokens: list[Request] = field(default_factory=list)
    life: Any = 3600
    dead: set[str] = field(default_factory=set)
    refusal: Response | None = None

    def handle(self, request: Request) -> Response | None:
        if request.path == "/token":
            self.tokens.append(request)
            token = {"access_token": f"token-{len(self.tokens)}", "expires_in": self.life}
            return self.refusal or Response.json(token)
        if request.path != "/batch":
            return None
        self.calls.append(request)
        carried = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return Response.json({"code": 9 if carried in self.dead else 0})

    def headers(self, call: int = -1) -> dict[str, str]:
        """Those beside the ones that every call has."""
        sent = {name.lower(): value for name, value in self.calls[call].headers.items()}
        return {name: value for name, value in sent.items() if name not in PLAIN}


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def simulated(service: Service) -> Iterator[Stand]:
    with stand(service) as made:
        made.connections["erp"] = {"login": "key-7", "password": SECRET}
        yield made


def target(auth: Auth | None, **words: Any) -> RestTarget:
    return RestTarget(connection="erp", path="/batch", auth=auth, **words)


@pytest.mark.parametrize(
    ("auth", "headers", "query"),
    [
        (None, {"authorization": "Basic " + base64.b64encode(f"key-7:{SECRET}".encode()).decode()}, {}),
        (Basic(), {"authorization": "Basic " + base64.b64encode(f"key-7:{SECRET}".encode()).decode()}, {}),
        (Bearer(), {"authorization": f"Bearer {SECRET}"}, {}),
        (StaticKey(Header("X-Api-Key")), {"x-api-key": SECRET}, {}),
        (StaticKey(Query("app key")), {}, {"app key": SECRET}),
        (StaticKey(Cookie("session")), {"cookie": f"session={SECRET}"}, {}),
    ],
)
def test_a_call_carries_its_secret_where_it_is_declared_and_nowhere_else(
    simulated: Stand,
    service: Service,
    auth: Auth | None,
    headers: dict[str, str],
    query: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    assert deliveries(simulated.send(target(auth), rows(2))) == [Delivery.DELIVERED] * 2
    assert service.headers() == headers
    assert service.calls[0].query == query
    assert "/batch" in caplog.text
    assert SECRET not in caplog.text
    assert SECRET not in repr(target(auth))


def test_without_a_login_a_call_carries_nothing(simulated: Stand, service: Service) -> None:
    simulated.connections["erp"] = {}
    simulated.send(target(None), rows(1))
    assert service.headers() == {}


@pytest.mark.parametrize(
    ("auth", "lacks", "message"),
    [
        (Basic(), "login", "has no login; set it to the user"),
        (Bearer(), "password", "has no password; set it to the token"),
        (StaticKey(Header("X-Api-Key")), "password", "has no password; set it to the key"),
        (TokenEndpoint(path="/token"), "login", "has no login; set it to the client id"),
        (HmacSignature(), "password", "has no password; set it to the secret that signs"),
        (HmacSignature(), "login", "has no login; set it to the key of the signature"),
        (ClientCertificate(), "", "has no client certificate; set its extra cert"),
    ],
)
def test_a_connection_that_lacks_something_says_what(simulated: Stand, auth: Auth, lacks: str, message: str) -> None:
    simulated.connections["erp"] = {"login": "key-7", "password": SECRET, **({lacks: ""} if lacks else {})}
    with pytest.raises(SetupError, match=f"connection 'erp' {message}"):
        simulated.send(target(auth), rows(1))


class TestTokenEndpoint:
    def test_a_token_is_asked_for_as_oauth_wants_it_and_kept(self, simulated: Stand, service: Service) -> None:
        with target(TokenEndpoint(path="/token", form=True)).open(simulated.reach) as sender:
            for start in range(3):
                sender.send(rows(1, start=start))
        (asked,) = service.tokens
        assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert asked.body.decode() == f"grant_type=client_credentials&client_id=key-7&client_secret={SECRET}"
        assert [service.headers(call) for call in range(3)] == [{"authorization": "Bearer token-1"}] * 3

    @pytest.mark.parametrize("life", [3600, "3600", 3600.0])
    def test_it_is_renewed_before_it_ends(self, simulated: Stand, service: Service, life: Any) -> None:
        service.life = life
        with target(TokenEndpoint(path="/token")).open(simulated.reach) as sender:
            for pause in (0, 3_200, 200):
                simulated.clock.advance(pause)
                sender.send(rows(1))
        assert [service.headers(call)["authorization"][-1] for call in range(3)] == ["1", "1", "2"]

    @pytest.mark.parametrize("life", [None, 0, "soon"])
    def test_without_an_expiry_it_lives_as_long_as_declared(
        self, simulated: Stand, service: Service, life: Any
    ) -> None:
        service.life = life
        with target(TokenEndpoint(path="/token", life=100, early=5)).open(simulated.reach) as sender:
            for pause in (0, 90, 10):
                simulated.clock.advance(pause)
                sender.send(rows(1))
        assert len(service.tokens) == 2

    def test_a_code_in_the_body_can_say_that_it_is_dead_and_it_is_renewed_once(
        self, simulated: Stand, service: Service
    ) -> None:
        judged = target(
            TokenEndpoint(path="/token", body=account, at=Header("Authorization", "Bearer ")),
            verdict=Verdict(code="code", codes=Codes(ok=frozenset({0}), token=frozenset({9}))),
        )
        service.dead = {"token-1"}
        assert deliveries(simulated.send(judged, rows(1))) == [Delivery.DELIVERED]
        assert json.loads(service.tokens[0].body) == {"user": "key-7", "word": SECRET}
        service.dead = {f"token-{number}" for number in range(9)}
        with pytest.raises(TokenError, match="a new token was refused as well"):
            simulated.send(judged, rows(1))

    @pytest.mark.parametrize(
        ("refusal", "error", "message"),
        [
            (Response.json({"message": f"no such client {SECRET}"}, 401), RefusedError, r"\*\*\*.*check login"),
            (Response.json({}, 503), TransientError, "/token: HTTP 503"),
            (Response.json({"no": "token"}), RefusedError, "the answer has no access_token"),
            (Response.html("<html>"), TransientError, "/token"),
        ],
    )
    def test_an_endpoint_that_gives_none_says_what_the_run_does(
        self, simulated: Stand, service: Service, refusal: Response, error: type[Exception], message: str
    ) -> None:
        service.refusal = refusal
        with pytest.raises(error, match=message) as caught:
            simulated.send(target(TokenEndpoint(path="/token"), tries=1), rows(1))
        assert SECRET not in str(caught.value)
        assert service.calls == []

    @pytest.mark.parametrize("wrong", [{"path": "token"}, {"path": "/t", "life": 0}, {"path": "/t", "early": -1}])
    def test_a_declaration_that_cannot_be_meant_is_an_error(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(DeclarationError, match="TokenEndpoint"):
            TokenEndpoint(**wrong)


def account(endpoint: Endpoint) -> Mapping[str, Any]:
    return {"user": endpoint.login, "word": endpoint.password}


class TestHmacSignature:
    def test_the_service_can_make_the_same_signature_of_what_it_got(self, simulated: Stand, service: Service) -> None:
        before = simulated.clock.now()
        simulated.send(target(HmacSignature(), query={"b": "2", "a": "x y"}, gzip=True), rows(2))
        (call,) = service.calls
        said = service.headers()
        body = hashlib.sha256(call.body).hexdigest()
        text = "\n".join(["POST", "/batch", "a=x+y&b=2", said["x-timestamp"], said["x-nonce"], body])
        assert said["x-signature"] == hmac.new(SECRET.encode(), text.encode(), "sha256").hexdigest()
        assert said["x-key"] == "key-7"
        assert int(before) <= int(said["x-timestamp"]) <= simulated.clock.now()
        assert set(said) == {"x-signature", "x-key", "x-timestamp", "x-nonce", "content-encoding"}

    def test_everything_may_travel_in_the_query_and_be_signed_in_order(
        self, simulated: Stand, service: Service
    ) -> None:
        signed = HmacSignature(
            text=sorted_params,
            algorithm="md5",
            encoding=Encoding.BASE64,
            key=Query("appkey"),
            timestamp=Query("timestamp"),
            nonce=None,
            signature=Query("sign"),
            milliseconds=True,
        )
        simulated.send(target(signed), rows(1))
        (call,) = service.calls
        assert service.headers() == {}
        sign = call.query.pop("sign")
        text = f"appkeykey-7timestamp{call.query['timestamp']}".encode() + call.body
        assert base64.b64decode(sign) == hmac.digest(SECRET.encode(), text, "md5")
        assert len(call.query["timestamp"]) == 13

    def test_each_try_is_signed_anew(self, simulated: Stand, service: Service) -> None:
        for _ in range(2):
            simulated.send(target(HmacSignature(text=nonce_alone)), rows(1))
        assert service.headers(0)["x-signature"] != service.headers(1)["x-signature"]

    def test_an_algorithm_that_is_none_is_named(self) -> None:
        with pytest.raises(DeclarationError, match="algorithm='sha257'"):
            HmacSignature(algorithm="sha257")


def nonce_alone(call: Signing) -> bytes:
    return call.nonce.encode()


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@dataclass
class Guarded:
    """A TLS server that takes a POST only of who shows the client's certificate."""

    url: str
    server: Path
    client: tuple[Path, Path]
    shown: list[str]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    own, client = certificate(tmp_path, "server"), certificate(tmp_path, "client")
    shown: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            assert isinstance(self.connection, ssl.SSLSocket)
            told: Any = self.connection.getpeercert()
            shown.append(told["subject"][0][0][1])
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None: ...

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*own)
    context.load_verify_locations(client[0])
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # there a missing certificate ends the handshake, not the call
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield Guarded(f"https://127.0.0.1:{server.server_port}", own[0], client, shown)
    server.shutdown()
    thread.join()
    server.server_close()


def send_guarded(guarded: Guarded, connection: ConnectionSetter, auth: Auth | None, **extra: Any) -> None:
    connection("erp", conn_type="http", host=guarded.url, extra={"verify": str(guarded.server), **extra})
    with target(auth, tries=1).open(replace(make_reach(), sleep=lambda seconds: None)) as sender:
        assert deliveries(sender.send(rows(1))) == [Delivery.DELIVERED]


def test_a_client_certificate_of_the_connection_is_shown(guarded: Guarded, connection: ConnectionSetter) -> None:
    send_guarded(guarded, connection, ClientCertificate(), cert=[str(path) for path in guarded.client])
    both = guarded.server.parent / "both.pem"
    both.write_bytes(b"".join(path.read_bytes() for path in guarded.client))
    send_guarded(guarded, connection, ClientCertificate(), cert=str(both))
    assert guarded.shown == ["client", "client"]


def test_without_its_certificate_nothing_is_delivered(guarded: Guarded, connection: ConnectionSetter) -> None:
    with pytest.raises(SetupError, match="TLS handshake failed"):
        send_guarded(guarded, connection, None)
    with pytest.raises(SetupError, match=r"'erp', /batch: .*no/such\.pem.*check `verify` and `cert`"):
        send_guarded(guarded, connection, ClientCertificate(), cert="/no/such.pem")
    assert guarded.shown == []
