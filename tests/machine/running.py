"""Running: runs and reconciles that have begun, and which of their tasks have succeeded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fenxiang_sync.steps import Asked, Plan, Run, Segment
from fenxiang_sync.steps.reconcile import Wanted

ORDER = ("extract", "transform", "load")
RECONCILE_ORDER = ("fetch", "transform", "load")


@dataclass(kw_only=True)
class Going:
    """A run that has begun: what it was asked for and which of its tasks have succeeded."""

    run: Run = field(repr=False)
    asked: Asked = field(repr=False)
    made: Plan | None = field(default=None, repr=False)
    done: dict[int, int] = field(default_factory=dict)
    """Segment index → how many of extract, transform, load."""

    def open(self) -> list[Segment]:
        return [one for one in (self.made.segments if self.made else []) if self.done.get(one.index, 0) < len(ORDER)]

    def begun(self) -> list[Segment]:
        return [one for one in (self.made.segments if self.made else []) if self.done.get(one.index, 0)]


@dataclass(kw_only=True)
class Comparing:
    """A reconcile that has begun."""

    run: Run = field(repr=False)
    wanted: Wanted
    surveyed: bool = False
    left: list[tuple[str, Segment | None]] | None = field(default=None, repr=False)
    """The tasks after compare; None before it has succeeded."""

    @property
    def done(self) -> bool:
        return self.left == []

    def next(self) -> tuple[str, Segment | None]:
        if self.left is None:
            return ("compare" if self.surveyed else "survey", None)
        return self.left[0]

    def succeeded(self, name: str, outcome: Any) -> None:
        if name == "survey":
            self.surveyed, self.left = True, None
        elif name == "compare":
            self.left = [(each, segment) for segment in outcome for each in RECONCILE_ORDER] + [("conclude", None)]
        else:
            assert self.left is not None
            self.left.pop(0)
