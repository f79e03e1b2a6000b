"""The steps of a run, as plain functions: plan → per segment extract → transform → load → verify.

Each is given what it needs (a client, a hub, a folder of the stage, a clock) and can be done twice: the second
time leaves the same state.
"""

from fenxiang_sync.steps.extract import extract
from fenxiang_sync.steps.load import load
from fenxiang_sync.steps.plan import Asked, Kind, Plan, Segment, plan
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.transform import transform
from fenxiang_sync.steps.verify import verify

__all__ = ["Asked", "Kind", "Plan", "Run", "Segment", "extract", "load", "plan", "transform", "verify"]
