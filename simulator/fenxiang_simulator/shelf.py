"""Shelf: the records of one object, as they are and as queries see them."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Any

Record = dict[str, Any]
KEPT_WINDOWS = 32


class Shelf:
    """Stored records are never changed in place: a write puts a new dict, so an answer may go on reading an old one.

    `truth` is what was written. `seen` is what queries find: the same after the visibility lag. `ids` and `stamps` are
    sorted indexes of `seen`: the ids, and (last_modified_time, id).
    """

    def __init__(self) -> None:
        self.truth: dict[str, Record] = {}
        self.seen: dict[str, Record] = {}
        self.ids: list[str] = []
        self.stamps: list[tuple[int, str]] = []
        self._windows: dict[tuple[int | None, int | None], list[str]] = {}

    def fill(self, records: list[Record]) -> None:
        """Start with these records, all visible."""
        self.truth = {record["_id"]: record for record in records}
        self.seen = dict(self.truth)
        self.ids = sorted(self.seen)
        self.stamps = sorted((record["last_modified_time"], record_id) for record_id, record in self.seen.items())

    def copy(self) -> Shelf:
        """The same records on a shelf of their own."""
        made = Shelf()
        made.truth, made.seen = dict(self.truth), dict(self.seen)
        made.ids, made.stamps = list(self.ids), list(self.stamps)
        return made

    def show(self, record_id: str, record: Record | None) -> None:
        """Let queries see the record in this state; None takes it away."""
        self._windows.clear()
        before = self.seen.get(record_id)
        if before is not None and (record is None or before["last_modified_time"] != record["last_modified_time"]):
            del self.stamps[bisect_left(self.stamps, (before["last_modified_time"], record_id))]
        if record is None:
            if before is not None:
                del self.seen[record_id]
                del self.ids[bisect_left(self.ids, record_id)]
            return
        if before is None:
            insort(self.ids, record_id)
        if before is None or before["last_modified_time"] != record["last_modified_time"]:
            insort(self.stamps, (record["last_modified_time"], record_id))
        self.seen[record_id] = record

    def between(self, since: int | None, until: int | None) -> tuple[int, int]:
        """The span in `stamps` of the half-open time range; None is open."""
        first = 0 if since is None else bisect_left(self.stamps, (since, ""))
        last = len(self.stamps) if until is None else bisect_left(self.stamps, (until, ""))
        return first, max(first, last)

    def window(self, since: int | None, until: int | None) -> list[str]:
        """The sorted ids of the half-open time range, kept until the next change: pages of one window ask again."""
        if (since, until) not in self._windows:
            if len(self._windows) >= KEPT_WINDOWS:
                self._windows.clear()
            first, last = self.between(since, until)
            self._windows[since, until] = sorted(each for _, each in self.stamps[first:last])
        return self._windows[since, until]
