"""``python -m tests.chaos [--minutes 5] [--seed N]``: chaos, then a table; exit code 1 where it is not all 0."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.chaos.chaos import SPOILED, Chaos, Outcome, chaos
from tests.chaos.pipelines import PIPELINES
from tests.chaos.scheduler import RunFailedError

COLUMNS = ("records", "missing", "extra", "stale", "duplicated", "removed", "deleted", "in_doubt")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long everything goes wrong (default 5)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="of records, faults, edits and deaths"
    )
    parser.add_argument("--pipeline", choices=list(PIPELINES), action="append", help="only these (default: all)")
    given = parser.parse_args()
    asked = Chaos(seed=given.seed, minutes=given.minutes, pipelines=tuple(given.pipeline or PIPELINES))
    print(
        f"Chaos for {asked.minutes:g} minutes, seed {asked.seed}: {len(SPOILED)} faults at {asked.part:.0%} each",
        flush=True,
    )
    folder = Path(tempfile.mkdtemp(prefix="fenxiang-chaos-"))
    try:
        outcome = chaos(asked, folder)
    except RunFailedError as failure:
        print(f"The last run, which nothing disturbed, failed: {failure}", file=sys.stderr)
        return _bad(asked, folder)
    print(told(outcome))
    if not outcome.good:
        return _bad(asked, folder)
    shutil.rmtree(folder)
    return 0


def _bad(asked: Chaos, folder: Path) -> int:
    only = "".join(f" --pipeline {name}" for name in asked.pipelines)
    again = f"python -m tests.chaos --minutes {asked.minutes:g} --seed {asked.seed}{only}"
    print(f"Not as it must be. Hub, stage and the workers' log: {folder}. Again: {again}", file=sys.stderr)
    return 1


def told(outcome: Outcome) -> str:
    """The table, and what happened."""
    lines = [f"{'pipeline':12}" + "".join(f"{name.replace('_', ' '):>12}" for name in COLUMNS)]
    lines += [
        f"{score.pipeline:12}" + "".join(f"{getattr(score, name):>12,}" for name in COLUMNS) for score in outcome.scores
    ]
    broken = ", ".join(f"{what} {times}" for what, times in outcome.violations.items())
    lines += [
        "",
        f"violations    {sum(outcome.violations.values())} ({broken})",
        f"requests      {outcome.requests:,}, of which {outcome.spoiled:,} were spoiled, in {outcome.seconds:.0f} s",
        f"windows       {_counted(outcome.windows)}; {len(outcome.failed)} runs failed, and said why",
        f"deaths        {outcome.killed.total()} ({_counted(outcome.killed)})",
        f"failed tries  {outcome.tries.total()} ({_counted(outcome.tries)})",
        f"tokens        {outcome.token_calls} calls for {outcome.revocations} revocations",
        f"edits         {_counted(outcome.edits)}",
    ]
    return "\n".join(lines + [f"  {failure}" for failure in outcome.failed])


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{number} {what}" for what, number in sorted(counter.items())) or "none"


if __name__ == "__main__":
    sys.exit(main())
