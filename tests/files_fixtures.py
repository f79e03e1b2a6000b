"""Files of a `FilesTarget`, as its readers find them; a storage at which a writer dies."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq

from fenxiang_sync.stage import folder_name


@dataclass
class Reader:
    """Reads below the folder of a pipeline. `seen` are the files that it has loaded, as a reader remembers them."""

    root: Any
    seen: set[str] = field(default_factory=set)

    def manifest(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / folder_name(run) / "_manifest.json").read_bytes())
        return found

    def published(self) -> list[str]:
        """The runs that have a manifest."""
        return [
            json.loads((place / "_manifest.json").read_bytes())["run"]
            for place in sorted(self.root.iterdir(), key=str)
            if (place / "_manifest.json").exists()
        ]

    def names(self, run: str) -> list[str]:
        """Every file in the folder of a run."""
        place = self.root / folder_name(run)
        return sorted(file.name for file in place.iterdir()) if place.exists() else []

    def rows(self, run: str) -> list[dict[str, Any]]:
        """What the manifest of a run lists of its own files, checked against what it says of them."""
        return [row for note in self.manifest(run)["files"] for row in self.load(run, note)]

    def news(self, run: str) -> list[dict[str, Any]]:
        """What a reader loads who follows the manifest: every file that it lists and he has not loaded."""
        told = self.manifest(run)
        place = folder_name(run)
        found = []
        for note in [*told["files"], *told["also"]]:
            path = note["path"].removeprefix("../") if note["path"].startswith("../") else f"{place}/{note['path']}"
            if path not in self.seen:
                self.seen.add(path)
                found += self.load(run, note)
        return found

    def load(self, run: str, note: dict[str, Any]) -> list[dict[str, Any]]:
        place, _, name = note["path"].removeprefix("../").rpartition("/")
        content = (self.root / (place or folder_name(run)) / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (note["bytes"], note["sha256"])
        loaded = lines(name, content)
        stamps = [row["_modified_ms"] for row in loaded]
        assert len(loaded) == note["rows"]
        assert [min(stamps), max(stamps)] == note["modified_ms"]
        assert sum(row["_deleted"] for row in loaded) == note["removed"]
        return loaded


def lines(name: str, content: bytes) -> list[dict[str, Any]]:
    if name.endswith(".parquet"):
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(content)).to_pylist()
        return rows
    text = gzip.decompress(content) if name.endswith(".gz") else content
    return [json.loads(line, parse_float=Decimal) for line in text.decode("utf-8").splitlines()]


def newest(rows: list[dict[str, Any]], key: str = "_id") -> dict[str, dict[str, Any]]:
    """The newest row of each id that is not deleted: the window function of the docs."""
    latest: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (row["_modified_ms"], row["_version"], str(row["_loaded_at"]))):
        latest[row[key]] = row
    return {row_id: row for row_id, row in latest.items() if not row["_deleted"]}


class Killed(BaseException):
    """What ends a process with no chance to say anything."""


@dataclass
class Death:
    """Kills whoever makes the n-th step, before it is done or right after; with `at` None it counts the steps."""

    at: int | None = None
    done: bool = True
    steps: int = 0

    def step(self, work: Any, *args: Any, **words: Any) -> Any:
        self.steps += 1
        if self.steps == self.at and not self.done:
            raise Killed
        answer = work(*args, **words)
        if self.steps == self.at:
            raise Killed
        return answer


class DyingHub:
    """A hub at which each call is a step."""

    def __init__(self, hub: Any, death: Death) -> None:
        self._hub, self._death = hub, death

    def __getattr__(self, name: str) -> Any:
        work = getattr(self._hub, name)
        if not callable(work):
            return DyingHub(work, self._death)
        return lambda *args, **words: self._death.step(work, *args, **words)


class DyingPath:
    """A folder of an object store at which each write and removal is a step."""

    def __init__(self, path: Any, death: Death) -> None:
        self._path, self._death = path, death

    def __truediv__(self, name: str) -> DyingPath:
        return DyingPath(self._path / name, self._death)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._path, name)

    def __str__(self) -> str:
        return str(self._path)

    def iterdir(self) -> Iterator[Any]:
        return iter(self._path.iterdir())

    def write_bytes(self, content: bytes) -> Any:
        return self._death.step(self._path.write_bytes, content)

    def unlink(self, missing_ok: bool = False) -> None:
        self._death.step(self._path.unlink, missing_ok=missing_ok)
