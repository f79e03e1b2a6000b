"""Run: one run of one pipeline, as its steps share it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.stage import Folder, segment_name
from fenxiang_sync.targets.protocol import Errand, Reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`id` is unique within the pipeline (Airflow's run id); `folder` is the run's part of the stage."""

    pipeline: Pipeline
    id: str
    folder: Folder

    def segment(self, index: int) -> Folder:
        return self.folder / segment_name(index)

    def reach(self, reach: Reach, part: str) -> Reach:
        """What the target may reach, with what it is opened for."""
        return replace(reach, errand=Errand(pipeline=self.pipeline.name, run=self.id, part=part))
