"""Rows that a record gives no more go to the delete policy, whatever order its versions are loaded in."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fenxiang_sync import Condition, DeletePolicy, Explode, Field, HubTarget, Logic
from fenxiang_sync.errors import TransientError, UnverifiedError
from fenxiang_sync.hub import Status
from fenxiang_sync.stage import DERIVED
from fenxiang_sync.steps import Run
from fenxiang_sync.targets.protocol import Answer, Delivery
from tests.hub_fixtures import DATABASES, hub_database, hub_file
from tests.orphans_fixtures import SHELVES, InShelf, Orders, Shelf, order, orders, pipeline

FEW = {"sqlite": 40, "postgresql": 20}
_names = itertools.count()


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Orders]:
    with orders(f"sqlite:///{hub_file(tmp_path)}", tmp_path) as made:
        yield made


def test_a_line_that_is_gone_is_flagged_and_the_others_stay(crm: Orders) -> None:
    assert crm.load(order(1, "a", "b", "c")) == {"delivered": 1}
    assert crm.load(order(2, "a", "c")) == {"delivered": 1, "removed": 1}
    assert crm.shelf.live == crm.held() == {"O1-a", "O1-c"}
    [told] = crm.shelf.removed
    assert (told.id, told.source_id, told.why, told.content["goods"]) == ("O1-b", "o1", "orphaned", "b of 1")


def test_a_load_of_a_run_that_was_cleaned_removes_nothing_though_its_records_are_kept(crm: Orders) -> None:
    run = crm.run([order(1, "a", "b")])
    crm.deliver(run)
    run.segment(1).remove(*DERIVED)
    with pytest.raises(UnverifiedError, match="is cleaned"):
        crm.deliver(run)
    assert crm.shelf.live == crm.held() == {"O1-a", "O1-b"}


def test_what_is_removed_is_told_in_the_life_of_its_record(crm: Orders) -> None:
    crm.load(order(1, "a", "b"))
    crm.shelf.answers.append(Answer(delivery=Delivery.REFUSED, reason="locked"))
    crm.load(order(2, "a"))
    crm.load(order(3, "a"))
    life = crm.hub.trace("lines", "o1")
    assert life is not None
    told = [(each.row_id, each.what, each.version, each.reason) for each in life.events if each.row_id == "O1-b"]
    assert told == [
        ("O1-b", "delivered", 1, ""),
        ("O1-b", "not_removed", 2, "locked"),
        ("O1-b", "removed", 3, "removed: its record gives it no more"),
    ]


@pytest.mark.parametrize("now", [order(2, "a", status="closed"), order(2), order(2, "a", num="much")])
def test_all_rows_go_where_the_record_is_filtered_or_rejected_now_and_come_back(crm: Orders, now: Any) -> None:
    crm.load(order(1, "a", "b"))
    assert crm.load(now)["removed"] == 2
    assert crm.shelf.live == crm.held() == set()
    assert crm.load(order(3, "a", "b"))["delivered"] == 1
    assert crm.shelf.live == crm.held() == {"O1-a", "O1-b"}


def test_a_row_is_taken_away_where_the_policy_says_so_and_stays_where_it_is_ignored(crm: Orders) -> None:
    for name, policy in (("deletes", DeletePolicy.DELETE), ("ignores", DeletePolicy.IGNORE)):
        made = pipeline(crm.pipeline.target.name, name=name, delete_policy=policy)  # type: ignore[attr-defined]
        crm.load(order(1, "a", "b"), pipeline=made)
        crm.load(order(2, "a"), pipeline=made)
        assert crm.shelf.rows.keys() == ({"O1-a"} if policy is DeletePolicy.DELETE else {"O1-a", "O1-b"})


def test_a_record_of_one_row_whose_key_changed_leaves_none_behind(crm: Orders) -> None:
    made = pipeline(crm.pipeline.target.name, explode=None, fields=[Field("name", "no")])  # type: ignore[attr-defined]
    crm.load(order(1) | {"name": "OLD"}, pipeline=made)
    assert crm.load(order(2) | {"name": "NEW"}, pipeline=made) == {"delivered": 1, "removed": 1}
    assert crm.shelf.live == {"NEW"}


def test_a_key_that_another_record_took_over_stays(crm: Orders) -> None:
    made = pipeline(crm.pipeline.target.name, explode=None, fields=[Field("name", "no")])  # type: ignore[attr-defined]
    crm.load(order(1, _id="o1") | {"name": "K"}, order(1, _id="o2") | {"name": "L"}, pipeline=made)
    swapped = [order(2, _id="o1") | {"name": "M"}, order(2, _id="o2") | {"name": "K"}]
    for records in (swapped, swapped[::-1]):
        crm.load(*records, pipeline=made)
        assert crm.shelf.live == {"K", "M"}


def test_a_changed_declaration_takes_away_what_the_same_version_gives_no_more_and_brings_it_back(crm: Orders) -> None:
    crm.load(order(1, "a", "b"))
    name = crm.pipeline.target.name  # type: ignore[attr-defined]
    only_a = pipeline(name, conditions=[[Condition("details_list.goods", Logic.LIKE, "a of")]])
    assert crm.load(order(1, "a", "b"), pipeline=only_a) == {"unchanged": 1, "removed": 1}
    assert crm.shelf.live == {"O1-a"}
    assert crm.load(order(1, "a", "b")) == {"delivered": 1}
    assert crm.shelf.live == {"O1-a", "O1-b"}


def test_an_older_version_that_is_loaded_late_neither_takes_nor_brings_anything(crm: Orders) -> None:
    crm.load(order(3, "b", "c"))
    assert crm.load(order(2, "a", "b")) == {"stale": 1}
    assert crm.load(order(1, "a")) == {"stale": 1}
    assert crm.shelf.live == {"O1-b", "O1-c"}
    assert crm.shelf.removed == []


def test_a_row_that_a_newer_version_removed_is_not_brought_back_by_an_older_one(crm: Orders) -> None:
    crm.load(order(1, "a", "b"))
    late = crm.run([order(2, "a", "b")])
    crm.load(order(3, "a"))
    assert crm.deliver(late)["stale"] == 1
    assert crm.shelf.live == {"O1-a"}


def test_a_newer_version_that_is_loaded_between_the_look_and_the_claim_of_an_older_one_wins(crm: Orders) -> None:
    class Between:
        """What a load asks after it has looked for newer versions and before it claims."""

        def note(self, *_: Any) -> list[Any]:
            crm.load(order(2, "b"))
            return []

    older = crm.run([order(1, "a", "b")])
    assert crm.deliver(older, watch=Between())["delivered"] == 1
    assert older.segment(1).load("orphans") == {"removed": 1, "not_removed": 0}
    assert crm.shelf.live == crm.held() == {"O1-b"}
    assert crm.shelf.rows["O1-b"].version == 2


def test_rows_that_a_try_removed_before_it_died_are_counted_by_the_next_one(crm: Orders) -> None:
    crm.load(order(1, "a", "b", "c", "d"))
    run = crm.run([order(2, "a")])
    batches = itertools.count(1)

    def die() -> None:
        if next(batches) == 3:  # the row is sent, two rows are removed
            raise DiedError

    crm.shelf.before = die
    with pytest.raises(DiedError):
        crm.deliver(run)
    crm.shelf.before = lambda: None
    crm.deliver(run)
    assert crm.shelf.live == crm.held() == {"O1-a"}
    assert run.segment(1).load("orphans") == {"removed": 3, "not_removed": 0}


def test_a_row_whose_sender_died_is_removed_when_its_claim_is_over(crm: Orders) -> None:
    def die() -> None:
        raise DiedError

    crm.shelf.after = die
    with pytest.raises(DiedError):
        crm.load(order(1, "a"))
    assert crm.shelf.live == {"O1-a"}, "it had arrived"
    crm.shelf.after = lambda: None
    before = crm.now
    assert crm.load(order(2, "b")) == {"delivered": 1, "removed": 1}
    assert crm.now - before > timedelta(minutes=10), "it waited for the claim to end"
    assert crm.shelf.live == crm.held() == {"O1-b"}
    [gone] = crm.hub.records("lines", ids=["O1-a"])
    assert (gone.status, gone.claim_until) == (Status.FINISHED, None)


def test_what_is_unchanged_is_looked_up_and_nothing_is_told_to_the_target(crm: Orders) -> None:
    crm.load(order(1, "a", "b"))
    crm.shelf.before = lambda: pytest.fail("nothing was to be sent")
    assert crm.load(order(1, "a", "b")) == {"unchanged": 1}


def test_a_dry_run_says_how_many_rows_would_go(crm: Orders) -> None:
    crm.load(order(1, "a", "b", "c"))
    assert crm.load(order(2, "a"), dry_run=True) == {"delivered": 1, "removed": 2}
    assert crm.shelf.live == {"O1-a", "O1-b", "O1-c"}
    assert crm.load(order(2, "a"))["removed"] == 2


def test_a_refused_removal_is_a_dead_letter_that_the_next_reading_closes(crm: Orders) -> None:
    crm.load(order(1, "a", "b"))
    crm.shelf.answers = [Answer(delivery=Delivery.REFUSED, reason="locked", code=7)]
    assert crm.load(order(2, "a")) == {"delivered": 1, "not_removed": 1}
    [letter] = crm.hub.dead_letters("lines")
    assert (letter.error, letter.record_id, letter.row_id, letter.code) == ("RemovalRefused", "o1", "O1-b", "7")
    assert "locked" in letter.reason
    assert crm.load(order(2, "a")) == {"unchanged": 1, "removed": 1}
    assert list(crm.hub.dead_letters("lines")) == []


@pytest.mark.parametrize("delivery", [Delivery.UNKNOWN, Delivery.AGAIN])
def test_a_removal_without_an_answer_is_done_again_by_the_next_try(crm: Orders, delivery: Delivery) -> None:
    crm.load(order(1, "a", "b", "c"))
    crm.shelf.answers = [Answer(delivery=Delivery.DELIVERED), Answer(delivery=delivery, retry_after=9.0)]
    run = crm.run([order(2, "a")])
    with pytest.raises(TransientError, match="1 of 2 rows that their records give no more") as raised:
        crm.deliver(run)
    assert raised.value.retry_after == 9.0
    assert crm.deliver(run)["delivered"] == 1
    assert run.segment(1).load("orphans") == {"removed": 2, "not_removed": 0}
    assert crm.shelf.live == {"O1-a"}


def test_the_letter_of_a_rejected_record_stays_open_when_its_rows_are_removed(crm: Orders) -> None:
    crm.load(order(1, "a"))
    assert crm.load(order(2, "a", num="much")) == {"dead_letter": 1, "removed": 1}
    [letter] = crm.hub.dead_letters("lines")
    assert letter.stage == "transform"


def test_nothing_is_removed_where_rows_and_records_of_a_segment_do_not_fit(crm: Orders) -> None:
    crm.load(order(1, "a"), order(1, "x", _id="o2"))
    run = crm.run([order(2, _id="o3"), order(2, "a"), order(2, "x", _id="o2")])
    run.segment(1).write_lines("records-00-00001", [order(2, _id="o3"), order(3, "a"), order(2, "x", _id="o2")])
    with pytest.raises(UnverifiedError, match="clear the transform task"):
        crm.deliver(run)
    assert crm.shelf.live == {"O1-a", "O2-x"}


def test_records_of_many_rows_are_counted_once_by_their_worst_row(crm: Orders) -> None:
    crm.load(order(1, "a", "b"))
    refused = crm.hub, crm.shelf.send
    crm.shelf.send = lambda rows: [  # type: ignore[method-assign]
        Answer(delivery=Delivery.REFUSED if row.id == "O1-c" else Delivery.DELIVERED) for row in rows
    ]
    assert crm.load(order(2, "a", "b", "c"), order(2, "z", _id="o2")) == {"delivered": 1, "dead_letter": 1}
    assert [letter.row_id for letter in refused[0].dead_letters("lines")] == ["O1-c"]


def test_rows_in_the_hub_itself_are_flagged_there(crm: Orders) -> None:
    made = pipeline("none", name="in_hub", target=HubTarget())
    crm.load(order(1, "a", "b"), pipeline=made)
    assert crm.load(order(2, "b"), pipeline=made) == {"delivered": 1, "removed": 1}
    gone = {record.id: record for record in crm.hub.records("in_hub") if record.removed_at}
    assert gone.keys() == {"O1-a"}
    assert "gives it no more" in gone["O1-a"].reason


class DiedError(Exception):
    """A worker that is killed."""


@dataclass(frozen=True)
class Load:
    """A load of one version of each record; in its batch number `at`, it dies or another one happens."""

    versions: tuple[int, int]
    at: int
    dies: bool
    meanwhile: tuple[int, int] | None


LINES = st.sets(st.sampled_from("abc"), max_size=3).map(sorted)
VERSION = st.tuples(LINES, st.sampled_from(["normal", "normal", "normal", "closed", "rejected"]))
VERSIONS = st.integers(0, 3)
BOTH = st.tuples(VERSIONS, VERSIONS)
LOADS = st.lists(st.builds(Load, BOTH, st.integers(1, 4), st.booleans(), st.none() | BOTH), min_size=1, max_size=5)


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("policy", [DeletePolicy.FLAG, DeletePolicy.DELETE])
def test_whatever_order_versions_are_loaded_in_the_target_ends_with_the_rows_of_the_newest(
    kind: str, policy: DeletePolicy
) -> None:
    with tempfile.TemporaryDirectory() as folder, hub_database(kind, Path(folder)) as url:  # noqa: SIM117
        with orders(url, Path(folder), delete_policy=policy) as crm:

            @settings(max_examples=FEW[kind], derandomize=True, phases=(Phase.explicit, Phase.generate, Phase.shrink))
            @given(histories=st.lists(st.lists(VERSION, min_size=4, max_size=4), min_size=2, max_size=2), loads=LOADS)
            def check(histories: list[list[tuple[list[str], str]]], loads: list[Load]) -> None:
                _check(crm, policy, histories, loads)

            check()


def _check(crm: Orders, policy: DeletePolicy, histories: Any, loads: list[Load]) -> None:  # noqa: C901 - one story
    name = f"p{next(_names)}"
    SHELVES[name] = shelf = Shelf()
    made = pipeline(name, name=name, delete_policy=policy, target=InShelf(name=name))
    again: list[Run] = []
    loaded: list[tuple[int, int]] = []

    def records(versions: tuple[int, int]) -> list[Any]:
        return [
            _record(f"o{at}", history, version)
            for at, (history, version) in enumerate(zip(histories, versions, strict=True))
        ]

    def deliver(run: Run, *, patient: bool) -> None:
        crm.patient = patient
        try:
            numbers = crm.deliver(run)
            assert sum(numbers.values()) == 2, "counted in records"
        except (DiedError, TransientError):
            again.append(run)  # as Airflow does

    for one in loads:
        run, batches = crm.run(records(one.versions), made), itertools.count(1)
        other = crm.run(records(one.meanwhile), made) if one.meanwhile else None

        def before(one: Load = one, other: Run | None = other, batches: Any = batches) -> None:
            if other is not None and next(batches) == one.at:
                shelf.before = shelf.after = lambda: None
                assert one.meanwhile is not None
                loaded.append(one.meanwhile)
                deliver(other, patient=False)
                crm.patient = True

        def after(one: Load = one, batches: Any = batches) -> None:
            if one.dies and next(batches) >= one.at:
                raise DiedError

        shelf.before, shelf.after = (before, lambda: None) if other else (lambda: None, after)
        loaded.append(one.versions)
        deliver(run, patient=True)
        shelf.before = shelf.after = lambda: None
    crm.now += timedelta(hours=1)
    while again:
        deliver(again.pop(0), patient=True)
    expected = set()
    for at, history in enumerate(histories):
        expected |= _given(f"o{at}", history[max(versions[at] for versions in loaded)])
    assert shelf.live == expected
    held = {each.id for each in crm.hub.records(name) if each.modified_ms is not None and each.removed_at is None}
    assert held == expected
    del SHELVES[name]


def _record(record_id: str, history: list[tuple[list[str], str]], version: int) -> Any:
    lines, status = history[version]
    num = "much" if status == "rejected" else 1
    return order(version + 1, *lines, _id=record_id, status=status, num=num)


def _given(record_id: str, version: tuple[list[str], str]) -> set[str]:
    lines, status = version
    return {f"{record_id.upper()}-{line}" for line in lines} if status == "normal" else set()


def test_numbers_instead_of_ids_give_lines_other_rows_when_one_is_inserted(crm: Orders) -> None:
    name = crm.pipeline.target.name  # type: ignore[attr-defined]
    made = pipeline(name, explode=Explode("details_list", key=None, first=0))
    crm.load(order(1, "a", "b"), pipeline=made)
    assert crm.shelf.live == {"O1-0", "O1-1"}
    crm.load(order(2, "b"), pipeline=made)
    assert {row_id: crm.shelf.rows[row_id].content["goods"] for row_id in crm.shelf.live} == {"O1-0": "b of 2"}
