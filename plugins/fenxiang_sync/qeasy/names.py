"""Names: which field of the record, or of a line, a reference means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fenxiang_sync.mapping import INJECTED
from fenxiang_sync.qeasy.expressions import OutsideError
from fenxiang_sync.qeasy.reading import API_NAME, Reading, clock_code, is_field_key
from fenxiang_sync.qeasy.references import Reference
from fenxiang_sync.qeasy.report import shown

MOMENT = "moment"
"""The kind of a value that the target makes milliseconds of."""


@dataclass(frozen=True, slots=True)
class Line:
    """The list whose lines are mapped, and the names that lead into one of its lines."""

    list: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """`exploded` is the list whose lines are rows of their own, `merged` the one whose lines are a list of their record
    again, "" for none."""

    reading: Reading
    exploded: str
    merged: str = ""

    def resolver(self, line: Line | None) -> Callable[[Reference], str]:
        def resolve(reference: Reference) -> str:
            source, steps, _ = self.resolved(reference, line)
            if steps:
                raise OutsideError(f"reads {shown(reference.name)}, which formatResponse makes")
            return source

        return resolve

    def resolved(self, reference: Reference, line: Line | None) -> tuple[str, list[str], str]:
        """Source path, converters and the type that they give; raises `OutsideError` for what is no field."""
        if reference.is_variable:
            raise OutsideError(
                f"{reference.name} differs in each run, and a row must be the same when it is read again"
            )
        steps, kind = self._piped(reference)
        name = reference.name
        if line is not None:
            name = self._in_line(name, line)
        made = self.reading.formats.get(name)
        if made is not None:
            name = made.old
            steps, kind = [*([made.convert] if made.convert else []), *steps], kind or made.kind
        name = self.reading.aliases.get(name, name)
        if line is None and self.merged and name.startswith(f"{self.merged}_"):
            raise OutsideError(
                f"{shown(name)} is of all lines of {self.merged} together; write a Computed that reads {self.merged}"
            )
        flattened = self.exploded
        if line is None and flattened and name.startswith(f"{flattened}_"):
            name = f"{flattened}.{name.removeprefix(f'{flattened}_')}"
        if not all(API_NAME.fullmatch(part) for part in name.split(".")):
            raise OutsideError(f"{shown(name)!r} is no API name of a field")
        if name in INJECTED:
            raise OutsideError(f"{name} is no field of the record")
        if self.reading.form is not None:
            self._of_form(name)
        return name, steps, kind

    def _of_form(self, name: str) -> None:
        """Raise `OutsideError` for a name that a form of Kingdee cannot be asked for."""
        if name not in ("_id", "last_modified_time") and not is_field_key(name):
            raise OutsideError(f"{name} is no field key of Kingdee")
        if above := self.reading.above(name):
            raise OutsideError(f"{name} leads into {above}, which is read as a value, and a form gives one of both")
        if below := self.reading.below(name):
            raise OutsideError(
                f"{name} is read for {below} as an object; a form gives one of them, and {below} is taken"
            )

    def _in_line(self, name: str, line: Line) -> str:
        for prefix in (*(f"{each}." for each in line.names), f"{line.list}_"):
            if name.startswith(prefix):
                return name.removeprefix(prefix).removeprefix(f"{line.list}_")
        raise OutsideError(
            f"{shown(name)} is a field of the record, and a line has its own fields only; write it beside the lines"
        )

    def _piped(self, reference: Reference) -> tuple[list[str], str]:
        local = self.reading.form is not None
        piped = {
            "": ([], ""),
            "datetime": ([clock_code("YYYY-MM-DD HH:mm:ss", local=local)], "string"),
            "date": ([clock_code("YYYY-MM-DD", local=local)], "string"),
            "timestamp_ms": ([], ""),
        }
        if local and reference.pipe == "timestamp_ms":
            if not self.reading.moments:
                raise OutsideError("is text at Kingdee, and no converter makes milliseconds of it; write a function")
            piped["timestamp_ms"] = (['instant("Asia/Shanghai", local=True)'], MOMENT)
        if reference.pipe not in piped:
            raise OutsideError(f"the pipe |{shown(reference.pipe)} of a field is not known here")
        return piped[reference.pipe]
