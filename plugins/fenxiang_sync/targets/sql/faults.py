"""Faults: what an error of a database means for the rows that were sent, and for the run."""

from __future__ import annotations

import sqlite3
from enum import Enum, auto
from typing import Any

from sqlalchemy.exc import DBAPIError

_SHOWN = 300


class Meaning(Enum):
    """What to do about an error."""

    ROW = auto()
    """A row does not fit; without it the others may."""
    AGAIN = auto()
    """Nothing was taken, or the answer was lost; the same may work at once: a deadlock, a connection that broke."""
    LATER = auto()
    """It may work later: the server is down, full, locked."""
    SETUP = auto()
    """A login, a database, a schema or a right is missing."""
    REFUSED = auto()
    """The database will not have it, and what it says names no row."""


def cause(error: BaseException) -> BaseException:
    """The driver's own error."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def code_of(error: BaseException) -> str | None:
    """SQLSTATE or number of the driver's error."""
    original: Any = cause(error)
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    if state is None and original.args and type(original.args[0]) is int:
        return str(original.args[0])
    return state or getattr(original, "sqlite_errorname", None)


def said_by(error: BaseException) -> str:
    """The first line of what the database said, short and without its full stop."""
    original: Any = cause(error)
    told = original.args[1] if len(original.args) > 1 and type(original.args[0]) is int else original
    line = (str(told).strip().splitlines() or [type(original).__name__])[0].rstrip(".")
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def of_postgresql(error: BaseException) -> Meaning:
    """By SQLSTATE; libpq gives none for a server that it cannot reach or that went away."""
    state, said = code_of(error), str(cause(error))
    if state is None:
        if any(words in said for words in _PG_SET_UP):
            return Meaning.SETUP
        if type(cause(error)).__name__ == "DataError":  # a text with NUL, which the driver itself refuses
            return Meaning.ROW
        return Meaning.AGAIN if any(word in said for word in ("closed", "terminat", "is lost")) else Meaning.LATER
    return next((meaning for starts, meaning in _PG_STATES if state.startswith(starts)), Meaning.REFUSED)


_PG_SET_UP = ("authentication failed", "no password supplied", "no pg_hba.conf entry", "does not exist", "invalid ")
_PG_STATES: tuple[tuple[tuple[str, ...], Meaning], ...] = (
    (("40", "57P01", "57P02", "25P03", "08"), Meaning.AGAIN),
    (("42P01", "42703", "53", "55", "57", "58"), Meaning.LATER),  # 42…: somebody changed the table meanwhile
    (("28", "3D", "3F", "42501", "25006"), Meaning.SETUP),
    (("22", "23", "44", "54", "P0"), Meaning.ROW),
)


def of_mysql(error: BaseException) -> Meaning:
    """By number; errors of the server's constraints and of the driver's own checks have classes as well."""
    original: Any = cause(error)
    number = original.args[0] if original.args and type(original.args[0]) is int else 0
    for numbers, meaning in _MYSQL_NUMBERS:
        if number in numbers:
            return meaning
    if type(original).__name__ in ("DataError", "IntegrityError"):
        return Meaning.ROW
    return Meaning.AGAIN if number == 0 and type(original).__name__ == "InterfaceError" else Meaning.REFUSED


_MYSQL_NUMBERS: tuple[tuple[frozenset[int], Meaning], ...] = (
    # Broken connections, killed ones, deadlocks (which take the savepoints along: 1305), and MariaDB's "changed since
    # last read".
    (
        frozenset({2006, 2013, 2014, 2055, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1213, 1305, 1020, 1927}),
        Meaning.AGAIN,
    ),
    # Unreachable, full, locked, too slow; a table or column that somebody changed meanwhile.
    (
        frozenset(
            {2002, 2003, 2005, 1021, 1037, 1040, 1041, 1114, 1129, 1146, 1054, 1203, 1205, 1317, 1969, 3024, 1226}
        ),
        Meaning.LATER,
    ),
    (frozenset({1044, 1045, 1049, 1130, 1142, 1143, 1227, 1290, 1370, 1698, 1792, 1836, 2061}), Meaning.SETUP),
    # Too long, out of range, wrong bytes, CHECK (MySQL, MariaDB), SIGNAL in a trigger, invalid JSON.
    (frozenset({1118, 1153, 1292, 1364, 1366, 1411, 1525, 1644, 1690, 3140, 3819, 4025, 4078}), Meaning.ROW),
)


def of_sqlite(error: BaseException) -> Meaning:
    original, said = cause(error), str(cause(error))
    if isinstance(original, sqlite3.IntegrityError | sqlite3.DataError):
        return Meaning.ROW
    if any(words in said for words in ("locked", "busy", "disk I/O", "is full", "no such table", "no such column")):
        return Meaning.LATER
    if any(words in said for words in ("readonly", "read-only", "unable to open", "not a database", "malformed")):
        return Meaning.SETUP
    return Meaning.REFUSED
