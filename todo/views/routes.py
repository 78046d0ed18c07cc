"""The API: health and the operations on todos."""

from functools import partial
from operator import attrgetter

import msgspec
from flask import Blueprint, Response, request, url_for
from msgspec.structs import asdict
from sqlalchemy import Connection, bindparam, case, delete, insert, select, update

from todo import database, listing
from todo.clock import utc_now
from todo.database import trash
from todo.database.errors import NO_ID, DatabaseUnavailable
from todo.http import auth, body, metrics, parameters
from todo.http.conditional import Precondition, entity_tag, with_etag
from todo.http.converters import IdConverter
from todo.http.idempotency import REPLAYED, run_idempotent
from todo.http.problem import NotFound
from todo.models import MOMENT
from todo.models.todo import LARGEST_ID, Todo
from todo.schemas import COLUMNS, Health, ListQuery, TodoCreate, TodoOut, TodoUpdate

api = Blueprint("api", __name__, url_prefix="/api/v1")
api.record_once(lambda state: state.app.url_map.converters.update(id=IdConverter))

COUNTED = {
    "created": "Todos created.",
    "completed": "Todos created or updated with `completed` true.",
    "deleted": "Todos deleted.",
}
# Building a statement takes longer than executing it.
SELECT = select(*COLUMNS).where(Todo.id == bindparam("todo_id"))
SELECT_FOR_UPDATE = SELECT.with_for_update()
INSERT = insert(Todo).returning(*COLUMNS)
# `updated_at` never decreases, even if the clock was set back.
_NOW = bindparam("now", type_=MOMENT)
UPDATE = (
    update(Todo)
    .where(Todo.id == bindparam("todo_id"))
    .values(updated_at=case((Todo.updated_at > _NOW, Todo.updated_at), else_=_NOW))
)
UPDATE_RETURNING = UPDATE.returning(*COLUMNS)
DELETE = delete(Todo).where(Todo.id == bindparam("todo_id")).returning(*COLUMNS)


@api.get("/health")
@auth.public
def health() -> Response:
    """Return `ok` if the service responds. The database is not checked."""
    return json_response(Health("ok"))


@api.get("/todos")
def list_todos() -> Response:
    """List the matching todos.

    Without `limit`, the response is a stream of all matches. With `limit`, the response is a page, and the
    `Link` header has the URL of the next page. `Accept` selects JSON, CSV, iCalendar or lines of JSON.
    """
    query = parameters.read(ListQuery)
    response = listing.respond(query, listing.negotiate())
    response.vary.add("Accept")
    return response


@api.get("/todos/<id:todo_id>")
def get_todo(todo_id: int | None) -> Response:
    """Return one todo."""
    with database.read() as connection:
        todo = find(connection, todo_id)
    return todo_response(todo)


@api.post("/todos")
def create_todo() -> Response:
    """Create a todo."""
    todo = body.read(TodoCreate)
    response = run_idempotent(
        lambda connection: create(connection, [todo])[0], partial(todo_response, is_new=True)
    )
    return count(response, created=1, completed=todo.completed)


@api.put("/todos/<id:todo_id>")
@api.patch("/todos/<id:todo_id>")
def update_todo(todo_id: int | None) -> Response:
    """Change the members in the request. The others keep their values.

    PUT and PATCH do the same: a JSON merge patch (RFC 7396).
    """
    changes = body.read(TodoUpdate, media_types=(body.JSON, body.MERGE_PATCH))
    precondition = Precondition.from_request()
    todo = database.write(lambda connection: change(connection, todo_id, changes, precondition))
    return count(todo_response(todo), completed=changes.completed is True)


@api.delete("/todos/<id:todo_id>")
def delete_todo(todo_id: int | None) -> Response:
    """Delete a todo and return it as it was, or `{}` if the todo does not exist."""
    precondition = Precondition.from_request()
    todo = database.write(lambda connection: remove(connection, todo_id, precondition))
    trash.purge()
    return count(json_response(todo or {}), deleted=todo is not None)


def find(connection: Connection, todo_id: int | None, *, lock: bool = False) -> TodoOut:
    """Return a todo. Raises NotFound."""
    row = connection.execute(SELECT_FOR_UPDATE if lock else SELECT, {"todo_id": todo_id}).first()
    if row is None:
        raise NotFound("Todo not found")
    return TodoOut.from_row(row)


def create(connection: Connection, todos: list[TodoCreate]) -> list[TodoOut]:
    """Insert todos and return them, in their order. Raises DatabaseUnavailable if no id is left."""
    now = utc_now()
    values = list(map(asdict, todos))
    for columns in values:
        columns.update(created_at=now, updated_at=now)
    rows = connection.execute(INSERT, values if len(values) > 1 else values[0])
    # Databases may return rows in any order, but number them in the order of the values.
    created = sorted(map(TodoOut.from_row, rows), key=attrgetter("id"))
    if created[-1].id > LARGEST_ID:  # MariaDB has no constraint on ids
        raise DatabaseUnavailable(NO_ID)
    return created


def change(
    connection: Connection, todo_id: int | None, changes: TodoUpdate, precondition: Precondition | None
) -> TodoOut:
    """Update a todo and return it. Raises NotFound and PreconditionFailed."""
    columns = changes.to_columns()
    if precondition or not columns:
        todo = find(connection, todo_id, lock=True)
        if precondition:
            precondition.check(etag(todo))
        if not columns:
            return todo
    values = {"todo_id": todo_id, "now": utc_now(), **columns}
    if not connection.dialect.update_returning:  # MariaDB
        connection.execute(UPDATE, values)
        return find(connection, todo_id)
    row = connection.execute(UPDATE_RETURNING, values).first()
    if row is None:
        raise NotFound("Todo not found")
    return TodoOut.from_row(row)


def remove(connection: Connection, todo_id: int | None, precondition: Precondition | None) -> TodoOut | None:
    """Delete a todo and return it as it was, or None if it does not exist. Raises PreconditionFailed."""
    if precondition:
        row = connection.execute(SELECT_FOR_UPDATE, {"todo_id": todo_id}).first()
        precondition.check(None if row is None else etag(TodoOut.from_row(row)))
    row = connection.execute(DELETE, {"todo_id": todo_id}).first()
    if row is None:
        return None
    trash.keep(connection, row)
    return TodoOut.from_row(row)


def count(response: Response, **numbers: int) -> Response:
    """Add to the metrics of todos that were `created`, `completed` or `deleted`, after the commit.

    A replayed response does not count. Returns the response.
    """
    for change, number in numbers.items():
        if number and REPLAYED[0] not in response.headers:
            metrics.counter(f"todos_{change}", COUNTED[change]).inc(number)
    return response


def etag(todo: TodoOut) -> str:
    """Return the entity tag of a todo."""
    return entity_tag([msgspec.json.encode(todo)])


def todo_response(todo: TodoOut, *, is_new: bool = False) -> Response:
    """Return a todo as JSON with its ETag. A new todo is 201 with its Location."""
    representation = msgspec.json.encode(todo)
    response = Response(representation, content_type=body.JSON)
    if is_new:
        response.status_code = 201
        response.headers["Location"] = url_for("api.get_todo", todo_id=todo.id)
    return with_etag(response, entity_tag([representation]))


def json_response(value: object) -> Response:
    """Return `value` as JSON."""
    return Response(msgspec.json.encode(value), content_type=body.JSON)


@api.before_request
def _reject_unknown_parameters() -> None:
    if not request.query_string:
        return
    if request.endpoint != "api.list_todos":
        parameters.refuse()
    elif request.method == "OPTIONS":  # no view reads them
        parameters.read(ListQuery)
