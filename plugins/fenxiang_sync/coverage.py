"""Coverage: which spans of time a pipeline has certified since its start, and which not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from fenxiang_sync.window import Window, from_ms, gaps, to_ms


class Covered(Protocol):
    """What must be known of a pipeline: its declaration, or what the hub remembers of that."""

    @property
    def name(self) -> str: ...
    @property
    def start(self) -> datetime | None: ...
    @property
    def reach_back(self) -> timedelta: ...
    @property
    def timezone(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """`certified` as few spans in order, and the `gaps` since the pipeline's start. What comes after the last
    certified moment is no gap: the next run reads it. Of the gaps, the next run also reads those in `healing`; the
    others lie before `reach_back`."""

    pipeline: Covered
    dag_id: str
    certified: list[Window]
    gaps: list[Window]
    healing: list[Window]

    @classmethod
    def of(cls, pipeline: Covered, certified: Sequence[Window], *, dag_id: str | None = None) -> Coverage:
        """Of what the hub says is certified, merged and in order. `dag_id` is of the DAG to trigger, by default the
        pipeline's name."""
        since, dag_id = wanted_since(pipeline), dag_id or pipeline.name
        if not certified or since >= certified[-1].until_ms:
            return cls(pipeline=pipeline, dag_id=dag_id, certified=list(certified), gaps=[], healing=[])
        end = certified[-1].until
        found = gaps(Window(since, to_ms(end)), certified)
        oldest = to_ms(end - pipeline.reach_back)
        healing = [gap for gap in found if gap.until_ms > oldest]
        return cls(pipeline=pipeline, dag_id=dag_id, certified=list(certified), gaps=found, healing=healing)

    def command(self, gap: Window | None = None) -> str:
        """The command that closes a gap; without one, the command that reads what nobody has certified yet."""
        trigger = f"airflow dags trigger {self.dag_id}"
        if gap is not None:
            return f"{trigger} --conf '{json.dumps({'since': _exact(gap.since_ms), 'until': _exact(gap.until_ms)})}'"
        return trigger if self.certified else f"""{trigger} --conf '{json.dumps({"full": True})}'"""

    def to_json(self) -> dict[str, Any]:
        return {
            "pipeline": self.pipeline.name,
            "certified": [each.to_json() for each in self.certified],
            "gaps": [
                {**each.to_json(), "next_run_closes_it": each in self.healing, "command": self.command(each)}
                for each in self.gaps
            ],
            "command": self.command(),
        }


def wanted_since(pipeline: Covered) -> int:
    """From when on the pipeline is to be complete (epoch ms): its start, else ever since."""
    return to_ms(pipeline.start) if pipeline.start else 0


def _exact(ms: int) -> str:
    return from_ms(ms).isoformat(timespec="milliseconds")
