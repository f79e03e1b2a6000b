"""Processes of a home are ended with all that they started, also after their parent was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from demo.processes import ProcessDiedError, Processes

ENV = {"PATH": os.environ["PATH"]}
CHILD_IN_A_GROUP_OF_ITS_OWN = "set -m; sleep 300 & echo $! >child; wait"
DEAF = "trap '' TERM; echo $$ >child; while :; do sleep 300; done"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    Processes(tmp_path).end_leftovers()


def wait_for(path: Path) -> int:
    """The process id that a shell writes to `path`."""
    while not path.exists() or not path.read_text().strip():
        time.sleep(0.01)
    return int(path.read_text())


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_stop_ends_a_process_and_what_it_started_in_a_group_of_its_own(home: Path) -> None:
    processes = Processes(home)
    processes.start("family", ["bash", "-c", CHILD_IN_A_GROUP_OF_ITS_OWN], ENV)
    child = wait_for(home / "child")

    processes.stop()

    assert not is_running(child)
    assert list((home / "run").iterdir()) == []


def test_a_process_that_does_not_listen_is_killed(home: Path) -> None:
    processes = Processes(home, patience=0.2)
    processes.start("deaf", ["sh", "-c", DEAF], ENV)
    child = wait_for(home / "child")

    processes.stop()

    assert not is_running(child)


def test_what_a_killed_parent_left_running_is_ended_by_the_next_start(home: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(home), CHILD_IN_A_GROUP_OF_ITS_OWN])
    child = wait_for(home / "child")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert is_running(child)

    ended = Processes(home).end_leftovers()

    assert ended == 2
    assert not is_running(child)


PARENT = """
import os, sys, time
from pathlib import Path
from demo.processes import Processes
Processes(Path(sys.argv[1])).start("family", ["bash", "-c", sys.argv[2]], {"PATH": os.environ["PATH"]})
time.sleep(300)
"""


def test_somebody_elses_process_under_a_recorded_number_is_left_alone(home: Path) -> None:
    (home / "run").mkdir()
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as stranger:
        (home / "run" / "scheduler.pid").write_text(str(stranger.pid))

        assert Processes(home).end_leftovers() == 0
        assert stranger.poll() is None

        stranger.kill()


def test_a_record_from_before_the_machine_started_counts_for_nothing(home: Path) -> None:
    (home / "run").mkdir()
    record = home / "run" / "scheduler.pid"
    with subprocess.Popen(["sleep", "300"], start_new_session=True, cwd=home) as stranger:
        record.write_text(str(stranger.pid))
        os.utime(record, (0, 0))

        assert Processes(home).end_leftovers() == 0
        assert stranger.poll() is None

        stranger.kill()


def test_a_record_that_was_cut_off_is_removed(home: Path) -> None:
    (home / "run").mkdir()
    (home / "run" / "scheduler.pid").write_text("")

    assert Processes(home).end_leftovers() == 0
    assert list((home / "run").iterdir()) == []


def test_a_command_that_fails_says_so_with_the_end_of_its_output(home: Path) -> None:
    with pytest.raises(ProcessDiedError, match=r"(?s)migrate failed with exit code 3.*no such table"):
        Processes(home).run("migrate", ["sh", "-c", "echo no such table >&2; exit 3"], ENV, timeout=30)


def test_a_command_that_takes_too_long_is_ended(home: Path) -> None:
    with pytest.raises(ProcessDiedError, match="migrate was not done after 0 s"):
        Processes(home).run("migrate", ["sh", "-c", "echo $$ >child; exec sleep 300"], ENV, timeout=0.3)

    assert not is_running(wait_for(home / "child"))


def test_a_process_that_ended_is_noticed(home: Path) -> None:
    processes = Processes(home)
    processes.start("server", ["sh", "-c", "echo port taken; exit 1"], ENV)

    def check_until_it_ends() -> None:
        while True:
            processes.check()

    with pytest.raises(ProcessDiedError, match=r"(?s)server ended with exit code 1.*port taken"):
        check_until_it_ends()
