"""Scheduler: runs of pipelines on worker processes, as Airflow would: pools, tries, and workers that are killed."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from fenxiang_sync.airflow.pools import DEFAULT, reading_pool, source_pool, target_pool
from tests.chaos.pipelines import PIPELINES
from tests.chaos.worker import Setting

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("extract", "transform", "load")


class RunFailedError(Exception):
    """A run failed, and said why."""


class _KilledError(Exception):
    """The worker died with its task."""


class _Process:
    """A worker process and the task that it is at."""

    def __init__(self, setting: Setting, log: Path) -> None:
        self.task: dict[str, Any] | None = None
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.worker", setting.line()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                text=True,
            )

    def do(self, task: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self.task = task
        try:
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            answer = ""
        finally:
            self.task = None
        if not answer:
            raise _KilledError
        return dict(json.loads(answer))

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class Scheduler:
    """`killed` counts the deaths of workers by step, `failures` the tries of tasks that failed, by error."""

    setting: Setting
    workers: int = 2
    killed: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._log = Path(self.setting.folder) / "workers.log"
        self._free: queue.Queue[_Process] = queue.Queue()
        self._all: list[_Process] = []
        self._lock = threading.Lock()
        self._pools: dict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def running(self) -> Iterator[None]:
        try:
            for _ in range(self.workers):
                self._start()
            yield
        finally:
            for process in self._all:
                process.end()

    def run(self, pipeline: str, run: str, since: float, until: float) -> dict[str, Any]:
        """One DAG run; the report of its verify. Raises `RunFailedError` with what the failed task said."""
        asked = {"pipeline": pipeline, "run": run}
        segments = self._task(asked | {"step": "plan", "since": since, "until": until})
        with ThreadPoolExecutor(self.workers) as pool:
            for done in [pool.submit(self._segment, asked, index) for index in segments]:
                done.result()
        return dict(self._task(asked | {"step": "verify"}))

    def reconcile(self, pipeline: str, run: str) -> dict[str, Any]:
        """One reconcile; its numbers."""
        return dict(self._task({"pipeline": pipeline, "run": run, "step": "reconcile"}))

    def mend(self, pipeline: str, run: str) -> dict[str, Any]:
        """One replay of letters and rows in doubt; its numbers."""
        return dict(self._task({"pipeline": pipeline, "run": run, "step": "mend"}))

    def kill_one(self, random: Random) -> None:
        """SIGKILL to a worker that is at a task; nothing where all are idle."""
        with self._lock:
            busy = [(process, process.task) for process in self._all if process.task]
            if busy:
                process, task = random.choice(busy)
                self.killed[task["step"]] += 1
                process.kill()

    def _segment(self, asked: dict[str, Any], index: int) -> None:
        for step in STEPS:
            self._task(asked | {"step": step, "segment": index})

    def _task(self, task: dict[str, Any]) -> Any:
        """A task with its tries; a death of its worker costs none, since here they come every few seconds."""
        tries = 0
        while True:
            try:
                answer = self._try(task)
            except _KilledError:
                continue
            if "done" in answer:
                return answer["done"]
            tries += 1
            self.failures[answer["error"].split(":")[0]] += 1
            if tries >= answer["tries"]:
                raise RunFailedError(f"{task['pipeline']} {task['run']}, {task['step']}: {answer['error']}")

    def _try(self, task: dict[str, Any]) -> dict[str, Any]:
        """One try on a free worker, in the one slot of its pool."""
        name = _pool_of(task)
        pool = threading.Lock() if name == DEFAULT else self._pools[name]
        with pool:
            process = self._free.get()
            try:
                answer = process.do(task)
            except _KilledError:
                process.end()
                with self._lock:
                    self._all.remove(process)
                self._start()
                raise
            self._free.put(process)
            return answer

    def _start(self) -> None:
        process = _Process(self.setting, self._log)
        with self._lock:
            self._all.append(process)
        self._free.put(process)


def _pool_of(task: dict[str, Any]) -> str:
    """The pool that Airflow's task has."""
    pipeline, step = PIPELINES[task["pipeline"]], task["step"]
    if step in ("load", "mend"):
        return target_pool(pipeline.target)
    if step == "extract":
        return reading_pool(pipeline.source)
    return DEFAULT if step == "transform" else source_pool(pipeline.source)
