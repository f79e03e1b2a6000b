"""The tables of the hub, as the newest migration leaves them.

==============================  ==========================================================================
``fenxiang_record``             one row per pipeline and row id: what the target holds, and who is sending what
``fenxiang_told``               what the target told of a row that it holds: the id and the number that it gave it
``fenxiang_rival``              records that gave the id of a row which another record gives
``fenxiang_source``             one row per pipeline and record of the source: what was read of it last
``fenxiang_event``              what happened to each row and record, in the order in which it happened
``fenxiang_reading``            the files of records that runs have read
``fenxiang_projection``         which fields were asked for, by their digest
``fenxiang_dead_letter``        what could not be mapped or was refused, parked for people
``fenxiang_run``                the runs and their numbers
``fenxiang_certificate``        spans of `last_modified_time` that a run has proved complete
``fenxiang_late``               how late records became visible, as a histogram
``fenxiang_calls``              calls to Fenxiang by day
``fenxiang_lease``              who holds what is for one holder at a time
``fenxiang_note``               small documents that processes share: the calls of the last seconds
==============================  ==========================================================================

Moments (``*_at``, ``*_until``) are epoch milliseconds, as ``last_modified_time`` is. A change here needs a new file in
``migrations/versions`` and a new `REVISION`.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql

from fenxiang_sync.window import from_ms, to_ms

REVISION = "0004"
"""The migration that this code is written for."""

VERSION_TABLE = "fenxiang_alembic_version"


class Status(IntEnum):
    """Where a record stands; the numbers are Qeasy's (轻易云), ours are from 10 on."""

    REPEAT = 1
    """重复的: its id was there already and ``idCheck`` says that an id is sent once."""
    FINISHED = 2
    """已完成: the target holds it."""
    ERROR = 3
    """错误的: the target refused it; it is a dead letter."""
    QUEUE = 5
    """队列中: a run has claimed it and is sending it."""
    IN_DOUBT = 10
    """It was sent, and no answer came back."""


class Presence(IntEnum):
    """Where a record of the source was when it was last looked at."""

    PRESENT = 0
    VOIDED = 1
    """作废: in the recycle bin; may be recovered."""
    LEFT = 2
    """It no longer passes the filters of the pipeline's source."""
    HIDDEN = 3
    """It may not be seen: as a rule the acting user has lost the right to it. It is not deleted."""
    VANISHED = 4
    """Deleted."""


REMOVING = (Presence.VOIDED, Presence.LEFT, Presence.VANISHED)
"""The delete policy is for the rows of these."""


class Instant(TypeDecorator[datetime]):
    """An aware datetime, stored as epoch milliseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else to_ms(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else from_ms(value)


# Keys are compared byte by byte on both databases: faster than by a language's rules, and in the same order.
_KEY = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_SERIAL = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

# The large texts come last: SQLite then reads the other columns without following their overflow pages.
record = Table(
    "fenxiang_record",
    metadata,
    Column("pipeline", _KEY, primary_key=True),
    Column("id", _KEY, primary_key=True, comment="the row's key at the target"),
    Column("source_id", _KEY, nullable=False, comment="Fenxiang _id"),
    Column("number", Text),
    Column("modified_ms", BigInteger, comment="of the version that was delivered; NULL before"),
    Column("version", BigInteger, comment="of the version that was delivered; NULL before"),
    Column("content_hash", Text, comment="of what was delivered; NULL before"),
    Column("status", SmallInteger, nullable=False),
    Column("outcome", Text),
    Column("reason", Text, nullable=False, server_default=""),
    Column("code", Text),
    Column("attempts", Integer, nullable=False, server_default="0", comment="tries since it was last delivered"),
    Column("run_id", _KEY, nullable=False, comment="the run that settled it last, or that first claimed it"),
    Column("first_seen_at", Instant, nullable=False),
    Column("read_at", Instant, nullable=False, comment="when it was last claimed or noted"),
    Column("settled_at", Instant),
    Column("claim_run", Text, comment="who sends it, or sent it last"),
    Column("claim_hash", Text),
    Column("claim_modified_ms", BigInteger),
    Column("claim_version", BigInteger),
    Column("claim_until", Instant, comment="NULL: nobody is sending it"),
    Column("in_flight_at", Instant, comment="set before it is sent to a target that cannot upsert"),
    Column("removed_at", Instant, comment="the delete policy was done to it; NULL: the target holds it"),
    Column("content", Text, comment="JSON of what was delivered"),
    Column("claim_content", Text, comment="JSON of what may have arrived, while that is in doubt"),
    Index("fenxiang_record_source", "pipeline", "source_id", "id"),
    Index("fenxiang_record_modified", "pipeline", "modified_ms", "id"),
    Index(
        "fenxiang_record_unfinished",
        "pipeline",
        "status",
        "id",
        sqlite_where=text("status <> 2"),
        postgresql_where=text("status <> 2"),
    ),
)

# Beside the ledger's row and not in it: most targets tell nothing, and then this costs nothing.
told = Table(
    "fenxiang_told",
    metadata,
    Column("pipeline", _KEY, primary_key=True),
    Column("id", _KEY, primary_key=True, comment="the row's key at the target, as in fenxiang_record"),
    Column("at", Instant, nullable=False, comment="when it was told"),
    Column("said", Text, nullable=False, comment="JSON: names and values"),
)

rival = Table(
    "fenxiang_rival",
    metadata,
    Column("pipeline", _KEY, primary_key=True),
    Column("id", _KEY, primary_key=True, comment="the row's key at the target, as in fenxiang_record"),
    Column("source_id", _KEY, primary_key=True, comment="a record that gave it, beside the one that holds it"),
)

detail = Table(
    "fenxiang_detail",
    metadata,
    Column("pipeline", _KEY, primary_key=True),
    Column("source_id", _KEY, primary_key=True, comment="Fenxiang _id of the record"),
    Column("detail_id", _KEY, primary_key=True, comment="Fenxiang _id of a detail that it had"),
    Index("fenxiang_detail_of", "pipeline", "detail_id"),
)

source = Table(
    "fenxiang_source",
    metadata,
    Column("pipeline", _KEY, primary_key=True),
    Column("source_id", _KEY, primary_key=True, comment="Fenxiang _id"),
    Column("modified_ms", BigInteger, nullable=False, comment="of the newest version that has an outcome"),
    Column("listed_ms", BigInteger, comment="the same, while queries list the record; NULL: they do not"),
    Column("presence", SmallInteger, nullable=False, comment="0 present, 1 voided, 2 left, 3 hidden, 4 vanished"),
    Column("run_id", _KEY, nullable=False, comment="the run that wrote this"),
    Column("changed_at", Instant, nullable=False),
    Column("projection", Text, comment="which fields were asked for: see fenxiang_projection"),
    Column("payload_digest", BigInteger, comment="of the payload and its projection; NULL: none is kept"),
    Column("payload", LargeBinary, comment="zlib of the record as it was read last, JSON; its own stamp is in it"),
    Index("fenxiang_source_listed", "pipeline", "listed_ms", "source_id"),
    Index(
        "fenxiang_source_absent",
        "pipeline",
        "source_id",
        sqlite_where=text("presence <> 0"),
        postgresql_where=text("presence <> 0"),
    ),
)

event = Table(
    "fenxiang_event",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pipeline", _KEY, nullable=False),
    Column("source_id", _KEY, nullable=False, comment="Fenxiang _id"),
    Column("row_id", _KEY, nullable=False, comment="the row's key at the target; empty: it is about the record"),
    Column("at", Instant, nullable=False),
    Column("run_id", _KEY, nullable=False, comment="the run, or the person"),
    Column("segment", Text, nullable=False),
    Column("what", Text, nullable=False, comment="delivered, dead_letter, in_doubt, again, removed, voided, …"),
    Column("modified_ms", BigInteger, comment="of the version that it happened to"),
    Column("version", BigInteger),
    Column("content_hash", Text, comment="of what was sent"),
    Column("code", Text, comment="what the target answered"),
    Column("reason", Text, nullable=False),
    Index("fenxiang_event_source", "pipeline", "source_id"),
)

reading = Table(
    "fenxiang_reading",
    metadata,
    Column("pipeline", _KEY, primary_key=True),
    Column("run_id", _KEY, primary_key=True),
    Column("segment", Integer, primary_key=True),
    Column("file", _KEY, primary_key=True, comment="its name in the segment's folder of the stage"),
    Column("first_id", _KEY, nullable=False, comment="the least _id in it"),
    Column("last_id", _KEY, nullable=False, comment="the greatest"),
    Column("records", Integer, nullable=False),
    Column("since_ms", BigInteger, comment="the window that was read; NULL: by id"),
    Column("until_ms", BigInteger),
    Column("projection", Text, nullable=False, comment="which fields were asked for: see fenxiang_projection"),
    Column("at", Instant, nullable=False),
)

projection = Table(
    "fenxiang_projection",
    metadata,
    Column("digest", _KEY, primary_key=True),
    Column("fields", Text, nullable=False, comment="JSON: their names"),
)

dead_letter = Table(
    "fenxiang_dead_letter",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pipeline", _KEY, nullable=False),
    Column("record_id", _KEY, nullable=False, comment="Fenxiang _id"),
    Column("row_id", _KEY, nullable=False, server_default="", comment="the row's key, where one record gives several"),
    Column("stage", Text, nullable=False, comment="transform, load"),
    Column("state", Text, nullable=False, comment="open, closed"),
    Column("attempts", Integer, nullable=False),
    Column("run_id", _KEY, nullable=False, comment="the run that met it last"),
    Column("error", Text, nullable=False, comment="name of the error's class"),
    Column("code", Text, comment="what the target answered"),
    Column("field", Text),
    Column("value", Text),
    Column("reason", Text, nullable=False),
    Column("modified_ms", BigInteger, comment="of the version that was refused"),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("closed_at", Instant),
    Column("closed_by", Text, comment="the run that closed it, or the person who put it aside"),
    Column("closed_as", Text, comment="delivered, unchanged, superseded, filtered, in_doubt, dismissed, expired"),
    Column("note", Text, comment="what the person said"),
    Column("config_hash", Text, nullable=False, server_default="", comment="of the declaration of its last try"),
    Column("fields", Text, comment="JSON: the fields of the record that were asked for"),
    Column("history", Text, nullable=False, comment="JSON: the earlier tries, newest last"),
    Column("payload_bytes", BigInteger, nullable=False, comment="of the whole record"),
    Column("payload", Text, comment="JSON of the record as it was read; NULL where it is too large to keep"),
    Column("content", Text, comment="JSON of the row that was refused; NULL where it is too large to keep"),
    Index(
        "fenxiang_dead_letter_open",
        "pipeline",
        "record_id",
        "row_id",
        "stage",
        unique=True,
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    Index("fenxiang_dead_letter_run", "pipeline", "run_id"),
    Index("fenxiang_dead_letter_record", "pipeline", "record_id"),
    Index(
        "fenxiang_dead_letter_stale",
        "pipeline",
        "updated_at",
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
)

run = Table(
    "fenxiang_run",
    metadata,
    Column("pipeline", _KEY, primary_key=True),
    Column("run_id", _KEY, primary_key=True),
    Column("kind", Text, nullable=False, comment="scheduled, manual, …; reconcile, sweep, replay, resend, retransform"),
    Column("state", Text, nullable=False, comment="running, success, failed"),
    Column("since_ms", BigInteger),
    Column("until_ms", BigInteger),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("config_hash", Text, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("numbers", Text, nullable=False, comment="JSON"),
    Index("fenxiang_run_started", "pipeline", "started_at"),
)

certificate = Table(
    "fenxiang_certificate",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("pipeline", _KEY, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("run_id", _KEY, nullable=False),
    Column("read_since_ms", BigInteger, comment="where reading began: the lookback before the window"),
    Column("digest", Text, nullable=False, comment="of the ids and versions that were compared"),
    Column("requests", Integer, nullable=False),
    Column("config_hash", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("numbers", Text, nullable=False, comment="JSON: counts before and after"),
    UniqueConstraint("pipeline", "run_id", "since_ms", "until_ms", name="fenxiang_certificate_once"),
    Index("fenxiang_certificate_span", "pipeline", "until_ms"),
)

late = Table(
    "fenxiang_late",
    metadata,
    Column("pipeline", _KEY, primary_key=True),
    Column("within_ms", BigInteger, primary_key=True, comment="a lookback that would have caught them"),
    Column("found_by", _KEY, primary_key=True, comment="run, lookback, verify, reconcile"),
    Column("arrivals", BigInteger, nullable=False),
    Column("least_ms", BigInteger, nullable=False, comment="no smaller lookback would have caught all"),
    Column("most_ms", BigInteger, nullable=False, comment="this lookback would have caught all"),
    Column("record_id", _KEY, nullable=False, comment="the one that needs the most"),
    Column("modified_ms", BigInteger, nullable=False, comment="its stamp"),
    Column("run_id", _KEY, nullable=False, comment="the run that found it"),
    Column("found_at", Instant, nullable=False, comment="when the last one was found"),
)

calls = Table(
    "fenxiang_calls",
    metadata,
    Column("app", _KEY, primary_key=True, comment="host and appId: whose quota it is"),
    Column("day", _KEY, primary_key=True, comment="in Asia/Shanghai, YYYY-MM-DD"),
    Column("connection", _KEY, primary_key=True, comment="the Airflow connection that called"),
    Column("calls", BigInteger, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

lease = Table(
    "fenxiang_lease",
    metadata,
    Column("name", _KEY, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Instant, nullable=False),
)

note = Table(
    "fenxiang_note",
    metadata,
    Column("name", _KEY, primary_key=True),
    Column("content", Text, nullable=False, comment="JSON"),
)
