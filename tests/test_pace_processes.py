"""The quota holds over processes: several at once, one after another, one killed; counted by the simulator."""

from __future__ import annotations

import multiprocessing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from fenxiang_simulator import Simulator
from fenxiang_sync.errors import ThrottledError
from fenxiang_sync.hub import Hub
from fenxiang_sync.source import FenxiangClient, Paces, Retries, SearchQuery, SharedPace, Tokens
from tests.hub_fixtures import hub_file
from tests.source_fixtures import credentials, simulator

CALLS, SECONDS = 20, 2
QUERY = SearchQuery(object_name="AccountObj", projection=["_id"], orders=[("_id", True)], limit=1)
SPAWN = multiprocessing.get_context("spawn")


def client_of(url: str, hub: Hub, retries: Retries | None = None) -> FenxiangClient:
    """A client as a task has it, of a process that shares the hub."""
    session, who = requests.Session(), credentials()
    return FenxiangClient(
        session=session,
        base_url=url,
        tokens=Tokens(session=session, base_url=url, credentials=who),
        credentials=who,
        pace=Paces(shared=lambda path: SharedPace(CALLS, SECONDS, path=path, revise=partial(hub.revise, "calls"))),
        **({"retries": retries} if retries else {}),
    )


def pull(url: str, hub_url: str, calls: int, started: Any) -> None:
    with Hub.connect(hub_url) as hub:
        client = client_of(url, hub)
        for _ in range(calls):
            client.query(QUERY)
            started.set()
        client.close()


def start(server: Simulator, hub_url: str, calls: int) -> Any:
    started = SPAWN.Event()
    process = SPAWN.Process(target=pull, args=(server.url, hub_url, calls, started), daemon=True)
    process.start()
    assert started.wait(120)
    return process


def test_processes_at_once_in_turn_and_killed_never_call_more_often_than_the_quota_allows(tmp_path: Path) -> None:
    hub_url = f"sqlite:///{hub_file(tmp_path)}"
    with simulator(calls=CALLS, per_seconds=SECONDS) as server:
        at_once = [start(server, hub_url, 30), start(server, hub_url, 1_000_000)]
        at_once[1].kill()
        at_once.append(start(server, hub_url, 20))
        for process in at_once:
            process.join(120)
        start(server, hub_url, 25).join(120)
        report = server.report()["limits"]
        asked = server.report()["requests"][QUERY.path]

    assert asked >= 75
    assert report["burst_refusals"] == {}
    assert report["most_in_window"][QUERY.path] <= CALLS


@pytest.mark.parametrize("code", [30004, 14001])
def test_a_refused_call_slows_down_whoever_calls_next(tmp_path: Path, code: int) -> None:
    """Another application uses the same quota: the server refuses although nobody here called too often."""
    with Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub, simulator(calls=0, burst_code=code) as server:
        with pytest.raises(ThrottledError):
            client_of(server.url, hub, Retries(calls=1)).query(QUERY)
        first = hub.noted("calls")
        with pytest.raises(ThrottledError):
            client_of(server.url, hub, Retries(calls=1)).query(QUERY)
        second = hub.noted("calls")

    assert first is not None
    assert second is not None
    assert first["interfaces"][QUERY.path]["paused"] > 0
    assert second["interfaces"][QUERY.path]["paused"] > first["interfaces"][QUERY.path]["paused"] + 2
