"""Simulated targets over HTTP, and rows to send to them. Waiting moves the simulated clock, not the real one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from fenxiang_simulator import kingdee
from fenxiang_simulator.clock import Clock
from fenxiang_simulator.qeasy import APP_KEY, APP_SECRET
from fenxiang_simulator.server import App, Server
from fenxiang_simulator.targets import Targets
from fenxiang_sync.errors import SetupError
from fenxiang_sync.rows import Row
from fenxiang_sync.targets.protocol import Answer, Delivery, Endpoint, Reach

TIMEOUT_S = 1.0
HANG_S = 2.5


class PatientAdapter(HTTPAdapter):
    """Gives up on an answer after `TIMEOUT_S`."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        options["timeout"] = TIMEOUT_S
        return super().send(request, *args, **options)


@dataclass
class Stand:
    """The targets on a port, and the reach by which a declared target gets to them."""

    clock: Clock
    targets: Targets
    url: str
    slept: list[float] = field(default_factory=list)
    login: str = APP_KEY
    password: str = APP_SECRET
    extra: dict[str, Any] = field(default_factory=dict)
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further connections, by id: what an `Endpoint` of it has."""

    @property
    def reach(self) -> Reach:
        return Reach(endpoint=self._endpoint, session=_session, sleep=self._sleep, now=self.clock.now)

    def send(self, target: Any, rows: Sequence[Row]) -> Sequence[Answer]:
        with target.open(self.reach) as sender:
            answers: Sequence[Answer] = sender.send(rows)
            return answers

    def _endpoint(self, conn_id: str) -> Endpoint:
        if conn_id == "absent":
            raise SetupError("connection 'absent' is not there; create it")
        if conn_id in self.connections:
            return Endpoint(conn_id=conn_id, **{"url": self.url, **self.connections[conn_id]})
        qeasy = conn_id == "qeasy"
        return Endpoint(
            conn_id=conn_id,
            url=self.url,
            login=self.login if qeasy else "",
            password=self.password if qeasy else "",
            extra=self.extra,
        )

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)


def _session() -> requests.Session:
    session = requests.Session()
    session.mount("http://", PatientAdapter())
    return session


@contextmanager
def stand(*apps: App) -> Iterator[Stand]:
    """A stand of its own; `apps` are asked before the simulated targets."""
    clock = Clock()
    targets = Targets(clock)
    targets.knobs.hang_s = HANG_S
    server = Server([*apps, targets], clock)
    server.start()
    try:
        yield Stand(clock, targets, server.url, connections={"kingdee": kingdee_connection(server.url)})
    finally:
        server.stop()


def kingdee_connection(url: str) -> dict[str, Any]:
    """What an `Endpoint` of the simulated Kingdee at this address has."""
    return {
        "url": f"{url}/k3cloud",
        "login": kingdee.USER,
        "password": kingdee.APP_SECRET,
        "extra": {"acct_id": kingdee.ACCT_ID, "app_id": kingdee.APP_ID},
    }


def rows(count: int, *, bad: Iterable[int] = (), start: int = 0) -> list[Row]:
    """Rows with `_id` and `id`; those at the places `bad` lack the field `needed`."""
    spoiled = frozenset(bad)
    return [row(start + place, needed=None if place in spoiled else f"value {place}") for place in range(count)]


def row(number: int, **content: Any) -> Row:
    name = f"r{number:05d}"
    return Row(
        id=name,
        source_id=name,
        number=None,
        modified_ms=1_700_000_000_000 + number,
        version=1,
        content={"_id": name, "id": name, **content},
        hash=name,
    )


def deliveries(answers: Iterable[Answer]) -> list[Delivery]:
    return [answer.delivery for answer in answers]


def ids(contents: Iterable[dict[str, Any]]) -> list[str]:
    return [content["_id"] for content in contents]
