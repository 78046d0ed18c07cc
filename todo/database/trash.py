"""Deleted todos: store them for TRASH_DAYS, restore them, and purge expired rows in steps."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import Connection, Row, Table, bindparam, delete, insert, select

from todo import database
from todo.clock import utc_now
from todo.models.deleted_todo import DeletedTodo
from todo.models.imported_uid import IMPORTS
from todo.models.todo import Todo

LONGEST = 365_000  # days; a longer period would begin before the year 1
PURGE_STEP = 500  # maximum number of rows per transaction
PURGE_SECONDS = 60  # interval of each worker

_TODOS: Table = Todo.__table__
_DELETED: Table = DeletedTodo.__table__
_MEMBERS = [column.key for column in _TODOS.columns]
_SELECT = select(_DELETED).where(_DELETED.c.id == bindparam("todo_id")).with_for_update()
_INSERT = insert(_DELETED)
_REMOVE = delete(_DELETED).where(_DELETED.c.id.in_(bindparam("ids", expanding=True)))
_REMOVE_UIDS = delete(IMPORTS).where(IMPORTS.c.todo_id.in_(bindparam("ids", expanding=True)))
# Servers skip rows that another transaction is deleting.
_EXPIRED = (
    select(_DELETED.c.id)
    .where(_DELETED.c.deleted_at < bindparam("before"))
    .limit(bindparam("size"))
    .with_for_update(skip_locked=True)
)

_next_purge = 0.0  # by the monotonic clock


def expiry() -> datetime:
    """Return the time before which deletions have expired."""
    return utc_now() - timedelta(days=min(current_app.config["TRASH_DAYS"], LONGEST))


def keep(connection: Connection, todo: Sequence[Any]) -> None:
    """Store a todo that was just deleted. Triggers do this, except on MariaDB."""
    keeps_none = current_app.config["TRASH_DAYS"] == 0
    if keeps_none:
        _forget(connection, [todo[0]])
    elif connection.dialect.name == "mariadb":
        connection.execute(_REMOVE, {"ids": [todo[0]]})
        row = dict(zip(_MEMBERS, todo, strict=True))
        connection.execute(_INSERT, row | {"deleted_at": utc_now()})


def _forget(connection: Connection, ids: Sequence[int]) -> None:
    """Delete todos, with their UIDs, so that they cannot be restored."""
    connection.execute(_REMOVE, {"ids": ids})
    connection.execute(_REMOVE_UIDS, {"ids": ids})


def find(connection: Connection, todo_id: int | None) -> Row[Any] | None:
    """Lock and return a deleted todo, or None if it does not exist or has expired."""
    row = connection.execute(_SELECT, {"todo_id": todo_id}).first()
    return row if row is not None and row.deleted_at >= expiry() else None


def take_back(connection: Connection, todo: Row[Any]) -> None:
    """Restore a deleted todo with its id and times."""
    connection.execute(insert(_TODOS), {name: getattr(todo, name) for name in _MEMBERS})
    connection.execute(_REMOVE, {"ids": [todo.id]})


def purge() -> None:
    """Delete at most PURGE_STEP expired rows in a separate transaction."""
    global _next_purge
    now = time.monotonic()
    if now < _next_purge:
        return

    def work(connection: Connection) -> int:
        ids = connection.scalars(_EXPIRED, {"before": expiry(), "size": PURGE_STEP}).all()
        if ids:
            _forget(connection, ids)
        return len(ids)

    if database.write(work) < PURGE_STEP:
        _next_purge = now + PURGE_SECONDS
