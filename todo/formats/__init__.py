"""Todos as text, without I/O.

A `Format` writes todos. A reader parses a file in pieces of any size, and yields an `Entry` for each todo
with values as in a request. The schema TodoEntry validates the values of all formats.

Calendars and later imports recognize a todo by its UID. The UID is derived from `id` and `created_at`, so
the database stores UIDs only for imported todos. The mappings `uids` contain the stored UIDs.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from todo.schemas import TodoOut

Todos = Sequence[TodoOut]
Uids = Mapping[int, str]


class Format(NamedTuple):
    """How to write a list of todos: `head`, chunks with `separator` between them, `tail`."""

    media_type: str
    encode: Callable[[Todos, Uids], bytes]
    head: bytes = b""
    separator: bytes = b""
    tail: bytes = b""
    # Written at the end of an incomplete list, so that no reader accepts the list as complete.
    truncation_marker: bytes = b""
    # The limitations of the format, as a sentence for people.
    limitations: str = ""
    has_uid: bool = False


class Entry(NamedTuple):
    """A todo at a line of a file, or something else if `values` is None."""

    line: int
    values: dict[str, Any] | None
    # Properties of the file that no member of a todo can store.
    ignored: tuple[str, ...] = ()
    # The reason why the todo is invalid, if validation of the values would not find it.
    error: str = ""


class ParseError(Exception):
    """The file cannot be read beyond this line."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(detail)
        self.line = line
        self.detail = detail


def own_uid(todo_id: int, created_at: str) -> str:
    """Return the UID of a todo without a stored UID: `20270131T180000.000000Z-42@todo`."""
    return f"{created_at.replace('-', '').replace(':', '')}-{todo_id}@todo"


_OWN_UID = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d\.\d{6}Z)-(-?\d{1,19})@todo", re.ASCII)


def parse_own_uid(uid: str) -> tuple[int, str] | None:
    """Return the `id` and `created_at` in a UID of `own_uid`, or None for another UID."""
    found = _OWN_UID.fullmatch(uid)
    if found is None:
        return None
    year, month, day, hour, minute, second, todo_id = found.groups()
    return int(todo_id), f"{year}-{month}-{day}T{hour}:{minute}:{second}"
