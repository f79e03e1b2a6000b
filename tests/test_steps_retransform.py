"""A changed mapping is applied to what was read before: the target ends as after a clean load by it, with no call."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from fenxiang_sync import Condition, Constant, DeletePolicy, Explode, Field, IdCheck, Logic, Lookup, Pipeline, decimal
from fenxiang_sync.errors import ParamError, TransientError, UnverifiedError
from fenxiang_sync.hub import Hub, Presence
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Run, Segment, load, transform
from fenxiang_sync.steps.retransform import KIND, Difference, Retransformed, apply, difference
from fenxiang_sync.steps.verify import clean
from fenxiang_sync.targets.protocol import Endpoint, Reach
from fenxiang_sync.window import Window
from tests.hub_fixtures import DATABASES, hub_database, hub_file
from tests.source_fixtures import FEW
from tests.steps_fixtures import bench, manual, pipeline
from tests.test_steps_tracing import Picky

NAME = "AccountObj"
FIRST_MS = 1_790_000_000_000
FIELDS = [Field("_id"), Field("name"), Field("tel")]


@dataclass
class Past:
    """A pipeline's runs of records that are given, in a hub and a stage: nobody is called."""

    hub: Hub
    stage: Stage
    name: str = "account"
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def declared(self, fields: list[Any] | None = None, **words: Any) -> Pipeline:
        return pipeline(name=self.name, fields=fields or FIELDS, **words)

    def run(self, account: Pipeline, run_id: str) -> Run:
        return Run(pipeline=account, id=run_id, folder=self.stage.run(self.name, run_id))

    def read(self, account: Pipeline, *records: dict[str, Any], run_id: str | None = None) -> str:
        """One run that has read these records."""
        run = self.run(account, run_id or f"run-{next(self.numbers)}")
        folder = run.segment(1)
        folder.write_lines("records-00-00001", records)
        folder.save("projection", account.mapping.projection)
        folder.save("extracted", {"read": len(records)})
        segment = Segment(index=1, window=Window(FIRST_MS, FIRST_MS + 1_000_000), count=None)
        transform(run, segment)
        load(run, segment, hub=self.hub, reach=NO_REACH, clock=now)
        folder.remove("rows-", "rejects-")
        return run.id

    def differs(self, account: Pipeline, of: str | None = None) -> Retransformed:
        return difference(self.run(account, "diff"), of=of, hub=self.hub, stage=self.stage)

    def apply(self, account: Pipeline, of: str | None = None, run_id: str | None = None) -> Retransformed:
        run = self.run(account, run_id or f"retransform.{next(self.numbers)}")
        return apply(run, of=of, hub=self.hub, stage=self.stage, reach=NO_REACH, clock=now)

    def held(self) -> dict[str, Any]:
        records = self.hub.records(self.name)
        return {each.id: each.content for each in records if each.content is not None and each.removed_at is None}


def _nothing(conn_id: str) -> Endpoint:
    raise AssertionError(conn_id)


NO_REACH = Reach(endpoint=_nothing, session=requests.Session, sleep=time.sleep, now=time.time)
"""The targets of these tests reach for nothing."""


def now() -> datetime:
    return datetime.now(UTC)


def record(number: int, at: int = 0, **values: Any) -> dict[str, Any]:
    given = {"name": f"name {number}", "tel": f"13{number}", "life_status": "normal", **values}
    return {"_id": f"r{number}", "last_modified_time": FIRST_MS + at, "version": "1", **given}


@pytest.fixture(params=DATABASES)
def past(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Past]:
    with hub_database(request.param, tmp_path) as url, Hub.connect(url) as hub:
        yield Past(hub, Stage(tmp_path / "stage"))


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Past]:
    with Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub:
        yield Past(hub, Stage(tmp_path / "stage"))


def counts(made: Retransformed) -> dict[str, int]:
    return {name: count for name, count in made.tally.counts.items() if count}


def upper(name: Any) -> str:
    return str(name).upper()


UPPER = [Field("_id"), Field("name", convert=upper), Field("tel")]


def test_the_difference_is_told_field_by_field_and_nothing_is_sent(past: Past) -> None:
    past.read(past.declared(), record(1), record(2, name="BIG"))
    held = past.held()
    made = past.differs(past.declared(UPPER))
    assert counts(made) == {"read": 2, "mapped": 2, "changed": 1, "unchanged": 1}
    assert made.tally.differences == [Difference(row="r1", source_id="r1", fields=[("name", "name 1", "NAME 1")])]
    assert (made.outcomes, made.differs) == (None, True)
    assert past.held() == held
    assert past.hub.last_run("account", [KIND]) is None


def test_applied_the_target_is_as_after_a_clean_load_and_nothing_differs_any_more(past: Past) -> None:
    past.read(past.declared(), record(1), record(2, name="BIG"), record(3))
    account = past.declared(UPPER)
    made = past.apply(account, run_id="retransform.1")
    assert made.outcomes is not None
    assert {name: count for name, count in made.outcomes.items() if count} == {"delivered": 2, "unchanged": 1}
    assert {row_id: content["name"] for row_id, content in past.held().items()} == {
        "r1": "NAME 1", "r2": "BIG", "r3": "NAME 3",
    }  # fmt: skip
    last = past.hub.last_run("account", [KIND])
    assert last is not None
    assert (last.run, last.numbers["outcomes"], last.config_hash) == (
        "retransform.1", made.outcomes, account.config_hash,
    )  # fmt: skip
    assert not past.differs(account).differs
    life = past.hub.trace("account", "r1")
    assert life is not None
    assert [(each.what, each.run) for each in life.events] == [("delivered", "run-1"), ("delivered", "retransform.1")]


def test_what_the_conditions_leave_out_or_does_not_fit_now_is_told_and_its_rows_go_to_the_delete_policy(
    past: Past,
) -> None:
    past.read(past.declared(), record(1), record(2, name="7"), record(3, name="left out"))
    conditions = [[Condition("name", Logic.NEQ, "left out")]]
    account = past.declared([Field("_id"), Field("name", convert=decimal()), Field("tel")], conditions=conditions)
    made = past.differs(account)
    assert counts(made) == {
        "read": 3, "mapped": 1, "filtered": 1, "rejected": 1, "changed": 1, "no_longer": 2,
    }  # fmt: skip
    assert made.tally.orphans == ["r1", "r3"]
    [(source_id, reason)] = made.tally.rejects
    assert (source_id, reason.startswith("name ← name")) == ("r1", True)
    made = past.apply(account)
    assert made.outcomes is not None
    assert (made.outcomes["filtered"], made.outcomes["dead_letter"], made.outcomes["delivered"]) == (1, 1, 1)
    [letter] = past.hub.dead_letters("account")
    assert (letter.record_id, letter.stage) == ("r1", "transform")
    assert (made.tally.counts["removed"], set(past.held())) == (2, {"r2"})
    assert [each.what for each in past.hub.trace("account", "r1").events[-2:]] == ["rejected", "removed"]  # type: ignore[union-attr]


def test_rows_of_a_record_that_waits_now_stay_as_they_are(local: Past) -> None:
    local.read(local.declared(), record(1))
    waits = Lookup("parent", pipeline="nobody", find="name", where={"_id": "tel"}, required=True)
    account = local.declared([*FIELDS, waits])
    assert counts(local.differs(account)) == {"read": 1, "rejected": 1}
    assert counts(local.apply(account)) == {"read": 1, "rejected": 1}
    assert set(local.held()) == {"r1"}


def test_rows_that_are_given_no_more_stay_where_the_policy_is_to_ignore_them(local: Past) -> None:
    words: dict[str, Any] = {"delete_policy": DeletePolicy.IGNORE}
    local.read(local.declared(**words), record(1), record(2))
    made = local.apply(local.declared(conditions=[[Condition("name", Logic.NEQ, "name 1")]], **words))
    assert (made.tally.counts["no_longer"], made.tally.counts["removed"], made.differs) == (1, 0, True)
    assert set(local.held()) == {"r1", "r2"}


def test_a_record_of_several_rows_is_mapped_again_line_by_line(past: Past) -> None:
    def lines(*names: str) -> list[dict[str, str]]:
        return [{"_id": name, "goods": f"goods {name}"} for name in names]

    def exploded(**words: Any) -> Pipeline:
        fields = [Field("_id", "order"), Field("details_list.goods", "goods", **words)]
        return past.declared(fields, explode=Explode("details_list"), key="order")

    past.read(exploded(), record(1, details_list=lines("a", "b")), record(2, details_list=lines("c")))
    made = past.differs(exploded(convert=upper))
    assert counts(made) == {"read": 2, "mapped": 2, "changed": 3}
    made = past.apply(exploded(convert=upper))
    assert made.outcomes is not None
    assert (made.outcomes["delivered"], made.differs) == (2, False), "in records"
    assert {content["goods"] for content in past.held().values()} == {"GOODS A", "GOODS B", "GOODS C"}
    only_a = replace(exploded(), conditions=[[Condition("details_list.goods", Logic.NEQ, "goods b")]])
    made = past.apply(only_a)
    assert (made.tally.counts["removed"], len(past.held())) == (1, 2)


def test_a_letter_that_the_mended_mapping_answers_is_closed(local: Past) -> None:
    local.read(local.declared([Field("_id"), Field("name", convert=decimal())]), record(1))
    assert local.held() == {}
    made = local.apply(local.declared())
    assert counts(made) == {"read": 1, "mapped": 1, "new": 1}
    assert list(local.hub.dead_letters("account")) == []


def test_a_field_that_was_not_read_then_is_named_and_never_silently_null(past: Past) -> None:
    past.read(past.declared([Field("_id"), Field("name")]), record(1), record(2))
    account = past.declared([Field("_id"), Field("name"), Field("address")])
    made = past.apply(account)
    assert counts(made) == {"read": 2, "unread": 2}
    assert dict(made.tally.unread) == {"address": 2}
    assert made.differs
    assert all("address" not in content for content in past.held().values())
    past.read(account, record(2, address="北京"))
    made = past.apply(account)
    assert counts(made) == {"read": 2, "unread": 1, "mapped": 1, "unchanged": 1}


def test_of_a_past_run_only_what_is_still_the_newest_is_mapped(past: Past) -> None:
    first = past.read(past.declared(), record(1), record(2))
    past.read(past.declared(), record(1, at=5, name="newer"))
    account = past.declared(UPPER)
    made = past.apply(account, of=first)
    assert counts(made) == {"read": 2, "superseded": 1, "mapped": 1, "changed": 1}
    assert {row_id: content["name"] for row_id, content in past.held().items()} == {"r1": "newer", "r2": "NAME 2"}
    assert made.window == Window(FIRST_MS, FIRST_MS + 1_000_000)


def test_of_two_readings_of_one_version_the_later_one_is_mapped(past: Past) -> None:
    first = past.read(past.declared(), record(1, tel="old label"))
    past.read(past.declared(), record(1, tel="new label"))
    past.apply(past.declared(UPPER), of=first)
    assert past.held()["r1"]["tel"] == "new label"


@pytest.mark.parametrize("presence", [Presence.VANISHED, Presence.LEFT, Presence.VOIDED])
def test_a_record_that_is_gone_is_not_brought_back(past: Past, presence: Presence) -> None:
    account = past.declared(delete_policy=DeletePolicy.DELETE)
    first = past.read(account, record(1), record(2))
    past.hub.mark("account", {"r1": FIRST_MS}, presence, run="reconcile", now=now())
    [[due]] = list(past.hub.removals.due("account", 10))
    past.hub.removals.claim("account", [due], run="reconcile", lease_s=60, now=now())
    past.hub.removals.settle("account", [due], keeps_content=False, run="reconcile", now=now())
    for of in (None, first):
        made = past.apply(past.declared(UPPER, delete_policy=DeletePolicy.DELETE), of=of)
        assert made.tally.counts["gone"] == 1
        assert set(past.held()) == {"r2"}


def test_a_voided_record_is_mapped_again_only_where_its_row_stays_as_any_other(local: Past) -> None:
    local.read(local.declared(), record(1, life_status="invalid"), record(2))
    assert counts(local.differs(local.declared(UPPER))) == {"read": 2, "gone": 1, "mapped": 1, "changed": 1}
    ignoring = local.declared(UPPER, delete_policy=DeletePolicy.IGNORE)
    assert counts(local.differs(ignoring)) == {"read": 2, "mapped": 2, "changed": 2}


def test_a_run_that_nobody_knows_and_one_whose_records_are_gone_are_told_apart(local: Past) -> None:
    account = local.declared()
    first = local.read(account, record(1))
    with pytest.raises(ParamError, match=r"has no run 'frist' whose records are kept; the newest are: run-1"):
        local.differs(account, of="frist")
    local.run(account, first).segment(1).remove("records-")
    with pytest.raises(UnverifiedError, match=r"no longer kept .* records_retention_days .* in the hub: --all"):
        local.differs(account, of=first)
    assert counts(local.differs(account)) == {"read": 1, "mapped": 1, "unchanged": 1}


def test_what_a_pipeline_did_not_keep_is_counted_and_left_out(local: Past) -> None:
    local.read(local.declared(keep_records=False), record(1))
    made = local.apply(local.declared(UPPER))
    assert (counts(made), made.differs) == ({"read": 1, "unkept": 1}, True)


def test_with_an_id_check_that_sends_an_id_once_nothing_is_sent_again(local: Past) -> None:
    local.read(local.declared(), record(1))
    made = local.apply(local.declared(UPPER, id_check=IdCheck.SKIP_EXISTING))
    assert counts(made) == {"read": 1, "mapped": 1, "unchanged": 1}


def test_one_that_was_cut_off_goes_on_under_its_run_id_and_adds_up(local: Past) -> None:
    local.read(local.declared(target=Picky()), *(record(number) for number in range(9)))
    small = {"page_size": 3, "segment_records": 3}
    trouble = ["down"]
    account = local.declared(UPPER, target=Picky(), source=small)
    cut_off = local.declared(UPPER, target=Picky(trouble=trouble), source=small)
    with pytest.raises(TransientError, match="down"):
        local.apply(cut_off, run_id="retransform.1")
    assert [run.state for run in local.hub.runs("account") if run.kind == KIND] == ["failed"]
    made = local.apply(account, run_id="retransform.1")
    assert made.outcomes is not None
    assert sum(made.outcomes.values()) == counts(made)["read"] == 9
    assert [run.state for run in local.hub.runs("account") if run.kind == KIND] == ["success"]
    assert {content["name"] for content in local.held().values()} == {f"NAME {number}" for number in range(9)}


def test_what_runs_have_read_is_mapped_again_without_a_call(tmp_path: Path) -> None:
    with bench(tmp_path, **FEW | {NAME: 300}) as crm:
        account = pipeline(fields=FIELDS, source={"segment_records": 100})
        run = crm.run(account, "run")
        crm.deliver(run, crm.plan(run, manual(full=True)))
        crm.verify(run)
        clean(run, keep_records=True)
        records = crm.simulator.tenant.records(NAME).values()
        voided = sum(each["life_status"] == "invalid" for each in records)
        before = sum(crm.simulator.requests.values())
        changed = pipeline(fields=[*FIELDS, Constant("tenant", "east")], source={"segment_records": 100})
        for of in ("run", None):
            told = difference(crm.run(changed, "diff"), of=of, hub=crm.hub, stage=crm.stage)
            assert counts(told) == {"read": 300, "gone": voided, "mapped": 300 - voided, "changed": 300 - voided}
        made = apply(
            crm.run(changed, "retransform.1"), of="run", hub=crm.hub, stage=crm.stage, reach=crm.reach(), clock=crm.now
        )
        assert made.outcomes is not None
        assert made.outcomes["delivered"] == 300 - voided
        assert [content.get("tenant") for content in crm.held(changed).values()].count("east") == 300 - voided
        assert sum(crm.simulator.requests.values()) == before
        assert crm.stage.run("account", "retransform.1").path.exists()
        assert not [name for name in crm.run(changed, "retransform.1").segment(1).names() if name.endswith(".gz")]


# Whatever was read, and however the mapping changed

_VALUES = st.fixed_dictionaries(
    {"name": st.sampled_from(["", "1", "22", "x"]), "tel": st.sampled_from([None, "7", "北京"])}
)
_RUNS = st.lists(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), _VALUES), min_size=1, max_size=4), min_size=1, max_size=4
)
_MAPPINGS: list[dict[str, Any]] = [
    {"fields": FIELDS},
    {"fields": UPPER},
    {"fields": [Field("_id"), Field("name", "title.text", required=True)]},
    {"fields": [Field("_id"), Field("name", convert=decimal()), Field("tel", default="none")]},
    {"fields": FIELDS, "conditions": [[Condition("tel", Logic.NOTNULL)]]},
]
_names = (f"p{number}" for number in itertools.count())


@settings(max_examples=40)
@given(runs=_RUNS, before=st.sampled_from(_MAPPINGS), after=st.sampled_from(_MAPPINGS), by_run=st.booleans())
def test_applied_to_all_the_target_is_as_after_a_clean_load(
    local: Past, runs: list[Any], before: dict[str, Any], after: dict[str, Any], by_run: bool
) -> None:
    past, fresh = Past(local.hub, local.stage, next(_names)), Past(local.hub, local.stage, next(_names))
    holds = [Condition("_id", Logic.NOTNULL)]
    also = {"conditions": [holds, [*holds, Condition("name", Logic.NOTNULL), Condition("tel", Logic.NOTNULL)]]}
    account, changed = (past.declared(**{**also, **words}) for words in (before, after))
    newest: dict[str, dict[str, Any]] = {}
    done = []
    for batch in runs:
        records = {f"r{number}": record(number, at=at, **values) for number, at, values in batch}
        done.append(past.read(account, *records.values()))
        for each in records.values():
            held = newest.get(each["_id"])
            if held is None or each["last_modified_time"] >= held["last_modified_time"]:
                newest[each["_id"]] = each
    made = [past.apply(changed, of=of) for of in (done if by_run else [None])]
    fresh.read(fresh.declared(**{**also, **after}), *newest.values())
    for each in made:
        assert each.outcomes is not None
        counted = each.tally.counts
        left_out = sum(counted[name] for name in ("superseded", "gone", "unkept", "unread"))
        assert counted["read"] == sum(each.outcomes.values()) + left_out
    assert past.held() == fresh.held(), "what it does not give any more is removed"
