"""Keyset pages: the rows behind a position, the cursor and the link to the next page.

A page begins behind the sort values of the last row, so no row is skipped or repeated while others write.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from flask import request
from msgspec import Meta
from sqlalchemy import Boolean, ColumnElement, bindparam

from todo.http.problem import Fault, ValidationFailed
from todo.schemas import Sort, SortKey

DIGEST_BYTES = 9
_Text = Annotated[str, Meta(pattern=r"^[^\u0000]*$(?!\n)")]
# The sort values that a cursor may hold. Databases fail on ids and characters that they cannot store.
_TYPES: dict[str, Any] = {
    "id": Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)],
    "title": _Text,
    "description": _Text | None,
    "completed": bool,
    "deadline_at": datetime | None,
    "created_at": datetime,
    "updated_at": datetime,
}


# Conditions and the sort keys of the rows that meet them.
Range = tuple[list[ColumnElement[bool]], Sequence[SortKey]]


def all_ranges(keys: Sequence[SortKey]) -> Iterator[Range]:
    """Divide all rows into ranges that follow each other in the order of `keys`.

    One index serves each range, because the ranges of a null or a Boolean value need no sort by that
    column: null values last is a second range rather than a sort by `IS NULL`.
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


def ranges_behind(keys: Sequence[SortKey], position: Sequence[Any]) -> Iterator[Range]:
    """Divide the rows behind `position`, which has a value for each key, in the same way."""
    (column, descending), *rest = keys
    value, *others = position
    if rest:
        yield from _within(
            column.is_(None) if value is None else column == value, ranges_behind(rest, others)
        )
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


def bind_position(sort: Sort, shape: Sequence[Any]) -> list[Any]:
    """Return `shape` with a parameter in place of each value; null and Boolean values stay."""
    return [
        bindparam(f"after_{place}", type_=key.column.type) if value is ... else value
        for place, (key, value) in enumerate(zip(sort, shape, strict=True))
    ]


def encode_cursor(position: Sequence[Any], belongs_to: str) -> str:
    """Encode the position behind which the next page of the query `belongs_to` begins."""
    return base64.urlsafe_b64encode(_digest(belongs_to) + msgspec.json.encode(position)).decode().rstrip("=")


def decode_cursor(cursor: str, belongs_to: str, sort: Sort) -> list[Any]:
    """Return the position in `cursor`. Raises ValidationFailed for the cursor of another query."""
    types: Any = tuple.__class_getitem__(tuple(_TYPES[key.column.key] for key in sort))
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = msgspec.json.decode(data[DIGEST_BYTES:], type=types)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        data, position = b"", ()
    if data[:DIGEST_BYTES] != _digest(belongs_to):
        detail = "cursor must be the one in the Link header of the previous page, with its sort and filters"
        raise ValidationFailed(Fault(detail=detail, parameter="cursor"))
    # Timestamps are UTC with an offset in JSON, and without one in the database.
    return [value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in position]


def _digest(belongs_to: str) -> bytes:
    return hashlib.blake2b(belongs_to.encode(), digest_size=DIGEST_BYTES).digest()


def next_link(cursor: str) -> str:
    """Return the `Link` header (RFC 8288) that leads to `cursor`, with every other parameter kept."""
    sent = parse_qsl(request.query_string.decode(), keep_blank_values=True)
    query = [(name, value) for name, value in sent if name != "cursor"]
    host = request.environ["HTTP_HOST"]  # `request.host` is empty for a name with an underscore
    address = f"{request.scheme}://{host}{quote(request.root_path + request.path)}"
    return f'<{address}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'
