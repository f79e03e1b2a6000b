"""A value from the rows of another pipeline (联查): found by keys, many at once; or the record waits for its parent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import (
    DeadLetters,
    DeletePolicy,
    Details,
    Explode,
    Field,
    Lines,
    Lookup,
    Pipeline,
    steps,
    text,
    wrapped,
)
from fenxiang_sync.errors import DeclarationError, ParentMissingError, RecordError, SetupError
from fenxiang_sync.hub import PARENT_MISSING, Hub, Ladder, Selection, Settled
from fenxiang_sync.lookup import Key, Question, Several
from fenxiang_sync.mapping import Mapping as Fields
from fenxiang_sync.rows import IdCheck, Outcome
from fenxiang_sync.steps.mend import Wanted, mend
from tests.hub_fixtures import DATABASES, NOW, hub_database, row
from tests.steps_fixtures import Bench, bench, pipeline

ENGINE = {"_id": "65aa", "last_modified_time": 1_790_000_001_456}


@pytest.fixture(params=DATABASES)
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with hub_database(request.param, tmp_path) as url, Hub.connect(url) as hub:
        yield hub


def deliver(hub: Hub, *rows: Any, outcome: Outcome = Outcome.DELIVERED, name: str = "customer") -> None:
    hub.claim(name, rows, run="r", id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, now=NOW)
    if outcome is Outcome.IN_DOUBT:
        hub.sending(name, rows, run="r", lease_s=60, now=NOW, upserts=False)
    hub.settle(name, [Settled(row=each, outcome=outcome) for each in rows], run="r", now=NOW)


def ask(hub: Hub, find: str, where: Iterable[str], *keys: Key) -> Mapping[Key, Any]:
    return hub.look_up(Question("customer", find, tuple(where)), keys)


class TestTheHub:
    def test_rows_are_found_by_record_id_own_id_number_or_any_path(self, hub: Hub) -> None:
        deliver(hub, row("A", code="c1", address={"city": "北京"}), row("B", code="c2", address={"city": 'x"\\'}))
        for where, key in (
            ("_id", "source-A"), ("@id", "A"), ("@number", "number-A"), ("code", "c1"), ("address.city", "北京"),
        ):  # fmt: skip
            assert ask(hub, "code", [where], (key,), ("nobody",)) == {(key,): "c1"}
        assert ask(hub, "address.city", ["code"], ("c2",), ("c1",)) == {("c1",): "北京", ("c2",): 'x"\\'}
        assert ask(hub, "@id", ["address.city"], ('x"\\',)) == {('x"\\',): "B"}

    def test_all_keys_of_a_row_must_be_equal(self, hub: Hub) -> None:
        deliver(hub, row("A", org=1, code="x"), row("B", org=2, code="x"), row("C", org=2, code="y"))
        assert ask(hub, "@id", ["org", "code"], ("2", "x"), ("1", "y")) == {("2", "x"): "B"}
        assert ask(hub, "@id", ["@id", "code"], ("B", "x"), ("C", "x")) == {("B", "x"): "B"}

    def test_values_come_back_exactly_and_a_row_without_one_is_told_from_no_row(self, hub: Hub) -> None:
        deliver(hub, row("A", v=Decimal("10.50")), row("B", v={"FNumber": [1, True]}), row("C", v=None), row("D"))
        found = ask(hub, "v", ["@id"], *[(each,) for each in "ABCDE"])
        assert found == {("A",): Decimal("10.50"), ("B",): {"FNumber": [1, True]}, ("C",): None, ("D",): None}
        assert str(found[("A",)]) == "10.50"

    def test_a_number_and_its_text_are_one_key_and_nothing_else_is(self, hub: Hub) -> None:
        deliver(hub, row("A", code=7), row("B", code="07"), row("C", code=True), row("D", code=Decimal("7.5")))
        assert ask(hub, "@id", ["code"], ("7",), ("07",), ("true",), ("1",), ("7.5",)) == {("7",): "A", ("07",): "B"}

    def test_no_row_and_no_key_is_in_the_way_of_the_others(self, hub: Hub) -> None:
        odd = [row("a", no="1", name="a", note="x\0y"), row("b", no="2", name="b", note="\\u0000")]
        deliver(hub, *odd, row("c", no="--5", name="c"))
        hub.told.store("customer", {"a": {"Number": "ERP\0"}, "c": {"Number": "ERP"}}, NOW)
        keys = [("1",), ("2",), ("--5",), ("9" * 5_000,), ("-0",), ("²",)]
        assert ask(hub, "name", ["no"], *keys) == {("1",): "a", ("2",): "b", ("--5",): "c"}
        assert ask(hub, "note", ["@id"], ("a",), ("b",)) == {("a",): "x\0y", ("b",): "\\u0000"}
        assert ask(hub, "@told.Number", ["@id", "no"], ("a", "1"), ("c", "--5"), ("b", "1")) == {
            ("a", "1"): "ERP\N{REPLACEMENT CHARACTER}",
            ("c", "--5"): "ERP",
        }
        assert ask(hub, "gone.deeper", ["_id", "no"], ("source-a", "1")) == {("source-a", "1"): None}

    def test_rows_that_differ_are_no_answer_and_rows_that_agree_are_one(self, hub: Hub) -> None:
        deliver(hub, row("A", code="c", v=1), row("B", code="c", v=1), row("C", code="d", v=1), row("D", code="d", v=2))
        found = ask(hub, "v", ["code"], ("c",), ("d",))
        assert found[("c",)] == 1
        assert isinstance(found[("d",)], Several)

    def test_only_rows_that_the_target_holds_count(self, hub: Hub) -> None:
        deliver(hub, row("A", code="c"))
        deliver(hub, row("B", code="c"), outcome=Outcome.DEAD_LETTER)
        deliver(hub, row("C", code="c"), outcome=Outcome.IN_DOUBT)
        deliver(hub, row("D", code="c"), name="other")
        assert ask(hub, "@id", ["code"], ("c",)) == {("c",): "A"}
        assert ask(hub, "@id", ["@id"], ("B",), ("C",), ("D",)) == {}

    def test_what_the_target_told_of_a_row_is_found_and_is_a_key(self, hub: Hub) -> None:
        rows = [row("A", code="c1"), row("B", code="c2"), row("C", code="c3")]
        hub.claim("customer", rows, run="r", id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, now=NOW)
        told = [{"Id": 7, "Number": 'x"\\'}, {"Id": 8}, {}]
        settled = [
            Settled(row=each, outcome=Outcome.DELIVERED, told=said) for each, said in zip(rows, told, strict=True)
        ]
        hub.settle("customer", settled, run="r", now=NOW)
        assert ask(hub, "@told.Number", ["_id"], *((f"source-{each}",) for each in "ABC")) == {
            ("source-A",): 'x"\\', ("source-B",): None, ("source-C",): None,
        }  # fmt: skip
        assert ask(hub, "@told.Id", ["code"], ("c2",)) == {("c2",): 8}
        assert ask(hub, "code", ["@told.Id"], ("7",), ("9",)) == {("7",): "c1"}

    def test_no_key_is_text_of_a_statement(self, hub: Hub) -> None:
        deliver(hub, row("A'--", **{"a'b": "x' OR 1=1 --"}))
        assert ask(hub, "@id", ["a'b"], ("x' OR 1=1 --",), ("' OR ''='",)) == {("x' OR 1=1 --",): "A'--"}


class Asked:
    """A finder with rows of its own, that keeps what it was asked."""

    def __init__(self, **rows: Any) -> None:
        self.rows = rows
        self.asked: list[tuple[Question, list[Key]]] = []

    def look_up(self, question: Question, keys: Iterable[Key]) -> Mapping[Key, Any]:
        self.asked.append((question, list(keys)))
        return {key: self.rows[key[0]] for key in keys if key[0] in self.rows}


def customer(**words: Any) -> Lookup:
    given = {"pipeline": "customer", "find": "no", "where": {"_id": "account_id"}}
    return Lookup("FCustId", **{**given, **words})


def contents(entries: list[Any], finder: Asked, *records: dict[str, Any], **words: Any) -> list[Any]:
    given = [{**ENGINE, **record} for record in records]
    known = Fields([Field("_id", "id"), *entries], **words).knowing(finder, given)
    return [row.content for record in given for row in known.rows(record)]


class TestTheMapping:
    def test_a_batch_is_asked_for_at_once_and_each_key_once(self) -> None:
        finder = Asked(a="K1", b="K2")
        records = [{"account_id": each} for each in ("a", "b", "a", "c", None)]
        found = contents([customer(convert=wrapped("FNumber"))], finder, *records)
        assert [each["FCustId"] for each in found] == [
            {"FNumber": "K1"}, {"FNumber": "K2"}, {"FNumber": "K1"}, None, None,
        ]  # fmt: skip
        assert finder.asked == [(Question("customer", "no", ("_id",)), [("a",), ("b",), ("c",)])]

    def test_it_is_asked_for_each_line_of_a_list(self) -> None:
        material = Lookup("FMaterialId", pipeline="product", find="no", where={"_id": "product_id"}, required=True)
        finder = Asked(p="M1", q="M2")
        lines = [{"product_id": "p"}, {"product_id": "q"}]
        (made,) = contents([Lines("lines", "FEntry", fields=[material])], finder, {"lines": lines})
        assert made["FEntry"] == [{"FMaterialId": "M1"}, {"FMaterialId": "M2"}]
        with pytest.raises(ParentMissingError, match="line 2: FMaterialId ← product_id"):
            contents([Lines("lines", "FEntry", fields=[material])], Asked(p="M1"), {"lines": lines})

    def test_it_may_be_asked_by_the_header_and_the_line_of_an_exploded_record(self) -> None:
        price = Lookup("price", pipeline="price", find="p", where={"product": "lines.product_id", "book": "book_id"})
        finder = Asked(p=1, q=2)
        record = {"book_id": "b", "lines": [{"_id": "1", "product_id": "p"}, {"_id": "2", "product_id": "q"}]}
        found = contents([price], finder, record, explode=Explode("lines"))
        assert [each["price"] for each in found] == [1, 2]
        assert finder.asked[0][1] == [("p", "b"), ("q", "b")]

    def test_a_default_stands_in_for_what_was_not_found(self) -> None:
        assert contents([customer(default="-")], Asked(), {"account_id": "a"})[0]["FCustId"] == "-"

    @pytest.mark.parametrize("rows", [{}, {"a": None}])
    def test_a_record_waits_for_the_parent_that_it_requires(self, rows: dict[str, Any]) -> None:
        with pytest.raises(ParentMissingError, match=r"FCustId ← account_id: pipeline 'customer' has .*'a'") as caught:
            contents([customer(required=True)], Asked(**rows), {"account_id": "a"})
        assert caught.value.field == "account_id"

    def test_a_record_that_does_not_fit_for_another_reason_as_well_does_not_wait(self) -> None:
        with pytest.raises(RecordError) as caught:
            contents([customer(required=True), Field("n", required=True)], Asked(), {"account_id": "a"})
        assert not isinstance(caught.value, ParentMissingError)

    def test_a_record_without_a_key_has_nothing_to_wait_for(self) -> None:
        with pytest.raises(RecordError, match="no value to look up pipeline 'customer' with") as caught:
            contents([customer(required=True)], Asked(), {})
        assert not isinstance(caught.value, ParentMissingError)

    def test_rows_that_differ_and_keys_that_are_none_reject_the_record(self) -> None:
        with pytest.raises(RecordError, match="has rows with 1 and 2 for it; narrow it down"):
            contents([customer()], Asked(a=Several((1, 2))), {"account_id": "a"})
        with pytest.raises(RecordError, match="list is nothing to look up"):
            contents([customer()], Asked(), {"account_id": ["a"]})
        with pytest.raises(RecordError, match="text with a NUL is in no row"):
            contents([customer()], Asked(), {"account_id": "a\0"})

    def test_a_mapping_that_was_not_told_says_so_instead_of_finding_nothing(self) -> None:
        with pytest.raises(RecordError, match="was not asked for"):
            Fields([Field("_id"), customer()]).row({**ENGINE, "account_id": "a"})

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            ({"pipeline": ""}, "give the name of the pipeline"),
            ({"where": {}}, "say what of the row equals"),
            ({"where": {"_id": "客户"}}, "labels are no names"),
            ({"where": {"@nummer": "a"}}, "'_id', '@id', '@number' and '@told.' with a name"),
            ({"find": "@told."}, "'@told.' with a name"),
            ({"find": 'a"b'}, "cannot be looked up"),
            ({"required": True, "default": 1}, "keep one"),
            ({"convert": "text"}, "give the converter itself"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, words: dict[str, Any], says: str) -> None:
        with pytest.raises(DeclarationError, match=says):
            Fields([Field("_id"), customer(**words)])


class TestWaiting:
    """Contacts of accounts that may come later, against a CRM and a hub."""

    CUSTOMER = pipeline("AccountObj", name="customer", fields=[Field("_id"), Field("name", "no", convert=text)])

    @staticmethod
    def contacts(*, find: str = "no", **words: Any) -> Pipeline:
        looked_up = Lookup("customer", pipeline="customer", find=find, where={"_id": "account_id"}, required=True)
        return pipeline("ContactObj", name="contact", fields=[Field("_id"), looked_up], **words)

    @pytest.fixture
    def crm(self, tmp_path: Path) -> Iterator[Bench]:
        with bench(tmp_path, AccountObj=5, ContactObj=8) as crm:
            yield crm

    def test_records_wait_for_their_parents_and_go_on_with_the_next_run(self, crm: Bench) -> None:
        contacts = self.contacts()
        first = crm.sync(contacts)
        assert (first.read, first.delivered, first.dead_letters) == (8, 0, 8)
        letters = list(crm.hub.dead_letters("contact"))
        assert {(each.stage, each.error, each.field) for each in letters} == {
            ("transform", PARENT_MISSING, "account_id")
        }
        crm.later()
        assert crm.sync(contacts).open_letters == 8
        crm.sync(self.CUSTOMER)
        crm.later()
        report = crm.sync(contacts)
        assert (report.read, report.open_letters) == (0, 0)
        names = {each.id: each.content["no"] for each in crm.hub.records("customer") if each.content}
        records = crm.simulator.tenant.records("ContactObj")
        assert {each: made["customer"] for each, made in crm.held(contacts).items()} == {
            each: names[record["account_id"]] for each, record in records.items()
        }

    def test_a_parent_that_was_delivered_and_of_which_nothing_was_told_yet_is_not_there_yet(self, crm: Bench) -> None:
        contacts = self.contacts(find="@told.Number")
        crm.sync(self.CUSTOMER)
        crm.sync(contacts)
        letters = list(crm.hub.dead_letters("contact"))
        assert {each.error for each in letters} == {PARENT_MISSING}
        assert all("has a row for it without '@told.Number'" in each.reason for each in letters)
        numbers = {each.id: f"ERP-{place}" for place, each in enumerate(crm.hub.records("customer"))}
        crm.hub.told.store("customer", {each: {"Number": number} for each, number in numbers.items()}, crm.now())
        crm.later()
        assert crm.sync(contacts).open_letters == 0
        records = crm.simulator.tenant.records("ContactObj")
        assert {each: made["customer"] for each, made in crm.held(contacts).items()} == {
            each: numbers[record["account_id"]] for each, record in records.items()
        }

    def test_the_replay_takes_them_by_the_clock_of_the_ladder(self, crm: Bench) -> None:
        contacts = self.contacts(dead_letters=DeadLetters(ladder=[timedelta(minutes=5)]))
        crm.sync(contacts)
        crm.sync(self.CUSTOMER)
        for minutes, delivered in ((1, 0), (5, 8)):
            crm.later(60 * minutes)
            run = crm.run(contacts)
            numbers = mend(run, Wanted(due=True), hub=crm.hub, reach=crm.reach(), clock=crm.now)
            assert (numbers["letters"], numbers["delivered"]) == (delivered, delivered)

    def test_a_reject_of_another_kind_is_not_due_by_the_clock(self, crm: Bench) -> None:
        contacts = self.contacts(number=None)
        crm.sync(contacts)
        due = Ladder(steps=[timedelta(0)], config_hash=contacts.config_hash, now=crm.now())
        assert crm.hub.letters.count("contact", Selection(due=due)) == 8
        wrong = pipeline("ContactObj", name="wrong", fields=[Field("_id"), Field("nothing__c", required=True)],
                         source={"check_fields": False})  # fmt: skip
        crm.sync(wrong)
        due = Ladder(steps=[timedelta(0)], config_hash=wrong.config_hash, now=crm.now())
        assert crm.hub.letters.count("wrong", Selection(due=due)) == 0

    def test_a_step_without_the_hub_fails_instead_of_rejecting_everything(self, crm: Bench) -> None:
        run = crm.run(self.contacts())
        crm.deliver(run, made := crm.plan(run, steps.Asked(kind=steps.Kind.MANUAL)))
        with pytest.raises(SetupError, match="this step has no hub"):
            steps.transform(run, made.segments[0])

    def test_rows_stay_while_their_record_waits_and_those_it_gives_no_more_go_when_it_goes_on(
        self, tmp_path: Path
    ) -> None:
        lines = "SalesOrderProductObj"
        fields = [
            Field("name", "no"),
            Lookup("item", pipeline="product", find="name", where={"_id": f"{lines}.product_id"}, required=True),
        ]
        order = pipeline(
            "SalesOrderObj", name="order", source={"details": [Details(lines, by="order_id")]}, fields=fields, key="no",
            explode=Explode(lines), delete_policy=DeletePolicy.DELETE,
        )  # fmt: skip
        product = pipeline("ProductObj", name="product", fields=[Field("_id"), Field("name")])
        with bench(tmp_path, SalesOrderObj=1, SalesOrderProductObj=3, ProductObj=3) as crm:
            tenant = crm.simulator.tenant
            first, second, _ = tenant.records(lines)
            crm.sync(product)
            assert crm.sync(order).dead_letters == 0
            before = crm.held(order)
            new = tenant.create("ProductObj", {"name": "new product", "product_status": "1"})
            tenant.update(lines, first, {"product_id": new})
            tenant.invalid(lines, second)
            crm.later()
            report = crm.sync(order)
            assert (report.dead_letters, report.removed) == (1, 0)
            assert crm.held(order) == before
            crm.sync(product)
            crm.later()
            assert crm.sync(order).open_letters == 0
            after = crm.held(order)
            assert sorted(set(before) - set(after)) == [each for each in before if each.endswith(second)]
            assert [made["item"] for each, made in after.items() if each.endswith(first)] == ["new product"]

    def test_what_was_looked_up_is_part_of_the_row_and_stays_as_it_was(self, crm: Bench) -> None:
        crm.sync(self.CUSTOMER)
        contacts = self.contacts()
        crm.sync(contacts)
        held = json.dumps(crm.held(contacts), sort_keys=True)
        for account in list(crm.simulator.tenant.records("AccountObj")):
            crm.simulator.tenant.update("AccountObj", account, {"name": f"new {account}"})
        crm.later()
        crm.sync(self.CUSTOMER)
        report = crm.sync(contacts)
        assert report.delivered == 0
        assert json.dumps(crm.held(contacts), sort_keys=True) == held
