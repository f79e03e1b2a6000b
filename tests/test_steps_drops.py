"""Too many records whose rows are to be deleted at once are a question; nothing is deleted before it is answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync import Condition, DeletePolicy, Field, HubTarget, Logic, Reconcile
from fenxiang_sync.errors import QuestionError
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.steps import Segment, extract, load, transform
from fenxiang_sync.steps.retransform import apply
from fenxiang_sync.window import Window
from tests.hub_fixtures import hub_file
from tests.orphans_fixtures import order, orders
from tests.orphans_fixtures import pipeline as lines
from tests.steps_fixtures import Bench, bench, manual, quick

NAME = "ContactObj"


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, **{NAME: 200, "AccountObj": 0}) as made:
        yield made


def contacts(*, gender: str | None = None, segment_records: int = 40_000, **words: Any) -> Pipeline:
    """All contacts, or those that `gender` leaves."""
    given: dict[str, Any] = {
        "name": "contact",
        "source": quick(NAME, segment_records=segment_records, page_size=min(segment_records, 100)),
        "fields": [Field("_id"), Field("name"), Field("gender")],
        "conditions": [[Condition("gender", Logic.EQ, gender)]] if gender else [],
        "target": HubTarget(),
        "delete_policy": DeletePolicy.DELETE,
    }
    return Pipeline(**(given | words))


def test_a_condition_that_would_delete_many_is_a_question_and_goes_on_when_it_is_answered(crm: Bench) -> None:
    crm.sync(contacts(), manual(full=True))
    before = crm.held(contacts())
    dropped = sum(1 for each in before.values() if each["gender"] != "1")
    assert dropped > 10
    with pytest.raises(QuestionError, match=rf"rows of {dropped} of 200 records .* up to 10 go unasked") as asked:
        crm.sync(contacts(gender="1"), manual(full=True))
    assert f"confirm_drops={dropped}" in str(asked.value)
    assert crm.held(contacts()) == before, "nothing is deleted"
    with pytest.raises(QuestionError):
        crm.sync(contacts(gender="1"), manual(full=True, confirmed=dropped - 1))
    assert crm.sync(contacts(gender="1"), manual(full=True, confirmed=dropped)).removed == dropped
    assert crm.held(contacts()) == {key: each for key, each in before.items() if each["gender"] == "1"}


def test_a_dry_run_tells_how_many_would_go_and_asks_nobody(crm: Bench) -> None:
    crm.sync(contacts(), manual(full=True))
    report = crm.sync(contacts(gender="1"), manual(full=True, dry_run=True))
    assert report.removed == sum(1 for each in crm.held(contacts()).values() if each["gender"] != "1")


def test_few_go_unasked_and_flagged_rows_are_nobodys_question(crm: Bench) -> None:
    crm.sync(contacts(), manual(full=True))
    for record_id in list(crm.held(contacts()))[:5]:
        crm.simulator.tenant.update(NAME, record_id, {"gender": "2"})
    crm.later()
    women = [[Condition("gender", Logic.EQ, "1"), Condition("name", Logic.NOTNULL)]]
    few = contacts(conditions=[*women, [Condition("gender", Logic.EQ, "2")]])
    assert crm.sync(few).removed == 0
    flags = contacts(gender="1", delete_policy=DeletePolicy.FLAG)
    assert crm.sync(flags, manual(full=True)).removed > 10


def test_the_segments_of_a_run_are_counted_together(tmp_path: Path) -> None:
    """Each takes few: it is the run that takes many."""
    with orders(f"sqlite:///{hub_file(tmp_path)}", tmp_path) as office:
        words: dict[str, Any] = {"delete_policy": DeletePolicy.DELETE, "reconcile": Reconcile(most_vanished=2)}
        made = lines(office.pipeline.target.name, **words)  # type: ignore[attr-defined]
        office.load(*(order(1, "a", "b", _id=f"o{n}") for n in range(4)), pipeline=made)
        run = office.run([order(2, "a", "b", _id=f"o{n}", status="closed") for n in (0, 1)], made)
        assert office.deliver(run)["filtered"] == 2
        assert office.shelf.live == {"O2-a", "O2-b", "O3-a", "O3-b"}
        second = run.segment(2)
        second.write_lines("records-00-00001", [order(2, "a", "b", _id=f"o{n}", status="closed") for n in (2, 3)])
        second.save("extracted", {"read": 2, "outside": 0, "calls": 0})
        segment = Segment(index=2, window=Window(0, 1), count=None)
        transform(run, segment)
        with pytest.raises(QuestionError, match=r"rows of 4 of 4 records .* up to 2 go unasked"):
            load(run, segment, hub=office.hub, reach=office.reach(), clock=lambda: office.now)
        assert office.shelf.live == {"O2-a", "O2-b", "O3-a", "O3-b"}


def test_a_question_stays_open_so_that_no_later_run_takes_its_share_unasked(crm: Bench) -> None:
    """Scheduled runs go on, and each reads the time again that the failed one has left."""
    crm.sync(contacts(), manual(full=True))
    before = crm.held(contacts())
    wrong = contacts(gender="1", segment_records=10)
    with pytest.raises(QuestionError, match="up to 10 go unasked"):
        crm.sync(wrong, manual(full=True), run_id="first")
    left = crm.held(contacts())
    assert len(left) >= len(before) - 10
    for _ in range(3):
        with pytest.raises(QuestionError, match=r"run .* has asked, and none goes before that is answered"):
            crm.sync(wrong, manual(full=True))
        assert crm.held(contacts()) == left

    assert crm.sync(wrong, manual(full=True, confirmed=200)).removed == len(left) - len(_of(before, "1"))
    for record_id in list(crm.held(contacts()))[:3]:
        crm.simulator.tenant.update(NAME, record_id, {"gender": "2"})
    crm.later()
    assert crm.sync(wrong).removed == 3


def test_an_answer_counts_where_nothing_is_left_to_be_asked_for(crm: Bench) -> None:
    """People have set the records back meanwhile."""
    crm.sync(contacts(), manual(full=True))
    kept = contacts(conditions=[[Condition("name", Logic.NEQ, "gone")]])
    changed = list(crm.held(contacts()))[:20]
    names = {each: crm.simulator.tenant.records(NAME)[each]["name"] for each in changed}
    for record_id in changed:
        crm.simulator.tenant.update(NAME, record_id, {"name": "gone"})
    crm.later()
    with pytest.raises(QuestionError):
        crm.sync(kept)
    for record_id in changed:
        crm.simulator.tenant.update(NAME, record_id, {"name": names[record_id]})
    crm.later()
    crm.sync(kept, manual(confirmed=1))

    crm.simulator.tenant.update(NAME, changed[0], {"name": "gone"})
    crm.later()
    assert crm.sync(kept).removed == 1


def test_an_answer_that_is_too_small_leaves_the_question_open_whatever_the_other_segments_find(crm: Bench) -> None:
    crm.sync(contacts(), manual(full=True))
    kept = contacts(conditions=[[Condition("name", Logic.NEQ, "gone")]], segment_records=40)
    for record_id in list(crm.held(contacts()))[:20]:
        crm.simulator.tenant.update(NAME, record_id, {"name": "gone"})
    crm.later()
    run = crm.run(kept)
    asked = []
    for segment in reversed(crm.plan(run, manual(full=True, confirmed=15)).segments):
        extract(run, segment, client=crm.client())
        transform(run, segment)
        try:
            load(run, segment, hub=crm.hub, reach=crm.reach(), clock=crm.now, confirmed=15)
            asked.append(False)
        except QuestionError:
            asked.append(True)
    assert (asked[0], asked[-1]) == (True, False), "the one with the edited records came first"
    with pytest.raises(QuestionError, match="has asked, and none goes before that is answered"):
        crm.sync(kept, manual(full=True))


def test_an_open_question_is_not_one_of_a_mended_declaration(crm: Bench) -> None:
    crm.sync(contacts(), manual(full=True))
    with pytest.raises(QuestionError):
        crm.sync(contacts(gender="1"), manual(full=True))
    lacking = [[Condition("_id", Logic.NEQ, each) for each in list(crm.held(contacts()))[:3]]]
    assert crm.sync(contacts(conditions=lacking), manual(full=True)).removed == 3


def _of(held: dict[str, dict[str, Any]], gender: str) -> list[str]:
    return [key for key, each in held.items() if each["gender"] == gender]


def test_a_segment_that_is_tried_again_counts_once(crm: Bench) -> None:
    crm.sync(contacts(), manual(full=True))
    run = crm.run(contacts(gender="1"))
    made = crm.plan(run, manual(full=True))
    for _ in range(2):
        with pytest.raises(QuestionError, match="of 200 records") as asked:
            crm.deliver(run, made)
    dropped = sum(1 for each in crm.held(contacts()).values() if each["gender"] != "1")
    assert f"rows of {dropped} of" in str(asked.value)


def test_records_that_people_voided_go_unasked_however_many(crm: Bench) -> None:
    crm.sync(contacts(), manual(full=True))
    normal = [key for key, each in crm.simulator.tenant.visible(NAME).items() if each["life_status"] == "normal"]
    crm.simulator.knobs.voided = "visible"
    crm.simulator.tenant.invalid(NAME, normal[:30])
    crm.later()
    assert crm.sync(contacts()).removed == 30


def test_a_declaration_that_was_mended_is_not_asked_for_what_the_wrong_one_would_have_deleted(crm: Bench) -> None:
    """The transform of the run is cleared, and not its plan."""
    crm.sync(contacts(), manual(full=True))
    wrong = crm.run(contacts(gender="1"))
    made = crm.plan(wrong, manual(full=True))
    with pytest.raises(QuestionError):
        crm.deliver(wrong, made)
    lacking = list(crm.held(contacts()))[:3]
    mended = contacts(conditions=[[Condition("_id", Logic.NEQ, each) for each in lacking]])
    run = crm.run(mended, wrong.id)
    (segment,) = made.segments
    transform(run, segment, hub=crm.hub)
    load(run, segment, hub=crm.hub, reach=crm.reach(), clock=crm.now)
    assert set(crm.held(contacts())) & set(lacking) == set()


def test_the_bound_is_that_of_the_reconcile(crm: Bench) -> None:
    crm.sync(contacts(), manual(full=True))
    bold = contacts(gender="1", reconcile=Reconcile(most_vanished=500, most_share=1))
    assert crm.sync(bold, manual(full=True)).removed > 10


def test_what_was_shown_by_a_retransform_is_not_asked_again(crm: Bench) -> None:
    crm.sync(contacts(), manual(full=True))
    changed = contacts(gender="1")
    apply(crm.run(changed), of=None, hub=crm.hub, stage=crm.stage, reach=crm.reach(), clock=crm.now)
    assert {each["gender"] for each in crm.held(contacts()).values()} == {"1"}
