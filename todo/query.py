"""The query of the list, and the select that answers it."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType
from sqlalchemy import ColumnElement, Select, Table, select

from todo.clock import wall_now
from todo.models.todo import Todo

TODOS: Table = Todo.__table__
MAX_WINDOW = 3_652_058  # days from the year 1 to the year 9999
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001 - a wall time

Completed = Annotated[bool, Meta(description="true or false")]
Window = Annotated[
    int, Meta(ge=0, le=MAX_WINDOW, description=f"a whole number of days from 0 to {MAX_WINDOW}")
]


class ListQuery(Struct, kw_only=True):
    """The parameters of the list; one that is not sent does not filter."""

    completed: Completed | UnsetType = UNSET
    window: Window | UnsetType = UNSET


def _window(days: int) -> ColumnElement[bool]:
    now = wall_now()
    latest = now + timedelta(days=days) if days <= (_LAST - now).days else _LAST
    return TODOS.c.deadline_at <= latest


FILTERS = {
    "completed": lambda completed: TODOS.c.completed == completed,
    "window": _window,
}


def page(query: ListQuery, after: int | None, size: int) -> Select[Any]:
    """At most `size` todos that match `query`, in `id` order, beginning behind the id `after`."""
    statement = select(*TODOS.c).order_by(TODOS.c.id).limit(size)
    for name, condition in FILTERS.items():
        value = getattr(query, name)
        if value is not UNSET:
            statement = statement.where(condition(value))
    return statement if after is None else statement.where(TODOS.c.id > after)
