"""Create the hub."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

_KEY = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _record()
    _source()
    _event()
    _reading()
    _dead_letter()
    _run()
    _certificate()
    _late()
    _calls()
    op.create_table(
        "fenxiang_lease",
        sa.Column("name", _KEY, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "fenxiang_note",
        sa.Column("name", _KEY, primary_key=True),
        sa.Column("content", sa.Text, nullable=False, comment="JSON"),
    )
    op.execute(TRACE)


TRACE = """
CREATE VIEW fenxiang_trace AS
SELECT e.pipeline, e.source_id, e.at, e.what, e.row_id, e.run_id, r.since_ms, r.until_ms, e.modified_ms, e.version,
    e.code, e.reason
FROM fenxiang_event e LEFT JOIN fenxiang_run r ON r.pipeline = e.pipeline AND r.run_id = e.run_id
UNION ALL
SELECT s.pipeline, s.source_id, s.changed_at, 'read last', '', s.run_id, r.since_ms, r.until_ms, s.modified_ms, NULL,
    NULL, ''
FROM fenxiang_source s LEFT JOIN fenxiang_run r ON r.pipeline = s.pipeline AND r.run_id = s.run_id
WHERE s.listed_ms IS NOT NULL
UNION ALL
SELECT s.pipeline, s.source_id, g.at, 'may be in', '', g.run_id, g.since_ms, g.until_ms, NULL, NULL, NULL, g.file
FROM fenxiang_source s JOIN fenxiang_reading g
    ON g.pipeline = s.pipeline AND g.first_id <= s.source_id AND g.last_id >= s.source_id
UNION ALL
SELECT pipeline, record_id, created_at, 'letter opened', row_id, run_id, NULL, NULL, modified_ms, NULL, code, reason
FROM fenxiang_dead_letter
UNION ALL
SELECT pipeline, record_id, closed_at, 'letter closed', row_id, closed_by, NULL, NULL, modified_ms, NULL, NULL, ''
FROM fenxiang_dead_letter WHERE closed_at IS NOT NULL
"""


def _record() -> None:
    op.create_table(
        "fenxiang_record",
        sa.Column("pipeline", _KEY, primary_key=True),
        sa.Column("id", _KEY, primary_key=True, comment="the row's key at the target"),
        sa.Column("source_id", _KEY, nullable=False, comment="Fenxiang _id"),
        sa.Column("number", sa.Text),
        sa.Column("modified_ms", sa.BigInteger, comment="of the version that was delivered; NULL before"),
        sa.Column("version", sa.BigInteger, comment="of the version that was delivered; NULL before"),
        sa.Column("content_hash", sa.Text, comment="of what was delivered; NULL before"),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("code", sa.Text),
        sa.Column(
            "attempts", sa.Integer, nullable=False, server_default="0", comment="tries since it was last delivered"
        ),
        sa.Column("run_id", _KEY, nullable=False, comment="the run that settled it last, or that first claimed it"),
        sa.Column("first_seen_at", sa.BigInteger, nullable=False),
        sa.Column("read_at", sa.BigInteger, nullable=False, comment="when it was last claimed or noted"),
        sa.Column("settled_at", sa.BigInteger),
        sa.Column("claim_run", sa.Text, comment="who sends it, or sent it last"),
        sa.Column("claim_hash", sa.Text),
        sa.Column("claim_modified_ms", sa.BigInteger),
        sa.Column("claim_version", sa.BigInteger),
        sa.Column("claim_until", sa.BigInteger, comment="NULL: nobody is sending it"),
        sa.Column("in_flight_at", sa.BigInteger, comment="set before it is sent to a target that cannot upsert"),
        sa.Column("removed_at", sa.BigInteger, comment="the delete policy was done to it; NULL: the target holds it"),
        sa.Column("content", sa.Text, comment="JSON of what was delivered"),
        sa.Column("claim_content", sa.Text, comment="JSON of what may have arrived, while that is in doubt"),
    )
    op.create_index("fenxiang_record_source", "fenxiang_record", ["pipeline", "source_id", "id"])
    op.create_index("fenxiang_record_modified", "fenxiang_record", ["pipeline", "modified_ms", "id"])
    op.create_index(
        "fenxiang_record_unfinished",
        "fenxiang_record",
        ["pipeline", "status", "id"],
        sqlite_where=sa.text("status <> 2"),
        postgresql_where=sa.text("status <> 2"),
    )


def _source() -> None:
    op.create_table(
        "fenxiang_source",
        sa.Column("pipeline", _KEY, primary_key=True),
        sa.Column("source_id", _KEY, primary_key=True, comment="Fenxiang _id"),
        sa.Column("modified_ms", sa.BigInteger, nullable=False, comment="of the newest version that has an outcome"),
        sa.Column("listed_ms", sa.BigInteger, comment="the same, while queries list the record; NULL: they do not"),
        sa.Column(
            "presence", sa.SmallInteger, nullable=False, comment="0 present, 1 voided, 2 left, 3 hidden, 4 vanished"
        ),
        sa.Column("run_id", _KEY, nullable=False, comment="the run that wrote this"),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("projection", sa.Text, comment="which fields were asked for: see fenxiang_projection"),
        sa.Column("payload_digest", sa.BigInteger, comment="of the payload and its projection; NULL: none is kept"),
        sa.Column(
            "payload", sa.LargeBinary, comment="zlib of the record as it was read last, JSON; its own stamp is in it"
        ),
    )
    op.create_index("fenxiang_source_listed", "fenxiang_source", ["pipeline", "listed_ms", "source_id"])
    op.create_index(
        "fenxiang_source_absent",
        "fenxiang_source",
        ["pipeline", "source_id"],
        sqlite_where=sa.text("presence <> 0"),
        postgresql_where=sa.text("presence <> 0"),
    )


def _event() -> None:
    op.create_table(
        "fenxiang_event",
        sa.Column("id", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("pipeline", _KEY, nullable=False),
        sa.Column("source_id", _KEY, nullable=False, comment="Fenxiang _id"),
        sa.Column("row_id", _KEY, nullable=False, comment="the row's key at the target; empty: it is about the record"),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("run_id", _KEY, nullable=False, comment="the run, or the person"),
        sa.Column("segment", sa.Text, nullable=False),
        sa.Column(
            "what", sa.Text, nullable=False, comment="delivered, dead_letter, in_doubt, again, removed, voided, …"
        ),
        sa.Column("modified_ms", sa.BigInteger, comment="of the version that it happened to"),
        sa.Column("version", sa.BigInteger),
        sa.Column("content_hash", sa.Text, comment="of what was sent"),
        sa.Column("code", sa.Text, comment="what the target answered"),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("fenxiang_event_source", "fenxiang_event", ["pipeline", "source_id"])


def _reading() -> None:
    op.create_table(
        "fenxiang_reading",
        sa.Column("pipeline", _KEY, primary_key=True),
        sa.Column("run_id", _KEY, primary_key=True),
        sa.Column("segment", sa.Integer, primary_key=True),
        sa.Column("file", _KEY, primary_key=True, comment="its name in the segment's folder of the stage"),
        sa.Column("first_id", _KEY, nullable=False, comment="the least _id in it"),
        sa.Column("last_id", _KEY, nullable=False, comment="the greatest"),
        sa.Column("records", sa.Integer, nullable=False),
        sa.Column("since_ms", sa.BigInteger, comment="the window that was read; NULL: by id"),
        sa.Column("until_ms", sa.BigInteger),
        sa.Column(
            "projection", sa.Text, nullable=False, comment="which fields were asked for: see fenxiang_projection"
        ),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "fenxiang_projection",
        sa.Column("digest", _KEY, primary_key=True),
        sa.Column("fields", sa.Text, nullable=False, comment="JSON: their names"),
    )


def _dead_letter() -> None:
    op.create_table(
        "fenxiang_dead_letter",
        sa.Column("id", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("pipeline", _KEY, nullable=False),
        sa.Column("record_id", _KEY, nullable=False, comment="Fenxiang _id"),
        sa.Column(
            "row_id",
            _KEY,
            nullable=False,
            server_default="",
            comment="the row's key, where one record gives several",
        ),
        sa.Column("stage", sa.Text, nullable=False, comment="transform, load"),
        sa.Column("state", sa.Text, nullable=False, comment="open, closed"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("run_id", _KEY, nullable=False, comment="the run that met it last"),
        sa.Column("error", sa.Text, nullable=False, comment="name of the error's class"),
        sa.Column("code", sa.Text, comment="what the target answered"),
        sa.Column("field", sa.Text),
        sa.Column("value", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("modified_ms", sa.BigInteger, comment="of the version that was refused"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.BigInteger),
        sa.Column("closed_by", sa.Text, comment="the run that closed it, or the person who put it aside"),
        sa.Column(
            "closed_as",
            sa.Text,
            comment="delivered, unchanged, superseded, filtered, in_doubt, dismissed, expired",
        ),
        sa.Column("note", sa.Text, comment="what the person said"),
        sa.Column(
            "config_hash",
            sa.Text,
            nullable=False,
            server_default="",
            comment="of the declaration of its last try",
        ),
        sa.Column("fields", sa.Text, comment="JSON: the fields of the record that were asked for"),
        sa.Column("history", sa.Text, nullable=False, comment="JSON: the earlier tries, newest last"),
        sa.Column("payload_bytes", sa.BigInteger, nullable=False, comment="of the whole record"),
        sa.Column("payload", sa.Text, comment="JSON of the record as it was read; NULL where it is too large to keep"),
        sa.Column("content", sa.Text, comment="JSON of the row that was refused; NULL where it is too large to keep"),
    )
    op.create_index(
        "fenxiang_dead_letter_open",
        "fenxiang_dead_letter",
        ["pipeline", "record_id", "row_id", "stage"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("fenxiang_dead_letter_run", "fenxiang_dead_letter", ["pipeline", "run_id"])
    op.create_index("fenxiang_dead_letter_record", "fenxiang_dead_letter", ["pipeline", "record_id"])
    op.create_index(
        "fenxiang_dead_letter_stale",
        "fenxiang_dead_letter",
        ["pipeline", "updated_at"],
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )


def _run() -> None:
    op.create_table(
        "fenxiang_run",
        sa.Column("pipeline", _KEY, primary_key=True),
        sa.Column("run_id", _KEY, primary_key=True),
        sa.Column(
            "kind",
            sa.Text,
            nullable=False,
            comment="scheduled, manual, …; reconcile, sweep, replay, resend, retransform",
        ),
        sa.Column("state", sa.Text, nullable=False, comment="running, success, failed"),
        sa.Column("since_ms", sa.BigInteger),
        sa.Column("until_ms", sa.BigInteger),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("config_hash", sa.Text, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("numbers", sa.Text, nullable=False, comment="JSON"),
    )
    op.create_index("fenxiang_run_started", "fenxiang_run", ["pipeline", "started_at"])


def _certificate() -> None:
    op.create_table(
        "fenxiang_certificate",
        sa.Column("id", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("pipeline", _KEY, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.Column("run_id", _KEY, nullable=False),
        sa.Column("read_since_ms", sa.BigInteger, comment="where reading began: the lookback before the window"),
        sa.Column("digest", sa.Text, nullable=False, comment="of the ids and versions that were compared"),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("config_hash", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("numbers", sa.Text, nullable=False, comment="JSON: counts before and after"),
        sa.UniqueConstraint("pipeline", "run_id", "since_ms", "until_ms", name="fenxiang_certificate_once"),
    )
    op.create_index("fenxiang_certificate_span", "fenxiang_certificate", ["pipeline", "until_ms"])


def _late() -> None:
    op.create_table(
        "fenxiang_late",
        sa.Column("pipeline", _KEY, primary_key=True),
        sa.Column("within_ms", sa.BigInteger, primary_key=True, comment="a lookback that would have caught them"),
        sa.Column("found_by", _KEY, primary_key=True, comment="run, lookback, verify, reconcile"),
        sa.Column("arrivals", sa.BigInteger, nullable=False),
        sa.Column("least_ms", sa.BigInteger, nullable=False, comment="no smaller lookback would have caught all"),
        sa.Column("most_ms", sa.BigInteger, nullable=False, comment="this lookback would have caught all"),
        sa.Column("record_id", _KEY, nullable=False, comment="the one that needs the most"),
        sa.Column("modified_ms", sa.BigInteger, nullable=False, comment="its stamp"),
        sa.Column("run_id", _KEY, nullable=False, comment="the run that found it"),
        sa.Column("found_at", sa.BigInteger, nullable=False, comment="when the last one was found"),
    )


def _calls() -> None:
    op.create_table(
        "fenxiang_calls",
        sa.Column("app", _KEY, primary_key=True, comment="host and appId: whose quota it is"),
        sa.Column("day", _KEY, primary_key=True, comment="in Asia/Shanghai, YYYY-MM-DD"),
        sa.Column("connection", _KEY, primary_key=True, comment="the Airflow connection that called"),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
