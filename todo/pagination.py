"""Keyset pagination: the rows after a position, as ranges that an index serves.

A page begins after the sort values of the last row, so no row is skipped or repeated while others write.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Boolean, Column, ColumnElement, bindparam

from todo.models.todo import Todo
from todo.schemas import Sort

SortKey = tuple[Column[Any], bool]  # True for descending order
# Conditions and the sort keys of the rows that meet them.
Range = tuple[list[ColumnElement[bool]], Sequence[SortKey]]


def ranges(sort: Sort, shape: Sequence[Any]) -> Iterator[Range]:
    """Divide the rows after a position, or all rows without a position, into consecutive ranges.

    `shape` has the null and Boolean values of the position, and `...` for values that are parameters.

    One index serves each range, because the rows of a null or a Boolean value need no sort by that
    column. Null values are a range of their own, because no index serves a sort by `IS NULL`.
    """
    keys = [(Todo.__table__.c[name], descending) for name, descending in sort]
    position = [
        bindparam(f"after_{place}", type_=column.type) if value is ... else value
        for place, ((column, _), value) in enumerate(zip(keys, shape, strict=False))
    ]
    return _ranges(keys, position)


def _ranges(keys: Sequence[SortKey], position: Sequence[Any]) -> Iterator[Range]:
    (column, descending), *rest = keys
    is_boolean = isinstance(column.type, Boolean)
    if position:
        value, *others = position
        if rest:
            same = column.is_(None) if value is None else column == value
            yield from _within(same, _ranges(rest, others))
        if value is None:
            return
        if not is_boolean:
            yield [column < value if descending else column > value], keys
        elif value == descending:
            yield from _within(column == (not value), _ranges(rest, ()))
    elif is_boolean:
        for value in (descending, not descending):
            yield from _within(column == value, _ranges(rest, ()))
    else:
        yield [column.is_not(None)] if column.nullable else [], keys
    if column.nullable:
        yield from _within(column.is_(None), _ranges(rest, ()))


def _within(condition: ColumnElement[bool], ranges: Iterator[Range]) -> Iterator[Range]:
    return (([condition, *conditions], keys) for conditions, keys in ranges)
