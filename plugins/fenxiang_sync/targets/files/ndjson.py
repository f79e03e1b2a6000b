"""NDJSON: one JSON document a line, in UTF-8, with numbers exact."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from fenxiang_sync.targets.files.line import Line, Mark, Notes

_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Ndjson:
    """`packed`: compressed by gzip."""

    notes: Notes
    packed: bool

    @property
    def suffix(self) -> str:
        return ".ndjson.gz" if self.packed else ".ndjson"

    def encode(self, lines: Sequence[Line]) -> bytes:
        content = b"".join(_encode({**line.content, **self.notes.values(line)}) + b"\n" for line in lines)
        return gzip.compress(content, compresslevel=6, mtime=0) if self.packed else content

    def marks(self, content: bytes) -> Iterator[Mark]:
        names = self.notes.of_mark
        for line in io.BytesIO(gzip.decompress(content) if self.packed else content):
            found = msgspec.json.decode(line)
            yield Mark(*(found[name] for name in names))
