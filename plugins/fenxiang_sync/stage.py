"""Stage: the files of one run, in any folder that looks like a ``pathlib.Path``.

::

    <root>/<pipeline>/<run>/plan.json
                           /segment-0001/records-00-00001.ndjson.gz   complete pages of one range: the checkpoint
                                        /extracted.json               written last: the segment is read
                                        /rows-00001.ndjson.gz  rejects-00001.ndjson.gz  transformed.json
                                        /loaded.json
                           /report.json

A file is there whole or not at all. Records are kept as they came (JSON, one a line), with numbers exact; they outlive
the other data of a run, so that they can be looked at and mapped again.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fenxiang_sync.errors import SetupError, TransientError, UnverifiedError

T = TypeVar("T")

RECORDS = "records-"
"""How the names of the files of records begin."""
DERIVED = ("rows-", "rejects-")
"""Names of the files that the records can be made into again; everything else is a small JSON that tells what was
done."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PASSING = (errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT)
_SETTING = "[fenxiang] stage_url (AIRFLOW__FENXIANG__STAGE_URL)"

_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(float_hook=Decimal)


class Folder:
    """One folder of the stage: JSON documents and compressed files of lines."""

    def __init__(self, path: Any) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.path / name)

    def __str__(self) -> str:
        return str(self.path)

    def save(self, name: str, document: Any) -> None:
        """Write ``<name>.json``, replacing an older one."""
        self._write(f"{name}.json", msgspec.json.format(_encoder.encode(document), indent=1))

    def load(self, name: str) -> Any | None:
        """The document ``<name>.json``, None where there is none."""
        path = self.path / f"{name}.json"
        return _decoder.decode(path.read_bytes()) if path.exists() else None

    def need(self, name: str, hint: str) -> Any:
        """The document ``<name>.json``; raises `UnverifiedError` with the hint where there is none."""
        document = self.load(name)
        if document is None:
            raise UnverifiedError(f"{self.path}/{name}.json is not in the stage; {hint}")
        return document

    def write_lines(self, name: str, items: Iterable[Any]) -> None:
        """Write ``<name>.ndjson.gz``, one JSON document a line."""
        lines = b"".join(_encoder.encode(item) + b"\n" for item in items)
        self._write(f"{name}.ndjson.gz", gzip.compress(lines, compresslevel=1, mtime=0))

    def lines(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Every line of the files whose names begin so, in the order of the names."""
        return self.lines_as(prefix, _decoder.decode)

    def lines_of(self, name: str, decode: Callable[[bytes], T]) -> Iterator[T]:
        """The lines of one file, decoded by a function of your own; none where it is not there any more."""
        path = self.path / name
        if not path.exists():
            return
        with _reading(path), path.open("rb") as file, gzip.open(file) as lines:
            for line in lines:
                yield decode(line)

    def lines_as(self, prefix: str, decode: Callable[[bytes], T]) -> Iterator[T]:
        """The lines, decoded by a function of your own."""
        for name in self.names(prefix):
            yield from self.lines_of(name, decode)

    def last_line(self, name: str) -> Any:
        """The last document of one file of lines."""
        with _reading(self.path / name):
            content = gzip.decompress((self.path / name).read_bytes())
            return _decoder.decode(content.rstrip(b"\n").rsplit(b"\n", 1)[-1])

    def names(self, prefix: str = "") -> list[str]:
        """Names of complete files that begin so, sorted."""
        if not self.path.exists():
            return []
        names = (child.name for child in self.path.iterdir())
        return sorted(name for name in names if name.startswith(prefix) and not name.endswith(".part"))

    def remove(self, *prefixes: str) -> None:
        """Remove the files of this folder whose names begin with one of the prefixes."""
        for name in self.names():
            if name.startswith(prefixes):
                (self.path / name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the folder with everything in it."""
        with _writing(self.path):
            _remove_tree(self.path)

    def _write(self, name: str, content: bytes) -> None:
        target = self.path / name
        with _writing(target):
            if not isinstance(target, Path):  # an object store shows a file when it is closed, not before
                target.write_bytes(content)
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{name}.part")
            part.write_bytes(content)
            part.replace(target)


class Stage:
    """All runs' files under one root; a root on the local disk is used as such."""

    def __init__(self, root: Any) -> None:
        local = isinstance(root, str | Path) or getattr(root, "protocol", "") == "file"
        self.root: Any = Path(root.path if hasattr(root, "protocol") else root) if local else root

    def run(self, pipeline: str, run_id: str) -> Folder:
        return Folder(self.root / pipeline / folder_name(run_id))

    def probe(self) -> None:
        """Write a file and remove it; raises `SetupError` or `TransientError` where a run could not write either."""
        folder = Folder(self.root / ".probe")
        folder.save("probe", {})
        folder.clear()

    def sweep(self, pipeline: str, *, older_than: datetime, records_older_than: datetime | None = None) -> list[str]:
        """Remove the folders of runs that nobody wrote to since `records_older_than`, and of those since `older_than`
        what can be made again from their records. Returns the names of the folders that were removed."""
        runs = self.root / pipeline
        if not runs.exists():
            return []
        limit = older_than.timestamp()
        records_limit = min(limit, (records_older_than or older_than).timestamp())
        removed = []
        for run in list(runs.iterdir()):
            last = _last_write(run)
            with _writing(run):
                if last < records_limit:
                    _remove_tree(run)
                    removed.append(run.name)
                elif last < limit:
                    _remove_derived(run)
        return sorted(removed)


def folder_name(run_id: str) -> str:
    """A run id as one folder name: readable, and different for different ids.

    >>> folder_name("manual__1")
    'manual__1'
    >>> folder_name("scheduled__2026-11-22T20:00:00+00:00")
    'scheduled__2026-11-22T20_00_00_00_00-5f31f4e8'
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", run_id).lstrip(".")[:120]
    if plain == run_id:
        return plain
    return f"{plain}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def segment_name(index: int) -> str:
    return f"segment-{index:04d}"


@contextmanager
def _writing(path: Any) -> Iterator[None]:
    """What the storage says, as an error of ours that names the path and the setting."""
    try:
        yield
    except OSError as error:
        said = f"{path}: {error.strerror or type(error).__name__}"
        if error.errno in _FULL:
            raise TransientError(f"The stage is full ({said}). Free space, or move it: {_SETTING}") from error
        if error.errno in _PASSING:
            raise TransientError(f"The stage does not answer ({said})") from error
        raise SetupError(
            f"The stage cannot be written ({said}). Let the user of the workers write there, or move it: {_SETTING}"
        ) from error


@contextmanager
def _reading(path: Any) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnverifiedError(
            f"The stage's file {path} is damaged ({error}); clear the extract task of this segment"
        ) from error


def _last_write(path: Any) -> float:
    """Epoch seconds of the newest file below; 0 where there is none."""
    return max((child.stat().st_mtime for child in _files(path)), default=0.0)


def _files(path: Any) -> Iterator[Any]:
    for child in path.iterdir():
        if child.is_dir():
            yield from _files(child)
        else:
            yield child


def _remove_derived(run: Any) -> None:
    for file in list(_files(run)):
        if file.name.startswith(DERIVED):
            file.unlink(missing_ok=True)


def _remove_tree(path: Any) -> None:
    if not path.exists():
        return
    for child in path.iterdir():
        if child.is_dir():
            _remove_tree(child)
        else:
            child.unlink(missing_ok=True)
    if isinstance(path, Path):
        path.rmdir()
