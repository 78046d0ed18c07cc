"""A todo as the database keeps it."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    Index,
    Integer,
    event,
    false,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, mapped_column

from todo.clock import format_instant, format_wall_time, utc_now
from todo.models import MOMENT, TABLE_OPTIONS, db, text_of

TITLE_LENGTH = 80
DESCRIPTION_LENGTH = 120

_SQLITE_TIME_LENGTH = len("2027-01-31 18:00:00.000000")
_SQLITE_NOW = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"

# A server's types hold what they are declared to hold; SQLite's hold anything.
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


class _Now(ColumnElement[datetime]):
    """Now as an instant, by the clock of the database."""

    inherit_cache = True


@compiles(_Now, "sqlite")
def _now_of_sqlite(*_: Any, **__: Any) -> str:
    return f"({_SQLITE_NOW})"


@compiles(_Now, "postgresql")
def _now_of_postgresql(*_: Any, **__: Any) -> str:
    return "timezone('utc', statement_timestamp())"


@compiles(_Now, "mariadb")
def _now_of_mariadb(*_: Any, **__: Any) -> str:
    return "(utc_timestamp(6))"


def read_instant(text: str) -> str:
    """Make of an instant as SQLite keeps it what is answered: to parse it would take thrice as long."""
    if len(text) != _SQLITE_TIME_LENGTH:  # of a shell, in a table without the constraints
        return format_instant(datetime.fromisoformat(text))
    return text.replace(" ", "T") + "Z"


class Todo(db.Model):  # type: ignore[name-defined, misc]
    """One row of the table `todos`; the constraints hold for every writer, the API or a shell."""

    __tablename__ = "todos"
    __table_args__ = (
        *(CheckConstraint(condition, name).ddl_if(dialect) for name, dialect, condition in _CHECKS),
        # One for each member to sort by (`id` breaks ties, and is part of every index), and for what is
        # overdue.
        Index(None, "title"),
        Index(None, "description"),
        Index(None, "completed", "id"),
        Index(None, "completed", "deadline_at"),
        Index(None, "deadline_at"),
        Index(None, "created_at"),
        Index(None, "updated_at"),
        # An id is never given again, or a client that still holds it would change another todo.
        {"sqlite_autoincrement": True, **TABLE_OPTIONS},
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    title: Mapped[str] = mapped_column(text_of(TITLE_LENGTH))
    description: Mapped[str | None] = mapped_column(text_of(DESCRIPTION_LENGTH))
    completed: Mapped[bool] = mapped_column(default=False, server_default=false())
    deadline_at: Mapped[datetime | None] = mapped_column(MOMENT)
    created_at: Mapped[datetime] = mapped_column(MOMENT, default=utc_now, server_default=_Now())
    updated_at: Mapped[datetime] = mapped_column(
        MOMENT, default=utc_now, server_default=_Now(), onupdate=utc_now
    )

    def to_dict(self) -> dict[str, Any]:
        """The todo as the API represents it, ready for JSON."""
        return {
            "id": self.id,
            "title": self.title,
            "description": self.description,
            "completed": self.completed,
            "deadline_at": None if self.deadline_at is None else format_wall_time(self.deadline_at),
            "created_at": format_instant(self.created_at),
            "updated_at": format_instant(self.updated_at),
        }

    def __repr__(self) -> str:
        return f"<Todo {self.id} {self.title!r}>"


# An UPDATE that does not set it, such as one from a shell, renews `updated_at` too. (On MariaDB it takes
# a right that few have to make triggers.)
_SQLITE_TRIGGER = DDL(  # type: ignore[no-untyped-call]
    "CREATE TRIGGER todos_updated_at AFTER UPDATE ON todos WHEN NEW.updated_at IS OLD.updated_at "
    "BEGIN UPDATE todos SET updated_at = (%(now)s) WHERE id = NEW.id; END",
    context={"now": _SQLITE_NOW},
)
# A row with an id of its own would leave PostgreSQL's sequence behind, and the sequence would come to
# that id again; the other databases count on from it.
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
event.listen(Todo.__table__, "after_create", _SQLITE_TRIGGER.execute_if(dialect="sqlite"))
event.listen(Todo.__table__, "after_create", _POSTGRESQL_TRIGGERS.execute_if(dialect="postgresql"))
