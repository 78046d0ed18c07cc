"""The API: health and the operations on todos."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from flask import Blueprint, Response, request, stream_with_context, url_for
from flask.blueprints import BlueprintSetupState
from sqlalchemy import Row, bindparam, delete, insert, select, update
from werkzeug.routing import BaseConverter

from todo.clock import utc_now
from todo.http import body, parameters
from todo.http.parameters import NoParameters
from todo.http.problem import NotFound
from todo.models.database import transaction
from todo.query import TODOS, ListQuery, page
from todo.schemas import TodoCreate, TodoOut, TodoUpdate

JSON = "application/json"
STREAM_CHUNK = 1000  # todos

api = Blueprint("api", __name__, url_prefix="/api/v1")

_THIS = TODOS.c.id == bindparam("todo_id")
_SELECT = select(*TODOS.c).where(_THIS)
_INSERT = insert(TODOS).returning(*TODOS.c)
_UPDATE = update(TODOS).where(_THIS).returning(*TODOS.c)
_DELETE = delete(TODOS).where(_THIS).returning(*TODOS.c)


class IdConverter(BaseConverter):
    """A whole number in a path, in its one decimal form."""

    regex = "0|-?[1-9][0-9]*"

    def to_python(self, value: str) -> int | None:
        """The number; None, which no id equals, for one that no database integer can hold."""
        number = int(value[:21])
        return number if -(2**63) <= number < 2**63 else None


@api.record_once
def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["id"] = IdConverter


@api.before_request
def _refuse_unknown_parameters() -> None:
    if request.endpoint != "api.list_todos":
        parameters.read(NoParameters)


@api.get("/health")
def health() -> Response:
    """Whether the service answers; the database is not asked."""
    return _json({"status": "ok"})


@api.get("/todos")
def list_todos() -> Response:
    """The todos that match, in `id` order."""
    query = parameters.read(ListQuery)
    with transaction() as connection:
        rows = connection.execute(page(query, None, STREAM_CHUNK)).all()
    if len(rows) < STREAM_CHUNK:
        return _json([TodoOut.from_row(row) for row in rows])
    return Response(stream_with_context(_stream(query, rows)), content_type=JSON)


@api.get("/todos/<id:todo_id>")
def get_todo(todo_id: int | None) -> Response:
    """The todo with this id."""
    with transaction() as connection:
        row = connection.execute(_SELECT, {"todo_id": todo_id}).first()
    return _todo(row)


@api.post("/todos")
def create_todo() -> Response:
    """Make a todo."""
    now = utc_now()
    values = body.read(TodoCreate).values() | {"created_at": now, "updated_at": now}
    with transaction() as connection:
        row = connection.execute(_INSERT, values).one()
    response = _todo(row)
    response.status_code = 201
    response.headers["Location"] = url_for(".get_todo", todo_id=row.id)
    return response


@api.put("/todos/<id:todo_id>")
def update_todo(todo_id: int | None) -> Response:
    """Change the members that are sent; the others keep their value."""
    values = body.read(TodoUpdate).values()
    if not values:
        return get_todo(todo_id)
    with transaction() as connection:
        row = connection.execute(_UPDATE, values | {"todo_id": todo_id, "updated_at": utc_now()}).first()
    return _todo(row)


@api.delete("/todos/<id:todo_id>")
def delete_todo(todo_id: int | None) -> Response:
    """Delete a todo and answer it as it was, or `{}` where there is none."""
    with transaction() as connection:
        row = connection.execute(_DELETE, {"todo_id": todo_id}).first()
    return _json({}) if row is None else _todo(row)


def _todo(row: Row[Any] | None) -> Response:
    if row is None:
        raise NotFound("Todo not found")
    return _json(TodoOut.from_row(row))


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), content_type=JSON)


def _stream(query: ListQuery, rows: Sequence[Row[Any]]) -> Iterator[bytes]:
    """The list a chunk at a time, so that memory stays flat and no connection waits for the client."""
    opening = b"["
    while rows:
        yield opening + msgspec.json.encode([TodoOut.from_row(row) for row in rows])[1:-1]
        opening = b","
        with transaction() as connection:
            rows = connection.execute(page(query, rows[-1].id, STREAM_CHUNK)).all()
    yield b"]"
