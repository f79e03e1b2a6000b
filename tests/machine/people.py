"""People: what is done in the CRM, and what no run can know of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st

from tests.machine_fixtures import OBJECT, World

NAMES = ("甲", "乙", "丙")
PEOPLE = ("add", "add", "tie", "pile", "edit", "edit", "edit", "void", "recover", "delete", "revive", "hide", "show")
AGES = (0, 0, 0, 1, 20)
"""Seconds by which a stamp lies before the write: less than any lookback."""
PILE = 7

Record = dict[str, Any]


@dataclass(frozen=True)
class Deed:
    """What somebody does in the CRM; the numbers choose among what there is when it is done."""

    what: str
    which: int
    how: int
    when: int


DEEDS = st.builds(Deed, st.sampled_from(PEOPLE), st.integers(0, 99), st.integers(0, 14), st.integers(0, len(AGES) - 1))


class People:
    """Those who work in the CRM. `gives_a_row` says whether a record does; they hide records where it `hides`."""

    def __init__(self, world: World, gives_a_row: Callable[[Record], bool], *, hides: bool) -> None:
        self.simulator, self.tenant, self.time = world.simulator, world.tenant, world.time
        self.hides = hides
        self.ids = Random(7)
        self.gone: list[str] = []
        """Deleted for good. No window shows that: the target holds them until they are reconciled."""
        self.doomed: set[str] = set()
        """Voided or deleted at some time, or without a row: no other may be flagged."""
        self.stamps: dict[str, list[int]] = defaultdict(list)
        """Every stamp that a record had, deleted ones too."""
        self.unstamped: set[str] = set()
        """Changed without a stamp: they too are put right by reconciling alone."""
        self.shown: set[str] = set()
        """Visible again without a stamp: the same, unless a run over their stamp is open."""
        self._gives_a_row = gives_a_row
        self.tenant.listeners.append(self._told)

    def does(self, deed: Deed) -> None:
        with self.tenant.lock:
            getattr(self, f"_{deed.what}")(deed)

    def create(self, how: int, modified_ms: int | None, record_id: str | None = None) -> None:
        values: Record = {"name": NAMES[how % 3]}
        remark = ("a", "b", None)[how // 3 % 3]
        if remark:
            values["remark"] = remark
        if record_id or how % 2:
            values["_id"] = record_id or f"{self.ids.getrandbits(128):032x}"
        self.tenant.create(OBJECT, values, modified_ms=modified_ms)

    def now_ms(self) -> int:
        return self.simulator.clock.now_ms()

    def _some(self, deed: Deed, **having: Any) -> Record | None:
        records = [record for _, record in sorted(self.tenant.records(OBJECT).items())]
        fitting = [each for each in records if all(each[name] == value for name, value in having.items())]
        return fitting[deed.which % len(fitting)] if fitting else None

    def _add(self, deed: Deed) -> None:
        """Now, or with a stamp of a little while ago."""
        self.create(deed.how, self.now_ms() - AGES[deed.when] * 1000)

    def _tie(self, deed: Deed) -> None:
        """A new record on the very millisecond of another."""
        record = self._some(deed)
        if record and self.now_ms() - 20_000 <= record["last_modified_time"] <= self.now_ms():
            self.create(deed.how, record["last_modified_time"])

    def _pile(self, deed: Deed) -> None:
        """An import: several on one millisecond."""
        stamp = self.now_ms() - AGES[deed.when] * 1000
        for each in range(PILE):
            self.create(deed.how + each, stamp)

    def _edit(self, deed: Deed) -> None:
        before = self._some(deed, life_status="normal")
        if before is None:
            return
        stamp = max(self.now_ms() - AGES[deed.when] * 1000, before["last_modified_time"] + 1)
        if stamp <= self.now_ms():
            changes = {"name": NAMES[deed.how % 3], "remark": ("a", "b", "c", None)[deed.how // 3 % 4]}
            self.tenant.update(OBJECT, before["_id"], changes, modified_ms=stamp)

    def _told(self, _object: str, record_id: str, event: str, stamp: int) -> None:
        """After each write, the server's own edits too."""
        if event in ("invalid", "delete") or not self._gives_a_row(self.tenant.records(OBJECT)[record_id]):
            self.doomed.add(record_id)
        if event != "delete":
            self.stamps[record_id].append(stamp)
        if event == "invalid" and not self.simulator.knobs.void_bumps_lmt:
            self.unstamped.add(record_id)
            return
        self.unstamped.discard(record_id)
        self.shown.discard(record_id)

    def _void(self, deed: Deed) -> None:
        self._change(self._some(deed, life_status="normal"), "invalid")

    def _recover(self, deed: Deed) -> None:
        self._change(self._some(deed, life_status="invalid"), "recover")

    def _change(self, record: Record | None, what: str) -> None:
        if record and record["last_modified_time"] < self.now_ms():
            getattr(self.tenant, what)(OBJECT, record["_id"])

    def _delete(self, deed: Deed) -> None:
        record = self._some(deed, life_status="invalid")
        if record and record["last_modified_time"] < self.now_ms():
            self.tenant.delete(OBJECT, record["_id"])
            self.gone.append(record["_id"])

    def _revive(self, deed: Deed) -> None:
        """Restored under its old id."""
        if self.gone:
            self.time.sleep(0.002)
            revived = self.gone.pop(deed.which % len(self.gone))
            self.create(deed.how, None, revived)

    def _hide(self, deed: Deed) -> None:
        record = self._some(deed)
        if record and self.hides:
            self.tenant.hide(OBJECT, record["_id"])

    def _show(self, deed: Deed) -> None:
        """A right that comes back leaves no stamp: where no run is open, only reconcile can find that."""
        record = self._some(deed)
        if record:
            self.tenant.show(OBJECT, record["_id"])
            self.shown.add(record["_id"])

    def delete_some(self, seen: Iterable[str]) -> None:
        """Two of these, where they are ordinary, for good."""
        for record_id in sorted(seen)[:2]:
            if self.tenant.records(OBJECT)[record_id]["life_status"] == "normal":
                self.tenant.invalid(OBJECT, record_id)
                self.tenant.delete(OBJECT, record_id)
