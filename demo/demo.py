"""The demo: run the shipped pipelines once over everything, through a real Airflow, and say what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from demo.crm import POOLS, SimulatedCrm, connections_to
from demo.local import HomeInUseError, LocalAirflow, free_port
from demo.processes import ProcessDiedError, end_on_signals
from demo.rest import ENDED, AirflowApiError, Json, Rest
from demo.summary import Result, letter_lines, table, target_lines, verdict
from fenxiang_sync.hub import DeadLetter, Hub

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".airflow"
HUB = "fenxiang_hub.db"
PIPELINES = ("warehouse", "inventory_report", "account")
INTERRUPTED = 130


def main(home: Path = HOME) -> int:
    end_on_signals()
    try:
        return run_demo(home)
    except KeyboardInterrupt:
        print("\nInterrupted; everything that was started has been stopped.")
        return INTERRUPTED
    except (AirflowApiError, HomeInUseError, ProcessDiedError, TimeoutError) as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1


def run_demo(home: Path) -> int:
    began = time.monotonic()
    crm = SimulatedCrm(free_port())
    airflow = LocalAirflow(home, dags=ROOT / "dags", connections=connections_to(crm.port), pools=POOLS, schedules=False)
    _say(began, f"Starting Airflow in {home} (API server, scheduler, DAG processor) …")
    with airflow:
        crm.start(airflow.processes, airflow.environment)
        rest = airflow.rest
        rest.wait_parsed(*PIPELINES)
        _give_up_interrupted_runs(rest)
        _say(began, f"Airflow runs at {airflow.url}, the simulated CRM at {crm.url}")
        ids = _trigger_all(rest)
        _say(began, f"Triggered {', '.join(ids)} over everything that the CRM holds …")
        runs = [_ended(rest, dag_id, run_id, began) for dag_id, run_id in ids.items()]
        for dag_id in PIPELINES:
            rest.pause(dag_id)
        failed = [run for run in runs if run["state"] != "success"]
        results = [_result(rest, run) for run in runs if run not in failed]
        reasons = [_reason(rest, run, home) for run in failed]
        targets = crm.report()["targets"]
    _say(began, "Stopped")
    print("\n" + table(results) + "\n")
    if failed:
        print("\n".join(reasons), file=sys.stderr)
        return 1
    print("\n".join([verdict(results), *letter_lines(_dead_letters(home, runs))]))
    print(_where(home, targets))
    return 0


def _give_up_interrupted_runs(rest: Rest) -> None:
    """End what a demo that was killed left unfinished; this one reads everything anyway."""
    for dag_id in PIPELINES:
        for run in rest.runs(dag_id):
            if run["state"] not in ENDED:
                rest.end_run(dag_id, run["dag_run_id"])


def _trigger_all(rest: Rest) -> dict[str, str]:
    """Run id per pipeline; what the Trigger button does with `full` set."""
    for dag_id in PIPELINES:
        rest.unpause(dag_id)
    return {dag_id: rest.trigger(dag_id, {"full": True}) for dag_id in PIPELINES}


def _ended(rest: Rest, dag_id: str, run_id: str, began: float) -> Json:
    run = rest.wait_run(dag_id, run_id)
    _say(began, f"{dag_id}: {run['state']}")
    return run


def _dead_letters(home: Path, runs: Iterable[Json]) -> Iterator[DeadLetter]:
    """The dead letters that these runs met, from the hub."""
    hub = Hub.connect(f"sqlite:///{home / HUB}")
    try:
        for run in runs:
            yield from hub.dead_letters(run["dag_id"], run=run["dag_run_id"])
    finally:
        hub.close()


def _result(rest: Rest, run: Json) -> Result:
    return Result.of(run, rest.xcom(run["dag_id"], run["dag_run_id"], "verify"))


def _reason(rest: Rest, run: Json, home: Path) -> str:
    """Which task of a run failed, and what it says about it."""
    dag_id, run_id = run["dag_id"], run["dag_run_id"]
    failed = [task for task in rest.task_instances(dag_id, run_id) if task["state"] == "failed"]
    said = [f"  {task['task_id']}: {_failure(rest, task)}" for task in failed]
    logs = home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}"
    return "\n".join([f"{dag_id} failed:", *said, f"  logs: {logs}"])


def _failure(rest: Rest, task: Json) -> str:
    try:
        run = (task["dag_id"], task["dag_run_id"], task["task_id"])
        return str(rest.xcom(*run, key="failure", map_index=task["map_index"]))
    except AirflowApiError:
        return "gives no reason; see its log"


def _where(home: Path, targets: Json) -> str:
    return "\n".join(
        [
            "",
            "The simulated targets took from this run:",
            *target_lines(targets),
            f"The hub, {home / HUB} (SQLite), holds every record with its content, state and outcome.",
            "",
            "make demo   runs the same again: nothing has changed, so nothing is sent",
            "make up     opens the UI with these runs, to trigger, backfill and watch",
        ]
    )


def _say(began: float, text: str) -> None:
    print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
