"""Run the benchmarks, each in a process of its own: ``python -m benchmarks`` the quick ones, others by their names
(``… pace``)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
LONG = ("end_to_end", "getting", "loss", "pace")
"""These take minutes, and run where they are named alone."""


def main(wanted: list[str]) -> int:
    there = {file.stem.removeprefix("bench_"): file for file in sorted(FOLDER.glob("bench_*.py"))}
    unknown = [name for name in wanted if name not in there]
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(there)}", file=sys.stderr)
        return 2
    codes = [_run(there[name]) for name in wanted or there if wanted or name not in LONG]
    return max(codes)


def _run(file: Path) -> int:
    told = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or file.stem
    print(f"\n── {told.splitlines()[0]}\n", flush=True)
    return subprocess.run([sys.executable, "-m", f"benchmarks.{file.stem}"], cwd=FOLDER.parent, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
