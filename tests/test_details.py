"""Detail records are fetched for each record: all of them, whatever the server does, or the task fails."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import (
    Computed,
    DeletePolicy,
    Details,
    Explode,
    Field,
    Filter,
    HubTarget,
    Lines,
    Operator,
    Pipeline,
    Source,
    decimal,
    integer,
    text,
)
from fenxiang_sync.errors import DeclarationError, IncompleteError
from fenxiang_sync.source.details import fetch
from fenxiang_sync.steps import Asked, Kind, extract
from fenxiang_sync.steps.mend import Wanted, mend
from tests.source_fixtures import client_of, simulator
from tests.steps_fixtures import Bench, bench, manual, quick

LINES = "SalesOrderProductObj"
OF_ORDER = Details(LINES, by="order_id")
FIELDS = [
    Field("_id"),
    Field("name", "no", convert=text),
    Lines(LINES, "lines", fields=[Field("_id", "id"), Field("quantity", "n", convert=decimal())]),
]


def orders(*details: Details, **words: Any) -> Pipeline:
    source = quick("SalesOrderObj", details=details or (OF_ORDER,))
    return Pipeline(**{"name": "order", "source": source, "fields": FIELDS, "target": HubTarget(), **words})


def expected(crm: Any) -> dict[str, list[tuple[str, Decimal]]]:
    """The lines of each order by the simulator's own state."""
    tenant = crm.simulator.tenant
    headers = tenant.records("SalesOrderObj")
    found: dict[str, list[tuple[str, Decimal]]] = {each: [] for each in headers}
    for record_id, line in sorted(tenant.records(LINES).items()):
        if line["life_status"] != "invalid" or headers[line["order_id"]]["life_status"] == "invalid":
            found[line["order_id"]].append((record_id, Decimal(line["quantity"])))
    return found


def held(crm: Bench) -> dict[str, list[tuple[str, Decimal]]]:
    contents = crm.held(orders())
    return {each: [(line["id"], line["n"]) for line in made["lines"]] for each, made in contents.items()}


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, SalesOrderObj=30, SalesOrderProductObj=260) as crm:
        yield crm


class TestFetching:
    @pytest.mark.parametrize(
        "knobs",
        [
            {}, {"filter_after_limit": True}, {"id_order": "sort_shorter_first"}, {"id_order": "compare_shorter_first"},
            {"same_field_filters": "last"}, {"total_mode": "zero"},
        ],
        ids=lambda knobs: "-".join(map(str, next(iter(knobs.items()), ["plain"]))),
    )  # fmt: skip
    def test_every_line_of_every_header_comes_in_the_order_of_ids(self, knobs: dict[str, Any]) -> None:
        with simulator({"SalesOrderObj": 130, LINES: 700}, **knobs) as server:
            by_order: dict[str, list[str]] = defaultdict(list)
            for record_id, line in server.tenant.records(LINES).items():
                by_order[line["order_id"]].append(record_id)
            ids = list(server.tenant.records("SalesOrderObj"))
            found = fetch(client_of(server), LINES, [*ids, "nobody"], by="order_id", projection=["quantity"])
            assert {each: [line["_id"] for line in lines] for each, lines in found.items()} == {
                each: sorted(by_order[each]) for each in [*ids, "nobody"]
            }
            assert all("quantity" in line for lines in found.values() for line in lines)

    def test_headers_without_lines_do_not_make_it_walk_over_all_the_others(self) -> None:
        with simulator({"SalesOrderObj": 10, LINES: 3_000}) as server:
            client = client_of(server)
            assert fetch(client, LINES, ["nobody"], by="order_id", projection=[]) == {"nobody": []}
            assert client.calls.total() < 12

    def test_lines_of_others_are_refused_and_told_with_what_came(self) -> None:
        with simulator({"SalesOrderObj": 10, LINES: 50}, unknown_filter_field="ignore") as server:
            (order, *_) = server.tenant.records("SalesOrderObj")
            with pytest.raises(
                IncompleteError, match=r"by order__c, the server sent others.*Is order__c the reference"
            ):
                fetch(client_of(server), LINES, [order], by="order__c", projection=[])


class TestARun:
    def test_each_document_has_all_of_its_lines(self, crm: Bench) -> None:
        report = crm.sync(orders())
        assert report.delivered == 30
        assert held(crm) == expected(crm)

    def test_a_document_of_more_lines_than_a_row_takes_is_one_record_of_several_rows(self, crm: Bench) -> None:
        parts = orders(fields=[*FIELDS[:2], Lines(LINES, "lines", fields=[Field("_id", "id")], most=3)])
        lines = expected(crm)
        report = crm.sync(parts)
        assert (report.read, report.delivered) == (30, 30)
        made = crm.held(parts)
        assert len(made) == sum(max(1, -(-len(each) // 3)) for each in lines.values())
        assert {line["id"] for each in made.values() for line in each["lines"]} == {
            line for each in lines.values() for line, _ in each
        }
        order = max(lines, key=lambda each: len(lines[each]))
        crm.simulator.tenant.invalid(LINES, [line for line, _ in lines[order][1:]])
        crm.later()
        report = crm.sync(parts)
        assert (report.read, report.delivered, report.removed) == (1, 1, -(-len(lines[order]) // 3) - 1)

    def test_exploded_lines_may_be_details_too(self, crm: Bench) -> None:
        fields = [Field("name", "no"), Field(f"{LINES}.quantity", "n", convert=decimal())]
        lines = orders(fields=fields, key="no", explode=Explode(LINES))
        crm.sync(lines)
        assert len(crm.held(lines)) == sum(map(len, expected(crm).values()))

    def test_a_document_of_more_lines_than_a_row_may_have_is_one_record_in_every_number(self, crm: Bench) -> None:
        tenant = crm.simulator.tenant
        cut = Lines(LINES, "lines", fields=[Field("_id", "id")], most=3)
        one = orders(fields=[Field("_id"), cut], delete_policy=DeletePolicy.DELETE)
        dry = crm.sync(one, Asked(kind=Kind.MANUAL, full=True, dry_run=True))
        report = crm.sync(one)
        records = tenant.records("SalesOrderObj")
        assert (dry.delivered, report.delivered, report.read) == (len(records),) * 3
        longest = max(records, key=lambda each: len(expected(crm)[each]))
        for order, made in expected(crm).items():
            ids = [line for line, _ in made]
            rows = [order, *(f"{order}-{part}" for part in range(2, -(-len(ids) // 3) + 1))]
            assert [line["id"] for row in rows for line in crm.held(one)[row]["lines"]] == ids
        assert sum(each.startswith(longest) for each in crm.held(one)) > 2
        crm.later()
        for line, _ in expected(crm)[longest][3:]:
            tenant.invalid(LINES, line)
        tenant.update("SalesOrderObj", longest, {"name": "short"})
        crm.later()
        report = crm.sync(one)
        assert (report.removed > 0, report.read, report.delivered + report.unchanged) == (True, 1, 1)
        assert [each for each in crm.held(one) if each.startswith(longest)] == [longest]

    def test_voided_lines_are_left_out_and_filters_of_the_details_count(self, crm: Bench) -> None:
        lines = crm.simulator.tenant.records(LINES)
        voided = [each for each, line in lines.items() if line["life_status"] == "normal"][:20]
        crm.simulator.tenant.invalid(LINES, voided)
        crm.later()
        crm.sync(orders())
        assert held(crm) == expected(crm)
        few = orders(Details(LINES, by="order_id", filters=[Filter("quantity", Operator.GT, 100)]), name="few")
        crm.sync(few)
        quantities = [line["n"] for made in crm.held(few).values() for line in made["lines"]]
        assert quantities
        assert min(quantities) > 100

    def test_a_line_that_changes_alone_brings_its_document(self, crm: Bench) -> None:
        crm.sync(orders())
        line, record = next(iter(crm.simulator.tenant.records(LINES).items()))
        stamp = crm.simulator.tenant.records("SalesOrderObj")[record["order_id"]]["last_modified_time"]
        crm.later(3600)
        crm.simulator.tenant.update(LINES, line, {"quantity": "999.00"})
        assert crm.simulator.tenant.records("SalesOrderObj")[record["order_id"]]["last_modified_time"] == stamp
        crm.later()
        report = crm.sync(orders())
        assert (report.read, report.delivered, report.repaired) == (1, 1, 0)
        assert (line, Decimal(999)) in held(crm)[record["order_id"]]
        assert held(crm) == expected(crm)
        crm.later()
        assert crm.sync(orders()).delivered == 0

    def test_a_line_that_fits_the_filters_no_more_is_taken_out_of_its_document(self, crm: Bench) -> None:
        few = orders(Details(LINES, by="order_id", filters=[Filter("quantity", Operator.GT, 0)]))
        crm.sync(few)
        line, record = next(iter(crm.simulator.tenant.records(LINES).items()))
        crm.later(3600)
        crm.simulator.tenant.update(LINES, line, {"quantity": "0.00"})
        crm.later()
        assert crm.sync(few).delivered == 1
        assert line not in [each["id"] for each in crm.held(few)[record["order_id"]]["lines"]]

    @pytest.mark.parametrize("keep", [True, False], ids=["kept", "not kept"])
    @pytest.mark.parametrize("edited", ["neither", "new", "former"])
    def test_a_line_that_moves_is_in_its_new_document_alone(self, crm: Bench, edited: str, keep: bool) -> None:
        made = orders(keep_records=keep)
        crm.sync(made)
        tenant = crm.simulator.tenant
        line, former, new = self._of_two(crm)
        crm.later(3600)
        tenant.update(LINES, line, {"order_id": new})
        if edited != "neither":
            tenant.update("SalesOrderObj", new if edited == "new" else former, {"remark": "x"})
        crm.later()
        assert crm.sync(made).delivered == 2
        assert held(crm) == expected(crm)

    def test_what_an_earlier_declaration_kept_under_the_name_of_the_list_is_not_in_the_way(self, crm: Bench) -> None:
        plain = orders(source=quick("SalesOrderObj"), fields=[Field("_id"), Field("owner")])
        crm.sync(plain)
        listed = Details(LINES, by="order_id", into="owner")
        fields = [
            *FIELDS[:2],
            Lines("owner", "lines", fields=[Field("_id", "id"), Field("quantity", "n", convert=decimal())]),
        ]
        line, _, new = self._of_two(crm)
        crm.later(3600)
        crm.simulator.tenant.update(LINES, line, {"order_id": new})
        crm.later()
        declared = orders(listed, fields=fields)
        crm.sync(declared)
        crm.sync(declared, manual(full=True))
        assert held(crm) == expected(crm)

    @pytest.mark.parametrize("older", [True, False], ids=["to an older header", "to a newer header"])
    def test_a_row_that_is_told_by_the_line_alone_goes_with_it(self, crm: Bench, older: bool) -> None:
        fields = [Field("name", "no"), Field(f"{LINES}._id", "line")]
        lines = orders(fields=fields, key="line", explode=Explode(LINES))
        crm.sync(lines)
        tenant = crm.simulator.tenant
        line, _, new = self._of_two(crm, older=older)
        crm.later(3600)
        tenant.update(LINES, line, {"order_id": new})
        crm.later()
        crm.sync(lines)
        assert crm.held(lines)[line]["no"] == tenant.records("SalesOrderObj")[new]["name"]
        assert crm.held(lines).keys() == {each for made in expected(crm).values() for each, _ in made}

    def _of_two(self, crm: Bench, *, older: bool = True) -> tuple[str, str, str]:
        """A line, its order, and another one that was edited before it, or after it."""
        orders = crm.simulator.tenant.records("SalesOrderObj")
        normal = (line for line in crm.simulator.tenant.records(LINES).values() if line["life_status"] == "normal")
        stamps = {each: record["last_modified_time"] for each, record in orders.items()}
        pairs = ((line, each) for line in normal for each in orders if each != line["order_id"])
        line, new = next(
            (line, each)
            for line, each in pairs
            if (stamps[each] < stamps[line["order_id"]]) is older and orders[each]["life_status"] == "normal"
        )
        return line["_id"], line["order_id"], new

    def test_without_watch_it_waits_for_the_document_itself(self, crm: Bench) -> None:
        calm = orders(Details(LINES, by="order_id", watch=False))
        crm.sync(calm)
        line, record = next(iter(crm.simulator.tenant.records(LINES).items()))
        crm.later(3600)
        crm.simulator.tenant.update(LINES, line, {"quantity": "999.00"})
        crm.later()
        assert crm.sync(calm).read == 0
        crm.simulator.tenant.update("SalesOrderObj", record["order_id"], {"remark": "x"})
        crm.later()
        assert crm.sync(calm).delivered == 1
        assert held(crm) == expected(crm)

    def test_lines_that_cannot_be_read_fail_the_task_and_no_document_goes_without(self, crm: Bench) -> None:
        crm.simulator.knobs.set({"unknown_filter_field": "ignore"})
        source = quick("SalesOrderObj", details=[Details(LINES, by="order__c")], check_fields=False)
        run = crm.run(orders(source=source))
        made = crm.plan(run, Asked(kind=Kind.MANUAL))
        with pytest.raises(IncompleteError, match="nothing is left out"):
            extract(run, made.segments[0], client=crm.client())
        assert not run.segment(1).names("records-")

    def test_an_unknown_field_of_a_filter_of_the_details_stops_the_run(self, crm: Bench) -> None:
        crm.simulator.knobs.set({"unknown_filter_field": "ignore"})
        few = orders(Details(LINES, by="order_id", filters=[Filter("quantitty", Operator.GT, 100)]))
        with pytest.raises(DeclarationError, match="'quantitty' is none of the fields of SalesOrderProductObj"):
            crm.plan(crm.run(few), Asked(kind=Kind.MANUAL))

    def test_an_unknown_field_of_the_details_stops_the_run(self, crm: Bench) -> None:
        fields = [Field("_id"), Lines(LINES, fields=[Field("quantitty", "n")])]
        with pytest.raises(
            DeclarationError, match="'quantitty' is none of the fields of SalesOrderProductObj, did you"
        ):
            crm.plan(crm.run(orders(fields=fields)), Asked(kind=Kind.MANUAL))


@pytest.mark.parametrize(
    ("details", "says"),
    [
        ("lines", "is no Details"),
        (Details("订单产品", by="order_id"), "give an API name"),
        (Details(LINES, by=""), "by=''"),
        (Details(LINES, by="order_id", into="a.b"), "into='a.b'"),
        (Details(LINES, by="order_id", fields="name"), "list API names"),
        (Details(LINES, by="order_id", into="others"), "nothing reads the list 'others'"),
        (Details(LINES, by="order_id", into="name"), "is a field of the record itself"),
        (Details(LINES, by="order_id", filters=["x"]), "is no Filter"),  # type: ignore[list-item]
    ],
)
def test_what_cannot_be_meant_is_refused(details: Any, says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        Pipeline(name="o", source=Source(object="SalesOrderObj", details=[details]), fields=FIELDS, target=HubTarget())


def count(lines: Any) -> int:
    return len(lines or [])


@pytest.mark.parametrize("reader", [Field(LINES, "lines"), Computed(count, "lines", reads=[LINES])])
def test_a_list_that_is_read_as_a_whole_is_refused_unless_its_fields_are_named(reader: Any) -> None:
    with pytest.raises(DeclarationError, match=f"reads the list '{LINES}' as a whole, and no field of its lines"):
        orders(fields=[Field("_id"), reader])
    named = Details(LINES, by="order_id", fields=["remark"])
    assert "remark" in orders(named, fields=[Field("_id"), reader]).asked_of(named)
    lines = Lines(LINES, "own", fields=[Field("quantity", "n")])
    assert orders(fields=[Field("_id"), reader, lines]), "something asks for a field of the lines"


def test_two_lists_of_one_name_are_refused_and_the_page_tells_of_details() -> None:
    with pytest.raises(DeclarationError, match="is there twice"):
        orders(OF_ORDER, OF_ORDER)
    assert f"**Details** (从对象) `{LINES}` by `order_id`" in orders().describe_markdown()
    assert orders().config_hash != orders(Details(LINES, by="order_id", fields=["remark"])).config_hash
    assert LINES not in orders().asked
    assert set(orders().asked_of(OF_ORDER)) >= {"_id", "order_id", "quantity", "life_status"}


def test_a_letter_whose_lines_were_read_without_a_field_is_not_mapped_by_a_declaration_that_reads_it(
    crm: Bench,
) -> None:
    def wrong(*more: Field) -> Pipeline:
        lines = Lines(LINES, "lines", fields=[Field("quantity", "n", convert=integer), *more])
        return orders(fields=[Field("_id"), lines])

    crm.simulator.tenant.update(LINES, next(iter(crm.simulator.tenant.records(LINES))), {"quantity": "1.50"})
    crm.later()
    assert crm.sync(wrong()).dead_letters == 1
    changed = wrong(Field("remark"))
    mend(crm.run(changed), Wanted(), hub=crm.hub, reach=crm.reach(), clock=crm.now)
    [letter] = crm.hub.dead_letters("order")
    assert f"the record was read without {LINES}.remark" in letter.reason
