"""One holder at a time, across processes; a dead holder is succeeded."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from fenxiang_sync.errors import TransientError
from fenxiang_sync.hub import Hub
from tests.hub_fixtures import DRIVERS, hub_database

spawn = multiprocessing.get_context("spawn")


@pytest.fixture(params=DRIVERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with hub_database(request.param, tmp_path) as url:
        yield url


def hold_for_ever(url: str, ttl_s: float, held: Connection) -> None:
    with Hub.connect(url) as hub, hub.lease("token", ttl_s=ttl_s, wait_s=0):
        held.send(os.getpid())
        time.sleep(600)


def meet(url: str, folder: str) -> None:
    """Enter the room five times; fail if somebody is in it."""
    room = Path(folder) / "room"
    with Hub.connect(url) as hub:
        for _ in range(5):
            with hub.lease("token", ttl_s=60, wait_s=60):
                room.mkdir()  # raises where it is there
                time.sleep(0.005)
                room.rmdir()


def dead_holder(url: str, ttl_s: float) -> None:
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=hold_for_ever, args=(url, ttl_s, theirs))
    process.start()
    assert ours.poll(30)
    os.kill(ours.recv(), signal.SIGKILL)
    process.join()


def test_processes_hold_a_lease_one_at_a_time(url: str, tmp_path: Path) -> None:
    with spawn.Pool(4) as pool:
        pool.starmap(meet, [(url, str(tmp_path))] * 4, chunksize=1)


def test_a_lease_of_a_killed_holder_is_free_when_its_time_is_over(url: str) -> None:
    dead_holder(url, ttl_s=2)
    with Hub.connect(url) as hub, hub.lease("token", ttl_s=60, wait_s=30):
        pass


def test_a_wait_that_is_over_names_the_lease_and_its_holder(url: str) -> None:
    dead_holder(url, ttl_s=600)
    with Hub.connect(url) as hub:
        asked = hub.lease("token", ttl_s=60, wait_s=0)
        with pytest.raises(TransientError, match=r"lease 'token' was not free within 0 s: .* holds it until"), asked:
            pass


def test_a_lease_is_given_back_also_after_an_error(url: str) -> None:
    with Hub.connect(url) as hub:
        with pytest.raises(KeyError), hub.lease("token", ttl_s=600, wait_s=0):
            raise KeyError
        with hub.lease("token", ttl_s=600, wait_s=0), hub.lease("other", ttl_s=600, wait_s=0):
            pass


def test_a_holder_keeps_its_lease_unless_another_has_taken_it(url: str) -> None:
    with Hub.connect(url) as hub, hub.lease("token", ttl_s=0, wait_s=0) as lease:
        lease.keep()
        lost = pytest.raises(TransientError, match=r"lease 'token' was lost.*holds it until")
        with hub.lease("token", ttl_s=600, wait_s=0), lost:
            lease.keep()
        with pytest.raises(TransientError, match="lost"):
            lease.keep()


def test_a_holder_knows_how_long_nobody_had_held_its_lease(url: str) -> None:
    with Hub.connect(url) as hub:
        with hub.lease("token", ttl_s=60, wait_s=0) as lease:
            assert lease.rested_s == float("inf")
        time.sleep(0.05)
        with hub.lease("token", ttl_s=60, wait_s=0) as lease:
            assert 0.05 <= lease.rested_s < 60
    dead_holder(url, ttl_s=0.5)
    with Hub.connect(url) as hub, hub.lease("token", ttl_s=60, wait_s=30) as lease:
        assert 0 <= lease.rested_s < 60


def test_a_holder_that_was_succeeded_does_not_free_its_successors_lease(url: str) -> None:
    with Hub.connect(url) as hub, contextlib.ExitStack() as successor:
        with hub.lease("token", ttl_s=0, wait_s=0):
            successor.enter_context(hub.lease("token", ttl_s=600, wait_s=0))
        with pytest.raises(TransientError), hub.lease("token", ttl_s=1, wait_s=0):
            pass
