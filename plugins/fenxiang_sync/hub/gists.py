"""Gists: the open dead letters of a pipeline by stage and error, as a page shows them: how many, and the newest."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Connection, func, select, text

from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.tables import dead_letter

_NEWEST = 3
_OPEN = text("state = 'open'")  # written as in the partial index, which is used for nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterGroup:
    """Open letters of one stage and error: how many, and the newest of them, without payload."""

    stage: str
    error: str
    letters: int
    newest: list[LetterGist]


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterGist:
    """What a list says of one letter."""

    record_id: str
    row_id: str
    field: str | None
    reason: str
    updated_at: datetime


def letter_groups(database: Database, pipeline: str) -> list[LetterGroup]:
    """The open letters by stage and error, the most first."""
    mine = (dead_letter.c.pipeline == pipeline, _OPEN)
    counted = select(dead_letter.c.stage, dead_letter.c.error, func.count()).where(*mine)
    grouped = counted.group_by(dead_letter.c.stage, dead_letter.c.error).order_by(func.count().desc())
    with database.reading() as connection:
        return [
            LetterGroup(stage=stage, error=error, letters=letters, newest=_newest(connection, pipeline, stage, error))
            for stage, error, letters in connection.execute(grouped).all()
        ]


def _newest(connection: Connection, pipeline: str, stage: str, error: str) -> list[LetterGist]:
    gist = select(*(dead_letter.c[each.name] for each in fields(LetterGist))).where(
        dead_letter.c.pipeline == pipeline, _OPEN, dead_letter.c.stage == stage, dead_letter.c.error == error
    )
    newest = gist.order_by(dead_letter.c.updated_at.desc(), dead_letter.c.id.desc()).limit(_NEWEST)
    return [LetterGist(**found) for found in connection.execute(newest).mappings()]
