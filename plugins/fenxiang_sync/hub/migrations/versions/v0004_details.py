"""Keep which detail records each record had when it was read last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

_KEY = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "fenxiang_detail",
        sa.Column("pipeline", _KEY, primary_key=True),
        sa.Column("source_id", _KEY, primary_key=True, comment="Fenxiang _id of the record"),
        sa.Column("detail_id", _KEY, primary_key=True, comment="Fenxiang _id of a detail that it had"),
    )
    op.create_index("fenxiang_detail_of", "fenxiang_detail", ["pipeline", "detail_id"])
