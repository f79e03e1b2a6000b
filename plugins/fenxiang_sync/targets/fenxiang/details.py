"""Details: do the detail records (从对象) of a record still have the lines of its row?

They are created with their header, and no call that changes several of them is documented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fenxiang_sync.errors import SetupError
from fenxiang_sync.rows import is_voided
from fenxiang_sync.targets.crm import Crm, Record
from fenxiang_sync.targets.fenxiang.known import ID
from fenxiang_sync.targets.fenxiang.values import differences

_LOOKS = 2
"""How often lines are looked up that seem to differ: a page may come short."""


class Details:
    """The detail records of one object's records."""

    def __init__(self, crm: Crm, master: str) -> None:
        self._crm = crm
        self._master = master
        self._links: dict[str, str] = {}

    def objection(self, lines: Mapping[str, Sequence[Record]], record: Record) -> str:
        """Why the row's lines, by their object, cannot be had of an existing record; "" where they are there."""
        for name, wanted in lines.items():
            if not any(_equal(self._held(name, record, wanted), wanted) for _ in range(_LOOKS)):
                return (
                    f"its lines in the CRM ({name}) differ from the row's {len(wanted)}; Fenxiang has no documented "
                    "call that changes them together, so the record is left as it is: change the lines there, or "
                    "deliver them as rows of their own"
                )
        return ""

    def link(self, name: str) -> str:
        """The field of a detail object that names its header; raises `SetupError` where it has none."""
        if name not in self._links:
            fields = self._crm.describe(name).fields.items()
            links = [field for field, each in fields if each.type == "master_detail" and each.refers_to == self._master]
            if not links:
                raise SetupError(f"details: {name} is no detail object (从对象) of {self._master}")
            self._links[name] = links[0]
        return self._links[name]

    def _held(self, name: str, record: Record, wanted: Sequence[Record]) -> list[Record]:
        fields = dict.fromkeys((*(field for line in wanted for field in line), "life_status", "is_deleted"))
        found = self._crm.find(name, self.link(name), [str(record[ID])], fields=list(fields))
        return [line for line in found if not is_voided(line.get("life_status"), line.get("is_deleted"))]


def _equal(held: list[Record], wanted: Sequence[Record]) -> bool:
    """Whether each line is there once, in whatever order, and none besides."""
    left = list(held)
    for line in wanted:
        place = next((at for at, each in enumerate(left) if not differences(each, line)), None)
        if place is None:
            return False
        del left[place]
    return not left
