"""How much of the quota of ``data/get`` one task uses that gets a record with each call; the most calls in any 20 s.

Run: ``make bench-pace``, or ``python -m benchmarks.bench_getting --latency 50`` (three and a half minutes for each
latency). Nothing is scaled: 100 calls in 20 s, one extract task of 1,000 products with two fields that only `get`
gives, the turns booked in a hub as between all workers. The simulator counts the calls, and those that were too many.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import requests

from fenxiang_simulator import Knobs, Simulator
from fenxiang_sync import Field, HubTarget, Pipeline, Source
from fenxiang_sync.hub import Hub
from fenxiang_sync.source import Credentials, FenxiangClient, MemoryTokenStore, Paces, SharedPace, Tokens
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Asked, Kind, Run, extract, plan

CALLS, PER_SECONDS = 100, 20
RECORDS = 1_000
GET = "/cgi/crm/v2/data/get"
WHO = Credentials(
    app_id="FSAID_demo001",
    app_secret="demo-secret",
    permanent_code="demo-perm",
    acting_user="FSUID_demo0000000000000000000000001",
)
PRODUCTS = Pipeline(
    name="product",
    source=Source(object="ProductObj", get_fields=("description__c", "image__c"), settle=timedelta(0)),
    fields=[Field("_id"), Field("name"), Field("description__c"), Field("image__c")],
    target=HubTarget(),
)


class Pull(NamedTuple):
    """What one task took, and what the simulator saw of it."""

    seconds: float
    gets: int
    most: int
    refused: int

    @property
    def share(self) -> float:
        """Of the calls that the quota allows in that time."""
        return self.gets / (self.seconds / PER_SECONDS * CALLS)


def client_of(simulator: Simulator, hub: Hub) -> FenxiangClient:
    session = requests.Session()
    tokens = Tokens(session=session, base_url=simulator.url, credentials=WHO, store=MemoryTokenStore())

    def pace(path: str) -> SharedPace:
        return SharedPace(CALLS, PER_SECONDS, path=path, revise=lambda change: hub.revise("calls", change))

    return FenxiangClient(
        session=session, base_url=simulator.url, tokens=tokens, credentials=WHO, pace=Paces(shared=pace)
    )


def pull(latency_ms: int, records: int) -> Pull:
    """One segment of so many records, got from the beginning to the end."""
    knobs = Knobs(calls=CALLS, per_seconds=PER_SECONDS, day_quota=10_000_000, latency_ms=latency_ms)
    with (
        tempfile.TemporaryDirectory() as folder,
        Simulator(records={"ProductObj": records}, knobs=knobs) as simulator,
        Hub.connect(f"sqlite:///{folder}/hub.db") as hub,
    ):
        client = client_of(simulator, hub)
        run = Run(pipeline=PRODUCTS, id="run", folder=Stage(Path(folder)).run("product", "run"))
        made = plan(run, Asked(kind=Kind.MANUAL), client=client, hub=hub, sleep=time.sleep)
        began = time.monotonic()
        for segment in made.segments:
            numbers = extract(run, segment, client=client, hub=hub)
        seconds = time.monotonic() - began
        limits = simulator.limits.report()
        assert numbers["got"] == numbers["read"] == records
        return Pull(seconds, client.calls[GET], limits["most_in_window"][GET], sum(limits["burst_refusals"].values()))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--latency", type=int, action="append", help="milliseconds; may be given more than once")
    words.add_argument("--records", type=int, default=RECORDS)
    given = words.parse_args()
    print("| latency | records | seconds | calls of get | share of the quota | most in 20 s | refused |")
    print("|---|---|---|---|---|---|---|")
    for latency in given.latency or (50, 400):
        seen = pull(latency, given.records)
        print(
            f"| {latency} ms | {given.records:,} | {seen.seconds:.0f} | {seen.gets:,} | {seen.share:.1%} | "
            f"{seen.most} | {seen.refused} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
