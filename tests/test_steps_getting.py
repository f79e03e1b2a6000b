"""Fields that only `get` gives reach the target with their records: once for each version, never of two versions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenxiang_sync import Condition, DeletePolicy, Details, Explode, Field, HubTarget, Logic, Pipeline, Source, label
from fenxiang_sync.errors import DeclarationError, QuotaError
from fenxiang_sync.hub import Selection
from fenxiang_sync.source.reader import ID, STAMP
from fenxiang_sync.stage import Folder
from fenxiang_sync.steps import extract, load, transform
from fenxiang_sync.steps.cost import estimate
from fenxiang_sync.steps.fill import fill
from fenxiang_sync.steps.getting import Getter
from fenxiang_sync.steps.mend import Wanted, mend
from fenxiang_sync.steps.preview import preview
from fenxiang_sync.steps.reconcile.survey import Survey
from fenxiang_sync.steps.retransform import apply, difference
from tests.reconcile_fixtures import reconciled, surveyed
from tests.steps_fixtures import Bench, bench, manual, quick, quiet

NAME = "ProductObj"
GET = "/cgi/crm/v2/data/get"
BUSINESS = 201112011
FIELDS = [Field("_id"), Field("name"), Field("description__c", "text"), Field("image__c", "pictures")]


def products(*get_fields: str, **words: Any) -> Pipeline:
    source = quick(NAME, get_fields=get_fields or ("description__c", "image__c"), **words.pop("source", {}))
    return Pipeline(**{"name": "product", "source": source, "fields": FIELDS, "target": HubTarget(), **words})


def expected(crm: Bench) -> dict[str, tuple[Any, ...]]:
    """What the target has to hold, by the simulator's own state."""
    records = crm.simulator.tenant.records(NAME)
    return {each: (made["name"], made.get("description__c"), made.get("image__c")) for each, made in records.items()}


def held(crm: Bench, one: Pipeline | None = None) -> dict[str, tuple[Any, ...]]:
    contents = crm.held(one or products())
    return {each: (made["name"], made["text"], made["pictures"]) for each, made in contents.items()}


def gets(crm: Bench) -> int:
    """How many calls of `get` there were since it was asked last."""
    made = int(crm.simulator.requests.get(GET, 0))
    crm.simulator.crm.forget()
    return made


def some(crm: Bench, number: int) -> list[str]:
    return sorted(crm.simulator.tenant.records(NAME))[:number]


def edit(crm: Bench, record_id: str, text: str, **more: Any) -> None:
    crm.simulator.tenant.update(NAME, record_id, {"name": text, "description__c": text, **more})


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, ProductObj=250) as crm:
        yield crm


@pytest.fixture
def few(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, ProductObj=20) as crm:
        yield crm


class TestRuns:
    def test_a_first_load_gets_each_record_once_and_queries_never_ask_for_the_fields(self, crm: Bench) -> None:
        report = crm.sync(products())
        assert (report.delivered, report.read) == (250, 250)
        assert held(crm) == expected(crm)
        asked = {name for query in crm.simulator.queries for name in query.projection or ()}
        assert asked.isdisjoint({"description__c", "image__c"})
        assert gets(crm) == 250
        assert report.requests > 250

    def test_what_is_read_again_unchanged_is_not_got_again(self, crm: Bench) -> None:
        crm.sync(products())
        gets(crm)
        crm.later()
        report = crm.sync(products(), manual(full=True))
        assert (report.read, report.unchanged) == (250, 250)
        assert gets(crm) == 0
        crm.later()
        assert crm.sync(products(source={"lookback": timedelta(days=400)})).read == 250
        assert gets(crm) == 0

    def test_only_what_was_edited_is_got_again(self, crm: Bench) -> None:
        crm.sync(products())
        gets(crm)
        crm.later(3600)
        for at, record_id in enumerate(some(crm, 3)):
            edit(crm, record_id, f"new {at}", image__c=None)
        crm.later()
        assert crm.sync(products(), manual(full=True)).delivered == 3
        assert gets(crm) == 3
        assert held(crm) == expected(crm)

    def test_where_records_are_not_kept_each_is_got_whenever_it_is_read(self, few: Bench) -> None:
        one = products(keep_records=False)
        few.sync(one)
        assert few.sync(one, manual(full=True)).unchanged == 20
        assert gets(few) == 40

    def test_another_field_to_get_and_one_that_a_query_had_asked_for_are_got_for_all(self, few: Bench) -> None:
        queried = replace(products(), source=quick(NAME))
        few.sync(queried)
        assert gets(few) == 0
        assert {text for _, text, _ in held(few).values()} == {None}
        few.sync(products("description__c"), manual(full=True))
        assert gets(few) == 20
        few.sync(products(), manual(full=True))
        assert gets(few) == 20
        assert held(few) == expected(few)
        few.sync(products("description__c", fields=FIELDS[:3]), manual(full=True))
        assert gets(few) == 0, "all that it gets is kept"

    def test_what_verify_finds_missing_is_read_whole(self, few: Bench) -> None:
        run = few.run(products())
        made = few.plan(run, manual())
        late, *_ = some(few, 1)
        few.simulator.tenant.hide(NAME, late)
        few.deliver(run, made)
        few.simulator.tenant.show(NAME, late)
        assert few.verify(run).repaired == 1
        assert held(few) == expected(few)
        assert gets(few) == 20

    def test_conditions_and_exploded_lists_may_be_of_what_is_got(self, few: Bench) -> None:
        pictures = products(
            "image__c",
            fields=[Field("name"), Field("image__c.filename", "file")],
            key="file",
            explode=Explode("image__c"),
        )
        few.sync(pictures)
        assert len(few.held(pictures)) == sum(1 for _, _, image in expected(few).values() if image)
        one = products(name="kept", conditions=[[Condition("description__c", Logic.LIKE, "第1号")]])
        report = few.sync(one)
        assert (report.delivered, report.filtered) == (1, 19)

    def test_the_plan_tells_what_it_may_cost(self, few: Bench, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            few.plan(few.run(products()), manual())
        assert "description__c, image__c: a call of data/get for each record" in caplog.text
        assert "20 of them if none is: 0:00:04 at 100 calls in 20 s" in caplog.text

    def test_segments_are_smaller_where_each_record_costs_a_call(self) -> None:
        assert products().source.most_records == 5_000
        assert products(source={"segment_records": 300}).source.most_records == 300
        assert quick(NAME).most_records == 40_000


class TestMeanwhile:
    def test_no_row_is_ever_made_of_two_versions(self, crm: Bench) -> None:
        crm.simulator.knobs.latency_ms = 10
        done = threading.Event()
        editing = threading.Thread(target=self._edit_until, args=(crm, done))
        editing.start()
        try:
            report = crm.sync(products())
        finally:
            done.set()
            editing.join()
        assert report.certified
        mixed = [made for made in held(crm).values() if made[0].startswith("v") and made[0] != made[1]]
        assert not mixed
        crm.simulator.knobs.latency_ms = 0
        crm.later()
        crm.sync(products())
        assert held(crm) == expected(crm)

    @staticmethod
    def _edit_until(crm: Bench, done: threading.Event) -> None:
        ids = [each for each, made in crm.simulator.tenant.records(NAME).items() if made["life_status"] == "normal"]
        number = 0
        while not done.wait(0.002):
            number += 1
            edit(crm, ids[number * 7 % len(ids)], f"v{number}")

    def test_what_left_between_query_and_get_is_left_out_and_counted(self, few: Bench) -> None:
        listed = [{ID: each, STAMP: made[STAMP]} for each, made in few.simulator.tenant.records(NAME).items()]
        few.later()
        edited, deleted, *_ = some(few, 2)
        edit(few, edited, "new")
        few.simulator.tenant.invalid(NAME, deleted)
        few.simulator.tenant.delete(NAME, deleted)
        getter = Getter(products(), few.client(), few.hub)
        stay = getter.attach(listed)
        assert {each[ID] for each in stay} == set(few.simulator.tenant.records(NAME)) - {edited}
        assert getter.numbers == {"got": 18, "edited": 1, "gone": 1}

    def test_a_run_in_which_records_leave_succeeds_and_says_how_many(self, few: Bench) -> None:
        run = few.run(products())
        made = few.plan(run, manual())
        few.simulator.knobs.edits_per_request = 3
        few.deliver(run, made)
        few.simulator.knobs.edits_per_request = 0
        numbers = run.segment(1).load("extracted")
        assert numbers["got"] == numbers["read"] < 20
        assert numbers["edited"] + numbers.get("gone", 0) > 0
        assert few.verify(run).certified
        few.later()
        few.sync(products())
        assert {each: made for each, made in held(few).items() if each in expected(few)} == expected(few)


class TestDeaths:
    def test_complete_files_are_not_got_again(self, crm: Bench) -> None:
        run = crm.run(products())
        made = crm.plan(run, manual())
        crm.simulator.knobs.day_quota = int(crm.simulator.limits.report()["calls_today"]) + 150
        with pytest.raises(QuotaError):
            extract(run, made.segments[0], client=crm.client(), hub=crm.hub)
        whole = stages(run.segment(1))
        assert len(whole) == 100
        gets(crm)
        crm.simulator.knobs.day_quota = 10_000_000
        crm.deliver(run, made)
        assert gets(crm) == 150
        assert crm.verify(run).delivered == 250
        assert held(crm) == expected(crm)

    def test_what_another_run_has_kept_is_not_got_again_after_a_death_either(self, few: Bench) -> None:
        few.sync(products())
        gets(few)
        few.later()
        run = few.run(products())
        made = few.plan(run, manual(full=True))
        few.deliver(run, made)
        few.deliver(run, made)
        assert gets(few) == 0


def stages(folder: Folder) -> list[dict[str, Any]]:
    return list(folder.lines("records-"))


class TestRefused:
    def test_one_record_becomes_a_dead_letter_that_names_field_and_code(self, few: Bench) -> None:
        bad, *_ = some(few, 1)
        few.simulator.faults.refuse(bad, BUSINESS)
        report = few.sync(products())
        assert (report.delivered, report.dead_letters) == (19, 1)
        assert report.certified
        [letter] = few.hub.dead_letters("product")
        assert (letter.record_id, letter.field, letter.value) == (bad, "description__c", str(BUSINESS))
        assert f"description__c, image__c could not be got: {GET} answered errorCode {BUSINESS}" in letter.reason

    def test_it_is_got_again_when_it_is_read_again_and_its_letter_is_closed(self, few: Bench) -> None:
        bad, *_ = some(few, 1)
        few.simulator.faults.refuse(bad)
        few.sync(products())
        gets(few)
        assert few.sync(products(), manual(full=True)).dead_letters == 1
        assert gets(few) == 1, "the others are kept"
        few.simulator.faults.clear()
        assert few.sync(products(), manual(full=True)).delivered == 1
        assert held(few) == expected(few)
        assert few.hub.letters.count("product", Selection()) == 0

    def test_each_reconcile_gets_it_again_until_it_is_given(self, few: Bench) -> None:
        """Nobody has to remember it: the letter of a record that could not be got is not tried by any clock."""
        one = products()
        bad, *_ = some(few, 1)
        few.simulator.faults.refuse(bad)
        few.sync(one)
        gets(few)
        few.later()
        refused_again = reconciled(few, one)
        assert (refused_again.fetched, refused_again.dead_letters, refused_again.late, gets(few)) == (1, 1, 0, 1)
        few.simulator.faults.clear()
        given = reconciled(few, one)
        assert (given.fetched, given.delivered, given.late, gets(few)) == (1, 1, 0, 1)
        assert held(few) == expected(few)
        assert few.hub.letters.count("product", Selection()) == 0
        assert reconciled(few, one).fetched == 0

    @pytest.mark.parametrize("policy", [DeletePolicy.FLAG, DeletePolicy.DELETE])
    def test_the_row_that_it_gave_before_stays(self, few: Bench, policy: DeletePolicy) -> None:
        """That it could not be read says nothing about the record."""
        one = products(delete_policy=policy)
        few.sync(one)
        bad, *_ = some(few, 1)
        before = few.held(one)[bad]
        few.later(3600)
        edit(few, bad, "new")
        few.simulator.faults.refuse(bad)
        few.later()
        assert few.sync(one).dead_letters == 1
        [row] = few.hub.records("product", ids=[bad])
        assert (row.content, row.removed_at) == (before, None)
        few.simulator.faults.clear()
        few.sync(one, manual(full=True))
        assert held(few) == expected(few)

    def test_its_row_stays_where_a_load_ends_late_that_had_read_the_version_before(self, few: Bench) -> None:
        """Of the newer version it is known that it is there, not what it gives."""
        one = products(delete_policy=DeletePolicy.DELETE)
        few.sync(one)
        bad, *_ = some(few, 1)
        before = few.held(one)[bad]
        few.later(3600)
        late = few.run(one)
        made = few.plan(late, manual(full=True))
        extract(late, made.segments[0], client=few.client(), hub=few.hub)
        edit(few, bad, "new")
        few.simulator.faults.refuse(bad)
        few.later()
        few.sync(one)
        transform(late, made.segments[0], hub=few.hub)
        load(late, made.segments[0], hub=few.hub, reach=few.reach(), clock=few.now)
        assert few.held(one)[bad] == before

    def test_its_replay_and_its_retransform_make_no_row_without_the_field(self, few: Bench) -> None:
        bad, *_ = some(few, 1)
        few.simulator.faults.refuse(bad)
        run = few.run(products())
        few.deliver(run, few.plan(run, manual()))
        few.verify(run)
        mend(few.run(products()), Wanted(), hub=few.hub, reach=few.reach(), clock=few.now)
        [letter] = few.hub.dead_letters("product")
        assert (letter.attempts, letter.field) == (2, "description__c")
        for of in (None, run.id):
            made = difference(few.run(products()), of=of, hub=few.hub, stage=few.stage)
            assert made.tally.counts["mapped"] == 19
        assert bad not in held(few)

    def test_a_declaration_that_gets_it_no_more_maps_the_letter(self, few: Bench) -> None:
        bad, *_ = some(few, 1)
        few.simulator.faults.refuse(bad)
        few.sync(products())
        plain = replace(products(), source=quick(NAME), fields=FIELDS[:2])
        mend(few.run(plain), Wanted(), hub=few.hub, reach=few.reach(), clock=few.now)
        assert few.hub.letters.count("product", Selection()) == 0
        assert few.held(plain)[bad]["name"] == expected(few)[bad][0]


class TestKept:
    def test_a_changed_mapping_is_applied_to_what_was_got_with_no_call(self, few: Bench) -> None:
        few.sync(products())
        gets(few)
        shouting = products(fields=[*FIELDS[:2], Field("description__c", "text", convert=shout), FIELDS[3]])
        made = apply(few.run(shouting), of=None, hub=few.hub, stage=few.stage, reach=few.reach(), clock=few.now)
        assert made.tally.counts["mapped"] == 20
        assert gets(few) == 0
        assert {text for _, text, _ in held(few).values()} == {str(t).upper() for _, t, _ in expected(few).values()}

    def test_records_that_were_queried_without_it_are_left_out_and_the_field_is_named(self, few: Bench) -> None:
        few.sync(replace(products(), source=quick(NAME)))
        made = difference(few.run(products("description__c")), of=None, hub=few.hub, stage=few.stage)
        assert made.tally.unread == {"description__c (get)": 20}
        assert made.tally.counts["unread"] == 20

    def test_a_field_that_is_added_is_got_for_the_rows_that_lack_it(self, few: Bench) -> None:
        bad, changed, *_ = some(few, 2)
        few.sync(products("description__c", fields=FIELDS[:3]))
        gets(few)
        few.later()
        edit(few, changed, "new")
        few.simulator.faults.refuse(bad)
        made = fill(
            few.run(products()), ["pictures"],
            client=few.client(), hub=few.hub, reach=few.reach(), clock=few.now,
        )  # fmt: skip
        assert (made.delivered, made.newer, made.rejected) == (18, 1, 1)
        assert "could not be got" in made.reasons[0]
        assert gets(few) == 19
        wanted = {each: image for each, (_, _, image) in expected(few).items() if each not in (bad, changed)}
        assert {each: content["pictures"] for each, content in few.held(products()).items() if each in wanted} == wanted

    def test_a_field_of_queries_is_filled_without_getting_anything(self, few: Bench) -> None:
        few.sync(products())
        gets(few)
        more = products(fields=[*FIELDS, Field("unit")])
        made = fill(
            few.run(more), ["unit"], client=few.client(), hub=few.hub, reach=few.reach(), clock=few.now
        )  # fmt: skip
        assert (made.delivered, gets(few)) == (20, 0)

    def test_a_preview_shows_what_is_got_and_what_a_run_costs(self, few: Bench) -> None:
        made = preview(
            few.run(products()), manual(), rows=3, client=few.client(), hub=few.hub, sleep=lambda seconds: None
        )  # fmt: skip
        assert gets(few) == 3
        assert all(sample.rows[0].content["text"].startswith("<p>") for sample in made.samples)
        assert made.cost is not None
        assert made.cost.getting == 20
        assert made.cost.calls == made.cost.planning + made.cost.reading + made.cost.verifying + 20

    def test_what_changes_without_a_stamp_is_found_by_a_deep_reconcile(self, tmp_path: Path) -> None:
        knobs = quiet(only_get="computed", unstamped_change="formula")
        source = quick("SalesOrderObj", get_fields=["field_lines_sum__c"])
        order = Pipeline(
            name="order", source=source, fields=[Field("_id"), Field("field_lines_sum__c", "sum")], target=HubTarget()
        )
        with bench(tmp_path, knobs, SalesOrderObj=10, SalesOrderProductObj=40) as crm:
            crm.sync(order)
            line, record = next(iter(crm.simulator.tenant.records("SalesOrderProductObj").items()))
            crm.simulator.tenant.update("SalesOrderProductObj", line, {"subtotal": "123456.00"})
            crm.later()
            before = crm.held(order)[record["order_id"]]["sum"]
            assert crm.sync(order, manual(full=True)).delivered == 0
            plain = Survey.of(surveyed(crm, order)).calls
            assert Survey.of(surveyed(crm, order, deep=True)).calls == plain + 1 + 10, "it is told what that costs"
            assert reconciled(crm, order, deep=True).delivered == 1
            assert crm.held(order)[record["order_id"]]["sum"] != before


def shout(value: Any) -> str:
    return str(value).upper()


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["edit", "void", "refuse", "give", "sync", "die", "full", "other"]), st.integers(0, 7)),
    max_size=10,
)


@settings(max_examples=12)
@given(actions=ACTIONS)
def test_after_any_order_of_edits_refusals_runs_and_deaths_the_target_holds_what_the_crm_does(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]]
) -> None:
    with bench(tmp_path_factory.mktemp("bench"), ProductObj=8) as crm:
        ids = some(crm, 8)
        for at, (action, number) in enumerate(actions):
            act(crm, action, ids[number], at)
            crm.later()
        crm.simulator.faults.clear()
        crm.simulator.knobs.day_quota = 10_000_000
        report = crm.sync(products(), manual(full=True))
        assert report.dead_letters == 0
        assert held(crm) == expected(crm)
        assert crm.hub.letters.count("product", Selection()) == 0


def act(crm: Bench, action: str, record_id: str, at: int) -> None:
    normal = crm.simulator.tenant.records(NAME)[record_id]["life_status"] == "normal"
    if action == "edit" and normal:
        edit(crm, record_id, f"edit {at}")
    elif action == "void" and normal:
        crm.simulator.tenant.invalid(NAME, record_id)
    elif action == "refuse":
        crm.simulator.faults.refuse(record_id)
    elif action == "give":
        crm.simulator.faults.clear()
    elif action == "other":
        crm.sync(products("description__c", fields=[*FIELDS[:3], Field("unit", "pictures")]))
    elif action == "die":
        crm.simulator.knobs.day_quota = int(crm.simulator.limits.report()["calls_today"]) + 12
        with pytest.raises(QuotaError):
            crm.sync(products(), manual(full=True))
        crm.simulator.knobs.day_quota = 10_000_000
    elif action in ("sync", "full"):
        crm.sync(products(), manual(full=action == "full"))


class TestDeclared:
    @pytest.mark.parametrize(
        ("get_fields", "says"),
        [
            ("description__c", "get_fields='description__c': give a list of fields"),
            ((1,), "get_fields: 1: give the API name of a field"),
            (("a.b",), "get_fields: 'a.b': give the API name"),
            (("description__c", "description__c"), "'description__c' is there twice"),
            (("total_num",), "'total_num' is put into pages by Fenxiang"),
            (("life_status",), "'life_status' is what reading goes by"),
            (("barcode",), r"nothing reads 'barcode'.*map it, as in Field\('barcode'\), or take it out"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, get_fields: Any, says: str) -> None:
        with pytest.raises(DeclarationError, match=says):
            replace(products(), source=Source(object=NAME, get_fields=get_fields))

    def test_a_name_cannot_be_a_list_of_details_too(self) -> None:
        details = [Details("StockObj", by="product_id", into="image__c")]
        with pytest.raises(DeclarationError, match="'image__c' is a list of details too"):
            products(source={"details": details})

    def test_an_unknown_field_stops_the_run(self, few: Bench) -> None:
        one = products("descripton__c", fields=[Field("_id"), Field("descripton__c")])
        with pytest.raises(DeclarationError, match="'descripton__c' is none of its fields, did you mean 'description"):
            few.plan(few.run(one), manual())

    def test_companions_of_what_is_got_are_got_with_it(self) -> None:
        one = products("unit", fields=[Field("_id"), Field("unit", convert=label)])
        assert one.got == ("unit", "unit__r")
        assert "unit__r" not in one.asked
        assert products().got == ("description__c", "image__c")
        assert set(products().reads) - set(products().mapping.projection) == {
            "description__c (get)", "image__c (get)",
        }  # fmt: skip

    def test_it_decides_what_reaches_the_target_and_is_told_on_the_page(self) -> None:
        plain = replace(products(), source=quick(NAME))
        assert len({plain.config_hash, products().config_hash, products("image__c").config_hash}) == 3
        assert products().config_hash == products("image__c", "description__c").config_hash
        assert "**Gets** `description__c`, `image__c`, one call a record" in products().describe_markdown()
        assert "**Gets**" not in plain.describe_markdown()

    def test_its_calls_have_a_quota_of_their_own(self) -> None:
        cost, plain = estimate([30_000], products().source), estimate([30_000], quick(NAME))
        assert (cost.getting, plain.getting) == (30_000, 0)
        assert cost.paced == cost.planning + 30_000 + cost.verifying
