"""Drop the index on `description`, which cost every write and served one rare sort order."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_todos_description", "todos")
