"""Parquet: columns of the kinds that the declaration has, compressed by zstd. The only module that imports pyarrow."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from fenxiang_sync.columns import Column, Kind
from fenxiang_sync.errors import SetupError
from fenxiang_sync.targets.files.line import Line, Mark, Notes

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise SetupError(
        "Parquet needs the library pyarrow, which is not installed on this machine; install "
        '"airflow-provider-fenxiang[parquet]" on every worker, or declare Format.NDJSON'
    ) from error

DIGITS = 38
"""What a decimal holds at most, of them `SCALE` behind the point where the declaration does not say."""
SCALE = 18

_json = msgspec.json.Encoder(decimal_format="number").encode
_MISFITS = (pa.ArrowException, ValueError, TypeError, OverflowError, ArithmeticError)


@dataclass(frozen=True, kw_only=True)
class Parquet:
    """A dotted path is a field of a struct. Nothing is declared as never null: a removed row may lack its content."""

    columns: tuple[Column, ...]
    notes: Notes
    suffix: str = ".parquet"

    def encode(self, lines: Sequence[Line]) -> bytes:
        noted = [{**line.content, **self.notes.values(line)} for line in lines]
        arrays = [_array(noted, path, part) for path, part in self._tree.items()]
        file = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(arrays, names=list(self._tree)), file, compression="zstd")
        return file.getvalue()

    def marks(self, content: bytes) -> Iterator[Mark]:
        names = self.notes.of_mark
        table = pq.read_table(pa.BufferReader(content), columns=names)
        yield from map(Mark, *(table.column(name).to_pylist() for name in names))

    @functools.cached_property
    def _tree(self) -> dict[str, _Part]:
        tree: dict[str, Any] = {}
        for column in (*self.columns, *self.notes.columns):
            *above, name = column.path.split(".")
            part = tree
            for each in above:
                part = part.setdefault(each, {})
            part[name] = column
        return tree


_Part = Column | dict[str, Any]
"""A column, or the parts of a struct by name."""


def _array(contents: Sequence[dict[str, Any]], path: str, part: _Part) -> Any:
    """The values at one name of each content, as an array; `path` is for messages."""
    name = path.rpartition(".")[2]
    values = [content.get(name) for content in contents]
    if isinstance(part, Column):
        return _column(values, part)
    within = [{} if value is None else value for value in values]
    return pa.StructArray.from_arrays(
        [_array(within, f"{path}.{below}", deeper) for below, deeper in part.items()], names=list(part)
    )


def _column(values: Sequence[Any], column: Column) -> Any:
    make = _MAKES.get(column.kind)
    kind = _type(column)
    try:
        made = values if make is None else [None if value is None else make(value) for value in values]
        return pa.array(made, kind)
    except _MISFITS as error:
        shown = f" (value {str(values[0])[:80]!r})" if len(values) == 1 else ""
        raise ValueError(f"{column.path} does not fit {kind}: {error}{shown}") from error


def _moment(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("it has no offset")
    return moment


def _type(column: Column) -> Any:
    if column.kind is Kind.DECIMAL:
        return pa.decimal128(DIGITS, SCALE if column.scale is None else column.scale)
    return _TYPES[column.kind]


_TYPES = {
    Kind.TEXT: pa.string(),
    Kind.INTEGER: pa.int64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.INSTANT: pa.timestamp("us", tz="UTC"),
    Kind.DAY: pa.date32(),
    Kind.JSON: pa.string(),
}
_MAKES: dict[Kind, Callable[[Any], Any]] = {
    Kind.DECIMAL: Decimal,
    Kind.INSTANT: _moment,
    Kind.DAY: date.fromisoformat,
    Kind.JSON: lambda value: _json(value).decode(),
}
