"""Constraints as strict as the API, and a table of deleted todos.

Drops the index on `description`, which slowed every write and served one rare sort order.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import CreateIndex, CreateTable

from todo.migrations import rows, strict_rows
from todo.migrations.strict_rows import COLUMNS
from todo.migrations.versions.v0001_first_version import define_tables

revision = "0002"
down_revision = "0001"

TRIGGERS = {
    dialect: (*statements, *strict_rows.todos_deleted(COLUMNS)[dialect])
    for dialect, statements in strict_rows.TRIGGERS.items()
}


def upgrade() -> None:
    """Add the constraints that no todo violates, so that every todo can still be changed."""
    connection = op.get_bind()
    dialect = connection.dialect.name
    if dialect == "sqlite":
        rows.convert(connection)
    checks = {
        name: check
        for name, only_for, check in strict_rows.CHECKS
        if only_for == dialect
        and not connection.exec_driver_sql(f"SELECT 1 FROM todos WHERE NOT ({check}) LIMIT 1").first()
    }
    todos = define_tables(dialect, checks).tables["todos"]
    _create_deleted_todos(todos)
    if dialect == "sqlite":
        _recreate(connection, todos)
    else:
        op.execute(f"DROP INDEX IF EXISTS ix_todos_description{' ON todos' * (dialect == 'mariadb')}")
        for name, check in checks.items():
            op.execute(f"ALTER TABLE todos DROP CONSTRAINT IF EXISTS ck_todos_{name}")
            connection.exec_driver_sql(f"ALTER TABLE todos ADD CONSTRAINT ck_todos_{name} CHECK ({check})")
    for statement in TRIGGERS.get(dialect, ()):
        connection.exec_driver_sql(statement.strip())


def _create_deleted_todos(todos: sa.Table) -> None:
    """Create a table with the columns of `todos` and the time of the deletion."""
    deleted = sa.Table(
        "deleted_todos",
        todos.metadata,
        *(
            sa.Column(
                column.name,
                column.type,
                primary_key=column.primary_key,
                autoincrement=False,
                nullable=column.nullable,
            )
            for column in todos.columns
        ),
        sa.Column("deleted_at", todos.c.created_at.type, nullable=False, index=True),
        **{name: value for name, value in todos.dialect_kwargs.items() if name.startswith("mariadb")},
    )
    deleted.create(op.get_bind(), checkfirst=True)


def _recreate(connection: sa.Connection, todos: sa.Table) -> None:
    """Recreate the table, because SQLite cannot add constraints."""
    # Ids are never reused, so copy the last one.
    last = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'todos'").scalar()
    columns = ", ".join(COLUMNS)
    op.execute(f"CREATE TEMPORARY TABLE old_todos AS SELECT {columns} FROM todos")
    op.execute("DROP TABLE todos")
    op.execute(CreateTable(todos))  # without triggers, which would check the old rows
    for index in sorted(todos.indexes, key=lambda index: str(index.name)):
        if index.name != "ix_todos_description":
            op.execute(CreateIndex(index))
    op.execute(f"INSERT INTO todos ({columns}) SELECT {columns} FROM old_todos ORDER BY id")
    op.execute("DROP TABLE old_todos")
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'todos'")
    if last is not None:
        connection.exec_driver_sql("INSERT INTO sqlite_sequence VALUES ('todos', ?)", (last,))
