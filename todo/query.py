"""Queries of the list: the table of filters, and the SELECT statements."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from msgspec import UNSET
from sqlalchemy import Column, ColumnElement, Connection, Integer, Row, Select, bindparam, func, or_, select
from sqlalchemy.sql.visitors import replacement_traverse

from todo.clock import days_from_now, wall_now
from todo.database.text_search import contains
from todo.http import cursor
from todo.models.todo import Todo
from todo.pagination import ranges
from todo.schemas import COLUMNS, ListQuery, Sort, SortKey, TodoOut

TODOS = Todo.__table__
_Filter = tuple[str, bool]  # the name of a parameter and the value of a flag
_Filters = tuple[_Filter, ...]
_Select = Select[Any]
_Matches = dict[_Filters, _Select]  # the selects of all matches, by the filters whose index they use
BY_ID = Sort((SortKey(TODOS.c.id, descending=False),))

_C = TODOS.c
_Q = bindparam("q", type_=_C.title.type)
FILTERS: dict[_Filter, ColumnElement[bool]] = {
    ("completed", True): _C.completed == True,
    ("completed", False): _C.completed == False,
    ("window", False): _C.deadline_at <= bindparam("window"),
    ("overdue", True): (_C.completed == False) & (_C.deadline_at < bindparam("overdue")),
    ("overdue", False): or_(
        _C.completed == True, _C.deadline_at.is_(None), _C.deadline_at >= bindparam("overdue")
    ),
    ("deadline_from", False): _C.deadline_at >= bindparam("deadline_from"),
    ("deadline_before", False): _C.deadline_at < bindparam("deadline_before"),
    ("updated_since", False): _C.updated_at >= bindparam("updated_since"),
    ("q", False): or_(contains(_C.title, _Q), contains(_C.description, _Q)),
}
# The parameters whose values are times from now.
FROM_NOW: dict[str, Callable[[Any], Any]] = {"window": days_from_now, "overdue": lambda _: wall_now()}
# The conditions that no match of a filter meets.
_NONE = (_C.deadline_at.is_(None),)
_EXCLUDED = {
    ("completed", True): (_C.completed == False,),
    ("completed", False): (_C.completed == True,),
    ("overdue", True): (_C.completed == True, *_NONE),
    **dict.fromkeys([("window", False), ("deadline_from", False), ("deadline_before", False)], _NONE),
}
# The filters that an index serves, by the first sort key that the same index serves.
_INDEXES = {"deadline_at": [*_EXCLUDED], "updated_at": [("updated_since", False)]}
_SERVED = _INDEXES | {"id": [("completed", True), ("completed", False)]}
# SQLite's planner does not know how many rows a filter matches, and a wrong guess takes seconds on a million
# todos. So this many rows are searched in the sort order. If too few of them match, all matches are read by
# the index of the filters with the fewest rows, and sorted. A filter that is independent of the sort order
# then has few matches. Searching 10,000 rows takes 10 to 20 ms, so a filter with few rows skips the search.
SEARCHED_ROWS = 10_000
FEW_ROWS = 1_000
COUNTED_ROWS = 100_000  # of each index, to compare two; counting them takes 3 ms
_SIZE = bindparam("size", type_=Integer())


class Listing:
    """The todos that a query matches, in its order."""

    def __init__(self, query: ListQuery) -> None:
        """Apply the filters, the sort order and the cursor of `query`.

        Raises ValidationFailed for a cursor of another query.
        """
        sent = {name: getattr(query, name) for name, _ in FILTERS if getattr(query, name) is not UNSET}
        self.depends_on_now = not FROM_NOW.keys().isdisjoint(sent)
        self._filters = tuple((name, value is True) for name, value in sent.items())
        self._values = sent | {name: FROM_NOW[name](sent[name]) for name in FROM_NOW if name in sent}
        self._sort = BY_ID if query.sort is UNSET else query.sort
        self._belongs_to = repr((sent, [(key.column.key, key.descending) for key in self._sort]))
        after: list[Any] = []
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
        for first, matches in _page_selects(connection.dialect.name, self._filters, self._sort, self._shape):
            values = self._values | {"size": size - len(rows)}
            found: Sequence[Row[Any]] = ()
            for statement in self._attempts(connection, first, matches) if matches else [first]:
                found = connection.execute(statement, values).all()
                if len(found) == values["size"]:
                    return [*rows, *found]
            rows += found
        return rows

    def _attempts(self, connection: Connection, first: _Select, matches: _Matches) -> list[_Select]:
        """Return the selects to execute until one of them fills the page."""
        counts = {}
        for group in matches:
            most = COUNTED_ROWS if len(matches) > 1 else FEW_ROWS
            rows = select(_C.id).where(*_where(group)).limit(most).subquery()
            counts[group] = connection.scalar(select(func.count()).select_from(rows), self._values) or 0
        fewest = min(counts, key=counts.__getitem__)
        return [matches[fewest]] if counts[fewest] < FEW_ROWS else [first, matches[fewest]]

    def read_ids(self, connection: Connection) -> "array[int]":
        """Read the ids of all matches after the cursor, in order. Each id takes 8 bytes."""
        ids = array("q")
        for within, keys in ranges(self._sort, self._shape):
            statement = select(_C.id).where(*within, *_where(self._filters)).order_by(*_order(keys))
            ids.extend(connection.scalars(statement, self._values))
        return ids

    def cursor(self, last: TodoOut) -> str:
        """Return the cursor of the page after `last`."""
        position = [getattr(last, key.column.key) for key in self._sort]
        return cursor.encode(position, self._belongs_to)


@lru_cache(maxsize=128)  # building a select takes as long as executing it
def _page_selects(
    dialect: str, filters: _Filters, sort: Sort, shape: Sequence[Any]
) -> list[tuple[_Select, _Matches]]:
    excluded = [condition for item in filters for condition in _EXCLUDED.get(item, ())]
    return [
        _range_selects(dialect, filters, within, keys)
        for within, keys in ranges(sort, shape)
        if not any(condition.compare(other) for condition in within for other in excluded)
    ]


def _range_selects(
    dialect: str, filters: _Filters, within: list[ColumnElement[bool]], keys: Sequence[SortKey]
) -> tuple[_Select, _Matches]:
    served = _SERVED.get(keys[0].column.key, ())
    others = [item for item in filters if dialect == "sqlite" and item not in served]
    first = select(*COLUMNS).where(*within, *_where(item for item in filters if item not in others))
    first = first.order_by(*_order(keys))
    if not others:
        return first.limit(_SIZE), {}
    # A subquery with a limit is planned by itself, so its own conditions decide which index it uses.
    searched = first.limit(SEARCHED_ROWS).subquery()
    groups = [tuple(item for item in filters if item in index) for index in _INDEXES.values()]
    matches = {}
    for group in filter(None, groups) if any(groups) else [()]:
        rows = select(*COLUMNS).where(*_where(group)).limit(-1).subquery()
        rest = [*within, *_where(item for item in filters if item not in group)]
        matches[group] = select(rows).where(*_of(rows, rest)).order_by(*_of(rows, _order(keys))).limit(_SIZE)
    return select(searched).where(*_of(searched, _where(others))).limit(_SIZE), matches


def _where(filters: Iterable[_Filter]) -> Iterable[ColumnElement[bool]]:
    return map(FILTERS.__getitem__, filters)


def _order(keys: Sequence[SortKey]) -> list[ColumnElement[Any]]:
    """Return the sort order of `keys`, null values last. Ranges exclude null values of the first key."""
    order: list[ColumnElement[Any]] = []
    for place, (column, descending) in enumerate(keys):
        if place and column.nullable:
            order.append(column.is_(None))
        order.append(column.desc() if descending else column.asc())
    return order


def _of(rows: Any, clauses: Iterable[ColumnElement[Any]]) -> list[Any]:
    """Apply clauses on columns of TODOS to the same columns of a subquery."""
    place: Any = lambda part, **_: rows.c[part.key] if isinstance(part, Column) else None
    return [replacement_traverse(clause, {}, place) for clause in clauses]
