"""The API: health and the operations on todos."""

from itertools import groupby
from typing import Any

import msgspec
from flask import Blueprint, Response, request, url_for
from flask.blueprints import BlueprintSetupState
from sqlalchemy import Connection, bindparam, delete, insert, select, update
from werkzeug.routing import BaseConverter

from todo import database, listing
from todo.clock import utc_now
from todo.database import Transaction
from todo.http import auth, body, idempotency, metrics, parameters
from todo.http.conditional import Precondition, entity_tag, tagged
from todo.http.problem import Fault, NotFound, Problem
from todo.query import TODOS, ListQuery, reading_todos
from todo.schemas import (
    MAX_BATCH_BYTES,
    Batch,
    CreateOperation,
    DeleteOperation,
    Health,
    Operation,
    TodoCreate,
    TodoOut,
    TodoUpdate,
    UpdateOperation,
)

JSON = "application/json"
# What is counted of the todos.
CHANGES = {
    "created": "Todos created.",
    "completed": "Todos created as completed, or sent to be.",
    "deleted": "Todos deleted.",
}

api = Blueprint("api", __name__, url_prefix="/api/v1")

_THIS = TODOS.c.id == bindparam("todo_id")
_SELECT = reading_todos(select(TODOS).where(_THIS))
_SELECT_FOR_UPDATE = reading_todos(select(TODOS).where(_THIS).with_for_update())
# In one order, so that no two batches wait for each other.
_LOCK = (
    select(TODOS.c.id)
    .where(TODOS.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(TODOS.c.id)
    .with_for_update()
)
_INSERT = reading_todos(insert(TODOS).returning(*TODOS.c, sort_by_parameter_order=True))
_UPDATE = update(TODOS).where(_THIS)
_UPDATE_RETURNING = reading_todos(_UPDATE.returning(*TODOS.c))
_DELETE = reading_todos(delete(TODOS).where(_THIS).returning(*TODOS.c))


class IdConverter(BaseConverter):
    """A whole number in a path, in its one decimal form."""

    regex = "0|-?[1-9][0-9]*"

    def to_python(self, value: str) -> int | None:
        """Read the number; None, which no id equals, for one that no database integer can hold."""
        return _storable(int(value[:21]))


def _storable(todo_id: int) -> int | None:
    return todo_id if -(2**63) <= todo_id < 2**63 else None


@api.record_once
def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["id"] = IdConverter


@api.before_request
def _refuse_unknown_parameters() -> None:
    if not request.query_string:
        return
    if request.endpoint != "api.list_todos":
        parameters.refuse()
    elif request.method == "OPTIONS":  # which has no view to do it
        parameters.read(ListQuery)


@api.get("/health")
@auth.public
def health() -> Response:
    """Tell whether the service answers; the database is not asked."""
    return _json(Health("ok"))


@api.get("/todos")
def list_todos() -> Response:
    """List the todos that match.

    Without `limit` all of them are streamed. With it the answer is a page, and for as long as there
    is a next one, the `Link` header leads to it. `Accept` chooses between JSON, CSV, a calendar and
    lines of JSON.
    """
    query = parameters.read(ListQuery)
    response = listing.answer(query, listing.negotiate())
    response.vary.add("Accept")
    return response


@api.get("/todos/<id:todo_id>")
def get_todo(todo_id: int | None) -> Response:
    """Get a todo."""
    with Transaction() as connection:
        todo = _find(connection, todo_id)
    return _todo(todo)


@api.post("/todos")
def create_todo() -> Response:
    """Create a todo."""
    todo = body.read(TodoCreate)
    response = idempotency.once(lambda connection: _create_all(connection, [todo])[0], _created)
    if idempotency.is_first(response):
        _count("created")
        _count("completed", todo.completed is True)
    return response


@api.put("/todos/<id:todo_id>")
@api.patch("/todos/<id:todo_id>")
def update_todo(todo_id: int | None) -> Response:
    """Change the members that are sent; the others keep their value.

    PUT and PATCH do the same: a JSON merge patch (RFC 7396).
    """
    changes = body.read(TodoUpdate, media_types=(body.JSON, body.MERGE_PATCH))
    precondition = Precondition.of_request()
    todo = database.run(
        lambda connection: _update(connection, todo_id, changes, precondition),
        writing=precondition is not None,
    )
    _count("completed", changes.completed is True)
    return _todo(todo)


@api.delete("/todos/<id:todo_id>")
def delete_todo(todo_id: int | None) -> Response:
    """Delete a todo and answer it as it was, or `{}` where there is none."""
    precondition = Precondition.of_request()
    todo = database.run(
        lambda connection: _delete(connection, todo_id, precondition), writing=precondition is not None
    )
    _count("deleted", todo is not None)
    return _json(todo or {})


@api.post("/todos/batch")
def run_batch() -> Response:
    """Create, update and delete many todos: all or, where one operation fails, none."""
    operations = body.read(Batch, MAX_BATCH_BYTES).operations
    results: list[TodoOut | dict[str, Any]] = []

    def run_all(connection: Connection) -> None:
        results[:] = _run_all(connection, operations)

    response = idempotency.once(run_all, lambda _: _json({"results": results}), writing=True)
    if idempotency.is_first(response):
        writes = [operation for operation in operations if not isinstance(operation, DeleteOperation)]
        _count("created", sum(isinstance(operation, CreateOperation) for operation in writes))
        _count("completed", sum(operation.todo.completed is True for operation in writes))
        # Where there was nothing to delete, the result is {}.
        done = zip(operations, results, strict=True)
        _count("deleted", sum(isinstance(item[0], DeleteOperation) and bool(item[1]) for item in done))
    return response


def _count(change: str, number: int = 1) -> None:
    """Count so many todos among those that were created, completed or deleted; after the commit."""
    if number:
        metrics.counter(f"todos_{change}", CHANGES[change]).inc(number)


def _run_all(connection: Connection, operations: list[Operation]) -> list[TodoOut | dict[str, Any]]:
    ids = {_storable(operation.id) for operation in operations if not isinstance(operation, CreateOperation)}
    if ids:
        connection.execute(_LOCK, {"ids": list(ids)})
    results: list[TodoOut | dict[str, Any]] = []
    for creates, run in groupby(enumerate(operations), lambda item: isinstance(item[1], CreateOperation)):
        if creates:
            todos = [operation.todo for _, operation in run if isinstance(operation, CreateOperation)]
            results += _create_all(connection, todos)
        else:
            results += [
                _run(connection, index, operation)
                for index, operation in run
                if not isinstance(operation, CreateOperation)
            ]
    return results


def _run(
    connection: Connection, index: int, operation: UpdateOperation | DeleteOperation
) -> TodoOut | dict[str, Any]:
    """Carry out one operation of a batch; a problem says which one it was."""
    try:
        precondition = Precondition.of_member(operation.if_match or None)
        todo_id = _storable(operation.id)
        if isinstance(operation, DeleteOperation):
            return _delete(connection, todo_id, precondition) or {}
        return _update(connection, todo_id, operation.todo, precondition)
    except Problem as problem:
        member = "id" if isinstance(problem, NotFound) else "if_match"
        problem.errors = [Fault(detail=problem.description or "", pointer=f"#/operations/{index}/{member}")]
        raise


def _find(connection: Connection, todo_id: int | None, *, for_update: bool = False) -> TodoOut:
    todo = (_SELECT_FOR_UPDATE if for_update else _SELECT).first(connection, {"todo_id": todo_id})
    if todo is None:
        raise NotFound("Todo not found")
    return todo


def _create_all(connection: Connection, todos: list[TodoCreate]) -> list[TodoOut]:
    now = utc_now()
    times = {"created_at": now, "updated_at": now}
    return _INSERT.all_of_each(connection, [todo.values() | times for todo in todos])


def _update(
    connection: Connection, todo_id: int | None, changes: TodoUpdate, precondition: Precondition | None
) -> TodoOut:
    values = changes.values()
    if precondition or not values:
        todo = _find(connection, todo_id, for_update=precondition is not None)
        if precondition:
            precondition.check(_tag(todo))
        if not values:
            return todo
    values |= {"todo_id": todo_id, "updated_at": utc_now()}
    changed = database.change(connection, _UPDATE_RETURNING, _UPDATE, _SELECT, values)
    if changed is None:
        raise NotFound("Todo not found")
    return changed


def _delete(connection: Connection, todo_id: int | None, precondition: Precondition | None) -> TodoOut | None:
    if precondition:
        todo = _SELECT_FOR_UPDATE.first(connection, {"todo_id": todo_id})
        precondition.check(None if todo is None else _tag(todo))
    return _DELETE.first(connection, {"todo_id": todo_id})


def _tag(todo: TodoOut) -> str:
    return entity_tag(msgspec.json.encode(todo))


def _todo(todo: TodoOut) -> Response:
    representation = msgspec.json.encode(todo)
    return tagged(Response(representation, content_type=JSON), entity_tag(representation))


def _created(todo: TodoOut) -> Response:
    response = _todo(todo)
    response.status_code = 201
    response.headers["Location"] = url_for(".get_todo", todo_id=todo.id)
    return response


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), content_type=JSON)
