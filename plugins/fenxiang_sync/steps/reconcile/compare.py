"""compare: the source against the ledger, slice by slice; what differs goes to the stage.

A record that the ledger lists and a sweep does not see was edited since (it is the next run's), or has left the
queries: it is looked for again by its id, and what is still not there is absent, which `confirm` looks into.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fenxiang_sync.errors import QuestionError
from fenxiang_sync.hub import Entry, Hub, Listed, Presence
from fenxiang_sync.source import Client, Sighting, Slice, census
from fenxiang_sync.steps import drift
from fenxiang_sync.steps.reconcile.survey import Form, Survey
from fenxiang_sync.steps.run import Run
from fenxiang_sync.window import Window, to_ms

log = logging.getLogger(__name__)

MISSING, STALE, RETURNED, VOIDED, LEFT, ABSENT = "missing", "stale", "returned", "voided", "left", "absent"
FETCHED = (MISSING, STALE, RETURNED, VOIDED)
"""Differences whose records are read again."""
UNLISTED = "unlisted"
"""Voided, and queries do not list it: there is nothing to read again."""
MOVED = 50_000
"""More records than this that were edited since the last run are not remembered: it costs calls, no truth."""

Difference = dict[str, Any]
"""{kind, id, modified_ms (of the source, or null), held_ms (or null)}"""


def compare(run: Run, *, client: Client, hub: Hub, clock: Callable[[], datetime]) -> dict[str, int]:
    """Write ``differences-…`` files; returns how many of each kind, {moved, buckets, calls, slices}.

    Goes on behind the slices of an earlier try that was cut off. Raises `QuestionError` where more is absent than
    may be.
    """
    surveyed = Survey.of(run)
    folder = run.folder
    done = folder.load("compared")
    if done is None or done["finished"]:
        folder.remove("differences-", "compared", "slices")
        slices = _slices(surveyed, hub.listed(run.pipeline.name))
        folder.save("slices", [each.to_json() for each in slices])
        done = {"slices": 0, "finished": False, "numbers": {}}
    slices = [Window.from_json(each) for each in folder.load("slices") or ()]
    numbers = Counter(done["numbers"])
    before = client.calls.total() - numbers["calls"]
    if slices:
        drift.examine(run.pipeline, client=client, hub=hub)
    comparison = _Comparison(run, surveyed, client, hub.listed(run.pipeline.name))
    if done["slices"] < len(slices):
        moved = comparison.learn_moved(clock())
        numbers["moved"] = numbers["moved"] if done["slices"] else moved
    for number, window in enumerate(slices[done["slices"] :], start=done["slices"] + 1):
        differences = comparison.differences(window, numbers)
        if differences:
            folder.write_lines(f"differences-{number:05d}", differences)
        numbers["calls"] = client.calls.total() - before
        folder.save("compared", {"slices": number, "finished": False, "numbers": numbers})
        _ask(run, surveyed, numbers, slices, number)
        log.info("%d of %d slices compared: %s", number, len(slices), _spoken(numbers))
    _ask(run, surveyed, numbers, slices, len(slices))  # also where an earlier try ended before it asked
    numbers["calls"] = client.calls.total() - before
    folder.save("compared", {"slices": len(slices), "finished": True, "numbers": numbers})
    return dict(numbers)


def differences(run: Run, kinds: Sequence[str]) -> Iterator[Difference]:
    """The differences of these kinds that were written."""
    return (each for each in run.folder.lines("differences-") if each["kind"] in kinds)


def _slices(surveyed: Survey, listed: Listed) -> list[Window]:
    size = surveyed.form.slice_records
    return [each for window in surveyed.windows for each in listed.slices(window, size)]


def _ask(run: Run, surveyed: Survey, numbers: Mapping[str, int], slices: Sequence[Window], done: int) -> None:
    """The drop guard: whether so many records may be gone is for a person to say."""
    gone = numbers.get(ABSENT, 0) + numbers.get(LEFT, 0)
    if gone <= surveyed.most or surveyed.dry_run:
        return
    run.folder.remove("compared")  # who clears the task has mended something: all is compared anew
    name, connection = run.pipeline.name, run.pipeline.source.connection
    more = " or more" if done < len(slices) else ""
    raise QuestionError(
        f"{gone:,}{more} of the {surveyed.held:,} records that pipeline {name!r} holds are not in the source's answers "
        f"any more. No more than {surveyed.most:,} may vanish at once (most_vanished, most_share of Reconcile), so "
        f"nothing was marked or removed. Were so many deleted, or has the acting user of connection {connection!r} "
        "lost rights? A run with dry_run asks for some of them by id, and says. If they may go, say up to how many: "
        f"airflow dags trigger {name}.reconcile --conf '{{\"confirm_drops\": {gone}}}'"
    )


@dataclass(frozen=True)
class _Expected:
    """What is held, but for records that are known to have moved on: as the source should count it."""

    listed: Listed
    moved: Mapping[str, int]
    _sorted: Sequence[int]

    def count(self, window: Window) -> int:
        moved = bisect_left(self._sorted, window.until_ms) - bisect_left(self._sorted, window.since_ms)
        return max(0, self.listed.count(window) - moved)

    def stamps(self, ids: Sequence[str]) -> Mapping[str, int]:
        return self.listed.stamps(ids)


class _Comparison:
    """Compares slices of one run."""

    def __init__(self, run: Run, surveyed: Survey, client: Client, listed: Listed) -> None:
        self._source = run.pipeline.source
        self._surveyed = surveyed
        self._origin = run.pipeline.source.opened(client)
        self._listed = listed
        self._held = _Expected(listed, {}, ())

    def learn_moved(self, now: datetime) -> int:
        """Find the records that were edited since the last certified moment, which are missing everywhere else.

        Without them each would make a slice differ, and a busy object would be swept as a whole every day. Returns
        how many there are.
        """
        tail = Window(self._surveyed.certified[-1].until_ms, to_ms(now + timedelta(days=1)))
        seen: list[str] = []
        told = self._origin.count(tail)
        if told == 0 or (told or 0) > MOVED:
            return 0
        for sighting in self._origin.sweep(Slice(tail)):
            seen.append(sighting.id)
            if len(seen) > MOVED:
                return 0
        moved = {each.id: each.listed_ms for each in self._listed.entries(seen).values() if each.listed_ms is not None}
        self._held = _Expected(self._listed, moved, sorted(moved.values()))
        return len(moved)

    def differences(self, window: Window, numbers: Counter[str]) -> list[Difference]:
        """What differs in one slice; `numbers` counts."""
        found: list[Difference] = []
        absent: dict[str, int] = {}
        counting = self._surveyed.form is Form.COUNTS
        for bucket in census.compare(self._origin, window, self._held, counting=counting):
            numbers["buckets"] += 1
            if bucket.seen is not None:
                found += self._seen(bucket.seen)
                absent |= self._not_seen(bucket.window, {each.id for each in bucket.seen})
        found += self._looked_for(absent, numbers)
        numbers.update(each["kind"] for each in found)
        return found

    def _seen(self, seen: Sequence[Sighting]) -> Iterator[Difference]:
        held = self._listed.entries([each.id for each in seen])
        for each in seen:
            kind = _kind(each, held.get(each.id))
            if kind is not None:
                entry = held.get(each.id)
                yield _difference(kind, each.id, each.modified_ms, entry.modified_ms if entry else None)

    def _not_seen(self, window: Window, seen: set[str]) -> dict[str, int]:
        known = self._held.moved
        held = self._listed.within(window)
        return {each: stamp for each, stamp in held if each not in seen and each not in known}

    def _looked_for(self, absent: dict[str, int], numbers: Counter[str]) -> Iterator[Difference]:
        """Each record that a sweep did not see, looked for by its id."""
        left = dict(absent)
        for each in self._origin.look(list(left), filtered=True):
            held = left.pop(each.id)
            if each.modified_ms <= held:
                continue  # it was passed over, or came back this moment
            if any(each.modified_ms in window for window in self._surveyed.certified):
                yield _difference(STALE, each.id, each.modified_ms, held)
            else:
                numbers["moved"] += 1
        for each in self._origin.look(list(left), filtered=False) if self._source.selects() else ():
            yield _difference(UNLISTED if each.voided else LEFT, each.id, each.modified_ms, left.pop(each.id))
        for record_id, held in left.items():
            yield _difference(ABSENT, record_id, None, held)


def _kind(seen: Sighting, held: Entry | None) -> str | None:
    """How a record that the source lists differs from what is held; None where it does not."""
    if held is None:
        return MISSING
    if seen.modified_ms != held.modified_ms:
        return STALE if seen.modified_ms > held.modified_ms else None
    if seen.voided and held.presence != Presence.VOIDED:
        return VOIDED
    here = Presence.VOIDED if seen.voided else Presence.PRESENT
    return None if (held.listed_ms, held.presence) == (seen.modified_ms, here) else RETURNED


def _difference(kind: str, record_id: str, modified_ms: int | None, held_ms: int | None) -> Difference:
    return {"kind": kind, "id": record_id, "modified_ms": modified_ms, "held_ms": held_ms}


def _spoken(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items() if number)
