"""WriteApi: a plain write interface that takes one JSON object per POST and insists on an id."""

from __future__ import annotations

from dataclasses import dataclass

from fenxiang_sync.rows import Row
from fenxiang_sync.targets.envelope import Envelope, Single
from fenxiang_sync.targets.meaning import Says, Verdict
from fenxiang_sync.targets.protocol import Answer, Delivery
from fenxiang_sync.targets.rest import RestTarget
from fenxiang_sync.targets.results import look


@dataclass(frozen=True, kw_only=True)
class WriteApi(RestTarget):
    """POST `path` with one object. A row whose field `id_field` is missing or empty is refused without a call, and
    ``"success": false`` in an answer refuses the row, whatever the status.

    Set ``upserts=True`` only where the service replaces the object of an id: it cannot be asked what it holds, so
    without that a row whose answer was lost stays in doubt.

    >>> WriteApi().describe()
    'POST /write, one object per call (connection write_api)'
    """

    connection: str = "write_api"
    path: str = "/write"
    envelope: Envelope = Single()
    verdict: Verdict = Verdict(bad=Says("success", (False,)))
    id_field: str = "id"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.id_field:
            raise self.wrong("id_field", 'name the field of a row that holds its id, such as "id"')

    def describe(self) -> str:
        return f"{self.method} {self.path}, one object per call (connection {self.connection})"

    def objection(self, row: Row) -> Answer | None:
        if look(row.content, self.id_field) not in (None, ""):
            return None
        reason = "ID is required for data loading."
        return Answer(delivery=Delivery.REFUSED, reason=f"{reason} The row has no {self.id_field!r}.")
