"""The processes of one home: started in sessions of their own, and ended with everything that they started.

A process writes its own id into `run/<name>.pid` before it becomes what it is to be, so a parent that is killed leaves
nothing behind that the next start cannot find.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

import psutil

# The shell becomes the command, so the id that it writes is the command's.
RECORD_AND_BECOME = 'echo $$ >"$1"; shift; exec "$@"'


POLITE_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ProcessDiedError(RuntimeError):
    """A process ended that should have gone on."""


class Processes:
    """Start and end the processes of `home`; output goes to `logs/<name>.log` in it.

    A process is asked to end, with all that it started; what is left after `patience` seconds, or has outlived the
    process that started it, is killed.
    """

    def __init__(self, home: Path, *, patience: float = 15) -> None:
        self._home = home
        self._patience = patience
        self._run = home / "run"
        self._logs = home / "logs"
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start `command` in the background, in `home`."""
        self._run.mkdir(parents=True, exist_ok=True)
        with self._open_log(name) as log:
            self._started[name] = subprocess.Popen(
                ["/bin/sh", "-c", RECORD_AND_BECOME, "sh", str(self._pid_file(name)), *command],
                cwd=self._home,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, name: str, command: Sequence[str], env: Mapping[str, str], *, timeout: float) -> None:
        """Run `command` to its end; raises ProcessDiedError with the end of its output when it fails."""
        self.start(name, command, env)
        try:
            code = self._started[name].wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessDiedError(f"{name} was not done after {timeout:.0f} s. {self._last_words(name)}") from None
        finally:
            self._end({self._started.pop(name).pid})
            self._pid_file(name).unlink(missing_ok=True)
        if code != 0:
            raise ProcessDiedError(f"{name} failed with exit code {code}. {self._last_words(name)}")

    def check(self) -> None:
        """Raise ProcessDiedError if a process that was started has ended."""
        for name, process in self._started.items():
            if process.poll() is not None:
                raise ProcessDiedError(f"{name} ended with exit code {process.returncode}. {self._last_words(name)}")

    def stop(self) -> None:
        """End everything that was started here. A second Ctrl-C does not cut it short."""
        with _undisturbed():
            self._end({process.pid for process in self._started.values()})
            for name, process in self._started.items():
                process.wait()
                self._pid_file(name).unlink(missing_ok=True)
            self._started.clear()

    def end_leftovers(self) -> int:
        """End what an earlier start in this home left behind; returns how many processes that were."""
        recorded = list(self._run.glob("*.pid"))
        ended = self._end({session for path in recorded if (session := _recorded_session(path)) is not None})
        for path in recorded:
            path.unlink(missing_ok=True)
        return ended

    def _pid_file(self, name: str) -> Path:
        return self._run / f"{name}.pid"

    def _open_log(self, name: str) -> IO[bytes]:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self.log(name).open("wb")

    def _last_words(self, name: str, lines: int = 15) -> str:
        said = self.log(name).read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"The end of {self.log(name)}:", *said])

    def _members(self, sessions: set[int]) -> list[psutil.Process]:
        """Living processes of these sessions in this home: a session's number alone might be somebody else's by now."""
        return [process for process in psutil.process_iter() if self._is_member(process, sessions)]

    def _is_member(self, process: psutil.Process, sessions: set[int]) -> bool:
        try:
            return (
                _session(process.pid) in sessions
                and process.status() != psutil.STATUS_ZOMBIE
                and Path(process.cwd()) == self._home.resolve()
            )
        except (psutil.Error, OSError):
            return False

    def _end(self, sessions: set[int]) -> int:
        if not sessions:
            return 0
        first = left = self._members(sessions)
        for session in sessions & {process.pid for process in left}:
            _signal(session, signal.SIGTERM)
        deadline = time.monotonic() + self._patience
        while left:
            led = {process.pid for process in left} if time.monotonic() < deadline else set()
            for process in left:
                if _session(process.pid) not in led:
                    _signal(process.pid, signal.SIGKILL)
            time.sleep(0.1)
            left = self._members(sessions)
        return len(first)


def end_on_signals() -> None:
    """Let a polite end (SIGTERM, a closed terminal) clean up as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
        raise KeyboardInterrupt

    for number in POLITE_ENDS:
        signal.signal(number, interrupt)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in POLITE_ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _recorded_session(path: Path) -> int | None:
    """The session id in a pid file; None when the file is empty or older than the machine's last start."""
    if path.stat().st_mtime < psutil.boot_time():
        return None
    text = path.read_text().strip()
    return int(text) if text.isdigit() else None
