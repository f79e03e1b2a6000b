"""What goes wrong is tried again, named, or mended by a clear, in a real Airflow; and nothing is delivered twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from fenxiang_simulator.target_knobs import Fault
from tests.server_fixtures import Crm, Server
from tests.test_airflow_server_runs import hourly
from tests.test_airflow_server_windows import day

pytestmark = [pytest.mark.slow, pytest.mark.airflow]

T = TypeVar("T")
SMALL = ["lookback=timedelta(0)", "page_size=10", "segment_records=20"]


def tries(server: Server, name: str, run_id: str, task_id: str) -> Counter[int]:
    """How many mapped tasks of a run had how many tries."""
    tasks = server.rest.task_instances(name, run_id)
    return Counter(task["try_number"] for task in tasks if task["task_id"] == task_id)


def clear(server: Server, name: str, run_id: str, *tasks: str | tuple[str, int]) -> None:
    """What the Clear button does with a task and what comes after it."""
    body = {
        "dry_run": False,
        "dag_run_id": run_id,
        "task_ids": tasks,
        "only_failed": False,
        "include_downstream": True,
    }
    server.rest.call("POST", f"/api/v2/dags/{name}/clearTaskInstances", json=body)


def test_a_segment_whose_target_is_busy_is_tried_again_alone(crm: Crm) -> None:
    crm.create(*hourly(day(2), 30))
    crm.simulator.targets.knobs.retry_after = "1"
    crm.simulator.targets.faults.inject(None, None, None, Fault.THROTTLED, on="write")
    name = crm.declare("busy", source=SMALL, target=f"WriteApi(connection={crm.writing!r}, tries=1)")
    run = crm.run(name, {"full": True})
    steps = {step: tries(crm.server, name, run["dag_run_id"], f"segment.{step}") for step in ("extract", "load")}

    assert run["state"] == "success"
    segments = steps["extract"].total()
    assert segments >= 2
    assert steps == {"extract": {1: segments}, "load": {1: segments - 1, 2: 1}}
    assert sorted(crm.written()) == sorted(crm.ids())
    assert crm.simulator.targets.write.requests == 30 + 1, "what was delivered before the fault is not sent again"


def test_clearing_the_one_segment_that_failed_completes_the_run_and_clearing_all_of_it_delivers_nothing_twice(
    crm: Crm,
) -> None:
    server, rest = crm.server, crm.server.rest
    crm.simulator.targets.knobs.write_appends = True
    crm.create(*hourly(day(2), 30))
    crm.simulator.targets.faults.inject(Fault.TOKEN_REFUSED, on="write")
    name = crm.declare("refused", source=SMALL, target=f"WriteApi(connection={crm.writing!r})")
    run = crm.run(name, {"full": True})
    run_id = run["dag_run_id"]
    [failed] = [task for task in rest.task_instances(name, run_id) if task["state"] == "failed"]
    assert (run["state"], failed["task_id"], failed["try_number"]) == ("failed", "segment.load", 1)
    assert "check login and password" in server.failure(name, run_id, "segment.load", failed["map_index"])
    assert failed["rendered_map_index"].endswith(" · RefusedError")
    assert crm.certified(name) == []

    clear(server, name, run_id, ("segment.load", failed["map_index"]))
    assert rest.wait_run(name, run_id)["state"] == "success"
    segments = tries(server, name, run_id, "segment.extract")
    assert segments == {1: segments.total()}
    assert tries(server, name, run_id, "segment.load") == {1: segments.total() - 1, 2: 1}
    assert sorted(crm.written()) == sorted(crm.ids())
    [certified] = crm.certified(name)

    rest.clear_run(name, run_id)
    assert rest.wait_run(name, run_id)["state"] == "success"
    assert rest.xcom(name, run_id, "verify")["delivered"] == 30, "its numbers are those of one clean run"
    assert sorted(crm.written()) == sorted(crm.ids())
    assert crm.simulator.targets.write.requests == 30 + 1
    assert crm.certified(name)[0].since == certified.since


def test_an_extract_that_is_killed_goes_on_from_its_complete_files(crm: Crm) -> None:
    server, rest = crm.server, crm.server.rest
    crm.create(*hourly(day(2), 480))
    crm.knobs.latency_ms = 200
    once = ['default_args={"retry_delay": timedelta(seconds=1), "retry_exponential_backoff": 0}']
    name = crm.declare("killed", source=["lookback=timedelta(0)", "page_size=2"], options=once)
    crm.ready(name)
    until = (day(2) + timedelta(days=20)).isoformat()
    run_id = rest.trigger(name, {"since": day(2).isoformat(), "until": until})
    until_true(lambda: len(complete_files(server, name)) >= 8)
    task_process(server, name, run_id, "segment.extract").kill()
    crm.knobs.latency_ms = 0
    run = rest.wait_run(name, run_id)
    said = rest.log(name, run_id, "segment.extract", map_index=0, try_number=2)

    assert run["state"] == "success"
    assert tries(server, name, run_id, "segment.extract") == {2: 1}
    assert "complete files of an earlier try" in said
    assert rest.xcom(name, run_id, "segment.extract", map_index=0)["calls"] < 480 / 2, "not all of it again"
    assert crm.held(name) == crm.ids()
    assert rest.xcom(name, run_id, "verify")["read"] == 480


def test_what_is_wrong_with_one_pipeline_is_said_in_a_sentence_and_the_others_stay(crm: Crm) -> None:
    server, rest = crm.server, crm.server.rest
    broken = server.dags / "broken.py"
    rest.put_connection({"connection_id": "no_secret", "conn_type": "fenxiang", "host": crm.simulator.url})
    rest.put_pool("fenxiang-nowhere-custom", 1)
    rest.put_pool("fenxiang-no_secret-custom", 1)
    crm.declare("good")
    crm.declare("unknown_object", object_name="ordr__c")
    crm.declare("without_connection", connection="nowhere")
    crm.declare("without_secret", connection="no_secret")
    sentences = {
        "unknown_object": "ordr__c",
        "without_connection": "Connection 'nowhere' does not exist. Add it in the UI",
        "without_secret": "no_secret",
    }
    crm.ready("good", *sentences)
    runs = {name: rest.trigger(name, {"full": True}) for name in ("good", *sentences)}
    crm.declare("broken", "schedul='0 * * * *'")
    errors = until_true(rest.import_errors)
    states = {name: rest.wait_run(name, run_id)["state"] for name, run_id in runs.items()}
    broken.unlink()

    assert list(errors) == ["broken.py"]
    assert "has no 'schedul'; did you mean 'schedule'?" in errors["broken.py"]
    assert states == {"good": "success", **dict.fromkeys(sentences, "failed")}
    for name, sentence in sentences.items():
        assert sentence in server.failure(name, runs[name], "plan")
        assert tries(server, name, runs[name], "plan") == {1: 1}
    assert until_true(lambda: not rest.import_errors())


def until_true(found: Callable[[], T]) -> T:
    """What `found` gives once it is something."""
    deadline = time.monotonic() + 60
    while not (result := found()):
        assert time.monotonic() < deadline, f"{found} gave nothing in a minute"
        time.sleep(0.1)
    return result


def complete_files(server: Server, name: str) -> list[Path]:
    return sorted((server.home / "fenxiang_stage" / name).rglob("records-*.ndjson.gz"))


def task_process(server: Server, name: str, run_id: str, task_id: str) -> psutil.Process:
    """The process that runs the code of a task, somewhere below the scheduler of this Airflow."""
    [task] = [task for task in server.rest.task_instances(name, run_id) if task["task_id"] == task_id]
    scheduler = psutil.Process(int((server.home / "run" / "scheduler.pid").read_text()))
    title = f"airflow worker -- {task['id']}"
    [found] = [process for process in scheduler.children(recursive=True) if command(process) == title]
    return found


def command(process: psutil.Process) -> str:
    """What a process calls itself; nothing for one that has ended."""
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""
