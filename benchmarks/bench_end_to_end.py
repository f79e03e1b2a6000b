"""Rows a second from the CRM to the target, plan to verify, and the most memory that takes, at several sizes.

Run: ``python -m benchmarks.bench_end_to_end [RECORDS …]``, by default 100,000 and 1,000,000 records (a quarter of an
hour). The simulator runs in a process of its own, without quota and latency, and makes its records when they are
looked at. Each measurement is a process of its own as well, which does all steps of one first load one after the
other; Airflow would give each task its own. Beside it in the same run: bare requests for the same pages by the same
keyset, one call at a time, each record written to a file as JSON, nothing checked. Ratios say what completeness, the
ledger and the proof cost; rates depend on the machine. The hub is on SQLite.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import requests
from upath import UPath

from benchmarks.bench_source import FIELDS, NAME, client_of, tokens_of
from benchmarks.bench_source import WHO as CREDENTIALS
from fenxiang_simulator import Knobs, Simulator
from fenxiang_sync import Field, FilesTarget, Format, HubTarget, Pipeline, Source, text
from fenxiang_sync.hub import Hub
from fenxiang_sync.source import SearchQuery
from fenxiang_sync.source.query import Filter, Operator
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Asked, Kind, Run, extract, load, plan, transform, verify
from fenxiang_sync.steps.verify import clean
from fenxiang_sync.targets.protocol import Reach, Target
from tests.many_fixtures import fill

SIZES = (100_000, 1_000_000)
BEGIN, SPAN = 1_700_000_000_000, 3 * 365 * 86_400_000
WIDE = ("_id", *(name for name in FIELDS if name not in ("version", "owner")))

spawn = multiprocessing.get_context("spawn")


class Measured(NamedTuple):
    """Seconds of each step, and the most memory (MiB) that the process ever had when the step ended."""

    seconds: dict[str, float]
    memory: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @property
    def peak(self) -> float:
        return max(self.memory.values())


class Steps:
    """Measures what is done inside its `with` blocks, by name; begins with what the imports took."""

    def __init__(self) -> None:
        self.measured = Measured({}, {"imports": _peak()})

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        seconds = self.measured.seconds
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begun
        self.measured.memory[name] = _peak()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def target_of(name: str, folder: Path) -> Target:
    formats = {"NDJSON": Format.NDJSON, "Parquet": Format.PARQUET}
    return FilesTarget(path=f"file://{folder}/out", format=formats[name]) if name in formats else HubTarget()


def ours(name: str, url: str, records: int, folder: Path) -> Measured:
    """A first load of everything, as the tasks of a DAG do it."""
    steps = Steps()
    account = Pipeline(
        name="account",
        source=Source(object=NAME, lookback=timedelta(0), settle=timedelta(0), check_fields=False),
        fields=[Field(each, convert=text) for each in WIDE],
        target=target_of(name, folder),
    )
    reach = Reach(
        endpoint=_nobody, session=requests.Session, sleep=time.sleep, now=time.time, storage=lambda at, _: UPath(at)
    )
    client = client_of(url)
    run = Run(pipeline=account, id="one", folder=Stage(folder / "stage").run("account", "one"))
    with Hub.connect(f"sqlite:///{folder}/hub.db") as hub:
        with steps.step("plan"):
            made = plan(run, Asked(kind=Kind.MANUAL, full=True), client=client, hub=hub, sleep=time.sleep)
        for segment in made.segments:
            with steps.step("extract"):
                extract(run, segment, client=client)
            with steps.step("transform"):
                transform(run, segment)
            with steps.step("load"):
                load(run, segment, hub=hub, reach=reach, clock=_now)
        with steps.step("verify"):
            report = verify(run, client=client, hub=hub, reach=reach, clock=_now)
            clean(run)
    if report.delivered != records:
        raise SystemExit(f"{name}: {report.delivered:,} of {records:,} records were delivered")
    return steps.measured


def plain(name: str, url: str, records: int, folder: Path) -> Measured:
    """Bare requests, and a file of JSON lines."""
    steps = Steps()
    session, token = requests.Session(), tokens_of(url).token()
    who = {
        "corpAccessToken": token.value,
        "corpId": token.tenant,
        "currentOpenUserId": CREDENTIALS.acting_user,
    }
    number, after = 0, "0"
    with steps.step(name), (folder / "plain.ndjson").open("w", encoding="utf-8") as file:
        while True:
            search = SearchQuery(
                object_name=NAME,
                projection=("last_modified_time", *WIDE),
                filters=(Filter("_id", Operator.GT, after),),
                orders=(("_id", True),),
            )
            answer = session.post(url + search.path, data=json.dumps({**who, **search.body()}), timeout=60)
            found: list[dict[str, Any]] = answer.json()["data"]["dataList"]
            if not found:
                break
            for record in found:
                file.write(json.dumps({each: record.get(each) for each in WIDE}, ensure_ascii=False) + "\n")
            number, after = number + len(found), found[-1]["_id"]
    if number != records:
        raise SystemExit(f"plain: {number:,} of {records:,} records were read")
    return steps.measured


def _nobody(conn_id: str) -> Any:
    raise AssertionError(conn_id)


def _now() -> datetime:
    return datetime.now(UTC)


def serve(records: int, told: Connection) -> None:
    """The simulator's process: tells its URL, and ends when somebody says so."""
    with Simulator(records={NAME: 1}, knobs=Knobs(calls=10_000_000, day_quota=100_000_000)) as server:
        fill(server, NAME, records, lambda number: BEGIN + number * SPAN // records)
        told.send(server.url)
        told.recv()


def alone(work: Callable[..., Measured], name: str, url: str, records: int) -> Measured:
    """Do it in a process of its own."""
    here, there = spawn.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        child = spawn.Process(target=_child, args=(work, name, url, records, Path(folder), there))
        child.start()
        there.close()
        try:
            measured: Measured = here.recv()
        except EOFError:
            raise SystemExit(f"{name} with {records:,} records ended without a result") from None
        child.join()
    return measured


def _child(work: Callable[..., Measured], name: str, url: str, records: int, folder: Path, told: Connection) -> None:
    told.send(work(name, url, records, folder))


def measure(records: int) -> None:
    here, there = spawn.Pipe()
    server = spawn.Process(target=serve, args=(records, there), daemon=True)
    server.start()
    url = here.recv()
    bare = alone(plain, "plain", url, records)
    _row(records, "bare requests, JSON lines", bare, bare)
    for name in ("hub", "NDJSON", "Parquet"):
        _row(records, name, alone(ours, name, url, records), bare)
    here.send("end")
    server.join()


def _row(records: int, name: str, measured: Measured, bare: Measured) -> None:
    shares = ", ".join(f"{step} {seconds / measured.total:.0%}" for step, seconds in measured.seconds.items())
    grown = ", ".join(f"{step} {size:,.0f}" for step, size in measured.memory.items())
    print(
        f"| {records:,} | {name} | {records / measured.total:,.0f} | {bare.total / measured.total:.2f} | {shares} "
        f"| {measured.peak:,.0f} MiB | {grown} |",
        flush=True,
    )


def main(sizes: list[int]) -> None:
    print(
        "| records | target | rows a second | of bare requests | time | peak memory | of that, when each step ended |"
    )
    print("|---|---|---|---|---|---|---|")
    for records in sizes:
        measure(records)


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or list(SIZES))
