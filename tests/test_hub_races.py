"""Loads that run at the same time, in processes and threads of their own."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fenxiang_sync.hub import DeadLetter, Decision, Hub, Settled, Status
from fenxiang_sync.rows import IdCheck, Outcome, Row
from tests.hub_fixtures import DATABASES, NOW, hub_database, row

spawn = multiprocessing.get_context("spawn")
RECORDS = 20
VERSIONS = 6


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with hub_database(request.param, tmp_path) as url:
        yield url


def load(url: str, target: str, run: str) -> int:
    """Deliver every version of every record, each batch in an order of its own, as a loading task does.

    The target is a folder: one file per record, whose text is the last version that came. It complains about two
    senders at once, and about an older version after a newer one. Returns how many rows it was sent.
    """
    order = random.Random(run)
    sent = 0
    with Hub.connect(url) as hub:
        for version in range(1, VERSIONS + 1):
            batch = [row(f"{number:02}", version, value=version) for number in range(RECORDS)]
            order.shuffle(batch)
            while batch:
                decisions = hub.claim(
                    "stock", batch, run=run, id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=600, now=datetime.now(UTC)
                )
                claimed = [one for one, decision in zip(batch, decisions, strict=True) if decision.claimed]
                for one in claimed:
                    send(Path(target), one)
                settled = [Settled(row=one, outcome=Outcome.DELIVERED) for one in claimed]
                assert hub.settle("stock", settled, run=run, now=datetime.now(UTC)) == 0
                sent += len(claimed)
                batch = [one for one, decision in zip(batch, decisions, strict=True) if decision is Decision.BUSY]
                time.sleep(0.001 if batch else 0)
    return sent


def send(target: Path, one: Row) -> None:
    door = target / f"{one.id}.door"
    door.touch(exist_ok=False)  # raises where another sender is inside
    held = target / one.id
    assert not held.exists() or int(held.read_text()) < one.modified_ms, "an older version, or the same one again"
    held.write_text(str(one.modified_ms))
    door.unlink()


def test_concurrent_loads_send_each_version_once_and_never_backwards(url: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with spawn.Pool(3) as pool:
        sent = pool.starmap(load, [(url, str(target), f"run-{number}") for number in range(3)], chunksize=1)
    assert {path.read_text() for path in target.iterdir()} == {str(VERSIONS)}
    assert RECORDS <= sum(sent) <= RECORDS * VERSIONS
    with Hub.connect(url) as hub:
        assert hub.counts("stock") == {Status.FINISHED: RECORDS}
        assert {one.modified_ms for one in hub.records("stock")} == {VERSIONS}


def test_threads_share_one_hub(url: str) -> None:
    rows = [row(str(number)) for number in range(300)]
    letter = DeadLetter(pipeline="stock", run="run-1", stage="load", error="E", reason="r", record_id="1")

    def claimed(run: str) -> int:
        together.wait()
        decisions = hub.claim("stock", rows, run=run, id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, now=NOW)
        hub.bury([letter], NOW)
        return sum(decision.claimed for decision in decisions)

    together = threading.Barrier(4)
    with Hub.connect(url) as hub, ThreadPoolExecutor(4) as threads:
        claims = list(threads.map(claimed, ["run-1", "run-2", "run-3", "run-4"]))
        assert sum(claims) == len(rows), "every row has one claimant"
        assert [one.attempts for one in hub.dead_letters("stock")] == [4]
