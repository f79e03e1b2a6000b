"""Every step that maps records does so with their details and with what they look up: preview, retransform, trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import Computed, Details, Field, HubTarget, Lines, Lookup, Pipeline, decimal, text
from fenxiang_sync.errors import QuestionError, UnverifiedError
from fenxiang_sync.steps import transform
from fenxiang_sync.steps.fill import fill
from fenxiang_sync.steps.preview import preview
from fenxiang_sync.steps.retransform import apply, difference
from fenxiang_sync.steps.tracing import trace
from tests.steps_fixtures import Bench, bench, manual, pipeline, quick

LINES = "SalesOrderProductObj"
CUSTOMER = pipeline("AccountObj", name="customer", fields=[Field("_id"), Field("name", "no", convert=text)])
FOUND = Lookup("customer", pipeline="customer", find="no", where={"_id": "account_id"}, default="?")


def with_no(name: Any, order: Any) -> str:
    return f"{name} {order}"


def orders(*more: Any, details: Details | None = None) -> Pipeline:
    """Orders with their lines and their customer's name; `more` are further fields of a line."""
    source = quick("SalesOrderObj", details=[details or Details(LINES, by="order_id")])
    lines = Lines(LINES, "lines", fields=[Field("_id", "id"), Field("quantity", "n", convert=decimal()), *more])
    said = Computed(with_no, "said", reads=["name", f"{LINES}.0._id"])
    fields = [Field("_id"), Field("name", "no", convert=text), FOUND, said, lines]
    return Pipeline(name="order", source=source, fields=fields, target=HubTarget())


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, AccountObj=4, ContactObj=3, SalesOrderObj=6, SalesOrderProductObj=15) as crm:
        crm.sync(CUSTOMER)
        yield crm


def previewed(crm: Bench, declared: Pipeline) -> Any:
    return preview(crm.run(declared), manual(full=True), rows=6, client=crm.client(), hub=crm.hub, sleep=lambda _: None)


def test_a_preview_shows_the_rows_that_a_run_delivers(crm: Bench) -> None:
    found = previewed(crm, orders())
    shown = {row.id: row.content for sample in found.samples for row in sample.rows}
    assert len(shown) == 6
    crm.sync(orders())
    assert shown == crm.held(orders())
    assert any(content["customer"] != "?" for content in shown.values())
    assert any(content["lines"] for content in shown.values())


def test_a_preview_tells_of_an_unknown_field_of_the_details(crm: Bench) -> None:
    found = previewed(crm, orders(Field("quantitty", "m")))
    assert [each.field for each in found.findings if each.serious] == ["quantitty"]


def test_a_changed_mapping_is_applied_to_kept_lines_and_looks_up_what_is_there_now(crm: Bench) -> None:
    """What is delivered is what reading everything again gives."""
    adds = Details(LINES, by="order_id", fields=["remark"])
    crm.sync(orders(details=adds))
    before = crm.held(orders())
    for record_id in list(crm.simulator.tenant.records("AccountObj")):
        crm.simulator.tenant.update("AccountObj", record_id, {"name": f"new {record_id}"})
    crm.later()
    crm.sync(CUSTOMER)
    changed = orders(Field("remark", "said"), details=adds)
    told = difference(crm.run(changed), of=None, hub=crm.hub, stage=crm.stage)
    assert (told.tally.counts["changed"], told.tally.counts["rejected"], told.tally.counts["unread"]) == (6, 0, 0)
    run = crm.run(changed)
    made = apply(run, of=None, hub=crm.hub, stage=crm.stage, reach=crm.reach(), clock=crm.now)
    assert (made.outcomes or {})["delivered"] == 6
    after = crm.held(changed)
    assert any(content["customer"].startswith("new ") for content in after.values())
    assert {key: len(content["lines"]) for key, content in after.items()} == {
        key: len(content["lines"]) for key, content in before.items()
    }
    crm.later()
    assert crm.sync(changed, manual(full=True)).delivered == 0


def test_lines_that_were_read_without_a_field_are_read_again_before_a_mapping_gets_them(crm: Bench) -> None:
    run = crm.run(orders(), "first")
    made = crm.plan(run, manual(full=True))
    crm.deliver(run, made)
    crm.verify(run)
    changed = orders(Field("remark", "said"))
    told = difference(crm.run(changed), of=None, hub=crm.hub, stage=crm.stage)
    assert (told.tally.counts["unread"], dict(told.tally.unread)) == (6, {f"{LINES}.remark": 6})
    with pytest.raises(UnverifiedError, match=rf"{LINES}\.remark was not asked for"):
        transform(crm.run(changed, "first"), made.segments[0], hub=crm.hub)


def test_a_trace_tells_what_was_looked_up_and_computed(crm: Bench) -> None:
    crm.sync(orders())
    for order_id, content in crm.held(orders()).items():
        found = trace(orders(), order_id, hub=crm.hub, stage=crm.stage)
        assert found is not None
        values = {each.to: each for each in found.values}
        assert {to: each.value for to, each in values.items()} == content
        assert all(each.value == each.held and not each.wrong for each in found.values)
        assert (values["customer"].source, values["said"].converter) == ("account_id", "computed by with_no")


def test_a_trace_tells_of_a_record_that_waits_for_what_it_looks_up(crm: Bench) -> None:
    required = Lookup("customer", pipeline="nobody", find="no", where={"_id": "account_id"}, required=True)
    waiting = pipeline("ContactObj", name="waiting", fields=[Field("_id"), required])
    crm.sync(waiting)
    record_id = next(iter(crm.simulator.tenant.records("ContactObj")), None)
    assert record_id is not None
    found = trace(waiting, record_id, hub=crm.hub, stage=crm.stage)
    assert found is not None
    assert "has no row for it yet" in found.becomes
    assert [each.to for each in found.values if "has no row for it yet" in each.wrong] == ["customer"]


def split_orders() -> Pipeline:
    """Orders with one line in a row, the other lines in further rows."""
    fields = [Field("_id"), Lines(LINES, "lines", fields=[Field("_id", "id")], most=1)]
    return Pipeline(name="order", source=orders().source, fields=fields, target=HubTarget())


def test_a_record_whose_lines_are_split_counts_once_and_a_part_that_is_gone_is_removed(crm: Bench) -> None:
    lines = crm.simulator.tenant.records(LINES)
    orders_there = crm.simulator.tenant.records("SalesOrderObj")
    by_order = {order: [each for each in lines if lines[each]["order_id"] == order] for order in orders_there}
    full = manual(full=True)
    told = crm.sync(split_orders(), full)
    assert (told.read, told.delivered, len(told.certified)) == (6, 6, 1)
    parts = sum(max(1, len(each)) for each in by_order.values())
    assert len(crm.held(split_orders())) == parts > 6
    assert crm.sync(split_orders(), full).unchanged == 6
    gone = next(each for each in by_order.values() if len(each) > 1)[-1]
    crm.simulator.tenant.invalid(LINES, gone)
    assert crm.sync(split_orders(), full).removed == 1
    assert sum(len(sample.rows) for sample in previewed(crm, split_orders()).samples) == parts - 1


def test_a_field_of_a_record_whose_lines_are_split_is_not_filled_alone(crm: Bench) -> None:
    with pytest.raises(QuestionError, match="makes several rows of a record"):
        fill(crm.run(split_orders()), ["lines"], client=crm.client(), hub=crm.hub, reach=crm.reach(), clock=crm.now)


def test_a_field_of_a_line_is_not_filled_alone(crm: Bench) -> None:
    fields = [*orders().fields, Field(f"{LINES}.0.quantity", "first")]
    declared = Pipeline(name="order", source=orders().source, fields=fields, target=HubTarget())
    with pytest.raises(QuestionError, match="'first' is read from details"):
        fill(crm.run(declared), ["first"], client=crm.client(), hub=crm.hub, reach=crm.reach(), clock=crm.now)
