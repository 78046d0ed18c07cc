"""The table of deleted todos, which can be restored."""

from datetime import datetime

from sqlalchemy import BigInteger, Integer
from sqlalchemy.orm import Mapped, mapped_column

from todo.models import MOMENT, TABLE_OPTIONS, db, text_of
from todo.models.todo import DESCRIPTION_LENGTH, TITLE_LENGTH


class DeletedTodo(db.Model):  # type: ignore[name-defined, misc]
    """A deleted todo and the time of its deletion. A trigger inserts the row, except on MariaDB."""

    __tablename__ = "deleted_todos"
    __table_args__ = TABLE_OPTIONS

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    title: Mapped[str] = mapped_column(text_of(TITLE_LENGTH))
    description: Mapped[str | None] = mapped_column(text_of(DESCRIPTION_LENGTH))
    completed: Mapped[bool]
    deadline_at: Mapped[datetime | None] = mapped_column(MOMENT)
    created_at: Mapped[datetime] = mapped_column(MOMENT)
    updated_at: Mapped[datetime] = mapped_column(MOMENT)
    deleted_at: Mapped[datetime] = mapped_column(MOMENT, index=True)
