"""Lookup (联查): a value from the rows of another pipeline, by values of the record; Qeasy's `_findCollection`.

::

    Lookup("FCustId", pipeline="customer", find="account_no", where={"_id": "account_id"}, required=True)

A batch of records is looked up at once: `questions` of a mapping say what is asked, a `Finder` (the hub) answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Mapping as Record
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, Protocol

from fenxiang_sync.columns import Column
from fenxiang_sync.convert import as_is, converter, given_by, is_null, written
from fenxiang_sync.entry import UnfitError, WaitingError
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.field import value_problems
from fenxiang_sync.paths import Read, finder, found, path_problems, shown, source_problems, top

RECORD_ID, ROW_ID, NUMBER = "_id", "@id", "@number"
"""What of a row is no path in it: the ``_id`` of the record that it came from, its own id, its number (编码)."""
TOLD = "@told."
"""What begins the name of something that the target told of a row: ``@told.Number``."""

Key = tuple[str, ...]
"""Values that are looked for together, each as text."""


class Question(NamedTuple):
    """What is asked: the value at `find` of the rows of `pipeline` whose values at the paths `where` are a key's."""

    pipeline: str
    find: str
    where: tuple[str, ...]


class Several(NamedTuple):
    """An answer that is none: rows with different values were found."""

    values: tuple[Any, Any]


Answers = Mapping[Question, Mapping[Key, Any]]
"""What was found for each key; None for a row without a value, `Several` for more than one; absent: there is no row."""


class Finder(Protocol):
    """Where rows are looked up."""

    def look_up(self, question: Question, keys: Iterable[Key]) -> Mapping[Key, Any]:
        """What there is for these keys, as `Answers` has it."""
        ...


@dataclass(frozen=True)
class Lookup:
    """The value at `find`, a path in the rows of the pipeline of that name, of the row that `where` leads to.

    `where` says what of the row equals which source field of the record; all of it must. A row is asked for its paths,
    for ``_id`` (of the record that it came from), ``@id`` (its id), ``@number``, and for what the target told when it
    took it: ``@told.Number`` is the number that Kingdee gave it. Rows count that the target holds: neither removed nor
    in doubt. `convert` is for what was found; `default` stands in where nothing was; with
    `required` the record then waits: it is a dead letter, ParentMissing, that is tried again by itself.
    """

    to: str
    _: KW_ONLY
    pipeline: str
    find: str
    where: Mapping[str, str]
    convert: Callable[[Any], Any] = as_is
    required: bool = False
    default: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.where, Mapping):
            object.__setattr__(self, "where", dict(self.where))

    @property
    def target(self) -> str:
        return self.to

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self.where.values())

    @property
    def origin(self) -> str:
        return ", ".join(self.sources)

    @property
    def asks(self) -> tuple[str, ...]:
        """The record's own fields that it reads."""
        return tuple(map(top, self.sources))

    @property
    def column(self) -> Column:
        kind, scale = given_by(converter(self.convert))
        return Column(path=self.to, kind=kind, scale=scale, required=self.required or self.default is not None)

    @property
    def rule(self) -> str:
        if self.required:
            return "required: waits for it"
        return "" if self.default is None else f"default {shown(self.default)}"

    @property
    def question(self) -> Question:
        return Question(self.pipeline, self.find, tuple(self.where))

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        yield from path_problems(self.to, "to")
        name: Any = self.pipeline
        where: Any = self.where
        if not isinstance(name, str) or not name:
            yield f"pipeline={self.pipeline!r}: give the name of the pipeline whose rows are looked up"
        yield from _row_path_problems(self.find, "find")
        if not isinstance(where, Mapping) or not where:
            yield f"where={self.where!r}: say what of the row equals which source field, as in {{'_id': 'account_id'}}"
        else:
            for path, source in where.items():
                yield from _row_path_problems(path, "where")
                yield from source_problems(source, f"where[{path!r}]")
        yield from value_problems(self.default, "default")
        if not isinstance(self.required, bool):
            yield f"required={self.required!r}: give True or False"
        elif self.required and self.default is not None:
            yield f"required, and default={self.default!r} as well; keep one: a default is never missed"
        try:
            if getattr(converter(self.convert), "companion", ""):
                yield f"{written(self.convert)} reads another field of a record; a row of the hub has none"
        except DeclarationError as error:
            yield str(error)

    def key_of(self) -> Callable[[Record[str, Any]], Key | None]:
        """A function from a record to its key; None where a part is null. Raises `UnfitError` for what is no key."""
        find = [(source, finder(source)) for source in self.sources]

        def key(record: Record[str, Any]) -> Key | None:
            parts: list[str] = []
            for source, each in find:
                value = each(record)
                if is_null(value):
                    return None
                if type(value) is not str and type(value) is not int:
                    way_out = f"; name the place: {source}.0 is the first" if isinstance(value, list) else ""
                    raise UnfitError(
                        f"{source}: {type(value).__name__} is nothing to look up; only text and numbers are{way_out}",
                        value,
                    )
                if "\0" in str(value):
                    raise UnfitError(f"{source}: text with a NUL is in no row", value)
                parts.append(str(value))
            return tuple(parts)

        return key

    def compile(self, answers: Answers | None = None) -> Read:
        """A function from a record to the value that was found. Without answers it fails for every record."""
        key_of, question = self.key_of(), self.question
        known = None if answers is None else answers.get(question, {})
        convert, asked = converter(self.convert), self._asked()

        def read(record: Record[str, Any]) -> Any:
            key = key_of(record)
            if key is None:
                return self._instead(UnfitError(f"it is required, and the record has no value to look up {asked} with"))
            if known is None:
                raise LookupError(f"{asked} was not asked for; give the step its hub")
            if key not in known:
                return self._instead(WaitingError(f"{asked} has no row for it yet", _said(key)))
            value = known[key]
            if isinstance(value, Several):
                told = " and ".join(map(shown, value.values))
                raise UnfitError(
                    f"{asked} has rows with {told} for it; narrow it down with one more of where", _said(key)
                )
            made = None if is_null(value) else convert(value)
            if made is None:
                return self._instead(WaitingError(f"{asked} has a row for it without {self.find!r}", _said(key)))
            return made

        return read

    def _instead(self, missing: UnfitError) -> Any:
        if self.required:
            raise missing
        return as_is(self.default)

    def _asked(self) -> str:
        return f"pipeline {self.pipeline!r}"

    def found(self, record: Record[str, Any]) -> Any:
        """The raw values, for a message about them."""
        values = [found(record, source) for source in self.sources]
        return values[0] if len(values) == 1 else values

    def named(self) -> str:
        return f"Lookup({self.to!r})"

    def said(self) -> list[Any]:
        """All that decides what it makes, as JSON."""
        where = [list(pair) for pair in self.where.items()]
        made = written(converter(self.convert))
        return ["lookup", self.to, self.pipeline, self.find, where, made, self.required, repr(self.default)]

    def made_by(self) -> str:
        where = " and ".join(f"{path} = {source}" for path, source in self.where.items())
        return f"{self.find} of pipeline {self.pipeline} where {where}; {written(converter(self.convert))}"


def asked(
    lookups: Sequence[tuple[Lookup, Callable[[Record[str, Any]], Iterable[Record[str, Any]]]]],
    records: Iterable[Record[str, Any]],
    finder: Finder,
) -> Answers:
    """Look up what some records need, each question once. Of a look-up, the function gives what of a record it reads:
    the record itself, or each of its lines."""
    readers = [(lookup.question, lookup.key_of(), parts) for lookup, parts in lookups]
    keys: dict[Question, dict[Key, None]] = {question: {} for question, _, _ in readers}
    for record in records:
        for question, key_of, parts in readers:
            for part in parts(record):
                try:
                    key = key_of(part)
                except ValueError:
                    continue  # it is rejected for this when it is mapped
                if key is not None:
                    keys[question][key] = None
    return {question: finder.look_up(question, wanted) if wanted else {} for question, wanted in keys.items()}


def _said(key: Key) -> Any:
    return key[0] if len(key) == 1 else list(key)


def _is_told(path: str) -> bool:
    name = path.removeprefix(TOLD)
    return name != path and name != "" and "." not in name


def _row_path_problems(path: Any, word: str) -> Iterator[str]:
    yield from path_problems(path, word)
    if isinstance(path, str) and path.startswith("@") and path not in (ROW_ID, NUMBER) and not _is_told(path):
        yield f"{word} {path!r}: beside its paths a row is asked for '_id', '@id', '@number' and '@told.' with a name"
    if isinstance(path, str) and any(letter in path for letter in '"\\{},'):
        yield f"{word} {path!r}: a path with {{}}, a comma, a quotation mark or a backslash cannot be looked up"
