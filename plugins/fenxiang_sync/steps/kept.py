"""kept: the records that were read and are still there, of one run (in the stage) or of all (in the hub), to be mapped
again with no call.

Only what is known to be the newest of a record is given: an older version, or an older reading of the same version, is
never what the target should have. And only what was asked for: a field that was not is null in every record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

from fenxiang_sync.errors import ParamError, UnverifiedError
from fenxiang_sync.hub import Hub, Kept, Presence
from fenxiang_sync.hub.content import loads
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.rows import DeletePolicy, is_voided
from fenxiang_sync.stage import Stage, segment_name
from fenxiang_sync.window import Window

RECORDS_AT_ONCE = 1_000

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of what is kept: the files of one segment of a run, or the hub's records with ids in ``(after, upto]``."""

    index: int
    files: list[str] = field(default_factory=list)
    fields: list[list[str]] = field(default_factory=list)
    """What was asked for, of each file."""
    after: str = ""
    upto: str = ""


@dataclass(slots=True)
class Left:
    """Records that are not mapped again, by the reason; `unread` by the field that they were not asked for.

    `superseded`: a newer version was read since. `unkept`: the hub has not kept it, or not its newest version. `gone`:
    deleted, voided (unless the delete policy ignores that), or no longer what the source asks for.
    """

    counts: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)


class KeptRecords:
    """What is kept of a pipeline's records: of `run`, or of all of them."""

    def __init__(self, pipeline: Pipeline, run: str | None, *, hub: Hub, stage: Stage) -> None:
        self._pipeline = pipeline
        self._run = run
        self._hub = hub
        self._stage = stage
        self._projections: dict[str, frozenset[str]] = {}
        self._left = Left()

    def pieces(self) -> list[Piece]:
        """All that is kept, in pieces of bounded size; raises `ParamError` for a run that nobody knows, and
        `UnverifiedError` where not all that it read is kept."""
        if self._run is None:
            size = self._pipeline.source.segment_records
            cut = self._hub.cut(self._pipeline.name, size)
            return [Piece(index=index, after=after, upto=upto) for index, (after, upto, _) in enumerate(cut, start=1)]
        readings = self._hub.readings(self._pipeline.name, run=self._run)
        if not readings:
            raise ParamError(self._nothing_of(self._run))
        pieces = []
        for segment, files in groupby(readings, key=lambda each: each.segment):
            few = list(files)
            self._check_kept(segment, [each.file for each in few])
            fields = [list(each.fields) for each in few]
            pieces.append(Piece(index=segment, files=[each.file for each in few], fields=fields))
        return pieces

    def window(self) -> Window | None:
        """The span of time that the run has read, for who reads it again; None for all, and for what was read by id."""
        readings = [] if self._run is None else self._hub.readings(self._pipeline.name, run=self._run)
        windows = [each.window for each in readings if each.window is not None]
        return Window(min(windows).since_ms, max(each.until_ms for each in windows)) if windows else None

    def read(self, piece: Piece) -> Iterator[tuple[list[Record], Left]]:
        """The records of a piece that can be mapped again, at most `RECORDS_AT_ONCE` at a time, and why others beside
        them cannot."""
        for group in self._of_hub(piece) if self._run is None else self._of_run(piece):
            yield group, self._left
            self._left = Left()

    def _of_hub(self, piece: Piece) -> Iterator[list[Record]]:
        for page in self._hub.kept_between(self._pipeline.name, piece.after, piece.upto, RECORDS_AT_ONCE):
            yield [record for kept in page if (record := self._newest(kept)) is not None]

    def _of_run(self, piece: Piece) -> Iterator[list[Record]]:
        folder = self._stage.run(self._pipeline.name, str(self._run)) / segment_name(piece.index)
        for file, fields in zip(piece.files, piece.fields, strict=True):
            records = folder.lines_of(file, _decode)
            while group := list(islice(records, RECORDS_AT_ONCE)):
                held = self._hub.kept(self._pipeline.name, [record["_id"] for record in group])
                asked = frozenset(fields)
                chosen = (self._chosen(record, asked, held.get(record["_id"])) for record in group)
                yield [record for record in chosen if record is not None]

    def _newest(self, kept: Kept) -> Record | None:
        """The hub's own record."""
        record = None if kept.payload is None else _decode(kept.payload)
        if record is None or record["last_modified_time"] < kept.modified_ms:
            self._leave("gone" if kept.presence in _GONE else "unkept")
            return None
        return self._usable(record, self._asked_for(kept), kept.presence)

    def _chosen(self, record: Record, asked: AbstractSet[str], kept: Kept | None) -> Record | None:
        """A run's record, or the same version of it as it was read last."""
        if kept is None:
            return self._usable(record, asked, Presence.PRESENT)
        if record["last_modified_time"] < kept.modified_ms:
            self._leave("superseded")
            return None
        if kept.payload is not None:
            newer = _decode(kept.payload)
            if newer["last_modified_time"] == record["last_modified_time"]:
                record, asked = newer, self._asked_for(kept)
        return self._usable(record, asked, kept.presence)

    def _usable(self, record: Record, asked: AbstractSet[str], presence: Presence) -> Record | None:
        if presence in _GONE or (presence is Presence.VOIDED and self._is_removed(record)):
            self._leave("gone")
            return None
        lacking = [name for name in self._pipeline.reads if name not in asked and name not in record]
        if lacking:
            self._left.unread.update(lacking)
            self._leave("unread")
            return None
        return record

    def _is_removed(self, record: Record) -> bool:
        """Whether the row of a voided record is flagged or deleted, or will be: sending it would bring it back, as it
        would where the record does not say itself that it is voided."""
        says = is_voided(record.get("life_status"), record.get("is_deleted"))
        return self._pipeline.removes is not DeletePolicy.IGNORE or not says

    def _asked_for(self, kept: Kept) -> frozenset[str]:
        digest = kept.projection or ""
        if digest not in self._projections:
            self._projections = self._hub.named_fields()
        return self._projections.get(digest, frozenset())

    def _leave(self, why: str) -> None:
        self._left.counts[why] += 1

    def _check_kept(self, segment: int, files: Sequence[str]) -> None:
        folder = self._stage.run(self._pipeline.name, str(self._run)) / segment_name(segment)
        there = set(folder.names("records-"))
        missing = [file for file in files if file not in there]
        if missing:
            raise UnverifiedError(
                f"The records of run {self._run!r} are no longer kept ({folder} lacks {len(missing)} of {len(files)} "
                "files): [fenxiang] records_retention_days says for how long. All records, as they were read last, "
                "are in the hub: --all"
            )

    def _nothing_of(self, run: str) -> str:
        known = dict.fromkeys(each.run for each in reversed(self._hub.readings(self._pipeline.name)))
        some = ", ".join(islice(known, 5)) or "none"
        return f"pipeline {self._pipeline.name!r} has no run {run!r} whose records are kept; the newest are: {some}"


_GONE = (Presence.LEFT, Presence.VANISHED)


def _decode(line: bytes) -> Record:
    return dict(loads(line.decode()))
