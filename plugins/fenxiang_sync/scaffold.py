"""Scaffold: the DAG file of a pipeline for an object, written from its description, to be mended by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from fenxiang_sync.dagfile import commented, docstring, folded, imports, quoted, variable
from fenxiang_sync.source.description import FieldDescription, ObjectDescription

OF_THE_ENGINE = frozenset((
    "_id", "version", "is_deleted", "life_status_before_invalid", "object_describe_api_name", "extend_obj_data_id",
    "relevant_team", "last_modified_time",
))  # fmt: skip
"""Fields that every object has and few targets want; what the engine needs of them it asks for by itself."""

_OPTIONS_SHOWN = 6
_LONGEST_NAME = 100


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
        unwanted = folded(f"Left out, since few targets want them: {left}.") if left else ()
        paragraphs = ["\n".join(docstring(folded(said))), *(["\n".join(unwanted)] if unwanted else [])]
        about = "\n\n".join(paragraphs)
        return _FILE.format(
            about=f"{about}\n" if "\n" in about else about,
            words="\n".join(imports("fenxiang_sync", self._words, wraps=True)),
            variable=variable(self.name),
            name=quoted(self.name),
            title=quoted(self.described.label),
            object=quoted(self.described.name),
            connection="" if self.connection == "fenxiang" else f", connection={quoted(self.connection)}",
            fields=fields,
        )

    def _fields(self) -> Iterator[str]:
        yield '        Field("_id", convert=text),'
        mapped = [each for each in self.described.fields.values() if _is_mapped(each)]
        taken = {"_id", *(each.name for each in mapped)}
        for each in mapped:
            yield from self._field(each, taken)
        modified = quoted(_free("modified_at", taken))
        yield f'        Field("last_modified_time", {modified}, convert=instant("Asia/Shanghai")),'

    def _field(self, described: FieldDescription, taken: set[str]) -> Iterator[str]:
        for number, line in enumerate(_lines(described)):
            self._words.update(re.findall(r"[a-z_]+(?=\(|$)|(?<=\()[a-z_]+(?=\))", line.convert))
            to = f", {quoted(_free(line.to, taken))}" if line.to else ""
            required = ", required=True" if described.name == "name" and described.required else ""
            code = f"        Field({quoted(described.name)}{to}, convert={line.convert}{required}),"
            yield commented(code, _comment(described) if number == 0 else "")


def pipeline_name(object_name: str) -> str:
    """A name for the pipeline of an object.

    >>> pipeline_name("SalesOrderObj"), pipeline_name("object_inventory_report__c"), pipeline_name("object_8dxRj__c")
    ('sales_order', 'inventory_report', 'object_8dx_rj')
    """
    plain = object_name.removesuffix("__c").removesuffix("Obj").removeprefix("object_")
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain).lower()
    name = re.sub(r"[^a-z0-9_]", "_", snake).strip("_")
    return (name if name[:1].isalpha() else f"object_{name}".rstrip("_"))[:_LONGEST_NAME]


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


def _free(path: str, taken: set[str]) -> str:
    """The path, or with a number behind it where another field has it; it is taken from now on."""
    number, free = 1, path
    while free in taken:
        number += 1
        free = f"{path}_{number}"
    taken.add(free)
    return free


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


_FILE = '''"""{about}"""

from __future__ import annotations

{words}
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
