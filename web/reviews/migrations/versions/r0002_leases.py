"""Leases: who is looking at which picture now."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "leases",
        sa.Column("picture_id", sa.String(64), primary_key=True),
        sa.Column("reviewer", sa.String(100), primary_key=True),
        sa.Column("until_us", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop it; reviews stay."""
    op.drop_table("leases")
