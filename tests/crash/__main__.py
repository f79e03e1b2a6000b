"""``python -m tests.crash [--target NAME] [--minutes 60]``: a death at every event; exit code 1 where one shows."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tests.crash.cases import CASES
from tests.crash.crash import Scene, differences, scene
from tests.crash.wire import Death


@dataclass
class Tally:
    """What came of the deaths at one target."""

    deaths: int = 0
    doubtful: int = 0
    """Deaths that left rows in doubt, and said so."""
    found: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--target", choices=list(CASES), action="append", help="only these (default: all)")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after so long, and say so (default 60)")
    given = parser.parse_args()
    until = time.monotonic() + given.minutes * 60
    print(f"{'target':16}{'events':>8}{'commits':>9}{'kills':>7}{'in doubt':>10}{'differences':>13}", flush=True)
    good = True
    for target in given.target or CASES:
        try:
            with scene(target) as made:
                tally = die_everywhere(made, until)
        except pytest.skip.Exception as skipped:
            print(f"No death was tried: {skipped}", file=sys.stderr)
            return 1
        commits = made.events.count("COMMIT")
        numbers = f"{len(made.events):>8}{commits:>9}{tally.deaths:>7}{tally.doubtful:>10}{len(tally.found):>13}"
        print(f"\r{target:16}{numbers}", flush=True)
        for line in tally.found:
            print(f"  {line}", file=sys.stderr)
        wanted = 4 * len(made.events)  # before and after each; tried again, and another run
        if tally.deaths < wanted:
            print(f"  only {tally.deaths} of {wanted} deaths: out of time, or not reached", file=sys.stderr)
        good = good and tally.deaths == wanted and not tally.found
    return 0 if good else 1


def die_everywhere(made: Scene, until: float) -> Tally:
    """Before and after every event; the task is tried again, or another run comes."""
    deaths = [Death(at, answered) for at in range(1, len(made.events) + 1) for answered in (False, True)]
    tally = Tally()
    for place, death in enumerate(deaths, start=1):
        for same_run in (True, False):
            if time.monotonic() > until:
                return tally
            _die(made, death, tally, same_run=same_run)
        if sys.stderr.isatty():
            print(f"\r{made.case}: {place} of {len(deaths)}", end="", file=sys.stderr, flush=True)
        elif place % 20 == 0:
            print(f"{made.case}: {place} of {len(deaths)}", file=sys.stderr, flush=True)
    return tally


def _die(made: Scene, death: Death, tally: Tally, *, same_run: bool) -> None:
    life, left = made.dies(death) if same_run else made.dies_for_good(death)
    if life.killed_at is None:  # the run took another course
        return
    tally.deaths += 1
    tally.doubtful += bool(left.doubtful)
    what = "tried again" if same_run else "another run"
    told: Sequence[str] = differences(made, left, same_run=same_run)
    tally.found += [f"{death} ({life.killed_at}), {what}: {each}" for each in told]


if __name__ == "__main__":
    sys.exit(main())
