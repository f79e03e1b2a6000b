"""Bills: the documents that the simulated Kingdee holds, and what a query sees of one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

LOCAL = timezone(timedelta(hours=8))
"""Kingdee's stamps are local time of its server, without a zone."""
ID_FIELDS = ("FID", "FCUSTID", "FMATERIALID")
"""What the id of a document (单据内码) is called: FID of documents, a name of its own of each kind of base data."""
NUMBER_FIELDS = ("FNumber", "FBillNo")
"""What the number is called: of base data, of documents."""


@dataclass(slots=True)
class Bill:
    """One document of a form. `status` is A (created), B (submitted), C (audited); stamps are epoch milliseconds.

    `modified_ms` is None for one that was put into the database past the program.
    """

    id: int | str
    number: str
    content: dict[str, Any]
    status: str = "A"
    forbidden: bool = False
    saves: int = 1
    created_ms: int | None = None
    modified_ms: int | None = None
    approved_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """How queries of one form see its documents: `fields`, where not empty, are all that it has besides its own;
    `fractions` is whether its stamps have milliseconds."""

    form: str
    fields: frozenset[str] = field(default_factory=frozenset)
    fractions: bool = False

    def knows(self, key: str) -> bool:
        return not self.fields or key in self.fields or key in self._own_keys()

    def rows(self, bill: Bill, keys: list[str]) -> Iterator[Callable[[str], Any]]:
        """The value of each key: one row, or one for each entry where a key is of one (``FEntity_FQty``)."""
        joined = next((name for name in _entries(bill) if any(key.startswith(f"{name}_") for key in keys)), None)
        if joined is None:
            yield lambda key: self._value(bill, key)
            return
        start = f"{joined}_"
        for entry in bill.content[joined]:
            yield lambda key, entry=entry: (  # type: ignore[misc]
                _in(entry, key.removeprefix(start)) if key.startswith(start) else self._value(bill, key)
            )

    def _own_keys(self) -> tuple[str, ...]:
        statuses, stamps = ("FDocumentStatus", "FForbidStatus"), ("FModifyDate", "FCreateDate", "FApproveDate")
        return (*ID_FIELDS, *NUMBER_FIELDS, *statuses, *stamps)

    def _value(self, bill: Bill, key: str) -> Any:
        own: dict[str, Any] = {
            "FDocumentStatus": bill.status,
            "FForbidStatus": "B" if bill.forbidden else "A",
            "FModifyDate": self._moment(bill.modified_ms),
            "FCreateDate": self._moment(bill.created_ms),
            "FApproveDate": self._moment(bill.approved_ms),
        }
        if key in ID_FIELDS:
            return bill.id
        if key in NUMBER_FIELDS:
            return bill.number
        return own[key] if key in own else _in(bill.content, key)

    def _moment(self, ms: int | None) -> datetime | None:
        if ms is None:
            return None
        exact = datetime.fromtimestamp(ms // 1000, UTC).astimezone(LOCAL).replace(tzinfo=None)
        return exact.replace(microsecond=ms % 1000 * 1000) if self.fractions else exact


def text_id(number: int) -> str:
    """The id of a document whose form has texts for ids: the same for one number, and in no order.

    >>> text_id(1), text_id(2)
    ('d7cef725-f9ba-5d49-aa0d-c7b4ba444ec3', 'dde2da54-08df-5d55-b661-ca59fc018ed6')
    """
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"kingdee {number}"))


def _entries(bill: Bill) -> list[str]:
    """The lists of entries (分录) of a document."""
    return [name for name, value in bill.content.items() if isinstance(value, list)]


def told(value: Any) -> Any:
    """A value as it travels."""
    return value.isoformat() if isinstance(value, datetime) else value


def _in(content: Any, key: str) -> Any:
    for name in key.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    return content
