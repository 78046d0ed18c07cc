"""CSV (RFC 4180): with the members as columns, and the files of Todoist and of Outlook's tasks."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from todo.formats import Entry, Format, ParseError, Todos, Uids
from todo.formats.text import lines
from todo.schemas import TodoOut

MONTHS = 12
MEMBERS = TodoOut.__struct_fields__

# What spreadsheets take for the beginning of a formula; they do so too behind a tab or a newline.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")  # noqa: RUF001
_QUOTED = re.compile(f"^'(?={_FORMULA.pattern})")


def _defuse(text: str | None) -> str | None:
    return "'" + text if text and _FORMULA.match(text) else text


def _encode(todos: Todos, _: Uids) -> bytes:
    text = io.StringIO()
    write = csv.writer(text).writerow
    for todo in todos:
        write(
            (
                todo.id,
                _defuse(todo.title),
                _defuse(todo.description),
                "true" if todo.completed else "false",
                None if todo.deadline_at is None else todo.deadline_at.isoformat(),
                todo.created_at,
                todo.updated_at,
            )
        )
    return text.getvalue().encode()


FORMAT = Format(
    "text/csv",
    _encode,
    head=f"{','.join(MEMBERS)}\r\n".encode(),
    # A quote that is not closed.
    truncation_marker=b'"INCOMPLETE: the service failed midway. Ask again.',
    limitations="CSV can't tell an empty description from none, nor has it the UID of what was imported.",
)


class Dialect(NamedTuple):
    """What a program calls the members, in lower case, and the columns that say nothing more."""

    title: str
    members: dict[str, str]
    silent: frozenset[str] = frozenset()


DIALECTS = (
    Dialect("title", {name: name for name in MEMBERS}),
    # Todoist
    Dialect(
        "content",
        {"description": "description", "date": "deadline_at", "deadline": "deadline_at"},
        frozenset({"type", "author", "date_lang", "deadline_lang", "timezone", "is_collapsed"}),
    ),
    # Outlook, where Microsoft To Do keeps its tasks
    Dialect(
        "subject",
        {"notes": "description", "due date": "deadline_at", "status": "completed"},
        frozenset({"% complete", "date completed", "reminder on/off"}),
    ),
)

_COMPLETED: dict[str, Any] = {
    "": False,
    "false": False,
    "true": True,
    "not started": False,
    "in progress": False,
    "waiting on someone else": False,
    "deferred": False,
    "completed": True,
}
_TIME = re.compile(
    r"(?:(?P<iso>\d{4}-\d\d-\d\d)|(?P<first>\d\d?)(?P<mark>[./])(?P<second>\d\d?)(?P=mark)(?P<year>\d{4}))"
    r"(?:[ T](?P<hour>\d\d?)(?P<rest>:\d\d(?::\d\d(?:\.\d+)?)?)"
    r"(?: ?(?P<half>[AP])M)?(?P<offset>Z|[+-]\d\d:\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
_RECURRING = re.compile("(?i)every|ev |after ")


def read(pieces: Iterable[str], *, day_first: bool | None = None) -> Iterator[Entry]:
    """Read the rows of any dialect, with commas, semicolons or tabs between the cells.

    A date such as 1/2/2027 is taken as `day_first` says, and is no date without that.
    """
    text = lines(pieces)
    first = next(text, "")
    rows = csv.reader(chain([first], text), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        columns = [name.strip().casefold() for name in next(rows, [])]
        dialect = _dialect(columns)
        line = rows.line_num + 1
        for cells in rows:
            if cells:
                yield _entry(line, dialect, columns, cells, day_first=day_first)
            line = rows.line_num + 1
    except csv.Error as error:
        raise ParseError(rows.line_num, f"This is no CSV: {error}. Is the file whole?") from None


def _dialect(columns: list[str]) -> Dialect:
    found = next((dialect for dialect in DIALECTS if dialect.title in columns), None)
    if found is None:
        names = ", ".join(dialect.title for dialect in DIALECTS)
        raise ParseError(
            1, f"The first line must name the columns, one of them {names}; it has {_list(columns)}."
        )
    repeated = sorted(name for name, count in Counter(columns).items() if count > 1 and name in found.members)
    if repeated:
        raise ParseError(1, f"The first line has more than one column {_list(repeated)}.")
    return found


def _list(names: list[str]) -> str:
    return ", ".join(names)[:200] or "nothing"


def _entry(
    line: int, dialect: Dialect, columns: list[str], cells: list[str], *, day_first: bool | None
) -> Entry:
    if len(cells) != len(columns):
        return Entry(line, {}, error=f"It has {len(cells)} cells, and the first line {len(columns)}.")
    row = dict(zip(columns, cells, strict=True))
    kind = row.get("type", "") if dialect.title == "content" else "task"
    if kind != "task":
        return Entry(line, None, (kind,) if any(cells) else ())
    values: dict[str, Any] = {"title": _QUOTED.sub("", row.pop(dialect.title), count=1)}
    lost = []
    for column, cell in row.items():
        member = dialect.members.get(column)
        if member is None or (member == "deadline_at" and _RECURRING.match(cell)):
            if cell and column not in dialect.silent:
                lost.append(column)
        elif member == "completed":
            values[member] = _COMPLETED.get(cell.casefold(), cell)
        elif cell:
            values[member] = _READ[member](cell, day_first)
    return Entry(line, values, tuple(lost))


def _time(cell: str, day_first: bool | None) -> str:
    """Put the time in `cell` as ISO 8601, or leave it for the check to refuse."""
    found = _TIME.fullmatch(cell.strip())
    if found is None:
        return cell
    day = found["iso"]
    if day is None:
        first, second = int(found["first"]), int(found["second"])
        if found["mark"] == "." or first > MONTHS or first == second:
            day_first = True
        elif second > MONTHS:
            day_first = False
        if day_first is None:
            return cell
        day_of_month, month = (first, second) if day_first else (second, first)
        day = f"{found['year']}-{month:02}-{day_of_month:02}"
    if found["hour"] is None:
        return day
    hour = int(found["hour"])
    if found["half"]:
        hour = hour % 12 + (12 if found["half"] in "Pp" else 0)
    return f"{day}T{hour:02}{found['rest']}{(found['offset'] or '').upper()}"


def _number(cell: str, _: bool | None) -> Any:
    return int(cell) if re.fullmatch("-?[0-9]{1,19}", cell) else cell


def _text(cell: str, _: bool | None) -> str:
    return _QUOTED.sub("", cell, count=1)


_READ: dict[str, Callable[[str, bool | None], Any]] = {
    "id": _number,
    "description": _text,
    "deadline_at": _time,
    "created_at": _time,
    "updated_at": _time,
}
