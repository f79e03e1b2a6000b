"""FilesTarget: the changes of each run as files on any storage, with a manifest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePath
from typing import Any, ClassVar

from fenxiang_sync.columns import Column
from fenxiang_sync.errors import DeclarationError, SetupError
from fenxiang_sync.rows import DeletePolicy
from fenxiang_sync.targets.files.feed import Feed
from fenxiang_sync.targets.files.folder import Folder
from fenxiang_sync.targets.files.line import Encoding, Notes
from fenxiang_sync.targets.files.ndjson import Ndjson
from fenxiang_sync.targets.files.sender import FilesSender
from fenxiang_sync.targets.protocol import Finished, Reach, Sender

_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MOST_DIGITS = 38
_MOST_ROWS = 100_000


class Format(StrEnum):
    """What the files are."""

    NDJSON = "ndjson"
    """One JSON document a line."""
    PARQUET = "parquet"
    """Typed columns; needs the extra ``parquet``."""


@dataclass(frozen=True, kw_only=True)
class FilesTarget:
    """One folder a run, below `path` and the pipeline's name, with the rows that the run found new or changed.

    `path` is a URL of any storage that Airflow reaches (``s3://bucket/crm``, ``file:///data/crm``), `connection` the
    Airflow connection for it. A file has up to `batch_rows` rows. Each row has, beside its own columns, `prefix` and
    ``modified_ms``, ``version``, ``deleted``, ``hash`` and ``loaded_at``. `gzip` packs NDJSON.

    >>> FilesTarget(path="s3://bucket/crm", format=Format.PARQUET, connection="aws").describe()
    'Parquet files in s3://bucket/crm (connection aws)'
    """

    path: str
    format: Format
    connection: str | None = None
    gzip: bool = False
    batch_rows: int = 10_000
    prefix: str = "_"
    columns: tuple[Column, ...] = field(default=(), repr=False)
    key: str = field(default="", repr=False)

    upserts: ClassVar[bool] = True
    removals: ClassVar[AbstractSet[DeletePolicy]] = frozenset((DeletePolicy.FLAG,))

    def __post_init__(self) -> None:
        if found := next(self._problems(), None):
            raise DeclarationError(f"FilesTarget {found}")

    @property
    def connections(self) -> Sequence[str]:
        return () if self.connection is None else (self.connection,)

    def describe(self) -> str:
        what = "Parquet" if self.format is Format.PARQUET else "packed NDJSON" if self.gzip else "NDJSON"
        return f"{what} files in {self.path}" + (f" (connection {self.connection})" if self.connection else "")

    def fit(self, columns: Sequence[Column], *, key: str) -> FilesTarget:
        """The same for rows of these columns."""
        if found := next(self._misfits(columns), None):
            raise DeclarationError(f"FilesTarget: {found}")
        return replace(self, columns=tuple(columns), key=key)

    def open(self, reach: Reach) -> AbstractContextManager[Sender]:
        errand = reach.errand
        if errand is None:
            raise SetupError("FilesTarget writes the files of a run; it was opened without one")
        feed = self._feed(reach, errand.pipeline, errand.run)
        return nullcontext(FilesSender(feed, errand.part, errand.run, self._encoding(), reach.now))

    def finish(self, finished: Finished, reach: Reach) -> None:
        """Write the manifest of the run."""
        said = {"format": self.format.value, "gzip": self.gzip, "key": self.key, "prefix": self.prefix}
        feed = self._feed(reach, finished.pipeline, finished.run)
        at = datetime.fromtimestamp(reach.now(), UTC)
        feed.publish(finished, said, [*self.columns, *self._notes.columns], at)

    @property
    def _notes(self) -> Notes:
        return Notes(prefix=self.prefix)

    def _feed(self, reach: Reach, pipeline: str, run: str) -> Feed:
        return Feed(Folder(reach.storage(self.path, self.connection)) / pipeline, run)

    def _encoding(self) -> Encoding:
        if self.format is Format.NDJSON:
            return Ndjson(notes=self._notes, packed=self.gzip)
        from fenxiang_sync.targets.files.parquet import Parquet  # pyarrow is an extra, and slow to import

        return Parquet(columns=self.columns, notes=self._notes)

    def _problems(self) -> Iterator[str]:
        given: Any = self  # whatever somebody wrote
        if not isinstance(given.path, str) or "://" not in given.path:
            absolute = isinstance(given.path, str) and PurePath(given.path).is_absolute()
            example = f"file://{given.path}" if absolute else "s3://bucket/crm or file:///data/crm"
            yield f"path={given.path!r}: give the URL of a folder, as in {example}"
        elif "@" in self.path.partition("://")[2].partition("/")[0]:
            yield f"path={self.path!r}: name the connection by connection=, and leave it out of the URL"
        if not isinstance(given.format, Format):
            yield f"format={given.format!r}: give Format.PARQUET or Format.NDJSON"
        if given.connection is not None and (not isinstance(given.connection, str) or not given.connection):
            yield f"connection={given.connection!r}: give the id of an Airflow connection, or None"
        if not isinstance(given.gzip, bool):
            yield f"gzip={given.gzip!r}: give True or False"
        elif self.gzip and self.format is Format.PARQUET:
            yield "gzip=True: Parquet is compressed by itself (zstd); leave it out"
        if type(given.batch_rows) is not int or not 1 <= self.batch_rows <= _MOST_ROWS:
            yield f"batch_rows={given.batch_rows!r}: a file has 1 to {_MOST_ROWS:,} rows, all in memory at once"
        if not isinstance(given.prefix, str) or not _PREFIX.fullmatch(given.prefix):
            yield f"prefix={given.prefix!r}: give letters, digits and _, as in '_' or 'sync_'"

    def _misfits(self, columns: Sequence[Column]) -> Iterator[str]:
        ours = {column.path for column in self._notes.columns}
        for column in columns:
            name = column.path.partition(".")[0]
            if name in ours:
                yield f"{name!r} is a column that every file has; write the field elsewhere, or give another prefix="
            if self.format is Format.PARQUET and column.scale is not None and column.scale > _MOST_DIGITS:
                yield f"{column.path!r} has {column.scale} decimals, and a decimal of Parquet {_MOST_DIGITS} at most"
        if self.format is Format.PARQUET:
            times = Counter(path.casefold() for path in ours | {column.path for column in columns})
            for column in columns:
                if times[column.path.casefold()] > 1:
                    yield f"{column.path!r} differs from another column in case only, which readers of Parquet mix up"
