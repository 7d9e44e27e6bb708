"""Alembic's revisions of the reviews database."""
