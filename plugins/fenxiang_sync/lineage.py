"""Lineage: where each value of a row comes from: its source fields, its converter, what stands in for null.

The DAG page and ``fenxiang lineage`` tell the same from here: what each entry of a declaration says of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fenxiang_sync.columns import Column
from fenxiang_sync.entry import Entry
from fenxiang_sync.lines import Lines

if TYPE_CHECKING:
    from fenxiang_sync.pipeline import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Of one target column. `sources` are the paths that the declaration names, `reads` the record's own fields that
    are asked for, dotted for those of a line; both are empty for a constant. `how` is the converter, or what else makes
    the value, `kept` which lines it is of, "" for all."""

    column: Column
    sources: tuple[str, ...]
    reads: tuple[str, ...]
    how: str
    if_null: str
    kept: str = ""

    @property
    def path(self) -> str:
        """The sources, for people."""
        return ", ".join(self.sources)

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.column.path,
            "kind": self.column.kind.value,
            "scale": self.column.scale,
            "required": self.column.required,
            "source": self.path or None,
            "reads": list(self.reads),
            "converter": self.how,
            "if_null": self.if_null or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Of one pipeline. `conditions` say which records are kept, `filters` which are asked for; each is the fields that
    it is about and how it reads."""

    pipeline: Pipeline
    origins: tuple[Origin, ...]
    conditions: tuple[tuple[str, str], ...]
    filters: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, pipeline: Pipeline) -> Lineage:
        conditions = [(each.field, str(each)) for group in pipeline.conditions for each in group]
        return cls(
            pipeline=pipeline,
            origins=tuple(with_lines(pipeline.fields)),
            conditions=tuple(dict.fromkeys(conditions)),
            filters=tuple(dict.fromkeys(pipeline.source.selects())),
        )

    def about(self, origin: Origin) -> list[str]:
        """The conditions and filters on a field that the column is made of."""
        said = [said for field, said in (*self.filters, *self.conditions) if field.partition(".")[0] in origin.reads]
        return [*said, origin.kept] if origin.kept else said

    def columns(self, field: str) -> list[str]:
        """The target columns that a source field goes into."""
        return columns(self.origins, field)

    def to_json(self) -> dict[str, Any]:
        pipeline = self.pipeline
        return {
            "pipeline": pipeline.name,
            "object": pipeline.source.object,
            "connection": pipeline.source.connection,
            "target": pipeline.target.describe(),
            "key": pipeline.mapping.key,
            "explode": None if pipeline.explode is None else str(pipeline.explode),
            "filters": [said for _, said in self.filters],
            "gets": list(pipeline.source.get_fields),
            "conditions": [[str(each) for each in group] for group in pipeline.conditions],
            "columns": [{**each.to_json(), "conditions": self.about(each)} for each in self.origins],
        }


def origins(entries: Iterable[Entry]) -> Iterator[Origin]:
    """Where each entry of a declaration takes its value from."""
    for entry in entries:
        yield Origin(
            column=entry.column,
            sources=entry.sources,
            reads=tuple(dict.fromkeys(entry.asks)),
            how=entry.made_by(),
            if_null=entry.rule,
        )


def with_lines(entries: Iterable[Entry]) -> Iterator[Origin]:
    """The same, with what each line of a list is made of behind the list."""
    for entry in entries:
        (whole,) = origins([entry])
        yield whole
        if isinstance(entry, Lines):
            kept = " or ".join(" and ".join(map(str, each)) for each in entry.keeps)
            for each in origins(entry.fields):
                yield replace(
                    each,
                    column=replace(each.column, path=f"{entry.target}.{each.column.path}"),
                    sources=tuple(f"{entry.source}.{source}" for source in each.sources),
                    reads=tuple(f"{entry.source}.{name}" for name in each.reads),
                    kept=kept,
                )


def columns(found: Sequence[Origin], field: str) -> list[str]:
    """The target columns of these that are made of a source field."""
    return [each.column.path for each in found if field in each.reads]


def by_field(found: Iterable[Origin]) -> dict[str, list[str]]:
    """The target columns by the source field that they are made of."""
    made: dict[str, list[str]] = {}
    for each in found:
        for field in each.reads:
            made.setdefault(field, []).append(each.column.path)
    return made
