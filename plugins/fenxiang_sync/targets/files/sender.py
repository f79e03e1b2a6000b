"""What a load task does: rows become files, each batch one; asked, the files are read back."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from fenxiang_sync.digest import content_hash
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.files.feed import Feed, Note
from fenxiang_sync.targets.files.line import Encoding, Line, Mark
from fenxiang_sync.targets.protocol import Answer, Delivery, Removal

log = logging.getLogger(__name__)

_DELIVERED = Answer(delivery=Delivery.DELIVERED)


class FilesSender:
    """Writes the files of one part of a run. What an earlier try has written is not written again."""

    sample = None  # all rows are asked for: what holds them is read back in a moment

    def __init__(self, feed: Feed, part: str, run: str, encoding: Encoding, now: Callable[[], float]) -> None:
        self._feed = feed
        self._part = part
        self._run = run
        self._encoding = encoding
        self._now = now
        self._held: set[Mark] | None = None

    def send(self, rows: Sequence[Row]) -> Sequence[Answer]:
        at = self._moment()
        return self._write(
            [
                Line(
                    id=row.id,
                    content=row.content,
                    mark=Mark(row.hash, row.modified_ms, row.version, row.flagged),
                    loaded_at=at,
                )
                for row in rows
            ]
        )

    def remove(self, removals: Sequence[Removal], *, policy: DeletePolicy) -> Sequence[Answer]:  # noqa: ARG002
        """Write each row once more, as it was sent, marked as deleted."""
        at = self._moment()
        return self._write(
            [
                Line(
                    id=each.id,
                    content=dict(each.content),
                    mark=Mark(content_hash(dict(each.content)), each.modified_ms, each.version, True),
                    loaded_at=at,
                )
                for each in removals
            ]
        )

    def holds(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:  # noqa: ARG002
        """Whether the files of this part hold each row, by content and version; they are read for it."""
        self._held = self._read()
        published = (self._marks(note) or set() for note in self._feed.published(self._part))
        there = {mark[:3] for mark in self._held.union(*published)}
        return [(row.hash, row.modified_ms, row.version) in there for row in rows]

    def _write(self, lines: Sequence[Line]) -> list[Answer]:
        if self._held is None:
            self._held = self._read()
        new = [line for line in lines if line.mark not in self._held]
        refused = self._store(new, self._held) if new else {}
        return [
            Answer(delivery=Delivery.REFUSED, reason=refused[line.mark]) if line.mark in refused else _DELIVERED
            for line in lines
        ]

    def _store(self, lines: Sequence[Line], held: set[Mark]) -> dict[Mark, str]:
        """Write the lines as one file; returns those that do not fit, with the reason."""
        refused: dict[Mark, str] = {}
        try:
            content = self._encoding.encode(lines)
        except ValueError:
            refused = self._misfits(lines)
            lines = [line for line in lines if line.mark not in refused]
            content = self._encoding.encode(lines)
        if lines:
            self._feed.write(self._note(lines, content), content)
            held.update(line.mark for line in lines)
        return refused

    def _misfits(self, lines: Sequence[Line]) -> dict[Mark, str]:
        """The lines that cannot be encoded, found by halves."""
        try:
            self._encoding.encode(lines)
        except ValueError as error:
            if len(lines) == 1:
                return {lines[0].mark: str(error)}
            half = len(lines) // 2
            return self._misfits(lines[:half]) | self._misfits(lines[half:])
        return {}

    def _note(self, lines: Sequence[Line], content: bytes) -> Note:
        digest = hashlib.sha256(content).hexdigest()
        stamps = [line.mark.modified_ms for line in lines]
        ids = [line.id for line in lines]
        return Note(
            path=f"{self._part}-{digest[:16]}{self._encoding.suffix}",
            run=self._run,
            rows=len(lines),
            removed=sum(line.mark.removed for line in lines),
            bytes=len(content),
            sha256=digest,
            ids=(min(ids), max(ids)),
            modified_ms=(min(stamps), max(stamps)),
            written_at=lines[0].loaded_at,
        )

    def _read(self) -> set[Mark]:
        """What this part of the run holds since the run was last published; a damaged file is taken away."""
        held: set[Mark] = set()
        for note in self._feed.unpublished(self._part):
            marks = self._marks(note)
            if marks is None:
                self._feed.forget(note)
            else:
                held |= marks
        return held

    def _marks(self, note: Note) -> set[Mark] | None:
        """What a file holds; None where it is not what was written."""
        content = self._feed.folder.read(note.path)
        if content is None or hashlib.sha256(content).hexdigest() != note.sha256:
            log.warning("%s/%s is gone or damaged; its rows are written again", self._feed.folder, note.path)
            return None
        return set(self._encoding.marks(content))

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)
