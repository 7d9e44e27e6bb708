"""How Alembic reaches the database: over the connection, or the engine, that it is handed."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from web.reviews.schema import METADATA


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        # SQLite cannot alter most of a table: Alembic then copies it.
        render_as_batch=connection.dialect.name == "sqlite",
    )
    context.run_migrations()


given = context.config.attributes
if "connection" in given:
    _run(given["connection"])
else:
    with given["engine"].begin() as connection:
        _run(connection)
