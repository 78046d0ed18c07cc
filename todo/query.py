"""Queries of the list: the table of filters, and the SELECT statements."""

from array import array
from collections.abc import Callable, Container, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import UNSET
from sqlalchemy import Boolean, ColumnElement, Connection, Integer, Row, Select, bindparam, func, or_, select

from todo.clock import days_from_now, wall_now
from todo.database.text_search import contains
from todo.http import cursor
from todo.models import MOMENT
from todo.models.todo import Todo
from todo.pagination import ranges
from todo.schemas import COLUMNS, ListQuery, Sort, SortKey, TodoOut

TODOS = Todo.__table__
BY_ID = Sort((SortKey(TODOS.c.id, descending=False),))


class Filter(NamedTuple):
    """The SQL condition of a parameter of the list."""

    # Takes the columns, the value of a flag, and the bound parameter.
    condition: Callable[[Any, bool, Any], Any]
    type: Any
    # Converts the value of the parameter to the value of the bound parameter.
    value: Callable[[Any], Any] | None = None


def _overdue(todos: Any, wanted: bool, now: Any) -> Any:
    if wanted:
        return (todos.completed == False) & (todos.deadline_at < now)  # SQL
    return or_(todos.completed == True, todos.deadline_at.is_(None), todos.deadline_at >= now)


FILTERS = {
    "completed": Filter(lambda todos, wanted, _: todos.completed == wanted, Boolean()),
    "window": Filter(lambda todos, _, end: todos.deadline_at <= end, MOMENT, days_from_now),
    "overdue": Filter(_overdue, MOMENT, lambda _: wall_now()),
    "deadline_from": Filter(lambda todos, _, time: todos.deadline_at >= time, MOMENT),
    "deadline_before": Filter(lambda todos, _, time: todos.deadline_at < time, MOMENT),
    "updated_since": Filter(lambda todos, _, time: todos.updated_at >= time, MOMENT),
    "q": Filter(
        lambda todos, _, text: or_(contains(todos.title, text), contains(todos.description, text)),
        TODOS.c.title.type,
    ),
}
# Responses with these filters change over time, although no row changes.
DEPENDS_ON_NOW = {"window", "overdue"}
# The filters, with the value of a flag, that match only todos with a deadline.
_WITH_DEADLINE = {("window", False), ("deadline_from", False), ("deadline_before", False), ("overdue", True)}
_NO_DEADLINE = TODOS.c.deadline_at.is_(None)
# For each first sort key, the filters that the index of the sort order also serves. `q` has no index.
_ALWAYS = {("q", False)}
_BY_STATE = {*_ALWAYS, ("completed", True), ("completed", False)}
_SERVED = {"id": _BY_STATE, "deadline_at": _BY_STATE | _WITH_DEADLINE}
_SERVED["updated_at"] = {*_ALWAYS, ("updated_since", False)}
# Number of rows that are searched for matches in the sort order. If that finds too few matches, all matches
# are sorted. SQLite's planner cannot know which plan is faster, and the wrong plan takes a second on a
# million rows. Searching 20,000 rows takes about 20 ms.
SEARCHED_ROWS = 20_000

_SIZE = bindparam("size", type_=Integer())
_Filters = tuple[tuple[str, bool], ...]  # the name of each filter, and the value of a flag


class Listing:
    """The todos that a query matches, in its order."""

    def __init__(self, query: ListQuery) -> None:
        """Apply the filters, the sort order and the cursor of `query`.

        Raises ValidationFailed for a cursor of another query.
        """
        sent = {name: getattr(query, name) for name in FILTERS if getattr(query, name) is not UNSET}
        self.depends_on_now = not DEPENDS_ON_NOW.isdisjoint(sent)
        self._filters = tuple((name, value is True) for name, value in sent.items())
        self._values = dict(sent)
        for name, value in sent.items():
            if convert := FILTERS[name].value:
                self._values[name] = convert(value)
        self._sort = BY_ID if query.sort is UNSET else query.sort
        self._belongs_to = repr((sent, [(key.column.key, key.descending) for key in self._sort]))
        after: list[Any] = []
        if query.cursor is not UNSET:
            after = cursor.decode(query.cursor, self._belongs_to, self._sort.types())
        # Null and Boolean values are part of the statement. `...` represents a parameter.
        self._shape = tuple(value if value is None or isinstance(value, bool) else ... for value in after)
        self._values |= {f"after_{place}": value for place, value in enumerate(after)}

    def count(self, connection: Connection) -> int:
        """Return the number of matches on all pages."""
        statement = select(func.count()).select_from(TODOS).where(*_conditions(TODOS.c, self._filters))
        return connection.scalar(statement, self._values) or 0

    def read_page(self, connection: Connection, size: int) -> list[Row[Any]]:
        """Read at most `size` rows of COLUMNS after the cursor."""
        rows: list[Row[Any]] = []
        for range_selects in _page_selects(connection.dialect.name, self._filters, self._sort, self._shape):
            values = self._values | {"size": size - len(rows)}
            found: Sequence[Row[Any]] = ()
            for statement in range_selects:
                found = connection.execute(statement, values).all()
                if len(found) == values["size"]:
                    return [*rows, *found]
            rows += found
        return rows

    def read_ids(self, connection: Connection) -> "array[int]":
        """Read the ids of all matches after the cursor, in order. Each id takes 8 bytes."""
        ids = array("q")
        for statement in _id_selects(self._filters, self._sort, self._shape):
            ids.extend(connection.scalars(statement, self._values))
        return ids

    def cursor(self, last: TodoOut) -> str:
        """Return the cursor of the page after `last`."""
        position = [getattr(last, key.column.key) for key in self._sort]
        return cursor.encode(position, self._belongs_to)


# Building a statement takes as long as executing it.
@lru_cache(maxsize=128)
def _page_selects(
    dialect: str, filters: _Filters, sort: Sort, shape: Sequence[Any]
) -> list[list[Select[Any]]]:
    served = _SERVED.get(sort[0].column.key, _ALWAYS)
    has_deadline = not _WITH_DEADLINE.isdisjoint(filters)
    return [
        _range_selects(dialect, filters, served, *part)
        for part in ranges(sort, shape)
        if not (has_deadline and part[0] and part[0][0].compare(_NO_DEADLINE))  # an empty range
    ]


def _range_selects(
    dialect: str,
    filters: _Filters,
    served: Container[tuple[str, bool]],
    conditions: Sequence[ColumnElement[bool]],
    keys: Sequence[SortKey],
) -> list[Select[Any]]:
    rows = select(*COLUMNS).where(*conditions)
    if dialect != "sqlite" or all(item in served for item in filters):
        return [rows.where(*_conditions(TODOS.c, filters)).order_by(*_order(TODOS.c, keys)).limit(_SIZE)]
    # SQLite moves no condition and no sort order into a subquery with a limit. So the first statement uses
    # the index of the sort order, and the second statement the index of the filter.
    first = rows.order_by(*_order(TODOS.c, keys)).limit(SEARCHED_ROWS).subquery()
    matches = rows.where(*_conditions(TODOS.c, filters)).limit(-1).subquery()
    return [
        select(first).where(*_conditions(first.c, filters)).limit(_SIZE),
        select(matches).order_by(*_order(matches.c, keys)).limit(_SIZE),
    ]


@lru_cache(maxsize=32)
def _id_selects(filters: _Filters, sort: Sort, shape: Sequence[Any]) -> list[Select[Any]]:
    return [
        select(TODOS.c.id).where(*conditions, *_conditions(TODOS.c, filters)).order_by(*_order(TODOS.c, keys))
        for conditions, keys in ranges(sort, shape)
    ]


def _conditions(todos: Any, filters: _Filters) -> list[ColumnElement[bool]]:
    return [
        FILTERS[name].condition(todos, flag, bindparam(name, type_=FILTERS[name].type))
        for name, flag in filters
    ]


def _order(todos: Any, keys: Sequence[SortKey]) -> list[ColumnElement[Any]]:
    """Return the sort order of `keys`, null values last. Ranges exclude null values of the first key."""
    order: list[ColumnElement[Any]] = []
    for place, (key, descending) in enumerate(keys):
        column = todos[key.key]
        if place and key.nullable:
            order.append(column.is_(None))
        order.append(column.desc() if descending else column.asc())
    return order
