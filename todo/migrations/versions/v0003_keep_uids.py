"""Keep the UID of a deleted todo, so that the todo has its UID again after a restore."""

from alembic import op

from todo.migrations.versions.v0001_first_version import define_tables

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Drop the foreign key, which deleted the UID."""
    connection = op.get_bind()
    dialect = connection.dialect.name
    if dialect == "sqlite":  # which cannot drop a constraint
        imports = define_tables(dialect, {}).tables["imports"]
        imports.constraints -= imports.foreign_key_constraints
        op.execute("CREATE TEMPORARY TABLE old_imports AS SELECT uid, todo_id FROM imports")
        op.execute("DROP TABLE imports")
        imports.create(connection)
        op.execute("INSERT INTO imports (uid, todo_id) SELECT uid, todo_id FROM old_imports")
        op.execute("DROP TABLE old_imports")
    else:
        kind = "FOREIGN KEY" if dialect == "mariadb" else "CONSTRAINT"
        op.execute(f"ALTER TABLE imports DROP {kind} IF EXISTS fk_imports_todo_id")
