"""orphans: rows that the records of a segment give no more go to the delete policy, when all of it is delivered.

A record that is filtered now, is rejected, has fewer lines or another key leaves rows behind at the target. An older
version of a record never does that to what a newer one has given: `Orphans` says why that holds in any order of loads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from fenxiang_sync.errors import TransientError, UnverifiedError
from fenxiang_sync.hub import DeadLetter, Due, Given, Hub, Seen
from fenxiang_sync.rows import DeletePolicy
from fenxiang_sync.stage import Folder
from fenxiang_sync.steps.extract import sightings
from fenxiang_sync.steps.removal import do_policy, remover
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.turns import LEASE_S, groups, wait_for
from fenxiang_sync.targets.protocol import Answer, Delivery, Reach, Remover, Sender

log = logging.getLogger(__name__)

RECORDS_A_LOOK = 5_000
"""Records that are noted, and whose rows are looked for, at once."""
DOCUMENT = "orphans"
"""The segment's document of what was removed: {removed, not_removed}, in rows."""


def note_and_remove(
    run: Run, folder: Folder, *, hub: Hub, sender: Sender, reach: Reach, clock: Callable[[], datetime]
) -> None:
    """Note the records of the segment, all of which have an outcome, and remove the rows that they give no more.

    A row that the target refuses to remove becomes a dead letter and is tried again whenever its record is read.
    Raises `TransientError` where an answer was lost or is to be asked for again.
    """
    policy = run.pipeline.removes
    due: list[Due] = []
    for group in groups(_looks(folder), RECORDS_A_LOOK):
        newer = hub.see(run.pipeline.name, [look.seen for look in group], run=run.id, now=clock())
        if policy is not DeletePolicy.IGNORE:
            due += hub.orphans.find(run.pipeline.name, _given(group, newer))
    if not due:
        return
    before = folder.load(DOCUMENT) or {"removed": 0}
    answers = list(_removed(run, due, hub, remover(run, sender), reach, clock))
    removed = sum(1 for each in answers if each.delivery is Delivery.DELIVERED)
    refused = sum(1 for each in answers if each.delivery is Delivery.REFUSED)
    folder.save(DOCUMENT, {"removed": before["removed"] + removed, "not_removed": refused})
    log.info("%d rows that their records give no more were removed (%s), %d were not", removed, policy, refused)
    _raise_open(answers)


def preview(run: Run, folder: Folder, hub: Hub) -> None:
    """Write how many rows would be removed (a dry run)."""
    if run.pipeline.removes is DeletePolicy.IGNORE:
        return
    looked = (_given(group, {}) for group in groups(_looks(folder), RECORDS_A_LOOK))
    removed = sum(len(hub.orphans.find(run.pipeline.name, given)) for given in looked)
    folder.save(DOCUMENT, {"removed": removed, "not_removed": 0})


class _Look(NamedTuple):
    """A record as it was read, and the ids of the rows that it gave."""

    seen: Seen
    ids: frozenset[str]


class _RowStamp(msgspec.Struct):
    id: str
    source_id: str
    modified_ms: int


_decode_row = msgspec.json.Decoder(_RowStamp).decode


def _looks(folder: Folder) -> Iterator[_Look]:
    """Every record of the segment with its rows, which are in the order of the records.

    Raises `UnverifiedError` at the end where a row is of none of them: nothing is removed then.
    """
    found = folder.lines_as("rows-", _decode_row)
    row = next(found, None)
    seen = None
    for seen in sightings(folder):
        ids = []
        while row is not None and (row.source_id, row.modified_ms) == (seen.id, seen.modified_ms):
            ids.append(row.id)
            row = next(found, None)
        yield _Look(seen, frozenset(ids))
    if row is not None and seen is not None:
        raise UnverifiedError(
            f"{folder} has rows of a record that it does not hold (the first is {row.id!r}); clear the transform task "
            "of this segment"
        )


def _given(group: Iterable[_Look], newer: Mapping[str, int]) -> dict[str, Given]:
    """What the newest version of each record gives. Of one that another load brought in a newer version it is only
    known that nothing older is given any more: all that the newer one gives has its stamp."""
    given: dict[str, Given] = {}
    for seen, ids in group:
        if seen.id in newer:
            given[seen.id] = Given(newer[seen.id], -1)
            continue
        version, was = (seen.modified_ms, seen.version), given.get(seen.id)
        if was is not None and was[:2] == version:  # it was read twice
            given[seen.id] = Given(*version, was.ids | ids)
        elif was is None or was[:2] < version:
            given[seen.id] = Given(*version, ids)
    return given


def _removed(
    run: Run, due: Sequence[Due], hub: Hub, sender: Remover, reach: Reach, clock: Callable[[], datetime]
) -> Iterator[Answer]:
    """Do the policy to those that are orphans still; wait for those that another run is sending."""
    waited = 0.0
    while due:
        busy: list[Due] = []
        for batch in groups(iter(due), run.pipeline.target.batch_rows):
            claimed, taken = hub.orphans.claim(run.pipeline.name, batch, run=run.id, lease_s=LEASE_S, now=clock())
            busy += taken
            told = do_policy(run, hub, sender, claimed, clock()) if claimed else []
            letters = [_letter(run, row, answer) for row, answer in told if answer.delivery is Delivery.REFUSED]
            if letters:
                hub.bury(letters, now=clock())
            yield from (answer for _, answer in told)
        due = busy
        if due:
            waited = wait_for(due[0].id, len(due), waited, reach)


def _letter(run: Run, row: Due, answer: Answer) -> DeadLetter:
    return DeadLetter(
        pipeline=run.pipeline.name,
        run=run.id,
        stage="load",
        error="RemovalRefused",
        reason=f"The target does not {run.pipeline.removes} a row that its record gives no more: {answer.reason}",
        code=answer.code,
        record_id=row.source_id,
        row_id=row.id,
        modified_ms=row.as_of[0],
        payload=row.content,
    )


def _raise_open(answers: Sequence[Answer]) -> None:
    again = [each for each in answers if each.delivery in (Delivery.AGAIN, Delivery.UNKNOWN)]
    if again:
        raise TransientError(
            f"{len(again)} of {len(answers)} rows that their records give no more must be removed again: "
            f"{again[0].reason or 'no answer came'}",
            code=again[0].code,
            retry_after=again[0].retry_after,
        )
