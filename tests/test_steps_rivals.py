"""Two records give one row, as customers of one number do: when one goes, the row is the other's, and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import DeletePolicy, FenxiangTarget, Field, HubTarget, Pipeline, text
from tests.reconcile_fixtures import reconciled
from tests.steps_fixtures import Bench, bench, manual, quick

HOUSES, ARCHIVE = "WarehouseObj", "object_warehouse__c"


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, WarehouseObj=3, object_warehouse__c=0) as made:
        yield made


def by_name(**words: Any) -> Pipeline:
    """Warehouses by their name, which people give twice."""
    fields = [Field("name", to="warehouseId", convert=text), Field("city", to="location", convert=text)]
    words = {"target": HubTarget(), "delete_policy": DeletePolicy.DELETE, **words}
    return Pipeline(name="by_name", source=quick(HOUSES), fields=fields, key="warehouseId", **words)


def first(crm: Bench) -> tuple[str, dict[str, Any]]:
    return next(iter(crm.simulator.tenant.records(HOUSES).items()))


def twin(crm: Bench, name: str) -> str:
    """Somebody enters a warehouse that is there already."""
    crm.later()
    made = crm.simulator.tenant.create(HOUSES, {"name": name, "number": "NEW", "city": "拉萨"})
    crm.later()
    return made


def taken_over(crm: Bench, into: Pipeline) -> tuple[str, dict[str, Any], str]:
    """The first warehouse, and the twin that holds its row by now."""
    record_id, house = first(crm)
    crm.sync(into)
    newer = twin(crm, house["name"])
    crm.sync(into)
    return record_id, house, newer


def delete(crm: Bench, record_id: str) -> None:
    crm.simulator.tenant.invalid(HOUSES, record_id)
    crm.simulator.tenant.delete(HOUSES, record_id)
    crm.later()


def city(crm: Bench, into: Pipeline, name: str) -> str | None:
    row = crm.held(into).get(name)
    return None if row is None else row["location"]


@pytest.mark.parametrize("together", [False, True])
def test_a_newer_twin_that_is_deleted_leaves_the_row_to_the_first_one(crm: Bench, together: bool) -> None:
    into = by_name()
    _, house = first(crm)
    if not together:
        crm.sync(into)
    newer = twin(crm, house["name"])
    crm.sync(into)
    assert city(crm, into, house["name"]) == "拉萨"

    delete(crm, newer)
    assert reconciled(crm, into).removed == 1
    assert city(crm, into, house["name"]) is None
    made = reconciled(crm, into)
    assert (made.returned, made.delivered, made.late) == (1, 1, 0)
    assert city(crm, into, house["name"]) == house["city"]
    assert reconciled(crm, into).fetched == 0


def test_one_that_comes_behind_its_newer_twin_is_remembered_as_well(crm: Bench) -> None:
    into = by_name()
    record_id, house = first(crm)
    newer = twin(crm, house["name"])
    crm.sync(into)
    crm.sync(into)  # nothing is new, and nothing is noted twice
    delete(crm, newer)
    reconciled(crm, into)
    crm.sync(into)
    reconciled(crm, into)
    assert city(crm, into, house["name"]) == house["city"]
    delete(crm, record_id)
    assert reconciled(crm, into).removed == 1
    assert reconciled(crm, into).fetched == 0


def test_a_twin_that_gets_a_name_of_its_own_leaves_the_row_to_the_first_one(crm: Bench) -> None:
    into = by_name()
    _, house, newer = taken_over(crm, into)
    crm.simulator.tenant.update(HOUSES, newer, {"name": "拉萨仓"})
    crm.later()
    crm.sync(into)
    assert city(crm, into, house["name"]) is None
    reconciled(crm, into)
    assert (city(crm, into, house["name"]), city(crm, into, "拉萨仓")) == (house["city"], "拉萨")


def test_twins_that_are_read_together_do_not_leave_the_row_to_the_one_that_has_given_it_up(crm: Bench) -> None:
    into = by_name()
    _, house, newer = taken_over(crm, into)
    crm.simulator.tenant.update(HOUSES, newer, {"name": "拉萨仓"})
    crm.later()
    crm.sync(into, manual(full=True))
    assert (city(crm, into, house["name"]), city(crm, into, "拉萨仓")) == (house["city"], "拉萨")


def test_a_row_that_the_first_one_gives_again_by_itself_needs_no_second_reading(crm: Bench) -> None:
    into = by_name()
    record_id, house, newer = taken_over(crm, into)
    delete(crm, newer)
    reconciled(crm, into)
    crm.simulator.tenant.update(HOUSES, record_id, {"city": "昆明"})
    crm.later()
    crm.sync(into)
    assert city(crm, into, house["name"]) == "昆明"
    assert reconciled(crm, into).fetched == 0


def test_a_look_that_changes_nothing_forgets_nothing(crm: Bench) -> None:
    into = by_name()
    *_, newer = taken_over(crm, into)
    delete(crm, newer)
    reconciled(crm, into)
    assert reconciled(crm, into, dry_run=True).fetched == 0
    assert reconciled(crm, into).returned == 1


def test_a_record_of_the_crm_that_was_voided_with_the_twin_comes_back(crm: Bench) -> None:
    into = by_name(target=FenxiangTarget(object=ARCHIVE, match="warehouseId"), delete_policy=DeletePolicy.FLAG)
    _, house, newer = taken_over(crm, into)
    delete(crm, newer)
    reconciled(crm, into)
    crm.later()
    reconciled(crm, into)
    [found] = [each for each in crm.simulator.tenant.visible(ARCHIVE).values() if each["warehouseId"] == house["name"]]
    assert (found["life_status"], found["location"]) == ("normal", house["city"])
