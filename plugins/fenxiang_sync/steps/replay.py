"""replay: dead letters are mapped anew as the pipeline is declared now, and delivered as every row is.

Nothing is asked of Fenxiang: a letter has its record. What has a newer version, or is gone, is not sent; what fails
again is one more try of the same letter.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from typing import Any

from fenxiang_sync.errors import UnverifiedError
from fenxiang_sync.hub import PARENT_MISSING, DeadLetter, Entry, Given, Hub, Presence, Selection, Settled, StoredLetter
from fenxiang_sync.hub.letters import DELIVERED, FILTERED, IN_DOUBT, SUPERSEDED, UNCHANGED
from fenxiang_sync.rows import Outcome, Row, is_voided
from fenxiang_sync.steps.courier import ROWS_A_CLAIM, Courier
from fenxiang_sync.steps.extract import version_number
from fenxiang_sync.steps.letters import LOAD, TRANSFORM, refused, rejected
from fenxiang_sync.steps.orphans import remove_replayed
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.transform import knowing, mapped
from fenxiang_sync.steps.turns import groups
from fenxiang_sync.targets.protocol import Reach

log = logging.getLogger(__name__)

PART = "replay"
"""What of a run the target is opened for."""

_GIVEN = "replay-given"
"""The document of what records give that waited, while rows that they give no more are to be removed."""

AGAIN, UNREADABLE = "dead_letters", "unreadable"
ENDS = (DELIVERED, UNCHANGED, SUPERSEDED, FILTERED, IN_DOUBT, AGAIN, UNREADABLE)
"""What becomes of a letter: what it is closed as; it fails again; or its record is not kept, and nothing was tried."""

_CLOSED_AS = {
    Outcome.IN_DOUBT: IN_DOUBT,
    Outcome.DELIVERED: DELIVERED,
    Outcome.UNCHANGED: UNCHANGED,
    Outcome.STALE: SUPERSEDED,
    Outcome.DEAD_LETTER: SUPERSEDED,  # by the letter of another row of its record
}
"""By the outcome of its rows; of several the first here counts."""


def replay(
    run: Run,
    wanted: Selection,
    *,
    hub: Hub,
    reach: Reach,
    clock: Callable[[], datetime],
    dry_run: bool = False,
) -> dict[str, int]:
    """Replay the open letters that are `wanted`; returns {letters, *ENDS}, in letters, which add up.

    Done twice, the second try goes on behind the first. A dry run says what would become of them, and writes nothing.
    """
    name = run.pipeline.name
    wanted = replace(wanted, besides=run.id, closed=False)  # what this run has tried it leaves alone
    counted: Counter[str] = Counter()
    with ExitStack() as stack:
        one: _Replay | None = None
        if not dry_run and run.folder.load(_GIVEN) is not None:
            one = _opened(_Replay(run, hub, clock), stack, reach)
            one.remove()
        for group in hub.letters.groups(name, wanted):
            if one is None:  # without a letter the target need not be there
                one = _opened(_Preview(run, hub, clock) if dry_run else _Replay(run, hub, clock), stack, reach)
            counted.update(one.replay(group))
    if not dry_run:  # what an earlier try of this run has done counts, too
        counted = Counter(hub.letters.closed_by(name, run.id)) + Counter({UNREADABLE: counted[UNREADABLE]})
        counted[AGAIN] = hub.letters.count(name, Selection(run=run.id, again=True))
    numbers = {end: counted[end] for end in ENDS}
    return {"letters": sum(numbers.values()), **numbers}


def _opened(one: _Replay, stack: ExitStack, reach: Reach) -> _Replay:
    one.open(stack, reach)
    return one


class _Replay:
    """The replay of one group of letters after the other."""

    def __init__(self, run: Run, hub: Hub, clock: Callable[[], datetime]) -> None:
        self._run = run
        self._name = run.pipeline.name
        self._hub = hub
        self._clock = clock
        self._letters: dict[str, list[StoredLetter]] = {}
        self._mapping = run.pipeline.mapping
        self._entries: Mapping[str, Entry] = {}
        self._records: dict[str, dict[str, Any]] = {}
        self._unfit: dict[int, DeadLetter] = {}
        self._failed: set[int] = set()
        self._outcomes: dict[str, dict[str, Outcome]] = {}
        self._given: dict[str, Given] = {}

    def open(self, stack: ExitStack, reach: Reach) -> None:
        self._reach = reach
        self._sender = stack.enter_context(self._run.pipeline.target.open(self._run.reach(reach, PART)))
        self._courier = Courier(
            self._run,
            "",
            hub=self._hub,
            reach=reach,
            clock=self._clock,
            sender=self._sender,
            bury=self._bury,
            told=self._told,
        )

    def replay(self, group: Sequence[StoredLetter]) -> Counter[str]:
        """What became of each of the letters."""
        self._letters, self._records, self._failed, self._outcomes = _by_record(group), {}, set(), defaultdict(dict)
        self._unfit, self._given = {}, {}
        payloads = [letter.payload for letter in group if letter.payload is not None]
        self._mapping = knowing(self._run.pipeline, payloads, self._hub)
        self._entries = self._hub.listed(self._name).entries(list(self._letters))
        ends: dict[int, str] = {}
        rows = [row for record_id, letters in self._letters.items() for row in self._rows(record_id, letters, ends)]
        self._retry(self._unfit)
        self._note_given()
        self._deliver(rows)
        self.remove()
        for letter in group:
            if letter.id not in ends:
                ends[letter.id] = AGAIN if letter.id in self._failed else self._end(letter)
        self._conclude(group, ends)
        return Counter(ends.values())

    def _rows(self, record_id: str, letters: Sequence[StoredLetter], ends: dict[int, str]) -> list[Row]:
        """The rows of one record, from its newest version; where there are none, `ends` says why."""
        newest = max(letters, key=lambda each: (each.modified_ms or 0, each.payload is not None))
        if self._is_history(newest):
            ends.update((each.id, SUPERSEDED) for each in letters)
            return []
        if newest.payload is None:
            last = newest.modified_ms
            ends.update((each.id, UNREADABLE if each.modified_ms == last else SUPERSEDED) for each in letters)
            return []
        lacking = _lacking(self._run, newest)
        if lacking:
            self._fail(letters, self._rejected(newest, **lacking), ends)
            return []
        self._records[record_id] = newest.payload
        made = mapped(self._run, [newest.payload], self._mapping)
        for reject in made.rejects:
            said: dict[str, Any] = {name: reject[name] for name in ("reason", "field", "value", "waits")}
            self._fail(letters, self._rejected(newest, **said), ends)
        if not made.rejects and not made.rows:
            ends.update((each.id, FILTERED) for each in letters)
        if not made.rejects and any(each.error == PARENT_MISSING for each in letters):
            stamp, version = newest.modified_ms or 0, version_number(newest.payload.get("version"))
            self._given[record_id] = Given(stamp, version, [row.id for row in made.rows])
        return made.rows

    def _note_given(self) -> None:
        """Write what records give that waited: a try that dies with some of their rows delivered closes their letters,
        and leaves the other rows to the next one."""
        if self._given:
            self._run.folder.save(_GIVEN, self._given)

    def remove(self) -> None:
        """Remove the rows that those records give no more."""
        said = self._run.folder.load(_GIVEN)
        if said is None:
            return
        given = {record_id: Given(*each) for record_id, each in said.items()}
        remove_replayed(self._run, given, hub=self._hub, sender=self._sender, reach=self._reach, clock=self._clock)
        self._run.folder.remove(_GIVEN)

    def _is_history(self, letter: StoredLetter) -> bool:
        """Whether a newer version of the record has an outcome, or the record is gone."""
        entry = self._entries.get(str(letter.record_id))
        if entry is None or letter.modified_ms is None:
            return False
        record = letter.payload or {}
        voided = is_voided(record.get("life_status"), record.get("is_deleted"))
        gone = (Presence.LEFT, Presence.VANISHED) if voided else (Presence.LEFT, Presence.VANISHED, Presence.VOIDED)
        return entry.modified_ms > letter.modified_ms or entry.presence in gone

    def _rejected(
        self, letter: StoredLetter, *, reason: str, field: str | None, value: Any = None, waits: bool = False
    ) -> DeadLetter:
        made = rejected(self._run, letter.payload, reason=reason, field=field, value=value, waits=waits)
        return replace(made, fields=letter.fields)

    def _fail(self, letters: Sequence[StoredLetter], tried: DeadLetter, ends: dict[int, str]) -> None:
        """The record fits no row: one of its letters goes on, the others are in it."""
        goes_on = next((each for each in letters if each.stage == TRANSFORM), letters[0])
        ends.update((each.id, AGAIN if each is goes_on else SUPERSEDED) for each in letters)
        self._unfit[goes_on.id] = tried

    def _deliver(self, rows: Iterable[Row]) -> None:
        for group in groups(rows, ROWS_A_CLAIM):
            self._courier.deliver(group)

    def _told(self, row: Row, outcome: Outcome) -> None:
        self._outcomes[row.source_id][row.id] = outcome

    def _bury(self, settled: Sequence[Settled]) -> None:
        """Each refused row is one more try of a letter of its record; where they do not suffice, it is a new one."""
        tried: dict[int, DeadLetter] = {}
        new: list[DeadLetter] = []
        for one in settled:
            letters = self._letters[one.row.source_id]
            made = replace(refused(self._run, one, self._records[one.row.source_id]), fields=letters[0].fields)
            free = [each for each in letters if each.id not in self._failed]
            fitting = [each for each in free if (each.stage, each.row_id) == (LOAD, one.row.id)]
            if free:
                tried[(fitting or free)[0].id] = made
                self._failed.add((fitting or free)[0].id)
            else:
                new.append(made)
        self._retry(tried)
        self._hub.bury(new, now=self._clock())

    def _retry(self, tried: dict[int, DeadLetter]) -> None:
        self._hub.letters.retry(self._name, tried, now=self._clock())

    def _end(self, letter: StoredLetter) -> str:
        outcomes = self._outcomes.get(str(letter.record_id), {})
        own = {outcomes[letter.row_id]} if letter.row_id in outcomes else set(outcomes.values())
        return next((closed_as for outcome, closed_as in _CLOSED_AS.items() if outcome in own), SUPERSEDED)

    def _conclude(self, group: Sequence[StoredLetter], ends: dict[int, str]) -> None:
        """Close what the ledger has not closed already; raises `UnverifiedError` where a letter was not dealt with.

        A letter that another run has written to meanwhile is that run's: it may be of a newer version.
        """
        for end in ENDS:
            if end not in (AGAIN, UNREADABLE):
                ended = [letter for letter in group if ends[letter.id] == end]
                self._hub.letters.close_seen(self._name, ended, by=self._run.id, closed_as=end, now=self._clock())
        read = {letter.id: letter.updated_at for letter in group if ends[letter.id] != UNREADABLE}
        untried = self._hub.letters.find(self._name, Selection(ids=list(read), besides=self._run.id))
        left = [letter.id for letter in untried if letter.updated_at == read[letter.id]]
        if left:
            raise UnverifiedError(f"{len(left)} dead letters (the first is {left[0]}) are open as before their replay")


class _Preview(_Replay):
    """Says what would become of them; what would be sent counts as delivered."""

    def open(self, stack: ExitStack, reach: Reach) -> None:
        """Nothing is sent, so the target need not be there."""

    def _deliver(self, rows: Iterable[Row]) -> None:
        pipeline = self._run.pipeline
        for group in groups(rows, ROWS_A_CLAIM):
            decisions = self._hub.preview(
                self._name, group, id_check=pipeline.id_check, upserts=pipeline.target.upserts, now=self._clock()
            )
            for row, decision in zip(group, decisions, strict=True):
                self._told(row, decision.outcome or Outcome.DELIVERED)

    def _note_given(self) -> None:
        pass

    def remove(self) -> None:
        pass

    def _retry(self, tried: dict[int, DeadLetter]) -> None:
        pass

    def _conclude(self, group: Sequence[StoredLetter], ends: dict[int, str]) -> None:
        pass


def _by_record(group: Sequence[StoredLetter]) -> dict[str, list[StoredLetter]]:
    letters: dict[str, list[StoredLetter]] = {}
    for letter in group:
        letters.setdefault(str(letter.record_id), []).append(letter)
    return letters


def _lacking(run: Run, letter: StoredLetter) -> dict[str, Any]:
    """Why the record cannot be mapped today: a field was not asked for when it was read; empty where none is lacking.

    What is absent from a record counts as empty, so this would otherwise empty the field at the target.
    """
    lacking = [name for name in run.pipeline.reads if name not in letter.fields]
    if not letter.fields or not lacking:
        return {}
    return {
        "reason": f"the record was read without {', '.join(lacking)}, which the declaration reads now; "
        "read its range again (since, until of a run)",
        "field": lacking[0],
    }
