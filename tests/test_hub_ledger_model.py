"""Every order of claims, sends, losses and deaths of three loaders, against a model of what the target really holds."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fenxiang_sync.hub import Decision, Hub, Settled, Status
from fenxiang_sync.rows import IdCheck, Outcome, Row
from tests.hub_fixtures import NOW, hub_file, row

LEASE_S = 60
IDS = ("A", "B")
LOADERS = (("run-1", "0"), ("run-1", "1"), ("run-2", ""))
_names = itertools.count()


@dataclasses.dataclass
class Truth:
    """One record: its versions at the source (content by stamp), and what the target has been sent and holds."""

    versions: list[Row]
    taken: list[Row] = dataclasses.field(default_factory=list)
    unanswered: bool = False
    """A send whose outcome the ledger cannot know yet."""
    holder: tuple[str, str] | None = None
    until: datetime = NOW
    """Who claimed it last (and may be dead by now), until when."""
    highest: tuple[int, int] = (0, 0)
    """The newest version that the ledger was ever told."""


@dataclasses.dataclass
class Claim:
    row: Row
    until: datetime
    sent: Outcome | None = None


class Loads(RuleBasedStateMachine):
    """The target is real in so far as it holds what it is sent; loaders die and answers get lost."""

    hub: Hub
    upserts: bool

    @initialize()
    def begin(self) -> None:
        self.pipeline = f"p{next(_names)}"
        self.now = NOW
        self.truth = {one: Truth([row(one, 1, 1, value=0)]) for one in IDS}
        self.claims: dict[tuple[str, str], dict[str, Claim]] = {loader: {} for loader in LOADERS}

    @rule(record=st.sampled_from(IDS), value=st.integers(0, 1), tick=st.integers(0, 2), number=st.integers(1, 2))
    def edit(self, record: str, value: int, tick: int, number: int) -> None:
        last = self.truth[record].versions[-1]
        assume((tick, number) > (0, 0))
        stamp = (last.modified_ms + tick, last.version + number)
        self.truth[record].versions.append(row(record, *stamp, value=value))

    @rule(seconds=st.sampled_from([1, 30, 61]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(loader=st.sampled_from(LOADERS), data=st.data())
    def claim(self, loader: tuple[str, str], data: st.DataObject) -> None:
        """A loader comes with versions that it may have read long ago, one record perhaps twice."""
        batch = [
            data.draw(st.sampled_from(self.truth[record].versions[-4:]))
            for record in data.draw(st.lists(st.sampled_from(IDS), min_size=1, max_size=3))
        ]
        run, segment = loader
        previewed = self.hub.preview(
            self.pipeline, batch, id_check=IdCheck.UPSERT_ON_CHANGE, upserts=self.upserts, now=self.now
        )
        decisions = self.hub.claim(
            self.pipeline, batch, run=run, segment=segment, id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=LEASE_S,
            now=self.now, upserts=self.upserts,
        )  # fmt: skip
        for one, decision, before in zip(batch, decisions, previewed, strict=True):
            self._check(loader, one, decision, batch)
            expected = Decision.UNCHANGED if decision is Decision.DELIVERED else decision
            assert before in (expected, Decision.BUSY), "a preview is what a run that is new would be told"
            if decision is Decision.IN_DOUBT:
                self.claims[loader].pop(one.id, None)  # it asked again instead of settling: the doubt is on record
            if decision.claimed:
                self.claims[loader][one.id] = Claim(one, self._lease(loader, self.truth[one.id]))
            if decision.claimed or decision is Decision.UNCHANGED:
                truth = self.truth[one.id]
                truth.highest = max(truth.highest, stamp(one))

    def _lease(self, loader: tuple[str, str], truth: Truth) -> datetime:
        truth.holder, truth.until = loader, self.now + timedelta(seconds=LEASE_S)
        return truth.until

    def _check(self, loader: tuple[str, str], one: Row, decision: Decision, batch: list[Row]) -> None:
        truth = self.truth[one.id]
        others = [c for who in LOADERS if who != loader and (c := self.claims[who].get(one.id)) and c.until > self.now]
        if decision.claimed:
            assert not others, "one claimant at a time"
            assert all(stamp(one) >= stamp(sent) for sent in truth.taken), "nothing older is sent"
            assert self.upserts or not truth.unanswered, "nothing in doubt is sent again"
            assert (decision is Decision.CHANGED) <= bool(truth.taken)
        elif decision in (Decision.UNCHANGED, Decision.DELIVERED):
            assert truth.taken[-1].hash == one.hash, "unchanged is what the target holds"
        elif decision is Decision.BUSY:
            assert truth.holder not in (None, loader)
            assert truth.until > self.now
        elif decision is Decision.IN_DOUBT:
            assert truth.unanswered
        else:
            assert decision is Decision.STALE
            assert stamp(one) < truth.highest or [o.id for o in batch].count(one.id) > 1

    @precondition(lambda self: any(self.claims.values()))
    @rule(data=st.data(), end=st.sampled_from(["delivered", "refused", "lost after", "lost before"]))
    def send(self, data: st.DataObject, end: str) -> None:
        """Renew, then send at once; the answer may be lost after or before the target took the row."""
        loader, claim = self._some_claim(data, sent=False)
        ours = self.hub.sending(
            self.pipeline, [claim.row], run=loader[0], segment=loader[1], lease_s=LEASE_S, now=self.now,
            upserts=self.upserts,
        )  # fmt: skip
        if ours == [False]:
            assert claim.until <= self.now, "a live claim is never taken"
            del self.claims[loader][claim.row.id]
            return
        truth = self.truth[claim.row.id]
        claim.until = self._lease(loader, truth)
        truth.unanswered = True
        if end in ("delivered", "lost after"):
            assert all(stamp(claim.row) >= stamp(sent) for sent in truth.taken), "an older version came last"
            truth.taken.append(claim.row)
        claim.sent = {"delivered": Outcome.DELIVERED, "refused": Outcome.DEAD_LETTER}.get(end, Outcome.IN_DOUBT)

    @precondition(lambda self: any(c.sent for held in self.claims.values() for c in held.values()))
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        loader, claim = self._some_claim(data, sent=True)
        assert claim.sent is not None
        done = Settled(row=claim.row, outcome=claim.sent)
        lost = self.hub.settle(self.pipeline, [done], run=loader[0], segment=loader[1], now=self.now)
        del self.claims[loader][claim.row.id]
        if lost:
            assert claim.until <= self.now, "a live claim is never lost"
            return
        truth = self.truth[claim.row.id]
        truth.holder = None
        if claim.sent is not Outcome.IN_DOUBT:
            truth.unanswered = False

    @rule(loader=st.sampled_from(LOADERS))
    def die(self, loader: tuple[str, str]) -> None:
        """The process is gone, with all it knew; its claims stand until their lease is over."""
        self.claims[loader] = {}

    @invariant()
    def the_ledger_never_says_more_than_the_target_holds(self) -> None:
        for held in self.hub.records(self.pipeline):
            taken = self.truth[held.id].taken
            if held.content is not None:
                assert held.content in [sent.content for sent in taken]
            if held.status is Status.FINISHED:
                assert taken[-1].content == held.content

    def teardown(self) -> None:
        """After all that, one undisturbed run brings the target up to date, or names what is in doubt."""
        if not hasattr(self, "truth"):
            return
        now = self.now + timedelta(seconds=2 * LEASE_S)
        newest = [truth.versions[-1] for truth in self.truth.values()]
        decisions = self.hub.claim(
            self.pipeline, newest, run="last", id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=LEASE_S, now=now,
            upserts=self.upserts,
        )  # fmt: skip
        for one, decision in zip(newest, decisions, strict=True):
            truth = self.truth[one.id]
            if decision is Decision.IN_DOUBT:
                assert not self.upserts
                assert truth.unanswered
            elif decision is Decision.UNCHANGED:
                assert truth.taken[-1].content == one.content
            else:
                assert decision.claimed
        settled = [
            Settled(row=o, outcome=Outcome.DELIVERED) for o, d in zip(newest, decisions, strict=True) if d.claimed
        ]
        assert self.hub.settle(self.pipeline, settled, run="last", now=now) == 0
        for one in settled:
            assert next(self.hub.records(self.pipeline, ids=[one.row.id])).content == one.row.content

    def _some_claim(self, data: st.DataObject, *, sent: bool) -> tuple[tuple[str, str], Claim]:
        there = [(who, c) for who, held in self.claims.items() for c in held.values() if (c.sent is not None) == sent]
        assume(there)
        return data.draw(st.sampled_from(there))


def stamp(one: Row) -> tuple[int, int]:
    return (one.modified_ms, one.version)


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with tempfile.TemporaryDirectory() as folder, Hub.connect(f"sqlite:///{hub_file(Path(folder))}") as hub:
        yield hub


@pytest.mark.parametrize("upserts", [True, False])
def test_no_order_of_loads_loses_doubles_or_reverts_a_record(hub: Hub, upserts: bool) -> None:
    machine = type("Loads", (Loads,), {"hub": hub, "upserts": upserts})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=100, stateful_step_count=40, suppress_health_check=list(HealthCheck)),
    )
