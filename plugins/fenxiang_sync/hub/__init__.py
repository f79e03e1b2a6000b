"""The record ledger (轻易云 数据中台): what was read, sent and proved, for all pipelines.

==================  ==========================================================
`store`             Hub: the one door
`ledger`            claim, sending, settle: what is sent, and once
`decision`          what becomes of one row; `writer` stores it
`records`           reading the ledger; `lookups` finds rows by their values
`sources`           the records of the source, as they were last seen
`told`              what the target told of rows that it took
`replies`           what is to be told the source of its records
`events`            what happened to each row and record, in order
`readings`          the files of records that runs have read
`lives`             all of one record: its trace
`removals`          rows whose record is voided or gone
`doubts`            rows that were sent, and no answer came
`letters`           dead letters; `selection` finds and reads them, `gists` counts them
`orphans`           rows that their record gives no more
`runs`              runs and their numbers
`certificates`      proved spans of time
`late`              how late records became visible
`calls`             calls to Fenxiang by day
`leases`            one holder at a time
`notes`             small documents that processes share
`tables`            the tables; `schema` and `migrations` bring a hub to them
`connect`           the database, its transactions, its errors
`bulk`, `content`   many rows in one statement; exact JSON
==================  ==========================================================
"""

from __future__ import annotations

from fenxiang_sync.hub.calls import DayCalls
from fenxiang_sync.hub.certificates import Certificate, Look
from fenxiang_sync.hub.decision import Decision
from fenxiang_sync.hub.doubts import Doubt
from fenxiang_sync.hub.events import Event, What
from fenxiang_sync.hub.gists import LetterGroup
from fenxiang_sync.hub.late import LateArrival, LateBin
from fenxiang_sync.hub.lives import Life
from fenxiang_sync.hub.orphans import Given
from fenxiang_sync.hub.readings import Reading
from fenxiang_sync.hub.records import Record
from fenxiang_sync.hub.removals import Due
from fenxiang_sync.hub.replies import Reply
from fenxiang_sync.hub.runs import RunRecord
from fenxiang_sync.hub.selection import NOT_GOT, PARENT_MISSING, DeadLetter, Ladder, Selection, StoredLetter
from fenxiang_sync.hub.sources import Entry, Kept, Listed, Seen
from fenxiang_sync.hub.store import Hub
from fenxiang_sync.hub.tables import Presence, Status
from fenxiang_sync.hub.told import Said
from fenxiang_sync.hub.writer import Settled

__all__ = [
    "NOT_GOT",
    "PARENT_MISSING",
    "Certificate",
    "DayCalls",
    "DeadLetter",
    "Decision",
    "Doubt",
    "Due",
    "Entry",
    "Event",
    "Given",
    "Hub",
    "Kept",
    "Ladder",
    "LateArrival",
    "LateBin",
    "LetterGroup",
    "Life",
    "Listed",
    "Look",
    "Presence",
    "Reading",
    "Record",
    "Reply",
    "RunRecord",
    "Said",
    "Seen",
    "Selection",
    "Settled",
    "Status",
    "StoredLetter",
    "What",
]
