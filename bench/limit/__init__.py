"""The limit: WSGI and the database driver with nothing between them, and no validation.

No Python service with the same storage can be much faster on first reads and writes.
"""

import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import msgspec

MEMBERS = "id, title, description, completed, deadline_at, created_at, updated_at"
INSERT = f"INSERT INTO todos ({MEMBERS}) VALUES (NULL, ?, ?, ?, ?, ?, ?) RETURNING {MEMBERS}"
STATUS = {200: "200 OK", 201: "201 Created", 404: "404 Not Found"}
TODO = re.compile("/api/v1/todos/([0-9]+)")

threads = threading.local()


class Todo(msgspec.Struct):
    """A todo in a response."""

    id: int
    title: str
    description: str | None
    completed: bool
    deadline_at: str | None
    created_at: str
    updated_at: str


def to_todo(_: sqlite3.Cursor, row: tuple[Any, ...]) -> Todo:
    """Convert a row to a todo."""
    number, title, description, completed, deadline_at, created_at, updated_at = row
    return Todo(
        number,
        title,
        description,
        completed == 1,
        deadline_at and deadline_at[:19].replace(" ", "T"),
        created_at.replace(" ", "T") + "Z",
        updated_at.replace(" ", "T") + "Z",
    )


def connect() -> sqlite3.Connection:
    """Return the connection of this thread."""
    if not hasattr(threads, "connection"):
        connection = sqlite3.connect(os.environ["DATABASE_FILE"], isolation_level=None, timeout=30)
        connection.execute("PRAGMA synchronous = FULL")
        connection.row_factory = to_todo
        threads.connection = connection
    return threads.connection  # type: ignore[no-any-return]


def create_tables() -> None:
    """Create the table before the workers start."""
    connection = sqlite3.connect(os.environ["DATABASE_FILE"])
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(
        "CREATE TABLE todos (id INTEGER PRIMARY KEY, title TEXT NOT NULL, description TEXT, "
        "completed INTEGER NOT NULL, deadline_at TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL)"
    )
    connection.execute("CREATE INDEX ix_todos_completed ON todos (completed)")
    connection.close()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Respond to any request."""
    path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
    status = 200
    result: Any
    if todo := TODO.fullmatch(path):
        result = get(todo[1]) if method == "GET" else update(todo[1], read(environ))
        status = 200 if result else 404
    elif path == "/api/v1/todos" and method == "GET":
        result = find(parse_qs(environ["QUERY_STRING"]))
    elif path == "/api/v1/todos":
        status, result = 201, create(connect(), read(environ))
    elif path == "/api/v1/todos/batch":
        result = {"results": create_all(read(environ)["operations"])}
    else:
        result = {"status": "ok"}
    body = msgspec.json.encode(result)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if status == 201:  # Created
        headers.append(("Location", f"/api/v1/todos/{result.id}"))
    start_response(STATUS[status], headers)
    return [body]


def read(environ: dict[str, Any]) -> Any:
    """Read and decode the body."""
    return msgspec.json.decode(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))


def now() -> str:
    """Return the current time in UTC, as the table stores it."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def get(number: str) -> Todo | None:
    """Return one todo."""
    todo: Todo | None = connect().execute(f"SELECT {MEMBERS} FROM todos WHERE id = ?", (number,)).fetchone()
    return todo


def find(parameters: dict[str, list[str]]) -> list[Todo]:
    """Return the todos that match."""
    where, values = "", []
    if "completed" in parameters:
        where = "WHERE completed = ?"
        values.append(parameters["completed"][0] == "true")
    limit = int(parameters.get("limit", ["-1"])[0])
    query = f"SELECT {MEMBERS} FROM todos {where} ORDER BY id LIMIT ?"
    return connect().execute(query, (*values, limit)).fetchall()


def create(connection: sqlite3.Connection, todo: dict[str, Any]) -> Todo:
    """Create a todo."""
    moment = now()
    deadline_at = todo.get("deadline_at")
    values = (
        todo["title"],
        todo.get("description"),
        todo.get("completed", False),
        deadline_at and f"{deadline_at.replace('T', ' ')}.000000",
        moment,
        moment,
    )
    # The statement ends and commits when all its rows are read.
    return connection.execute(INSERT, values).fetchall()[0]  # type: ignore[no-any-return]


def create_all(operations: list[dict[str, Any]]) -> list[Todo]:
    """Create all todos or none."""
    connection = connect()
    connection.execute("BEGIN IMMEDIATE")
    try:
        todos = [create(connection, operation["todo"]) for operation in operations]
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return todos


def update(number: str, members: dict[str, Any]) -> Todo | None:
    """Change the members that the request names."""
    columns = "".join(f"{name} = ?, " for name in members)
    query = f"UPDATE todos SET {columns} updated_at = ? WHERE id = ? RETURNING {MEMBERS}"
    todos = connect().execute(query, (*members.values(), now(), number)).fetchall()
    return todos[0] if todos else None
