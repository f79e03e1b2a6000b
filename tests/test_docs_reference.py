"""docs/reference.md is what the code says."""

from __future__ import annotations

import doctest
import re

import fenxiang_sync
from docs import reference


def test_the_page_is_what_the_code_says() -> None:
    kept = reference.PAGE.read_text(encoding="utf-8")
    assert kept == reference.text(), f"docs/reference.md is out of date; write it anew: {reference.COMMAND}"


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(reference).failed == 0


def test_every_word_has_its_place_its_arguments_and_a_sentence() -> None:
    parts = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", reference.text(), re.MULTILINE | re.DOTALL))
    assert set(parts) == set(fenxiang_sync.__all__)
    assert reference.OTHERS not in reference.grouped(), "give the module of a new word a group in docs/reference.py"
    for word, part in parts.items():
        said = [line for line in part.splitlines() if line and not line.startswith(("|", f"`{word}"))]
        assert said, f"{word} has no docstring"
    assert "| `page_size` | `int` | `100` |" in parts["Source"]
    assert "| `Drift.WARN` | `warn` |" in parts["Drift"]
