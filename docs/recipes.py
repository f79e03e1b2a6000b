"""The page of recipes, written from the DAG files of the scenario pack and their fixtures: ``python -m docs.recipes``.

A test compares the page with what this writes, and plays every fixture, so that the page tells what happens.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "examples" / "fixtures"
PAGE = Path(__file__).with_name("recipes.md")
COMMAND = "python -m docs.recipes"
HOW = {"sync": "", "full": " (full)", "reconcile": ".reconcile", "replay": ".replay", "write_back": ".write_back"}
_WIDEST = 160
_INTRO = """\
# Recipes (场景方案)

Each recipe is a DAG file: copy it into `dags/`, change the object, the fields and the connections. Beside it stands a
fixture: what the CRM holds, what people do, and what comes of every record. The tests play each fixture from end to end
over HTTP against the simulator, those with a database on SQLite, PostgreSQL and MariaDB; after each step everything is
read once more, and nothing may be sent twice.

This page is written from the files by `{command}`; change it there. Words of a declaration are in
[reference.md](reference.md), how they go together is in [adding-an-object.md](adding-an-object.md)."""


def text() -> str:
    """The whole page."""
    return "\n".join(_lines()).rstrip() + "\n"


def recipes() -> list[tuple[str, dict[str, Any]]]:
    """The fixtures by name, in the order of their scenarios."""
    told = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FIXTURES.glob("*.json")}
    return sorted(told.items(), key=lambda item: (int(item[1]["scenarios"][0][1:]), item[0]))


def _lines() -> Iterator[str]:
    yield _INTRO.format(command=COMMAND)
    yield ""
    yield "| | recipe | file |"
    yield "|---|---|---|"
    for _, told in recipes():
        title = told["title"]
        yield f"| {', '.join(told['scenarios'])} | [{title}](#{_anchor(title)}) | `{told['files'][-1]}` |"
    for name, told in recipes():
        yield ""
        yield from _recipe(name, told)


def _recipe(name: str, told: Mapping[str, Any]) -> Iterator[str]:
    path = ROOT / told["files"][-1]
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    yield f"## {told['title']}"
    yield ""
    yield _prose(ast.get_docstring(tree) or "")
    yield ""
    links = [_link(each) for each in told["files"][-1:]] + [_link(f"examples/fixtures/{name}.json")]
    yield f"{links[0]}, fixture {links[1]}" + (
        f"; it runs with {', '.join(map(_link, told['files'][:-1]))}" if len(told["files"]) > 1 else ""
    )
    yield ""
    yield "```python"
    yield _declaration(source, tree)
    yield "```"
    yield ""
    for number, step in enumerate(told["steps"], start=1):
        yield from _step(number, step)
    yield ""
    yield from _rows(told)


def _step(number: int, step: Mapping[str, Any]) -> Iterator[str]:
    runs = "; ".join(f"`{run['pipeline']}{HOW[run.get('how', 'sync')]}` {_numbers(run)}" for run in step["runs"])
    yield f"{number}. {step['says']} {runs}."
    for letter in step["letters"]:
        yield f"   - Dead letter of `{letter['pipeline']}`: {_short(letter['reason'])}"


def _numbers(run: Mapping[str, Any]) -> str:
    numbers = ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in run["numbers"].items())
    return numbers or "nothing new"


def _rows(told: Mapping[str, Any]) -> Iterator[str]:
    """A row of each of the recipe's own targets in the end, and a record that is written back: they come last."""
    runs = [run for step in told["steps"] for run in step["runs"]]
    own = {run["pipeline"] for run in runs} if len(told["files"]) == 1 else {Path(told["files"][-1]).stem}
    back = {run["pipeline"] for run in runs if run.get("how") == "write_back"} & own
    for where, rows in [*told["steps"][-1]["rows"].items()][-len(own) - len(back) :]:
        if rows:
            yield f"`{where}` has {len(rows)} row{'s' if len(rows) > 1 else ''} in the end. One of them:"
            yield ""
            yield "```json"
            yield json.dumps(rows[-1], ensure_ascii=False, indent=2)
            yield "```"
            yield ""


def _declaration(source: str, tree: ast.Module) -> str:
    """The file without its docstring and imports."""
    first = next(node for node in tree.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom))
    return "\n".join(source.splitlines()[first.lineno - 1 :])


def _prose(doc: str) -> str:
    return "\n\n".join(" ".join(part.split()).replace("``", "`") for part in doc.split("\n\n"))


def _link(path: str) -> str:
    return f"[`{path}`](../{path})"


def _short(said: str) -> str:
    return (said if len(said) <= _WIDEST else said[:_WIDEST] + "…").replace("`", "'")


def _anchor(title: str) -> str:
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in "_- ")
    return kept.replace(" ", "-")


def main(write: Callable[[str], object] = print) -> None:
    PAGE.write_text(text(), encoding="utf-8")
    write(f"{PAGE}: {len(recipes())} recipes")


if __name__ == "__main__":
    main()
