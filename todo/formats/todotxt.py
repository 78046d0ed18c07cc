"""todo.txt (todotxt.org): one todo per line, such as `x 2027-02-02 2027-01-31 Buy milk due:2027-02-03`.

The line ends with the UID as `uid:`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, unquote

from todo.clock import is_time
from todo.formats import Entry, Format, Todos, Uids, own_uid
from todo.formats.text import lines
from todo.schemas import TodoOut

_DAY = r"\d{4}-\d\d-\d\d"
# A priority and the day of creation precede the title.
_DONE = re.compile(rf"x (\([A-Z]\) )?(?:{_DAY} (?:({_DAY}) )?)?", re.ASCII)
_OPEN = re.compile(rf"(\([A-Z]\) )?(?:({_DAY}) )?", re.ASCII)
_DUE = re.compile(r"(?:^| )due:(\S*)(?= |$)")
_UID = re.compile(r"(?:^| )uid:(\S+)$")


def _encode(todos: Todos, uids: Uids) -> bytes:
    return "".join(_line(todo, uids) for todo in todos).encode()


def _line(todo: TodoOut, uids: Uids) -> str:
    done = f"x {todo.updated_at[:10]} " if todo.completed else ""
    due = todo.deadline_at.isoformat().removesuffix("T23:59:59") if todo.deadline_at else ""
    # The last `due:` counts, so a `due:` in the title must not be the last.
    due = f" due:{due}" if due or _find_due(todo.title) else ""
    uid = quote(uids.get(todo.id) or own_uid(todo.id, todo.created_at), safe="!#$&'()*+,/:;=?@[]")
    return f"{done}{todo.created_at[:10]} {todo.title}{due} uid:{uid}\n"


FORMAT = Format(
    "text/plain", _encode, limitations="todo.txt has no description and no updated_at.", has_uid=True
)


def _find_due(text: str) -> re.Match[str] | None:
    """Find the last `due:` before a time or before nothing. Any other `due:` is part of the title."""
    return next((due for due in reversed([*_DUE.finditer(text)]) if not due[1] or is_time(due[1])), None)


def read(pieces: Iterable[str]) -> Iterator[Entry]:
    """Read a todo from each line that is not blank."""
    for number, line in enumerate(lines(pieces), 1):
        if line.strip():
            yield _entry(number, line.removesuffix("\n").removesuffix("\r"))


def _entry(number: int, line: str) -> Entry:
    completed = line.startswith("x ")
    start = (_DONE if completed else _OPEN).match(line)
    priority, created = start.groups() if start else (None, None)
    text = line[start.end() :] if start else line
    values: dict[str, Any] = {"completed": completed}
    if created:
        values["created_at"] = created
    uid = _UID.search(text)
    if uid:
        values["uid"] = unquote(uid[1])
        text = text[: uid.start()]
    due = _find_due(text)
    if due:
        values["deadline_at"] = due[1] or None
        before, after = text[: due.start()], text[due.end() :]
        text = before + after if before else after.removeprefix(" ")
    values["title"] = text
    return Entry(number, values, ("priority",) if priority else ())
