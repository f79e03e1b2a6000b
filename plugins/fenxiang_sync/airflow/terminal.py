"""What the commands share: which pipelines are declared, the hub, and how it is said that something cannot be told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from fenxiang_sync.errors import FenxiangSyncError

if TYPE_CHECKING:
    from fenxiang_sync.hub import Hub
    from fenxiang_sync.pipeline import Pipeline

CANNOT_TELL = 2
"""The exit code of a question that has no answer."""
_WIDEST = 60

Dags = Annotated[
    Path | None,
    typer.Option("--dags", help="Folder or file of DAG files; by default Airflow's own dags folder.", exists=True),
]
Json = Annotated[bool, typer.Option("--json", help="Tell it as JSON.")]


def pipelines_of(dags: Path | None, name: str | None) -> list[Pipeline]:
    """The pipelines of the DAG files, or the one of that name; a file that cannot be read is told, and left out."""
    from airflow import settings
    from airflow.dag_processing.dagbag import DagBag

    from fenxiang_sync.airflow.operators import PipelineOperator

    bag = DagBag(str(dags or settings.DAGS_FOLDER))
    for file in sorted(map(str, bag.import_errors)):
        typer.echo(f"{file} cannot be read (fenxiang check says why); its pipelines are left out", err=True)
    tasks = [task for dag in bag.dags.values() for task in dag.tasks if isinstance(task, PipelineOperator)]
    found = {task.pipeline.name: task.pipeline for task in tasks}
    if name is not None and name not in found:
        cannot_tell(f"no DAG file declares a pipeline {name!r}; there are: {', '.join(sorted(found)) or 'none'}")
    return [found[each] for each in sorted(found) if name in (None, each)]


@contextmanager
def the_hub() -> Iterator[Hub]:
    """The hub of this Airflow; ends with a sentence where it cannot be used."""
    from fenxiang_sync.airflow.settings import Settings
    from fenxiang_sync.hub import Hub

    try:
        with Hub.connect(Settings.load().hub_url()) as hub:
            yield hub
    except FenxiangSyncError as error:
        cannot_tell(f"hub: {error}")


def cannot_tell(why: str) -> NoReturn:
    """End with a sentence and the exit code that means that the question has no answer."""
    typer.echo(why, err=True)
    raise typer.Exit(CANNOT_TELL)


def moment(when: datetime) -> str:
    """To the second, or to the minute where it is a whole one."""
    return f"{when:%Y-%m-%d %H:%M:%S}" if when.second or when.microsecond else f"{when:%Y-%m-%d %H:%M}"


def shown(value: Any) -> str:
    """A value of a record, shortened to fit a line.

    >>> shown({"city": "北京"})
    '{"city": "北京"}'
    """
    said = json.dumps(value, ensure_ascii=False, default=str)
    return said if len(said) <= _WIDEST else said[:_WIDEST] + "…"
