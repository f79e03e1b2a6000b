"""WriteApi: a plain write interface that takes one JSON object per POST and insists on an id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fenxiang_sync.rows import Row
from fenxiang_sync.targets.meaning import Meaning
from fenxiang_sync.targets.protocol import Answer, Delivery
from fenxiang_sync.targets.rest import RestTarget, checked_path
from fenxiang_sync.targets.results import look
from fenxiang_sync.targets.wire import Reply


@dataclass(frozen=True, kw_only=True)
class WriteApi(RestTarget):
    """POST `path` with one object. A row whose field `id_field` is missing or empty is refused without a call.

    Set ``upserts=True`` only where the service replaces the object of an id: it cannot be asked what it holds, so
    without that a row whose answer was lost stays in doubt.

    >>> WriteApi().describe()
    'POST /write, one object per call (connection write_api)'
    """

    connection: str = "write_api"
    path: str = "/write"
    id_field: str = "id"

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_path(self, "path")
        if not self.id_field:
            raise self.wrong("id_field", 'name the field of a row that holds its id, such as "id"')

    @property
    def call_rows(self) -> int:
        return 1

    def describe(self) -> str:
        return f"POST {self.path}, one object per call (connection {self.connection})"

    def route(self) -> str:
        return self.path

    def envelope(self, contents: Sequence[msgspec.Raw]) -> Any:
        return contents[0]

    def meaning(self, reply: Reply, *, fresh_token: bool) -> Meaning:
        """As the status says; ``"success": false`` in the body refuses the row, whatever the status."""
        meaning = super().meaning(reply, fresh_token=fresh_token)
        refused = meaning is Meaning.OK and look(reply.payload, "success") is False
        return Meaning.BAD_ROW if refused else meaning

    def objection(self, row: Row) -> Answer | None:
        if look(row.content, self.id_field) not in (None, ""):
            return None
        reason = "ID is required for data loading."
        return Answer(delivery=Delivery.REFUSED, reason=f"{reason} The row has no {self.id_field!r}.")
