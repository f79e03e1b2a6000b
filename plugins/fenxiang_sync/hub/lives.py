"""Lives: all that the hub knows of one record of the source, in one place (全生命周期追溯)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.events import Event, Events
from fenxiang_sync.hub.letters import Letters
from fenxiang_sync.hub.readings import Reading, Readings
from fenxiang_sync.hub.records import Record, Records
from fenxiang_sync.hub.selection import Selection, StoredLetter
from fenxiang_sync.hub.sources import Kept, Sources
from fenxiang_sync.hub.tables import dead_letter, record, source
from fenxiang_sync.hub.told import Said, Tellings


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One record of the source. `kept` is how it was read last; `rows` are what the ledger holds of it, `told` what the
    target told of them, by their ids; `events` what happened, oldest first; `readings` are the files of records that
    may hold it: their first and last ids are around its own."""

    pipeline: str
    source_id: str
    kept: Kept | None
    rows: list[Record]
    told: dict[str, Said]
    events: list[Event]
    letters: list[StoredLetter]
    readings: list[Reading]


class Lives:
    """The lives of the records of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, pipeline: str, source_id: str) -> Life | None:
        """The life of the record with this Fenxiang ``_id``; None where nothing is known of it."""
        found = Records(self._database).find(
            pipeline, ids=None, source_id=source_id, number=None, status=None, window=None, content=True
        )
        rows = list(found)
        letters = Letters(self._database).find(pipeline, Selection(records=(source_id,), closed=True), whole=True)
        life = Life(
            pipeline=pipeline,
            source_id=source_id,
            kept=Sources(self._database).kept(pipeline, [source_id]).get(source_id),
            rows=rows,
            told=Tellings(self._database).of(pipeline, [row.id for row in rows]),
            events=Events(self._database).of(pipeline, source_id),
            letters=list(letters),
            readings=Readings(self._database).of(pipeline, source_id=source_id),
        )
        known = life.kept or life.rows or life.events or life.letters
        return life if known else None

    def named(self, pipeline: str, name: str) -> list[str]:
        """The ids of the records that `name` may mean, in order: a Fenxiang ``_id``, else a row's key, else a number.

        Numbers have no index: all rows of the pipeline are looked through for one.
        """
        asked = [
            select(source.c.source_id).where(source.c.pipeline == pipeline, source.c.source_id == name),
            select(record.c.source_id).where(record.c.pipeline == pipeline, record.c.source_id == name),
            select(dead_letter.c.record_id).where(dead_letter.c.pipeline == pipeline, dead_letter.c.record_id == name),
            select(record.c.source_id).where(record.c.pipeline == pipeline, record.c.id == name),
            select(record.c.source_id).where(record.c.pipeline == pipeline, record.c.number == name),
        ]
        for query in asked:
            with self._database.reading() as connection:
                found = connection.execute(query.limit(100)).scalars().all()
            if found:
                return sorted(set(found))
        return []
