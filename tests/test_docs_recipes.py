"""docs/recipes.md is what the DAG files of the recipes and their fixtures say."""

from __future__ import annotations

import json

from docs import recipes


def test_the_page_is_what_the_files_say() -> None:
    kept = recipes.PAGE.read_text(encoding="utf-8")
    assert kept == recipes.text(), f"docs/recipes.md is out of date; write it anew: {recipes.COMMAND}"


def test_each_recipe_shows_its_declaration_its_steps_and_a_row() -> None:
    page = recipes.text()
    for name, told in recipes.recipes():
        _, _, part = page.partition(f"## {told['title']}\n")
        part = part.partition("\n## ")[0]
        assert "Pipeline(" in part and "sync_dag(" in part, name  # noqa: PT018
        assert all(f"{number}. {step['says']}" in part for number, step in enumerate(told["steps"], start=1)), name
        shown = part.rpartition("```json\n")[2].partition("```")[0]
        assert json.loads(shown) in [row for rows in told["steps"][-1]["rows"].values() for row in rows], name
