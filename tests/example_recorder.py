"""Writes down what an example does: ``python -m tests.example_recorder order_to_kingdee`` fills the numbers, letters
and rows of each step into its fixture. Whoever records an example reads what changed: it is what the test asks for.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.example_fixtures import FIXTURES, World, fixture, names, needs_database, world
from tests.sql_fixtures import place


def record(name: str) -> None:
    """Play the example, and write its fixture anew."""
    told = fixture(name)
    with (
        tempfile.TemporaryDirectory() as folder,
        place("sqlite", Path(folder)) as database,
        world(name, Path(folder), database if needs_database(name) else None) as played,
    ):
        told["steps"] = [recorded(played, step) for step in told["steps"]]
    (FIXTURES / f"{name}.json").write_text(written(told), encoding="utf-8")


def recorded(played: World, step: dict[str, Any]) -> dict[str, Any]:
    """One step with what came of it."""
    played.people(step.get("people", ()))
    runs = []
    for run in step["runs"]:
        said = {key: value for key, value in run.items() if key in ("pipeline", "how")}
        runs.append({**said, "numbers": played.run(run)})
    kept = {key: value for key, value in step.items() if key in ("says", "people")}
    made = {**kept, "runs": runs, "letters": played.letters(), "rows": played.rows()}
    played.again(step)  # as the test does after each step
    return made


def written(told: Any) -> str:
    """JSON in which every list of records has a line for each; the rest is indented."""
    return _lines(told, "") + "\n"


def _lines(value: Any, indent: str) -> str:
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or (len(indent) + len(flat) <= 110):
        return flat
    inner = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + _lines(each, inner) for each in value) + f"\n{indent}]"
    pairs = (f"{inner}{json.dumps(key, ensure_ascii=False)}: {_lines(each, inner)}" for key, each in value.items())
    return "{\n" + ",\n".join(pairs) + f"\n{indent}}}"


if __name__ == "__main__":
    for each in sys.argv[1:] or names():
        record(each)
