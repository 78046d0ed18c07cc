"""The first version.

Existing tables without a version belong to the first release (a table `todos` in SQLite without
constraints) or to a later one, whose tables are those of this file.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from todo.migrations import rows, strict_rows

revision = "0001"
down_revision = None

NOW = {
    "sqlite": "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))",
    "postgresql": "timezone('utc', statement_timestamp())",
    "mariadb": "(utc_timestamp(6))",
}
IS_TIME = {
    "sqlite": (
        "like_2027_01_31_18_00_00_000000",
        (
            "datetime(substr({0}, 1, 19)) IS substr({0}, 1, 19)"
            " AND ifnull(substr({0}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]', 1)"
        ),
    ),
    "postgresql": ("in_years_1_to_9999", "{0} BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999'"),
    "mariadb": (
        "on_the_calendar",
        (
            "{0} IS NULL OR ifnull(year({0}) > 0"
            " AND dayofmonth({0}) BETWEEN 1 AND dayofmonth(last_day({0})), 0)"
        ),
    ),
}
CHECKS = {
    "sqlite": {
        "title_1_to_80_characters": "typeof(title) = 'text' AND length(title) BETWEEN 1 AND 80",
        "title_not_blank": "trim(title, char(9, 10, 11, 12, 13, 32)) <> ''",
        "description_up_to_120_characters": "typeof(description) IN ('text', 'null')"
        " AND ifnull(length(description), 0) <= 120",
        "completed_0_or_1": "completed IN (0, 1)",
    },
    "postgresql": {"title_not_blank": "title ~ '[^[:space:]]'"},
    "mariadb": {"title_not_blank": "title REGEXP '[^[:space:]]'", "completed_0_or_1": "completed IN (0, 1)"},
}
TRIGGERS = {
    "sqlite": (
        """
        CREATE TRIGGER todos_updated_at AFTER UPDATE ON todos WHEN NEW.updated_at IS OLD.updated_at
        BEGIN UPDATE todos SET updated_at = (strftime('%Y-%m-%d %H:%M:%f000', 'now')) WHERE id = NEW.id; END
        """,
    ),
    "postgresql": (
        """
        CREATE OR REPLACE FUNCTION todos_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.updated_at := timezone('utc', statement_timestamp());
            RETURN NEW;
        END $$;
        CREATE TRIGGER todos_updated_at BEFORE UPDATE ON todos FOR EACH ROW
        WHEN (NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at)
        EXECUTE FUNCTION todos_updated_at()
        """,
        strict_rows.todos_id_seq(),
    ),
}


def upgrade() -> None:
    """Create the tables, and copy the todos of the first release."""
    connection = op.get_bind()
    dialect = connection.dialect.name
    checks = CHECKS[dialect] | {
        f"{column}_{IS_TIME[dialect][0]}": IS_TIME[dialect][1].format(column)
        for column in ("deadline_at", "created_at", "updated_at")
    }
    there = sa.inspect(connection).has_table("todos")
    is_first_release = (
        there and dialect == "sqlite" and not sa.inspect(connection).get_check_constraints("todos")
    )
    if is_first_release:
        rows.convert(connection)
        # A constraint that an old todo violates would prevent every change of that todo.
        checks = {name: check for name, check in checks.items() if not _is_broken(connection, check)}
        op.execute("CREATE TEMPORARY TABLE first_release AS SELECT * FROM todos")
        op.execute("DROP TABLE todos")
    tables = define_tables(dialect, checks)
    tables.create_all(connection)
    for table in tables.tables.values():
        for index in table.indexes:
            index.create(connection, checkfirst=True)  # an interrupted start on MariaDB may have created some
    if is_first_release:
        columns = "id, title, description, completed, deadline_at, created_at, updated_at"
        op.execute(f"INSERT INTO todos ({columns}) SELECT {columns} FROM first_release ORDER BY id")
        op.execute("DROP TABLE first_release")
    if is_first_release or not there:
        for statement in TRIGGERS.get(dialect, ()):
            connection.exec_driver_sql(statement)


def _is_broken(connection: sa.Connection, check: str) -> bool:
    return connection.exec_driver_sql(f"SELECT 1 FROM todos WHERE NOT ({check}) LIMIT 1").first() is not None


def define_tables(dialect: str, checks: dict[str, str]) -> sa.MetaData:
    """Return the tables of this version, `todos` with these checks."""
    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    collation = "C" if dialect == "postgresql" else None
    moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb")
    binary = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mariadb")
    options: dict[str, Any] = {
        "mariadb_engine": "InnoDB",
        "mariadb_charset": "utf8mb4",
        "mariadb_collate": "utf8mb4_nopad_bin",
        "sqlite_autoincrement": False,
    }

    def text(length: int) -> sa.String:
        return sa.String(length, collation=collation)

    sa.Table(
        "todos",
        metadata,
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("title", text(80), nullable=False),
        sa.Column("description", text(120)),
        sa.Column("completed", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("deadline_at", moment),
        sa.Column("created_at", moment, nullable=False, server_default=sa.text(NOW[dialect])),
        sa.Column("updated_at", moment, nullable=False, server_default=sa.text(NOW[dialect])),
        *(sa.CheckConstraint(check, name) for name, check in checks.items()),
        sa.Index(None, "title"),
        sa.Index(None, "description"),
        sa.Index(None, "completed", "id"),
        sa.Index(None, "completed", "deadline_at"),
        sa.Index(None, "deadline_at"),
        sa.Index(None, "created_at"),
        sa.Index(None, "updated_at"),
        **options | {"sqlite_autoincrement": True},
    )
    sa.Table(
        "tokens",
        metadata,
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", text(80), nullable=False, unique=True),
        sa.Column("secret_hash", text(64), nullable=False, unique=True),
        sa.Column("read_only", sa.Boolean(), nullable=False),
        sa.Column("feed", sa.Boolean(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment),
        sa.Column("last_used_at", moment),
        **options,
    )
    sa.Table(
        "idempotency_keys",
        metadata,
        sa.Column("key", text(255), primary_key=True),
        sa.Column("request_hash", binary, nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", binary, nullable=False),
        sa.Column("body", binary, nullable=False),
        sa.Column("created_at", moment, nullable=False, index=True),
        **options,
    )
    sa.Table(
        "imports",
        metadata,
        sa.Column("uid", text(255), primary_key=True),
        sa.Column(
            "todo_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.ForeignKey("todos.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        **options,
    )
    return metadata
