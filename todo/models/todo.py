"""A todo as the database keeps it."""

from datetime import datetime
from typing import Any

from sqlalchemy import DDL, CheckConstraint, Index, String, event, false, text
from sqlalchemy.orm import Mapped, mapped_column

from todo.clock import format_instant, format_wall_time, utc_now
from todo.models import db

TITLE_LENGTH = 80
DESCRIPTION_LENGTH = 120

_NOW = text("(strftime('%Y-%m-%d %H:%M:%f000', 'now'))")


def _is_time(column: str) -> CheckConstraint:
    """Text that is a time in the one form that is written here.

    Times are compared as text, so that a second form would sort wrongly.
    """
    return CheckConstraint(
        f"datetime(substr({column}, 1, 19)) IS substr({column}, 1, 19)"
        f" AND ifnull(substr({column}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]', 1)",
        f"{column}_like_2027_01_31_18_00_00_000000",
    )


class Todo(db.Model):  # type: ignore[name-defined, misc]
    """One row of the table `todos`; the constraints hold for every writer, the API or a shell."""

    __tablename__ = "todos"
    __table_args__ = (
        CheckConstraint(
            f"typeof(title) = 'text' AND length(title) BETWEEN 1 AND {TITLE_LENGTH}",
            f"title_1_to_{TITLE_LENGTH}_characters",
        ),
        CheckConstraint("trim(title, char(9, 10, 11, 12, 13, 32)) <> ''", "title_not_blank"),
        CheckConstraint(
            "typeof(description) IN ('text', 'null')"
            f" AND ifnull(length(description), 0) <= {DESCRIPTION_LENGTH}",
            f"description_up_to_{DESCRIPTION_LENGTH}_characters",
        ),
        CheckConstraint("completed IN (0, 1)", "completed_0_or_1"),
        _is_time("deadline_at"),
        _is_time("created_at"),
        _is_time("updated_at"),
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
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))
    description: Mapped[str | None] = mapped_column(String(DESCRIPTION_LENGTH))
    completed: Mapped[bool] = mapped_column(default=False, server_default=false())
    deadline_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, server_default=_NOW)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, server_default=_NOW, onupdate=utc_now)

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


# An UPDATE that does not set it, such as one from a shell, renews `updated_at` too.
_RENEW = DDL(  # type: ignore[no-untyped-call]
    "CREATE TRIGGER todos_updated_at AFTER UPDATE ON todos WHEN NEW.updated_at IS OLD.updated_at "
    "BEGIN UPDATE todos SET updated_at = %(now)s WHERE id = NEW.id; END",
    context={"now": _NOW.text},
)
event.listen(Todo.__table__, "after_create", _RENEW.execute_if(dialect="sqlite"))
