"""Run migrations on the connection that `todo.database.schema` gives."""

from alembic import context

from todo.models import db

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=db.metadata,
    render_as_batch=True,  # SQLite alters little in place
)
context.run_migrations()
