"""Two loads of one record in every order of their steps, with a death and a lease that runs out at every place.

`test_hub_ledger_model` draws long histories of three loaders at random; here two loads are small enough to try all:
every state that they and the ledger can get into is visited once, and every step is taken from each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync.hub import Decision, Hub, Settled, Status
from fenxiang_sync.hub.content import loads
from fenxiang_sync.hub.tables import record
from fenxiang_sync.rows import IdCheck, Outcome, Row
from tests.hub_fixtures import NOW, hub_file, row

LEASE = timedelta(seconds=60)
RUNS = ("schedule", "backfill")
BEFORE = row("A", 1, 1, value="before")


@dataclass(frozen=True)
class Load:
    """What a load does next: claim, wait (for the other), sending, send, settle; or nothing, with what it was told."""

    next: str = "claim"
    told: Decision | None = None


@dataclass(frozen=True)
class State:
    """All that there is: the ledger's row, both loads, what the target was sent, and what may still go wrong."""

    held: tuple[Any, ...] | None
    loads: tuple[Load, Load]
    sent: tuple[int, ...] = ()
    """Which load's version, in order of arrival."""
    now: int = 0
    """Leases that have passed."""
    deaths: int = 1
    delays: int = 1

    @property
    def disturbed(self) -> bool:
        return (self.deaths, self.delays) != (1, 1)


class World:
    """One hub in one state after the other."""

    def __init__(self, hub: Hub, file: str, versions: tuple[Row, Row], *, upserts: bool) -> None:
        self.hub = hub
        self.versions = versions
        self.upserts = upserts
        self._table = sqlite3.connect(file, isolation_level=None, timeout=30)
        self._table.execute("PRAGMA synchronous = OFF")

    def begin(self, *, known: bool) -> State:
        self._put(None)
        if known:
            self._claim("before", BEFORE, 0)
            self._settle("before", BEFORE, 0)
        return State(held=self._get(), loads=(Load(), Load()))

    def after(self, state: State) -> Iterator[State]:
        """Every state that one step leads to."""
        for who in (0, 1):
            load = state.loads[who]
            if load.next not in ("done", "wait"):
                yield self._step(state, who)
            if state.deaths and load.next not in ("claim", "wait"):  # and it is tried again
                yield replace(_with(state, who, Load()), deaths=state.deaths - 1)
        # Between `sending`, which renews the claim, and the send there is nothing that could take that long.
        if state.delays and not any(load.next == "send" for load in state.loads):
            yield replace(_awake(state), now=state.now + 1, delays=state.delays - 1)

    def _step(self, state: State, who: int) -> State:
        one, run, load = self.versions[who], RUNS[who], state.loads[who]
        if load.next == "send":
            return replace(_with(state, who, Load("settle")), sent=(*state.sent, who))
        self._put(state.held)
        if load.next == "claim":
            told = self._claim(run, one, state.now)
            load = Load("sending") if told.claimed else Load("wait" if told is Decision.BUSY else "done", told)
        elif load.next == "sending":
            load = Load("send") if self._sending(run, one, state.now) else Load()
        else:
            self._settle(run, one, state.now)
            load = Load("done")
        return replace(_with(state, who, load), held=self._get())

    def record(self, state: State) -> dict[str, Any]:
        """What the ledger's row says, by column; nothing where there is none."""
        return {} if state.held is None else dict(zip(record.c.keys(), state.held, strict=True))

    def _claim(self, run: str, one: Row, now: int) -> Decision:
        (told,) = self.hub.claim(
            "stock", [one], run=run, id_check=IdCheck.UPSERT_ON_CHANGE, upserts=self.upserts,
            lease_s=LEASE.total_seconds(), now=NOW + now * LEASE,
        )  # fmt: skip
        return told

    def _sending(self, run: str, one: Row, now: int) -> bool:
        (ours,) = self.hub.sending(
            "stock", [one], run=run, upserts=self.upserts, lease_s=LEASE.total_seconds(), now=NOW + now * LEASE
        )
        return ours

    def _settle(self, run: str, one: Row, now: int) -> None:
        self.hub.settle("stock", [Settled(row=one, outcome=Outcome.DELIVERED)], run=run, now=NOW + now * LEASE)

    def _get(self) -> tuple[Any, ...] | None:
        found = self._table.execute("SELECT * FROM fenxiang_record").fetchone()
        return None if found is None else tuple(found)

    def _put(self, held: tuple[Any, ...] | None) -> None:
        if held == self._get():
            return
        self._table.execute("DELETE FROM fenxiang_record")
        if held is not None:
            self._table.execute(f"INSERT INTO fenxiang_record VALUES ({', '.join('?' * len(held))})", held)


def _with(state: State, who: int, load: Load) -> State:
    """The load has moved on, so the other need not wait any more."""
    changed = _awake(state) if load.next != "wait" else state
    return replace(changed, loads=(load, changed.loads[1]) if who == 0 else (changed.loads[0], load))


def _awake(state: State) -> State:
    first, second = (Load() if load.next == "wait" else load for load in state.loads)
    return replace(state, loads=(first, second))


def _stamp(one: Row) -> tuple[int, int]:
    return (one.modified_ms, one.version)


def check(world: World, state: State, *, known: bool) -> None:
    """What must be true at any moment, and when both have ended."""
    sent = [world.versions[who] for who in state.sent]
    stamps = [_stamp(one) for one in sent]
    assert stamps == sorted(stamps), "an older version came last"
    # Two contents of one version come from two declarations; neither is the newer, and a retry puts its own back.
    rivals = len({one.hash for one in world.versions}) > len(set(map(_stamp, world.versions)))
    if not state.disturbed or not (world.upserts or rivals):
        came = [(_stamp(one), one.hash) for one in sent]
        assert len(came) == len(set(came)), "sent twice"
    held = world.record(state)
    there = sent[-1].content if sent else BEFORE.content if known else None
    if held.get("status") == Status.FINISHED:
        assert loads(held["content"]) == there, "the ledger says that the target holds something else"
    if all(load.next == "done" for load in state.loads):
        _check_end(world, state, held, there)


def _check_end(world: World, state: State, held: dict[str, Any], there: Any) -> None:
    newest = max(map(_stamp, world.versions))
    if held["status"] == Status.IN_DOUBT:
        assert not world.upserts
        assert state.disturbed, "in doubt, and nothing happened"
        return
    assert held["status"] == Status.FINISHED
    assert held["claim_until"] is None
    assert there in [one.content for one in world.versions if _stamp(one) == newest]
    assert (held["modified_ms"], held["version"]) == newest
    if not state.disturbed and world.versions[0].hash == world.versions[1].hash:
        assert len(state.sent) <= 1, "the same content was sent for each version"


VERSIONS = {
    "newer by time": (row("A", 5, 1, value="x"), row("A", 6, 1, value="y")),
    "newer by version": (row("A", 5, 1, value="x"), row("A", 5, 2, value="y")),
    "newer, version lower": (row("A", 5, 9, value="x"), row("A", 6, 1, value="y")),
    "newer, same content": (row("A", 5, 1, value="x"), row("A", 6, 2, value="x")),
    "same, other content": (row("A", 5, 1, value="x"), row("A", 5, 1, value="y")),
    "same": (row("A", 5, 1, value="x"), row("A", 5, 1, value="x")),
    "newer, back to what was before": (row("A", 5, 1, value="x"), row("A", 6, 2, value="before")),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, str]]:
    file = hub_file(tmp_path_factory.mktemp("hub"))
    with Hub.connect(f"sqlite:///{Path(file)}") as hub:
        yield hub, str(file)


@pytest.mark.parametrize("upserts", [True, False])
@pytest.mark.parametrize("versions", VERSIONS.values(), ids=VERSIONS.keys())
def test_in_every_order_the_newest_version_lands_last_and_no_row_twice(
    hub: tuple[Hub, str], versions: tuple[Row, Row], upserts: bool
) -> None:
    world = World(*hub, versions, upserts=upserts)
    for known in (False, True):
        begin = world.begin(known=known)
        came_from: dict[State, State | None] = {begin: None}
        open_states = [begin]
        while open_states:
            state = open_states.pop()
            for then in world.after(state):
                if then not in came_from:
                    came_from[then] = state
                    try:
                        check(world, then, known=known)
                    except AssertionError as error:
                        raise AssertionError(f"{error}\n{_history(came_from, then)}") from error
                    open_states.append(then)
        ends = [state for state in came_from if all(load.next == "done" for load in state.loads)]
        stuck = [state for state in came_from if state not in ends and not any(True for _ in world.after(state))]
        assert stuck == []
        assert {state.disturbed for state in ends} == {True, False}


def _history(came_from: dict[State, State | None], state: State) -> str:
    """How it came to this: the loads and what was sent, step by step."""
    steps: list[str] = []
    at: State | None = state
    while at is not None:
        steps.append(f"{[load.next for load in at.loads]} sent {at.sent}, leases passed {at.now}")
        at = came_from[at]
    return "\n".join(reversed(steps))
