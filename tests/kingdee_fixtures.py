"""An ERP to read from: the simulated Kingdee, with a hub and a stage, as the tasks of a DAG use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests

from fenxiang_simulator import Simulator, kingdee
from fenxiang_simulator.bills import Bill
from fenxiang_simulator.kingdee import Kingdee
from fenxiang_simulator.server import Request, Response
from fenxiang_sync import Field, HubTarget, KingdeeSource
from fenxiang_sync.hub import Hub
from fenxiang_sync.kingdee import KingdeeClient
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.source.writer import FenxiangWriter
from fenxiang_sync.stage import Stage
from fenxiang_sync.targets.protocol import Endpoint, Reach
from tests.hub_fixtures import hub_file
from tests.steps_fixtures import Bench

MATERIAL, STOCK = "BD_MATERIAL", "STK_Inventory"
CONNECTION = {
    "login": kingdee.USER,
    "password": kingdee.APP_SECRET,
    "extra": {"acct_id": kingdee.ACCT_ID, "app_id": kingdee.APP_ID},
}


@dataclass
class Erp(Bench):
    """A bench whose source is the simulated Kingdee."""

    @property
    def kingdee(self) -> Kingdee:
        return self.simulator.targets.kingdee

    def client(self) -> Any:
        return KingdeeClient(self.reach(), "kingdee")

    def reach(self) -> Reach:
        clock = self.simulator.clock
        return Reach(
            endpoint=self._at_kingdee, session=requests.Session, sleep=clock.advance, now=clock.elapsed,
            database=self.database,
        )  # fmt: skip

    def _at_kingdee(self, conn_id: str) -> Endpoint:
        return Endpoint(conn_id=conn_id, url=f"{self.simulator.url}/k3cloud", **CONNECTION)  # type: ignore[arg-type]

    def between_calls(self, work: Callable[[], None]) -> None:
        """Somebody works at the ERP before each query is answered; whoever did so before has gone home."""
        apps = self.simulator.server.apps
        apps[:] = [_Between(work), *(each for each in apps if not isinstance(each, _Between))]

    def truth(self, form: str = MATERIAL) -> dict[str, Bill]:
        """The documents that have a stamp, by id."""
        return {str(bill.id): bill for bill in self.kingdee.bills(form) if bill.modified_ms is not None}


class BothWays(Bench):
    """A bench whose source is the Kingdee beside the CRM that is written to."""

    def client(self) -> Any:
        return KingdeeClient(self.reach(), "kingdee")

    def reach(self) -> Reach:
        return replace(super().reach(), crm=self._crm, now=self.simulator.clock.elapsed)

    def _crm(self, conn_id: str) -> FenxiangWriter:
        return FenxiangWriter(Bench.client(self))


class _Between:
    """An app that answers nothing: it only sees that a query comes."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work

    def handle(self, request: Request) -> Response | None:
        if "ExecuteBillQuery" in request.path:
            self._work()
        return None


@contextmanager
def erp(folder: Path, **forms: int) -> Iterator[Erp]:
    with Simulator(seed=7, only="targets") as simulator, Hub.connect(f"sqlite:///{hub_file(folder)}") as hub:
        made = Erp(simulator, hub, Stage(folder / "stage"))
        for form, count in forms.items():
            made.kingdee.fill(form, count)
        yield made


def material(*, source: dict[str, Any] | None = None, **words: Any) -> Pipeline:
    """The materials, into the hub."""
    given: dict[str, Any] = {
        "name": "material",
        "source": KingdeeSource(**({"form": MATERIAL, "id": "FMATERIALID"} | (source or {}))),
        "fields": [
            Field("_id"),
            Field("FNumber", "number"),
            Field("FName", "name"),
            Field("FBaseUnitId.FNumber", "unit"),
        ],
        "target": HubTarget(),
        "number": "FNumber",
    }
    return Pipeline(**(given | words))
