"""Runs into an object of the CRM itself: delivered once, doubts settled, removed and back, and cycles that end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import Condition, DeletePolicy, FenxiangTarget, Field, Logic, Pipeline, text
from fenxiang_sync.errors import QuestionError, RefusedError, TransientError
from fenxiang_sync.hub import Selection
from fenxiang_sync.steps.inquiry import SETTLED_AFTER
from tests.reconcile_fixtures import reconciled
from tests.steps_fixtures import Bench, bench, manual, quick

HOUSES, ARCHIVE = "WarehouseObj", "object_warehouse__c"
CREATE, UPDATE = "/cgi/crm/custom/v2/data/create", "/cgi/crm/custom/v2/data/update"


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, WarehouseObj=8, object_warehouse__c=0) as made:
        yield made


def archive(**words: Any) -> Pipeline:
    """Warehouses (仓库) into the archive (仓库档案), by their number."""
    return Pipeline(
        **{
            "name": "archive",
            "source": quick(HOUSES),
            "fields": [
                Field("number", to="warehouseId", convert=text),
                Field("name", to="warehouseName", convert=text),
                Field("city", to="location", convert=text),
            ],
            "key": "warehouseId",
            "target": FenxiangTarget(object=ARCHIVE, match="warehouseId", sample=5),
            **words,
        }
    )


def held(crm: Bench) -> dict[str, Any]:
    """What the archive has of each number; an assertion where it has one twice."""
    records = [each for each in crm.simulator.tenant.records(ARCHIVE).values() if each["life_status"] != "invalid"]
    found = {each["warehouseId"]: each.get("location") for each in records}
    assert len(found) == len(records)
    return found


def wanted(crm: Bench) -> dict[str, Any]:
    return {each["number"]: each.get("city") for each in crm.simulator.tenant.records(HOUSES).values()}


def touch(crm: Bench) -> None:
    """People edit every warehouse."""
    crm.later()
    for number in crm.simulator.tenant.records(HOUSES):
        crm.simulator.tenant.update(HOUSES, number, {"address": "新地址"})
    crm.later()


def test_records_become_records_and_only_changes_are_written(crm: Bench) -> None:
    report = crm.sync(archive())
    assert (report.to_json()["delivered"], held(crm)) == (8, wanted(crm))

    crm.later()
    some = next(iter(crm.simulator.tenant.records(HOUSES)))
    crm.simulator.tenant.update(HOUSES, some, {"city": "拉萨"})
    crm.later()
    crm.sync(archive())
    assert held(crm) == wanted(crm)
    assert (crm.simulator.requests[CREATE], crm.simulator.requests[UPDATE]) == (8, 1)


@pytest.mark.parametrize("fault", ["reset", "hang", "http_502", "busy"])
def test_a_run_whose_creates_lose_their_answers_makes_each_record_once(crm: Bench, fault: str) -> None:
    crm.simulator.faults.next(fault, 2, path="/create")
    with suppress(TransientError):  # what ends the task is tried again; here, by the next run
        crm.sync(archive())
    crm.later(SETTLED_AFTER.total_seconds() + 60)
    touch(crm)
    crm.sync(archive())

    assert held(crm) == wanted(crm)
    assert crm.hub.doubts.count("archive", now=crm.now()) == 0


def test_a_create_under_way_is_in_doubt_until_it_shows(crm: Bench) -> None:
    crm.simulator.faults.next("late", path="/create")
    assert crm.sync(archive()).to_json()["in_doubt"] == 1

    touch(crm)
    crm.later()
    crm.sync(archive())
    assert held(crm) == wanted(crm)
    assert crm.hub.doubts.count("archive", now=crm.now()) == 0
    assert crm.simulator.requests[CREATE] == 8


@pytest.mark.parametrize("policy", [DeletePolicy.FLAG, DeletePolicy.DELETE])
def test_a_record_is_voided_or_deleted_with_its_source_and_comes_back_with_it(crm: Bench, policy: DeletePolicy) -> None:
    into = archive(delete_policy=policy)
    crm.sync(into)
    house_id, house = next(iter(crm.simulator.tenant.records(HOUSES).items()))
    before = {each["warehouseId"]: key for key, each in crm.simulator.tenant.records(ARCHIVE).items()}
    crm.simulator.tenant.invalid(HOUSES, house_id)
    crm.later()
    crm.sync(into)
    reconciled(crm, into)
    assert house["number"] not in held(crm)
    assert len(crm.simulator.tenant.records(ARCHIVE)) == (8 if policy is DeletePolicy.FLAG else 7)

    crm.simulator.tenant.recover(HOUSES, house_id)
    crm.later()
    crm.sync(into)
    assert held(crm) == wanted(crm)
    after = {each["warehouseId"]: key for key, each in crm.simulator.tenant.records(ARCHIVE).items()}
    assert (after == before) == (policy is DeletePolicy.FLAG)


def test_a_number_that_another_record_has_by_now_stays_when_the_first_one_is_found_gone(crm: Bench) -> None:
    crm.sync(archive())
    first, house = next(iter(crm.simulator.tenant.records(HOUSES).items()))
    crm.simulator.tenant.invalid(HOUSES, first)
    crm.simulator.tenant.delete(HOUSES, first)
    crm.simulator.tenant.create(HOUSES, {"name": house["name"], "number": house["number"], "city": "拉萨"})
    crm.later()
    crm.sync(archive())
    reconciled(crm, archive())
    assert held(crm) == wanted(crm)


def test_a_number_that_changes_takes_its_record_along(crm: Bench) -> None:
    crm.sync(archive())
    crm.simulator.tenant.update(HOUSES, next(iter(crm.simulator.tenant.records(HOUSES))), {"number": "CK-neu"})
    crm.later()
    crm.sync(archive())
    assert held(crm) == wanted(crm)


@pytest.mark.parametrize(("fault", "path"), [("timeout_code", "/delete"), ("http_502", "/delete"), ("cut", "/invalid")])
def test_a_record_that_comes_back_while_its_removal_is_open_is_delivered_as_it_was(
    crm: Bench, fault: str, path: str
) -> None:
    """The CRM has voided it, and nobody could say that it is removed."""
    into = archive(delete_policy=DeletePolicy.DELETE, target=FenxiangTarget(object=ARCHIVE, match="warehouseId"))
    crm.sync(into)
    crm.simulator.knobs.visibility_lag_ms = 60_000
    first, house = next(iter(crm.simulator.tenant.records(HOUSES).items()))
    crm.simulator.tenant.invalid(HOUSES, first)
    crm.simulator.tenant.delete(HOUSES, first)
    crm.later(120)
    crm.sync(into)
    crm.simulator.faults.next(fault, path=path)
    with suppress(RefusedError):
        reconciled(crm, into)
    assert len(held(crm)) == 7

    crm.simulator.knobs.visibility_lag_ms = 0
    crm.simulator.tenant.create(HOUSES, {name: house.get(name) for name in ("number", "name", "city")})
    crm.later(120)
    crm.sync(into)
    assert held(crm) == wanted(crm)


def test_a_condition_that_would_void_many_records_is_a_question(crm: Bench) -> None:
    """Where voided records are not listed, none of them comes back."""
    crm.sync(archive())
    nothing = archive(conditions=[[Condition("city", Logic.EQ, "nowhere")]])
    with pytest.raises(QuestionError, match=r"rows of 8 of 8 records would be voided .* up to 5 go unasked"):
        crm.sync(nothing, manual(full=True))
    assert held(crm) == wanted(crm)
    crm.sync(nothing, manual(full=True, confirmed=8))
    assert held(crm) == {}


@pytest.mark.parametrize("policy", [DeletePolicy.FLAG, DeletePolicy.DELETE])
def test_another_key_finds_the_records_that_are_there_and_voids_none_of_them(crm: Bench, policy: DeletePolicy) -> None:
    crm.sync(archive(delete_policy=policy))
    anew = FenxiangTarget(object=ARCHIVE, match="warehouseName")
    changed = archive(key="warehouseName", target=anew, delete_policy=policy)
    assert crm.sync(changed, manual(full=True, confirmed=8)).to_json()["removed"] == 8
    assert held(crm) == wanted(crm)
    assert (crm.simulator.requests[CREATE], crm.hub.letters.count("archive", Selection())) == (8, 0)

    crm.simulator.tenant.invalid(HOUSES, next(iter(crm.simulator.tenant.records(HOUSES))))
    crm.later()
    crm.sync(changed)
    reconciled(crm, changed)
    assert len(held(crm)) == 7


def test_two_pipelines_that_write_to_each_others_objects_end_by_themselves(crm: Bench) -> None:
    back = Pipeline(
        name="back",
        source=quick(ARCHIVE),
        fields=[Field("warehouseId", to="number", convert=text), Field("location", to="city", convert=text)],
        key="number",
        target=FenxiangTarget(object=HOUSES, match="number", creates=False),
    )
    crm.sync(archive())
    some = next(iter(crm.simulator.tenant.records(ARCHIVE)))
    crm.simulator.tenant.update(ARCHIVE, some, {"location": "拉萨"})
    for _ in range(2):
        crm.later()
        crm.sync(back)
        crm.later()
        crm.sync(archive())
    calls = dict(crm.simulator.requests)
    assert held(crm) == wanted(crm)
    assert "拉萨" in wanted(crm).values()

    crm.later()
    crm.sync(back)
    crm.later()
    crm.sync(archive())
    for path in (CREATE, UPDATE, "/cgi/crm/v2/data/update"):
        assert crm.simulator.requests.get(path, 0) == calls.get(path, 0)
