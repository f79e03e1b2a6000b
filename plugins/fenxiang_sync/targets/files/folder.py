"""Folder: a folder of a storage, where a file is there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fenxiang_sync.errors import SetupError, TransientError

_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOENT)


class Folder:
    """`path` is a ``pathlib.Path``, or looks like one. Raises `SetupError` where the storage says no, and
    `TransientError` for what may pass."""

    def __init__(self, path: Any) -> None:
        self._path = Path(path.path) if getattr(path, "protocol", "") == "file" else path

    def __truediv__(self, name: str) -> Folder:
        return Folder(self._path / name)

    def __str__(self) -> str:
        return str(self._path)

    def write(self, name: str, content: bytes) -> None:
        """Write a file; nobody sees it before it is complete and stored."""
        file = self._path / name
        with _storage(file):
            if not isinstance(file, Path):  # an object store shows a file when it is closed, not before
                file.write_bytes(content)
                return
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f".{name}.part")
            with part.open("wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            part.replace(file)

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none."""
        file = self._path / name
        with _storage(file):
            try:
                return bytes(file.read_bytes())
            except FileNotFoundError:
                return None

    def size(self, name: str) -> int | None:
        """The bytes of a file; None where there is none."""
        file = self._path / name
        with _storage(file):
            try:
                return int(file.stat().st_size)
            except FileNotFoundError:
                return None

    def names(self) -> list[str]:
        """What is in it, sorted: complete files and folders, as others have left them by now."""
        with _storage(self._path):
            names = [child.name for child in _children(self._path)]
        return sorted(name for name in names if name and not name.endswith(".part"))

    def remove(self, name: str) -> None:
        """Remove a file; nothing where there is none."""
        file = self._path / name
        with _storage(file):
            file.unlink(missing_ok=True)

    def drop(self) -> None:
        """Remove the folder if it is empty; an object store has no empty ones."""
        if isinstance(self._path, Path):
            try:
                self._path.rmdir()
            except OSError:  # somebody writes there just now, or it is gone
                return


def _children(path: Any) -> list[Any]:
    if isinstance(path, Path):
        return list(path.iterdir()) if path.exists() else []
    path.fs.invalidate_cache()  # it remembers what it listed before
    try:
        return list(path.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # what an object store says of a folder without files
        return []


@contextmanager
def _storage(path: Any) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        said = f"{path}: {error.strerror or str(error) or type(error).__name__}"
        if error.errno in _NOT_OURS or isinstance(error, FileNotFoundError | PermissionError):
            raise SetupError(
                f"The files cannot be written or read ({said}). Does the folder or bucket exist, and may the user of "
                "the workers (or the connection of the target) write there?"
            ) from error
        raise TransientError(f"The storage of the files failed ({said})") from error
