"""Feed: where the files of a pipeline are, and how a run of it is published.

::

    <path>/<pipeline>/<run>/segment-0001-0f3c….parquet     rows of one segment, as one batch
                           /removals-77ab….parquet         rows that reconcile has flagged
                           /_manifest.json                 written last: the run is verified
                     /_feed/open/<run>/<file>.json         notes of files that no manifest lists yet
                           /told/<run>/<file>.json         listed in another run's manifest, while their own is missing

A file gets its note before it is written. Files are never changed, and no two have one name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from fenxiang_sync.columns import Column
from fenxiang_sync.errors import IncompleteError
from fenxiang_sync.stage import folder_name
from fenxiang_sync.targets.files.folder import Folder
from fenxiang_sync.targets.protocol import Finished

MANIFEST = "_manifest.json"


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One file. `path` is its name, seen from the folder of the manifest; `ids` and `modified_ms` are the least and
    the greatest; `removed` of its rows are marked as deleted."""

    path: str
    run: str
    rows: int
    removed: int
    bytes: int
    sha256: str
    ids: tuple[str, str]
    modified_ms: tuple[int, int]
    written_at: datetime


class Feed:
    """The files of one pipeline, as one run sees them. `root` is the folder of the pipeline."""

    def __init__(self, root: Folder, run: str) -> None:
        self._root = root
        self._run = run
        self._place = folder_name(run)
        self._open = root / "_feed" / "open"
        self._told = root / "_feed" / "told"
        self.folder = root / self._place

    def published(self, part: str) -> list[Note]:
        """The files of one part that the run's manifest lists: the run is done again."""
        return [note for note in self._manifest() if note.path.startswith(f"{part}-")]

    def unpublished(self, part: str) -> list[Note]:
        """The files that one part of the run has written since the run was last published."""
        begins = f"{part}-"
        found = [note for note in self._own() if note.path.startswith(begins)]
        there = set(self.folder.names()) if found else set()
        for note in found:
            if note.path not in there:  # its writer died before the file was there; what it held is sent again
                self.forget(note)
        return [note for note in found if note.path in there]

    def write(self, note: Note, content: bytes) -> None:
        (self._open / self._place).write(f"{note.path}.json", _encoded(note))
        self.folder.write(note.path, content)

    def forget(self, note: Note) -> None:
        """Take a file away that nobody has been told of, with its note."""
        self.folder.remove(note.path)
        for notes in (self._open, self._told):
            (notes / self._place).remove(f"{note.path}.json")

    def publish(self, finished: Finished, said: dict[str, Any], columns: Sequence[Column], at: datetime) -> None:
        """Write the manifest: every file of the run, and those of runs that ended without one.

        The rows of such a run are delivered: no later run sends them again, so a reader must learn of them here.
        """
        own = self._own()
        self._demand(own)
        others = list(self._others())
        before = self._manifest()
        files = {note.path: note for note in [*before, *own]}
        also = [msgspec.structs.replace(note, path=f"../{folder_name(note.run)}/{note.path}") for note in others]
        manifest = {
            "pipeline": finished.pipeline,
            "run": finished.run,
            "created_at": at,
            "windows": [window.to_json() for window in finished.windows],
            **said,
            "columns": [_told(column) for column in columns],
            "rows": sum(note.rows for note in files.values()),
            "bytes": sum(note.bytes for note in files.values()),
            "files": sorted(files.values(), key=lambda note: note.path),
            "also": sorted(also, key=lambda note: note.path),
            "numbers": finished.numbers,
        }
        self.folder.write(MANIFEST, msgspec.json.format(_encoded(manifest), indent=1))
        self._listed(own, others)

    def _own(self) -> list[Note]:
        # In this order: one that another run moves meanwhile is seen in either place, if not in both.
        found = {note.path: note for notes in (self._open, self._told) for note in _notes(notes / self._place)}
        return list(found.values())

    def _others(self) -> Iterator[Note]:
        """Files of other runs that no manifest lists."""
        for place in self._open.names():
            if place != self._place:
                there = set((self._root / place).names())
                yield from (note for note in _notes(self._open / place) if note.path in there)

    def _manifest(self) -> list[Note]:
        content = self.folder.read(MANIFEST)
        return [] if content is None else msgspec.json.decode(content, type=_Manifest).files

    def _demand(self, notes: Sequence[Note]) -> None:
        lost = [note for note in notes if self.folder.size(note.path) != note.bytes]
        if lost:
            raise IncompleteError(
                f"{len(lost)} of {len(notes)} files of the run are not in {self.folder} as they were written (for "
                f"example {lost[0].path}). Does somebody remove them there? Clear the load tasks of the run, then this"
            )

    def _listed(self, own: Iterable[Note], others: Iterable[Note]) -> None:
        for note in others:
            place = folder_name(note.run)
            (self._told / place).write(f"{note.path}.json", _encoded(note))
            (self._open / place).remove(f"{note.path}.json")
        for notes in (self._open, self._told):
            for note in own:
                (notes / self._place).remove(f"{note.path}.json")
            (notes / self._place).drop()


class _Manifest(msgspec.Struct):
    files: list[Note]


_encoded = msgspec.json.Encoder(decimal_format="number").encode
_decode = msgspec.json.Decoder(Note).decode


def _notes(folder: Folder) -> Iterator[Note]:
    for name in folder.names():
        content = folder.read(name)
        if content is not None:  # another run may have listed it meanwhile
            yield _decode(content)


def _told(column: Column) -> dict[str, Any]:
    told = {"path": column.path, "kind": column.kind.value}
    return told if column.scale is None else {**told, "scale": column.scale}
