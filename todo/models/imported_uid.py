"""The UIDs of todos that came from elsewhere."""

from collections.abc import Sequence

from sqlalchemy import Connection, ForeignKey, Table, bindparam, select
from sqlalchemy.orm import Mapped, mapped_column

from todo.models import TABLE_OPTIONS, db, text_of

UID_LENGTH = 255


class Imported(db.Model):  # type: ignore[name-defined, misc]
    """The UID under which a todo came in, so that it goes out with it and comes in only once.

    A todo made here has no row: its UID is made of its `id` and `created_at`, and it is known again
    by these. A todo that is deleted loses its row, so that an import can bring it back.
    """

    __tablename__ = "imports"
    __table_args__ = TABLE_OPTIONS

    uid: Mapped[str] = mapped_column(text_of(UID_LENGTH), primary_key=True)
    todo_id: Mapped[int] = mapped_column(ForeignKey("todos.id", ondelete="CASCADE"), index=True)


IMPORTS: Table = Imported.__table__
_UIDS = select(IMPORTS.c.todo_id, IMPORTS.c.uid).where(
    IMPORTS.c.todo_id.in_(bindparam("ids", expanding=True))
)


def stored_uids(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Read the UIDs of the imported ones among these todos, by todo id."""
    return {row.todo_id: row.uid for row in connection.execute(_UIDS, {"ids": ids})}
