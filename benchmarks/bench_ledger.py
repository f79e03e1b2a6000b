"""What the ledger costs: rows a second, beside the plain statements that it is made of.

Run: ``PYTHONPATH=plugins:. python benchmarks/bench_ledger.py [ROWS]``. Rows are claimed, and settled where they were
to be sent, in batches as a loading task does it. A plain upsert of the same rows (the driver's `executemany` of id,
hash and JSON content, in transactions of the same size) and, for rows that are unchanged, a plain SELECT of their
hashes by id are run on the same database right after, so the ratio says what the ledger costs; rates depend on the
machine. Then a whole `load` of unchanged rows (reading the stage, claims, what was seen), and the memory of a process
that does nothing else, over 100,000 and over 1,000,000 rows. PostgreSQL is measured where FENXIANG_TEST_POSTGRES points
to a server (or one runs on this machine).
"""

from __future__ import annotations

import json
import multiprocessing
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest
import requests
from sqlalchemy import Engine, create_engine, text

from fenxiang_sync import Field, HubTarget, Pipeline, Source
from fenxiang_sync.hub import Hub, Settled
from fenxiang_sync.hub.content import dumps
from fenxiang_sync.rows import IdCheck, Outcome, Row
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Run, Segment, load
from fenxiang_sync.steps.courier import ROWS_A_CLAIM
from fenxiang_sync.targets.protocol import Endpoint, Reach
from fenxiang_sync.window import Window
from tests.hub_fixtures import empty_database

ROWS = 100_000
MEMORY_ROWS = (100_000, 1_000_000)
WARM_UP = 10_000
BATCH = ROWS_A_CLAIM

PLAIN_TABLE = "CREATE TABLE plain (id TEXT PRIMARY KEY, hash TEXT, content TEXT)"
PLAIN = (
    "INSERT INTO plain (id, hash, content) VALUES (:id, :hash, :content) "
    "ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, content = excluded.content"
)
PLAIN_HASHES = {
    "sqlite": "SELECT id, hash FROM plain WHERE id IN (SELECT value FROM json_each(?))",
    "postgresql": "SELECT id, hash FROM plain WHERE id IN (SELECT json_array_elements_text(%s::json))",
}


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


def asked_plainly(engine: Engine, all_rows: Iterator[Row], watch: Stopwatch) -> None:
    """The least that can tell which rows are unchanged: their hashes, by id."""
    for batch in batches(all_rows):
        with watch, engine.begin() as connection:
            ids = json.dumps([row.id for row in batch])
            found = connection.exec_driver_sql(PLAIN_HASHES[connection.dialect.name], (ids,)).all()
        assert dict(found) == {row.id: row.hash for row in batch}


def measure(kind: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, empty_database(kind, Path(folder)) as url, Hub.connect(url) as hub:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text(PLAIN_TABLE))
        print(f"\n{kind}, {count:,} rows in batches of {BATCH:,}: rows a second, and the ratio of the times")
        for step in STEPS:
            _measure(step, hub, engine, count)
        engine.dispose()
        seconds = _load(hub, Stage(Path(folder) / "stage"), count)
        print(f"  a whole load of unchanged rows {count / seconds:>9,.0f}")


STEPS = [("new", 1, "", True), ("unchanged", 1, "", False), ("newer stamp", 2, "", False), ("changed", 3, " ✓", True)]


def _measure(step: tuple[str, int, str, bool], hub: Hub, engine: Engine, count: int) -> None:
    name, modified_ms, extra, sends = step
    ours = Stopwatch()
    sent = through_ledger(hub, name, rows(count, modified_ms, extra), ours)
    assert sent == (count if sends else 0), (name, sent)
    for what, plainly_done in (("upsert", plainly), ("SELECT", asked_plainly)):
        if what == "upsert" or name == "unchanged":
            plain = Stopwatch()
            plainly_done(engine, rows(count, modified_ms, extra), plain)
            print(
                f"  {name:<12} ledger {count / ours.seconds:>9,.0f}   {what} {count / plain.seconds:>9,.0f}   "
                f"{ours.seconds / plain.seconds:.2f}"
            )


def _load(hub: Hub, stage: Stage, count: int) -> float:
    """Seconds of a whole load of rows that the ledger knows."""

    def endpoint(conn_id: str) -> Endpoint:
        raise AssertionError(f"a hub target asks for no connection, nor for {conn_id}")

    pipeline = Pipeline(name="stock", source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget())
    reach = Reach(endpoint=endpoint, session=requests.Session, sleep=time.sleep, now=time.time)
    segment = Segment(index=1, window=Window(0, 10), count=None)
    for run_id in ("first", "second"):  # the hub sees the records for the first time, and again
        run = Run(pipeline=pipeline, id=run_id, folder=stage.run("stock", run_id))
        folder = run.segment(1)
        for number, batch in enumerate(batches(rows(count, 3, " ✓"))):
            records = [{"_id": row.source_id, "last_modified_time": row.modified_ms} for row in batch]
            folder.write_lines(f"records-00-{number:05d}", records)
            folder.write_lines(f"rows-{number:05d}", batch)
        folder.save("transformed", {"read": count, "rows": count, "filtered": 0, "rejected": 0})
        watch = Stopwatch()
        with watch:
            numbers = load(run, segment, hub=hub, reach=reach, clock=lambda: datetime.now(UTC))
        assert numbers["unchanged"] == count, numbers
    return watch.seconds


def memory(count: int) -> float:
    """MiB by which this process grows while `count` rows are new, and then unchanged (SQLite), after a warm-up."""
    with tempfile.TemporaryDirectory() as folder, Hub.connect(f"sqlite:///{folder}/hub.db") as hub:
        for run in ("warm", "up"):
            through_ledger(hub, run, rows(WARM_UP, 1), Stopwatch())
        before = _most_mib()
        for run in ("new", "unchanged"):
            through_ledger(hub, run, rows(count, 1), Stopwatch())
        return _most_mib() - before


def _most_mib() -> float:
    """What this process has had in memory at most; `resource` would tell its parent's where that is more."""
    told = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert told
    return int(told[1]) / 1024


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    for kind in ("sqlite", "postgresql"):
        try:
            measure(kind, count)
        except pytest.skip.Exception as skipped:
            print(f"\n{kind}: {skipped}")
    if not Path("/proc/self/status").exists():
        print("\nmemory: not measured, there is no /proc here")
        return
    print(f"\nmemory (RSS at most, beyond what {WARM_UP:,} rows take), of a process that claims and settles")
    for size in MEMORY_ROWS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(f"  {size:>9,} rows: {pool.apply(memory, (size,)):.1f} MiB")


if __name__ == "__main__":
    main()
