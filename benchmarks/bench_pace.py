"""How much of the quota two first loads use in a real Airflow, hand-overs included, and the most calls in any 20 s.

Run: ``make bench-pace`` (about a quarter of an hour), or ``python -m benchmarks.bench_pace --latency 50`` for one
latency. Nothing is scaled: 100 calls in 20 s, two DAGs that read one object at the same time, several segments each, a
scheduler that starts every task as a process of its own. The simulator counts: it notes when each call came, before
it waits out the latency.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from demo.crm import POOLS, connections_to
from demo.local import LocalAirflow
from demo.rest import Rest
from fenxiang_simulator import Knobs, Simulator

CALLS, PER_SECONDS = 100, 20
RECORDS = 80_000
NAMES = ("first_load", "second_load")
PATH = "/cgi/crm/v2/data/query"

DAG_FILE = """
from fenxiang_sync import Field, HubTarget, Pipeline, Source, text
from fenxiang_sync.airflow import sync_dag

for name in {names!r}:
    globals()[name] = sync_dag(
        Pipeline(
            name=name,
            source=Source(object="AccountObj", segment_records={segment_records}),
            fields=[Field("_id", "id", convert=text), Field("name", convert=text)],
            target=HubTarget(),
            schedule=None,
        )
    )
"""


@dataclass(frozen=True, slots=True)
class Pull:
    """What the simulator saw of one pull: when calls came (epoch s), the most in any window of the quota's length,
    and how many it refused as too many."""

    moments: list[float]
    most: int
    refused: int
    until: float
    """When the last extract task had ended: up to then somebody always had something to read."""

    @property
    def seconds(self) -> float:
        return self.until - self.moments[0]

    @property
    def share(self) -> float:
        """Of the calls that the quota allows between the first call and `until`."""
        return bisect_left(self.moments, self.until) / (self.seconds / PER_SECONDS * CALLS)


def pull(simulator: Simulator, rest: Rest) -> tuple[Pull, int]:
    """Both loads from the beginning to the end; and how many tasks extracted."""
    simulator.crm.forget()
    simulator.limits.forget()
    runs = {name: rest.trigger(name, {"full": True}) for name in NAMES}
    extracts = []
    for name, run_id in runs.items():
        ended = rest.wait_run(name, run_id, timeout=3600)
        if ended["state"] != "success":
            raise SystemExit(f"{name} ended {ended['state']}: {rest.task_states(name, run_id)}")
        extracts += [each for each in rest.task_instances(name, run_id) if each["task_id"] == "segment.extract"]
    asked = [query for query in list(simulator.queries) if query.path == PATH]
    until = max(datetime.fromisoformat(each["end_date"]).timestamp() for each in extracts)
    limits = simulator.limits.report()
    moments = sorted(query.at_ms / 1000 for query in asked)
    seen = Pull(moments, limits["most_in_window"][PATH], sum(limits["burst_refusals"].values()), until)
    return seen, len(extracts)


def connections(port: int) -> list[dict[str, object]]:
    """The demo's connections, with the real quota."""
    made = connections_to(port)
    for each in made:
        if each["connection_id"] == "fenxiang":
            extra = json.loads(str(each["extra"])) | {"calls": CALLS, "per_seconds": PER_SECONDS}
            each["extra"] = json.dumps(extra)
    return made


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--latency", type=int, action="append", help="milliseconds; may be given more than once")
    words.add_argument("--records", type=int, default=RECORDS, help="of each of the two loads")
    words.add_argument("--segment-records", type=int, default=40_000, help="40000 by default, as in a pipeline")
    given = words.parse_args()
    knobs = Knobs(calls=CALLS, per_seconds=PER_SECONDS, day_quota=10_000_000)
    with (
        tempfile.TemporaryDirectory() as folder,
        Simulator(records={"AccountObj": given.records}, knobs=knobs) as simulator,
    ):
        dags = Path(folder) / "dags"
        dags.mkdir()
        (dags / "loads.py").write_text(
            DAG_FILE.format(names=NAMES, segment_records=given.segment_records), encoding="utf-8"
        )
        port = int(simulator.url.rsplit(":", 1)[1])
        with LocalAirflow(Path(folder) / "home", dags=dags, connections=connections(port), pools=POOLS) as airflow:
            airflow.rest.wait_parsed(*NAMES)
            for name in NAMES:
                airflow.rest.unpause(name)
            print("| latency | seconds | calls | extract tasks | share of the quota | most in 20 s | refused |")
            print("|---|---|---|---|---|---|---|")
            for latency in given.latency or (50, 400):
                simulator.knobs.latency_ms = latency
                seen, tasks = pull(simulator, airflow.rest)
                print(
                    f"| {latency} ms | {seen.seconds:.0f} | {len(seen.moments):,} | {tasks} | {seen.share:.1%} | "
                    f"{seen.most} | {seen.refused} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
