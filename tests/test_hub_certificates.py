"""Certificates and runs: what is proved, and what runs say of themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fenxiang_sync.hub import Certificate, Hub, RunRecord
from fenxiang_sync.window import Window
from tests.hub_fixtures import DATABASES, NOW, hub_database


@pytest.fixture(params=DATABASES)
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with hub_database(request.param, tmp_path) as url, Hub.connect(url) as hub:
        yield hub


def certificate(since: int, until: int, run: str = "run-1") -> Certificate:
    numbers = {"read": 10, "before": 10, "after": None}
    return Certificate(
        pipeline="stock",
        run=run,
        window=Window(since, until),
        numbers=numbers,
        digest="d1",
        requests=3,
        config_hash="c1",
    )


def test_a_certificate_comes_back_as_it_was_given(hub: Hub) -> None:
    hub.certify(certificate(0, 10), now=NOW)
    assert list(hub.certificates("stock")) == [dataclasses.replace(certificate(0, 10), created_at=NOW)]
    assert list(hub.certificates("orders")) == []


def test_certified_time_is_merged_whatever_the_order_of_the_runs(hub: Hub) -> None:
    for since, until in [(20, 30), (0, 10), (40, 50), (10, 20), (5, 25)]:
        hub.certify(certificate(since, until), now=NOW)
    assert hub.certified("stock") == [Window(0, 30), Window(40, 50)]
    assert hub.certified("orders") == []


def test_certifying_twice_leaves_one_certificate(hub: Hub) -> None:
    hub.certify(certificate(0, 10), now=NOW)
    again = dataclasses.replace(certificate(0, 10), digest="d2")
    hub.certify(again, now=NOW + timedelta(minutes=1))
    hub.certify(certificate(0, 10, run="run-2"), now=NOW)
    assert [(one.run, one.digest) for one in hub.certificates("stock")] == [("run-1", "d2"), ("run-2", "d1")]


def test_certificates_are_read_page_by_page_to_the_last(hub: Hub) -> None:
    for number in range(1_001):
        hub.certify(certificate(number, number + 1), now=NOW)
    assert len(list(hub.certificates("stock"))) == 1_001
    assert hub.certified("stock") == [Window(0, 1_001)]


def test_a_run_is_stored_as_it_stands_newest_first(hub: Hub) -> None:
    begun = RunRecord(pipeline="stock", run="", kind="manual", state="running", window=None, started_at=NOW)
    runs = [dataclasses.replace(begun, run=f"run-{n}", started_at=NOW + n * timedelta(hours=1)) for n in range(4)]
    for one in runs:
        hub.record_run(one)
    done = dataclasses.replace(
        runs[2], state="success", window=Window(5, 9), finished_at=NOW + timedelta(hours=3), numbers={"read": 7},
        requests=12, config_hash="c1",
    )  # fmt: skip
    hub.record_run(done)
    assert hub.runs("stock", limit=3) == [runs[3], done, runs[1]]
    assert hub.runs("orders") == []
