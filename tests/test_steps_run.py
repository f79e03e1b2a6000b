"""A run delivers every record of its window once, says what became of each, and fails rather than miss one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fenxiang_simulator import Knobs
from fenxiang_sync import Condition, Field, Filter, IdCheck, Logic, Operator, Pipeline
from fenxiang_sync.errors import FenxiangSyncError, IncompleteError, QuotaError, UnverifiedError
from fenxiang_sync.steps import Plan, extract, load, transform
from fenxiang_sync.steps.verify import Report, clean
from tests.steps_fixtures import Bench, at, bench, manual, pipeline, quiet, scheduled


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, AccountObj=1500) as made:
        yield made


def visible(crm: Bench, name: str = "AccountObj") -> dict[str, dict[str, Any]]:
    return crm.simulator.tenant.visible(name)


def test_every_record_arrives_and_a_second_run_changes_nothing(crm: Bench) -> None:
    account = pipeline()
    first, second = crm.sync(account, manual(full=True)), crm.sync(account, manual(full=True))
    assert (first.read, first.delivered) == (1500, 1500)
    assert (second.read, second.delivered, second.unchanged) == (1500, 0, 1500)
    assert second.digest == first.digest
    held = crm.held(account)
    assert {key: row["name"] for key, row in held.items()} == {k: r["name"] for k, r in visible(crm).items()}


def test_an_edit_is_delivered_by_the_next_run_and_an_emptied_field_is_null(crm: Bench) -> None:
    account = pipeline(fields=[Field("_id"), Field("name"), Field("account_no")])
    crm.sync(account)
    edited = next(iter(visible(crm)))
    crm.simulator.tenant.update("AccountObj", edited, {"name": "新名称", "account_no": None})
    crm.later()
    report = crm.sync(account)
    assert report.delivered == 1
    assert crm.held(account)[edited] == {"_id": edited, "name": "新名称", "account_no": None}


@pytest.mark.parametrize("edits", [1, 5])
def test_records_that_are_edited_while_they_are_read_are_none_the_less_complete(crm: Bench, edits: int) -> None:
    account = pipeline()
    crm.simulator.knobs.edits_per_request = edits
    crm.sync(account, manual(full=True))
    crm.simulator.knobs.edits_per_request = 0
    assert sum(crm.simulator.report()["edits"].values()) > 20
    crm.later()
    crm.sync(account)
    held = crm.held(account)
    missing = [key for key, record in visible(crm).items() if held.get(key, {}).get("name") != record.get("name")]
    assert missing == []


def test_a_killed_extract_goes_on_from_its_complete_files(crm: Bench) -> None:
    account = pipeline()
    run = crm.run(account)
    made = crm.plan(run, scheduled(at(1) - timedelta(days=300), at(30)))
    segment = made.segments[0]
    extract(run, segment, client=crm.client())
    folder = run.segment(segment.index)
    everything = {record["_id"] for record in folder.lines("records-")}
    (folder.path / "extracted.json").unlink()
    for name in folder.names("records-")[1:]:
        (folder.path / name).unlink()
    asked = len(crm.simulator.queries)
    numbers = extract(run, segment, client=crm.client())
    after = [f for q in crm.simulator.queries[asked:] for f in q.filters if f["field_name"] == "_id"]
    assert any(f["operator"] == "GT" and len(f["field_values"][0]) >= 24 for f in after)
    assert {record["_id"] for record in folder.lines("records-")} == everything
    assert numbers["read"] == len(everything)


def test_a_cleared_extract_starts_anew(crm: Bench) -> None:
    run = crm.run(pipeline())
    segment = crm.plan(run, manual(full=True)).segments[0]
    extract(run, segment, client=crm.client())
    crm.simulator.tenant.update("AccountObj", next(iter(visible(crm))), {"name": "later"})
    numbers = extract(run, segment, client=crm.client())
    assert numbers["read"] == 1499  # the edited record has left the closed window


def test_a_record_that_does_not_fit_is_a_dead_letter_and_the_run_goes_on(tmp_path: Path) -> None:
    with bench(tmp_path) as crm:
        warehouse = pipeline(
            "object_warehouse__c",
            name="warehouse",
            fields=[Field("warehouseId", "id", required=True), Field("warehouseName", "name")],
            key="id",
        )
        without = [r for r in visible(crm, "object_warehouse__c").values() if not r.get("warehouseId")]
        report = crm.sync(warehouse)
        assert without
        assert report.dead_letters == len(without)
        assert report.delivered == report.read - len(without)
        letters = list(crm.hub.dead_letters("warehouse"))
        assert {letter.record_id for letter in letters} == {record["_id"] for record in without}
        assert all("warehouseId" in letter.reason and letter.field == "warehouseId" for letter in letters)


def test_a_dry_run_counts_and_leaves_nothing(crm: Bench) -> None:
    account = pipeline()
    report = crm.sync(account, manual(full=True, dry_run=True))
    assert (report.read, report.delivered, report.certified) == (1500, 1500, [])
    assert crm.held(account) == {}
    assert crm.hub.certified("account") == []


def test_a_retry_of_a_load_reports_what_the_run_delivered_before(crm: Bench) -> None:
    run = crm.run(pipeline())
    segment = crm.plan(run, manual(full=True)).segments[0]
    extract(run, segment, client=crm.client())
    transform(run, segment)
    for _ in range(2):
        numbers = load(run, segment, hub=crm.hub, reach=crm.reach(), clock=crm.now)
        assert (numbers["delivered"], numbers["unchanged"]) == (1500, 0)


def test_overwrite_sends_every_reading_and_skip_existing_none_twice(crm: Bench) -> None:
    overwrite = pipeline(name="overwrite", id_check=IdCheck.OVERWRITE)
    skip = pipeline(name="skip", id_check=IdCheck.SKIP_EXISTING)
    for one in (overwrite, skip):
        crm.sync(one, manual(full=True))
    crm.simulator.tenant.update("AccountObj", next(iter(visible(crm))), {"name": "changed"})
    crm.later()
    assert crm.sync(overwrite, manual(full=True)).delivered == 1500
    assert crm.sync(skip, manual(full=True)).delivered == 0


def test_a_planned_segment_that_was_not_delivered_fails_the_run(crm: Bench) -> None:
    run = crm.run(pipeline())
    made = crm.plan(run, manual(full=True))
    extract(run, made.segments[0], client=crm.client())
    with pytest.raises(IncompleteError, match="1 of 1 planned segments were not delivered"):
        crm.verify(run)
    assert crm.hub.certified("account") == []


def test_a_record_that_appears_between_reading_and_verifying_is_repaired(crm: Bench) -> None:
    hidden = sorted(visible(crm))[:3]
    for record_id in hidden:
        crm.simulator.tenant.hide("AccountObj", record_id)
    run = crm.run(pipeline())
    made = crm.plan(run, manual(full=True))
    crm.deliver(run, made)
    for record_id in hidden:
        crm.simulator.tenant.show("AccountObj", record_id)
    report = crm.verify(run)
    assert (report.repaired, report.read, report.delivered) == (3, 1500, 1500)
    assert set(hidden) <= set(crm.held(run.pipeline))
    assert crm.hub.certified("account")


def test_verifying_twice_repairs_and_certifies_the_same(crm: Bench) -> None:
    run = crm.run(pipeline())
    crm.deliver(run, crm.plan(run, manual(full=True)))
    assert crm.verify(run) == crm.verify(run)
    assert len(list(crm.hub.certificates("account"))) == 1


def test_a_record_that_leaves_the_window_is_no_failure(crm: Bench) -> None:
    run = crm.run(pipeline())
    crm.deliver(run, crm.plan(run, manual(full=True)))
    for record_id in sorted(visible(crm))[:20]:
        crm.simulator.tenant.update("AccountObj", record_id, {"name": "left"})
    report = crm.verify(run)
    assert (report.repaired, report.delivered) == (0, 1500)


def test_numbers_that_do_not_add_up_fail_the_run(crm: Bench) -> None:
    run = crm.run(pipeline())
    made = crm.plan(run, manual(full=True))
    crm.deliver(run, made)
    folder = run.segment(1)
    numbers = folder.load("loaded")
    assert numbers is not None
    folder.save("loaded", {**numbers, "delivered": numbers["delivered"] - 1})
    with pytest.raises(IncompleteError, match="1500 records were read, but 1499 have an outcome"):
        crm.verify(run)


def test_a_run_that_was_cleaned_cannot_be_verified_again_and_says_what_to_do(crm: Bench) -> None:
    run = crm.run(pipeline())
    crm.deliver(run, crm.plan(run, manual(full=True)))
    crm.verify(run)
    clean(run)
    assert run.segment(1).names("records-") == []
    with pytest.raises(UnverifiedError, match="clear the task plan"):
        crm.verify(run)
    with pytest.raises(UnverifiedError, match="holds 0 records, but transform read 1500"):
        load(run, Plan.of(run).segments[0], hub=crm.hub, reach=crm.reach(), clock=crm.now)


def test_a_broken_file_of_the_stage_never_becomes_a_success(crm: Bench) -> None:
    run = crm.run(pipeline())
    segment = crm.plan(run, manual(full=True)).segments[0]
    extract(run, segment, client=crm.client())
    folder = run.segment(1)
    (folder.path / folder.names("records-")[0]).unlink()
    with pytest.raises(UnverifiedError, match="clear the extract task"):
        transform(run, segment)


def test_a_filter_of_the_source_reads_only_what_it_asks_for(crm: Bench) -> None:
    account = pipeline(source={"filters": [Filter("life_status", Operator.EQ, ["normal"])]})
    report = crm.sync(account)
    normal = {key for key, record in visible(crm).items() if record["life_status"] == "normal"}
    assert set(crm.held(account)) == normal
    assert report.read == len(normal) < 1500


def test_a_record_that_no_condition_keeps_is_counted_and_not_sent(crm: Bench) -> None:
    account = pipeline(conditions=[[Condition("life_status", Logic.NEQ, "normal")]])
    report = crm.sync(account)
    others = {key for key, record in visible(crm).items() if record["life_status"] != "normal"}
    assert set(crm.held(account)) == others
    assert (report.read, report.delivered, report.filtered) == (1500, len(others), 1500 - len(others))
    assert "`life_status neq normal`" in account.describe_markdown()


WORLDS = [(name, value) for name, values in Knobs.choices().items() for value in values]


@pytest.mark.parametrize(("knob", "value"), WORLDS, ids=[f"{name}={value}" for name, value in WORLDS])
def test_with_every_value_of_every_knob_a_run_is_complete_or_says_what_it_met(
    tmp_path: Path, knob: str, value: Any
) -> None:
    with bench(tmp_path, quiet(**{knob: value}), AccountObj=350) as crm:
        account = pipeline()
        before = visible(crm)
        outcome = result(crm, account)
        if isinstance(outcome, FenxiangSyncError):
            assert str(outcome)
            assert crm.hub.certified("account") == []
            return
        there = visible(crm)
        closed = {key for key in before if key in there and there[key]["last_modified_time"] in outcome.window}
        assert len(closed) > 100
        assert closed <= set(crm.held(account))


def result(crm: Bench, account: Pipeline) -> Report | FenxiangSyncError:
    try:
        return crm.sync(account)
    except FenxiangSyncError as error:
        return error


def test_a_tenant_without_a_quota_pack_is_told_at_the_first_call(tmp_path: Path) -> None:
    with bench(tmp_path, quiet(quota_pack=False)) as crm, pytest.raises(QuotaError, match="30003"):
        crm.sync(pipeline())
