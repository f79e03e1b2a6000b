"""What a run shows and leaves, in a real Airflow: segments, labels, numbers, asset events, the stage; its quota."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from demo.rest import Json
from fenxiang_sync.airflow.pools import pool_name
from tests.server_fixtures import ORDER, Crm
from tests.test_airflow_server_windows import day

pytestmark = [pytest.mark.slow, pytest.mark.airflow]

OUTCOMES = ("delivered", "unchanged", "stale", "filtered", "in_doubt", "dead_letters")
STEPS = ("extract", "transform", "load")


def hourly(since: datetime, count: int) -> list[datetime]:
    """So many moments, an hour apart."""
    return [since + timedelta(hours=number) for number in range(count)]


def over(since: datetime, until: datetime) -> dict[str, str]:
    return {"since": since.isoformat(), "until": until.isoformat()}


def told(crm: Crm, run: Json, step: str, map_index: int) -> Any:
    """The return value of a segment's task."""
    return crm.server.rest.xcom(run["dag_id"], run["dag_run_id"], f"segment.{step}", map_index=map_index)


def test_a_run_shows_its_segments_their_time_ranges_and_its_numbers_whether_it_has_none_one_or_many(crm: Crm) -> None:
    rest = crm.server.rest
    crm.create(*hourly(day(2), 12))
    for each in (6, 8, 10, 12, 13):
        crm.create(*hourly(day(each), 20))
    name = crm.declare(
        "segments",
        source=["lookback=timedelta(0)", "page_size=10", "segment_records=20"],
        options=["max_active_runs=3"],
    )
    crm.ready(name)
    ids = [
        rest.trigger(name, over(since, until))
        for since, until in ((day(4), day(5)), (day(2), day(3)), (day(6), day(14)))
    ]
    none, one, many = [rest.wait_run(name, run_id) for run_id in ids]
    assert [run["state"] for run in (none, one, many)] == ["success"] * 3
    reports = [rest.xcom(name, run_id, "verify") for run_id in ids]
    count = 5

    assert [report["segments"] for report in reports] == [0, 1, count]
    assert [report["read"] for report in reports] == [0, 12, 100]
    assert all(report["read"] == sum(report[outcome] for outcome in OUTCOMES) for report in reports)

    skipped = {f"segment.{step}": "skipped" for step in STEPS}
    assert rest.task_states(name, ids[0]) == {"plan": "success", **skipped, "verify": "success"}
    for run_id, segments in ((ids[1], 1), (ids[2], count)):
        mapped = {f"segment.{step}[{at}]" for step in STEPS for at in range(segments)}
        assert rest.task_states(name, run_id) == dict.fromkeys({"plan", "verify", *mapped}, "success")

    labels = {
        task["task_id"]: task["rendered_map_index"]
        for task in rest.task_instances(name, ids[1])
        if task["map_index"] == 0
    }
    range_and_count = "001 · 2026-10-02 00:00 → 2026-10-03 00:00 · ~12 · "
    assert labels.pop("segment.extract").startswith(f"{range_and_count}12 read, ")
    assert labels == {
        "segment.transform": f"{range_and_count}12 read, 12 rows",
        "segment.load": f"{range_and_count}12 delivered",
    }
    assert len({task["rendered_map_index"] for task in rest.task_instances(name, ids[2])}) == 1 + 3 * count
    assert told(crm, one, "transform", 0) == {"read": 12, "rows": 12, "filtered": 0, "rejected": 0}
    assert sum(told(crm, many, "load", at)["delivered"] for at in range(count)) == 100
    assert [segment["index"] for segment in rest.xcom(name, ids[2], "plan")] == list(range(1, count + 1))
    urgent = {
        task["map_index"]: task["priority_weight"]
        for task in rest.task_instances(name, ids[2])
        if task["task_id"] == "segment.extract"
    }
    assert [urgent[at] - urgent[at + 1] for at in range(count - 1)] == [10] * (count - 1)

    events = rest.call("GET", "/api/v2/assets/events", params={"source_dag_id": name})["asset_events"]
    assert {event["source_run_id"]: event["extra"] for event in events} == dict(zip(ids, reports, strict=True))

    files = {path.name for path in _stage(crm, name).rglob("*") if path.is_file()}
    assert {"plan.json", "extracted.json", "transformed.json", "loaded.json", "report.json"} <= files
    left = {file.partition("-")[0] for file in files if file.endswith(".gz")}
    assert left == {"records"}, "rows go when a run has succeeded; what was read is kept, to be traced and mapped anew"


def test_a_dry_run_tells_what_would_be_sent_and_neither_delivers_nor_certifies(crm: Crm) -> None:
    rest = crm.server.rest
    crm.create(*hourly(day(2), 12))
    name = crm.declare("rehearsal", target=f"WriteApi(connection={crm.writing!r})")
    run = crm.run(name, {"full": True, "dry_run": True})
    report = rest.xcom(name, run["dag_run_id"], "verify")

    assert (run["state"], report["dry_run"], report["certified"]) == ("success", True, [])
    assert (report["read"], report["delivered"]) == (12, 12)
    assert crm.simulator.targets.write.requests == 0
    assert (crm.certified(name), crm.held(name)) == ([], set())
    assert [event["extra"]["dry_run"] for event in _events(crm, name)] == [True]


def test_two_pipelines_of_one_connection_share_its_quota_one_task_at_a_time(crm: Crm) -> None:
    rest = crm.server.rest
    crm.create(*hourly(day(2), 160))
    crm.knobs.set({"calls": 20, "per_seconds": 5})
    crm.set_up(calls=20, per_seconds=5)
    names = [crm.declare(name, source=["page_size=20"]) for name in ("first_of_two", "second_of_two")]
    crm.ready(*names)
    runs = [(name, rest.trigger(name, {"full": True})) for name in names]
    ended = [rest.wait_run(*run) for run in runs]
    limits = crm.simulator.report()["limits"]
    calling = sorted(
        (task["start_date"], task["end_date"])
        for run in runs
        for task in rest.task_instances(*run)
        if task["pool"] == pool_name(crm.connection, ORDER)
    )

    assert [run["state"] for run in ended] == ["success", "success"]
    assert max(run["start_date"] for run in ended) < min(run["end_date"] for run in ended), "both ran at once"
    assert limits["burst_refusals"] == {}
    assert 15 <= max(limits["most_in_window"].values()) <= 20
    assert len(calling) == 6
    assert all(calling[at][1] <= calling[at + 1][0] for at in range(5)), calling
    assert [len(crm.held(name)) for name in names] == [160, 160]


def _stage(crm: Crm, name: str) -> Path:
    return crm.server.home / "fenxiang_stage" / name


def _events(crm: Crm, name: str) -> list[Json]:
    query = {"source_dag_id": name}
    return list(crm.server.rest.call("GET", "/api/v2/assets/events", params=query)["asset_events"])
