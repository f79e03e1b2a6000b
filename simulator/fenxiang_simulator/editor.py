"""Editor: people at work. It changes records while somebody reads, the same way for the same seed."""

from __future__ import annotations

import threading
from collections import Counter

from fenxiang_simulator.catalog import COMPUTED_TYPES, ERP_FIELDS
from fenxiang_simulator.envelope import ApiError
from fenxiang_simulator.seed import DAY_MS, Draw, Record, sample
from fenxiang_simulator.tenant import Tenant

_EDITABLE = frozenset({"text", "long_text", "number", "currency", "select_one", "select_many", "true_or_false"})
_NOT_EDITED = frozenset({"DepartmentObj", "PersonnelObj"})
_STEP_S = 0.05
HOUR_MS = 3_600_000


class Editor:
    """One edit: 70 of 100 update, 14 create, 8 void, 5 recover, 3 delete. `done` counts them."""

    def __init__(self, tenant: Tenant, seed: int = 7) -> None:
        self._tenant = tenant
        self._draw = Draw(f"{seed}:editor")
        self._odd = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.done: Counter[str] = Counter()

    def edit(self, name: str, times: int = 1) -> None:
        """Edit records of one object."""
        with self._tenant.lock:
            for _ in range(times):
                self._edit(name)

    def start(self) -> None:
        """Edit by the knob `edits_per_second`, in a thread of its own, until `stop`."""
        self._thread = threading.Thread(target=self._work, name="simulator-editor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        names = [name for name in self._tenant.objects if name not in _NOT_EDITED]
        owed = 0.0
        while not self._stopping.wait(_STEP_S):
            owed += self._tenant.knobs.edits_per_second * _STEP_S
            while owed >= 1:
                self.edit(self._draw.pick(names))
                owed -= 1

    def _edit(self, name: str) -> None:
        luck = self._draw.under(100)
        ids = self._tenant.shelf(name).ids
        if luck >= 86 or not ids:
            self._create(name)
            return
        record = self._tenant.record(name, self._draw.pick(ids))
        if record is None:
            return
        if luck < 70:
            self._update(name, record)
        elif luck < 78:
            self._void(name, record)
        elif luck < 83:
            self._recover(name)
        else:
            self._delete(name)

    def _create(self, name: str) -> None:
        definition = self._tenant.definition(name)
        ids = {each: self._tenant.shelf(each).ids for each in self._tenant.objects}
        data: Record = {}
        for each in definition.fields.values():
            if (
                each.define_type != "system"
                and each.name not in ERP_FIELDS
                and each.type not in COMPUTED_TYPES
                and (each.required or self._draw.chance(0.5))
            ):
                value = sample(each, self._draw, ids)
                if value is not None:
                    data[each.name] = value
        data.pop("life_status", None)
        if definition.fields["name"].type != "auto_number":
            data["name"] = f"新建{definition.label}{self._draw.under(10**6):06d}"
        try:
            self._tenant.create(name, data, modified_ms=self._odd_stamp())
        except ApiError:
            return
        self.done["create"] += 1

    def _odd_stamp(self) -> int | None:
        """For every second record a stamp before or after now, where the knobs say so."""
        knobs, now = self._tenant.knobs, self._tenant.clock.now_ms()
        if not (knobs.backdated_stamp or knobs.future_stamp):
            return None
        self._odd = not self._odd
        if not self._odd:
            return None
        backdated = knobs.backdated_stamp and not (knobs.future_stamp and self._draw.chance(0.5))
        return now - self._draw.under(30 * DAY_MS) if backdated else now + self._draw.under(HOUR_MS)

    def _update(self, name: str, record: Record) -> None:
        definition = self._tenant.definition(name)
        ids = {each: self._tenant.shelf(each).ids for each in self._tenant.objects}
        fields = [
            each
            for each in definition.fields.values()
            if each.type in _EDITABLE and each.define_type != "system" and each.name not in _GUARDED
        ]
        each = self._draw.pick(fields or [definition.fields["name"]])
        value = None if self._draw.chance(0.1) and not each.required else sample(each, self._draw, ids)
        try:
            self._tenant.update(name, record["_id"], {each.name: value})
        except ApiError:
            return
        self.done["update"] += 1

    def _void(self, name: str, record: Record) -> None:
        if record["life_status"] == "normal":
            self._tenant.invalid(name, record["_id"])
            self.done["void"] += 1

    def _recover(self, name: str) -> None:
        voided = self._voided(name)
        if voided:
            self._tenant.recover(name, self._draw.pick(voided))
            self.done["recover"] += 1

    def _delete(self, name: str) -> None:
        voided = self._voided(name)
        if voided:
            self._tenant.delete(name, self._draw.pick(voided))
            self.done["delete"] += 1

    def _voided(self, name: str) -> list[str]:
        """Voided records, looked for among some that are drawn: a look at all would cost more than an edit should."""
        ids = self._tenant.shelf(name).ids
        drawn = (self._tenant.record(name, self._draw.pick(ids)) for _ in range(100 if ids else 0))
        return [record["_id"] for record in drawn if record is not None and record["life_status"] == "invalid"]


_GUARDED = frozenset(
    {
        *("life_status", "life_status_before_invalid", "lock_status", "owner_department", "owner_department_id"),
        "warehouseId",
        *ERP_FIELDS,
    }
)
