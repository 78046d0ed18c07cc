"""Constraints as strict as the API, and a table of deleted todos.

Drops the index on `description`, which slowed every write and served one rare sort order. When a later
release changes `todo.database.constraints`, copy the present constraints into this file.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import CreateIndex, CreateTable

from todo.database import constraints
from todo.migrations import rows
from todo.models.deleted_todo import DeletedTodo
from todo.models.todo import Todo

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the constraints that no todo violates, so that every todo can still be changed."""
    connection = op.get_bind()
    dialect = connection.dialect.name
    if dialect == "sqlite":
        rows.convert(connection)
    checks = {
        f"ck_todos_{name}": check
        for name, only_for, check in constraints.CHECKS
        if only_for == dialect
        and not connection.exec_driver_sql(f"SELECT 1 FROM todos WHERE NOT ({check}) LIMIT 1").first()
    }
    DeletedTodo.__table__.create(connection, checkfirst=True)
    if dialect == "sqlite":
        _recreate(connection, checks)
    else:
        op.execute(f"DROP INDEX IF EXISTS ix_todos_description{' ON todos' * (dialect == 'mariadb')}")
        for name, check in checks.items():
            op.execute(f"ALTER TABLE todos DROP CONSTRAINT IF EXISTS {name}")
            connection.exec_driver_sql(f"ALTER TABLE todos ADD CONSTRAINT {name} CHECK ({check})")
        if dialect == "postgresql":
            for trigger in ("todos_updated_at", "todos_deleted", "todos_id_seq"):
                op.execute(f"DROP TRIGGER IF EXISTS {trigger} ON todos")
    for statement in constraints.TRIGGERS.get(dialect, ()):
        connection.exec_driver_sql(statement.strip())


def _recreate(connection: sa.Connection, checks: dict[str, str]) -> None:
    """Recreate the table, because SQLite cannot add constraints."""
    # Ids are never reused, so copy the last one.
    last = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'todos'").scalar()
    table: sa.Table = Todo.__table__
    columns = ", ".join(table.columns.keys())
    op.execute(f"CREATE TEMPORARY TABLE old_todos AS SELECT {columns} FROM todos")
    op.execute("DROP TABLE todos")
    new = table.to_metadata(sa.MetaData(naming_convention=table.metadata.naming_convention))
    new.constraints = {new.primary_key}
    for name, check in checks.items():
        new.append_constraint(sa.CheckConstraint(check, name.removeprefix("ck_todos_")))
    op.execute(CreateTable(new))  # without triggers, which would check the old rows
    for index in sorted(new.indexes, key=lambda index: str(index.name)):
        op.execute(CreateIndex(index))
    op.execute(f"INSERT INTO todos ({columns}) SELECT {columns} FROM old_todos ORDER BY id")
    op.execute("DROP TABLE old_todos")
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'todos'")
    if last is not None:
        connection.exec_driver_sql("INSERT INTO sqlite_sequence VALUES ('todos', ?)", (last,))
