"""One token for processes, machines and clocks: never two token calls at once, never over ten a minute."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from fenxiang_simulator import Simulator
from fenxiang_sync.errors import TokenError
from fenxiang_sync.hub import Hub
from fenxiang_sync.source import FenxiangClient, Pace, Paces, Tokens, pages
from tests.hub_fixtures import hub_file
from tests.source_fixtures import ALL_TIME, client_of, credentials, simulator, tokens_of
from tests.token_fixtures import FileTokenStore, RemoteClock, until

TOKEN = "/cgi/corpAccessToken/get/V2"
QUERY = "/cgi/crm/v2/data/query"
spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def server() -> Iterator[Simulator]:
    with simulator({"AccountObj": 300}, token_latency_ms=100, token_concurrent="reject") as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> FileTokenStore:
    made = FileTokenStore(tmp_path / "token.json", f"sqlite:///{hub_file(tmp_path)}")
    Hub.connect(made.hub_url).close()
    return made


def assert_endpoint_respected(server: Simulator) -> None:
    report = server.report()["tokens"]
    assert (report["concurrent"], report["over_limit"]) == (0, 0), report
    assert report["most_in_a_minute"] <= 10


def remote_client(url: str, store: FileTokenStore, behind_s: float) -> FenxiangClient:
    """As a worker would make it, on the simulator's clock."""
    session, who, clock = requests.Session(), credentials(), RemoteClock(url, behind_s)
    tokens = Tokens(
        session=session, base_url=url, credentials=who, store=store, now=clock.now, sleep=clock.sleep, timeout=(5, 20)
    )
    paces = Paces(lambda: Pace(1_000_000, 1))
    return FenxiangClient(session=session, base_url=url, tokens=tokens, credentials=who, pace=paces)


def read_all(url: str, store: FileTokenStore, behind_s: float) -> list[str]:
    client = remote_client(url, store, behind_s)
    found = pages(client, object_name="AccountObj", window=ALL_TIME, projection=(), page_size=20)
    return [record["_id"] for page in found for record in page.records]


def test_workers_with_clocks_of_their_own_share_a_token_and_lose_no_page(
    server: Simulator, store: FileTokenStore
) -> None:
    """Three processes of two threads read while the token is revoked again and again."""
    with spawn.Pool(3) as pool:
        reading = [
            pool.apply_async(read_all, (server.url, store, behind_s)) for behind_s in (0, 30, -30, 10_000, -10_000, 8)
        ]
        for asked in (20, 50, 80):
            until(lambda asked=asked: server.requests.get(QUERY, 0) >= asked)
            server.tokens.revoke()
        everything = sorted(server.tenant.visible("AccountObj"))
        for read in reading:
            assert sorted(read.get(120)) == everything
    assert_endpoint_respected(server)


def test_workers_whose_clocks_differ_keep_the_calls_apart(server: Simulator, store: FileTokenStore) -> None:
    """By a clock that is behind, a call was made long ago: the hub's clock tells otherwise."""
    clock = server.clock
    behind = tokens_of(server, store=store, now=lambda: clock.now() - 60)
    ahead = tokens_of(server, store=store, now=clock.now)
    for number in range(15):
        one = (behind, ahead)[number % 2]
        token = one.token()
        while server.tokens.app_of(token.value) is None:
            token = one.renew(token)
        server.tokens.revoke()
    assert server.report()["tokens"]["calls"] == 15
    assert_endpoint_respected(server)


@pytest.mark.parametrize("behind_s", [-10_800, -60, 0, 60, 10_800])
def test_a_token_that_expires_while_paging_loses_no_page_whatever_our_clock_says(
    server: Simulator, behind_s: float
) -> None:
    tokens = tokens_of(server, now=lambda: server.clock.now() - behind_s)
    client, read = client_of(server, tokens=tokens), []
    for page in pages(client, object_name="AccountObj", window=ALL_TIME, projection=(), page_size=20):
        read += [record["_id"] for record in page.records]
        server.clock.advance(3_000)
    assert sorted(read) == sorted(server.tenant.visible("AccountObj"))
    assert_endpoint_respected(server)
    assert server.report()["tokens"]["calls"] <= 12


def hold_on(url: str, store: FileTokenStore) -> None:
    remote_client(url, store, 0).tenant()


def test_a_worker_killed_in_its_token_call_is_succeeded_when_its_lease_is_over(
    server: Simulator, store: FileTokenStore
) -> None:
    server.knobs.token_latency_ms = 1_000
    store = FileTokenStore(store.file, store.hub_url, ttl_s=3)
    worker = spawn.Process(target=hold_on, args=(server.url, store))
    worker.start()
    until(lambda: server.requests.get(TOKEN))
    assert worker.pid
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    with ThreadPoolExecutor(4) as pool:
        tenants = list(pool.map(lambda _: client_of(server, tokens=tokens_of(server, store=store)).tenant(), range(4)))
    assert set(tenants) == {"FSCID_demo"}
    assert server.report()["tokens"]["calls"] == 2
    assert_endpoint_respected(server)


def test_a_worker_that_was_away_for_longer_than_its_lease_asks_for_no_token(
    server: Simulator, store: FileTokenStore
) -> None:
    """Its machine was suspended between two tries, and another worker has the lease."""
    server.faults.next("busy", path=TOKEN)
    late = FileTokenStore(store.file, store.hub_url, ttl_s=0)
    held: list[float] = []
    with ExitStack() as successor:

        def away(seconds: float) -> None:
            server.clock.advance(seconds)
            if not held:
                held.append(seconds)
                successor.enter_context(store.lease())

        with pytest.raises(TokenError, match=r"No token was asked for.*lease 'token' was lost"):
            tokens_of(server, store=late, sleep=away).token()
    assert server.requests[TOKEN] == 1


def test_a_worker_without_a_hub_asks_for_no_token(server: Simulator, tmp_path: Path) -> None:
    store: Any = FileTokenStore(tmp_path / "token.json", f"sqlite:///{tmp_path}/nowhere/hub.db")
    with pytest.raises(Exception, match="hub in SQLite file"):
        tokens_of(server, store=store).token()
    assert TOKEN not in server.requests
