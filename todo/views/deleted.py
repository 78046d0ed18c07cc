"""Deleted todos: list them, and restore one."""

from flask import Blueprint, Response
from sqlalchemy import Connection, String, Table, bindparam, select, type_coerce

from todo import database
from todo.database import trash, unreadable
from todo.http import parameters, response_cache
from todo.http.idempotency import run_idempotent
from todo.http.problem import NotFound
from todo.models import MOMENT
from todo.models.deleted_todo import DeletedTodo
from todo.schemas import DeletedOut, DeletedQuery, TodoOut
from todo.views.routes import SELECT, find, json_response, todo_response

deleted = Blueprint("deleted", __name__, url_prefix="/api/v1")

_DELETED: Table = DeletedTodo.__table__
_IDS = (
    select(_DELETED.c.id)
    .where(_DELETED.c.deleted_at >= bindparam("after"))
    .order_by(_DELETED.c.deleted_at.desc(), _DELETED.c.id.desc())
    .limit(bindparam("size"))
)
_BY_IDS = select(
    *(
        type_coerce(column, String).label(column.key) if column.type is MOMENT else column
        for column in _DELETED.columns
    )
).where(_DELETED.c.id.in_(bindparam("ids", expanding=True)))


@deleted.get("/todos/deleted")
def list_deleted() -> Response:
    """List the deleted todos that can be restored, latest deletion first."""
    query = parameters.read(DeletedQuery)
    response_cache.skip()  # todos expire without a commit
    with database.read() as connection:
        ids = connection.scalars(_IDS, {"after": trash.expiry(), "size": query.limit}).all()
        todos = unreadable.read_readable(connection, _BY_IDS, ids, DeletedOut.from_deleted)
    return json_response(todos)


@deleted.post("/todos/<id:todo_id>/restore")
def restore(todo_id: int | None) -> Response:
    """Restore a deleted todo with its `id` and times.

    A todo that is not deleted is returned unchanged.
    """
    parameters.refuse()
    return run_idempotent(lambda connection: bring_back(connection, todo_id), todo_response)


def bring_back(connection: Connection, todo_id: int | None) -> TodoOut:
    """Restore a todo and return it. Raises NotFound if it never existed, or if it has expired."""
    row = trash.find(connection, todo_id)  # locked, so that only one request inserts the todo
    if connection.execute(SELECT, {"todo_id": todo_id}).first() is None:
        if row is None:
            raise NotFound("No deleted todo has this id. It may have been deleted too long ago.")
        trash.take_back(connection, row)
    return find(connection, todo_id)
