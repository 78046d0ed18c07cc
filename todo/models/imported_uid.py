"""The table of the UIDs of imported todos."""

from collections.abc import Sequence

from sqlalchemy import Connection, Table, bindparam, select
from sqlalchemy.orm import Mapped, mapped_column

from todo.models import TABLE_OPTIONS, db, text_of
from todo.models.todo import Todo

UID_LENGTH = 255


class Imported(db.Model):  # type: ignore[name-defined, misc]
    """The UID of an imported todo. Exports contain the UID, and later imports recognize the todo by the UID.

    Other todos have no row, because their UID is derived from `id` and `created_at`. The row of a deleted
    todo is kept as long as the todo can be restored. If it is imported again, the new todo gets the UID.
    """

    __tablename__ = "imports"
    __table_args__ = TABLE_OPTIONS

    uid: Mapped[str] = mapped_column(text_of(UID_LENGTH), primary_key=True)
    todo_id: Mapped[int] = mapped_column(Todo.__table__.c.id.type, index=True)


IMPORTS: Table = Imported.__table__
_UIDS = select(IMPORTS.c.todo_id, IMPORTS.c.uid).where(
    IMPORTS.c.todo_id.in_(bindparam("ids", expanding=True))
)


def stored_uids(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Return the UIDs of imported todos among `ids`, by todo id."""
    return {row.todo_id: row.uid for row in connection.execute(_UIDS, {"ids": ids})}
