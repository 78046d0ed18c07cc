"""JSON: a list of todos, or lines of them (NDJSON); Taskwarrior's export is told by its members."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import UNSET, structs

from todo.formats import Entry, Format, ParseError, Todos, Uids, taskwarrior
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
    "application/x-ndjson", _lines, truncation_marker=b"INCOMPLETE: the service failed midway. Ask again.\n"
)
# With a line for each todo, and the UID of those that came from elsewhere.
FILE = Format("application/json", _file, b"[\n", b",\n", b"\n]\n", has_uid=True)


def read(pieces: Iterable[str]) -> Iterator[Entry]:
    """Read the todos of a list, or of one value behind the other, without holding them all."""
    text = _Text(pieces)
    is_list = text.skip("[")
    if not is_list and text.at_end():
        raise ParseError(1, "The file is empty.")
    more = not (is_list and text.skip("]"))
    while more:
        line = text.line
        value = text.read_value()
        if not isinstance(value, dict):
            yield Entry(line, {}, error="A todo must be a JSON object.")
        else:
            yield taskwarrior.entry(line, value) if taskwarrior.is_task(value) else Entry(line, value)
        if is_list:
            more = text.skip(",")
            if not more and not text.skip("]"):
                raise ParseError(text.line, "A comma or ] must follow here. Is the file whole?")
        else:
            more = not text.at_end()
    if not text.at_end():
        raise ParseError(text.line, "Nothing can follow the end of the list.")


class _Text:
    """The text that is not read yet, a piece of it in memory."""

    def __init__(self, pieces: Iterable[str]) -> None:
        self._pieces = iter(pieces)
        self._buffer = ""
        self._position = 0
        self._is_last = False
        self.line = 1

    def skip(self, character: str) -> bool:
        """Move past white space, and past `character` and white space if it is there."""
        self.at_end()
        there = self._buffer.startswith(character, self._position)
        if there:
            self._position += 1
            self.at_end()
        return there

    def at_end(self) -> bool:
        """Move past white space; whether nothing is left."""
        while True:
            space = _SPACE.match(self._buffer, self._position)
            self._advance(space.end() if space else self._position)
            if self._position < len(self._buffer):
                return False
            if not self._fill():
                return True

    def read_value(self) -> Any:
        """Read the value that begins here."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer, self._position)
                # A number goes on, maybe, in the next piece.
                if end < len(self._buffer) or not self._fill():
                    break
            except json.JSONDecodeError as error:
                if len(self._buffer) - self._position > MAX_VALUE or not self._fill():
                    line = self.line + self._buffer.count("\n", self._position, error.pos)
                    raise ParseError(line, f"This is no JSON: {error.msg}. Is the file whole?") from None
            except RecursionError:
                raise ParseError(self.line, "This is nested too deeply.") from None
            except ValidationFailed as error:
                raise ParseError(self.line, str(error.description)) from None
            except ValueError:
                raise ParseError(self.line, "This has a number of thousands of digits.") from None
        self._advance(end)
        return value

    def _advance(self, position: int) -> None:
        self.line += self._buffer.count("\n", self._position, position)
        self._position = position

    def _fill(self) -> bool:
        """Get the next piece that is not empty; False where there is none."""
        if self._is_last:
            return False
        piece = next(filter(None, self._pieces), None)
        if piece is None:
            self._is_last = True
            return False
        self._buffer = self._buffer[self._position :] + piece
        self._position = 0
        return True
