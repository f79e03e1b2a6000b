"""Reconcile finds what ordinary runs cannot: late, outdated, voided, deleted and hidden records, and makes it good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import (
    Condition,
    DeletePolicy,
    Field,
    Filter,
    Logic,
    Operator,
    Pipeline,
    Reconcile,
    WriteApi,
    label,
)
from fenxiang_sync.errors import QuestionError, RefusedError, TransientError
from fenxiang_sync.hub import Certificate, Hub, Presence, RunRecord, Seen
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Run
from fenxiang_sync.steps.reconcile import Form, Survey, Wanted, survey
from fenxiang_sync.steps.reconcile.compare import compare, differences
from fenxiang_sync.steps.reconcile.report import clean
from fenxiang_sync.window import Window
from tests.hub_fixtures import DATABASES, hub_database, hub_file
from tests.reconcile_fixtures import NAME, compared, concluded, delete, normal, reconciled, row, small, surveyed, synced
from tests.source_fixtures import client_of
from tests.steps_fixtures import Bench, manual, pipeline, quiet

FOUND = ("missing", "stale", "returned", "voided", "left", "hidden", "vanished", "unclear")


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with small(tmp_path, AccountObj=400) as made:
        yield made


def presence(crm: Bench, account: Pipeline, record_id: str) -> Presence:
    return Presence(crm.hub.listed(account.name).entries([record_id])[record_id].presence)


def found(report: Any) -> dict[str, int]:
    """The differences of a report that are not 0."""
    return {name: getattr(report, name) for name in FOUND if getattr(report, name)}


# What differs


@pytest.mark.parametrize("full", [False, True])
def test_where_nothing_differs_nothing_is_read_and_counting_is_cheap(tmp_path: Path, full: bool) -> None:
    with small(tmp_path, AccountObj=3_000) as crm:
        account = pipeline()
        synced(crm, account)
        report = reconciled(crm, account, full=full)
        assert (found(report), report.fetched, report.removed) == ({}, 0, 0)
        assert report.compared == 3_000
        assert report.estimated <= report.requests <= (45 if full else 16)
        assert report.requests >= (30 if full else 1)


def test_a_record_that_came_late_into_certified_time_is_read_delivered_and_named(crm: Bench) -> None:
    account = pipeline()
    late = sorted(crm.simulator.tenant.visible(NAME))[:3]
    for record_id in late:
        crm.simulator.tenant.hide(NAME, record_id)
    synced(crm, account)
    for record_id in late:
        crm.simulator.tenant.show(NAME, record_id)
    run = surveyed(crm, account)
    compared(crm, run)
    report = concluded(crm, run)
    clean(run)
    assert (found(report), report.fetched, report.delivered) == ({"missing": 3}, 3, 3)
    assert set(late) <= set(crm.held(account))
    named = {each["id"]: each["modified_ms"] for each in differences(run, ["missing"])}
    truth = crm.simulator.tenant.records(NAME)
    assert named == {record_id: truth[record_id]["last_modified_time"] for record_id in late}
    assert found(reconciled(crm, account)) == {}


def test_a_record_that_is_held_in_an_older_version_is_read_again(crm: Bench) -> None:
    account = pipeline()
    [first, *_] = synced(crm, account)
    held = row(crm, account, first).modified_ms
    assert held is not None
    crm.simulator.tenant.update(NAME, first, {"name": "补录"}, modified_ms=held + 1)
    report = reconciled(crm, account)
    assert (found(report), report.delivered) == ({"stale": 1}, 1)
    assert crm.held(account)[first]["name"] == "补录"


def test_records_that_were_edited_since_the_last_run_are_left_to_the_next_and_cost_no_sweep(tmp_path: Path) -> None:
    with small(tmp_path, AccountObj=3_000) as crm:
        account = pipeline()
        ids = synced(crm, account)
        quietly = reconciled(crm, account).requests
        for record_id in ids[::100]:
            crm.simulator.tenant.update(NAME, record_id, {"name": "later"})
        report = reconciled(crm, account)
        assert (found(report), report.fetched, report.moved) == ({}, 0, len(ids[::100]))
        assert report.requests <= quietly + 4
        crm.later()
        assert crm.sync(account).delivered == len(ids[::100])


@pytest.mark.parametrize("mode", ["exact", "capped", "estimated", "zero"])
def test_whatever_totals_are_worth_every_difference_is_found(tmp_path: Path, mode: str) -> None:
    with small(tmp_path, quiet(total_mode=mode), AccountObj=1_300) as crm:
        account = pipeline()
        crm.simulator.tenant.hide(NAME, late := normal(crm)[7])
        ids = synced(crm, account)
        crm.simulator.tenant.show(NAME, late)
        delete(crm.simulator, ids[500], ids[1000])
        assert found(reconciled(crm, account)) == {"missing": 1, "vanished": 2}


# What is not there any more


def test_a_deleted_record_is_flagged_in_the_hub_and_its_content_stays(crm: Bench) -> None:
    account = pipeline()
    gone, *_ = synced(crm, account)
    delete(crm.simulator, gone)
    report = reconciled(crm, account)
    assert (found(report), report.removed, report.not_removed) == ({"vanished": 1}, 1, 0)
    held = row(crm, account, gone)
    assert held.removed_at is not None
    assert held.content is not None
    assert held.reason == "removed: its record is vanished"
    again = reconciled(crm, account)
    assert (found(again), again.removed) == ({}, 0)


@pytest.mark.parametrize("kind", DATABASES)
def test_what_is_missing_deleted_and_hidden_is_told_apart_on_both_databases(tmp_path: Path, kind: str) -> None:
    with (
        hub_database(kind, tmp_path) as url,
        Hub.connect(url) as hub,
        small(tmp_path / "sqlite", AccountObj=60) as sqlite,
    ):
        crm = replace(sqlite, hub=hub)
        account = pipeline(delete_policy=DeletePolicy.DELETE)
        crm.simulator.tenant.hide(NAME, late := normal(crm)[5])
        gone, hidden, *_ = synced(crm, account)
        crm.simulator.tenant.show(NAME, late)
        crm.simulator.tenant.hide(NAME, hidden)
        delete(crm.simulator, gone)
        report = reconciled(crm, account)
        assert (found(report), report.removed) == ({"missing": 1, "hidden": 1, "vanished": 1}, 1)
        assert {late, hidden} <= set(crm.held(account))
        assert gone not in crm.held(account)


def test_with_delete_the_row_is_gone_and_comes_back_when_the_record_does(crm: Bench) -> None:
    account = pipeline(delete_policy=DeletePolicy.DELETE)
    gone, *_ = synced(crm, account)
    before = crm.held(account)[gone]
    delete(crm.simulator, gone)
    assert reconciled(crm, account).removed == 1
    assert gone not in crm.held(account)
    assert row(crm, account, gone).hash is None
    crm.simulator.tenant.create(NAME, {"_id": gone, "name": before["name"]})
    crm.later()
    crm.sync(account)
    assert crm.held(account)[gone]["name"] == before["name"]
    assert row(crm, account, gone).removed_at is None
    assert presence(crm, account, gone) is Presence.PRESENT


def test_with_ignore_it_is_marked_and_the_row_stays_as_it_is(crm: Bench) -> None:
    account = pipeline(delete_policy=DeletePolicy.IGNORE)
    gone, *_ = synced(crm, account)
    delete(crm.simulator, gone)
    report = reconciled(crm, account)
    assert (found(report), report.removed) == ({"vanished": 1}, 0)
    assert row(crm, account, gone).removed_at is None
    assert presence(crm, account, gone) is Presence.VANISHED


@pytest.mark.parametrize("missing_record", ["error", "empty"])
def test_a_record_that_the_acting_user_lost_sight_of_is_not_deleted(tmp_path: Path, missing_record: str) -> None:
    with small(tmp_path, quiet(missing_record=missing_record), AccountObj=400) as crm:
        account = pipeline(delete_policy=DeletePolicy.DELETE)
        hidden, gone, *_ = synced(crm, account)
        crm.simulator.tenant.hide(NAME, hidden)
        delete(crm.simulator, gone)
        run = surveyed(crm, account)
        compared(crm, run)
        report = concluded(crm, run)
        assert (found(report), report.removed) == ({"hidden": 1, "vanished": 1}, 1)
        answers = {each["id"]: each["answer"] for each in run.folder.lines("confirmed-")}
        assert answers == {hidden: 50009, gone: 32000 if missing_record == "error" else "empty"}
        assert crm.held(account)[hidden]
        assert presence(crm, account, hidden) is Presence.HIDDEN
        asked = crm.simulator.requests["/cgi/crm/v2/data/get"]
        assert found(reconciled(crm, account)) == {}
        assert crm.simulator.requests["/cgi/crm/v2/data/get"] == asked, "it is not asked for again"
        crm.simulator.tenant.show(NAME, hidden)
        assert found(reconciled(crm, account)) == {"returned": 1}
        assert presence(crm, account, hidden) is Presence.PRESENT


def test_a_hidden_record_that_was_deleted_since_is_found_by_a_sweep(crm: Bench) -> None:
    account = pipeline()
    hidden, gone, voided, *_ = synced(crm, account)
    for record_id in (hidden, gone, voided):
        crm.simulator.tenant.hide(NAME, record_id)
    assert found(reconciled(crm, account)) == {"hidden": 3}
    delete(crm.simulator, gone)
    crm.simulator.tenant.invalid(NAME, voided)
    assert found(reconciled(crm, account)) == {}
    report = reconciled(crm, account, full=True)
    assert (found(report), report.removed) == ({"hidden": 2, "vanished": 1}, 1)
    assert presence(crm, account, hidden) is Presence.HIDDEN
    assert presence(crm, account, gone) is Presence.VANISHED


def test_a_deleted_record_that_was_taken_for_hidden_by_time_outs_is_found_by_a_sweep(crm: Bench) -> None:
    account = pipeline()
    gone, *_ = synced(crm, account)
    delete(crm.simulator, gone)
    crm.simulator.faults.next("timeout_code", 3, path="/data/get", skip=4)
    assert found(reconciled(crm, account)) == {"hidden": 1}
    assert found(reconciled(crm, account, full=True)) == {"vanished": 1}


def test_hidden_records_are_asked_for_again_in_turn_and_no_more_at_once_than_may_vanish(crm: Bench) -> None:
    account = pipeline(reconcile=Reconcile(most_vanished=4))
    ids = synced(crm, account)[:8]
    for record_id in ids:
        crm.simulator.tenant.hide(NAME, record_id)
    assert found(reconciled(crm, account, confirmed=8)) == {"hidden": 8}
    delete(crm.simulator, *ids)
    assert found(reconciled(crm, account, full=True, dry_run=True)) == {"vanished": 4}
    assert [found(reconciled(crm, account, full=True)) for _ in range(3)] == [{"vanished": 4}, {"vanished": 4}, {}]


def test_time_outs_of_get_never_make_a_record_deleted(crm: Bench) -> None:
    account = pipeline()
    gone, other, *_ = synced(crm, account)
    delete(crm.simulator, gone, other)
    crm.simulator.faults.next("timeout_code", 2, path="/data/get", skip=4)
    assert found(reconciled(crm, account)) == {"vanished": 2}


def test_where_get_gives_nothing_at_all_nothing_counts_as_deleted(crm: Bench) -> None:
    account = pipeline()
    gone, *_ = synced(crm, account)
    delete(crm.simulator, gone)
    crm.simulator.faults.rate("timeout_code", 1.0, path="/data/get")
    run = surveyed(crm, account)
    with pytest.raises(RefusedError, match=r"does not give it by its id .50009.*interface data/get"):
        compared(crm, run)
    assert presence(crm, account, gone) is Presence.PRESENT
    assert row(crm, account, gone).removed_at is None


def test_a_record_that_left_the_filters_of_the_source_is_no_deleted_one_and_its_row_is_removed(crm: Bench) -> None:
    only = [Filter("life_status", Operator.EQ, "normal")]
    account = pipeline(source={"filters": only}, fields=[Field("_id"), Field("name")])
    voided, *_ = synced(crm, account)
    crm.simulator.tenant.invalid(NAME, voided)
    report = reconciled(crm, account)
    assert (found(report), report.removed) == ({"voided": 1}, 1)

    named = pipeline(name="named", source={"filters": [Filter("remark", Operator.IS)]})
    first, *_ = synced(crm, named)
    crm.simulator.tenant.update(NAME, first, {"remark": "now it has one"})
    report = reconciled(crm, named)
    assert (found(report), report.removed) == ({"left": 1}, 1)
    assert presence(crm, named, first) is Presence.LEFT
    crm.simulator.tenant.update(NAME, first, {"remark": None})
    crm.later()
    crm.sync(named)
    assert row(crm, named, first).removed_at is None


# Voided


def test_a_voided_record_that_an_ordinary_run_reads_is_flagged_by_the_next_reconcile_and_stays_so(crm: Bench) -> None:
    account = pipeline()
    voided, *_ = synced(crm, account)
    crm.simulator.tenant.invalid(NAME, voided)
    crm.later()
    crm.sync(account)
    assert presence(crm, account, voided) is Presence.VOIDED
    assert crm.held(account)[voided]["life_status"] == "invalid"
    report = reconciled(crm, account)
    assert (found(report), report.removed) == ({}, 1)
    flagged = row(crm, account, voided).removed_at
    assert flagged is not None
    crm.sync(account, manual(full=True))
    assert row(crm, account, voided).removed_at == flagged
    assert reconciled(crm, account).removed == 0


def test_a_record_that_is_recovered_is_ordinary_again_after_the_next_read(crm: Bench) -> None:
    account = pipeline(fields=[Field("_id"), Field("name")])
    voided, *_ = synced(crm, account)
    crm.simulator.tenant.invalid(NAME, voided)
    crm.later()
    crm.sync(account)
    assert reconciled(crm, account).removed == 1
    crm.simulator.tenant.recover(NAME, voided)
    crm.later()
    assert crm.sync(account).delivered == 1, "its content is what it was, but the target has it flagged"
    assert row(crm, account, voided).removed_at is None
    assert presence(crm, account, voided) is Presence.PRESENT


def test_voids_and_recoveries_without_a_stamp_are_found_by_a_full_sweep(tmp_path: Path) -> None:
    with small(tmp_path, quiet(void_bumps_lmt=False, recover_bumps_lmt=False), AccountObj=1_200) as crm:
        account = pipeline()
        voided, *_ = synced(crm, account)
        crm.simulator.tenant.invalid(NAME, voided)
        assert found(reconciled(crm, account)) == {}, "counts do not tell"
        report = reconciled(crm, account, full=True)
        assert (found(report), report.delivered, report.removed) == ({"voided": 1}, 1, 1)
        assert crm.held(account)[voided]["life_status"] == "invalid"
        crm.simulator.tenant.recover(NAME, voided)
        assert found(reconciled(crm, account, full=True)) == {"returned": 1}
        assert crm.held(account)[voided]["life_status"] == "normal"
        assert row(crm, account, voided).removed_at is None


def test_a_void_that_takes_the_record_out_of_the_queries_is_found_by_counts(tmp_path: Path) -> None:
    with small(tmp_path, quiet(voided="hidden"), AccountObj=1_200) as crm:
        account = pipeline()
        voided, *_ = synced(crm, account)
        crm.simulator.tenant.invalid(NAME, voided)
        report = reconciled(crm, account)
        assert (found(report), report.removed) == ({"voided": 1}, 1)
        assert found(reconciled(crm, account)) == {}
        crm.simulator.tenant.recover(NAME, voided)
        crm.later()
        crm.sync(account)
        assert row(crm, account, voided).removed_at is None


def test_with_delete_a_voided_record_gives_no_row(crm: Bench) -> None:
    account = pipeline(delete_policy=DeletePolicy.DELETE)
    report = crm.sync(account, manual(full=True))
    voided = set(crm.simulator.tenant.records(NAME)) - set(normal(crm)) - _other_states(crm)
    assert (report.filtered, report.delivered) == (len(voided), 400 - len(voided))
    assert set(crm.held(account)).isdisjoint(voided)


def _other_states(crm: Bench) -> set[str]:
    records = crm.simulator.tenant.records(NAME)
    return {key for key, record in records.items() if record["life_status"] not in ("normal", "invalid")}


# What was read and has no row


def test_filtered_and_rejected_records_are_neither_missing_nor_read_again(crm: Bench) -> None:
    account = pipeline(
        fields=[Field("_id"), Field("name"), Field("remark", required=True)],
        conditions=[[Condition("life_status", Logic.NEQ, "under_review")]],
    )
    crm.simulator.tenant.update(NAME, normal(crm)[0], {"remark": "one that fits"})
    crm.later()
    first = crm.sync(account, manual(full=True))
    assert first.filtered
    assert first.dead_letters
    report = reconciled(crm, account)
    assert (found(report), report.fetched, report.compared) == ({}, 0, 400)
    letters = [letter.attempts for letter in crm.hub.dead_letters(account.name)]
    assert set(letters) == {1}


def test_rows_that_were_refused_by_the_target_are_not_missing_either(crm: Bench) -> None:
    account = pipeline(target=WriteApi(), fields=[Field("_id"), Field("remark", "id")])
    report = crm.sync(account)
    assert report.dead_letters > 200
    assert found(reconciled(crm, account)) == {}


# The guard


def test_more_than_may_vanish_stops_with_a_question_and_changes_nothing(crm: Bench) -> None:
    account = pipeline(reconcile=Reconcile(most_vanished=30))
    ids = synced(crm, account)
    delete(crm.simulator, *ids[:25])
    run = surveyed(crm, account)
    with pytest.raises(QuestionError, match=r"25 of the 400 records .* No more than 20 may vanish at once") as asked:
        compared(crm, run)
    assert "airflow dags trigger account.reconcile --conf '{\"confirm_drops\": 25}'" in str(asked.value)
    with pytest.raises(QuestionError):
        compared(crm, run)  # the task was cleared, and nobody has answered
    assert {presence(crm, account, each) for each in ids[:25]} == {Presence.PRESENT}
    assert "/cgi/crm/v2/data/get" not in crm.simulator.requests
    report = reconciled(crm, account, confirmed=25)
    assert (found(report), report.removed) == ({"vanished": 25}, 25)


def test_who_gives_the_rights_back_and_clears_the_task_gets_no_question_again(crm: Bench) -> None:
    account = pipeline()
    ids = synced(crm, account)
    for record_id in ids[:30]:
        crm.simulator.tenant.hide(NAME, record_id)
    run = surveyed(crm, account)
    with pytest.raises(QuestionError):
        compared(crm, run)
    for record_id in ids[:30]:
        crm.simulator.tenant.show(NAME, record_id)
    compared(crm, run)
    assert found(concluded(crm, run)) == {}


def test_a_comparison_that_died_before_it_asked_asks_in_its_next_try(crm: Bench) -> None:
    account = pipeline()
    ids = synced(crm, account)
    delete(crm.simulator, *ids[:30])
    run = surveyed(crm, account, confirmed=30)
    compare(run, client=crm.client(), hub=crm.hub, clock=crm.now)
    done = run.folder.load("compared") or {}
    run.folder.save("compared", {**done, "finished": False})
    run.folder.save("survey", {**(run.folder.load("survey") or {}), "most": 20})
    with pytest.raises(QuestionError):
        compare(run, client=crm.client(), hub=crm.hub, clock=crm.now)


def test_a_dry_run_answers_what_the_question_asks(crm: Bench) -> None:
    account = pipeline()
    ids = synced(crm, account)
    for record_id in ids[:30]:
        crm.simulator.tenant.hide(NAME, record_id)
    report = reconciled(crm, account, dry_run=True)
    assert found(report) == {"hidden": 20, "unclear": 10}
    assert presence(crm, account, ids[0]) is Presence.PRESENT


@pytest.mark.parametrize(
    ("rules", "compared", "most"),
    [
        (Reconcile(), 0, 5),
        (Reconcile(), 100, 5),
        (Reconcile(), 400, 20),
        (Reconcile(), 10_000_000, 1_000),
        (Reconcile(most_vanished=0), 1_000, 0),
        (Reconcile(most_vanished=100_000, most_share=1.0), 50, 50),
        (Reconcile(most_share=0.0), 1_000_000, 5),
    ],
)
def test_the_guard_is_a_number_and_a_share_and_a_few_may_always_go(rules: Reconcile, compared: int, most: int) -> None:
    assert rules.most(compared) == most


# Forms and ranges


def test_a_dry_run_says_what_differs_and_changes_nothing(crm: Bench) -> None:
    account = pipeline()
    crm.simulator.tenant.hide(NAME, late := normal(crm)[7])
    gone, *_ = synced(crm, account)
    crm.simulator.tenant.show(NAME, late)
    delete(crm.simulator, gone)
    report = reconciled(crm, account, dry_run=True)
    assert (found(report), report.fetched, report.removed) == ({"missing": 1, "vanished": 1}, 0, 0)
    assert presence(crm, account, gone) is Presence.PRESENT
    assert late not in crm.held(account)
    assert found(reconciled(crm, account)) == {"missing": 1, "vanished": 1}


def test_the_deep_form_finds_a_changed_label_that_left_no_stamp(tmp_path: Path) -> None:
    with small(tmp_path, quiet(unstamped_change="labels"), AccountObj=20, ContactObj=300) as crm:
        contact = pipeline("ContactObj", fields=[Field("_id"), Field("account_id", "account", convert=label)])
        crm.sync(contact, manual(full=True))
        named = {key for key, content in crm.held(contact).items() if content["account"]}
        for record_id in normal(crm):
            crm.simulator.tenant.update(NAME, record_id, {"name": f"新 {record_id}"})
        assert found(reconciled(crm, contact, full=True)) == {}
        dry, deep = reconciled(crm, contact, deep=True, dry_run=True), reconciled(crm, contact, deep=True)
        assert (dry.fetched, deep.fetched) == (300, 300)
        assert 100 < deep.delivered <= len(named)
        assert dry.delivered == deep.delivered
        assert sum(str(content["account"]).startswith("新") for content in crm.held(contact).values()) == deep.delivered


def test_deep_segments_are_no_more_than_airflow_maps_over(crm: Bench) -> None:
    account = pipeline(source={"segment_records": 100})
    crm.sync(account, manual(full=True))
    run = surveyed(crm, account, deep=True)
    compared(crm, run)
    report = concluded(crm, run, most_segments=4)
    assert report.fetched == 400
    assert len(run.folder.load("segments") or []) <= 4


def test_a_range_by_hand_compares_that_range_alone(crm: Bench) -> None:
    account = pipeline()
    ids = synced(crm, account)
    stamps = {each: row(crm, account, each).modified_ms or 0 for each in ids}
    early, late = min(ids, key=stamps.__getitem__), max(ids, key=stamps.__getitem__)
    delete(crm.simulator, early, late)
    middle = datetime.fromtimestamp((stamps[early] + stamps[late]) / 2000, UTC)
    assert found(reconciled(crm, account, until=middle)) == {"vanished": 1}
    assert presence(crm, account, early) is Presence.VANISHED
    assert found(reconciled(crm, account, since=middle)) == {"vanished": 1}


def test_time_that_is_not_certified_is_left_to_the_runs_of_the_pipeline(crm: Bench) -> None:
    account = pipeline()
    report = reconciled(crm, account)
    assert (report.windows, report.compared, report.requests, found(report)) == ([], 0, 0, {})


def test_a_comparison_that_was_cut_off_goes_on_behind_the_slices_it_has(tmp_path: Path) -> None:
    with small(tmp_path, AccountObj=1_200) as crm:
        account = pipeline()
        crm.simulator.tenant.hide(NAME, late := normal(crm)[0])
        synced(crm, account)
        crm.simulator.tenant.show(NAME, late)
        run = surveyed(crm, account)
        crm.simulator.faults.next("busy", 50, skip=12)
        with pytest.raises(TransientError):
            compare(run, client=client_of(crm.simulator), hub=crm.hub, clock=crm.now)
        done = run.folder.load("compared")
        assert done is not None
        assert 0 < done["slices"] < len(run.folder.load("slices") or [])
        crm.simulator.faults.clear()
        compared(crm, run)
        assert found(concluded(crm, run)) == {"missing": 1}


# Cost, and when a sweep is due


class Numbers:
    """Hubs, stages and certificates for surveys without a CRM."""

    def __init__(self, folder: Path) -> None:
        self.hub = Hub.connect(f"sqlite:///{hub_file(folder)}")
        self.stage = Stage(folder / "stage")
        self.pipeline = pipeline()
        self.hub.certify(Certificate(pipeline="account", run="r", window=Window(0, 10**12)), now=at(0))

    def survey(self, **wanted: Any) -> Survey:
        return self.survey_at(at(0), **wanted)

    def survey_at(self, now: datetime, **wanted: Any) -> Survey:
        run = Run(pipeline=self.pipeline, id="reconcile__1", folder=self.stage.run("account", "reconcile__1"))
        return survey(run, Wanted(**wanted), hub=self.hub, now=now)

    def ran(self, kind: str, now: datetime, state: str = "success") -> None:
        name = f"reconcile__{kind}{now:%d%H}"
        self.hub.record_run(
            RunRecord(pipeline="account", run=name, kind=kind, state=state, window=None, started_at=now)
        )


def at(day: float) -> datetime:
    return datetime(2026, 11, 1, 4, tzinfo=UTC) + timedelta(days=day)


@pytest.fixture
def numbers(tmp_path: Path) -> Iterator[Numbers]:
    made = Numbers(tmp_path)
    yield made
    made.hub.close()


def test_the_cost_is_known_before_any_call(numbers: Numbers) -> None:
    seen = [Seen(f"{number:024x}", number) for number in range(20_000)]
    numbers.hub.see("account", seen, run="r", now=at(0))
    counts, sweep, deep = numbers.survey(), numbers.survey(full=True), numbers.survey(deep=True)
    assert (counts.held, counts.form, sweep.form) == (20_000, Form.COUNTS, Form.SWEEP)
    assert counts.calls == 15
    assert sweep.calls == 200 + 3 * 5 + 3
    assert deep.calls == counts.calls + 200


def test_a_scheduled_run_sweeps_a_week_after_the_last_sweep_that_succeeded(numbers: Numbers) -> None:
    assert numbers.survey_at(at(0), scheduled=True).form is Form.COUNTS, "the first run"
    numbers.ran("reconcile", at(0))
    assert numbers.survey_at(at(6), scheduled=True).form is Form.COUNTS
    assert numbers.survey_at(at(7), scheduled=True).form is Form.SWEEP
    numbers.ran("sweep", at(7), "failed")
    assert numbers.survey_at(at(8), scheduled=True).form is Form.SWEEP
    numbers.ran("sweep", at(8))
    assert numbers.survey_at(at(9), scheduled=True).form is Form.COUNTS
    assert numbers.survey_at(at(15) - timedelta(seconds=3), scheduled=True).form is Form.SWEEP
    assert numbers.survey_at(at(30)).form is Form.COUNTS, "by hand it is as asked"
    numbers.pipeline = replace(numbers.pipeline, reconcile=Reconcile(sweep_every=None))
    assert numbers.survey_at(at(30), scheduled=True).form is Form.COUNTS


def test_a_sweep_of_a_part_or_a_dry_one_does_not_count_as_the_weekly_one(numbers: Numbers) -> None:
    assert numbers.survey(full=True).kind == "sweep"
    assert numbers.survey(full=True, until=datetime(1975, 1, 1, tzinfo=UTC)).kind == "reconcile"
    assert numbers.survey(full=True, dry_run=True).kind == "reconcile"
