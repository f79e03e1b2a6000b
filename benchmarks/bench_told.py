"""What it costs to keep what a target tells: settling rows that tell something, beside rows that tell nothing.

Run: ``python -m benchmarks told [ROWS]``. Rows are claimed and settled as delivered in batches of 1,000; only the
settling is timed: on SQLite in CPU time of this process, which does all of it, on PostgreSQL by the clock. Rounds of
both kinds take turns on one hub each, and the best of each counts, so that what else the machine does meanwhile falls
on both. Where nothing is told, settling makes the same statements as it would without all
this, which a test holds (``test_hub_told``); the first column says what that takes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bench_ledger import batches, rows
from fenxiang_sync.hub import Hub, Settled
from fenxiang_sync.rows import IdCheck, Outcome
from tests.hub_fixtures import empty_database

ROWS = 15_000
ROUNDS = 5
CLOCKS = {"sqlite": time.process_time, "postgresql": time.perf_counter}


def settled(hub: Hub, count: int, round_: int, clock: Callable[[], float], *, tells: bool) -> float:
    """Seconds to settle so many rows, all of them changed since the round before."""
    seconds = 0.0
    now, run = datetime.now(UTC), f"run-{round_}"
    numbers = iter(range(count))
    for batch in batches(rows(count, round_ + 1, f" {round_}")):
        hub.claim("stock", batch, run=run, id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=600, now=now)
        told = [said(next(numbers)) if tells else {} for _ in batch]
        done = [Settled(row=row, outcome=Outcome.DELIVERED, told=each) for row, each in zip(batch, told, strict=True)]
        began = clock()
        hub.settle("stock", done, run=run, now=now)
        seconds += clock() - began
    return seconds


def said(number: int) -> dict[str, Any]:
    return {"Id": 100_000 + number, "Number": f"CUST{number:06d}"}


def measure(kind: str, count: int) -> None:
    best = {True: float("inf"), False: float("inf")}
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        empty_database(kind, Path(one)) as silent_url,
        empty_database(kind, Path(other)) as telling_url,
        Hub.connect(silent_url) as silent,
        Hub.connect(telling_url) as telling,
    ):
        for round_ in range(ROUNDS):
            for tells, hub in ((False, silent), (True, telling)):
                best[tells] = min(best[tells], settled(hub, count, round_, CLOCKS[kind], tells=tells))
    ratio = best[True] / best[False]
    print(f"  {kind:<10} nothing told {best[False]:.3f} s   told {best[True]:.3f} s   ratio {ratio:.2f}")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    print(f"settling {count:,} changed rows in batches of 1,000, the best of {ROUNDS} rounds")
    for kind in ("sqlite", "postgresql"):
        try:
            measure(kind, count)
        except pytest.skip.Exception as skipped:
            print(f"  {kind}: {skipped}")


if __name__ == "__main__":
    main()
