"""The query of the list, and the selects that answer it.

Filters and sort keys are rows of a table. Pages are keyset pages: the select of the next page begins
behind the values of the last row, so that nothing is skipped or repeated while others write.
"""

import base64
import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from math import isqrt
from types import SimpleNamespace
from typing import Annotated, Any, NamedTuple, Self

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Table,
    bindparam,
    func,
    or_,
    select,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.expression import UpdateBase
from sqlalchemy.types import TypeEngine

from todo.clock import Instant, WallTime, format_instant, wall_now
from todo.database.statement import Rows, Statement
from todo.database.text_search import contains
from todo.http.problem import Fault, ValidationFailed
from todo.models.todo import Todo, read_instant
from todo.schemas import TodoOut

TODOS: Table = Todo.__table__
MAX_LIMIT = 1000
MAX_WINDOW = 3_652_058  # days from the year 1 to the year 9999
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001 - a wall time


def reading_todos(statement: Select[Any] | UpdateBase) -> Statement[TodoOut]:
    """A statement that returns the columns of TODOS, read as todos."""
    return Statement(statement, _read_sqlite, _read_server)


def _read_sqlite(rows: Rows) -> list[TodoOut]:
    parse = datetime.fromisoformat
    return [
        TodoOut(
            number,
            title,
            text,
            completed == 1,
            deadline and parse(deadline),
            read_instant(made),
            read_instant(changed),
        )
        for number, title, text, completed, deadline, made, changed in rows
    ]


def _read_server(rows: Rows) -> list[TodoOut]:
    return [
        TodoOut(number, title, text, completed, deadline, format_instant(made), format_instant(changed))
        for number, title, text, completed, deadline, made, changed in rows
    ]


_Columns = ReadOnlyColumnCollection[str, Any]
_Conditions = dict[str, ColumnElement[bool]]


class SortKey(NamedTuple):
    """A column to sort by."""

    column: Column[Any]
    descending: bool


class Sort(tuple[SortKey, ...]):
    """Sort keys, the most significant first; `id` is always the last and breaks ties."""

    __slots__ = ()

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read `-deadline_at,title`; raises ValueError for anything but members and commas."""
        keys: dict[str, SortKey] = {}
        for term in str(value).split(","):
            name = term.removeprefix("-")
            if name not in TODOS.c:
                raise ValueError("not a member")
            keys.setdefault(name, SortKey(TODOS.c[name], term.startswith("-")))
            if name == "id":  # nothing is left to sort
                break
        keys.setdefault("id", SortKey(TODOS.c.id, descending=False))
        return cls(keys.values())

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of the strings that `from_json` takes."""
        term = f"-?(?:{'|'.join(TODOS.c.keys())})"
        return {"type": "string", "pattern": f"^{term}(?:,{term})*$"}


Flag = Annotated[bool, Meta(description="true or false")]
Window = Annotated[
    int,
    Meta(ge=0, le=MAX_WINDOW, description=f"a whole number of days from 0 to {MAX_WINDOW}"),
]
WallTimeBound = Annotated[
    WallTime,
    Meta(
        description="a time such as 2027-01-31T18:00:00, or 2027-01-31 for its midnight "
        "(the + of an offset is written %2B)"
    ),
]
InstantBound = Annotated[
    Instant,
    Meta(
        description="a time such as 2027-01-31T18:00:00Z, in UTC where no offset is sent "
        "(the + of an offset is written %2B)"
    ),
]
Text = Annotated[
    str,
    Meta(
        min_length=1,
        pattern=r"^[^\u0000]*$(?!\n)",
        description="text of 1 character or more, none of them U+0000",
    ),
]
SortBy = Annotated[
    Sort,
    Meta(
        description=f"members ({', '.join(TODOS.c.keys())}) with commas between them, each with - before it "
        "to descend: -deadline_at,title"
    ),
]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description=f"a whole number from 1 to {MAX_LIMIT}")]
CursorText = Annotated[
    str,
    Meta(description="taken from the Link header of the page before, with its sort and filters unchanged"),
]


class ListQuery(Struct, kw_only=True, frozen=True):
    """The parameters of the list; a filter that is not sent does not filter."""

    completed: Flag | UnsetType = UNSET
    window: Window | UnsetType = UNSET
    overdue: Flag | UnsetType = UNSET
    deadline_from: WallTimeBound | UnsetType = UNSET
    deadline_before: WallTimeBound | UnsetType = UNSET
    updated_since: InstantBound | UnsetType = UNSET
    q: Text | UnsetType = UNSET
    sort: SortBy | UnsetType = UNSET
    limit: Limit | UnsetType = UNSET
    cursor: CursorText | UnsetType = UNSET
    total: Flag = False


class Filter(NamedTuple):
    """What a parameter of the list is in SQL."""

    # Its conditions, by the column whose index finds what meets them. They are given the parameter where it
    # is a flag, and the value to compare with.
    conditions: Callable[[_Columns, bool, ColumnElement[Any]], _Conditions]
    type: TypeEngine[Any]
    # The value to compare with, of the parameter.
    value: Callable[[Any], Any] = lambda value: value


def _end_of_window(days: int) -> datetime:
    now = wall_now()
    return now + timedelta(days=days) if days <= (_LAST - now).days else _LAST


def _overdue(c: _Columns, wanted: bool, now: ColumnElement[datetime]) -> _Conditions:
    if wanted:
        return {"completed": c.completed == False, "deadline_at": c.deadline_at < now}  # noqa: E712 - SQL
    return {"": or_(c.completed == True, c.deadline_at.is_(None), c.deadline_at >= now)}  # noqa: E712


FILTERS: dict[str, Filter] = {
    "completed": Filter(lambda c, wanted, _: {"completed": c.completed == wanted}, TODOS.c.completed.type),
    "window": Filter(
        lambda c, _, end: {"deadline_at": c.deadline_at <= end}, TODOS.c.deadline_at.type, _end_of_window
    ),
    "overdue": Filter(_overdue, TODOS.c.deadline_at.type, lambda _: wall_now()),
    "deadline_from": Filter(
        lambda c, _, time: {"deadline_at": c.deadline_at >= time}, TODOS.c.deadline_at.type
    ),
    "deadline_before": Filter(
        lambda c, _, time: {"deadline_at": c.deadline_at < time}, TODOS.c.deadline_at.type
    ),
    "updated_since": Filter(
        lambda c, _, instant: {"updated_at": c.updated_at >= instant}, TODOS.c.updated_at.type
    ),
    "q": Filter(
        lambda c, _, text: {"": or_(contains(c.title, text), contains(c.description, text))},
        TODOS.c.title.type,
    ),
}

# How many rows of the order are looked at for each that is wanted, and on behalf of how many at least.
STRETCH = 10
SMALL = 40
# How many next, where so many of the first match that it may do: these, times the root of how many are
# wanted. On a million todos, to look at more takes longer than to collect all that match.
FARTHER = 1000
# The columns on which the index that gives an order can filter too.
_INDEXED_WITH = {"id": {"completed"}, "deadline_at": {"completed", "deadline_at"}}
_BY_ID = Sort((SortKey(TODOS.c.id, descending=False),))
_SIZE = bindparam("size", type_=Integer())
_STRETCH_SIZE = bindparam("stretch", type_=Integer())
_Part = tuple[list[ColumnElement[bool]], Sequence[SortKey]]
_Others = Callable[[_Columns], list[ColumnElement[bool]]]  # conditions that the order's index does not serve
_Filters = tuple[tuple[str, bool], ...]  # their names, and which are flags that are set
_Storable = Annotated[str, Meta(pattern=r"^[^\u0000]*$(?!\n)")]
# What a cursor may hold of each column; an id that no database integer can hold would be an error there.
_POSITION: dict[str, Any] = {
    "id": Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)],
    "title": _Storable,
    "description": _Storable | None,
    "completed": bool,
    "deadline_at": datetime | None,
    "created_at": datetime,
    "updated_at": datetime,
}


class Listing:
    """The todos that a query matches, in its order, read page by page."""

    def __init__(self, query: ListQuery) -> None:
        """Take the filters, the order and the start of `query`.

        Raises ValidationFailed for a cursor of another query.
        """
        filters = {name: getattr(query, name) for name in FILTERS if getattr(query, name) is not UNSET}
        self._filters = tuple((name, value is True) for name, value in filters.items())
        self._values = {name: FILTERS[name].value(value) for name, value in filters.items()}
        self._sort = _BY_ID if query.sort is UNSET else query.sort
        order = [(key.column.key, key.descending) for key in self._sort]
        what = repr((filters, order)).encode()
        self._fingerprint = hashlib.blake2b(what, digest_size=9).digest()
        self._after = None if query.cursor is UNSET else self._read(query.cursor)

    def count(self, connection: Connection) -> int:
        """Count all that match, whatever the page."""
        _, conditions = _conditions(TODOS.c, self._filters)
        statement = select(func.count()).select_from(TODOS).where(*conditions)
        return connection.scalar(statement, self._values) or 0

    def read(self, connection: Connection, size: int) -> list[TodoOut]:
        """Read the next `size` todos, fewer where there are no more."""
        after = self._after or ()
        values = self._values | {f"after_{place}": value for place, value in enumerate(after)}
        # What stands in the statements themselves.
        shape = tuple(value if value is None or isinstance(value, bool) else ... for value in after)
        todos: list[TodoOut] = []
        for branch in _plan(connection.dialect.name, self._filters, self._sort, shape):
            todos += branch.read(connection, values, size - len(todos))
            if len(todos) == size:
                break
        return todos

    def skip_past(self, todo: TodoOut) -> None:
        """Have the next page begin behind `todo`."""
        self._after = self._position([getattr(todo, key.column.key) for key in self._sort])

    def cursor(self) -> str:
        """Say where the next page begins, for a client to send back."""
        position = msgspec.json.encode(self._after)
        return base64.urlsafe_b64encode(self._fingerprint + position).decode().rstrip("=")

    def _read(self, cursor: str) -> list[Any]:
        try:
            data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            position = self._position(msgspec.json.decode(data[9:]))
        except (ValueError, msgspec.MsgspecError):
            position = None
        if position is None or data[:9] != self._fingerprint:
            raise ValidationFailed(
                Fault(
                    detail="cursor must be taken from the Link header of the page before, "
                    "with the same sort and filters as there",
                    parameter="cursor",
                )
            )
        return position

    def _position(self, values: Any) -> list[Any]:
        kinds = tuple(_POSITION[key.column.key] for key in self._sort)
        position = msgspec.convert(values, tuple[*kinds])  # type: ignore[valid-type]
        # An instant reads as UTC with an offset, and the database keeps it without.
        return [value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in position]


class _Branch(NamedTuple):
    """The selects of a part of the list: of all of it, or of its beginning."""

    first: Statement[TodoOut]
    # Where the first finds too little, also when it looks farther: what goes on behind it, or else reads
    # all of the part.
    second: Statement[TodoOut] | None = None
    goes_on: bool = False

    def read(self, connection: Connection, values: dict[str, Any], size: int) -> list[TodoOut]:
        """Read its first `size` todos; `values` are those of the filters and of the position."""
        stretch = max(size, SMALL) * STRETCH
        values |= {"size": size, "before": size - 1, "stretch": stretch}
        todos = self.first.all(connection, values)
        if len(todos) == size or self.second is None:
            return todos
        if self.goes_on:
            return todos + self.second.all(connection, values | {"size": size - len(todos)})
        farther = FARTHER * isqrt(size)
        if len(todos) * farther >= size * stretch:
            todos = self.first.all(connection, values | {"stretch": farther})
        return todos if len(todos) == size else self.second.all(connection, values)


@lru_cache(maxsize=1000)
def _plan(dialect: str, filters: _Filters, sort: Sort, position: Sequence[Any]) -> list[_Branch]:
    """Make the selects of the todos that `filters` match, from their start or from behind `position`.

    Its members are None or a flag, which stand in the select, or anything else. To make the selects
    takes longer than to carry them out, so that they are kept.
    """
    if not position:
        parts = _from_start(sort)
    else:
        parts = _behind(
            sort,
            [
                bindparam(f"after_{place}", type_=key.column.type) if value is ... else value
                for place, (key, value) in enumerate(zip(sort, position, strict=True))
            ],
        )
    leading = sort[0].column.key
    indexed = _INDEXED_WITH.get(leading, {leading})
    return [_branch(dialect, filters, indexed, conditions, keys) for conditions, keys in parts]


def _branch(
    dialect: str,
    filters: _Filters,
    indexed: Collection[str],
    conditions: Sequence[ColumnElement[bool]],
    keys: Sequence[SortKey],
) -> _Branch:
    with_order, others = _conditions(TODOS.c, filters, indexed)
    statement = select(TODOS).where(*conditions, *with_order)
    if others and ("q", False) not in filters:  # which no index finds
        return _stretched(dialect, statement, lambda c: _conditions(c, filters, indexed)[1], keys)
    if dialect == "sqlite" and not others and keys[0].descending and tuple(keys[1:]) == _BY_ID:
        return _descending(statement, keys)
    return _Branch(reading_todos(statement.where(*others).order_by(*_order(keys)).limit(_SIZE)))


def _descending(statement: Select[Any], keys: Sequence[SortKey]) -> _Branch:
    """Select what is above the last value that is wanted, and then those of that value.

    An index that is followed downwards gives the ids of equal values downwards too, and so all the
    equal ones, a million maybe, would be sorted for the first hundred. (Planners of servers do worse
    with these selects than with the sorting.)
    """
    column = keys[0].column
    before = bindparam("before", type_=Integer())  # of all that are wanted, in both selects
    at_the_end = statement.with_only_columns(column).order_by(column.desc()).offset(before).limit(1)
    lowest = statement.with_only_columns(func.min(column))
    last = func.coalesce(at_the_end.scalar_subquery(), lowest.scalar_subquery())
    above = statement.where(column > last).order_by(*_order(keys))
    equal = statement.where(column == last).order_by(TODOS.c.id).limit(_SIZE)
    return _Branch(reading_todos(above), reading_todos(equal), goes_on=True)


def _stretched(dialect: str, statement: Select[Any], others_of: _Others, keys: Sequence[SortKey]) -> _Branch:
    """Look for what matches in a stretch of the order, or else collect all that matches and sort it.

    Where one index gives the order and another finds what matches, planners without statistics
    take either, and each is a thousand times too slow on some data.
    """
    order = _order(keys)
    ordered = statement.order_by(*order)
    if dialect == "sqlite" and len(keys) == 1:
        within = _within_ids(ordered, others_of, keys[0])
    else:
        stretch = ordered.limit(_STRETCH_SIZE).subquery()
        within = select(*stretch.c).where(*others_of(stretch.c))
        if dialect != "sqlite":  # which keeps the order, and would sort all of it again
            within = within.order_by(*_order(keys, stretch.c))
    ids = statement.with_only_columns(TODOS.c.id).where(*others_of(TODOS.c))
    found = ids.order_by(*_order(keys, from_index=False)).limit(_SIZE).subquery()
    whole = select(TODOS).join(found, TODOS.c.id == found.c.id).order_by(*order)
    return _Branch(reading_todos(within.limit(_SIZE)), reading_todos(whole))


def _within_ids(ordered: Select[Any], others_of: _Others, key: SortKey) -> Select[Any]:
    """Select what matches of the stretch up to an id, in a third of the time that a subquery takes."""
    ids = ordered.with_only_columns(key.column)
    last = ids.offset(_STRETCH_SIZE - 1).limit(1).scalar_subquery()
    if key.descending:
        stretch = key.column >= func.coalesce(last, -(2**63))
    else:
        stretch = key.column <= func.coalesce(last, 2**63 - 1)
    without_index: Any = SimpleNamespace(**{column.key: func.coalesce(column, column) for column in TODOS.c})
    return ordered.where(stretch, *others_of(without_index))


def _conditions(
    columns: _Columns, filters: _Filters, indexed: Collection[str] = ()
) -> tuple[list[ColumnElement[bool]], list[ColumnElement[bool]]]:
    """Divide the conditions of `filters` into those on a column of `indexed`, and the others."""
    on_indexed: list[ColumnElement[bool]] = []
    others: list[ColumnElement[bool]] = []
    for name, flag in filters:
        value = bindparam(name, type_=FILTERS[name].type)
        for column, condition in FILTERS[name].conditions(columns, flag, value).items():
            (on_indexed if column in indexed else others).append(condition)
    return on_indexed, others


def _from_start(keys: Sequence[SortKey]) -> Iterator[_Part]:
    """Yield conditions and sort keys of selects that, one behind the other, give all rows in order.

    Each is of a form that an index on the first key serves: a column that can be null, or holds one
    of two values, is divided into selects on which it is sorted without looking at it.
    """
    (column, descending), *rest = keys
    if isinstance(column.type, Boolean):
        for value in (descending, not descending):
            yield from _where(column == value, _from_start(rest))
    elif column.nullable:
        yield [column.is_not(None)], keys
        yield from _where(column.is_(None), _from_start(rest))
    else:
        yield [], keys


def _behind(keys: Sequence[SortKey], position: Sequence[Any]) -> Iterator[_Part]:
    """Yield the same for the rows behind `position`, the values of a row in the columns of `keys`."""
    (column, descending), *rest = keys
    value, *others = position
    if rest:
        yield from _where(column.is_(None) if value is None else column == value, _behind(rest, others))
    if value is None:
        return
    if isinstance(column.type, Boolean):
        if value == descending:
            yield from _where(column == (not value), _from_start(rest))
        return
    yield [column < value if descending else column > value], keys
    if column.nullable:
        yield from _where(column.is_(None), _from_start(rest))


def _where(condition: ColumnElement[bool], parts: Iterator[_Part]) -> Iterator[_Part]:
    return (([condition, *conditions], keys) for conditions, keys in parts)


def _order(
    keys: Sequence[SortKey], columns: _Columns = TODOS.c, *, from_index: bool = True
) -> list[ColumnElement[Any]]:
    """Order `columns` by `keys`, null last; the first is not null where this is used."""
    order: list[ColumnElement[Any]] = []
    for place, (key, descending) in enumerate(keys):
        column = columns[key.key]
        if place and key.nullable:
            order.append(column.is_(None))
        term = column if from_index else func.coalesce(column, column)  # no index has an expression
        order.append(term.desc() if descending else term.asc())
    return order
