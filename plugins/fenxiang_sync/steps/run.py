"""Run: one run of one pipeline, as its steps share it."""

from __future__ import annotations

from dataclasses import dataclass

from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.stage import Folder, segment_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`id` is unique within the pipeline (Airflow's run id); `folder` is the run's part of the stage."""

    pipeline: Pipeline
    id: str
    folder: Folder

    def segment(self, index: int) -> Folder:
        return self.folder / segment_name(index)
