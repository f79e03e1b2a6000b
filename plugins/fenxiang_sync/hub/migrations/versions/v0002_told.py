"""Keep what the target told of rows that it took, and show it in the trace."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from fenxiang_sync.hub.migrations.versions.v0001_hub import TRACE

revision = "0002"
down_revision = "0001"

_KEY = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

_TOLD = """
UNION ALL
SELECT t.pipeline, l.source_id, t.at, 'told', t.id, l.run_id, NULL, NULL, l.modified_ms, l.version, NULL, t.said
FROM fenxiang_told t JOIN fenxiang_record l ON l.pipeline = t.pipeline AND l.id = t.id
"""


def upgrade() -> None:
    op.create_table(
        "fenxiang_told",
        sa.Column("pipeline", _KEY, primary_key=True),
        sa.Column("id", _KEY, primary_key=True, comment="the row's key at the target, as in fenxiang_record"),
        sa.Column("at", sa.BigInteger, nullable=False, comment="when it was told"),
        sa.Column("said", sa.Text, nullable=False, comment="JSON: names and values"),
    )
    op.execute("DROP VIEW fenxiang_trace")
    op.execute(f"{TRACE.rstrip()}{_TOLD}")
