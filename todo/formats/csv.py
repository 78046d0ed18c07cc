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

from todo.clock import DATE_LENGTH, is_time, to_iso
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
        {
            "notes": "description",
            "due date": "deadline_at",
            "status": "completed",
            "% complete": "completed",
            "date completed": "completed",
        },
        frozenset({"reminder on/off"}),
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
    "title": "name, task, summary, subject, content, todo, item",
    "description": "notes, note, details, comment, comments, body",
    "completed": "done, status, state, complete, finished, is completed, is complete, is done",
    "deadline_at": "due, deadline, due at, due date, due on, due time, duedate",
    "created_at": "created, created on, date created, creation date",
    "updated_at": "updated, updated on, modified, last modified, date modified",
}
_MEANINGS = {name: member for member, names in _SYNONYMS.items() for name in names.split(", ")}


class Header(NamedTuple):
    """The columns of a file by their keys, which are names in lower case."""

    keys: list[str]
    names: dict[str, str]
    members: dict[str, str]  # in order of precedence
    ignored: list[str]
    has_type: bool  # Todoist has rows that are not tasks


def read(pieces: Iterable[str], *, day_first: bool | None = None) -> Iterator[Entry]:
    """Read the rows of any dialect, with commas, semicolons, tabs or bars between the cells.

    `day_first` is the order of day and month in dates such as 1/2/2027. Without it, such dates are invalid.
    """
    numbered = enumerate(lines(pieces), 1)
    filled = (pair for pair in numbered if pair[1].strip(' \t\r\n",;|'))
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
    any_cell, open_cell = re.compile(rf'(?:{space}"{rest}|{plain}){end}'), re.compile(rest + end)
    numbered = enumerate(text, number)
    for start, line in numbered:
        content = line.rstrip("\r\n")
        if '"' not in content:  # takes a tenth of the time
            yield start, content.split(delimiter)
            continue
        cells: list[str] = []
        number, size, position, separator = start, len(line), 0, delimiter
        while separator:
            found = any_cell.match(content, position)
            lines: list[str] = []
            while found and found["open"] is not None:
                lines += [found["quoted"], line[len(content) :]]
                number, line = next(numbered, (number, ""))
                size += len(line)
                if not line:
                    raise ParseError(number, "The file ends within quotes. The file may be incomplete.")
                if size > MAX_LINE:
                    detail = f"The row has more than {MAX_LINE} characters. Is a quote missing?"
                    raise ParseError(start, detail)
                content = line.rstrip("\r\n")
                found = open_cell.match(content)
            if not found:
                raise ParseError(
                    number, "A cell continues after its closing quote. Double the quotes in a cell."
                )
            groups = found.groupdict()
            cell = groups.get("plain")
            cells.append("".join([*lines, groups["quoted"]]).replace('""', '"') if cell is None else cell)
            position, separator = found.end(), found["end"]
        yield start, cells


def _header(line: int, cells: list[str]) -> Header:
    names = [name.strip() for name in cells]
    if len(names) > _MAX_COLUMNS:
        raise ParseError(line, f"The header has more than {_MAX_COLUMNS} columns.")
    # `deadline_at`, `Deadline at` and `deadlineAt` are one name.
    keys = [re.sub("[ _-]+|(?<=[a-z])(?=[A-Z])", " ", name).casefold() for name in names]
    keys = [_ZONE if key == "time zone" else key for key in keys]
    dialect = next((each for each in DIALECTS if {each.title, each.sign or each.title} <= {*keys}), None)
    columns = {} if dialect is None else {dialect.title: "title", **dialect.members}
    for key in columns:
        if keys.count(key) > 1:
            raise ParseError(line, f"The header has more than one column {key}.")
    members = {key: member for key, member in columns.items() if key in keys}
    silent = {_ZONE} if dialect is None else dialect.silent | {_ZONE}
    ignored = [key for key in dict.fromkeys(keys) if key not in members and key not in silent]
    for key in ignored:
        member = _meaning(key)
        if member and member not in members.values():
            name = names[keys.index(key)][:80]
            raise ParseError(
                line, f"The column {name} is unknown. Rename the column to {member}, or remove it."
            )
    if dialect is None:
        titles = ", ".join(dialect.title for dialect in DIALECTS if not dialect.sign)
        shown = ", ".join(names)[:200] or "nothing"
        raise ParseError(
            line, f"The first line must be a header with one of the columns {titles}. It has {shown}."
        )
    has_type = "type" in silent.intersection(keys)
    return Header(keys, dict(zip(keys, names, strict=True)), members, ignored, has_type)


def _meaning(key: str) -> str | None:
    """Return the probable member of a column."""
    if key.endswith(" by"):  # a person
        return None
    near = get_close_matches(key[:40].replace(" ", "_"), MEMBERS, 1, 0.8)
    return _MEANINGS.get(key) or next(iter(near), None)


def _entry(line: int, header: Header, cells: list[str], day_first: bool | None) -> Entry:
    row = dict.fromkeys(header.keys, "")
    for key, cell in zip(header.keys, cells, strict=False):  # Outlook and Excel omit empty cells at the end
        row[key] += cell  # only ignored columns can have the same name
    row_type = row["type"].strip() if header.has_type else "task"
    if row_type != "task":
        return Entry(line, None, (row_type or "row without a type",))
    if any(map(str.strip, cells[len(header.keys) :])):
        error = f"The row has {len(cells)} cells, but the header has {len(header.keys)}."
        return Entry(line, {}, error=error)
    values: dict[str, Any] = {}
    ignored = [key for key in header.ignored if row[key].strip()]
    error = ""
    try:
        for key, member in header.members.items():
            cell = row[key]
            if member == "deadline_at" and (_RECURRING.match(cell) or (cell.strip() and member in values)):
                ignored.append(key)
                continue
            if member == "completed" and (member in values or not cell.strip()):
                continue
            value = _time(cell, day_first) if member in _TIMES else _READ[member](cell)
            if value is not None:
                values[member] = value
        values |= _in_zone(values, row.get(_ZONE, "").strip())
    except ValueError as invalid:
        error = str(invalid)
    return Entry(line, values, tuple(header.names[key] for key in ignored), error)


_RECURRING = re.compile("(?i) *(?:every|ev |after )")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NUMBERS = r"(?:\d\d?|\d{4})(?P<mark>[./-]) ?\d\d?(?P=mark) ?(?:\d\d?|\d{4})\.?"
_MONTH, _ORDINAL = r"[a-z]{3,9}\.?", r"\d\d?(?:st|nd|rd|th|\.)?"
_DATE_AND_TIME = re.compile(
    rf"(?:(?P<weekday>{'|'.join(_WEEKDAYS)})[a-z]*\.?,? )?"
    rf"(?P<date>{_NUMBERS}|{_ORDINAL}[ -]{_MONTH},?[ -]\d{{4}}|{_MONTH} {_ORDINAL},? \d{{4}})"
    r"(?:(?:T|,? (?:at )?)(?P<hour>\d\d?)(?:[:.](?P<minute>\d\d)"
    r"(?P<rest>[:.]\d\d(?:[.,]\d{1,9})?)?)?(?: ?(?P<half>[ap])\.? ?m\.?)?"
    r"(?: ?(?P<offset>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?)?",
    re.ASCII | re.IGNORECASE,
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
    found = _DATE_AND_TIME.fullmatch(text)
    if found:
        date = _date(found["date"].casefold(), day_first)
        if is_time(result := date + _clock(found)):
            weekday = (found["weekday"] or "")[:3].casefold()
            if not weekday or weekday == _WEEKDAYS[datetime.fromisoformat(date).weekday()]:
                return result
    return cell


def _date(text: str, day_first: bool | None) -> str:
    """Return a date as ISO 8601, or an invalid date. Raises ValueError if the date is ambiguous."""
    first, second, third = re.findall("[0-9]+|[a-z]{3,}", text)
    if len(first) == _YEAR_LENGTH and first.isdecimal():
        return f"{first}-{int(second):02}-{int(third):02}"
    if first.isalpha() or second.isalpha():
        name, day = sorted((first, second), key=str.isdecimal)
        month = next((number for number, month in enumerate(_MONTHS, 1) if month.startswith(name)), 0)
        return f"{third}-{month:02}-{int(day):02}"
    if "." in text or int(first) > len(_MONTHS) or first == second:
        day_first = True
    elif int(second) > len(_MONTHS):
        day_first = False
    if day_first is None and len(third) == _YEAR_LENGTH:
        raise ValueError(f"{text} is ambiguous. Use --day-first or --month-first.")
    day, month = (first, second) if day_first else (second, first)
    return f"{third}-{int(month):02}-{int(day):02}"


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
    if local.tzinfo or len(deadline) <= DATE_LENGTH:
        return {}
    try:
        return {"deadline_at": local.replace(tzinfo=found).astimezone(UTC).isoformat()}
    except OverflowError:
        raise ValueError(f"{deadline} is not in the years 1 to 9999 in UTC.") from None


def _number(cell: str) -> int | str | None:
    return int(cell) if re.fullmatch(" *-?[0-9]{1,19} *", cell) else cell.strip() or None


def _text(cell: str) -> str:
    return _RESTORE.sub("", cell)


def _boolean(cell: str) -> Any:
    text = cell.strip()
    if progress := re.fullmatch("([0-9]{1,3}) ?%", text):
        return progress[1] == "100"
    # A column of completion times has a time for completed todos.
    return is_time(text) or bool(_DATE_AND_TIME.fullmatch(text)) or to_boolean(cell)


_TIMES = {"deadline_at", "created_at", "updated_at"}
_READ: dict[str, Callable[[str], Any]] = {
    "id": _number,
    "title": _text,
    "description": lambda cell: _text(cell) or None,
    "completed": _boolean,
}
