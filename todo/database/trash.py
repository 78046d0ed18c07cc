"""Deleted todos: kept for TRASH_DAYS, restored, and then purged in bounded steps."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import Connection, Row, Table, bindparam, delete, insert, select

from todo import database
from todo.clock import utc_now
from todo.models.deleted_todo import DeletedTodo
from todo.models.todo import Todo

LONGEST = 365_000  # days; more would be before the year 1
PURGE_STEP = 500  # rows that one transaction deletes at most
PURGE_SECONDS = 60  # each worker looks for expired rows this often

_TODOS: Table = Todo.__table__
_DELETED: Table = DeletedTodo.__table__
_MEMBERS = [column.key for column in _TODOS.columns]
_SELECT = select(_DELETED).where(_DELETED.c.id == bindparam("todo_id")).with_for_update()
_INSERT = insert(_DELETED)
_REMOVE = delete(_DELETED).where(_DELETED.c.id.in_(bindparam("ids", expanding=True)))
# Servers skip rows that another transaction is deleting.
_EXPIRED = (
    select(_DELETED.c.id)
    .where(_DELETED.c.deleted_at < bindparam("before"))
    .limit(bindparam("size"))
    .with_for_update(skip_locked=True)
)

_next_purge = 0.0  # by the monotonic clock


def expiry() -> datetime:
    """Return the time before which deleted todos are gone."""
    return utc_now() - timedelta(days=min(current_app.config["TRASH_DAYS"], LONGEST))


def keep(connection: Connection, todo: Sequence[Any]) -> None:
    """Keep a todo that was just deleted. Triggers do so, except on MariaDB."""
    keeps_none = current_app.config["TRASH_DAYS"] == 0
    if keeps_none or connection.dialect.name == "mariadb":
        connection.execute(_REMOVE, {"ids": [todo[0]]})
    if not keeps_none and connection.dialect.name == "mariadb":
        row = dict(zip(_MEMBERS, todo, strict=True))
        connection.execute(_INSERT, row | {"deleted_at": utc_now()})


def find(connection: Connection, todo_id: int | None) -> Row[Any] | None:
    """Return and lock a deleted todo; None if there is none, or if its retention is over."""
    row = connection.execute(_SELECT, {"todo_id": todo_id}).first()
    return row if row is not None and row.deleted_at >= expiry() else None


def take_back(connection: Connection, todo: Row[Any]) -> None:
    """Insert a deleted todo again, with its id and times."""
    connection.execute(insert(_TODOS), {name: getattr(todo, name) for name in _MEMBERS})
    connection.execute(_REMOVE, {"ids": [todo.id]})


def purge() -> None:
    """Delete expired rows, at most PURGE_STEP of them, in a transaction of its own."""
    global _next_purge
    now = time.monotonic()
    if now < _next_purge:
        return

    def work(connection: Connection) -> int:
        ids = connection.scalars(_EXPIRED, {"before": expiry(), "size": PURGE_STEP}).all()
        if ids:
            connection.execute(_REMOVE, {"ids": ids})
        return len(ids)

    if database.write(work) < PURGE_STEP:
        _next_purge = now + PURGE_SECONDS
