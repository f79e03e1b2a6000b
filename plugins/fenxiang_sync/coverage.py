"""Coverage: which spans of time a pipeline has certified since its start, and which not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.window import Window, from_ms, gaps, to_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """`certified` as few spans in order, and the `gaps` since the pipeline's start. What comes after the last
    certified moment is no gap: the next run reads it. Of the gaps, the next run also reads those in `healing`; the
    others lie before `reach_back`."""

    pipeline: Pipeline
    certified: list[Window]
    gaps: list[Window]
    healing: list[Window]

    @classmethod
    def of(cls, pipeline: Pipeline, certified: Sequence[Window]) -> Coverage:
        """Of what the hub says is certified, merged and in order."""
        since = wanted_since(pipeline, certified)
        if since is None or not certified or since >= certified[-1].until_ms:
            return cls(pipeline=pipeline, certified=list(certified), gaps=[], healing=[])
        end = certified[-1].until
        found = gaps(Window(since, to_ms(end)), certified)
        oldest = to_ms(end - pipeline.reach_back)
        healing = [gap for gap in found if gap.until_ms > oldest]
        return cls(pipeline=pipeline, certified=list(certified), gaps=found, healing=healing)

    def command(self, gap: Window | None = None) -> str:
        """The command that closes a gap; without one, the command that reads what nobody has certified yet."""
        trigger = f"airflow dags trigger {self.pipeline.name}"
        if gap is not None:
            return f"{trigger} --conf '{json.dumps({'since': _exact(gap.since_ms), 'until': _exact(gap.until_ms)})}'"
        return trigger if self.certified else f"""{trigger} --conf '{json.dumps({"full": True})}'"""


def wanted_since(pipeline: Pipeline, certified: Sequence[Window]) -> int | None:
    """From when on the pipeline is to be complete (epoch ms): its start, else its first certified moment."""
    if pipeline.start:
        return to_ms(pipeline.start)
    return certified[0].since_ms if certified else None


def _exact(ms: int) -> str:
    return from_ms(ms).isoformat(timespec="milliseconds")
