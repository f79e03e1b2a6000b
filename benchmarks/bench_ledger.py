"""Rows a second through the ledger (claim, then settle what is claimed), beside a plain upsert of the same rows.

Run: ``PYTHONPATH=plugins:. python benchmarks/bench_ledger.py [ROWS]``. The plain upsert is the driver's `executemany`
(id, hash, JSON content) in transactions of the same size, written to the same database in the same run, so the ratio
says what the ledger costs; rates depend on the machine. PostgreSQL is measured where FENXIANG_TEST_POSTGRES points to
a server (or one runs on this machine).
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from fenxiang_sync.hub import Hub, Settled
from fenxiang_sync.hub.content import dumps
from fenxiang_sync.rows import IdCheck, Outcome, Row
from tests.hub_fixtures import empty_database

ROWS = 100_000
BATCH = 1_000
"""What a loading task claims at once."""

PLAIN_TABLE = "CREATE TABLE plain (id TEXT PRIMARY KEY, hash TEXT, content TEXT)"
PLAIN = (
    "INSERT INTO plain (id, hash, content) VALUES (:id, :hash, :content) "
    "ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, content = excluded.content"
)


def rows(count: int, modified_ms: int, extra: str = "") -> Iterator[Row]:
    for number in range(count):
        yield Row(
            id=f"65aa{number:020x}",
            source_id=f"65aa{number:020x}",
            number=f"WH{number}",
            modified_ms=modified_ms,
            version=1,
            content={
                "id": f"WH{number}",
                "name": f"Main Warehouse {number}{extra}",
                "location": {"city": "Beijing"},
                "capacityInfo": {"totalCapacity": 10_000, "currentStockLevel": Decimal("5000.50")},
            },
            hash=f"{number:064x}{extra}",
        )


def batches(all_rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(all_rows, BATCH)):
        yield batch


class Stopwatch:
    """Seconds inside its `with` blocks, so that making the rows is not measured."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._started


def through_ledger(hub: Hub, run: str, all_rows: Iterator[Row], watch: Stopwatch) -> int:
    """What a loading task does with the ledger; how many rows it would have sent."""
    sent = 0
    for batch in batches(all_rows):
        now = datetime.now(UTC)
        with watch:
            decisions = hub.claim("stock", batch, run=run, id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=600, now=now)
            claimed = [row for row, decision in zip(batch, decisions, strict=True) if decision.claimed]
            hub.settle("stock", [Settled(row=row, outcome=Outcome.DELIVERED) for row in claimed], run=run, now=now)
        sent += len(claimed)
    return sent


def plainly(engine: Engine, all_rows: Iterator[Row], watch: Stopwatch) -> None:
    for batch in batches(all_rows):
        with watch, engine.begin() as connection:
            values = [{"id": row.id, "hash": row.hash, "content": dumps(row.content)} for row in batch]
            connection.execute(text(PLAIN), values)


def measure(kind: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, empty_database(kind, Path(folder)) as url, Hub.connect(url) as hub:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text(PLAIN_TABLE))
        print(f"\n{kind}, {count:,} rows in batches of {BATCH:,}: rows a second, and the ratio of the times")
        for step in STEPS:
            _measure(step, hub, engine, count)
        engine.dispose()
        tracemalloc.start()
        through_ledger(hub, "memory", rows(count, 3, " ✓"), Stopwatch())
        print(f"  at most, in Python objects, over all rows: {tracemalloc.get_traced_memory()[1] / 2**20:.1f} MiB")
        tracemalloc.stop()


STEPS = [("new", 1, "", True), ("unchanged", 1, "", False), ("newer stamp", 2, "", False), ("changed", 3, " ✓", True)]


def _measure(step: tuple[str, int, str, bool], hub: Hub, engine: Engine, count: int) -> None:
    name, modified_ms, extra, sends = step
    plain, ours = Stopwatch(), Stopwatch()
    plainly(engine, rows(count, modified_ms, extra), plain)
    sent = through_ledger(hub, name, rows(count, modified_ms, extra), ours)
    assert sent == (count if sends else 0), (name, sent)
    ratio = ours.seconds / plain.seconds
    print(f"  {name:<12} ledger {count / ours.seconds:>9,.0f}   upsert {count / plain.seconds:>9,.0f}   {ratio:.2f}")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    for kind in ("sqlite", "postgresql"):
        try:
            measure(kind, count)
        except pytest.skip.Exception as skipped:
            print(f"\n{kind}: {skipped}")


if __name__ == "__main__":
    main()
