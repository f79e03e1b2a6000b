"""Names: which field of the record, or of a line, a reference means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fenxiang_sync.mapping import INJECTED
from fenxiang_sync.qeasy.expressions import OutsideError
from fenxiang_sync.qeasy.reading import API_NAME, Reading
from fenxiang_sync.qeasy.references import Reference
from fenxiang_sync.qeasy.report import shown


@dataclass(frozen=True, slots=True)
class Line:
    """The list whose lines are mapped, and the names that lead into one of its lines."""

    list: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """`exploded` is the list whose lines are rows of their own, "" for none."""

    reading: Reading
    exploded: str

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
        flattened = self.exploded
        if line is None and flattened and name.startswith(f"{flattened}_"):
            name = f"{flattened}.{name.removeprefix(f'{flattened}_')}"
        if not all(API_NAME.fullmatch(part) for part in name.split(".")):
            raise OutsideError(f"{shown(name)!r} is no API name of a field")
        if name in INJECTED:
            raise OutsideError(f"{name} is no field of the record")
        return name, steps, kind

    def _in_line(self, name: str, line: Line) -> str:
        for prefix in (*(f"{each}." for each in line.names), f"{line.list}_"):
            if name.startswith(prefix):
                return name.removeprefix(prefix).removeprefix(f"{line.list}_")
        raise OutsideError(
            f"{shown(name)} is a field of the record, and a line has its own fields only; write it beside the lines"
        )

    def _piped(self, reference: Reference) -> tuple[list[str], str]:
        piped = {
            "": ([], ""),
            "datetime": (['instant("Asia/Shanghai", "YYYY-MM-DD HH:mm:ss")'], "string"),
            "date": (["day()"], "string"),
            "timestamp_ms": ([], ""),
        }
        if reference.pipe not in piped:
            raise OutsideError(f"the pipe |{shown(reference.pipe)} of a field is not known here")
        return piped[reference.pipe]
