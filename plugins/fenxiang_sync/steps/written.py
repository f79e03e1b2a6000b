"""written: the way back (回写), as a pipeline of its own: its records are the replies of the hub, its target the CRM.

So what is written back has its own ledger, dead letters and rows in doubt, under the pipeline's name and a suffix.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Record
from dataclasses import dataclass, replace
from typing import Any

from fenxiang_sync.digest import content_hash
from fenxiang_sync.errors import SetupError
from fenxiang_sync.field import Field
from fenxiang_sync.hub import Reply
from fenxiang_sync.kingdee_source import KingdeeSource
from fenxiang_sync.mapping import Mapping
from fenxiang_sync.pipeline import Pipeline, Source
from fenxiang_sync.rows import Row
from fenxiang_sync.source.codes import untraced
from fenxiang_sync.targets.fenxiang import FenxiangTarget
from fenxiang_sync.write_back import ERROR, OUTCOME, TOLD, WriteBack

KIND = "write_back"
"""The kind of such a run, and what its id and its pipeline's name say behind the dot."""


def written_name(pipeline: Pipeline) -> str:
    """The name of the way back; no pipeline that is declared can have it, since their names have no dot."""
    return f"{pipeline.name}.{KIND}"


def written(pipeline: Pipeline) -> Written:
    """The way back of a pipeline; raises `SetupError` where it declares none."""
    back = pipeline.write_back
    if back is None:
        raise SetupError(f"pipeline {pipeline.name!r} writes nothing back: it declares no write_back=WriteBack(…)")
    return Written(
        name=written_name(pipeline),
        source=_bare(pipeline.source),
        fields=[Field("_id"), *(word.field(name) for name, word in back.fields.items())],
        target=_crm(pipeline, back),
        number=None,
        schedule=None,
        timezone=pipeline.timezone,
        dead_letters=pipeline.dead_letters,
        reconcile=None,
    )


def record_of(reply: Reply) -> dict[str, Any]:
    """A reply as the record that is mapped. Its stamp is a number that orders replies, and no moment.

    Why it was refused is told without what is new each time: it would be written each time, so that the pipeline reads
    the record again, and is refused again, without end.
    """
    return {
        "_id": reply.source_id,
        "last_modified_time": reply.serial,
        TOLD: dict(reply.told),
        OUTCOME: None if reply.outcome is None else reply.outcome.value,
        ERROR: None if reply.error is None else untraced(" ".join(reply.error.split())),
    }


@dataclass(frozen=True, kw_only=True)
class Written(Pipeline):
    """The way back of a pipeline; `written` makes it."""

    def rows(self, record: Record[str, Any], mapping: Mapping | None = None) -> list[Row]:
        """One row, without what was not told: the field may have a value that another has put there. None where
        nothing is left to write."""
        return [said for row in super().rows(record, mapping) if len((said := self._said(row)).content) > 1]

    def _said(self, row: Row) -> Row:
        told = {entry.target for entry in self.fields if entry.origin.startswith(f"{TOLD}.")}
        content = {name: value for name, value in row.content.items() if value is not None or name not in told}
        return replace(row, content=content, hash=content_hash(content))

    def _name_problems(self) -> Iterator[str]:
        return iter(())


def _bare(source: Source | KingdeeSource) -> Source:
    """The source without what is fetched besides: replies have none of it."""
    if isinstance(source, KingdeeSource):
        raise SetupError(f"nothing can be written back to {source}")
    return replace(source, details=(), get_fields=())


def _crm(pipeline: Pipeline, back: WriteBack) -> FenxiangTarget:
    """The records are there already: none is made, and none is brought back from the recycle bin."""
    return FenxiangTarget(
        object=pipeline.source.object,
        connection=back.connection or pipeline.source.connection,
        match="_id",
        creates=False,
        recovers=False,
        trigger_workflow=back.trigger_workflow,
        trigger_approval=back.trigger_approval,
    )
