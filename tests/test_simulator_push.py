"""Event push: the cryptography against its test vector, and what a receiver gets."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given, settings
from hypothesis import strategies as st

from fenxiang_simulator import Simulator, aes
from fenxiang_simulator.push import Event, envelope, key_bytes, read_reply, sha1

AES_KEY = "ZGVtby1hZXMta2V5LWZvci10ZXN0cy0zMi1ieXRlcyE="
EVENT = Event(
    object="AccountObj",
    record_id="65aa00000000000000000001",
    type="update",
    timestamp=1790000001456,
    message_id="MSG-DEMO-0001",
)
CONTENT = (
    "Y9sWpiNcSRhHIxwMd69NCty3BEb15q6dTs4mNAAk+anNwyJcfFYx1La29aAuhKw3k6Z8Ubx6t4FqB4gS1MkFEmzNqtiu/XuwsqmbpxQHMATfG46ynexk"
    "xg2HPvNwdAfHMPirMO52xXvAh73glUTafO28XOOhvrCz39VGctFllZ1XoLjK2LZxqY5vhmuIYQ1KzIE03zkWSZytEmoUtfIwAQ=="
)


@pytest.mark.parametrize(
    ("retry", "signature"),
    [(0, "1a8a2e9a56341a6a268152985d160abab69c9b4a"), (1, "4d23da55860be914d7e7f0aaa2e20c788977da6f")],
)
def test_a_push_is_the_documented_vector(retry: int, signature: str) -> None:
    pushed = envelope(EVENT, aes_key=AES_KEY, timestamp=1790000001500, nonce="nonceDemo0000001", retry=retry)

    assert pushed == {
        "signature": signature,
        "timestamp": 1790000001500,
        "nonce": "nonceDemo0000001",
        "messageId": "MSG-DEMO-0001",
        "enterpriseAccount": "demoea",
        "encryptedContent": CONTENT,
        **({"retryTimes": 1} if retry else {}),
    }


def test_a_reply_is_the_documented_vector() -> None:
    reply = {
        "timestamp": 1790000001600,
        "nonce": "123456",
        "encryptedResult": "pH9XLbFmeOuCbb2rz/EQ5w==",
        "signature": "46da74d4a10430296688edb9d750e671b72f250d",
    }

    assert read_reply(reply, AES_KEY) == "success"
    with pytest.raises(ValueError, match="signature"):
        read_reply({**reply, "nonce": "123457"}, AES_KEY)


@settings(max_examples=50)
@given(key=st.binary(min_size=32, max_size=32), plain=st.binary(max_size=70))
def test_the_cipher_is_the_one_of_the_cryptography_package(key: bytes, plain: bytes) -> None:
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    expected = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()

    assert aes.encrypt(key, plain) == expected
    assert aes.decrypt(key, expected) == plain


def test_what_is_no_cipher_text_is_an_error() -> None:
    key = key_bytes(AES_KEY)
    for wrong in (b"", b"short", bytes(32)):
        with pytest.raises(ValueError):
            aes.decrypt(key, wrong)
    with pytest.raises(ValueError, match="32 bytes"):
        aes.encrypt(b"short", b"")


class Receiver:
    """A receiver as the vendor's sample: it decrypts, notes, and answers `success` unless it is told to fail."""

    def __init__(self) -> None:
        self.pushes: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.failures = 0
        self.arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.receive(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/"

    def receive(self, handler: BaseHTTPRequestHandler) -> None:
        push = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.arrived:
            self.pushes.append(push)
            failing = self.failures > 0
            self.failures -= failing
            if not failing:
                plain = aes.decrypt(key_bytes(AES_KEY), base64.b64decode(push["encryptedContent"]))
                self.events.append(json.loads(plain))
            self.arrived.notify_all()
        result = base64.b64encode(aes.encrypt(key_bytes(AES_KEY), b"sinature is wrong" if failing else b"success"))
        reply = {"timestamp": 1, "nonce": "n", "encryptedResult": result.decode()}
        reply["signature"] = sha1(1, "n", reply["encryptedResult"], AES_KEY)
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(json.dumps(reply).encode())

    def wait_for(self, count: int) -> list[str]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.events) >= count, timeout=20)
            return [each["messageId"] for each in self.events]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def simulator(receiver: Receiver) -> Iterator[Simulator]:
    with Simulator(records={"AccountObj": 20}) as running:
        running.push.subscribe(receiver.url, AES_KEY, ["AccountObj"])
        yield running


def create(simulator: Simulator, count: int) -> list[str]:
    return [simulator.tenant.create("AccountObj", {"name": f"客户{number}"}) for number in range(count)]


def test_a_change_is_pushed_as_ids_alone_and_signed(simulator: Simulator, receiver: Receiver) -> None:
    (account,) = create(simulator, 1)
    simulator.tenant.create("object_warehouse__c", {"warehouseId": "not subscribed"})
    simulator.tenant.update("AccountObj", account, {"name": "改名"})
    receiver.wait_for(2)

    assert [each["eventType"] for each in receiver.events] == ["create", "update"]
    stamp = simulator.tenant.records("AccountObj")[account]["last_modified_time"]
    assert receiver.events[1] == {
        "tenantId": 100001,
        "eventType": "update",
        "apiName": "AccountObj",
        "dataId": account,
        "timestamp": stamp,
        "messageId": "MSG-00000002",
    }
    push = receiver.pushes[1]
    signed = [push[key] for key in ("timestamp", "nonce", "messageId", "enterpriseAccount", "encryptedContent")]
    assert push["signature"] == sha1(*signed, AES_KEY)


def test_a_push_that_fails_comes_again_with_its_number_of_tries(simulator: Simulator, receiver: Receiver) -> None:
    receiver.failures = 2
    create(simulator, 1)
    receiver.wait_for(1)

    assert [each.get("retryTimes") for each in receiver.pushes] == [None, 1, 2]
    assert len({each["messageId"] for each in receiver.pushes}) == 1


def test_events_come_twice_out_of_order_or_not_at_all_where_the_knob_says_so(
    simulator: Simulator, receiver: Receiver
) -> None:
    first, second, third, fourth, fifth, sixth = (f"MSG-{number:08d}" for number in range(1, 7))
    simulator.knobs.push_delivery = "duplicate"
    create(simulator, 3)
    assert receiver.wait_for(4) == [first, second, third, third]

    simulator.knobs.push_delivery = "drop"
    create(simulator, 3)
    assert receiver.wait_for(6)[4:] == [fourth, fifth]
    while not simulator.push.dropped:
        simulator.server.stopping.wait(0.01)
    assert [each.message_id for each in simulator.push.dropped] == [sixth]

    simulator.knobs.push_delivery = "reorder"
    create(simulator, 2)
    assert receiver.wait_for(8)[6:] == ["MSG-00000008", "MSG-00000007"]


def test_a_wrong_subscription_is_a_sentence(simulator: Simulator) -> None:
    with pytest.raises(ValueError, match="aes_key must be the Base64 text of 32 bytes"):
        simulator.push.subscribe("http://127.0.0.1/", "c2hvcnQ=")
    with pytest.raises(ValueError, match="push goes to an http or https address, not to 'ftp://x'"):
        simulator.push.subscribe("ftp://x", AES_KEY)
