"""Looking up rows of a pipeline by their values (联查), many keys at once.

A row's own id and its record's ``_id`` have an index. Any other path is read out of the JSON of every row of that
pipeline, once for each batch of keys: a scan. What its target told of a row is read beside it, by the row's id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.content import dumps, loads
from fenxiang_sync.hub.tables import Status
from fenxiang_sync.lookup import NUMBER, RECORD_ID, ROW_ID, TOLD, Key, Question, Several

KEYS = 10_000
"""So many keys are asked for with one statement."""
_AT_ONCE = 1_000
_COLUMNS = {RECORD_ID: "source_id", ROW_ID: "id", NUMBER: "number"}
_INDEXED = (ROW_ID, RECORD_ID)
_HELD = (
    "modified_ms IS NOT NULL AND removed_at IS NULL AND content_hash IS NOT NULL AND content IS NOT NULL "
    f"AND status <> {int(Status.IN_DOUBT)}"
)
_SAID = (
    "(SELECT said FROM fenxiang_told AS told WHERE told.pipeline = fenxiang_record.pipeline "
    "AND told.id = fenxiang_record.id)"
)


class _Sql(NamedTuple):
    text: str
    given: tuple[Any, ...] = ()


class Lookups:
    """The rows of one hub that a target holds, found by their values."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, question: Question, keys: Iterable[Key]) -> dict[Key, Any]:
        """The value of each key that has a row; None where it has none there, `Several` where rows differ in it."""
        found: dict[Key, Any] = {}
        left = iter(keys)
        while batch := list(islice(left, KEYS)):
            with self._database.reading() as connection:
                self._read(connection, question, set(batch), found)
        return found

    def _read(self, connection: Connection, question: Question, keys: set[Key], found: dict[Key, Any]) -> None:
        statement = (_postgresql if self._database.postgresql else _sqlite)(question, list(keys))
        streamed = connection.execution_options(yield_per=_AT_ONCE)
        for row in streamed.exec_driver_sql(statement.text, statement.given):
            *parts, text = row
            read = [_part(path, part) for path, part in zip(question.where, parts, strict=True)]
            key = tuple(part for part in read if part is not None)  # a shorter one is no key
            if key in keys:
                value = text if question.find in _COLUMNS else loads(text)
                found[key] = _one(found[key], value) if key in found else value


def _one(there: Any, value: Any) -> Any:
    """What two rows of one key say together."""
    if isinstance(there, Several) or dumps(there) == dumps(value):
        return there
    return Several((there, value))


def _part(path: str, text: str | None) -> str | None:
    """What a row has at a path, as keys have it; None for what equals no key."""
    if path in _COLUMNS or text is None:
        return text
    value = loads(text)
    return str(value) if type(value) in (str, int) else None


def _written(value: str) -> list[str]:
    """The JSON that a key may be in a row: text, and a number where it is one.

    >>> _written("7"), _written("07")
    (['"7"', '7'], ['"07"'])
    """
    is_number = value.lstrip("-").isdecimal() and value.isascii() and str(int(value)) == value
    return [dumps(value), value] if is_number else [dumps(value)]


def _wanted(question: Question, keys: Sequence[Key]) -> list[tuple[str, list[str]]]:
    """Each path of the question with the texts that it may have: more than the keys, where those have several parts."""
    columns = [list(dict.fromkeys(values)) for values in zip(*keys, strict=True)]
    return [
        (path, values if path in _COLUMNS else [each for value in values for each in _written(value)])
        for path, values in zip(question.where, columns, strict=True)
    ]


def _placed(path: str) -> tuple[str, list[str]]:
    """The document in which a path leads somewhere, and its parts there."""
    if path.startswith(TOLD):
        return _SAID, [path.removeprefix(TOLD)]
    return "content", path.split(".")


def _sqlite(question: Question, keys: Sequence[Key]) -> _Sql:
    def at(path: str) -> _Sql:
        if path in _COLUMNS:
            return _Sql(_COLUMNS[path])
        document, parts = _placed(path)
        return _Sql(f"{document} -> ?", ("$" + "".join(f'."{part}"' for part in parts),))

    shown = [at(path) for path in (*question.where, question.find)]
    among = "IN (SELECT value FROM json_each(?))"
    wanted = [
        _Sql(f"({found.text}) {among}", (*found.given, msgspec.json.encode(texts).decode()))
        for path, texts in _wanted(question, keys)
        for found in [at(path)]
    ]
    tests = " AND ".join(["pipeline = ?", _HELD, *(each.text for each in wanted)])
    return _Sql(_select(shown, tests), (*_given(shown), question.pipeline, *_given(wanted)))


def _postgresql(question: Question, keys: Sequence[Key]) -> _Sql:
    def at(path: str) -> _Sql:
        if path in _COLUMNS:
            return _Sql(_COLUMNS[path])
        document, parts = _placed(path)
        return _Sql(f"({document}::json #> %s::text[])::text", (parts,))

    wanted = _wanted(question, keys)
    driving = next((path for path, _ in wanted if path in _INDEXED), None)
    shown = [at(path) for path in (*question.where, question.find)]
    names = [_Sql(f"{each.text} AS at_{place}", each.given) for place, each in enumerate(shown)]
    tests = [
        _Sql(f"{found.text} = ANY(%s::text[])", (*found.given, texts))
        for path, texts in wanted
        if path != driving
        for found in [at(path)]
    ]
    rows = _select(names, " AND ".join(["pipeline = %s", _HELD, *(each.text for each in tests)]))
    given = (*_given(names), question.pipeline, *_given(tests))
    if driving is None:
        return _Sql(rows, given)
    # As in `bulk`: OFFSET 0 keeps one index look-up per value.
    found = f"{rows} AND {_COLUMNS[driving]} = given.value OFFSET 0"
    text = f"SELECT found.* FROM unnest(%s::text[]) AS given (value) CROSS JOIN LATERAL ({found}) AS found"  # noqa: S608
    return _Sql(text, (dict(wanted)[driving], *given))


def _select(shown: Sequence[_Sql], tests: str) -> str:
    """No text of a user is in it: paths and values are parameters."""
    return f"SELECT {', '.join(each.text for each in shown)} FROM fenxiang_record WHERE {tests}"  # noqa: S608


def _given(parts: Iterable[_Sql]) -> tuple[Any, ...]:
    return tuple(value for part in parts for value in part.given)
