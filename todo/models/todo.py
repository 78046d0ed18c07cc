"""The table of todos."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Integer, false
from sqlalchemy.orm import Mapped, mapped_column

from todo.clock import format_instant, format_wall_time, utc_now
from todo.models import MOMENT, TABLE_OPTIONS, UTC_NOW, db, text_of

TITLE_LENGTH = 80
DESCRIPTION_LENGTH = 120
LARGEST_ID = 2**53 - 1  # larger integers lose digits in JavaScript


class Todo(db.Model):  # type: ignore[name-defined, misc]
    """A todo. The database checks every row, whether the API or a shell writes it."""

    __tablename__ = "todos"
    __table_args__ = (
        # One index per sort order (on SQLite and MariaDB, every index ends with `id`), and one for `overdue`.
        Index(None, "title"),
        Index(None, "completed", "id"),
        Index(None, "completed", "deadline_at"),
        Index(None, "deadline_at"),
        Index(None, "created_at"),
        Index(None, "updated_at"),
        # Never reuse an id: a client that still has the old id would change another todo.
        {"sqlite_autoincrement": True, **TABLE_OPTIONS},
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    title: Mapped[str] = mapped_column(text_of(TITLE_LENGTH))
    description: Mapped[str | None] = mapped_column(text_of(DESCRIPTION_LENGTH))
    completed: Mapped[bool] = mapped_column(default=False, server_default=false())
    deadline_at: Mapped[datetime | None] = mapped_column(MOMENT)
    created_at: Mapped[datetime] = mapped_column(MOMENT, default=utc_now, server_default=UTC_NOW)
    updated_at: Mapped[datetime] = mapped_column(
        MOMENT, default=utc_now, server_default=UTC_NOW, onupdate=utc_now
    )

    def to_dict(self) -> dict[str, Any]:
        """Return the todo as the API represents it, ready for JSON."""
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
