"""Form: what the columns of a table are called, what of a row goes into each, and how large it may be."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fenxiang_sync.columns import Column, Kind
from fenxiang_sync.errors import DeclarationError


@dataclass(frozen=True)
class Numeric:
    """A word for a column of exact numbers: so many digits altogether, so many of them decimals."""

    precision: int
    scale: int = 0

    def __post_init__(self) -> None:
        if (
            type(self.precision) is not int
            or type(self.scale) is not int
            or not 0 <= self.scale <= self.precision <= 65
        ):
            raise DeclarationError(f"{self}: give 1 to 65 digits, of them 0 or more decimals, as in Numeric(18, 2)")
        if self.precision < 1:
            raise DeclarationError(f"{self}: give 1 to 65 digits")


@dataclass(frozen=True)
class Varchar:
    """A word for a column of text of at most so many characters."""

    length: int

    def __post_init__(self) -> None:
        if type(self.length) is not int or not 1 <= self.length <= 16_383:
            raise DeclarationError(f"{self}: give 1 to 16383 characters, as in Varchar(200)")


Word = Numeric | Varchar


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlColumn:
    """One column: `path` leads to its value in a row. `word` is the user's own for its size."""

    name: str
    path: tuple[str, ...]
    kind: Kind
    scale: int | None = None
    required: bool = False
    word: Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookkeeping:
    """The names of the columns that are about the row itself: its record's stamp and version, the hash of its content,
    and since when it counts as removed."""

    modified: str
    version: str
    hash: str
    removed: str

    def __iter__(self) -> Iterator[str]:
        return iter((self.modified, self.version, self.hash, self.removed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """All columns of a table. `key` is the row's id: text of at most `key_length` characters where the database needs
    to know, or a whole number. `own` are the columns and values that tell the pipeline's rows from those of others."""

    key: SqlColumn
    values: tuple[SqlColumn, ...]
    book: Bookkeeping
    key_length: int
    own: Mapping[str, str | int]

    @property
    def columns(self) -> tuple[SqlColumn, ...]:
        """The columns of the declaration, the key first."""
        return (self.key, *self.values)


def formed(
    columns: Sequence[Column],
    *,
    key: str,
    names: Mapping[str, str],
    words: Mapping[str, Word],
    book: Bookkeeping,
    key_length: int,
    own: Mapping[str, str | int],
) -> Form:
    """The form of rows with these columns; raises `DeclarationError` with all that cannot be meant."""
    paths = [column.path for column in columns]
    named = {path: names.get(path, path.replace(".", "_")) for path in paths}
    problems = [
        *_unknown("columns", names, paths, "a target path"),
        *_unknown("types", words, list(named.values()), "a column"),
        *_unknown("own", own, list(named.values()), "a column"),
        *_collisions(named, book),
    ]
    made = [_column(column, named[column.path], words, is_key=column.path == key) for column in columns]
    problems += [problem for column in made for problem in (*_misfits(column), *_never_own(column, own))]
    if problems:
        raise DeclarationError("SqlTable: " + "; ".join(problems))
    place = paths.index(key)
    values = (*made[:place], *made[place + 1 :])
    return Form(key=made[place], values=values, book=book, key_length=key_length, own=own)


def _column(column: Column, name: str, words: Mapping[str, Word], *, is_key: bool) -> SqlColumn:
    # An id is text or a whole number, whatever its converter may give for other records.
    kind = column.kind if not is_key or column.kind is Kind.INTEGER else Kind.TEXT
    return SqlColumn(
        name=name,
        path=tuple(column.path.split(".")),
        kind=kind,
        scale=column.scale,
        required=column.required or is_key,
        word=words.get(name),
    )


def _unknown(word: str, given: Mapping[str, object], there: Sequence[str], what: str) -> Iterator[str]:
    for name in given:
        if name not in there:
            near = [each for each in there if str(name) in each]
            near += difflib.get_close_matches(str(name), there, n=1, cutoff=0.4)
            yield f"{word} names {name!r}, which is not {what} of the pipeline" + (
                f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(map(repr, there))}"
            )


def _collisions(named: Mapping[str, str], book: Bookkeeping) -> Iterator[str]:
    """Databases differ in whether case counts, so it does not count here."""
    takers: dict[str, list[str]] = defaultdict(list)
    for path, name in named.items():
        takers[name.lower()].append(f"the path {path!r}")
    for name in book:
        takers[name.lower()].append("the bookkeeping")
    for name, claims in takers.items():
        if len(claims) > 1:
            yield f"the column {name!r} would hold {' and '.join(claims)}; give one another name with columns={{…}}"


def _misfits(column: SqlColumn) -> Iterator[str]:
    word = column.word
    if isinstance(word, Varchar) and column.kind is not Kind.TEXT:
        yield f"types: {column.name!r} is {column.kind.value}, and {word} is for text"
    elif isinstance(word, Numeric):
        if column.kind is not Kind.DECIMAL:
            yield f"types: {column.name!r} is {column.kind.value}, and {word} is for decimal()"
        elif column.scale is not None and column.scale > word.scale:
            yield f"types: {column.name!r} has {column.scale} decimals, and {word} holds {word.scale}"


def _never_own(column: SqlColumn, own: Mapping[str, str | int]) -> Iterator[str]:
    """Some databases refuse to compare a text with a number, in the first reconcile; others find no row."""
    value, kinds = own.get(column.name), {Kind.TEXT: str, Kind.INTEGER: int}
    if value is not None and type(value) is not kinds.get(column.kind, type(value)):
        yield f"own: {column.name!r} is {column.kind.value}, and {value!r} is not"
