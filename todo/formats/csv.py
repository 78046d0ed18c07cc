"""CSV (RFC 4180): a table with the members as columns, and the files of other programs (DIALECTS)."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import chain
from typing import Any, NamedTuple

from msgspec import structs

from todo.clock import is_time, to_iso
from todo.formats import Entry, Format, ParseError, Todos, Uids, time_zones
from todo.formats.text import MAX_LINE, lines, to_boolean
from todo.schemas import TodoOut

MEMBERS = TodoOut.__struct_fields__
_MAX_COLUMNS = 1000
_SPRING = ("january", "february", "march", "april", "may", "june")
_MONTHS = (*_SPRING, "july", "august", "september", "october", "november", "december")

# Spreadsheets evaluate a formula at the start of a cell, even after white space. A spreadsheet that splits
# lines at semicolons or tabs ignores our quotes, and then finds formulas within our cells.
_FORMULA = "=+\\-@＝＋－＠"
_STARTS = rf"^{{0}}(?=[ ']*[{_FORMULA}\t\r\n])|(?<=[,;|\t\r\n]){{0}}(?=[ ']*[{_FORMULA}])"
_DEFUSE, _RESTORE = re.compile(_STARTS.format("")), re.compile(_STARTS.format("'"))


def _defuse(text: str) -> str:
    return _DEFUSE.sub("'", text)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    return _defuse(value) if isinstance(value, str) else value


def _encode(todos: Todos, _: Uids) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(map(_cell, structs.astuple(todo)) for todo in todos)
    return text.getvalue().encode()


FORMAT = Format(
    "text/csv",
    _encode,
    head=f"{','.join(MEMBERS)}\r\n".encode(),
    # The open quote makes the file invalid.
    truncation_marker=b'"INCOMPLETE: the service failed. Send the request again.',
    limitations="CSV stores an empty description as null, and no UIDs of imported todos.",
)


class Dialect(NamedTuple):
    """The column names of a program: its title, its other members, and columns to ignore without a report."""

    title: str
    # If two columns have the same member, the first cell that is not empty is used.
    members: dict[str, str]
    silent: frozenset[str] = frozenset()
    # A column that identifies the program, if other programs have the same title column.
    sign: str = ""


# Names are in lower case, with spaces between the words.
DIALECTS = (
    Dialect("title", {name.replace("_", " "): name for name in MEMBERS}),
    # Todoist
    Dialect(
        "content",
        {"description": "description", "deadline": "deadline_at", "date": "deadline_at"},
        frozenset({"type", "author", "date lang", "deadline lang", "is collapsed"}),
    ),
    # Outlook, which also contains the tasks of Microsoft To Do
    Dialect(
        "subject",
        {"notes": "description", "due date": "deadline_at", "status": "completed"},
        frozenset({"% complete", "date completed", "reminder on/off"}),
    ),
    Dialect(  # Asana
        "name",
        {
            "notes": "description",
            "completed at": "completed",
            "due date": "deadline_at",
            "created at": "created_at",
            "last modified": "updated_at",
        },
        frozenset({"task id"}),
        sign="task id",
    ),
    Dialect(  # Trello
        "card name",
        {
            "card description": "description",
            "due complete": "completed",
            "due date": "deadline_at",
            "last activity date": "updated_at",
        },
        frozenset({"card id"}),
    ),
)
_ZONE = "timezone"
# Column names of other programs for each member.
_SYNONYMS = {
    "title": ("name", "task", "summary", "subject", "content", "todo", "item"),
    "description": ("notes", "note", "details", "comment", "comments", "body"),
    "completed": (
        "done",
        "status",
        "state",
        "complete",
        "finished",
        "is completed",
        "is complete",
        "is done",
    ),
    "deadline_at": ("due", "deadline", "due at", "due date", "due on", "due time", "duedate"),
    "created_at": ("created", "created on", "date created", "creation date"),
    "updated_at": ("updated", "updated on", "modified", "last modified", "date modified"),
}
_MEANINGS = {name: member for member, names in _SYNONYMS.items() for name in names}


class Header(NamedTuple):
    """The columns of a file: columns of members in order of precedence, and the other columns."""

    names: list[str]
    members: list[tuple[int, str]]
    ignored: list[int]
    type_column: int | None
    zone: int | None


def read(pieces: Iterable[str], *, day_first: bool | None = None) -> Iterator[Entry]:
    """Read the rows of any dialect, with commas, semicolons, tabs or bars between the cells.

    `day_first` is the order of day and month in dates such as 1/2/2027. Without it, such dates are invalid.
    """
    numbered = enumerate(lines(pieces), 1)
    filled = (pair for pair in numbered if pair[1].strip())
    number, first = next(filled, (1, ""))
    chosen = re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE)  # Excel
    if chosen:
        number, first = next(filled, (number, ""))
    delimiter = chosen[1] if chosen else max(",;\t|", key=re.sub('"[^"]*"?', "", first).count)
    rows = _rows(chain([first], (line for _, line in numbered)), delimiter, number)
    header = _header(*next(rows))
    for line, cells in rows:
        if any(map(str.strip, cells)):
            yield _entry(line, header, cells, day_first)


def _rows(text: Iterable[str], delimiter: str, number: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row with its line number.

    Spaces around quotes are ignored. The module `csv` would read the spaces and the quotes as text.
    """
    space, end = " *" if delimiter == "\t" else "[ \t]*", f"(?P<end>{re.escape(delimiter)}|\\Z)"
    rest = rf'(?P<quoted>[^"]*+(?:""[^"]*+)*+)(?:"{space}|(?P<open>\Z))'
    plain = rf'(?P<plain>(?!{space}")[^{re.escape(delimiter)}]*)'
    next_cell, next_line = re.compile(rf'(?:{space}"{rest}|{plain}){end}'), re.compile(rest + end)
    cells: list[str] = []
    quoted: list[str] = []  # the lines of an open cell
    start, size = number, 0
    for number, line in enumerate(text, number):  # noqa: B020 - continues the count
        size += len(line)
        if size > MAX_LINE:
            raise ParseError(start, f"The row has more than {MAX_LINE} characters. Is a quote missing?")
        content, position = line.rstrip("\r\n"), 0
        if not quoted and '"' not in content:  # the fast path takes a tenth of the time
            yield start, content.split(delimiter)
            start, size = number + 1, 0
            continue
        while found := (next_line if quoted else next_cell).match(content, position):
            groups = found.groupdict()
            if groups.get("plain") is not None:
                cells.append(groups["plain"])
            elif groups["open"] is not None:
                quoted += [groups["quoted"], line[len(content) :]]
                break
            else:
                cells.append("".join([*quoted, groups["quoted"]]).replace('""', '"'))
                quoted = []
            position = found.end()
            if not groups["end"]:
                yield start, cells
                cells, start, size = [], number + 1, 0
                break
        else:
            raise ParseError(number, "A cell continues after its closing quote. Double the quotes in a cell.")
    if quoted:
        raise ParseError(number, "The file ends within quotes. The file may be incomplete.")


def _header(line: int, cells: list[str]) -> Header:
    names = [name.strip() for name in cells]
    if len(names) > _MAX_COLUMNS:
        raise ParseError(line, f"The header has more than {_MAX_COLUMNS} columns.")
    # `deadline_at`, `Deadline at` and `deadlineAt` are one name.
    keys = [re.sub("[ _-]+|(?<=[a-z])(?=[A-Z])", " ", name).casefold() for name in names]
    dialect = next((each for each in DIALECTS if {each.title, each.sign or each.title} <= {*keys}), None)
    columns = {} if dialect is None else {dialect.title: "title", **dialect.members}
    for key in columns:
        if keys.count(key) > 1:
            raise ParseError(line, f"The header has more than one column {key}.")
    known = {columns[key] for key in keys if key in columns}
    silent = frozenset({_ZONE}) if dialect is None else dialect.silent | {_ZONE}
    ignored = [index for index, key in enumerate(keys) if key not in columns and key not in silent]
    for index in ignored:
        member = _meaning(keys[index])
        if member and member not in known:
            raise ParseError(
                line,
                f"The column {names[index][:80]} is unknown. Rename the column to {member}, or remove it.",
            )
    if dialect is None:
        titles = ", ".join(dialect.title for dialect in DIALECTS if not dialect.sign)
        shown = ", ".join(names)[:200] or "nothing"
        raise ParseError(line, f"The first line must name the columns, one of them {titles}. It has {shown}.")
    return Header(
        names,
        [(keys.index(key), member) for key, member in columns.items() if key in keys],
        ignored,
        keys.index("type") if "type" in silent and "type" in keys else None,
        keys.index(_ZONE) if _ZONE in keys else None,
    )


def _meaning(key: str) -> str | None:
    """Return the probable member of a column."""
    near = get_close_matches(key[:40].replace(" ", "_"), MEMBERS, 1, 0.8)
    return _MEANINGS.get(key) or next(iter(near), None)


def _entry(line: int, header: Header, cells: list[str], day_first: bool | None) -> Entry:
    def cell_at(index: int | None) -> str:
        return "" if index is None or index >= len(cells) else cells[index]

    row_type = "task" if header.type_column is None else cell_at(header.type_column).strip()
    if row_type != "task":
        return Entry(line, None, (row_type or "row without a type",))
    # Outlook and Excel omit empty cells at the end.
    if any(map(str.strip, cells[len(header.names) :])):
        error = f"The row has {len(cells)} cells, but the header has {len(header.names)}."
        return Entry(line, {}, error=error)
    values: dict[str, Any] = {}
    ignored = [header.names[index] for index in header.ignored if cell_at(index).strip()]
    try:
        for index, member in header.members:
            cell = cell_at(index)
            if member == "deadline_at" and (_RECURRING.match(cell) or (cell.strip() and member in values)):
                ignored.append(header.names[index])
            elif (value := _READ.get(member, _number)(cell, day_first)) is not None:
                values[member] = value
        values |= _in_zone(values, cell_at(header.zone).strip())
    except ValueError as error:
        return Entry(line, values, tuple(ignored), str(error))
    return Entry(line, values, tuple(ignored))


_RECURRING = re.compile("(?i) *(?:every|ev |after )")
_NUMBERS = r"(?P<first>\d\d?|\d{4})(?P<mark>[./-]) ?(?P<second>\d\d?)(?P=mark) ?(?P<third>\d\d?|\d{4})\.?"
_MONTH = r"(?P<month>[a-z]{3,9})\.?"
_ORDINAL = r"(?P<day>\d\d?)(?:st|nd|rd|th|\.)?"
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NUMBERS_AND_TIME, _DAY_AND_TIME, _MONTH_AND_TIME = (
    re.compile(
        rf"(?:(?P<weekday>{'|'.join(_WEEKDAYS)})[a-z]*\.?,? )?{date}"
        r"(?:(?:T|,? (?:at )?)(?P<hour>\d\d?)(?:[:.](?P<minute>\d\d)"
        r"(?P<rest>[:.]\d\d(?:[.,]\d{1,9})?)?)?(?: ?(?P<half>[ap])\.? ?m\.?)?"
        r"(?: ?(?P<offset>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?)?",
        re.ASCII | re.IGNORECASE,
    )
    for date in (
        _NUMBERS,
        rf"{_ORDINAL}[ -]{_MONTH},?[ -](?P<year>\d{{4}})",
        rf"{_MONTH} {_ORDINAL},? (?P<year>\d{{4}})",
    )
)
_YEAR_LENGTH = 4


def _time(cell: str, day_first: bool | None) -> str | None:
    """Return the time in `cell` as ISO 8601. Return an invalid cell unchanged, and the schema rejects it.

    Raises ValueError if the date is ambiguous.
    """
    text = " ".join(cell.split())  # replaces narrow spaces before AM and PM too
    if text in {"", "NULL", "\\N"}:  # MariaDB and PostgreSQL
        return None
    if is_time(text):
        return text
    found = _NUMBERS_AND_TIME.fullmatch(text)
    if found:
        date = _date(found, day_first)
    elif found := _DAY_AND_TIME.fullmatch(text) or _MONTH_AND_TIME.fullmatch(text):
        name = found["month"].casefold()
        month = next((number for number, month in enumerate(_MONTHS, 1) if month.startswith(name)), 0)
        date = f"{found['year']}-{month:02}-{int(found['day']):02}"
    if found and is_time(result := date + _clock(found)):
        weekday = (found["weekday"] or "")[:3].casefold()
        if not weekday or weekday == _WEEKDAYS[datetime.fromisoformat(date).weekday()]:
            return result
    return cell


def _date(found: re.Match[str], day_first: bool | None) -> str:
    first, second, third = (int(found[name]) for name in ("first", "second", "third"))
    if len(found["first"]) == _YEAR_LENGTH:
        return f"{first}-{second:02}-{third:02}"
    if len(found["third"]) != _YEAR_LENGTH:
        return ""
    if found["mark"] == "." or first > len(_MONTHS) or first == second:
        day_first = True
    elif second > len(_MONTHS):
        day_first = False
    if day_first is None:
        raise ValueError(f"{found[0]} is ambiguous. Use --day-first or --month-first.")
    day, month = (first, second) if day_first else (second, first)
    return f"{found['third']}-{month:02}-{day:02}"


_OFFSETS = {"UTC": "Z", "GMT": "Z"}


def _clock(found: re.Match[str]) -> str:
    """Return the time of day as ISO 8601, or an empty string."""
    if found["hour"] is None:
        return ""
    hour, half = int(found["hour"]), (found["half"] or "").casefold()
    if half:
        if not 1 <= hour <= 12:  # the 12-hour clock has no hour 0
            return "T"
        hour = hour % 12 + (12 if half == "p" else 0)
    rest = f":{found['rest'][1:]}" if found["rest"] else ""
    offset = (found["offset"] or "").upper()
    return f"T{hour:02}:{found['minute'] or '00'}{rest}{_OFFSETS.get(offset, offset)}"


def _in_zone(values: dict[str, Any], zone: str) -> dict[str, Any]:
    """Convert the deadline from the zone of its row to UTC, unless the deadline has an offset or no time."""
    deadline = values.get("deadline_at")
    if not zone or not deadline or not is_time(deadline):
        return {}
    found = time_zones.find(zone)
    if found is None:
        raise ValueError(f"The time zone {zone[:80]} is unknown. Use a name such as Europe/Berlin.")
    local = datetime.fromisoformat(to_iso(deadline))
    if local.tzinfo or len(deadline) <= len("2027-01-31"):
        return {}
    try:
        return {"deadline_at": local.replace(tzinfo=found).astimezone(UTC).isoformat()}
    except OverflowError:
        raise ValueError(f"{deadline} is not in the years 1 to 9999 in UTC.") from None


def _number(cell: str, _: bool | None) -> Any:
    return int(cell) if re.fullmatch(" *-?[0-9]{1,19} *", cell) else cell if cell.strip() else None


def _text(cell: str, _: bool | None) -> str:
    return _RESTORE.sub("", cell)


def _description(cell: str, _: bool | None) -> str | None:
    return _text(cell, None) or None


def _boolean(cell: str, _: bool | None) -> Any:
    # A column of completion times has a time for completed todos.
    return bool(cell.strip()) and (is_time(cell.strip()) or to_boolean(cell))


_READ: dict[str, Callable[[str, bool | None], Any]] = {
    "title": _text,
    "description": _description,
    "completed": _boolean,
    "deadline_at": _time,
    "created_at": _time,
    "updated_at": _time,
}
