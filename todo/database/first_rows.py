"""The first todos that meet some conditions, in a sort order, from up to a million todos.

SQLite's planner does not know how many rows a condition matches, and a wrong guess takes seconds. Database
servers keep statistics, so one SELECT is enough there.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Integer, Row, Select, bindparam, func, select
from sqlalchemy.sql import operators
from sqlalchemy.sql.visitors import replacement_traverse

from todo.models.todo import Todo

Condition = ColumnElement[bool]

# Search this many rows in the sort order. If too few match, read all matches by the index with the fewest
# rows, and sort them. They are few too, unless they depend on the sort order. The search takes 10 to 20 ms,
# so it is skipped if an index finds few rows.
SEARCHED_ROWS = 4_000
FEW_ROWS = 1_000
COUNTED_ROWS = 100_000  # of each index, to compare two; counting them takes 3 ms

_C = Todo.__table__.c
# Their indexes find the matches of conditions. The index of the deadline has `completed` too.
_INDEXED = (_C.deadline_at, _C.updated_at, _C.created_at, _C.title)
_SIZE, _MOST = bindparam("size", type_=Integer()), bindparam("most", type_=Integer())
_EQUAL = {operators.eq, operators.is_}
_BOUNDS = {"lower": {operators.gt, operators.ge, *_EQUAL}, "upper": {operators.lt, operators.le, *_EQUAL}}


class FirstRows:
    """The rows that meet `conditions`, in the order `order`, whose first column is `key`."""

    def __init__(
        self,
        columns: Sequence[Any],
        conditions: Sequence[Condition],
        key: Column[Any],
        order: Sequence[ColumnElement[Any]],
        dialect: str,
    ) -> None:
        conditions = _without_implied(conditions)
        served = _served(conditions, key) if dialect == "sqlite" else set(conditions)
        others = [condition for condition in conditions if condition not in served]
        self.search = select(*columns).where(*served).order_by(*order)
        self.matches: list[Select[Any]] = []
        self.counts: list[Select[Any]] = []
        if not others:
            self.search = self.search.limit(_SIZE)
            return
        # A subquery with a limit is planned by itself, so its own conditions decide which index it uses.
        found = self.search.limit(SEARCHED_ROWS).subquery()
        self.search = select(found).where(*_of(found, others)).limit(_SIZE)
        groups = [[item for item in conditions if _column(item) is column] for column in _INDEXED]
        groups[0] += [item for item in conditions if _column(item) is _C.completed]
        for group in filter(None, groups) if any(groups) else [[]]:
            rows = select(*columns).where(*group).limit(-1).subquery()
            page = select(rows).where(*_of(rows, conditions)).order_by(*_of(rows, order)).limit(_SIZE)
            self.matches.append(page)
            counted = select(_C.id).where(*group).limit(_MOST).subquery()
            self.counts.append(select(func.count()).select_from(counted))

    def read(self, connection: Connection, values: dict[str, Any], size: int) -> Sequence[Row[Any]]:
        """Read at most `size` rows. `values` are the parameters of the conditions."""
        values = values | {"size": size, "most": COUNTED_ROWS if len(self.counts) > 1 else FEW_ROWS}
        attempts = [self.search]
        if self.matches:
            counts: list[int] = [connection.execute(count, values).scalar_one() for count in self.counts]
            fewest = self.matches[counts.index(min(counts))]
            attempts = [fewest] if min(counts) < FEW_ROWS else [self.search, fewest]
        rows: Sequence[Row[Any]] = ()
        for statement in attempts:
            rows = connection.execute(statement, values).all()
            if len(rows) == size:
                break
        return rows


def contradict(one: Condition, other: Condition) -> bool:
    """Return True if two conditions on one column exclude each other: two Booleans, or null and a value."""
    column = _column(one)
    if column is None or column is not _column(other) or one.compare(other):
        return False
    return column is _C.completed or operators.is_ in {_operator(one), _operator(other)}


def _without_implied(conditions: Sequence[Condition]) -> list[Condition]:
    """Leave out a bound of a column that has one already. The first conditions are those of the cursor.

    SQLite searches an index up to one of several bounds, which may be the wrong one.
    """
    kept, bounds = [], set[Any]()
    for condition in conditions:
        found = {
            (_column(condition), name) for name, bound in _BOUNDS.items() if _operator(condition) in bound
        }
        if not found or not found <= bounds:
            kept.append(condition)
            bounds |= found
    return kept


def _served(conditions: Iterable[Condition], key: Column[Any]) -> set[Condition]:
    """Return the conditions whose matches one index finds in the order of `key`."""
    served = {item for item in conditions if _column(item) is key}
    if key is _C.deadline_at:
        served |= {item for item in conditions if _column(item) is _C.completed}
    if key is _C.id:
        served.update([item for item in conditions if _operator(item) in _EQUAL][:1])
    return served


def _column(condition: Condition) -> Any:
    return getattr(condition, "left", None)


def _operator(condition: Condition) -> Any:
    return getattr(condition, "operator", None)


def _of(rows: Any, clauses: Iterable[ColumnElement[Any]]) -> list[Any]:
    """Apply clauses on columns of the table to the same columns of a subquery."""
    place: Any = lambda part, **_: rows.c[part.key] if isinstance(part, Column) else None
    return [replacement_traverse(clause, {}, place) for clause in clauses]
