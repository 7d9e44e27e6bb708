"""Tables of the reviews database, as SQLAlchemy sees them; ``migrations/`` makes them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = ["LEASES", "METADATA", "REVIEWS"]

METADATA = MetaData()

# SQLite numbers rows by itself only where the key is an INTEGER.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

REVIEWS = Table(
    "reviews",
    METADATA,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("picture_id", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("seen", Integer, nullable=False),
    Column("reviewer", String(100), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("action", String(10), nullable=False),
    Column("old_label", Text),
    Column("new_label", Text),
    Column("model", Text),
    Column("score", Float),
    Column("reason", Text),
    Column("mode", String(20), nullable=False, server_default=""),
    Column("batch", String(36)),
    Column("undoes", _NUMBER, ForeignKey("reviews.id"), unique=True),
    Column("key", String(100), unique=True),
    # Two writers who saw the same version cannot both be next: the database decides, not a lock.
    UniqueConstraint("picture_id", "version", name="one_next_version"),
    CheckConstraint(
        "action IN ('accept', 'correct', 'reject', 'skip', 'undo')", name="known_action"
    ),
    CheckConstraint("(action = 'undo') = (undoes IS NOT NULL)", name="undo_names_a_line"),
    CheckConstraint("seen < version", name="seen_before"),
    Index("reviews_by_reviewer", "reviewer", "id"),
    Index("reviews_by_batch", "batch"),
)

LEASES = Table(
    "leases",
    METADATA,
    Column("picture_id", String(64), primary_key=True),
    Column("reviewer", String(100), primary_key=True),
    Column("until_us", BigInteger, nullable=False),
)
