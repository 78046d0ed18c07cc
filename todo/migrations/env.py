"""Run migrations on the connection of `todo.database.schema`."""

from alembic import context

from todo.models import db

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=db.metadata,
    render_as_batch=True,  # SQLite has limited ALTER TABLE
)
context.run_migrations()
