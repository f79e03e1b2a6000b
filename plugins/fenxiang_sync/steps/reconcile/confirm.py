"""confirm: each record that queries do not list any more is asked for by its id, and marked as what it then is.

What Fenxiang answers for a deleted record is not documented. So two more are asked for first: one that queries list,
which must come, and one that was never there. A candidate that is answered like the latter is deleted; any other
refusal is a matter of rights. A source without `get` is asked by query a second time: it cannot tell a record that was
deleted from one that may not be seen any more.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from fenxiang_sync.errors import RefusedError
from fenxiang_sync.hub import Hub, Presence
from fenxiang_sync.rows import is_voided
from fenxiang_sync.source import Client, Gettable, Origin, Slice
from fenxiang_sync.source.codes import RIGHTS
from fenxiang_sync.source.reader import ID
from fenxiang_sync.steps.reconcile.compare import ABSENT, FETCHED, LEFT, UNLISTED, Difference, differences
from fenxiang_sync.steps.reconcile.survey import Form, Survey
from fenxiang_sync.steps.run import Run

log = logging.getLogger(__name__)

NOBODY = "0" * 24
"""An id that no record has."""
MARKED = 500
"""So many records are asked for, then marked."""
WITNESSES = 3
"""Listed records that are asked for: one may be deleted this moment."""
UNCLEAR = "unclear"
"""`get` has it, queries do not: it is left as it is."""


def confirm(run: Run, *, client: Client, hub: Hub, clock: Callable[[], datetime]) -> dict[str, int]:
    """Ask for what is absent, and mark it in the ledger; returns {voided, left, hidden, vanished, unclear, calls}.

    A dry run marks nothing, and asks for no more records than may vanish; the others are unclear.
    """
    surveyed = Survey.of(run)
    before = client.calls.total()
    run.folder.remove("confirmed-", "confirmed")
    counted: Counter[str] = Counter()
    for number, found in enumerate(_groups(_found(run, surveyed, client, hub)), start=1):
        run.folder.write_lines(f"confirmed-{number:05d}", found)
        counted.update(each["found"] for each in found)
        if not surveyed.dry_run:
            _mark(run, hub, found, clock())
    numbers = {name: counted[name] for name in (*(each.name.lower() for each in _MARKS), UNCLEAR)}
    numbers["calls"] = client.calls.total() - before
    run.folder.save("confirmed", numbers)
    if numbers["hidden"]:
        log.warning(
            "%d records may not be seen any more, though they are not deleted: as a rule the acting user has lost the "
            "right to them. Their rows stay as they are; the files confirmed-… of the stage name them",
            numbers["hidden"],
        )
    return numbers


_MARKS = (Presence.VOIDED, Presence.LEFT, Presence.HIDDEN, Presence.VANISHED)


def _found(run: Run, surveyed: Survey, client: Client, hub: Hub) -> Iterator[dict[str, Any]]:
    """Every unlisted record, and in a sweep the hidden ones, with what it was found to be."""
    known = {UNLISTED: Presence.VOIDED, LEFT: Presence.LEFT}
    for each in differences(run, tuple(known)):
        yield _finding(each, known[each["kind"]].name.lower())
    asker: _Asker | None = None
    for number, each in enumerate(differences(run, [ABSENT]), start=1):
        asker = asker or _Asker(run, surveyed, client)
        asked = number <= surveyed.most or not surveyed.dry_run
        yield _finding(each, *(asker.finds(each["id"]) if asked else (UNCLEAR, "not asked")))
    for each in _hidden(run, surveyed, hub):
        asker = asker or _Asker(run, surveyed, client)
        yield _finding(each, *asker.finds(each["id"]))


def _hidden(run: Run, surveyed: Survey, hub: Hub) -> list[Difference]:
    """The records that a sweep asks for again because they were hidden: they may have been deleted since, which no
    query tells. With those that are gone now they are no more than may vanish at once; the others' turn comes."""
    span = surveyed.span
    if surveyed.form is not Form.SWEEP or span is None:
        return []
    gone = sum(1 for _ in differences(run, (ABSENT, LEFT)))
    hidden = hub.listed(run.pipeline.name).hidden(span, max(0, surveyed.most - gone))
    for each in differences(run, FETCHED):
        hidden.pop(each["id"], None)  # queries list it again
    return [{"id": each, "held_ms": held} for each, held in hidden.items()]


def _finding(difference: Difference, found: str, answer: int | str = "query") -> dict[str, Any]:
    """{id, held_ms, found, answer}: what it was found to be, and by which answer (the code of a refusal)."""
    return {"id": difference["id"], "held_ms": difference["held_ms"], "found": found, "answer": answer}


def _mark(run: Run, hub: Hub, found: list[dict[str, Any]], now: datetime) -> None:
    for presence in _MARKS:
        ids = {each["id"]: each["held_ms"] for each in found if each["found"] == presence.name.lower()}
        if ids:
            hub.mark(run.pipeline.name, ids, presence, run=run.id, now=now)


def _groups(items: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while group := list(islice(items, MARKED)):
        yield group


class _ByQuery:
    """`Gettable` for an origin that has queries only: the look by id once more, after all others were looked for."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def get(self, record_id: str) -> dict[str, Any] | None:
        return next(({ID: each.id} for each in self._origin.look([record_id], filtered=False)), None)


class _Asker:
    """Asks for records by id, once it knows how those are answered that are there and that never were."""

    def __init__(self, run: Run, surveyed: Survey, client: Client) -> None:
        self._source = run.pipeline.source
        self._origin = self._source.opened(client)
        self._getting = self._origin if isinstance(self._origin, Gettable) else _ByQuery(self._origin)
        self._trusted = self._knows_one_that_is_there(surveyed)
        self._nobody = self._answer(NOBODY)

    def finds(self, record_id: str) -> tuple[str, int | str]:
        """What a record is (voided, hidden, vanished or unclear), and the answer that says so."""
        if not self._trusted:
            return UNCLEAR, "not asked"
        answer = self._answer(record_id)
        if isinstance(answer, dict):
            voided = is_voided(answer.get("life_status"), answer.get("is_deleted"))
            return Presence.VOIDED.name.lower() if voided else UNCLEAR, "record"
        deleted = answer == self._nobody and answer != RIGHTS
        return (Presence.VANISHED if deleted else Presence.HIDDEN).name.lower(), "empty" if answer is None else answer

    def _knows_one_that_is_there(self, surveyed: Survey) -> bool:
        """Whether `get` gives a record that queries list; without one nothing can be said of others."""
        listed = list(islice(self._listed(surveyed), WITNESSES))
        answers = [self._answer(record_id) for record_id in listed]
        if any(isinstance(answer, dict) and answer.get(ID) in listed for answer in answers):
            return True
        if answers:
            raise RefusedError(
                f"The source lists the record {listed[0]} of {self._source.object} and does not give it by its id "
                f"({answers[0] or 'an empty answer'}), so a deleted record cannot be told from another. "
                "With Fenxiang: may the app use the interface data/get?"
            )
        log.warning("Queries list no %s at all, so that nothing can be said of absent records", self._source.object)
        return False

    def _listed(self, surveyed: Survey) -> Iterator[str]:
        for window in surveyed.windows:
            for seen in self._origin.sweep(Slice(window)):
                yield seen.id

    def _answer(self, record_id: str) -> dict[str, Any] | int | str | None:
        """The record, the code of a refusal, or None for an empty answer."""
        answer = self._getting.get(record_id)
        return answer.code if isinstance(answer, RefusedError) else answer
