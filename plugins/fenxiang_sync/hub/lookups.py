"""Looking up rows of a pipeline by their values (联查), many keys at once.

A row's own id and its record's ``_id`` have an index. Any other path is read out of the JSON of every row of that
pipeline, once for each batch of keys: a scan. What its target told of a row is read beside it, by the row's id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

_HAS_NUL = r"strpos(content, '\u0000') > 0"
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,99}", re.ASCII)


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
        for row in self._rows(connection, question, list(keys)):
            *parts, text = row
            read = [_part(path, part) for path, part in zip(question.where, parts, strict=True)]
            key = tuple(part for part in read if part is not None)  # a shorter one is no key
            if key in keys:
                value = text if question.find in _COLUMNS else loads(text)
                found[key] = _one(found[key], value) if key in found else value

    def _rows(self, connection: Connection, question: Question, keys: Sequence[Key]) -> Iterator[Sequence[str | None]]:
        """What rows say at the paths of the question, as JSON; more rows than have the keys."""
        streamed = connection.execution_options(yield_per=_AT_ONCE)
        statement = (_postgresql if self._database.postgresql else _sqlite)(question, keys)
        yield from (list(row) for row in streamed.exec_driver_sql(statement.text, statement.given))
        if self._database.postgresql:
            with_nul = _with_nul(question, keys)
            for held in streamed.exec_driver_sql(with_nul.text, with_nul.given):
                documents = dict(zip((*_COLUMNS.values(), "content", _SAID), held, strict=True))
                yield [_at(documents, path) for path in (*question.where, question.find)]


def _at(documents: Mapping[str, str | None], path: str) -> str | None:
    """What a row has at a path, as JSON; of a column its text."""
    if path in _COLUMNS:
        return documents[_COLUMNS[path]]
    document, parts = _placed(path)
    text = documents[document]
    value = None if text is None else loads(text)
    for part in parts:
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return dumps(value)


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
    return [dumps(value), value] if _WHOLE.fullmatch(value) else [dumps(value)]


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
        return _Sql(f"(CASE WHEN NOT {_HAS_NUL} THEN {document}::json #> %s::text[] END)::text", (parts,))

    wanted = _wanted(question, keys)
    driving = _driving(wanted)
    shown = [at(path) for path in (*question.where, question.find)]
    names = [_Sql(f"{each.text} AS at_{place}", each.given) for place, each in enumerate(shown)]
    tests = [
        _Sql(f"{found.text} = ANY(%s::text[])", (*found.given, texts))
        for path, texts in wanted
        if path != driving
        for found in [at(path)]
    ]
    rows = _select(names, " AND ".join(["pipeline = %s", _HELD, f"NOT {_HAS_NUL}", *(each.text for each in tests)]))
    return _driven(_Sql(rows, (*_given(names), question.pipeline, *_given(tests))), wanted)


def _with_nul(question: Question, keys: Sequence[Key]) -> _Sql:
    """The rows that have text with a NUL, whole: PostgreSQL reads nothing out of such JSON."""
    shown = [*map(_Sql, _COLUMNS.values()), _Sql("content"), _Sql(f"{_SAID} AS said")]
    rows = _Sql(_select(shown, f"pipeline = %s AND {_HELD} AND {_HAS_NUL}"), (question.pipeline,))
    return _driven(rows, _wanted(question, keys))


def _driving(wanted: Sequence[tuple[str, list[str]]]) -> str | None:
    """The path that has an index, if there is one."""
    return next((path for path, _ in wanted if path in _INDEXED), None)


def _driven(rows: _Sql, wanted: Sequence[tuple[str, list[str]]]) -> _Sql:
    """Those of the rows that have a wanted value at the path with an index; all where there is none."""
    driving = _driving(wanted)
    if driving is None:
        return rows
    # As in `bulk`: OFFSET 0 keeps one index look-up per value.
    found = f"{rows.text} AND {_COLUMNS[driving]} = given.value OFFSET 0"
    text = f"SELECT found.* FROM unnest(%s::text[]) AS given (value) CROSS JOIN LATERAL ({found}) AS found"  # noqa: S608
    return _Sql(text, (dict(wanted)[driving], *rows.given))


def _select(shown: Sequence[_Sql], tests: str) -> str:
    """No text of a user is in it: paths and values are parameters."""
    return f"SELECT {', '.join(each.text for each in shown)} FROM fenxiang_record WHERE {tests}"  # noqa: S608


def _given(parts: Iterable[_Sql]) -> tuple[Any, ...]:
    return tuple(value for part in parts for value in part.given)
