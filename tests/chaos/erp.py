"""Erp: the simulated Kingdee while everything goes wrong: people who work there, and calls of it that fail."""

from __future__ import annotations

from collections import Counter
from random import Random

from fenxiang_simulator import Simulator
from fenxiang_simulator.server import Request
from fenxiang_simulator.targets import Fault
from tests.chaos.pipelines import PIPELINES

FORM = PIPELINES["material"].source.object
LATEST_S = 3.0
"""How long after its stamp an edit shows at most, as that of a long transaction does: less than the lookback."""
FEW_ROWS = 3


class Erp:
    """`handle` is an app of the server that answers nothing: it lets a `part` of the calls to Kingdee go wrong.

    One edit: 75 of 100 update, 20 create, 5 erase. `done` counts them, `spoiled` the calls.
    """

    def __init__(self, simulator: Simulator, seed: int) -> None:
        self.part = 0.0
        self.done: Counter[str] = Counter()
        self.spoiled = 0
        self._simulator = simulator
        self._targets = simulator.targets
        self._people, self._trouble = Random(f"{seed}:erp"), Random(f"{seed}:erp trouble")
        self._targets.knobs.set({"hang_s": 2.0, "retry_after": "1"})

    def edit(self) -> None:
        luck, numbers = self._people.randrange(100), [bill.number for bill in self._targets.kingdee.bills(FORM)]
        if luck >= 95 and len(numbers) > 1:
            self.erase(self._people.choice(numbers))
            return
        name, what = f"v{self.done.total()}", "update" if luck < 75 else "create"
        number = self._people.choice(numbers) if what == "update" else f"NEW{self.done['create']:06d}"
        self._targets.kingdee.edit(FORM, number, {"FName": name}, modified_ms=self._stamp(number))
        self.done[what] += 1

    def erase(self, number: str) -> None:
        self._targets.kingdee.erase(FORM, number)
        self.done["erase"] += 1

    def _stamp(self, number: str) -> int:
        """Now or a little while ago, but never before the stamp that the document has."""
        now = self._simulator.clock.now_ms()
        before = next((each.modified_ms for each in self._targets.kingdee.bills(FORM) if each.number == number), None)
        return max(before or 0, now - self._people.randrange(int(LATEST_S * 1000)))

    def handle(self, request: Request) -> None:
        if not request.path.startswith("/k3cloud/"):
            return
        service = request.path.split(".")[-3]
        short = self._trouble.random() < self.part
        self._targets.knobs.kingdee_most_rows = FEW_ROWS if short else 10_000
        if self._trouble.random() < self.part:
            fault = self._trouble.choice(list(Fault))
            self._targets.faults.inject(fault, on="login" if service == "LoginByAppSecret" else service)
            self.spoiled += 1
