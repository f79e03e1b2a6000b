"""People: those who create and edit what a run reads, in the CRM or in the ERP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from fenxiang_simulator import Simulator
from fenxiang_simulator.bills import Bill
from tests.crash.cases import FORM, OBJECT, Case


class People(ABC):
    """They speak of name, remark and tel, whatever the source calls them; records are named by their ids."""

    @abstractmethod
    def create(self, values: Mapping[str, str], modified_ms: int | None = None) -> str:
        """A new record; its id."""

    @abstractmethod
    def update(self, record_id: str, changes: Mapping[str, str]) -> None: ...

    @abstractmethod
    def hide(self, record_id: str) -> None:
        """No query gives it from now on."""

    @abstractmethod
    def show(self, record_id: str) -> None:
        """Queries give it again, as it was."""


class InCrm(People):
    def __init__(self, simulator: Simulator) -> None:
        self._tenant = simulator.tenant

    def create(self, values: Mapping[str, str], modified_ms: int | None = None) -> str:
        return self._tenant.create(OBJECT, values, modified_ms=modified_ms)

    def update(self, record_id: str, changes: Mapping[str, str]) -> None:
        self._tenant.update(OBJECT, record_id, changes)

    def hide(self, record_id: str) -> None:
        self._tenant.hide(OBJECT, record_id)

    def show(self, record_id: str) -> None:
        self._tenant.show(OBJECT, record_id)


class InErp(People):
    def __init__(self, simulator: Simulator, names: Mapping[str, str]) -> None:
        self._kingdee = simulator.targets.kingdee
        self._names = names
        self._hidden: dict[str, int | None] = {}

    def create(self, values: Mapping[str, str], modified_ms: int | None = None) -> str:
        number = f"N{len(self._kingdee.bills(FORM))}"
        return str(self._kingdee.edit(FORM, number, self._theirs(values), modified_ms=modified_ms).id)

    def update(self, record_id: str, changes: Mapping[str, str]) -> None:
        self._kingdee.edit(FORM, self._bill(record_id).number, self._theirs(changes))

    def hide(self, record_id: str) -> None:
        """A document without a stamp is in no window."""
        bill = self._bill(record_id)
        self._hidden.setdefault(record_id, bill.modified_ms)
        bill.modified_ms = None

    def show(self, record_id: str) -> None:
        self._bill(record_id).modified_ms = self._hidden[record_id]

    def _bill(self, record_id: str) -> Bill:
        return next(bill for bill in self._kingdee.bills(FORM) if str(bill.id) == record_id)

    def _theirs(self, values: Mapping[str, str]) -> dict[str, str]:
        return {self._names[name]: value for name, value in values.items()}


def people(case: Case, simulator: Simulator) -> People:
    return InErp(simulator, case.names) if case.reads_erp else InCrm(simulator)
