"""The recipes as `fenxiang check` sees them: they parse in Airflow, and fit the objects that they read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from fenxiang_simulator.catalog import demo
from tests.cli_fixtures import fenxiang
from tests.example_fixtures import EXAMPLES, pipelines_of

DECLARED = {each.name for path in EXAMPLES.glob("*.py") for each in pipelines_of(path)}


def test_every_recipe_fits_the_descriptions_of_its_objects(tmp_path: Path) -> None:
    for path in EXAMPLES.glob("*.py"):
        shutil.copy(path, tmp_path)
    (tmp_path / "describe").mkdir()
    for name, definition in demo().items():
        (tmp_path / "describe" / f"{name}.json").write_text(json.dumps(definition.describe()), encoding="utf-8")
    said = fenxiang("check", "--offline", tmp_path)
    assert said.exit_code == 0, said.stdout + said.stderr
    assert f"{len(DECLARED)} pipelines, nothing wrong: {', '.join(sorted(DECLARED))}" in said.stdout
