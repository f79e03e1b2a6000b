"""finish: a target that shows runs as a whole is told that one is complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fenxiang_sync.steps.run import Run
from fenxiang_sync.targets.protocol import Finished, Finishing, Reach
from fenxiang_sync.window import Window


def finish(run: Run, reach: Reach, *, windows: Sequence[Window], numbers: Mapping[str, Any]) -> None:
    """Tell the target that the run's numbers add up; nothing where it does not ask for that."""
    target = run.pipeline.target
    if isinstance(target, Finishing):
        target.finish(Finished(pipeline=run.pipeline.name, run=run.id, windows=windows, numbers=numbers), reach)
