"""Fitness: do declarations fit the descriptions of their objects, which the CRM tells or a file has kept?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from fenxiang_sync.errors import FenxiangSyncError, RefusedError
from fenxiang_sync.kingdee_source import KingdeeSource
from fenxiang_sync.source.description import ObjectDescription
from fenxiang_sync.targets.crm import IntoCrm

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
        self._asked = False

    def ask(self, pipelines: Iterable[Pipeline]) -> None:
        """Ask the CRM for the descriptions, one call for each object, and other sources for the fields. What targets
        write to they ask for themselves."""
        self._asked = True
        from fenxiang_sync.airflow.hook import FenxiangHook

        pipelines = list(pipelines)
        for pipeline in pipelines:
            if isinstance(pipeline.source, KingdeeSource):
                self._ask_form(pipeline.source, pipeline)
        sources = [pipeline.source for pipeline in pipelines if pipeline.source.check_fields]
        objects = [
            (each.connection, name) for each in sources for name in (each.object, *(d.object for d in each.details))
        ]
        for connection, name in objects:
            if (connection, name) not in self._told:
                try:
                    with closing(FenxiangHook(connection).client(patient=False)) as client:
                        told = ObjectDescription.read(client.describe(name))
                    self._told[connection, name] = told
                except FenxiangSyncError as error:
                    self.problems.append(f"object {name} is not described (connection {connection}): {error}")

    def _ask_form(self, source: KingdeeSource, pipeline: Pipeline) -> None:
        from fenxiang_sync.airflow.reach import make_reach
        from fenxiang_sync.airflow.readers import reader

        try:
            with closing(reader(source, make_reach)) as client:
                source.opened(client).check(pipeline.asked)
        except FenxiangSyncError as error:
            self.problems.append(f"pipeline {pipeline.name}: {error}")

    def hold(self, pipeline: Pipeline) -> None:
        """Hold a declaration against the description of its object, where there is one."""
        from fenxiang_sync.schema import Finding, findings, of_lines, unknown_of_details

        found: list[Finding] = []
        if described := self._description(pipeline, pipeline.source.object):
            found += findings(pipeline, described)
        for details in pipeline.source.details:
            if described := self._description(pipeline, details.object):
                found += unknown_of_details(pipeline, details, described)
                found += of_lines(pipeline, details, described)
        for each in found:
            (self.problems if each.serious else self.notes).append(f"pipeline {pipeline.name}: {each}")
        self._hold_target(pipeline)

    def _hold_target(self, pipeline: Pipeline) -> None:
        target = pipeline.target
        if (
            not self._asked
            and isinstance(target, IntoCrm)
            and (described := self._kept(target.connection, target.object))
        ):
            for each in target.unfit(described):
                said = f"pipeline {pipeline.name}: target {target.object}: {each}"
                (self.problems if each.serious else self.notes).append(said)

    def relate(self, pipeline: Pipeline, known: Mapping[str, Pipeline]) -> None:
        """Hold what a declaration looks up against the pipelines that it names."""
        from fenxiang_sync.schema import parents

        for each in parents(pipeline, known):
            (self.problems if each.serious else self.notes).append(f"pipeline {pipeline.name}: {each}")

    def _description(self, pipeline: Pipeline, object_name: str) -> ObjectDescription | None:
        connection = pipeline.source.connection
        return self._told.get((connection, object_name)) or self._kept(connection, object_name)

    def _kept(self, connection: str, object_name: str) -> ObjectDescription | None:
        """What a file says: one of the connection, where tenants differ, else that of all."""
        paths = (self._folder / connection / f"{object_name}.json", self._folder / f"{object_name}.json")
        path = next((each for each in paths if each.is_file()), None)
        if path is None:
            return None
        try:
            return _of(object_name, ObjectDescription.read(_document(path)))
        except (OSError, ValueError, RecursionError, RefusedError) as error:
            self.problems.append(f"{path}: {error}; make it anew: fenxiang describe {object_name} --save {path}")
            return None


def _of(object_name: str, described: ObjectDescription) -> ObjectDescription:
    if described.name != object_name:
        raise RefusedError(f"it describes {described.name}")
    return described


def _document(path: Path) -> object:
    import msgspec

    if path.stat().st_size > _MOST_BYTES:
        raise RefusedError(f"it is larger than {_MOST_BYTES:,} bytes")
    return msgspec.json.decode(path.read_bytes())
