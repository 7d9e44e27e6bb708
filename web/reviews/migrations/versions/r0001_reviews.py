"""The book of reviews."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "reviews",
        sa.Column("id", number, primary_key=True, autoincrement=True),
        sa.Column("picture_id", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("seen", sa.Integer, nullable=False),
        sa.Column("reviewer", sa.String(100), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("action", sa.String(10), nullable=False),
        sa.Column("old_label", sa.Text),
        sa.Column("new_label", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("score", sa.Float),
        sa.Column("reason", sa.Text),
        sa.Column("mode", sa.String(20), nullable=False, server_default=""),
        sa.Column("batch", sa.String(36)),
        sa.Column("undoes", number, sa.ForeignKey("reviews.id"), unique=True),
        sa.Column("key", sa.String(100), unique=True),
        sa.UniqueConstraint("picture_id", "version", name="one_next_version"),
        sa.CheckConstraint(
            "action IN ('accept', 'correct', 'reject', 'skip', 'undo')", name="known_action"
        ),
        sa.CheckConstraint("(action = 'undo') = (undoes IS NOT NULL)", name="undo_names_a_line"),
        sa.CheckConstraint("seen < version", name="seen_before"),
    )
    op.create_index("reviews_by_reviewer", "reviews", ["reviewer", "id"])
    op.create_index("reviews_by_batch", "reviews", ["batch"])


def downgrade() -> None:
    """Drop it, and with it every review."""
    op.drop_table("reviews")
