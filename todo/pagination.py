"""Keyset pagination: the rows after a position, as ranges that an index serves.

A page begins after the sort values of the last row, so no row is skipped or repeated while others write.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Boolean, ColumnElement, bindparam

from todo.schemas import Sort, SortKey

# Conditions and the sort keys of the rows that meet them.
Range = tuple[list[ColumnElement[bool]], Sequence[SortKey]]


def ranges(sort: Sort, shape: Sequence[Any]) -> Iterator[Range]:
    """Divide the rows after a position, or all rows without a position, into ranges.

    `shape` has the null and Boolean values of the position, and `...` for values that are parameters.
    """
    if not shape:
        return all_ranges(sort)
    position = [
        bindparam(f"after_{place}", type_=key.column.type) if value is ... else value
        for place, (key, value) in enumerate(zip(sort, shape, strict=True))
    ]
    return ranges_after(sort, position)


def all_ranges(keys: Sequence[SortKey]) -> Iterator[Range]:
    """Divide all rows into consecutive ranges in the order of `keys`.

    One index serves each range, because the rows of a null or a Boolean value need no sort by that
    column. Null values are a range of their own, because no index serves a sort by `IS NULL`.
    """
    (column, descending), *rest = keys
    if isinstance(column.type, Boolean):
        for value in (descending, not descending):
            yield from _within(column == value, all_ranges(rest))
    elif column.nullable:
        yield [column.is_not(None)], keys
        yield from _within(column.is_(None), all_ranges(rest))
    else:
        yield [], keys


def ranges_after(keys: Sequence[SortKey], position: Sequence[Any]) -> Iterator[Range]:
    """Divide the rows after `position` into ranges. `position` has a value for each key."""
    (column, descending), *rest = keys
    value, *others = position
    if rest:
        yield from _within(column.is_(None) if value is None else column == value, ranges_after(rest, others))
    if value is None:
        return
    if isinstance(column.type, Boolean):
        if value == descending:
            yield from _within(column == (not value), all_ranges(rest))
        return
    yield [column < value if descending else column > value], keys
    if column.nullable:
        yield from _within(column.is_(None), all_ranges(rest))


def _within(condition: ColumnElement[bool], ranges: Iterator[Range]) -> Iterator[Range]:
    return (([condition, *conditions], keys) for conditions, keys in ranges)
