"""Scaffold: the DAG file of a pipeline for an object, written from its description, to be mended by hand."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from fenxiang_sync.source.description import FieldDescription, ObjectDescription

OF_THE_ENGINE = frozenset((
    "_id", "version", "is_deleted", "life_status_before_invalid", "object_describe_api_name", "extend_obj_data_id",
    "relevant_team", "last_modified_time",
))  # fmt: skip
"""Fields that every object has and few targets want; what the engine needs of them it asks for by itself."""

_WIDTH = 120
_OPTIONS_SHOWN = 6


class Line(NamedTuple):
    """One field of the declaration: its target path where that differs, and how its converter is written."""

    convert: str
    to: str = ""


_TEXT = ("text",)
_CONVERTERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "text",
            "long_text",
            "html_rich_text",
            "phone_number",
            "email",
            "url",
            "auto_number",
            "location",
            "country",
            "province",
            "city",
            "district",
        ),
        _TEXT,
    ),
    **dict.fromkeys(("select_one", "record_type", "object_reference", "master_detail"), ("text", "label")),
    **dict.fromkeys(("employee", "department"), ("first(text)", "label")),
    **dict.fromkeys(("formula", "count"), _TEXT),
    "date": ("day()",),
    "date_time": ('instant("Asia/Shanghai")',),
    "time": ("integer",),
    "true_or_false": ("boolean",),
}
"""By the type in the description (vendor documentation); any other value is taken as it is."""
_NUMBERS = ("number", "currency", "percentile")
_NO_VALUE = frozenset(("group", "signature"))


@dataclass(slots=True)
class Scaffold:
    """The DAG file of one object. `name` is the pipeline's, `connection` the Airflow connection of the CRM."""

    described: ObjectDescription
    name: str
    connection: str = "fenxiang"
    _words: set[str] = field(default_factory=lambda: {"Field", "HubTarget", "Pipeline", "Source", "instant", "text"})

    def text(self) -> str:
        """The file, formatted as Python is."""
        fields = "\n".join(self._fields())
        said = f"{self.described.label} ({self.described.name}) → the hub. Made by `fenxiang new`."
        left = ", ".join(each.name for each in self.described.fields.values() if not _is_mapped(each))
        unwanted = _folded(f"Left out, since few targets want them: {left}.") if left else ()
        return _FILE.format(
            said="\n".join(_folded(said.replace("\\", "/").replace('"', "'"))),
            left="".join(f"\n\n{line}" if number == 0 else f"\n{line}" for number, line in enumerate(unwanted)),
            words="\n".join(f"    {word}," for word in sorted(self._words, key=_as_isort_sorts)),
            variable=_variable(self.name),
            name=_quoted(self.name),
            title=_quoted(self.described.label),
            object=_quoted(self.described.name),
            connection="" if self.connection == "fenxiang" else f", connection={_quoted(self.connection)}",
            fields=fields,
        )

    def _fields(self) -> Iterator[str]:
        yield '        Field("_id", convert=text),'
        for each in self.described.fields.values():
            if _is_mapped(each):
                yield from self._field(each)
        yield '        Field("last_modified_time", "modified_at", convert=instant("Asia/Shanghai")),'

    def _field(self, described: FieldDescription) -> Iterator[str]:
        for number, line in enumerate(_lines(described)):
            self._words.update(re.findall(r"[a-z_]+(?=\(|$)|(?<=\()[a-z_]+(?=\))", line.convert))
            to = f", {_quoted(line.to)}" if line.to else ""
            required = ", required=True" if described.name == "name" and described.required else ""
            code = f"        Field({_quoted(described.name)}{to}, convert={line.convert}{required}),"
            yield _commented(code, _comment(described) if number == 0 else "")


def pipeline_name(object_name: str) -> str:
    """A name for the pipeline of an object.

    >>> pipeline_name("SalesOrderObj"), pipeline_name("object_inventory_report__c")
    ('sales_order', 'inventory_report')
    """
    plain = object_name.removesuffix("__c").removesuffix("Obj").removeprefix("object_")
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain).lower()
    return re.sub(r"[^a-z0-9_]", "_", snake).strip("_") or "pipeline"


def _is_mapped(described: FieldDescription) -> bool:
    return described.active and described.name not in OF_THE_ENGINE and described.type not in _NO_VALUE


def _lines(described: FieldDescription) -> list[Line]:
    if described.type in _NUMBERS:
        whole = described.type == "number" and described.decimals == 0
        scale = "" if described.decimals is None else f"scale={described.decimals}"
        return [Line("integer" if whole else f"decimal({scale})")]
    if described.type in ("employee", "department") and not described.single:
        return [Line("as_is"), Line("label", f"{described.name}_label")]
    converters = _CONVERTERS.get(described.type, ("as_is",))
    return [Line(each, "" if number == 0 else f"{described.name}_label") for number, each in enumerate(converters)]


def _comment(described: FieldDescription) -> str:
    parts = [described.label if described.label != described.name else "", described.type]
    if described.refers_to:
        parts.append(f"→ {described.refers_to}")
    if not described.stamped:
        parts.append("(its changes carry no stamp; a deep reconcile finds them)")
    if described.options:
        options = [value if value == label else f"{value} {label}" for value, label in described.options.items()]
        more = " …" if len(options) > _OPTIONS_SHOWN else ""
        parts.append(f"({', '.join(options[:_OPTIONS_SHOWN])}{more})")
    return " ".join(part for part in parts if part)


def _commented(code: str, comment: str) -> str:
    if not comment:
        return code
    return f"{code}  # {_cut(comment, _WIDTH - _width(code) - len('  # '))}"


def _cut(said: str, room: int) -> str:
    """Text of at most that width, cut between words."""
    words = said.split(" ")
    while _width(said) > room and len(words) > 1:
        words.pop()
        said = " ".join(words).rstrip(",") + " …"
    return said


def _width(said: str) -> int:
    """Columns of a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in said)


def _folded(said: str) -> Iterator[str]:
    """Text in lines of the file's width."""
    line = ""
    for word in said.split():
        if line and _width(line) + 1 + _width(word) > _WIDTH:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line


def _quoted(said: str) -> str:
    """As Python and its formatters write it."""
    escaped = said.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _variable(name: str) -> str:
    plain = re.sub(r"\W", "_", name)
    return f"{plain}_" if keyword.iskeyword(plain) or plain == "dag" or plain[:1].isdigit() else plain


def _as_isort_sorts(word: str) -> tuple[bool, str]:
    return (word[0].islower(), word)


_FILE = '''"""{said}{left}
"""

from __future__ import annotations

from fenxiang_sync import (
{words}
)
from fenxiang_sync.airflow import sync_dag

{variable} = Pipeline(
    name={name},
    title={title},
    source=Source(object={object}{connection}),
    fields=[
{fields}
    ],
    target=HubTarget(),  # 写入空操作: rows stay in the hub; see "Targets" in docs/adding-an-object.md for others
)

dag = sync_dag({variable})
'''
