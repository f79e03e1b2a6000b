"""One record's whole life, from its first read to its removal; and what is kept of it to tell."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import create_engine, text

from fenxiang_sync import Condition, Field, Logic, Pipeline, decimal
from fenxiang_sync.errors import TransientError, UnverifiedError
from fenxiang_sync.hub import Hub, Presence, Seen, Settled, What
from fenxiang_sync.rows import DeletePolicy, IdCheck, Outcome, Row
from fenxiang_sync.steps import extract, transform
from fenxiang_sync.steps.tracing import Trace, in_order, trace
from fenxiang_sync.steps.verify import clean
from fenxiang_sync.targets.protocol import Answer, Delivery, Reach, Removal, Sender
from tests.airflow_fixtures import ConnectionSetter
from tests.cli_fixtures import fenxiang
from tests.hub_fixtures import DATABASES, NOW, hub_database, hub_file, row
from tests.reconcile_fixtures import reconciled
from tests.source_fixtures import FEW
from tests.steps_fixtures import Bench, bench, manual, pipeline

NAME = "AccountObj"


@dataclass(frozen=True, kw_only=True)
class Picky:
    """A target that refuses rows by a value of theirs, or answers 503 as often as it is told."""

    refuses: str = ""
    trouble: list[str] = field(default_factory=list, compare=False)

    batch_rows: ClassVar[int] = 100
    upserts: ClassVar[bool] = True
    connections: ClassVar[Sequence[str]] = ()
    removals: ClassVar[frozenset[DeletePolicy]] = frozenset((DeletePolicy.FLAG,))

    def describe(self) -> str:
        return "picky"

    def open(self, reach: Reach) -> AbstractContextManager[Sender]:
        return nullcontext(_Picking(self))


class _Picking:
    def __init__(self, target: Picky) -> None:
        self._target = target

    def send(self, rows: Sequence[Row]) -> Sequence[Answer]:
        if self._target.trouble:
            raise TransientError(self._target.trouble.pop(), code=503)
        return [self._answer(row) for row in rows]

    def _answer(self, row: Row) -> Answer:
        if self._target.refuses and self._target.refuses in str(row.content["name"]):
            return Answer(delivery=Delivery.REFUSED, code=422, reason="name is taken")
        return Answer(delivery=Delivery.DELIVERED)

    def remove(self, removals: Sequence[Removal], *, policy: DeletePolicy) -> Sequence[Answer]:
        return [Answer(delivery=Delivery.DELIVERED)] * len(removals)


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, **FEW | {NAME: 40}) as made:
        yield made


def normal(crm: Bench) -> str:
    records = crm.simulator.tenant.records(NAME)
    return min(key for key, record in records.items() if record["life_status"] == "normal")


def traced(crm: Bench, account: Pipeline, record_id: str) -> Trace:
    found = trace(account, record_id, hub=crm.hub, stage=crm.stage)
    assert found is not None
    return found


def told(found: Trace) -> list[str]:
    """What happened, in order: reads with what became of them, and events."""
    return [each.what if hasattr(each, "what") else f"read: {each.became}" for _, each in in_order(found)]


def test_a_trace_tells_the_whole_life_of_a_record_in_order(crm: Bench) -> None:
    record_id = normal(crm)
    crm.simulator.tenant.update(NAME, record_id, {"name": "占用"})
    crm.later()
    picky = pipeline(target=Picky(refuses="占用"))
    first = crm.sync(picky, manual(full=True), run_id="first")
    assert first.dead_letters == 1

    mended = pipeline(target=Picky(), fields=[Field("_id"), Field("name"), Field("tel")])
    crm.sync(mended, manual(full=True), run_id="mended")
    crm.sync(mended, manual(full=True), run_id="again")
    crm.simulator.tenant.update(NAME, record_id, {"name": "新名"})
    crm.later()
    crm.sync(mended, run_id="edited")
    crm.simulator.tenant.invalid(NAME, record_id)
    crm.later()
    crm.sync(mended, run_id="voided")
    reconciled(crm, mended, run_id="reconcile")

    found = traced(crm, mended, record_id)
    assert told(found) == [
        "read: refused", "refused",
        "read: delivered", "delivered",
        "read: unchanged",
        "read: delivered", "delivered",
        "read: unchanged", "unchanged", "voided",
        "removed",
    ]  # fmt: skip
    assert [read.run for read in found.reads] == ["first", "mended", "again", "edited", "voided"]
    assert all(read.window is not None and read.modified_ms in read.window for read in found.reads)
    refused = found.life.events[0]
    assert (refused.code, refused.reason, refused.run, refused.segment) == ("422", "name is taken", "first", "1")
    [letter] = found.life.letters
    assert (letter.code, letter.closed_by) == ("422", "mended")
    [held] = found.life.rows
    assert held.removed_at is not None
    assert found.life.kept is not None
    assert found.life.kept.presence is Presence.VOIDED
    values = {value.to: value for value in found.values}
    assert (values["name"].raw, values["name"].value, values["name"].held) == ("新名", "新名", "新名")
    assert values["tel"].converter == "as_is"


def test_a_read_that_gave_no_row_says_so(crm: Bench) -> None:
    record_id = normal(crm)
    keeps = [[Condition("name", Logic.EQ, "nobody is called so")]]
    account = pipeline(conditions=keeps)
    crm.sync(account, manual(full=True))
    found = traced(crm, account, record_id)
    assert (told(found), found.becomes) == (["read: filtered"], "filtered")
    assert found.life.rows == []

    rejecting = pipeline(fields=[Field("_id"), Field("name", convert=decimal())])
    crm.sync(rejecting, manual(full=True))
    found = traced(crm, rejecting, record_id)
    assert told(found) == [
        "read: filtered by the declaration of then, or not settled", "read: rejected", "rejected",
    ]  # fmt: skip
    assert found.becomes.startswith("rejected: name ← name")
    assert [value.wrong != "" for value in found.values] == [False, True]


def test_each_try_of_a_target_in_trouble_is_told_with_its_answer(crm: Bench) -> None:
    record_id = normal(crm)
    account = pipeline(target=Picky(trouble=["down", "still down"]))
    run = crm.run(account, "run")
    made = crm.plan(run, manual(full=True))
    for trouble in ("still down", "down"):
        with pytest.raises(TransientError, match=trouble):
            crm.deliver(run, made)
    crm.deliver(run, made)
    events = traced(crm, account, record_id).life.events
    assert [(each.what, each.code, each.reason) for each in events] == [
        ("again", "503", "still down"),
        ("again", "503", "down"),
        ("delivered", None, ""),
    ]


def test_what_was_read_is_kept_when_a_run_has_succeeded_and_its_rows_are_not(crm: Bench) -> None:
    account = pipeline()
    run = crm.run(account, "run")
    crm.deliver(run, crm.plan(run, manual(full=True)))
    crm.verify(run)
    clean(run, keep_records=True)
    kinds = {name.split("-")[0] for name in run.segment(1).names() if name.endswith(".gz")}
    assert kinds == {"records"}
    [read] = traced(crm, account, normal(crm)).reads
    assert read.record["name"]
    clean(run)
    found = traced(crm, account, normal(crm))
    assert (found.reads, found.unkept) == ([], 1)
    assert found.record is not None, "the hub has it as it was read last"


def test_a_pipeline_that_keeps_no_records_has_none_in_the_hub(crm: Bench) -> None:
    account = pipeline(keep_records=False)
    crm.sync(account, manual(full=True))
    kept = crm.hub.kept("account", [normal(crm)])[normal(crm)]
    assert (kept.payload, kept.projection) == (None, None)


def test_a_declaration_that_is_changed_after_it_was_read_is_not_mapped_as_null(crm: Bench) -> None:
    run = crm.run(pipeline(), "run")
    [segment] = crm.plan(run, manual(full=True)).segments
    extract(run, segment, client=crm.client())
    changed = crm.run(pipeline(fields=[Field("_id"), Field("tel")]), "run")
    with pytest.raises(UnverifiedError, match=r"changed since .* were read: tel was not asked for; clear the extract"):
        transform(changed, segment)


def test_a_reading_that_was_cut_off_and_asks_for_other_fields_now_begins_anew(crm: Bench) -> None:
    run = crm.run(pipeline(), "run")
    [segment] = crm.plan(run, manual(full=True)).segments
    extract(run, segment, client=crm.client())
    (run.segment(1).path / "extracted.json").unlink()
    changed = crm.run(pipeline(fields=[Field("_id"), Field("tel")]), "run")
    extract(changed, segment, client=crm.client())
    assert any("tel" in record for record in changed.segment(1).lines("records-"))
    assert transform(changed, segment)["rows"] == 40


def test_a_run_that_begins_anew_has_only_what_it_reads_then(crm: Bench) -> None:
    account = pipeline()
    run = crm.run(account, "run")
    crm.deliver(run, crm.plan(run, manual(full=True)))
    assert crm.hub.readings("account", run="run") != []
    crm.plan(run, manual(full=True))
    assert crm.hub.readings("account", run="run") == []


# What the hub keeps


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with hub_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def hub(url: str) -> Iterator[Hub]:
    with Hub.connect(url) as hub:
        yield hub


def see(hub: Hub, payload: str, modified_ms: int = 5, fields: Sequence[str] = ("_id", "name")) -> None:
    seen = Seen("a", modified_ms, payload=payload.encode())
    hub.see("stock", [seen], run="run", now=NOW, projection=hub.name_fields(fields))


def payload(hub: Hub) -> str:
    kept = hub.kept("stock", ["a"])["a"].payload
    assert kept is not None
    return kept.decode()


def test_the_record_is_kept_as_it_was_read_last_even_where_its_stamp_is_the_same(hub: Hub) -> None:
    see(hub, '{"label":"old"}')
    see(hub, '{"label":"new"}')
    assert payload(hub) == '{"label":"new"}'
    see(hub, '{"label":"older"}', modified_ms=4)
    assert payload(hub) == '{"label":"new"}'
    see(hub, '{"label":"new"}', fields=("_id", "name", "tel"))
    kept = hub.kept("stock", ["a"])["a"]
    assert hub.named_fields()[str(kept.projection)] == {"_id", "name", "tel"}


def test_what_a_page_adds_to_a_record_is_no_change_of_it(hub: Hub) -> None:
    see(hub, '{"name":"x","searchAfterId":["1"],"total_num":7}')
    see(hub, '{"name":"x","searchAfterId":["2"],"total_num":8}')
    assert json.loads(payload(hub))["total_num"] == 7


def test_a_mark_leaves_the_record_that_is_kept(hub: Hub) -> None:
    see(hub, '{"name":"x"}')
    hub.mark("stock", {"a": 5}, Presence.VANISHED, run="reconcile", now=NOW)
    hub.see("stock", [Seen("a", 6)], run="found", now=NOW)
    assert payload(hub) == '{"name":"x"}'
    life = hub.trace("stock", "a")
    assert life is not None
    assert [each.what for each in life.events] == ["vanished", "returned"]


def claim_and_settle(hub: Hub, one: Row, outcome: Outcome = Outcome.DELIVERED, *, run: str = "run") -> None:
    id_check = IdCheck.UPSERT_ON_CHANGE
    hub.claim("stock", [one], run=run, id_check=id_check, lease_s=60, now=NOW, upserts=True)
    hub.settle("stock", [Settled(row=one, outcome=outcome, reason="because", code=7)], run=run, now=NOW)


def test_every_attempt_is_told_and_an_unchanged_reading_is_not(hub: Hub) -> None:
    one = row("1", name="x")
    claim_and_settle(hub, one, Outcome.DEAD_LETTER)
    claim_and_settle(hub, one, Outcome.IN_DOUBT, run="second")
    claim_and_settle(hub, one, run="third")
    for again in (one, one, replace(one, version=2)):
        hub.claim("stock", [again], run="fourth", id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, now=NOW)
    life = hub.trace("stock", "source-1")
    assert life is not None
    assert [(each.what, each.run, each.version) for each in life.events] == [
        ("refused", "run", 1),
        ("in_doubt", "second", 1),
        ("delivered", "third", 1),
        ("unchanged", "fourth", 2),
    ]
    assert (life.events[0].code, life.events[0].reason, life.events[0].hash) == ("7", "because", one.hash)


def test_an_answer_that_came_after_another_had_taken_over_is_told_as_that(hub: Hub) -> None:
    one, later = row("1", name="x"), NOW + timedelta(seconds=61)
    ask: dict[str, Any] = {"id_check": IdCheck.UPSERT_ON_CHANGE, "lease_s": 60, "upserts": True}
    hub.claim("stock", [one], run="slow", now=NOW, **ask)
    hub.claim("stock", [one], run="quick", now=later, **ask)
    assert hub.settle("stock", [Settled(row=one, outcome=Outcome.DELIVERED)], run="slow", now=later) == 1
    life = hub.trace("stock", "source-1")
    assert life is not None
    assert [(each.what, each.run) for each in life.events] == [("taken_over", "quick"), ("delivered", "slow")]
    assert "slow" in life.events[0].reason
    assert "another run had taken it over" in life.events[1].reason


def test_a_record_is_found_by_its_id_its_rows_id_and_its_number(hub: Hub) -> None:
    claim_and_settle(hub, row("1"))
    claim_and_settle(hub, replace(row("2"), number="number-1"))
    assert hub.named("stock", "source-1") == ["source-1"]
    assert hub.named("stock", "1") == ["source-1"]
    assert hub.named("stock", "number-1") == ["source-1", "source-2"]
    assert hub.named("stock", "number-2") == []
    assert hub.trace("stock", "nobody") is None


def test_events_and_readings_are_swept_by_age_but_for_the_newest_event(hub: Hub) -> None:
    claim_and_settle(hub, row("1"))
    claim_and_settle(hub, row("2"))
    assert hub.forget_old("stock", events=NOW, readings=NOW) == 0
    assert hub.forget_old("stock", events=NOW + timedelta(seconds=1), readings=NOW) == 1
    life = hub.trace("stock", "source-1")
    assert life is not None
    assert life.events == []


def test_the_view_tells_the_same_life_in_one_statement(hub: Hub, url: str) -> None:
    see(hub, '{"name":"x"}')
    claim_and_settle(hub, replace(row("1"), source_id="a"), Outcome.DEAD_LETTER)
    engine = create_engine(url)
    with engine.connect() as connection:
        mine = "pipeline = 'stock' AND source_id = 'a'"
        query = text(f"SELECT what, run_id, code FROM fenxiang_trace WHERE {mine} ORDER BY what")
        assert connection.execute(query).all() == [("read last", "run", None), ("refused", "run", "7")]
    engine.dispose()


# The command


DAG_FILE = """
from fenxiang_sync import Field, HubTarget, Pipeline, Source
from fenxiang_sync.airflow import sync_dag
account = sync_dag(Pipeline(
    name="account", source=Source(object="AccountObj"), fields=[Field("_id"), Field("name"), Field("life_status")],
    target=HubTarget(),
))
"""


class TestCommand:
    @pytest.fixture
    def dags(
        self,
        crm: Bench,
        tmp_path: Path,
        connection: ConnectionSetter,
        monkeypatch: pytest.MonkeyPatch,
        airflow_home: Path,
    ) -> Path:
        connection("fenxiang_hub", conn_type="sqlite", host=str(hub_file(tmp_path)))
        monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")
        file = tmp_path / "account.py"
        file.write_text(DAG_FILE, encoding="utf-8")
        return file

    def test_it_tells_the_life_as_lines_that_can_be_read(self, crm: Bench, dags: Path) -> None:
        record_id = normal(crm)
        crm.simulator.tenant.update(NAME, record_id, {"name": "北京公司"})
        crm.later()
        crm.sync(pipeline(), manual(full=True), run_id="first")
        said = fenxiang("trace", "account", "北京公司", "--dags", dags)
        assert said.exit_code == 0, said.stderr
        lines = said.stdout.splitlines()
        assert lines[0] == f"account: record {record_id} (北京公司); times in Asia/Shanghai"
        assert "present; the newest version that was met is of 20" in lines[1]
        happened = lines[lines.index("what happened") + 1 :][:2]
        assert "  read         the version of 20" in happened[0]
        assert ": delivered; first, segment 1, window " in happened[0]
        assert f"  delivered    row {record_id}, the version of 20" in happened[1]
        assert '    name ← name (as_is): "北京公司" → "北京公司"' in lines
        assert any("finished, holds the version of" in line for line in lines)

    def test_as_json_it_tells_the_same(self, crm: Bench, dags: Path) -> None:
        crm.sync(pipeline(), manual(full=True), run_id="first")
        document = json.loads(fenxiang("trace", "account", normal(crm), "--json", "--dags", dags).stdout)
        assert [read["became"] for read in document["reads"]] == ["delivered"]
        assert [event["what"] for event in document["events"]] == [What.DELIVERED]
        assert document["rows"][0]["content"]["name"] == document["record"]["name"]
        assert {value["to"] for value in document["values"]} == {"_id", "name", "life_status"}

    def test_what_it_cannot_tell_it_says_in_a_sentence(self, crm: Bench, dags: Path, tmp_path: Path) -> None:
        crm.sync(pipeline(), manual(full=True))
        said = fenxiang("trace", "account", "nobody", "--dags", dags)
        assert (said.exit_code, said.stdout) == (2, "")
        assert "nothing is known of 'nobody' in pipeline 'account'" in said.stderr
        with sqlite3.connect(tmp_path / "hub.db") as database:
            database.execute("UPDATE fenxiang_record SET number = 'same'")
        said = fenxiang("trace", "account", "same", "--dags", dags)
        assert said.exit_code == 2
        assert "'same' is the number of 40 records of pipeline 'account': give one of" in said.stderr
