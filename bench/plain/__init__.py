"""The plain form of the API, as the tutorials of Flask and Flask-SQLAlchemy teach it.

It uses ORM objects, `db.session`, `jsonify`, and SQLite with the defaults of the driver. The setting WAL
(`FLASK_WAL=true`) adds one PRAGMA, which most guides recommend.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Flask, Response, abort, current_app, jsonify, request, url_for
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.exceptions import HTTPException

TITLE_LENGTH = 80
DESCRIPTION_LENGTH = 120


class Base(DeclarativeBase):
    """The declarative base."""


db = SQLAlchemy(model_class=Base)
api = Blueprint("api", __name__, url_prefix="/api/v1")


def now() -> datetime:
    """Return the current time in UTC, without an offset, as SQLite stores it."""
    return datetime.now(UTC).replace(tzinfo=None)


class Todo(db.Model):  # type: ignore[name-defined, misc]
    """A todo."""

    __tablename__ = "todos"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))
    description: Mapped[str | None] = mapped_column(String(DESCRIPTION_LENGTH))
    completed: Mapped[bool] = mapped_column(default=False, index=True)
    deadline_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    def to_dict(self) -> dict[str, Any]:
        """Return the todo for `jsonify`."""
        return {
            "id": self.id,
            "title": self.title,
            "description": self.description,
            "completed": self.completed,
            "deadline_at": self.deadline_at.isoformat() if self.deadline_at else None,
            "created_at": self.created_at.isoformat(timespec="microseconds") + "Z",
            "updated_at": self.updated_at.isoformat(timespec="microseconds") + "Z",
        }


def create_app(config: dict[str, Any] | None = None) -> Flask:
    """Return the application. `FLASK_SQLALCHEMY_DATABASE_URI` is the URL of its database."""
    app = Flask(__name__)
    # By default, jsonify sorts the members.
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    db.init_app(app)
    app.register_blueprint(api)
    app.register_error_handler(HTTPException, error_response)
    app.cli.command("init-db")(init_db)
    return app


def init_db() -> None:
    """Create the table."""
    db.create_all()
    if current_app.config.get("WAL"):
        db.session.execute(text("PRAGMA journal_mode = WAL"))  # the file stores the mode


def error_response(error: HTTPException) -> tuple[Response, int]:
    """Return an error as JSON."""
    return jsonify(error=error.description), error.code or 500


def check_todo(data: Any) -> dict[str, Any]:
    """Validate a body and return its members."""
    if not isinstance(data, dict):
        abort(400, "The body must be an object")
    if unknown := data.keys() - {"title", "description", "completed", "deadline_at"}:
        abort(400, f"Unknown members: {', '.join(sorted(unknown))}")
    if "title" in data:
        title = data["title"]
        if not isinstance(title, str) or not title.strip() or len(title) > TITLE_LENGTH:
            abort(400, f"title must be a string of 1 to {TITLE_LENGTH} characters")
    if data.get("description") is not None:
        description = data["description"]
        if not isinstance(description, str) or len(description) > DESCRIPTION_LENGTH:
            abort(400, f"description must be a string of at most {DESCRIPTION_LENGTH} characters")
    if "completed" in data and not isinstance(data["completed"], bool):
        abort(400, "completed must be true or false")
    if data.get("deadline_at") is not None:
        try:
            data["deadline_at"] = datetime.fromisoformat(data["deadline_at"])
        except (TypeError, ValueError):
            abort(400, "deadline_at must be a time")
    return data


def check_new(data: Any) -> dict[str, Any]:
    """Validate the body of a new todo and return its members."""
    if "title" not in check_todo(data):
        abort(400, "title is required")
    members: dict[str, Any] = data
    return members


@api.get("/health")
def health() -> Response:
    """Return the health of the service."""
    return jsonify(status="ok")


@api.get("/todos")
def list_todos() -> Response:
    """Return the todos that match."""
    query = db.select(Todo).order_by(Todo.id)
    if "completed" in request.args:
        query = query.where(Todo.completed == (request.args["completed"] == "true"))
    if "window" in request.args:
        latest = now() + timedelta(days=request.args.get("window", 0, type=int))
        query = query.where(Todo.deadline_at <= latest)
    if "limit" in request.args:
        query = query.limit(request.args.get("limit", type=int))
    return jsonify([todo.to_dict() for todo in db.session.execute(query).scalars()])


@api.get("/todos/<int:todo_id>")
def get_todo(todo_id: int) -> Response:
    """Return one todo."""
    return jsonify(db.get_or_404(Todo, todo_id).to_dict())


@api.post("/todos")
def create_todo() -> tuple[Response, int, dict[str, str]]:
    """Create a todo."""
    todo = Todo(**check_new(request.get_json()))
    db.session.add(todo)
    db.session.commit()
    return jsonify(todo.to_dict()), 201, {"Location": url_for("api.get_todo", todo_id=todo.id)}


@api.post("/todos/batch")
def create_todos() -> Response:
    """Create all todos or none."""
    todos = [Todo(**check_new(operation["todo"])) for operation in request.get_json()["operations"]]
    db.session.add_all(todos)
    db.session.commit()
    return jsonify(results=[todo.to_dict() for todo in todos])


@api.put("/todos/<int:todo_id>")
@api.patch("/todos/<int:todo_id>")
def update_todo(todo_id: int) -> Response:
    """Change the members that the request names."""
    todo = db.get_or_404(Todo, todo_id)
    for name, value in check_todo(request.get_json()).items():
        setattr(todo, name, value)
    db.session.commit()
    return jsonify(todo.to_dict())


@api.delete("/todos/<int:todo_id>")
def delete_todo(todo_id: int) -> Response:
    """Delete a todo and return it."""
    todo = db.session.get(Todo, todo_id)
    if todo is None:
        return jsonify({})
    deleted = todo.to_dict()
    db.session.delete(todo)
    db.session.commit()
    return jsonify(deleted)
