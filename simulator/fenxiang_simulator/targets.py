"""Targets: the places where rows go. Qeasy's open API, the article's POST /write, and a Kingdee-like WebAPI."""

from __future__ import annotations

from typing import Any

from fenxiang_simulator.clock import Clock
from fenxiang_simulator.kingdee import Kingdee
from fenxiang_simulator.qeasy import Qeasy
from fenxiang_simulator.server import Request, Response
from fenxiang_simulator.target_knobs import Fault, Faults, IdRule, TargetKnobs
from fenxiang_simulator.write import WriteStore

__all__ = ["Fault", "Faults", "IdRule", "TargetKnobs", "Targets"]


class Targets:
    """An app of the server. `qeasy`, `write` and `kingdee` hold the true state; `knobs` and `faults` may be changed at
    any time.

    ``targets.faults.inject(Fault.DROP_AFTER_COMMIT, on="store")`` spoils the next call of store.
    """

    def __init__(self, clock: Clock, knobs: TargetKnobs | None = None, *, seed: int = 7) -> None:
        self.knobs = knobs or TargetKnobs()
        self.faults = Faults(self.knobs, seed=seed)
        self.qeasy = Qeasy(clock, self.knobs, self.faults)
        self.write = WriteStore(self.knobs, self.faults)
        self.kingdee = Kingdee(clock, self.knobs, self.faults)

    def handle(self, request: Request) -> Response | None:
        return self.qeasy.handle(request) or self.write.handle(request) or self.kingdee.handle(request)

    def report(self) -> dict[str, Any]:
        """What was asked of each target and how many rows it holds."""
        return {"qeasy": self.qeasy.report(), "write": self.write.report(), "kingdee": self.kingdee.report()}
