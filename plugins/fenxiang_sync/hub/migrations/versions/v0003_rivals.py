"""Keep which records gave a row's id beside the one that holds it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

_KEY = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "fenxiang_rival",
        sa.Column("pipeline", _KEY, primary_key=True),
        sa.Column("id", _KEY, primary_key=True, comment="the row's key at the target, as in fenxiang_record"),
        sa.Column("source_id", _KEY, primary_key=True, comment="a record that gave it, beside the one that holds it"),
    )
