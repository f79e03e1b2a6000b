"""What a run proves before it succeeds: certificates that say what was compared, and a target that has what it took."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fenxiang_simulator.qeasy import StoredRow
from fenxiang_simulator.targets import Fault, IdRule
from fenxiang_sync import Field, QeasyStore
from fenxiang_sync.errors import DeclarationError, IncompleteError, TransientError, UnverifiedError
from fenxiang_sync.hub import Certificate, Status
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.steps import Plan, Run, Segment, load, transform
from fenxiang_sync.steps.transform import rows
from fenxiang_sync.targets.qeasy import QEASY_RATE
from fenxiang_sync.window import Window, to_ms
from tests.steps_fixtures import Bench, bench, manual, pipeline, scheduled
from tests.targets_fixtures import rows as some_rows

HOUR = timedelta(hours=1)


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, AccountObj=0) as made:
        yield made


@pytest.fixture
def now(crm: Bench) -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def create(crm: Bench, *moments: datetime) -> list[str]:
    return [
        crm.simulator.tenant.create("AccountObj", {"name": f"{at:%d %H:%M}"}, modified_ms=to_ms(at)) for at in moments
    ]


class TestTheCertificate:
    def proofs(self, crm: Bench) -> list[Certificate]:
        return list(crm.hub.certificates("account"))

    def test_it_says_bounds_counts_digest_requests_and_declaration_of_its_own_window(
        self, crm: Bench, now: datetime
    ) -> None:
        create(crm, now - 9 * HOUR, now - 6 * HOUR, now - 3.5 * HOUR, now - 3.1 * HOUR, now - 1 * HOUR)
        crm.sync(pipeline(), scheduled(now - 8 * HOUR, now - 7 * HOUR))
        crm.sync(pipeline(reach_back=timedelta(0)), scheduled(now - 5 * HOUR, now - 4 * HOUR))
        crm.sync(pipeline(), scheduled(now - 4 * HOUR, now - 3 * HOUR))
        gap, own = self.proofs(crm)[2:]
        assert (gap.window.since, gap.window.until) == (now - 7 * HOUR, now - 5 * HOUR)
        assert (own.window.since, own.window.until) == (now - 4 * HOUR, now - 3 * HOUR)
        assert gap.read_since_ms == to_ms(now - 7 * HOUR - timedelta(minutes=10))
        assert own.read_since_ms == to_ms(now - 4 * HOUR - timedelta(minutes=10))
        assert [(each.numbers["before"], each.numbers["after"], each.numbers["left"]) for each in (gap, own)] == [
            (1, 1, 0),
            (2, 2, 0),
        ]
        assert gap.digest != own.digest
        assert own.config_hash == pipeline().config_hash
        assert own.requests == own.numbers["run"]["requests"] > 0

    def test_the_counts_before_and_after_differ_by_what_left(self, crm: Bench, now: datetime) -> None:
        ids = create(crm, *(now - minutes * timedelta(minutes=1) for minutes in range(10, 50)))
        run = crm.run(pipeline())
        crm.deliver(run, crm.plan(run, scheduled(now - HOUR, now)))
        for record_id in ids[:3]:
            crm.simulator.tenant.update("AccountObj", record_id, {"name": "编辑"})
        report = crm.verify(run)
        [proof] = self.proofs(crm)
        assert report.left == 3
        assert (proof.numbers["before"], proof.numbers["after"], proof.numbers["left"]) == (40, 37, 3)

    def test_what_is_counted_only_is_counted_too(self, crm: Bench, now: datetime) -> None:
        create(crm, *(now - number * timedelta(seconds=1) for number in range(1, 1_301)))
        crm.sync(pipeline(), scheduled(now - HOUR, now))
        [proof] = self.proofs(crm)
        assert (proof.numbers["before"], proof.numbers["after"], proof.numbers["left"]) == (1_300, 1_300, 0)

    def test_the_digest_is_of_ids_and_versions_whatever_their_order(self, crm: Bench, now: datetime) -> None:
        [record_id, _] = create(crm, now - HOUR, now - 2 * HOUR)
        for name in ("one", "two"):
            crm.sync(pipeline(name=name, source={"page_size": 1 + len(name) % 2}), manual(full=True))
        one, two = (next(iter(crm.hub.certificates(name))).digest for name in ("one", "two"))
        assert one == two
        assert len(one) == 32
        crm.simulator.tenant.update("AccountObj", record_id, {"name": "编辑"})
        crm.later()
        crm.sync(pipeline(name="three"), manual(full=True))
        assert next(iter(crm.hub.certificates("three"))).digest != one


class TestTheHub:
    def test_a_row_that_is_gone_before_the_run_ends_is_delivered_again(
        self, crm: Bench, now: datetime, tmp_path: Path
    ) -> None:
        gone, *_ = create(crm, now - HOUR, now - 2 * HOUR, now - 3 * HOUR)
        run = crm.run(pipeline())
        crm.deliver(run, crm.plan(run, manual(full=True)))
        with sqlite3.connect(tmp_path / "hub.db") as hub:
            hub.execute("DELETE FROM fenxiang_record WHERE id = ?", (gone,))
        report = crm.verify(run)
        assert (report.asked, report.sent_again, report.delivered) == (3, 1, 3)
        assert gone in crm.held(pipeline())

    def test_a_row_that_stays_away_fails_the_run_with_numbers(self, crm: Bench, now: datetime, tmp_path: Path) -> None:
        gone, *_ = create(crm, now - HOUR, now - 2 * HOUR)
        run = crm.run(pipeline())
        crm.deliver(run, crm.plan(run, manual(full=True)))
        with sqlite3.connect(tmp_path / "hub.db") as hub:
            hub.execute("DELETE FROM fenxiang_record WHERE id = ?", (gone,))
            hub.execute(
                "CREATE TRIGGER away AFTER UPDATE OF settled_at ON fenxiang_record WHEN new.settled_at IS NOT NULL "
                f"BEGIN DELETE FROM fenxiang_record WHERE id = '{gone}'; END"
            )
        with pytest.raises(IncompleteError, match="1 of 2 rows of the run are not in the hub"):
            crm.verify(run)
        assert crm.hub.certified("account") == []


def to_qeasy(**words: Any) -> Pipeline:
    target = QeasyStore(**{"scheme": "demo", "upserts": True, "rate": None, **words})
    return pipeline(target=target, fields=[Field("_id"), Field("name")])


class TestQeasy:
    @pytest.fixture
    def three(self, crm: Bench, now: datetime) -> list[str]:
        crm.simulator.targets.knobs.qeasy_calls = 10_000
        return create(crm, now - HOUR, now - 2 * HOUR, now - 3 * HOUR)

    def loaded(self, crm: Bench, account: Pipeline) -> tuple[Run, Plan]:
        run = crm.run(account)
        made = crm.plan(run, manual(full=True))
        crm.deliver(run, made)
        return run, made

    def lose(self, crm: Bench, record_id: str) -> None:
        held = crm.simulator.targets.qeasy._scheme("demo")
        held.rows.remove(held.by_id.pop(record_id))

    def load_again(self, crm: Bench, run: Run, made: Plan) -> None:
        """The retry of a load that was cut off after its last row."""
        load(run, made.segments[0], hub=crm.hub, reach=crm.reach(), clock=crm.now)

    def held(self, crm: Bench) -> list[str]:
        return sorted(content["_id"] for content in crm.simulator.targets.qeasy.contents("demo"))

    def test_it_is_asked_for_what_it_took(self, crm: Bench, three: list[str]) -> None:
        report = crm.sync(to_qeasy(), manual(full=True))
        assert (report.delivered, report.asked, report.sent_again) == (3, 3, 0)
        assert crm.sync(to_qeasy(), manual(full=True)).asked == 0, "nothing was sent, so there is nothing to ask"

    def test_a_large_segment_costs_a_dozen_questions(self, crm: Bench) -> None:
        """At the rate of Qeasy, where more rows are stored than a query may go through."""
        run, many = crm.run(to_qeasy(rate=QEASY_RATE)), 5_300
        run.segment(1).write_lines("rows-00001", some_rows(many))
        run.segment(1).save("transformed", {"read": many, "rows": many, "filtered": 0, "rejected": 0})
        time = crm.simulator.clock
        reach = replace(crm.reach(), sleep=time.advance, now=time.now)
        load(
            run,
            Segment(index=1, window=Window(0, 1), count=many),
            hub=crm.hub,
            reach=reach,
            clock=lambda: datetime.fromtimestamp(time.now(), UTC),
        )
        assert run.segment(1).load("asked") == {"asked": 100, "sent_again": 0}
        assert crm.simulator.targets.qeasy.requests["query"] <= 20

    def test_only_a_sample_is_asked_for_or_none(self, crm: Bench, three: list[str]) -> None:
        assert crm.sync(to_qeasy(sample=2), manual(full=True)).asked == 2
        crm.simulator.targets.faults.inject(Fault.TOKEN_REFUSED, on="query", times=9)
        other = to_qeasy(sample=0, scheme="other")
        assert crm.sync(Pipeline(**{**_words(other), "name": "other"}), manual(full=True)).asked == 0

    def test_what_it_lost_is_sent_again_once(self, crm: Bench, three: list[str]) -> None:
        run, made = self.loaded(crm, to_qeasy())
        self.lose(crm, three[0])
        self.load_again(crm, run, made)
        report = crm.verify(run)
        assert (report.delivered, report.sent_again) == (3, 1)
        assert self.held(crm) == sorted(three)

    def test_at_a_scheme_that_does_not_upsert_it_fails_and_sends_nothing_twice(
        self, crm: Bench, three: list[str]
    ) -> None:
        crm.simulator.targets.knobs.qeasy_id_rule = IdRule.APPEND
        run, made = self.loaded(crm, to_qeasy(upserts=False))
        held = crm.simulator.targets.qeasy._scheme("demo")
        lost = held.rows.pop().content["_id"]
        with pytest.raises(IncompleteError, match=f"1 of 3 rows that the target took are not there .*{lost}"):
            self.load_again(crm, run, made)
        assert self.held(crm) == sorted(set(three) - {lost})

    def test_a_scheme_that_drops_changes_fails_with_the_way_out(self, crm: Bench, three: list[str]) -> None:
        crm.simulator.targets.knobs.qeasy_id_rule = IdRule.REPEAT
        crm.sync(to_qeasy(), manual(full=True))
        crm.simulator.tenant.update("AccountObj", three[0], {"name": "新名称"})
        crm.later()
        with pytest.raises(IncompleteError, match=r"declare IdCheck\.SKIP_EXISTING"):
            crm.sync(to_qeasy())

    def test_one_that_cannot_tell_fails_too(self, crm: Bench, three: list[str]) -> None:
        """Others store so much meanwhile that the rows asked for are not among what a query may go through."""
        run, made = self.loaded(crm, to_qeasy(sample=0))
        held = crm.simulator.targets.qeasy._scheme("demo")
        held.rows[:] = [
            StoredRow(f"{n:024x}", f"r{n}", {"_id": f"r{n}"}, crm.simulator.clock.now()) for n in range(5_100)
        ]
        run = replace(run, pipeline=to_qeasy())
        with pytest.raises(UnverifiedError, match="could not say whether it holds 3 of 3 rows"):
            self.load_again(crm, run, made)

    def test_one_that_does_not_answer_now_is_asked_again_by_the_next_try(self, crm: Bench, three: list[str]) -> None:
        run = crm.run(to_qeasy())
        made = crm.plan(run, manual(full=True))
        crm.simulator.targets.faults.inject(Fault.UNAVAILABLE, on="query", times=4)
        with pytest.raises(TransientError):
            crm.deliver(run, made)
        self.load_again(crm, run, made)
        report = crm.verify(run)
        assert (report.delivered, report.asked, report.sent_again) == (3, 3, 0)

    def test_a_row_that_shows_late_is_waited_for(self, crm: Bench, three: list[str]) -> None:
        run, made = self.loaded(crm, to_qeasy(sample=0))
        crm.simulator.targets.knobs.qeasy_query_lag_s = 1.0
        patient = replace(crm.reach(), sleep=crm.simulator.clock.advance)
        run = replace(run, pipeline=to_qeasy(scheme="late"))
        transform(run, made.segments[0])
        crm.hub.forget("account", list(rows(run.segment(1))), run=run.id, now=crm.now())
        load(run, made.segments[0], hub=crm.hub, reach=patient, clock=crm.now)
        report = crm.verify(run)
        assert (report.asked, report.sent_again) == (3, 0)

    def test_newer_versions_of_a_row_in_doubt_are_in_doubt_and_fail_nothing(self, crm: Bench, three: list[str]) -> None:
        doubtful = to_qeasy(upserts=False, look_up=False, tries=1)
        crm.simulator.targets.faults.inject(Fault.ERROR_AFTER_COMMIT, on="store", times=1)
        assert crm.sync(doubtful, manual(full=True)).in_doubt == 1
        [held] = crm.hub.records("account", status=Status.IN_DOUBT)
        crm.simulator.tenant.update("AccountObj", held.id, {"name": "新名称"})
        crm.later()
        assert (crm.sync(doubtful).in_doubt, crm.sync(doubtful, manual(full=True)).in_doubt) == (1, 1)

    @pytest.mark.parametrize("sample", [-1, 1.5, 10_000, True])
    def test_a_sample_that_cannot_be_meant_is_refused(self, sample: Any) -> None:
        with pytest.raises(DeclarationError, match="sample="):
            QeasyStore(scheme="demo", sample=sample)


def _words(one: Pipeline) -> dict[str, Any]:
    return {"source": one.source, "fields": one.fields, "target": one.target}
