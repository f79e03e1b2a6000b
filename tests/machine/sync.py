"""Sync: the machine. People, server, target and workers do what is drawn; all is checked after each task."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.hub import Hub
from fenxiang_sync.rows import DeletePolicy
from fenxiang_sync.steps import Asked, Kind, Segment
from fenxiang_sync.steps.courier import LEASE_S
from fenxiang_sync.steps.reconcile import Wanted
from fenxiang_sync.steps.verify import Report, clean
from fenxiang_sync.window import Window, from_ms, gaps, to_ms
from tests.machine import drawn
from tests.machine.people import DEEDS, People
from tests.machine.running import ORDER, Comparing, Going
from tests.machine.truth import Truth, gives_a_row
from tests.machine_fixtures import STORES, TROUBLES, Killed, Store, World, world

HOUR_MS = 3_600_000
FAULTS = (
    *("html_200", "http_502", "truncated_json", "cut", "reset", "busy", "system_error", "timeout_code", "throttled"),
    *("token_expired", "redirect"),
)
PAGE_FAULTS = ("repeated_page", "empty_page", "short_page")
GET_FAULTS = ("stale_record", "other_record", "timeout_code")
MOST_OPEN = 2
LAGS_MS = (0, 50, 3_000, 20_000)
ACTIONS = (
    *("people", "people", "people", "wait", "wait", "server", "fault", "calm", "target", "death"),
    *("start", "start", "start", "step", "step", "step", "finish", "finish", "finish", "clear", "repeat", "abandon"),
    *("meanwhile", "meanwhile", "reconcile", "reconcile_step"),
)
FIRST_AGES = (1, 60, 60, 3_599, 3_600, 3_601, 7_200, 90_000, 300_000)

T = TypeVar("T")
_names = itertools.count(1)


class Sync(RuleBasedStateMachine):
    """People, faults, tasks and deaths in any order. Everything is checked after each task."""

    hub: Hub
    folder: Path
    gets: bool
    """Whether a field is got of each record, which makes an example four times as long."""

    # How it begins

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        draw = data.draw
        self.stack = ExitStack()
        number = next(_names)
        knobs = drawn.knobs(draw) | {"only_get": "long" if self.gets else "marked"}
        self.world: World = self.stack.enter_context(world(self.hub, self.folder, **knobs))
        self.simulator, self.time = self.world.simulator, self.world.time
        self.skew_ms: int = knobs["clock_skew_ms"]
        self.pipeline = drawn.pipeline(draw, f"machine-{number}", gets=self.gets)
        self.store = STORES[self.pipeline.name] = Store()
        # A server that takes rights into account after the limit and has an order of its own cannot be read in full:
        # a page of records that may not be seen looks like the end. It would be the third surprise at once.
        hides = knobs["id_order"] == "same" or not knobs["filter_after_limit"]
        self.people = People(self.world, partial(gives_a_row, self.pipeline), hides=hides)
        self.truth = Truth(self.world, self.hub, self.pipeline, self.store, self.people)
        self.going: list[Going] = []
        self.comparing: Comparing | None = None
        self.full, self.deep = draw(st.booleans()), draw(st.sampled_from([False, False, True]))
        self.runs = itertools.count(1)
        self.tick = to_ms(self.pipeline.start) if self.pipeline.start else 0
        for age, how in draw(
            st.lists(st.tuples(st.sampled_from(FIRST_AGES), st.integers(0, 14)), min_size=5, max_size=16)
        ):
            self.people.create(how, self.people.now_ms() - age * 1000)
        self.simulator.knobs.visibility_lag_ms = draw(st.sampled_from(LAGS_MS))

    @rule(data=st.data(), action=st.sampled_from(ACTIONS))
    def happens(self, data: st.DataObject, action: str) -> None:
        """One rule, since Hypothesis leaves out rules for whole examples: nothing would be read in most of them."""
        getattr(self, f"_{action}")(data.draw)

    # People

    def _people(self, draw: Any) -> None:
        """Some edits, one after the other."""
        for deed in draw(st.lists(DEEDS, min_size=1, max_size=4)):
            self.people.does(deed)

    def _meanwhile(self, draw: Any) -> None:
        """Some edits just before the n-th call of a task to come: between two pages, or while plan or verify asks."""
        calls = draw(st.integers(0, 20))
        for deed in draw(st.lists(DEEDS, min_size=1, max_size=4)):
            self.world.deaths.meanwhile.append((calls, partial(self.people.does, deed)))

    # The server, the target, the workers

    def _wait(self, draw: Any) -> None:
        self.time.sleep(draw(st.sampled_from([0.001, 0.5, 1, 5, 21, 90, 1_800, 3_600, 7_200, 86_400])))

    def _server(self, draw: Any) -> None:
        knobs = self.simulator.knobs
        change = draw(st.sampled_from(["lag", "skew", "people at work"]))
        if change == "lag":
            knobs.visibility_lag_ms = draw(st.sampled_from(LAGS_MS))
        elif change == "people at work":
            knobs.edits_per_request = draw(st.sampled_from([0, 1, 3]))
        elif self.pipeline.source.settle:
            knobs.clock_skew_ms = self.skew_ms + draw(st.sampled_from([-2_000, 0, 2_000]))

    def _fault(self, draw: Any) -> None:
        faults = self.simulator.faults
        kind = draw(st.sampled_from(["call", "page", "pages", *["get"][: len(self.pipeline.got)]]))
        if kind == "call":
            faults.rate(draw(st.sampled_from(FAULTS)), draw(st.sampled_from([0.05, 0.3])))
        elif kind == "page":
            faults.next(draw(st.sampled_from(PAGE_FAULTS)), path="/query", skip=draw(st.integers(0, 8)))
        elif kind == "get":
            times = draw(st.sampled_from([1, 3]))
            faults.next(draw(st.sampled_from(GET_FAULTS)), times, path="/data/get", skip=draw(st.integers(0, 8)))
        else:
            faults.rate(draw(st.sampled_from(PAGE_FAULTS)), 0.05)

    def _calm(self, draw: Any) -> None:
        self.simulator.faults.clear()
        self.simulator.knobs.edits_per_request = 0

    def _target(self, draw: Any) -> None:
        self.store.troubles.extend([""] * draw(st.integers(0, 2)) + [draw(st.sampled_from(TROUBLES))])

    def _death(self, draw: Any) -> None:
        """A task to come is killed."""
        where = draw(st.sampled_from(["calls", "calls", "writes", "files"]))
        setattr(self.world.deaths, where, draw(st.integers(0, {"calls": 25, "writes": 6, "files": 8}[where])))

    # Runs

    def _start(self, draw: Any) -> None:
        if len(self.going) == MOST_OPEN:
            self._finish(draw)
            return
        kind = draw(st.sampled_from(["scheduled", "scheduled", "backfill", "manual", "manual"]))
        run = self.world.run(self.pipeline, f"run-{next(self.runs)}")
        self.going.append(Going(run=run, asked=getattr(self, f"_{kind}")(draw)))
        self._do(self.going[-1], "plan", None)

    def _scheduled(self, draw: Any) -> Asked:
        """The next interval, at its end; a little before by our clock, perhaps."""
        since = self.tick
        begin = max(since, (to_ms(self.time.utc()) // HOUR_MS - 1) * HOUR_MS)
        self.tick = begin + draw(st.integers(1, 3)) * HOUR_MS
        early = draw(st.sampled_from([0, 0, 0, 10, 100]))
        self.time.sleep(self.tick / 1000 - early - self.time.now)
        return Asked(kind=Kind.SCHEDULED, since=from_ms(since), until=from_ms(self.tick))

    def _backfill(self, draw: Any) -> Asked:
        now = to_ms(self.time.utc()) // HOUR_MS
        since = now - draw(st.integers(1, 100))
        until = min(since + draw(st.integers(1, 30)), now)
        return Asked(kind=Kind.BACKFILL, since=from_ms(since * HOUR_MS), until=from_ms(until * HOUR_MS))

    def _manual(self, draw: Any) -> Asked:
        """Nothing given, a range, or everything."""
        now = self.time.utc()
        ago = draw(st.sampled_from([None, None, 0.5, 30, 600, 5_000, 100_000]))
        until = draw(st.sampled_from([None, None, None, -100, 0, 0.4, 5, 600, 4_000]))
        if ago is not None and until is not None and until >= ago:
            until = None
        bounds = [None if one is None else now - timedelta(seconds=one) for one in (ago, until)]
        full = ago is None and draw(st.booleans())
        dry_run = draw(st.sampled_from([False, False, False, True]))
        confirmed = draw(st.sampled_from([0, 10**6]))
        return Asked(
            kind=Kind.MANUAL, since=bounds[0], until=bounds[1], full=full, dry_run=dry_run, confirmed=confirmed
        )

    def _step(self, draw: Any) -> None:
        """One task of one run."""
        if self.going:
            self._next(self._one(draw), draw)

    def _finish(self, draw: Any) -> None:
        """All tasks that are left of one run, unless one fails; people go on meanwhile."""
        if self.going:
            one = self._one(draw)
            while one in self.going and self._next(one, draw):
                if draw(st.integers(0, 3)) == 3:
                    self._people(draw)

    def _clear(self, draw: Any) -> None:
        """Somebody clears a task, with what comes after it."""
        if not self.going:
            return
        one, back = self._one(draw), draw(st.integers(0, len(ORDER)))
        begun = one.begun()
        if back == len(ORDER):
            self._do(one, "plan", None)
        elif begun:
            index = self._some_of(begun, draw).index
            one.done[index] = min(back, one.done[index])

    def _repeat(self, draw: Any) -> None:
        """A task runs once more, alone (its worker did not get through to say that it was done)."""
        begun = [(one, segment) for one in self.going for segment in one.begun()]
        if begun:
            one, segment = self._some_of(begun, draw)
            self._do(one, ORDER[one.done[segment.index] - 1], segment)

    def _abandon(self, draw: Any) -> None:
        """The run has failed for good."""
        if self.going:
            self.going.remove(self._one(draw))

    # Reconciles, one at a time

    def _reconcile(self, draw: Any) -> None:
        """All tasks of one, or what is left of it, unless one fails; people go on meanwhile."""
        self._reconcile_step(draw)
        while self.comparing:
            if draw(st.integers(0, 2)) == 2:
                self._people(draw)
            if not self._compare(self.comparing):
                return

    def _reconcile_step(self, draw: Any) -> None:
        """The next task, or the first of a new one."""
        if self.comparing is None or draw(st.integers(0, 9)) == 9:
            self.comparing = Comparing(
                run=self.world.run(self.pipeline, f"reconcile.{next(self.runs)}"), wanted=self._wanted(draw)
            )
        self._compare(self.comparing)

    def _wanted(self, draw: Any) -> Wanted:
        ago = draw(st.sampled_from([None, None, None, 600, 100_000]))
        return Wanted(
            since=None if ago is None else self.time.utc() - timedelta(seconds=ago),
            full=draw(st.booleans()),
            deep=draw(st.sampled_from([None, None, True])),
            dry_run=draw(st.sampled_from([False, False, False, True])),
            confirmed=draw(st.sampled_from([0, 1_000])),
        )

    def _compare(self, one: Comparing) -> bool:
        """Do the next task of a reconcile; False where it failed. It certifies nothing and removes no ordinary row."""
        certified, target = self.hub.certified(self.pipeline.name), self._target_now()
        name, segment = one.next()
        outcome: Any = None
        try:
            outcome = self.world.compare(one.run, name, one.wanted, segment)
        except (FenxiangSyncError, Killed) as error:
            outcome = error
        failed = isinstance(outcome, BaseException)
        of = f" of segment {segment.index}" if segment else ""
        note(f"{self.time.utc():%H:%M:%S} {one.run.id} {one.wanted}, {name}{of}: {outcome!r}")
        if not failed:
            one.succeeded(name, outcome)
        if one.done:
            self.comparing = None
        assert self.hub.certified(self.pipeline.name) == certified, f"{name} of a reconcile certified something"
        if one.wanted.dry_run or name not in ("load", "conclude"):
            assert self._target_now() == target, f"{name} of a reconcile sent or removed something"
        assert self.store.removed.keys() <= self.people.doomed, f"{name} removed rows of ordinary records"
        self.truth.no_version_overwrote_a_newer_one()
        return not failed

    def _target_now(self) -> tuple[int, dict[str, DeletePolicy]]:
        return self.store.taken(), dict(self.store.removed)

    def _one(self, draw: Any) -> Going:
        return self._some_of(self.going, draw)

    def _some_of(self, items: Sequence[T], draw: Any) -> T:
        return items[draw(st.integers(0, len(items) - 1))]

    def _next(self, one: Going, draw: Any) -> bool:
        if one.made is None:
            return self._do(one, "plan", None)
        left = one.open()
        if left:
            segment = self._some_of(left, draw)
            return self._do(one, ORDER[one.done.get(segment.index, 0)], segment)
        return self._do(one, "verify", None)

    # What must hold

    def _do(self, one: Going, name: str, segment: Segment | None) -> bool:
        """Do one task; False where it failed. Whatever became of it, the target and the certificates must be right."""
        certified, taken = self.hub.certified(self.pipeline.name), self.store.taken()
        before = self.truth.seen()
        outcome: Any = None
        try:
            outcome = self.world.step(one.run, name, one.asked, segment)
        except (FenxiangSyncError, Killed) as error:
            outcome = error
        failed = isinstance(outcome, BaseException)
        of = f" of segment {segment.index}" if segment else ""
        note(f"{self.time.utc():%H:%M:%S} {one.run.id} ({one.asked.kind}), {name}{of}: {outcome}")
        if name == "plan":
            one.made, one.done = (None if failed else outcome), {}
        elif segment is not None and not failed:
            one.done[segment.index] = ORDER.index(name) + 1
        elif segment is not None and name == "extract":
            one.done[segment.index] = 0
        now = self.hub.certified(self.pipeline.name)
        if name != "verify" or one.asked.dry_run or isinstance(outcome, FenxiangSyncError):
            assert now == certified, f"{name} ended with {outcome!r} and certified something"
        if one.asked.dry_run:
            assert self.store.taken() == taken, "a dry run sent something"
        self.truth.no_version_overwrote_a_newer_one()
        if isinstance(outcome, Report):
            self.truth.adds_up(outcome, dry_run=one.asked.dry_run)
            self.truth.complete(outcome, before)
            clean(one.run)
            self.going.remove(one)
        return not failed

    # How it ends

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        with self.stack:
            self._everything_is_there_after_one_undisturbed_run()

    def _everything_is_there_after_one_undisturbed_run(self) -> None:
        self.simulator.faults.clear()
        self.simulator.knobs.edits_per_request = 0
        self.store.troubles.clear()
        self.world.deaths.clear()
        self.time.sleep(30)
        run, asked = self.world.run(self.pipeline, "last"), Asked(kind=Kind.MANUAL, confirmed=10**6)
        made = self.world.step(run, "plan", asked, None)
        for segment in made.segments:
            for name in ORDER:
                self.world.step(run, name, asked, segment)
        report = self.world.step(run, "verify", asked, None)
        assert not report.window.empty
        certified = self.hub.certified(self.pipeline.name)
        first = to_ms(self.pipeline.start) if self.pipeline.start else certified[0].since_ms
        holes = gaps(Window(first, report.window.until_ms), certified)
        too_old = to_ms(report.window.since - self.pipeline.reach_back)
        assert all(hole.until_ms <= too_old for hole in holes), f"{holes} are open"
        self.truth.no_version_overwrote_a_newer_one()
        self.truth.all_is_there(certified)
        self._everything_is_right_after_one_undisturbed_reconcile(certified)

    def _everything_is_right_after_one_undisturbed_reconcile(self, certified: list[Window]) -> None:
        self.people.delete_some(self.truth.seen())
        self.time.sleep(2 * LEASE_S)
        run = self.world.run(self.pipeline, "reconcile.last")
        last = Comparing(run=run, wanted=Wanted(full=self.full, deep=self.deep, confirmed=10**6))
        while not last.done:
            assert self._compare(last), "an undisturbed reconcile failed"
        self.truth.all_is_right(certified)
