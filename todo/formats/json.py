"""JSON: a list of todos, or one todo per line (NDJSON). Reads Taskwarrior's tasks too."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import UNSET, structs

from todo.formats import Entry, Format, ParseError, Todos, Uids, taskwarrior
from todo.formats.text import to_boolean
from todo.http.body import DECODER
from todo.http.problem import ValidationFailed
from todo.schemas import TodoExport, TodoOut

MAX_VALUE = 1024 * 1024  # characters

_SPACE = re.compile(r"[ \t\r\n]+")
_ENCODER = msgspec.json.Encoder()


def _list(todos: Todos, _: Uids) -> bytes:
    return _ENCODER.encode(todos)[1:-1]


def _lines(todos: Todos, _: Uids) -> bytes:
    return _ENCODER.encode_lines(todos)


def _file(todos: Todos, uids: Uids) -> bytes:
    return b",\n".join(_ENCODER.encode(_with_uid(todo, uids)) for todo in todos)


def _with_uid(todo: TodoOut, uids: Uids) -> TodoExport:
    exported = TodoExport(*structs.astuple(todo))
    exported.uid = uids.get(todo.id, UNSET)
    return exported


LIST = Format("application/json", _list, b"[", b",", b"]")
LINES = Format(
    "application/x-ndjson",
    _lines,
    truncation_marker=b"INCOMPLETE: the service failed. Send the request again.\n",
)
# One todo per line, with the UID of an imported todo.
FILE = Format("application/json", _file, b"[\n", b",\n", b"\n]\n", has_uid=True)


def read(pieces: Iterable[str], *, is_task: bool | None = None) -> Iterator[Entry]:
    """Read the todos of a JSON list, or of consecutive JSON values, in bounded memory.

    `is_task` is True for tasks of Taskwarrior, and False for todos. By default, the members decide.
    """
    text = _Text(pieces)
    is_list = text.skip("[")
    if not is_list and text.at_end():
        raise ParseError(1, "The file is empty.")
    more = not (is_list and text.skip("]"))
    while more:
        line = text.line
        yield _entry(line, text.read_value(), is_task)
        if is_list:
            more = text.skip(",")
            if not more and not text.skip("]"):
                raise ParseError(text.line, "A comma or ] is missing here. The file may be incomplete.")
        else:
            more = not text.at_end()
    if not text.at_end():
        raise ParseError(text.line, "The file continues after the end of the list. Remove the rest.")


def _entry(line: int, value: Any, is_task: bool | None) -> Entry:
    if not isinstance(value, dict):
        return Entry(line, {}, error="A todo must be a JSON object.")
    if taskwarrior.is_task(value) if is_task is None else is_task:
        return taskwarrior.entry(line, value)
    if "completed" in value:  # 0 and 1 in the output of sqlite3 -json
        value["completed"] = to_boolean(value["completed"])
    return Entry(line, value)


class _Text:
    """The unread text, of which one piece is in memory."""

    def __init__(self, pieces: Iterable[str]) -> None:
        self._pieces = iter(pieces)
        self._buffer = ""
        self._position = 0
        self.line = 1

    def skip(self, character: str) -> bool:
        """Skip white space, then `character` and white space. Return False if another character follows."""
        self.at_end()
        there = self._buffer.startswith(character, self._position)
        if there:
            self._position += 1
            self.at_end()
        return there

    def at_end(self) -> bool:
        """Skip white space, and return True at the end of the text."""
        while True:
            space = _SPACE.match(self._buffer, self._position)
            self._advance(space.end() if space else self._position)
            if self._position < len(self._buffer):
                return False
            if not self._fill():
                return True

    def read_value(self) -> Any:
        """Read the value at this position."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer, self._position)
                # A number can continue in the next piece.
                if end < len(self._buffer) or not self._fill():
                    break
            except json.JSONDecodeError as error:
                if len(self._buffer) - self._position > MAX_VALUE or not self._fill():
                    line = self.line + self._buffer.count("\n", self._position, error.pos)
                    raise ParseError(
                        line, f"Invalid JSON: {error.msg}. The file may be incomplete."
                    ) from None
            except RecursionError:
                raise ParseError(self.line, "The value is nested too deeply.") from None
            except ValidationFailed as error:
                raise ParseError(self.line, str(error.description)) from None
            except ValueError:
                raise ParseError(self.line, "The value contains a number with thousands of digits.") from None
        self._advance(end)
        return value

    def _advance(self, position: int) -> None:
        self.line += self._buffer.count("\n", self._position, position)
        self._position = position

    def _fill(self) -> bool:
        """Read the next piece that is not empty. Return False at the end."""
        piece = next(filter(None, self._pieces), "")
        self._buffer = self._buffer[self._position :] + piece
        self._position = 0
        return bool(piece)
