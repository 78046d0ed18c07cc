"""Todos as text, without I/O.

A `Form` writes todos. A reader takes the text of a file in pieces of any size and yields an
`Entry` for each thing that it finds, with values as they would stand in a request: what they must be
is checked elsewhere, in the one place for all formats.

Every todo has a UID, by which calendars and later imports know it. It is made of the todo's `id` and
`created_at`, so that it need not be kept; only for a todo that came from elsewhere another UID is,
and `uids` has it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from todo.schemas import TodoOut

Todos = Sequence[TodoOut]
Uids = Mapping[int, str]


class Form(NamedTuple):
    """How a list of todos is written: `head`, runs of todos with `separator` between them, `tail`."""

    media_type: str
    encode: Callable[[Todos, Uids], bytes]
    head: bytes = b""
    separator: bytes = b""
    tail: bytes = b""
    # What is written in the place of the rest when it can't be: no reader may take it for the end.
    broken: bytes = b""
    # What of a todo can't be written, for people.
    lacks: str = ""
    has_uid: bool = False

    @property
    def content_type(self) -> str:
        """The media type, with the encoding where it is text."""
        return self.media_type + ("; charset=utf-8" if self.media_type.startswith("text/") else "")


class Entry(NamedTuple):
    """What a reader found at a line; `values` is None for what is no todo."""

    line: int
    values: dict[str, Any] | None
    # What it has that a todo has not, by the names of the format.
    lost: tuple[str, ...] = ()
    # Why it can't be taken, where that is not seen in its values.
    fault: str = ""


class Unreadable(Exception):  # noqa: N818 - it says what the file is
    """The file can't be read from this line on."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(detail)
        self.line = line
        self.detail = detail


def own_uid(todo_id: int, created_at: str) -> str:
    """Make the UID of a todo of which none is kept: `20270131T180000.000000Z-42@todo`."""
    return f"{created_at.replace('-', '').replace(':', '')}-{todo_id}@todo"


_OWN_UID = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d\.\d{6}Z)-(-?\d{1,19})@todo", re.ASCII)


def parse_own_uid(uid: str) -> tuple[int, str] | None:
    """Read the `id` and `created_at` that `own_uid` made it of; None for another UID."""
    found = _OWN_UID.fullmatch(uid)
    if found is None:
        return None
    year, month, day, hour, minute, second, todo_id = found.groups()
    return int(todo_id), f"{year}-{month}-{day}T{hour}:{minute}:{second}"
