"""The batch: many operations on todos in one transaction."""

from itertools import groupby
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import Connection, bindparam, select

from todo.database import trash, unreadable
from todo.http import body, parameters
from todo.http.conditional import Precondition
from todo.http.converters import to_bigint
from todo.http.idempotency import run_idempotent
from todo.http.problem import FieldError, NotFound, Problem
from todo.models.todo import Todo
from todo.schemas import (
    MAX_BATCH_BYTES,
    Batch,
    CreateOperation,
    DeleteOperation,
    Operation,
    TodoOut,
    UpdateOperation,
)
from todo.views.routes import change, count, create, json_response, remove

batch = Blueprint("batch", __name__, url_prefix="/api/v1")
batch.before_request(parameters.refuse)

# Lock in the order of the ids, so that two batches cannot deadlock.
LOCK = (
    select(Todo.id).where(Todo.id.in_(bindparam("ids", expanding=True))).order_by(Todo.id).with_for_update()
)

Result = TodoOut | dict[str, Any]  # {} if the todo to delete did not exist


@batch.post("/todos/batch")
def run_batch() -> Response:
    """Create, update and delete many todos. If one operation fails, nothing is changed."""
    operations = body.read(Batch, MAX_BATCH_BYTES).operations
    results: list[Result] = []

    def run_all(connection: Connection) -> list[Result]:
        results[:] = run_operations(connection, operations)
        return results

    response = run_idempotent(run_all, lambda results: json_response({"results": results}))
    trash.purge()
    return count(
        response,
        created=sum(isinstance(operation, CreateOperation) for operation in operations),
        completed=sum(
            operation.todo.completed is True
            for operation in operations
            if not isinstance(operation, DeleteOperation)
        ),
        deleted=sum(
            isinstance(operation, DeleteOperation) and bool(result)
            for operation, result in zip(operations, results, strict=False)  # no results if replayed
        ),
    )


def run_operations(connection: Connection, operations: list[Operation]) -> list[Result]:
    """Run the operations in their order and return their results. Raises the problem of the first failure."""
    ids = {to_bigint(operation.id) for operation in operations if not isinstance(operation, CreateOperation)}
    if ids:
        connection.execute(LOCK, {"ids": list(ids)})
    results: list[Result] = []
    for operation_type, group in groupby(enumerate(operations), lambda item: type(item[1])):
        if operation_type is CreateOperation:
            results += create(connection, [operation.todo for _, operation in group])  # type: ignore[union-attr, misc]
        else:
            results += [run_operation(connection, index, operation) for index, operation in group]  # type: ignore[arg-type]
    return results


def run_operation(connection: Connection, index: int, operation: UpdateOperation | DeleteOperation) -> Result:
    """Run one update or deletion. A problem names the operation."""
    try:
        precondition = Precondition.parse(operation.if_match or None)
        todo_id = to_bigint(operation.id)
        if isinstance(operation, DeleteOperation):
            return remove(connection, todo_id, precondition) or {}
        return change(connection, todo_id, operation.todo, precondition)
    except Problem as problem:
        member = "id" if isinstance(problem, NotFound) else "if_match"
        problem.errors = [
            FieldError(detail=problem.description or "", pointer=f"#/operations/{index}/{member}")
        ]
        raise
    except unreadable.ERRORS as error:
        error.add_note(f"Operation {index} of the batch, on todo {operation.id}")  # for the log
        raise
