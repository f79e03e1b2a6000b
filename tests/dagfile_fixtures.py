"""DAG files that are written by a command: whether they are as the formatter and the linter want them."""

from __future__ import annotations

import subprocess
import sys


def assert_formatted(text: str) -> None:
    for command in (["format", "--check"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", "dags/made.py", "-"],
            input=text.encode(),
            capture_output=True,
        )
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
