"""A form of Kingdee through plan, extract, transform, load, verify and reconcile, over HTTP."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenxiang_sync import Condition, DeletePolicy, Field, Logic, decimal
from fenxiang_sync.errors import DeclarationError, QuestionError
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.steps import Asked, extract, load, transform
from fenxiang_sync.steps.fill import fill
from fenxiang_sync.steps.preview import preview
from tests.kingdee_fixtures import MATERIAL, STOCK, Erp, erp, material
from tests.reconcile_fixtures import reconciled
from tests.steps_fixtures import manual, scheduled


@pytest.fixture
def kingdee(tmp_path: Path) -> Iterator[Erp]:
    with erp(tmp_path, **{MATERIAL: 500, STOCK: 300}) as made:
        yield made


FULL = manual(full=True)
NEXT = manual()
"""Behind the last certified moment."""
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


def names(kingdee: Erp, pipeline: Pipeline) -> dict[str, Any]:
    return {key: content["name"] for key, content in kingdee.held(pipeline).items()}


def true_names(kingdee: Erp, form: str = MATERIAL) -> dict[str, Any]:
    return {key: bill.content["FName"] for key, bill in kingdee.truth(form).items()}


def numbers(kingdee: Erp, pipeline: Pipeline) -> set[str]:
    return {content["number"] for content in kingdee.held(pipeline).values()}


def test_every_document_is_read_delivered_and_certified(kingdee: Erp) -> None:
    report = kingdee.sync(material(), FULL)
    held = kingdee.held(material())
    assert (report.read, report.delivered, report.left) == (500, 500, 0)
    assert {key: (each["number"], each["name"], each["unit"]) for key, each in held.items()} == {
        key: (bill.number, bill.content["FName"], bill.content["FBaseUnitId"]["FNumber"])
        for key, bill in kingdee.truth().items()
    }
    assert report.certified == [report.window]
    assert report.window.until_ms % 1000 == 0


def test_the_next_run_reads_what_was_edited_and_nothing_else(kingdee: Erp) -> None:
    pipeline = material(source={"lookback": timedelta(0)})
    kingdee.sync(pipeline, FULL)
    kingdee.later(1)
    kingdee.kingdee.edit(MATERIAL, "MAT000007", {"FName": "改名"})
    kingdee.kingdee.edit(MATERIAL, "NEW1", {"FName": "新物料"})
    kingdee.later()
    report = kingdee.sync(pipeline, NEXT)
    assert (report.read, report.delivered) == (2, 2)
    assert names(kingdee, pipeline) == true_names(kingdee)
    kingdee.later()
    assert kingdee.sync(pipeline, NEXT).read == 0


def test_a_stamp_is_a_moment_here_and_not_a_local_time(kingdee: Erp) -> None:
    kingdee.sync(material(), FULL)
    stamps = {record.id: record.modified_ms for record in kingdee.hub.records("material")}
    assert stamps == {key: bill.modified_ms for key, bill in kingdee.truth().items()}


def test_a_run_of_many_segments_reads_each_document_once(kingdee: Erp) -> None:
    for place in range(200):
        kingdee.kingdee.edit(MATERIAL, f"MAT{place:06d}", {}, modified_ms=1_790_000_000_000)
    pipeline = material(source={"page_size": 20, "segment_records": 60})
    run = kingdee.run(pipeline)
    made = kingdee.plan(run, FULL)
    assert len(made.segments) >= 8
    assert any(not part.whole for segment in made.segments for part in segment.slices)
    kingdee.deliver(run, made)
    report = kingdee.verify(run)
    assert (report.read, report.delivered, report.repaired) == (500, 500, 0)


def test_a_killed_extract_goes_on_and_a_cleared_one_starts_anew(kingdee: Erp) -> None:
    pipeline = material(source={"page_size": 10})
    run = kingdee.run(pipeline)
    [segment] = kingdee.plan(run, FULL).segments
    asked = itertools.count()

    def die() -> None:
        if next(asked) == 25:
            kingdee.simulator.targets.knobs.kingdee_fields = {MATERIAL: ["FName"]}  # what was read is refused now

    kingdee.between_calls(die)
    with pytest.raises(Exception, match="不存在"):
        extract(run, segment, client=kingdee.client())
    kingdee.simulator.targets.knobs.kingdee_fields = {}
    before = len(kingdee.kingdee.queries)
    assert extract(run, segment, client=kingdee.client())["read"] == 500
    assert len(kingdee.kingdee.queries) - before < 45
    assert extract(run, segment, client=kingdee.client())["read"] == 500


def test_what_verify_misses_is_read_and_delivered_once_more(kingdee: Erp) -> None:
    pipeline = material()
    run = kingdee.run(pipeline)
    kingdee.deliver(run, kingdee.plan(run, FULL))
    kingdee.kingdee.edit(MATERIAL, "LATE", {"FName": "迟到"}, modified_ms=1_780_000_000_000)
    report = kingdee.verify(run)
    assert (report.read, report.repaired) == (501, 1)
    assert names(kingdee, pipeline) == true_names(kingdee)


def test_the_window_ends_a_settle_time_before_the_erps_clock_on_a_whole_second(kingdee: Erp) -> None:
    pipeline = material(source={"settle": timedelta(seconds=5)})
    before = kingdee.now()
    made = kingdee.plan(kingdee.run(pipeline), scheduled(NOVEMBER, before + timedelta(hours=1)))
    assert made.window.until_ms % 1000 == 0
    settled = made.window.until + timedelta(seconds=5)
    assert before - timedelta(seconds=2) <= settled <= kingdee.now(), "to the second, and a Date header has none less"


def test_a_field_that_the_form_lacks_stops_a_run_before_it_reads(kingdee: Erp) -> None:
    pipeline = material(fields=[Field("_id"), Field("FNane", "name")])
    with pytest.raises(DeclarationError, match="字段FNane不存在"):
        kingdee.plan(kingdee.run(pipeline), FULL)
    assert len(kingdee.kingdee.queries) == 0


def test_statuses_are_fields_and_conditions_as_any_other(kingdee: Erp) -> None:
    kingdee.kingdee.edit(MATERIAL, "DRAFT", {"FName": "草稿"})
    kingdee.kingdee.bills(MATERIAL)[0].forbidden = True
    kingdee.later()
    audited = material(
        fields=[Field("_id"), Field("FNumber", "number"), Field("FDocumentStatus", "status")],
        conditions=[[Condition("FDocumentStatus", Logic.EQ, "C"), Condition("FForbidStatus", Logic.EQ, "A")]],
    )
    report = kingdee.sync(audited, FULL)
    assert numbers(kingdee, audited) == {f"MAT{place:06d}" for place in range(1, 500)}
    assert report.filtered == 2


def test_a_form_with_texts_for_ids_goes_the_whole_way(kingdee: Erp) -> None:
    stock = material(
        name="stock",
        source={"form": STOCK, "id": "FID", "page_size": 50},
        fields=[
            Field("_id"), Field("FMaterialId.FNumber", "material"), Field("FBaseQty", "quantity", convert=decimal),
        ],
        number=None,
    )  # fmt: skip
    assert kingdee.sync(stock, FULL).delivered == 300
    held = kingdee.held(stock)
    assert {key: str(content["quantity"]) for key, content in held.items()} == {
        key: str(bill.content["FBaseQty"]) for key, bill in kingdee.truth(STOCK).items()
    }


def test_a_preview_maps_the_first_documents_and_does_not_guess_a_cost(kingdee: Erp) -> None:
    run = kingdee.run(material())
    found = preview(run, FULL, rows=3, client=kingdee.client(), hub=kingdee.hub, sleep=lambda _: None)
    assert [sample.outcome for sample in found.samples] == ["new"] * 3
    assert (found.cost, found.findings) == (None, [])
    with pytest.raises(DeclarationError, match="字段FNone不存在"):
        preview(
            kingdee.run(material(fields=[Field("_id"), Field("FNone", "x")])), FULL, rows=3, client=kingdee.client(),
            hub=kingdee.hub, sleep=lambda _: None,
        )  # fmt: skip


def test_a_new_field_is_brought_to_the_rows_that_lack_it(kingdee: Erp) -> None:
    kingdee.sync(material(), FULL)
    wider = material(fields=[*material().fields, Field("FMaterialGroup.FNumber", "group")])
    made = fill(
        kingdee.run(wider), ["group"], client=kingdee.client(), hub=kingdee.hub, reach=kingdee.reach(),
        clock=kingdee.now,
    )  # fmt: skip
    assert (made.lacking, made.delivered) == (500, 500)
    assert {key: content["group"] for key, content in kingdee.held(wider).items()} == {
        key: bill.content["FMaterialGroup"]["FNumber"] for key, bill in kingdee.truth().items()
    }


class TestReconcile:
    def test_where_nothing_differs_nothing_is_read_again(self, kingdee: Erp) -> None:
        kingdee.sync(material(), FULL)
        made = reconciled(kingdee, material())
        assert (made.compared, made.missing, made.stale, made.vanished, made.fetched) == (500, 0, 0, 0, 0)

    def test_what_came_late_is_found_and_delivered(self, kingdee: Erp) -> None:
        kingdee.sync(material(), FULL)
        kingdee.kingdee.edit(MATERIAL, "LATE", {"FName": "迟到"}, modified_ms=1_780_000_000_000)
        made = reconciled(kingdee, material())
        assert (made.missing, made.late, made.delivered) == (1, 1, 1)
        assert names(kingdee, material()) == true_names(kingdee)

    def test_rows_of_deleted_documents_go_to_the_delete_policy(self, kingdee: Erp) -> None:
        pipeline = material(delete_policy=DeletePolicy.DELETE)
        kingdee.sync(pipeline, FULL)
        for number in ("MAT000001", "MAT000002"):
            kingdee.kingdee.erase(MATERIAL, number)
        made = reconciled(kingdee, pipeline)
        assert (made.vanished, made.removed, made.left, made.hidden) == (2, 2, 0, 0)
        assert set(kingdee.held(pipeline)) == set(kingdee.truth())
        assert reconciled(kingdee, pipeline).vanished == 0

    def test_a_document_that_a_filter_does_not_pass_any_more_has_left(self, kingdee: Erp) -> None:
        pipeline = material(source={"where": "FForbidStatus = 'A'"}, delete_policy=DeletePolicy.DELETE)
        kingdee.sync(pipeline, FULL)
        kingdee.kingdee.bills(MATERIAL)[7].forbidden = True
        made = reconciled(kingdee, pipeline)
        assert (made.left, made.vanished, made.removed) == (1, 0, 1)

    def test_so_many_that_vanish_at_once_are_a_question(self, kingdee: Erp) -> None:
        kingdee.sync(material(), FULL)
        for place in range(400):
            kingdee.kingdee.erase(MATERIAL, f"MAT{place:06d}")
        with pytest.raises(QuestionError, match="400"):
            reconciled(kingdee, material())

    def test_where_the_form_shows_nothing_at_all_nothing_is_marked(self, kingdee: Erp) -> None:
        kingdee.sync(material(), FULL)
        kingdee.kingdee.truncate(MATERIAL)
        made = reconciled(kingdee, material(), confirmed=1000)
        assert (made.unclear, made.vanished, made.removed) == (500, 0, 0)

    def test_a_content_that_changed_without_a_stamp_is_found_by_the_deep_form(self, kingdee: Erp) -> None:
        kingdee.sync(material(), FULL)
        kingdee.kingdee.bills(MATERIAL)[3].content["FName"] = "无戳"
        assert reconciled(kingdee, material()).fetched == 0
        assert reconciled(kingdee, material(), deep=True).delivered == 1
        assert names(kingdee, material()) == true_names(kingdee)

    def test_many_documents_of_one_second_are_compared_as_well(self, kingdee: Erp) -> None:
        for place in range(400):
            kingdee.kingdee.edit(MATERIAL, f"MAT{place:06d}", {}, modified_ms=1_790_000_000_000)
        pipeline = material(source={"page_size": 20, "segment_records": 60})
        kingdee.sync(pipeline, FULL)
        kingdee.kingdee.erase(MATERIAL, "MAT000001")
        assert reconciled(kingdee, pipeline).vanished == 1


# Whatever people do meanwhile

EXAMPLES = itertools.count()
EDIT = st.integers(0, 14)
"""Which document is edited; from 10 on, one that is new."""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erp]:
    with erp(tmp_path_factory.mktemp("busy")) as made:
        yield made


@settings(max_examples=20, derandomize=True)
@given(
    before=st.lists(EDIT, max_size=12),
    rounds=st.lists(
        st.tuples(
            st.lists(st.none() | EDIT, max_size=30), st.floats(0, 1.5), st.booleans(), st.lists(EDIT, max_size=3)
        ),
        max_size=4,
    ),
)
def test_edits_in_any_order_between_calls_never_lose_a_document_after_a_later_run(
    busy: Erp, before: list[int], rounds: list[tuple[list[int | None], float, bool, list[int]]]
) -> None:
    example = next(EXAMPLES)
    form, versions = f"FORM{example}", itertools.count()
    exact: dict[str, Any] = {"lookback": timedelta(0), "settle": timedelta(seconds=1)}
    pipeline = material(
        name=f"m{example}",
        source={"form": form, "id": "FID", "page_size": 3, "segment_records": 5, **exact},
        fields=[Field("_id"), Field("FNumber", "number"), Field("FName", "name")],
    )

    def edit(which: int) -> None:
        number = f"N{which}" if which < 10 else f"NEW{next(versions)}"
        busy.kingdee.edit(form, number, {"FName": f"v{next(versions)}"})

    meanwhile: list[int | None] = []

    def work() -> None:
        if meanwhile and (which := meanwhile.pop()) is not None:
            edit(which)
            busy.later(0.3)

    busy.between_calls(work)
    for which in before:
        edit(which)
    for calls, pause, dies, after in rounds:
        meanwhile[:] = calls
        run = busy.run(pipeline)
        made = busy.plan(run, Asked(kind=NEXT.kind))
        if dies:  # some of its tasks are done, and nobody clears it
            for segment in made.segments[:1]:
                extract(run, segment, client=busy.client())
                transform(run, segment, hub=busy.hub)
                load(run, segment, hub=busy.hub, reach=busy.reach(), clock=busy.now)
        else:
            busy.deliver(run, made)
            busy.verify(run)
        busy.later(pause)
        for which in after:
            edit(which)
    meanwhile.clear()
    busy.later(5)
    busy.sync(pipeline, NEXT)
    assert names(busy, pipeline) == true_names(busy, form)
    assert reconciled(busy, pipeline).fetched == 0
