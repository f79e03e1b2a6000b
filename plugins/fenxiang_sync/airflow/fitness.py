"""Fitness: do declarations fit the descriptions of their objects, which the CRM tells or a file has kept?"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from fenxiang_sync.errors import FenxiangSyncError, RefusedError
from fenxiang_sync.source.description import ObjectDescription

if TYPE_CHECKING:
    from fenxiang_sync.pipeline import Pipeline

FOLDER = "describe"
"""Where descriptions are kept, beside the DAG files."""
_MOST_BYTES = 20_000_000


class Fitness:
    """What `hold` finds: `problems` are mistakes, `notes` are worth knowing."""

    def __init__(self, place: Path) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._folder = (place if place.is_dir() else place.parent) / FOLDER
        self._told: dict[tuple[str, str], ObjectDescription] = {}

    def ask(self, pipelines: Iterable[Pipeline]) -> None:
        """Ask the CRM for the descriptions, one call for each object."""
        from fenxiang_sync.airflow.hook import FenxiangHook

        for source in (pipeline.source for pipeline in pipelines):
            if source.check_fields and (source.connection, source.object) not in self._told:
                try:
                    with closing(FenxiangHook(source.connection).client(patient=False)) as client:
                        told = ObjectDescription.read(client.describe(source.object))
                    self._told[source.connection, source.object] = told
                except FenxiangSyncError as error:
                    self.problems.append(
                        f"object {source.object} is not described (connection {source.connection}): {error}"
                    )

    def hold(self, pipeline: Pipeline) -> None:
        """Hold a declaration against the description of its object, where there is one."""
        from fenxiang_sync.schema import findings

        source = pipeline.source
        described = self._told.get((source.connection, source.object)) or self._kept(source.object)
        if described is None:
            return
        for each in findings(pipeline, described):
            (self.problems if each.serious else self.notes).append(f"pipeline {pipeline.name}: {each}")

    def _kept(self, object_name: str) -> ObjectDescription | None:
        path = self._folder / f"{object_name}.json"
        if not path.is_file():
            return None
        try:
            return ObjectDescription.read(_document(path))
        except (OSError, ValueError, RecursionError, RefusedError) as error:
            self.problems.append(f"{path}: {error}; make it anew: fenxiang describe {object_name} --save {path}")
            return None


def _document(path: Path) -> object:
    import msgspec

    if path.stat().st_size > _MOST_BYTES:
        raise RefusedError(f"it is larger than {_MOST_BYTES:,} bytes")
    return msgspec.json.decode(path.read_bytes())
