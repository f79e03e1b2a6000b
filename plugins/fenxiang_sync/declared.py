"""Declared: what the hub remembers of a pipeline's declaration, for those who have no DAG file: the pages in Airflow.

It is written when a run of the pipeline plans, so it is as old as the last run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

import msgspec

from fenxiang_sync.convert import SHANGHAI
from fenxiang_sync.hub import Hub
from fenxiang_sync.lineage import by_field, origins
from fenxiang_sync.pipeline import Pipeline

_NOTE = "pipeline "


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The words of a declaration that say what its numbers mean. `dag_id` is the DAG of the pipeline's own runs,
    `columns` has the target columns by the source field that they are made of; what is not known is empty, or as a
    declaration has it by default."""

    name: str
    dag_id: str
    title: str = ""
    object: str = ""
    connection: str = ""
    target: str = ""
    schedule: str | None = None
    timezone: str = SHANGHAI
    start: datetime | None = None
    reach_back: timedelta = timedelta(days=31)
    lookback: timedelta | None = None
    columns: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, pipeline: Pipeline, dag_id: str) -> Self:
        return cls(
            name=pipeline.name,
            dag_id=dag_id,
            title=pipeline.title,
            object=pipeline.source.object,
            connection=pipeline.source.connection,
            target=pipeline.target.describe(),
            schedule=pipeline.schedule,
            timezone=pipeline.timezone,
            # pendulum's moments are of a class of their own, which JSON does not know.
            start=None if pipeline.start is None else datetime.fromisoformat(pipeline.start.isoformat()),
            reach_back=pipeline.reach_back,
            lookback=pipeline.source.lookback,
            columns=by_field(origins(pipeline.fields)),
        )

    @classmethod
    def all(cls, hub: Hub) -> dict[str, Self]:
        """Of every pipeline that has ever planned a run, by name."""
        found = (msgspec.convert(said, cls) for said in hub.all_noted(_NOTE).values())
        return {each.name: each for each in found}

    def note(self, hub: Hub) -> None:
        """Let the hub remember it."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        name = f"{_NOTE}{self.name}"
        if hub.noted(name) != document:
            hub.revise(name, lambda *_: document)
