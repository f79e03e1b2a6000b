"""What docs/adding-an-object.md says about REST targets: the fourth target runs, and every word of the table exists."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs

import pytest

from fenxiang_simulator.server import Request, Response
from fenxiang_sync import RestTarget
from fenxiang_sync.rows import DeletePolicy
from fenxiang_sync.targets.protocol import Delivery, Removal, Remover
from tests.targets_fixtures import Stand, deliveries, row, rows, stand
from tests.test_docs import ADDING, section, shown_target, tables

MODULES = ("auth", "envelope", "login", "meaning", "pace", "protocol", "results", "signature", "single")
CONNECTION = {"timeout", "connect_timeout", "proxy", "verify", "cert"}
ELSEWHERE = {"HubTarget", "requests", "key", "id_check", "dry_run", "row", "wire", "fenxiang_sync"}


class Stock:
    """The service that the page describes, for one depot."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}
        self.tokens = 0
        self.writes = 0
        self.lost = 0
        """The answers of so many writes are lost, after they were done."""

    def handle(self, request: Request) -> Response | None:
        if request.path == "/v1/token":
            told = parse_qs(request.body.decode())
            assert (told["client_id"], told["client_secret"]) == (["depot"], ["stock-secret"])
            self.tokens += 1
            return Response.json({"access_token": f"t{self.tokens}", "expires_in": 3600})
        if request.headers["Authorization"] != f"Bearer t{self.tokens}":
            return Response.json({"code": 401, "message": "no"})
        name = request.path.removeprefix("/v1/stock/")
        if request.path == "/v1/main/stock/batch":
            return self._write(request.json())
        if name not in self.held:
            return Response.json({"code": 404}, 404)
        found = self.held.pop(name) if request.method == "DELETE" else self.held[name]
        return Response.json({"code": 0, "row": found})

    def _write(self, body: Any) -> Response:
        assert body["from"] == "fenxiang"
        self.writes += 1
        results = [self._take(one) for one in body["rows"]]
        self.lost -= 1
        return Response(reset=True) if self.lost >= 0 else Response.json({"code": 0, "results": results})

    def _take(self, one: dict[str, Any]) -> dict[str, Any]:
        if one.get("needed") is None:
            return {"id": one["id"], "status": "bad", "why": "needed is missing"}
        self.held[one["id"]] = one
        return {"id": one["id"], "status": "ok"}


@pytest.fixture
def stock() -> Stock:
    return Stock()


@pytest.fixture
def simulated(stock: Stock) -> Iterator[Stand]:
    with stand(stock) as made:
        made.connections["stock_service"] = {"login": "depot", "password": "stock-secret"}
        yield made


def test_the_fourth_target_delivers_and_refuses_row_by_row(simulated: Stand, stock: Stock) -> None:
    answers = simulated.send(shown_target("StockService")(), rows(4, bad={2}))
    assert [answer.reason for answer in answers if answer.delivery is Delivery.REFUSED] == ["needed is missing"]
    assert sorted(stock.held) == ["r00000", "r00001", "r00003"]
    assert (stock.tokens, stock.writes) == (1, 1)


def test_the_fourth_target_gets_another_token_where_its_token_is_refused(simulated: Stand, stock: Stock) -> None:
    with shown_target("StockService")().open(simulated.reach) as sender:
        sender.send(rows(1))
        stock.tokens += 7
        assert deliveries(sender.send(rows(1))) == [Delivery.DELIVERED]


def test_the_fourth_target_looks_up_what_became_of_rows_whose_answer_was_lost(simulated: Stand, stock: Stock) -> None:
    stock.lost = 1
    answers = simulated.send(shown_target("StockService")(), [*rows(2), row(2, needed=None)])
    assert deliveries(answers) == [Delivery.DELIVERED, Delivery.DELIVERED, Delivery.UNKNOWN]
    assert stock.writes == 1


def test_the_fourth_target_deletes(simulated: Stand, stock: Stock) -> None:
    with shown_target("StockService")().open(simulated.reach) as sender:
        sender.send(rows(2))
        assert isinstance(sender, Remover)
        gone = Removal(
            id="r00001", source_id="r00001", number=None, modified_ms=1, version=1, content={}, why="vanished"
        )
        assert deliveries(sender.remove([gone, gone], policy=DeletePolicy.DELETE)) == [Delivery.DELIVERED] * 2
    assert list(stock.held) == ["r00000"]


def known_words() -> set[str]:
    """Fields and methods of a REST target, and whatever its modules define, with fields and members."""
    words = {name for name in dir(RestTarget) if not name.startswith("_")}
    for module in map(import_module, (f"fenxiang_sync.targets.{name}" for name in MODULES)):
        for name, defined in vars(module).items():
            words.add(name)
            if dataclasses.is_dataclass(defined):
                words |= {each.name for each in dataclasses.fields(defined)}
            if isinstance(defined, type):
                words |= set(getattr(defined, "__members__", ()))
    return words | {each.name for each in dataclasses.fields(RestTarget)}


def test_every_word_of_the_table_exists_and_no_word_of_a_rest_target_is_left_out() -> None:
    (table,) = tables(section(ADDING, "A REST target"))
    spoken = re.findall(r"`([^`]+)`", " ".join(cell for line in table for cell in line))
    code = [re.sub(r'"[^"]*"', "", word) for word in spoken if not re.match(r"[A-Z]+$|fenxiang |…targets", word)]
    words = {word for each in code for word in re.findall(r"(?<![.\w-])[A-Za-z_]\w+", each)}
    unknown = words - known_words() - CONNECTION - ELSEWHERE - {"None", "True", "False", "Retry"}
    assert unknown == set()
    assert {each.name for each in dataclasses.fields(RestTarget)} - words <= {"connection"}
