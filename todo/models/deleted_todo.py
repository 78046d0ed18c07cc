"""The table of deleted todos, which can be restored."""

from sqlalchemy import Column, Table

from todo.models import MOMENT, TABLE_OPTIONS, db
from todo.models.todo import Todo


class DeletedTodo(db.Model):  # type: ignore[name-defined, misc]
    """A deleted todo and the time of its deletion. A trigger inserts the row, except on MariaDB."""

    __table__ = Table(
        "deleted_todos",
        db.metadata,
        *(
            Column(
                column.name,
                column.type,
                primary_key=column.primary_key,
                autoincrement=False,
                nullable=column.nullable,
            )
            for column in Todo.__table__.columns
        ),
        Column("deleted_at", MOMENT, nullable=False, index=True),
        **TABLE_OPTIONS,
    )
