"""Simulator: Fenxiang and the targets behind one port, with their true state at hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from fenxiang_simulator import catalog, kingdee_seed
from fenxiang_simulator.catalog import ObjectDef
from fenxiang_simulator.clock import Clock
from fenxiang_simulator.control import Control
from fenxiang_simulator.crm import Crm, QueryCall
from fenxiang_simulator.editor import Editor
from fenxiang_simulator.faults import Faults
from fenxiang_simulator.knobs import Knobs
from fenxiang_simulator.limits import Limits
from fenxiang_simulator.push import Push
from fenxiang_simulator.server import App, Server, http_date
from fenxiang_simulator.targets import Targets
from fenxiang_simulator.tenant import Tenant
from fenxiang_simulator.tokens import Tokens

PARTS = ("fenxiang", "targets")


class Simulator:
    """``with Simulator(seed=7, records={"AccountObj": 5000}) as simulator: … simulator.url …``

    `tenant` and `targets` are the true state, `knobs` and `faults` may be changed while it runs. `records` says how
    many records of which object, or documents of which form of Kingdee (BD_MATERIAL, STK_Inventory); `objects` adds
    objects of one's own. `only` starts one of the two parts. `real` is the time that the simulated clock starts from,
    in epoch seconds.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        knobs: Knobs | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
        records: Mapping[str, int] | None = None,
        objects: Iterable[ObjectDef] = (),
        only: str | None = None,
        real: Callable[[], float] = time.time,
    ) -> None:
        if only is not None and only not in PARTS:
            raise ValueError(f"only cannot be {only!r}; it is one of: {', '.join(PARTS)}")
        self.only = only
        self.knobs = knobs or Knobs()
        self.clock = Clock(skew_ms=lambda: self.knobs.clock_skew_ms, real=real)
        given = dict(records or {})
        self._forms = {name: given.pop(name) for name in kingdee_seed.FIELDS if name in given}
        self._counts = given
        definitions = catalog.demo() | {each.name: each for each in objects}
        self.tenant = Tenant(definitions, self.clock, self.knobs, seed=seed)
        self.tenant.fill(self._counts)
        self.tokens = Tokens(self.clock, self.knobs, seed=seed)
        self.limits = Limits(self.clock, self.knobs)
        self.faults = Faults(seed)
        self.editor = Editor(self.tenant, seed)
        self.push = Push(self.tenant, seed)
        self.crm = Crm(self.tenant, self.tokens, self.limits, self.faults, self.editor, self._wait)
        self.targets = Targets(self.clock, seed=seed)
        self.targets.kingdee.fill_all(self._forms)
        apps: list[App] = [Control(self)]
        apps += [self.crm] if only != "targets" else []
        apps += [self.targets] if only != "fenxiang" else []
        self.server = Server(apps, self.clock, host=host, port=port, date=self._date)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def requests(self) -> dict[str, int]:
        """Calls by path, refused ones too."""
        return dict(self.crm.requests)

    @property
    def queries(self) -> list[QueryCall]:
        """What was asked of data/query and its kin, in order."""
        return list(self.crm.queries)

    def start(self) -> Self:
        self.server.start()
        self.editor.start()
        self.push.start()
        return self

    def stop(self) -> None:
        self.editor.stop()
        self.push.stop()
        self.server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def reset(self) -> None:
        """The records as they were at the start, and everything counted forgotten; knobs, faults and clock stay."""
        self.tenant.fill(self._counts)
        self.targets.kingdee.fill_all(self._forms)
        self.crm.forget()
        self.tokens.forget()
        self.limits.forget()
        self.faults.injected.clear()

    def report(self) -> dict[str, Any]:
        """What the simulator saw: requests, refusals, violations, injected faults, edits, and the targets' numbers."""
        return {
            "requests": self.requests,
            "error_codes": dict(self.crm.codes),
            "mixed_styles": self.crm.mixed_styles,
            "tokens": self.tokens.report(),
            "limits": self.limits.report(),
            "faults": self.faults.as_dict(),
            "edits": dict(self.editor.done),
            "records": {name: len(self.tenant.records(name)) for name in self.tenant.objects},
            "targets": self.targets.report(),
        }

    def _date(self, now: float) -> str | None:
        told = {"missing": None, "garbled": "yesterday evening"}
        return told.get(self.knobs.date_header, http_date(now + self.knobs.date_skew_ms / 1000))

    def _wait(self, seconds: float) -> object:
        return self.server.stopping.wait(seconds)
