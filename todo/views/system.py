"""Endpoints for operators: readiness and metrics."""

import msgspec
from flask import Blueprint, Response, current_app
from sqlalchemy import Connection, false, update
from sqlalchemy.exc import DBAPIError

from todo import database
from todo.database import schema, sqlite
from todo.database.errors import unavailable
from todo.database.schema import State
from todo.http import metrics, parameters
from todo.http.problem import Unavailable
from todo.models import db
from todo.models.todo import Todo
from todo.schemas import Ready

system = Blueprint("system", __name__)
system.before_request(parameters.refuse)

# A read-only database rejects this statement, although it matches no row.
_WRITE = update(Todo).where(false()).values(completed=Todo.completed)


@system.get("/readyz")
def show_readiness() -> Response:
    """Return `ready` if the service can read and write its database."""
    try:
        database.write(_check_schema)
        path = sqlite.file_of(db.engine.url)
        if path is not None:
            sqlite.check_room(path)
            sqlite.check_small_file(path)
    except DBAPIError as error:
        if unavailable(error) is not None:
            raise
        current_app.logger.exception("The database tables do not match this release")
        raise Unavailable(
            "The database tables do not match this release. The server log has the details."
        ) from None
    return Response(msgspec.json.encode(Ready("ready")), content_type="application/json")


def _check_schema(connection: Connection) -> None:
    """Raise DBAPIError if the database is read-only, Unavailable if it belongs to another release."""
    connection.execute(_WRITE)
    if schema.state(connection) is not State.HEAD:
        raise Unavailable(schema.OTHER_RELEASE)


@system.get("/metrics")
def show_metrics() -> Response:
    """Show the metrics of all processes, in the text format of Prometheus."""
    return Response(metrics.exposition(), content_type=f"{metrics.MEDIA_TYPE}; version=0.0.4; charset=utf-8")
