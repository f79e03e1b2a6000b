"""Known: what the CRM holds of match values, by look-ups that are careful about what is not there.

A record that is overlooked would be created a second time. So what did not come is asked for until it did not come
twice, and what this very process has written lately counts although queries do not show it yet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fenxiang_sync.rows import is_voided
from fenxiang_sync.targets.crm import Crm, Record

ID = "_id"
STAMP = "last_modified_time"
MOST_VALUES = 100
"""Values in one question."""
_ALSO = (ID, STAMP, "life_status", "is_deleted")
_MOST_RECENT = 1_000
LAG_S = 60.0
"""Longer than a write stays out of queries, which is a fraction of a second as a rule."""


@dataclass(frozen=True, slots=True)
class Held:
    """The records of one match value."""

    live: tuple[Record, ...] = ()
    voided: tuple[Record, ...] = ()

    @property
    def shape(self) -> tuple[frozenset[Any], frozenset[Any]]:
        """Which records are live, and which voided."""
        return frozenset(record[ID] for record in self.live), frozenset(record[ID] for record in self.voided)

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(str(record[ID]) for record in (*self.live, *self.voided))


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written last, and when: the record as it must be now, and the stamp of what a query showed before."""

    record: Record
    before: int
    at: float


class Recent:
    """What this process has written lately, by match value. For threads that do not share a value."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._written: dict[str, Written] = {}
        self._lock = threading.Lock()

    def note(self, value: str, record: Record, before: int) -> None:
        with self._lock:
            self._written.pop(value, None)
            self._written[value] = Written(record=record, before=before, at=self._now())
            if len(self._written) > _MOST_RECENT:
                del self._written[next(iter(self._written))]

    def forget(self, value: str) -> None:
        with self._lock:
            self._written.pop(value, None)

    def over(self, value: str, held: Held) -> Held:
        """What the CRM holds by now: a query that shows nothing newer than before the write is late."""
        written = self._written.get(value)
        if written is None or self._now() - written.at > LAG_S:
            return held
        own = written.record[ID]
        shown = [record for record in (*held.live, *held.voided) if own is None or record[ID] == own]
        if any(stamp_of(record) > written.before for record in shown):
            return held
        others = tuple(record for record in held.live if record[ID] != own)
        return Held(live=(*others, written.record), voided=tuple(r for r in held.voided if r[ID] != own))


class Lookup:
    """Looks records of one object up by one field."""

    def __init__(self, crm: Crm, object_name: str, match: str, fields: Iterable[str]) -> None:
        self._crm = crm
        self._object = object_name
        self._match = match
        self._fields = tuple(dict.fromkeys((match, *fields, *_ALSO)))

    def ask(self, values: Sequence[str], *, voided: bool) -> dict[str, Held]:
        """What the CRM holds of each value; `voided`: voided records count, where it lists them."""
        found: dict[str, _Found] = {value: _Found() for value in values}
        missing, asked = list(found), 0
        while missing:
            news = sum(self._ask(group, found, voided=voided, again=asked > 0) for group in _groups(missing))
            asked += 1
            missing = [value for value in missing if not (found[value].live or found[value].voided)]
            if asked > 1 and not news:
                break
        return {value: each.held() for value, each in found.items()}

    def _ask(self, values: list[str], found: Mapping[str, _Found], *, voided: bool, again: bool) -> bool:
        """Ask once; whether that brought anything."""
        news = False
        for record in self._crm.find(self._object, self._match, values, fields=self._fields, voided=voided and again):
            is_void = is_voided(record.get("life_status"), record.get("is_deleted"))
            there = found.get(value_of(record.get(self._match)))
            if there is None or (is_void and not voided):
                continue
            records, record_id = there.voided if is_void else there.live, str(record[ID])
            news |= record_id not in records
            records[record_id] = record
        return news


@dataclass(slots=True)
class _Found:
    """Records by id, while they come."""

    live: dict[str, Record] = field(default_factory=dict)
    voided: dict[str, Record] = field(default_factory=dict)

    def held(self) -> Held:
        return Held(tuple(self.live.values()), tuple(self.voided.values()))


def value_of(value: Any) -> str:
    """A match value as text; "" where there is none.

    >>> value_of("P-1 "), value_of(100), value_of(None)
    ('P-1', '100', '')
    """
    return "" if value is None or isinstance(value, list | dict | bool) else str(value).strip()


def _groups(values: Sequence[str]) -> Iterable[list[str]]:
    return (list(values[at : at + MOST_VALUES]) for at in range(0, len(values), MOST_VALUES))


def stamp_of(record: Record) -> int:
    """Its ``last_modified_time``; 0 where it has none."""
    stamp = record.get(STAMP)
    return stamp if isinstance(stamp, int) else 0
