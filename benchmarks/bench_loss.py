"""Records lost while others edit, on refusals and at the cap: our reader beside dlt, Airbyte's CDK and the Singer SDK.

Run: ``make bench-loss`` (some minutes), or ``python -m benchmarks.bench_loss --records 3000`` for less. Each of the
others runs in a virtual environment of its own (``.rivals/``, made at the first run), declared as its documentation
says for a paged POST API with an incremental cursor: offset and limit, ascending by ``last_modified_time``, from
the last cursor on. All get the same pages, the same edits (the simulator's, so many after each answered page of the
first sync) and as many syncs as they need until two in a row bring nothing. Then what each holds is compared with the
simulator's own state.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from fenxiang_simulator import Knobs, Simulator
from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.source import Credentials, FenxiangClient, Pace, Paces, Tokens, pages
from fenxiang_sync.window import Window

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "benchmarks" / "rivals"
VENVS = ROOT / ".rivals"
RIVALS = {"dlt": "dlt[duckdb]==1.31.0", "airbyte": "airbyte-cdk==7.39.1", "singer": "singer-sdk==0.54.9"}
OBJECT, PATH, PAGE = "AccountObj", "/cgi/crm/v2/data/query", 100
MOST_SYNCS = 6
PATIENCE_S = 180
WHO = Credentials(
    app_id="FSAID_demo001",
    app_secret="demo-secret",
    permanent_code="demo-perm",
    acting_user="FSUID_demo0000000000000000000000001",
)

Held = list[tuple[str, int]]
"""Id and stamp of every row that is held; an id twice is a duplicate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is done to each system. `records` are so many times what the command line says."""

    name: str
    records: float = 1.0
    knobs: dict[str, Any] = field(default_factory=dict)
    edits: int = 0


SCENARIOS = (
    Scenario(name="1 edit a page", edits=1),
    Scenario(name="5 edits a page", edits=5),
    Scenario(name="30004 over 25 calls in 5 s", records=0.5, knobs={"calls": 25, "per_seconds": 5}),
    Scenario(name="offsets end at 10,000", records=4 / 3),
)


def tokens_of(server: Simulator) -> Tokens:
    return Tokens(session=requests.Session(), base_url=server.url, credentials=WHO)


def body_of(server: Simulator) -> dict[str, Any]:
    """The body of a query with its credentials; a sync puts the cursor into the filter, and the offset."""
    token = tokens_of(server).token()
    search = {
        "limit": PAGE,
        "offset": 0,
        "filters": [{"field_name": "last_modified_time", "operator": "GTE", "field_values": ["0"]}],
        "orders": [{"fieldName": "last_modified_time", "isAsc": True}],
        "fieldProjection": ["_id", "name", "last_modified_time"],
    }
    return {
        "corpAccessToken": token.value,
        "corpId": token.tenant,
        "currentOpenUserId": WHO.acting_user,
        "data": {"dataObjectApiName": OBJECT, "search_query_info": search},
    }


class Ours:
    """`pages`: keyset by _id inside windows closed on the server's clock, each from the end of the last one."""

    def __init__(self, server: Simulator, folder: Path) -> None:  # noqa: ARG002
        knobs = server.knobs
        pace = Paces(lambda: Pace(int(knobs.calls), int(knobs.per_seconds)))
        self._client = FenxiangClient(
            session=requests.Session(),
            base_url=server.url,
            tokens=tokens_of(server),
            credentials=WHO,
            pace=pace,
            now=server.clock.now,
        )
        self._until = 0
        self._held: dict[str, int] = {}

    def sync(self) -> str:
        until = int(self._client.server_time().timestamp() * 1000)
        window = Window(self._until, until)
        try:
            for page in pages(self._client, object_name=OBJECT, window=window, projection=("name",), page_size=PAGE):
                for record in page.records:
                    held = self._held.get(record["_id"], 0)
                    self._held[record["_id"]] = max(held, record["last_modified_time"])
        except FenxiangSyncError as error:
            return f"failed: {error}"
        self._until = until
        return "success"

    def held(self) -> Held:
        return list(self._held.items())


class Rival:
    """One of the others, in its own environment; a sync is a run of its script."""

    def __init__(self, name: str, server: Simulator, folder: Path) -> None:
        self._folder = folder
        self._command = [str(VENVS / name / "bin" / "python"), str(SCRIPTS / f"with_{name}.py"), str(folder)]
        given = {"url": server.url, "path": PATH, "page_size": PAGE, "body": body_of(server)}
        (folder / "given.json").write_text(json.dumps(given))

    def sync(self) -> str:
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self._folder), "RUNTIME__DLTHUB_TELEMETRY": "false", **NO_PROXY}
        done = subprocess.run(
            self._command, env=env, cwd=self._folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        (self._folder / "log.txt").write_text(done.stdout + done.stderr)
        return "success" if done.returncode == 0 else f"failed: {(done.stderr.strip() or 'no word').splitlines()[-1]}"

    def held(self) -> Held:
        kept = self._folder / "held.json"
        return [(record_id, stamp) for record_id, stamp in json.loads(kept.read_text())] if kept.exists() else []


NO_PROXY = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
SYSTEMS: dict[str, Callable[[Simulator, Path], Ours | Rival]] = {
    "fenxiang_sync": Ours,
    **{name: lambda server, folder, name=name: Rival(name, server, folder) for name in RIVALS},
}


def prepare() -> None:
    """Make the environments that are not there yet, or hold another version."""
    for name, wanted in RIVALS.items():
        stamp = VENVS / name / ".holds"
        if stamp.exists() and stamp.read_text() == wanted:
            continue
        print(f"Making {stamp.parent.relative_to(ROOT)} with {wanted}", flush=True)
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, stamp.parent], check=True)
        python = stamp.parent / "bin" / "python"
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, wanted], check=True)
        stamp.write_text(wanted)


def measure(scenario: Scenario, system: str, records: int) -> str:
    """One row of the table."""
    knobs = Knobs(**{"calls": 1_000_000, "day_quota": 10_000_000, "visibility_lag_ms": 0, **scenario.knobs})
    number = int(records * scenario.records)
    with tempfile.TemporaryDirectory() as folder, Simulator(records={OBJECT: number}, knobs=knobs) as server:
        made = SYSTEMS[system](server, Path(folder))
        said, held_first, syncs, quiet, before = "", 0, 0, 0, None
        knobs.edits_per_request = scenario.edits
        while syncs < MOST_SYNCS and quiet < 2:
            told = made.sync()
            server.clock.advance(60)  # the next sync comes a minute later: everything is visible by then
            knobs.edits_per_request = 0
            syncs += 1
            now = sorted(made.held())
            quiet = quiet + 1 if now == before else 0
            before = now
            said, held_first = said or told, held_first or len(now)
        truth = {record["_id"]: record["last_modified_time"] for record in server.tenant.visible(OBJECT).values()}
        held = dict(before or [])
        missing = len(truth.keys() - held.keys())
        stale = sum(held[each] < stamp for each, stamp in truth.items() if each in held)
        twice = len(before or []) - len(held)
        asked = server.report()["requests"][PATH]
        return (
            f"| {scenario.name} | {system} | {said} | {held_first:,} of {number:,} | {syncs} | {asked:,} | {missing} "
            f"| {stale} | {twice} |"
        )


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--records", type=int, default=9_000, help="9000 by default: what offsets can reach")
    words.add_argument("--only", choices=list(SYSTEMS), action="append", help="these systems alone")
    given = words.parse_args()
    prepare()
    print(f"\n{', '.join(RIVALS.values())}; {given.records:,} records, pages of {PAGE}\n")
    print("| | system | its first sync said | held then | syncs | requests | missing | stale | duplicated |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for scenario in SCENARIOS:
        for system in given.only or SYSTEMS:
            print(measure(scenario, system, given.records), flush=True)


if __name__ == "__main__":
    main()
