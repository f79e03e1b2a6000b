"""Companies that are drawn once and copied: each begins as if it were the first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fenxiang_simulator import Simulator
from fenxiang_simulator.catalog import object_def
from fenxiang_simulator.drawn import KEPT_COMPANIES

RECORDS = {"AccountObj": 40, "SalesOrderObj": 25, "SalesOrderProductObj": 60}


def held(simulator: Simulator) -> dict[str, dict[str, Any]]:
    """All that a company holds, on its own paper: nothing that is done later changes it."""
    tenant = simulator.tenant
    return json.loads(json.dumps({name: tenant.records(name) for name in tenant.objects}))


def spoil(simulator: Simulator) -> None:
    """Do everything to a company that can be done to it."""
    tenant = simulator.tenant
    first, second, third, fourth, *_ = tenant.visible("AccountObj", voided=False)
    tenant.create("AccountObj", {"name": "新客户"})
    tenant.update("AccountObj", first, {"name": "改名"})
    tenant.lock_records("AccountObj", second)
    tenant.change_owner("AccountObj", third, "1016")
    order = next(iter(tenant.visible("SalesOrderObj", voided=False)))
    normal = [key for key, each in tenant.records("AccountObj").items() if each["life_status"] == "normal"]
    tenant.invalid("AccountObj", normal[-2:])
    tenant.recover("AccountObj", normal[-1])
    tenant.delete("AccountObj", normal[-2])
    for line in tenant.details("SalesOrderProductObj", order):
        tenant.update("SalesOrderProductObj", line["_id"], {"quantity": "999"})
    add_line(simulator, order)
    tenant.hide("AccountObj", fourth)


def add_line(simulator: Simulator, order: str) -> None:
    product = next(iter(simulator.tenant.records("ProductObj")))
    line = {"order_id": order, "product_id": product, "quantity": "1", "sales_price": "5.00"}
    simulator.tenant.create("SalesOrderProductObj", line)


def test_what_is_done_to_a_company_is_not_met_in_the_next_one_nor_after_a_reset() -> None:
    first = Simulator(records=RECORDS)
    before = held(first)
    spoil(first)
    assert held(first) != before

    second = Simulator(records=RECORDS)
    assert held(second) == before
    assert second.tenant.visible("AccountObj").keys() == Simulator(records=RECORDS).tenant.visible("AccountObj").keys()
    spoil(second)
    second.reset()
    assert held(second) == before


def test_details_of_a_company_are_its_own() -> None:
    simulator, other = Simulator(records=RECORDS), Simulator(records=RECORDS)
    tenant = simulator.tenant
    order = next(key for key in tenant.visible("SalesOrderObj") if tenant.details("SalesOrderProductObj", key))
    lines = tenant.details("SalesOrderProductObj", order)
    add_line(simulator, order)

    assert len(tenant.details("SalesOrderProductObj", order)) == len(lines) + 1
    assert other.tenant.details("SalesOrderProductObj", order) == lines


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 8, "records": RECORDS},
        {"records": {**RECORDS, "AccountObj": 41}},
        {"records": RECORDS, "objects": [object_def("StockObj", "库存")]},
    ],
    ids=["seed", "counts", "objects"],
)
def test_a_company_of_another_seed_other_counts_or_other_objects_is_another(other: dict[str, Any]) -> None:
    usual = held(Simulator(records=RECORDS))

    assert held(Simulator(**other)) != usual
    assert held(Simulator(records=RECORDS)) == usual


def test_a_company_that_is_no_more_kept_is_drawn_again_the_same() -> None:
    usual = held(Simulator(records=RECORDS))
    for count in range(KEPT_COMPANIES):
        Simulator(records={"AccountObj": count})

    assert held(Simulator(records=RECORDS)) == usual
