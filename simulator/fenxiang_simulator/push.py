"""Push: changes sent to a receiver, signed and encrypted (数据变更推送), at least once."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import queue
import threading
import urllib.request
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any
from urllib.error import URLError

from fenxiang_simulator import aes, directory
from fenxiang_simulator.tenant import Tenant

TENANT_ID = 100001
TRIES = 4
RETRY_S = 0.2
TIMEOUT_S = 5.0
REORDER_WAIT_S = 0.2
EVERY = 3
"""Of the knob `push_delivery`: every third event is dropped or sent twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a receiver decrypts: that a record changed, never how. Only the type ``update`` is documented."""

    object: str
    record_id: str
    type: str
    timestamp: int
    message_id: str

    def plaintext(self) -> bytes:
        told = {
            "tenantId": TENANT_ID,
            "eventType": self.type,
            "apiName": self.object,
            "dataId": self.record_id,
            "timestamp": self.timestamp,
            "messageId": self.message_id,
        }
        return json.dumps(told, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One try to hand an event over; `answer` is ``success`` or what went wrong."""

    event: Event
    retry: int
    answer: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Push:
    """Sends the events of `objects` (all, where none are named) to the one subscriber, in a thread of its own."""

    def __init__(self, tenant: Tenant, seed: int = 7) -> None:
        self._tenant = tenant
        self._random = Random(f"{seed}:push")
        self._queue: queue.Queue[Event | None] = queue.Queue()
        self._url = ""
        self._aes_key = ""
        self._objects: frozenset[str] = frozenset()
        self._count = 0
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.deliveries: list[Delivery] = []
        self.dropped: list[Event] = []
        tenant.listeners.append(self._note)

    def subscribe(self, url: str, aes_key: str, objects: Collection[str] = ()) -> None:
        """`aes_key` is the Base64 text of 32 bytes, as the vendor hands it out."""
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"push goes to an http or https address, not to {url!r}")
        key_bytes(aes_key)
        for name in objects:
            self._tenant.definition(name)
        self._url, self._aes_key, self._objects = url, aes_key, frozenset(objects)

    def unsubscribe(self) -> None:
        self._url = ""

    def start(self) -> None:
        self._thread = threading.Thread(target=self._work, name="simulator-push", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()

    def as_dict(self) -> dict[str, Any]:
        return {
            "url": self._url,
            "objects": sorted(self._objects),
            "deliveries": [each.as_dict() for each in self.deliveries],
            "dropped": [asdict(each) for each in self.dropped],
        }

    def _note(self, name: str, record_id: str, event_type: str, stamp: int) -> None:
        if not self._url or (self._objects and name not in self._objects):
            return
        self._count += 1
        message_id = f"MSG-{self._count:08d}"
        self._queue.put(
            Event(object=name, record_id=record_id, type=event_type, timestamp=stamp, message_id=message_id)
        )

    def _work(self) -> None:
        number = 0
        while (event := self._queue.get()) is not None:
            if not self._url:
                continue
            number += 1
            mode = self._tenant.knobs.push_delivery
            third = number % EVERY == 0
            if mode == "drop" and third:
                self.dropped.append(event)
                continue
            if mode == "reorder":
                later = self._next()
                if later is not None:
                    number += 1
                    self._deliver(later)
            self._deliver(event)
            if mode == "duplicate" and third:
                self._deliver(event)

    def _next(self) -> Event | None:
        try:
            event = self._queue.get(timeout=REORDER_WAIT_S)
        except queue.Empty:
            return None
        if event is None:
            self._queue.put(None)
        return event

    def _deliver(self, event: Event) -> None:
        """Try until the receiver says success. How often the vendor tries, and when, is not documented."""
        for retry in range(TRIES):
            answer = self._try(event, retry)
            self.deliveries.append(Delivery(event=event, retry=retry, answer=answer))
            if answer == "success" or self._stopping.wait(RETRY_S):
                return

    def _try(self, event: Event, retry: int) -> str:
        nonce = f"{self._random.getrandbits(64):016x}"
        body = envelope(event, aes_key=self._aes_key, timestamp=self._tenant.clock.now_ms(), nonce=nonce, retry=retry)
        request = urllib.request.Request(  # noqa: S310  (subscribe has checked the scheme)
            self._url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                return read_reply(json.loads(response.read()), self._aes_key)
        except (URLError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"


def key_bytes(aes_key: str) -> bytes:
    """The key of an `aes_key` text."""
    try:
        key = base64.b64decode(aes_key, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 2 * aes.BLOCK:
        raise ValueError("aes_key must be the Base64 text of 32 bytes")
    return key


def envelope(event: Event, *, aes_key: str, timestamp: int, nonce: str, retry: int = 0) -> dict[str, Any]:
    """The body of a push; `retryTimes` is in it (and in the signature) from the second try on."""
    content = base64.b64encode(aes.encrypt(key_bytes(aes_key), event.plaintext())).decode()
    retries = {"retryTimes": retry} if retry else {}
    signed = [timestamp, nonce, event.message_id, *retries.values(), directory.EA, content, aes_key]
    return {
        "signature": sha1(*signed),
        "timestamp": timestamp,
        "nonce": nonce,
        "messageId": event.message_id,
        **retries,
        "enterpriseAccount": directory.EA,
        "encryptedContent": content,
    }


def read_reply(reply: Mapping[str, Any], aes_key: str) -> str:
    """What a receiver answered, decrypted; ValueError where its signature is wrong."""
    result = str(reply.get("encryptedResult", ""))
    if reply.get("signature") != sha1(reply.get("timestamp"), reply.get("nonce"), result, aes_key):
        raise ValueError("the signature of the reply is wrong")
    return aes.decrypt(key_bytes(aes_key), base64.b64decode(result)).decode()


def sha1(*parts: object) -> str:
    """The signature over parts that are simply put one after the other."""
    return hashlib.sha1("".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()
