"""The API in the style of FastAPI's tutorial: pydantic models, and a session as a dependency."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine(os.environ["DATABASE_URL"], connect_args={"check_same_thread": False})
app = FastAPI()
api = APIRouter(prefix="/api/v1")


def get_session() -> Iterator[Session]:
    """Yield a session for each request."""
    with Session(engine) as session:
        yield session


Database = Annotated[Session, Depends(get_session)]


def now() -> datetime:
    """Return the current time in UTC, without an offset, as SQLite stores it."""
    return datetime.now(UTC).replace(tzinfo=None)


class Base(DeclarativeBase):
    """The declarative base."""


class Todo(Base):
    """A todo in the database."""

    __tablename__ = "todos"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(80))
    description: Mapped[str | None] = mapped_column(String(120))
    completed: Mapped[bool] = mapped_column(default=False, index=True)
    deadline_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


Title = Annotated[str, Field(min_length=1, max_length=80, pattern=r"\S")]


class TodoCreate(BaseModel):
    """The body of a new todo."""

    model_config = ConfigDict(extra="forbid")

    title: Title
    description: str | None = Field(default=None, max_length=120)
    completed: bool = Field(default=False, strict=True)
    deadline_at: datetime | None = None


class TodoUpdate(TodoCreate):
    """The body of an update."""

    title: Title = ""


class TodoPublic(BaseModel):
    """A todo in a response."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    title: str
    description: str | None
    completed: bool
    deadline_at: datetime | None
    created_at: datetime
    updated_at: datetime


class Operation(BaseModel):
    """An operation of a batch."""

    op: Literal["create"]
    todo: TodoCreate


class Batch(BaseModel):
    """The body of a batch."""

    operations: list[Operation] = Field(max_length=1000)


class Results(BaseModel):
    """The response to a batch."""

    results: list[TodoPublic]


@api.get("/health")
def health() -> dict[str, str]:
    """Return the health of the service."""
    return {"status": "ok"}


@api.get("/todos", response_model=list[TodoPublic])
def list_todos(
    session: Database,
    completed: bool | None = None,
    limit: Annotated[int | None, Field(ge=1, le=1000)] = None,
) -> object:
    """Return the todos that match."""
    query = select(Todo).order_by(Todo.id).limit(limit)
    if completed is not None:
        query = query.where(Todo.completed == completed)
    return session.scalars(query).all()


@api.get("/todos/{todo_id}", response_model=TodoPublic)
def get_todo(session: Database, todo_id: int) -> Todo:
    """Return one todo."""
    todo = session.get(Todo, todo_id)
    if todo is None:
        raise HTTPException(404, "Todo not found")
    return todo


@api.post("/todos", response_model=TodoPublic, status_code=201)
def create_todo(session: Database, data: TodoCreate, response: Response) -> Todo:
    """Create a todo."""
    todo = Todo(**data.model_dump())
    session.add(todo)
    session.commit()
    session.refresh(todo)
    response.headers["Location"] = f"/api/v1/todos/{todo.id}"
    return todo


@api.put("/todos/{todo_id}", response_model=TodoPublic)
@api.patch("/todos/{todo_id}", response_model=TodoPublic)
def update_todo(session: Database, todo_id: int, data: TodoUpdate) -> Todo:
    """Change the members that the request names."""
    todo = get_todo(session, todo_id)
    for name, value in data.model_dump(exclude_unset=True).items():
        setattr(todo, name, value)
    session.commit()
    session.refresh(todo)
    return todo


@api.post("/todos/batch", response_model=Results)
def create_todos(session: Database, batch: Batch) -> object:
    """Create all todos or none."""
    todos = [Todo(**operation.todo.model_dump()) for operation in batch.operations]
    session.add_all(todos)
    session.flush()
    results = Results.model_validate({"results": todos}, from_attributes=True)
    session.commit()
    return results


app.include_router(api)


def create_tables() -> None:
    """Create the table before the workers start."""
    Base.metadata.create_all(engine)
