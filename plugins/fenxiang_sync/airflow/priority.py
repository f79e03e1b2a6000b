"""Who goes first in a pool: a run that ends, then scheduled, manual and backfill runs; and of all of them, who has had
fewer segments already, so that nobody waits behind a first load."""

from __future__ import annotations

from typing import Any

from airflow.task.priority_strategy import PriorityWeightStrategy

RUN_WEIGHTS = {"scheduled": 300, "manual": 200, "backfill": 100}
"""By the first word of a run id (``scheduled__2026-…``); any other run is as urgent as a manual one."""
A_SEGMENT = 10
"""How much less urgent each next segment of a run is: ten segments make up for one kind."""

LOOKBACK_WEIGHT = -150
"""Of a lookback's tasks: its scheduled runs go behind the manual runs of other pipelines, and before backfills."""


class RunPriority(PriorityWeightStrategy):
    """The weight of a task is its own plus that of the kind of its run, less what its run has had before it."""

    def get_weight(self, ti: Any) -> int:
        kind = ti.run_id.split("__", 1)[0] if ti.run_id else "manual"
        weight = int(ti.task.priority_weight) + RUN_WEIGHTS.get(kind, RUN_WEIGHTS["manual"])
        return max(1, weight - A_SEGMENT * max(0, int(ti.map_index)))

    def __repr__(self) -> str:
        """The same for every instance: Airflow keeps it in the DAG, where a new text would be a new version."""
        return "RunPriority()"
