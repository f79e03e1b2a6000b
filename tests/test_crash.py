"""The short form of `make crash`: a few of the deaths that it tries all of."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.crash.cases import CASES
from tests.crash.crash import Scene, differences, scene
from tests.crash.wire import Death

pytestmark = pytest.mark.postgres
FEW = ("write, upserts", "write, appends", "qeasy, appends")
assert set(FEW) < set(CASES)


@pytest.fixture(scope="module", params=FEW)
def made(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with scene(request.param) as made:
        yield made


def spread(made: Scene) -> list[Death]:
    """Around the first sending to the target, where it matters most, and two others."""
    sent = next(place for place, event in enumerate(made.events, start=1) if event.endswith(("/write", "/store")))
    settled = made.events.index("COMMIT", sent) + 1
    others = Random(made.case).sample(range(1, len(made.events) + 1), 1)
    return [Death(sent, False), Death(sent, True), Death(settled, False), *(Death(at, True) for at in others)]


def test_a_death_at_a_call_or_a_commit_leaves_all_as_an_undisturbed_run_does(made: Scene) -> None:
    assert {event.split()[0] for event in made.events} == {"HTTP", "COMMIT"}
    for death in spread(made):
        life, left = made.dies(death)
        assert life.killed_at, f"nobody died {death}"
        assert differences(made, left) == [], f"{made.case}, killed {death}: {life.killed_at}"


def test_when_nobody_tries_again_the_next_run_makes_good(made: Scene) -> None:
    death = spread(made)[1]
    life, left = made.dies_for_good(death)
    assert life.killed_at
    assert differences(made, left, same_run=False) == [], f"{made.case}, killed {death}: {life.killed_at}"


def test_a_row_that_is_there_twice_would_be_seen(made: Scene) -> None:
    """The comparison can fail: a row behind everybody's back is one, and so is one that is gone."""
    made.lives(None)
    assert differences(made, made.left()) == []
    targets = made.simulator.targets
    rows = targets.write.rows or [targets.qeasy.contents("demo")[0]]
    twice = dict(rows[0])
    targets.write.rows.append(twice)
    assert differences(made, made.left())
