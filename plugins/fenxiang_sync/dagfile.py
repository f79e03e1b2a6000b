"""What `fenxiang new` and `fenxiang import-qeasy` write DAG files with: Python text as its formatters leave it.

Whatever comes from outside goes through `quoted`, `one_line` or `identifier`, so that it stays text, a comment or a
name.
"""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

WIDTH = 120

_USED_LATER = ("dag", "sync_dag", "mysql")
"""Names of a file that are used when its pipeline has one."""
_PLAIN = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Code:
    """Python text in brackets that may be broken into lines: `head` and what closes it, `parts` with their prefixes.

    >>> call("Field", quoted("a"), convert="text").flat
    'Field("a", convert=text)'
    """

    head: str
    parts: tuple[tuple[str, Code | str], ...]
    tail: str

    @property
    def flat(self) -> str:
        return self.head + ", ".join(prefix + flat(part) for prefix, part in self.parts) + self.tail


Part = Code | str


def flat(part: Part) -> str:
    """The part in one line."""
    return part if isinstance(part, str) else part.flat


def call(name: str, *given: Part, **words: Part) -> Code:
    """A call, its arguments as Python text."""
    return Code(
        f"{name}(", (*(("", each) for each in given), *((f"{word}=", each) for word, each in words.items())), ")"
    )


def listed(parts: Iterable[Part]) -> Code:
    """A list."""
    return Code("[", tuple(("", each) for each in parts), "]")


def table(pairs: Mapping[str, Part] | Iterable[tuple[str, Part]]) -> Code:
    """A dict of texts and Python text.

    >>> table({"1": '"A"'}).flat
    '{"1": "A"}'
    """
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    return Code("{", tuple((f"{quoted(key)}: ", each) for key, each in items), "}")


def laid(part: Part, *, indent: int = 0, prefix: str = "", suffix: str = "") -> Iterator[str]:
    """The part in lines of the file's width, one element a line where it does not fit into one."""
    room = WIDTH - indent
    line = f"{prefix}{flat(part)}{suffix}"
    if isinstance(part, str) or not part.parts or width(line) <= room:
        yield " " * indent + line
        return
    yield f"{' ' * indent}{prefix}{part.head}"
    for before, each in part.parts:
        yield from laid(each, indent=indent + 4, prefix=before, suffix=",")
    yield f"{' ' * indent}{part.tail}{suffix}"


def value(given: Any) -> Part:
    """A JSON value as Python text; its numbers are exact, so a Decimal may be in it.

    >>> flat(value({"a": [1, True, None, Decimal("1.5")]}))
    '{"a": [1, True, None, Decimal("1.5")]}'
    """
    if isinstance(given, str):
        return quoted(given)
    if isinstance(given, Decimal):
        return f'Decimal("{given}")'
    if isinstance(given, Mapping):
        return table((str(key), value(each)) for key, each in given.items())
    if isinstance(given, list | tuple):
        return listed(value(each) for each in given)
    return repr(given)


def quoted(said: str) -> str:
    """Text as Python and its formatters write it.

    >>> print(quoted("a"), quoted('say "a"'), quoted("a\\n"))
    "a" 'say "a"' "a\\n"
    """
    quote = "'" if said.count('"') > said.count("'") else '"'
    return quote + "".join(_letter(letter, quote) for letter in said) + quote


def _letter(letter: str, quote: str) -> str:
    if letter == quote:
        return f"\\{quote}"
    if letter in _PLAIN:
        return _PLAIN[letter]
    if letter.isprintable():
        return letter
    number = ord(letter)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def one_line(said: str) -> str:
    """Text that may stand in a comment."""
    return "".join(letter for letter in " ".join(said.split()) if letter.isprintable())


def docstring(lines: Iterable[str]) -> list[str]:
    """Lines of text that may stand between three quotes."""
    return [one_line(line).replace("\\", "/").replace('"', "'") for line in lines]


def commented(code: str, comment: str) -> str:
    """A line of code with a comment behind it, cut to the file's width."""
    room = WIDTH - width(code) - len("  # ")
    said = cut(comment, room) if comment else ""
    return f"{code}  # {said}" if said and width(said) <= room else code


def cut(said: str, room: int) -> str:
    """Text of at most that width, cut between words."""
    words = said.split(" ")
    while width(said) > room and len(words) > 1:
        words.pop()
        said = " ".join(words).rstrip(",") + " …"
    return said


def width(said: str) -> int:
    """Columns of a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in said)


def folded(said: str, *, room: int = WIDTH) -> Iterator[str]:
    """Text in lines of that width."""
    line = ""
    for word in said.split():
        if line and width(line) + 1 + width(word) > room:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line


def variable(name: str) -> str:
    """The name of a pipeline as that of a variable, which is none that the file has beside it.

    >>> variable("sales-order"), variable("dag"), variable("sync_dag"), variable("8dx")
    ('sales_order', 'dag_', 'sync_dag_', '_8dx')
    """
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    if plain[:1].isdigit():
        return f"_{plain}"
    return f"{plain}_" if keyword.iskeyword(plain) or plain in _USED_LATER else plain


def identifier(said: str, taken: Collection[str] = (), *, instead: str = "value") -> str:
    """A name of Python made of any text, in lower case; none of those that are taken.

    >>> identifier("FDate"), identifier("客户"), identifier("class"), identifier("a", {"a", "a_2"})
    ('fdate', 'value', 'class_', 'a_3')
    """
    plain = re.sub(r"[^a-z0-9]+", "_", said.lower(), flags=re.ASCII).strip("_")[:60]
    plain = plain or instead
    if plain[0].isdigit():
        plain = f"{instead}_{plain}"
    if keyword.iskeyword(plain) or keyword.issoftkeyword(plain) or hasattr(builtins, plain):
        plain += "_"
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}_{number}"
    return name


def imports(module: str, words: Iterable[str], *, wraps: bool = False) -> list[str]:
    """A statement that imports the words, in the order that isort gives them."""
    ordered = sorted(set(words), key=_as_isort_sorts)
    line = f"from {module} import {', '.join(ordered)}"
    if not wraps and len(line) <= WIDTH:
        return [line]
    return [f"from {module} import (", *(f"    {word}," for word in ordered), ")"]


def _as_isort_sorts(word: str) -> tuple[int, str]:
    """Constants, classes, functions."""
    return (0 if word.isupper() and len(word) > 1 else 2 if word[0].islower() else 1, word)


def names_in(part: Part, known: Collection[str]) -> set[str]:
    """Which of the known words Python text of one line uses, texts and the comment in it left out.

    >>> sorted(names_in('Field("text  # first", convert=text)  # label', {"Field", "text", "first", "label"}))
    ['Field', 'text']
    """
    bare = re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', "", flat(part)).partition("#")[0]
    return {word for word in re.findall(r"(?<![.\w])[A-Za-z_]\w*", bare) if word in known}


def block(lines: Sequence[str]) -> str:
    """Lines as text."""
    return "".join(f"{line}\n" for line in lines)
