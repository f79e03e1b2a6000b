"""The reference of the words of a declaration, written from the code: ``python -m docs.reference``.

A test compares the page with what this writes, so that the page says what the code does.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from enum import Enum
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import fenxiang_sync

PAGE = Path(__file__).with_name("reference.md")
COMMAND = "python -m docs.reference"
GROUPS: dict[str, tuple[str, ...]] = {
    "The pipeline": ("pipeline",),
    "The source": ("fenxiang_source", "kingdee_source", "source", "drift", "details"),
    "Mapping": ("field", "computed", "lookup", "lines", "group", "explode", "condition", "columns"),
    "Converters": ("convert",),
    "Formats": ("formats",),
    "Targets": ("targets",),
    "Policies": ("rows", "reconcile", "letters", "lookback"),
    "Write-back": ("write_back",),
}
"""The sections, by the modules that the words are of; what is of none of them comes last."""
OTHERS = "Other words"
_WIDEST = 110


def text() -> str:
    """The whole page."""
    return "\n".join(_lines()).rstrip() + "\n"


def grouped() -> dict[str, list[str]]:
    """The words in their sections, each in the order of the package; sections without words are left out."""
    made: dict[str, list[str]] = {title: [] for title in (*GROUPS, OTHERS)}
    for word in fenxiang_sync.__all__:
        made[_group(word)].append(word)
    return {title: words for title, words in made.items() if words}


def _group(word: str) -> str:
    home = fenxiang_sync._HOMES[word].removeprefix("fenxiang_sync.").split(".")[0]
    return next((title for title, homes in GROUPS.items() if home in homes), OTHERS)


def _lines() -> Iterator[str]:
    yield "# Reference"
    yield ""
    yield "Every word of a declaration: what it takes, of which type, and what it is by default. All of them come from"
    yield "one place, as in `from fenxiang_sync import Field, Pipeline, Source`; how they go together is in"
    yield "[adding-an-object.md](adding-an-object.md)."
    yield ""
    yield f"This page is written from the code by `{COMMAND}`; change it there."
    yield ""
    for title, words in grouped().items():
        links = ", ".join(f"[`{each}`](#{each.lower()})" for each in words)
        yield f"- [{title}](#{title.lower().replace(' ', '-')}): {links}"
    for title, words in grouped().items():
        yield ""
        yield f"## {title}"
        for word in words:
            yield ""
            yield from _word(word)


def _word(word: str) -> Iterator[str]:
    value = getattr(fenxiang_sync, word)
    yield f"### {word}"
    yield ""
    said = _prose(_doc(word, value))
    if isinstance(value, type) and issubclass(value, Enum):
        yield from [said, ""] if said else []
        yield from _members(value)
    elif isinstance(value, type):
        yield f"`{word}({_heads(value)})`"
        yield ""
        yield from [said, ""] if said else []
        yield from _fields(value)
    else:
        yield f"`{word}{_signature(value)}`"
        yield ""
        yield said


# Classes


def _init_fields(cls: type) -> list[Any]:
    if not dataclasses.is_dataclass(cls):
        return []
    return [each for each in dataclasses.fields(cls) if each.init and not each.name.startswith("_")]


def _heads(cls: type) -> str:
    """The arguments that go by place, and that the others go by name.

    >>> _heads(fenxiang_sync.Field), _heads(fenxiang_sync.HubTarget)
    ('source, to=None, *, …', '*, …')
    """
    fields = _init_fields(cls)
    placed = [each.name + (f"={_default(each)}" if _has_default(each) else "") for each in fields if not each.kw_only]
    return ", ".join([*placed, *(["*, …"] if any(each.kw_only for each in fields) else [])])


def _fields(cls: type) -> Iterator[str]:
    fields = _init_fields(cls)
    if not fields:
        return
    yield "| word | type | default |"
    yield "|---|---|---|"
    for each in fields:
        default = f"`{_cell(_default(each))}`" if _has_default(each) else "–"
        yield f"| `{each.name}` | `{_cell(str(each.type))}` | {default} |"


def _has_default(field: Any) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _default(field: Any) -> str:
    made = field.default if field.default is not dataclasses.MISSING else field.default_factory()
    return _written(made)


def _written(value: Any) -> str:
    """A value as a declaration writes it.

    >>> _written(timedelta(minutes=10)), _written(fenxiang_sync.Bounds.AUTO), _written(fenxiang_sync.Reconcile())
    ('timedelta(minutes=10)', 'Bounds.AUTO', 'Reconcile()')
    """
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, timedelta):
        for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1)):
            if value and not value.total_seconds() % length:
                return f"timedelta({unit}={value.total_seconds() / length:.0f})"
    if isinstance(value, tuple | list):
        inner = ", ".join(map(_written, value))
        return f"({inner}{',' if len(value) == 1 else ''})" if isinstance(value, tuple) else f"[{inner}]"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_written, value)))}}}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _built(value)
    if callable(value):
        return str(getattr(value, "written", None) or getattr(value, "__name__", type(value).__name__))
    return _short(repr(value))


def _built(value: Any) -> str:
    """A declaration by what differs from its defaults."""
    if hasattr(value, "written"):
        return str(value.written)
    said = []
    for each in _init_fields(type(value)):
        given = getattr(value, each.name)
        if not _has_default(each) or _default(each) != _written(given):
            said.append(f"{each.name}={_written(given)}" if each.kw_only else _written(given))
    return _short(f"{type(value).__name__}({', '.join(said)})")


def _members(cls: type[Enum]) -> Iterator[str]:
    docs = _attribute_docs(sys.modules[cls.__module__], cls.__name__)
    yield "| word | value | |"
    yield "|---|---|---|"
    for each in cls:
        yield f"| `{cls.__name__}.{each.name}` | `{each.value}` | {_cell(_prose(docs.get(each.name, '')))} |"


# Functions and values


def _signature(value: Any) -> str:
    """How it is called; "" for a word that is given as it is, such as a converter of one value.

    >>> _signature(fenxiang_sync.text), _signature(fenxiang_sync.first)
    ('', '(convert: Callable[[Any], Any] = as_is)')
    """
    if not inspect.isfunction(value):
        return ""
    parameters = inspect.signature(value).parameters.values()
    if [each.name for each in parameters] == ["value"]:
        return ""
    said: list[str] = []
    named = False
    for each in parameters:
        if each.kind is inspect.Parameter.KEYWORD_ONLY and not named:
            said.append("*")
            named = True
        star = "*" if each.kind is inspect.Parameter.VAR_POSITIONAL else ""
        named = named or bool(star)
        default = "" if each.default is each.empty else f" = {_written(each.default)}"
        said.append(f"{star}{each.name}: {each.annotation}{default}")
    return f"({', '.join(said)})"


def _doc(word: str, value: Any) -> str:
    if isinstance(value, type) or inspect.isfunction(value):
        return inspect.getdoc(value) or ""
    return _attribute_docs(import_module(fenxiang_sync._HOMES[word])).get(word, "")


def _attribute_docs(module: Any, cls: str | None = None) -> dict[str, str]:
    """The texts that stand under the assignments of a module, or of a class in it."""
    body: list[ast.stmt] = ast.parse(inspect.getsource(module)).body
    if cls is not None:
        body = next(each for each in body if isinstance(each, ast.ClassDef) and each.name == cls).body
    found: dict[str, str] = {}
    for assigned, said in pairwise(body):
        targets = assigned.targets if isinstance(assigned, ast.Assign) else [getattr(assigned, "target", None)]
        if isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant) and isinstance(said.value.value, str):
            found |= {each.id: inspect.cleandoc(said.value.value) for each in targets if isinstance(each, ast.Name)}
    return found


def _prose(doc: str) -> str:
    """What a docstring says before its first example, as Markdown, each paragraph in a line.

    >>> _prose("What it\\nsays: ``a.b``::\\n\\n    code\\n\\nMore.")
    'What it says: `a.b`.'
    """
    found = []
    for paragraph in doc.split("\n\n"):
        if paragraph.startswith((" ", ">>>", ":")):
            break
        line = " ".join(paragraph.split(">>>")[0].split()).replace("``", "`")
        found.append(re.sub(r":+$", ".", line))
    return "\n\n".join(found)


def _cell(said: str) -> str:
    return said.replace("|", "\\|").replace("\n", " ")


def _short(said: str) -> str:
    return said if len(said) <= _WIDEST else said[:_WIDEST] + "…"


def main(write: Callable[[str], object] = print) -> None:
    PAGE.write_text(text(), encoding="utf-8")
    write(f"{PAGE}: {len(fenxiang_sync.__all__)} words")


if __name__ == "__main__":
    main()
