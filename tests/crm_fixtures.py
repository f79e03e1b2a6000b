"""A CRM that is written to: a simulator, a reach that leads to it, and rows of products. Waiting moves its clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import requests

from fenxiang_simulator import Simulator
from fenxiang_sync import FenxiangTarget
from fenxiang_sync.columns import Column, Kind
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.source.retries import Retries
from fenxiang_sync.source.writer import FenxiangWriter
from fenxiang_sync.targets.protocol import Answer, Endpoint, Reach, Removal
from tests.source_fixtures import client_of, simulator

PRODUCTS = "ProductObj"
ORDERS = "SalesOrderObj"
LINES = "SalesOrderProductObj"
COLUMNS = (
    Column(path="product_code", kind=Kind.TEXT),
    Column(path="name", kind=Kind.TEXT, required=True),
    Column(path="price", kind=Kind.DECIMAL, scale=2),
    Column(path="unit", kind=Kind.TEXT),
    Column(path="is_saleable", kind=Kind.BOOLEAN),
)
DATA = "/cgi/crm/v2/data"


@dataclass
class Office:
    """A CRM, and the reach to it."""

    simulator: Simulator
    client: dict[str, Any] = field(default_factory=dict)
    slept: list[float] = field(default_factory=list)
    passing: bool = True
    """Whether time passes while the target waits."""

    @property
    def reach(self) -> Reach:
        return Reach(
            endpoint=_no_endpoint,
            session=requests.Session,
            sleep=self._sleep,
            now=self.simulator.clock.now,
            crm=lambda conn_id: self.writer(),
        )

    def writer(self) -> FenxiangWriter:
        given: dict[str, Any] = {"timeout": (2, 0.5), "write_retries": Retries(calls=2), "retries": Retries(calls=2)}
        return FenxiangWriter(client_of(self.simulator, **(given | self.client)))

    def send(self, target: FenxiangTarget, rows: Sequence[Row]) -> Sequence[Answer]:
        with target.open(self.reach) as sender:
            return sender.send(rows)

    def remove(self, target: FenxiangTarget, *codes: str, policy: DeletePolicy = DeletePolicy.FLAG) -> list[Answer]:
        with target.open(self.reach) as sender:
            return list(sender.remove([removal(code) for code in codes], policy=policy))  # type: ignore[attr-defined]

    def records(self, code: str, *, voided: bool = True) -> list[dict[str, Any]]:
        """The products that have a code."""
        found = self.simulator.tenant.records(PRODUCTS).values()
        return [
            each for each in found if each.get("product_code") == code and (voided or each["life_status"] != "invalid")
        ]

    def record(self, code: str) -> dict[str, Any]:
        (found,) = self.records(code)
        return found

    def calls(self, action: str) -> int:
        return self.simulator.requests.get(f"{DATA}/{action}", 0)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.passing:
            self.simulator.clock.advance(seconds)


@contextmanager
def office(*, records: dict[str, int] | None = None, **knobs: Any) -> Iterator[Office]:
    few = {PRODUCTS: 0, "AccountObj": 1, ORDERS: 0, LINES: 0, "StockObj": 0, "ContactObj": 0}
    with simulator({**few, **(records or {})}, **{"visibility_lag_ms": 0, **knobs}) as running:
        yield Office(running)


def products(columns: Sequence[Column] = COLUMNS, **words: Any) -> FenxiangTarget:
    """A target that is fitted to rows of products."""
    given = {"object": PRODUCTS, "match": "product_code", **words}
    return FenxiangTarget(**given).fit(columns, key=columns[0].path)


def product(code: str | None, /, *, id: str | None = None, flagged: bool = False, **content: Any) -> Row:
    """A row; its name is that of its code unless given."""
    name = id or str(code)
    values = {"product_code": code, "name": f"产品{code}", "price": Decimal("1.50"), **content}
    return Row(
        id=name,
        source_id=name,
        number=None,
        modified_ms=1_790_000_000_000,
        version=1,
        content=values,
        hash=repr(sorted(values.items())),
        flagged=flagged,
    )


def removal(code: str) -> Removal:
    content = {"product_code": code}
    return Removal(id=code, source_id=code, number=None, modified_ms=1, version=1, content=content, why="vanished")


def _no_endpoint(conn_id: str) -> Endpoint:
    raise AssertionError(f"no endpoint is asked for: {conn_id}")
