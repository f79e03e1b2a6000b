"""orphans: rows that the records of a segment give no more go to the delete policy, when all of it is delivered.

A record that is filtered now, is rejected, has fewer lines or another key leaves rows behind at the target. An older
version of a record never does that to what a newer one has given: `Orphans` says why that holds in any order of loads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from fenxiang_sync.errors import TransientError, UnverifiedError
from fenxiang_sync.hub import PARENT_MISSING, DeadLetter, Due, Given, Hub, Seen, Selection
from fenxiang_sync.rows import DeletePolicy
from fenxiang_sync.stage import Folder
from fenxiang_sync.steps import moves
from fenxiang_sync.steps.drops import ask_first
from fenxiang_sync.steps.extract import projection_of, sightings
from fenxiang_sync.steps.removal import do_policy, remover
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.turns import LEASE_S, groups, wait_for
from fenxiang_sync.targets.protocol import Answer, Delivery, Reach, Remover, Sender

log = logging.getLogger(__name__)

RECORDS_A_LOOK = 5_000
"""Records that are noted, and whose rows are looked for, at once."""
DOCUMENT = "orphans"
"""The segment's document of what was removed: {removed, not_removed}, in rows."""
DUE = "orphans-due"
"""The ids of the rows that any try of the segment has found to be orphans."""


def note_and_remove(
    run: Run,
    folder: Folder,
    *,
    hub: Hub,
    sender: Sender,
    reach: Reach,
    clock: Callable[[], datetime],
    read_now: bool = True,
    confirmed: int = 0,
) -> list[str]:
    """Note the records of the segment, all of which have an outcome, and remove the rows that they give no more;
    returns the ids of those rows.

    Records of an earlier run (`read_now` is False) were noted when they were read; a person has seen what becomes of
    them before, so that nobody is asked again.
    A row that the target refuses to remove becomes a dead letter and is tried again whenever its record is read.
    Raises `QuestionError` where the rows of too many records, and of more than `confirmed`, are to be deleted;
    `TransientError` where an answer was lost or is to be asked for again.
    """
    policy = run.pipeline.removes
    due: list[Due] = []
    voided: set[str] = set()
    projection = _projection(run, folder, hub) if read_now else None
    if read_now:
        moves.note(run, folder, hub)
    for seen, given in _looks(folder, keep=projection is not None):
        if read_now:
            newer = hub.see(run.pipeline.name, seen, run=run.id, now=clock(), projection=projection)
        else:
            newer = hub.newer(run.pipeline.name, {each.id: each.modified_ms for each in seen})
        if policy is DeletePolicy.IGNORE:
            continue
        # Of one that another load brought in a newer version it is only known that nothing older is given any more:
        # all that the newer one gives has its stamp.
        given |= _given_since(run, hub, newer)
        due += hub.orphans.find(run.pipeline.name, given)
        voided.update(each.id for each in seen if each.voided)
    if read_now:
        ask_first(run, folder, [row for row in due if row.source_id not in voided], hub=hub, confirmed=confirmed)
    before = folder.load(DUE) or []
    if not (due or before):
        return []
    ids = list(dict.fromkeys([*before, *(row.id for row in due)]))
    folder.save(DUE, ids)  # a try that dies with some of them removed leaves their number to the next one
    answers = _remove(run, due, hub, sender, reach, clock)
    held = hub.records(run.pipeline.name, ids=ids, content=False)
    removed = sum(1 for row in held if row.removed_at is not None and row.run == run.id)
    refused = sum(1 for each in answers if each.delivery is Delivery.REFUSED)
    folder.save(DOCUMENT, {"removed": removed, "not_removed": refused})
    log.info("%d rows that their records give no more were removed (%s), %d were not", removed, policy, refused)
    _raise_open(answers)
    return ids


def remove_replayed(
    run: Run,
    given: Mapping[str, Given],
    *,
    hub: Hub,
    sender: Sender,
    reach: Reach,
    clock: Callable[[], datetime],
) -> None:
    """Remove the rows that records give no more which waited when they were read, and do not any longer: till then
    their rows stay. Raises what `note_and_remove` does."""
    name = run.pipeline.name
    if run.pipeline.removes is DeletePolicy.IGNORE or not given:
        return
    newer = hub.newer(name, {record_id: each.modified_ms for record_id, each in given.items()})
    due = hub.orphans.find(name, {**given, **_given_since(run, hub, newer)})
    ask_first(run, run.folder, due, hub=hub, confirmed=0)
    if due:
        _raise_open(_remove(run, due, hub, sender, reach, clock))


def preview(run: Run, folder: Folder, hub: Hub) -> None:
    """Write how many rows would be removed (a dry run)."""
    if run.pipeline.removes is DeletePolicy.IGNORE:
        return
    removed = sum(len(hub.orphans.find(run.pipeline.name, given)) for _, given in _looks(folder, keep=False))
    folder.save(DOCUMENT, {"removed": removed, "not_removed": 0})


class _RowStamp(msgspec.Struct):
    id: str
    source_id: str
    modified_ms: int


class _Stamp(msgspec.Struct):
    _id: str
    last_modified_time: int


class _Reject(msgspec.Struct):
    record: _Stamp
    waits: bool


_decode_row = msgspec.json.Decoder(_RowStamp).decode
_decode_stamp = msgspec.json.Decoder(_Stamp).decode
_decode_reject = msgspec.json.Decoder(_Reject).decode


def _projection(run: Run, folder: Folder, hub: Hub) -> str | None:
    """What names the fields that the records were asked for, in the hub; None where the records are not kept there."""
    if not run.pipeline.keep_records:
        return None
    return hub.name_fields(projection_of(folder) or run.pipeline.reads)


def _looks(folder: Folder, *, keep: bool) -> Iterator[tuple[list[Seen], dict[str, Given]]]:
    """The records of the segment in groups, and what the newest version of each gives; rows come in the same order.

    Each with the record itself where the hub is to `keep` them. What a record gives is not known where it could not be
    read whole, nor while it waits for what it looks up: its rows stay.
    Raises `UnverifiedError` at the end where a row is of none of them: nothing is removed then.
    """
    found = folder.lines_as("rows-", _decode_row)
    row = next(found, None)
    seen: list[Seen] = []
    rejected = (each for each in folder.lines_as("rejects-", _decode_reject) if each.waits)
    waiting = {(each.record._id, each.record.last_modified_time) for each in rejected}
    for group in groups(sightings(folder, keep=keep), RECORDS_A_LOOK):
        given: dict[str, Given] = {}
        seen = [each for each, _ in group]
        for each, whole in group:
            if not whole or (each.id, each.modified_ms) in waiting:
                continue
            ids = []
            while row is not None and row.source_id == each.id and row.modified_ms == each.modified_ms:
                ids.append(row.id)
                row = next(found, None)
            made = Given(each.modified_ms, each.version, ids)
            given[each.id] = _newer(given[each.id], made) if each.id in given else made
        yield seen, given
    if row is not None and seen:
        raise UnverifiedError(
            f"{folder} has rows of a record that it does not hold (the first is {row.id!r}); clear the transform task "
            "of this segment"
        )


def _given_since(run: Run, hub: Hub, newer: Mapping[str, int]) -> dict[str, Given]:
    """What is known of records that another load brought in these newer versions: nothing older is given, unless the
    newer one waits."""
    newer = _read_whole(run, hub, newer)
    waiting: set[str | None] = set()
    if newer and run.pipeline.mapping.lookups:
        wanted = Selection(error=PARENT_MISSING, records=list(newer))
        waiting = {each.record_id for each in hub.letters.find(run.pipeline.name, wanted)}
    return {record_id: Given(stamp, -1) for record_id, stamp in newer.items() if record_id not in waiting}


def _read_whole(run: Run, hub: Hub, newer: Mapping[str, int]) -> Mapping[str, int]:
    """Of these newer versions those that the hub keeps: what is got of a record may have been refused, and then nobody
    knows what that version gives."""
    if not run.pipeline.got:
        return newer
    kept = hub.kept(run.pipeline.name, list(newer))
    payloads = {record_id: each.payload for record_id, each in kept.items() if each.payload}
    stamps = {record_id: _decode_stamp(payload).last_modified_time for record_id, payload in payloads.items()}
    return {record_id: stamp for record_id, stamp in newer.items() if stamps.get(record_id) == stamp}


def _newer(one: Given, other: Given) -> Given:
    if one[:2] == other[:2]:  # it was read twice
        return Given(one.modified_ms, one.version, [*one.ids, *other.ids])
    return max(one, other, key=lambda each: each[:2])


def _remove(
    run: Run, due: Sequence[Due], hub: Hub, sender: Sender, reach: Reach, clock: Callable[[], datetime]
) -> list[Answer]:
    return list(_removed(run, due, hub, remover(run, sender), reach, clock))


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
        content=row.content,
        fields=run.pipeline.reads,
        config_hash=run.pipeline.config_hash,
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
