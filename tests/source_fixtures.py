"""What the tests of the source share: a simulator that does not throttle, and clients of it that do not wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests

from fenxiang_simulator import Knobs, Simulator
from fenxiang_simulator.clock import Clock
from fenxiang_simulator.server import Request, Response, Server
from fenxiang_sync.source import Credentials, FenxiangClient, Pace, Paces, Style, Tokens, TokenStore
from fenxiang_sync.window import Window

ALL_TIME = Window(0, 2_000_000_000_000)
FSUID = "FSUID_demo0000000000000000000000001"
FEW = {"SalesOrderObj": 5, "SalesOrderProductObj": 5, "ContactObj": 5, "StockObj": 5, "object_inventory_report__c": 5}


def simulator(records: dict[str, int] | None = None, **knobs: Any) -> Simulator:
    return Simulator(records=FEW | (records or {}), knobs=Knobs(**({"calls": 1_000_000} | knobs)))


def credentials(style: Style = Style.BODY, **changes: Any) -> Credentials:
    given: dict[str, Any] = {
        "app_id": "FSAID_demo001",
        "app_secret": "demo-secret",
        "permanent_code": "demo-perm",
        "acting_user": FSUID if style is Style.BODY else "1000",
        "style": style,
    }
    return Credentials(**(given | changes))


def tokens_of(
    server: Simulator, who: Credentials | None = None, store: TokenStore | None = None, **changes: Any
) -> Tokens:
    """Tokens on the simulated clock; waiting moves that clock."""
    given: dict[str, Any] = {"now": server.clock.now, "sleep": server.clock.advance}
    return Tokens(
        session=requests.Session(),
        base_url=server.url,
        credentials=who or credentials(),
        store=store,
        **(given | changes),
    )


def client_of(server: Simulator, who: Credentials | None = None, **changes: Any) -> FenxiangClient:
    who = who or credentials()
    given: dict[str, Any] = {
        "tokens": changes.pop("tokens", None) or tokens_of(server, who),
        "pace": Paces(lambda: Pace(1_000_000, 1, sleep=lambda seconds: None)),
        "sleep": lambda seconds: None,
    }
    return FenxiangClient(session=requests.Session(), base_url=server.url, credentials=who, **(given | changes))


def scripted_client(url: str) -> FenxiangClient:
    """A client of a server that answers by script."""
    session, who = requests.Session(), credentials()
    tokens = Tokens(session=session, base_url=url, credentials=who)
    paces = Paces(lambda: Pace(1_000_000, 1))
    return FenxiangClient(
        session=session, base_url=url, tokens=tokens, credentials=who, pace=paces, sleep=lambda seconds: None
    )


class Scripted:
    """An app that answers every call as the script says, and keeps what it was asked."""

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        self.answer = answer
        self.asked: list[Request] = []

    def handle(self, request: Request) -> Response:
        self.asked.append(request)
        return self.answer(request)


@contextmanager
def serving(answer: Callable[[Request], Response]) -> Iterator[tuple[str, Scripted]]:
    """A server that answers by script: its URL, and what it was asked."""
    app = Scripted(answer)
    server = Server([app], Clock())
    server.start()
    try:
        yield server.url, app
    finally:
        server.stop()
