"""Constraints and triggers of each database, so that a shell cannot write what the API refuses."""

from sqlalchemy import DDL, CheckConstraint, Table, event

from todo.models import SQLITE_NOW
from todo.models.todo import DESCRIPTION_LENGTH, TITLE_LENGTH, Todo

_TODOS: Table = Todo.__table__

# Servers enforce the declared types. SQLite stores any value in any column.
_IS_TIME = (
    ("like_2027_01_31_18_00_00_000000", "sqlite",
     # Times are compared as text there, so that a second form would sort wrongly.
     ("datetime(substr({0}, 1, 19)) IS substr({0}, 1, 19)"
      " AND ifnull(substr({0}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]', 1)")),
    ("in_years_1_to_9999", "postgresql", "{0} BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999'"),
    # Without its strict modes, the server takes 0000-00-00 and 30 February.
    ("on_the_calendar", "mariadb",
     "{0} IS NULL OR ifnull(year({0}) > 0 AND dayofmonth({0}) BETWEEN 1 AND dayofmonth(last_day({0})), 0)"),
)  # fmt: skip
_CHECKS = (
    (f"title_1_to_{TITLE_LENGTH}_characters", "sqlite",
     f"typeof(title) = 'text' AND length(title) BETWEEN 1 AND {TITLE_LENGTH}"),
    ("title_not_blank", "sqlite", "trim(title, char(9, 10, 11, 12, 13, 32)) <> ''"),
    ("title_not_blank", "postgresql", "title ~ '[^[:space:]]'"),
    ("title_not_blank", "mariadb", "title REGEXP '[^[:space:]]'"),
    (f"description_up_to_{DESCRIPTION_LENGTH}_characters", "sqlite",
     ("typeof(description) IN ('text', 'null')"
      f" AND ifnull(length(description), 0) <= {DESCRIPTION_LENGTH}")),
    ("completed_0_or_1", "sqlite", "completed IN (0, 1)"),
    ("completed_0_or_1", "mariadb", "completed IN (0, 1)"),
    *(
        (f"{column}_{name}", dialect, condition.format(column))
        for column in ("deadline_at", "created_at", "updated_at")
        for name, dialect, condition in _IS_TIME
    ),
)  # fmt: skip


for _name, _dialect, _condition in _CHECKS:
    _TODOS.append_constraint(CheckConstraint(_condition, _name).ddl_if(_dialect))

# Set `updated_at` in an UPDATE that does not set it, such as one from a shell. (On MariaDB few users have the
# right to create triggers.)
_SQLITE_TRIGGER = DDL(  # type: ignore[no-untyped-call]
    "CREATE TRIGGER todos_updated_at AFTER UPDATE ON todos WHEN NEW.updated_at IS OLD.updated_at "
    "BEGIN UPDATE todos SET updated_at = (%(now)s) WHERE id = NEW.id; END",
    context={"now": SQLITE_NOW},
)
# An INSERT with an explicit id leaves PostgreSQL's sequence behind, which would then reach that id again.
# The other databases continue from the largest id.
_POSTGRESQL_TRIGGERS = DDL("""
    CREATE OR REPLACE FUNCTION todos_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.updated_at := timezone('utc', statement_timestamp());
        RETURN NEW;
    END $$;
    CREATE TRIGGER todos_updated_at BEFORE UPDATE ON todos FOR EACH ROW
    WHEN (NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at)
    EXECUTE FUNCTION todos_updated_at();

    CREATE OR REPLACE FUNCTION todos_id_seq() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        ids constant regclass := pg_get_serial_sequence(TG_RELID::regclass::text, 'id');
    BEGIN
        PERFORM pg_advisory_xact_lock(ids::oid::bigint);
        PERFORM setval(ids, greatest(NEW.id, pg_sequence_last_value(ids)));
        RETURN NULL;
    END $$;
    CREATE TRIGGER todos_id_seq AFTER INSERT ON todos FOR EACH ROW
    WHEN (NEW.id > coalesce(pg_sequence_last_value('todos_id_seq'), 0))
    EXECUTE FUNCTION todos_id_seq()
""")  # type: ignore[no-untyped-call]
event.listen(_TODOS, "after_create", _SQLITE_TRIGGER.execute_if(dialect="sqlite"))
event.listen(_TODOS, "after_create", _POSTGRESQL_TRIGGERS.execute_if(dialect="postgresql"))
