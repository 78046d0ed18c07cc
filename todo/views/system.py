"""What those who run the service ask it: whether it can do its work, and how much it does."""

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

# A database that may only be read refuses it, though there is no such row.
_WRITE = update(Todo).where(false()).values(completed=Todo.completed)


@system.get("/readyz")
def show_readiness() -> Response:
    """Tell whether the service can do its work: the database can be reached and written."""
    try:
        database.write(_check_schema)
        path = sqlite.file_of(db.engine.url)
        if path is not None:
            sqlite.check_room(path)
            sqlite.check_small_file(path)
    except DBAPIError as error:
        if unavailable(error) is not None:
            raise
        current_app.logger.exception("The tables of the database are not those of this release")
        raise Unavailable(
            "The tables of the database are not those of this release. The log has the details."
        ) from None
    return Response(msgspec.json.encode(Ready("ready")), content_type="application/json")


def _check_schema(connection: Connection) -> None:
    """Raise DBAPIError where it can't be written, Unavailable where it is of another release."""
    connection.execute(_WRITE)
    if schema.state(connection) is not State.HEAD:
        raise Unavailable(schema.OTHER_RELEASE)


@system.get("/metrics")
def show_metrics() -> Response:
    """Show the metrics of all processes, in the text format of Prometheus."""
    return Response(metrics.exposition(), content_type=f"{metrics.MEDIA_TYPE}; version=0.0.4; charset=utf-8")
