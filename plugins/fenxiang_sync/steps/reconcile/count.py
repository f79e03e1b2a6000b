"""count: the target is asked how many rows it holds and, where every record is looked at anyway, which."""

from __future__ import annotations

from fenxiang_sync.hub import Hub
from fenxiang_sync.steps.holding import COUNTING, Holding, holding
from fenxiang_sync.steps.reconcile.survey import Form, Survey
from fenxiang_sync.steps.run import Run
from fenxiang_sync.targets.protocol import Reach


def count(run: Run, *, hub: Hub, reach: Reach) -> Holding:
    """Ask the target what it holds. Nothing is sent: what is lacking is a question to a person (`demand`)."""
    surveyed = Survey.of(run)
    return holding(
        run.pipeline, hub=hub, reach=run.reach(reach, COUNTING), walk=surveyed.deep or surveyed.form is Form.SWEEP
    )
