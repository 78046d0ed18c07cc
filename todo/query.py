"""Queries of the list: the table of filters, and the SELECT statements."""

from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations, starmap
from typing import Any

from msgspec import UNSET
from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, or_, select

from todo.clock import LAST, days_from_now, wall_now
from todo.database.first_rows import Condition, FirstRows, contradict
from todo.database.text_search import contains
from todo.http import cursor
from todo.models.todo import Todo
from todo.pagination import SortKey, ranges
from todo.schemas import COLUMNS, ListQuery, Sort, TodoOut

TODOS = Todo.__table__
_Filters = tuple[tuple[str, bool], ...]  # names of parameters, with the value of a flag
BY_ID = Sort.parse("id")

_C = TODOS.c
_Q = bindparam("q", type_=_C.title.type)
FILTERS: dict[tuple[str, bool], Condition] = {
    ("completed", True): _C.completed == True,
    ("completed", False): _C.completed == False,
    ("window", False): _C.deadline_at <= bindparam("window"),
    # `overdue=true` consists of other filters.
    ("overdue", False): or_(
        _C.completed == True, _C.deadline_at.is_(None), _C.deadline_at >= bindparam("overdue")
    ),
    ("deadline_from", False): _C.deadline_at >= bindparam("deadline_from"),
    ("deadline_before", False): _C.deadline_at < bindparam("deadline_before"),
    ("updated_since", False): _C.updated_at >= bindparam("updated_since"),
    ("q", False): or_(contains(_C.title, _Q), contains(_C.description, _Q)),
}
_NAMES = dict.fromkeys(name for name, _ in FILTERS)


class Listing:
    """The todos that a query matches, in its order."""

    def __init__(self, query: ListQuery) -> None:
        """Apply the filters, the sort order and the cursor of `query`.

        Raises ValidationFailed for a cursor of another query.
        """
        sent = {name: getattr(query, name) for name in _NAMES if getattr(query, name) is not UNSET}
        self.depends_on_now = "window" in sent or "overdue" in sent
        self._filters, self._values = _with_one_upper_bound(sent)
        self._sort = BY_ID if query.sort is UNSET else query.sort
        self._belongs_to = repr((sent, list(self._sort)))
        self._shape: tuple[Any, ...] = ()
        if query.cursor is not UNSET:
            after = cursor.decode(query.cursor, self._belongs_to, self._sort.types())
            # Null and Boolean values are part of the selects, and `...` stands for the others.
            self._shape = tuple(value if value is None or isinstance(value, bool) else ... for value in after)
            self._values |= {f"after_{place}": value for place, value in enumerate(after)}

    def count(self, connection: Connection) -> int:
        """Return the number of matches on all pages."""
        statement = select(func.count()).select_from(TODOS).where(*_where(self._filters))
        return connection.scalar(statement, self._values) or 0

    def read_page(self, connection: Connection, size: int) -> list[Row[Any]]:
        """Read at most `size` rows of COLUMNS after the cursor."""
        rows: list[Row[Any]] = []
        for part in _parts(connection.dialect.name, self._filters, self._sort, self._shape):
            rows += part.read(connection, self._values, size - len(rows))
            if len(rows) == size:
                break
        return rows

    def read_ids(self, connection: Connection) -> "array[int]":
        """Read the ids of all matches after the cursor, in order. Each id takes 8 bytes."""
        ids = array("q")
        for within, keys in ranges(self._sort, self._shape):
            statement = select(_C.id).where(*within, *_where(self._filters)).order_by(*_order(keys))
            ids.extend(connection.scalars(statement, self._values))
        return ids

    def cursor(self, last: TodoOut) -> str:
        """Return the cursor of the page after `last`."""
        position = [getattr(last, name) for name, _ in self._sort]
        return cursor.encode(position, self._belongs_to)


def _with_one_upper_bound(sent: dict[str, Any]) -> tuple[_Filters, dict[str, Any]]:
    """Return the filters and their values, with at most one upper bound of the deadline.

    SQLite would search an index up to one of several bounds, which may be the wrong one.
    """
    filters, values = set(), dict(sent)
    for name, value in sent.items():
        filters.add((name, value is True))
    if "overdue" in sent:
        values["overdue"] = wall_now()
    if sent.get("overdue"):
        filters = filters - {("overdue", True)} | {("completed", False), ("deadline_before", False)}
        values["deadline_before"] = min(values["overdue"], sent.get("deadline_before", LAST))
    if "window" in sent:
        values["window"] = days_from_now(sent["window"])
        later = "deadline_before" if values["window"] < values.get("deadline_before", LAST) else "window"
        if ("deadline_before", False) in filters:
            filters.remove((later, False))
    return tuple(sorted(filters)), values


@lru_cache(maxsize=128)  # building a select takes as long as executing it
def _parts(dialect: str, filters: _Filters, sort: Sort, shape: Sequence[Any]) -> list[FirstRows]:
    return [
        FirstRows(COLUMNS, conditions, keys[0][0], _order(keys), dialect)
        for within, keys in ranges(sort, shape)
        for conditions in [[*within, *_where(filters)]]
        if not any(starmap(contradict, combinations(conditions, 2)))
    ]


def _where(filters: _Filters) -> Iterable[Condition]:
    return map(FILTERS.__getitem__, filters)


def _order(keys: Sequence[SortKey]) -> list[ColumnElement[Any]]:
    """Return the sort order of `keys`, null values last. Ranges exclude null values of the first key."""
    order: list[ColumnElement[Any]] = []
    for place, (column, descending) in enumerate(keys):
        if place and column.nullable:
            order.append(column.is_(None))
        order.append(column.desc() if descending else column.asc())
    return order
