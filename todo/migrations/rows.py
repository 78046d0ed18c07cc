"""Convert values in SQLite tables without constraints. Report ambiguous values.

Tables of the first release accept any value. A migration that adds constraints calls `convert` first.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from itertools import product
from typing import Any

import sqlalchemy as sa
from flask import has_app_context

from todo.clock import service_zone
from todo.config import StartupError

LARGEST_ID = 2**53 - 1  # larger integers lose digits in JavaScript
_TIMES = ("deadline_at", "created_at", "updated_at")
_IS_TIME = (
    "typeof({0}) = 'text' AND length(CAST({0} AS BLOB)) = 26 AND substr({0}, 1, 4) >= '0001'"
    " AND datetime(substr({0}, 1, 19), '+0 days') IS substr({0}, 1, 19)"
    " AND substr({0}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]'"
)
# Only these rows are read in Python. Text beyond ASCII may be invalid UTF-8.
_SUSPECTS = sa.text(
    "SELECT id, CAST(title AS BLOB), CAST(description AS BLOB), completed, deadline_at, created_at,"
    " updated_at, typeof(title) = 'text', typeof(description) IN ('text', 'null') FROM todos"
    " WHERE ifnull(NOT ("
    f"abs(id) <= {LARGEST_ID} AND typeof(title) = 'text' AND typeof(description) IN ('text', 'null')"
    " AND title NOT GLOB '*[^ -~]*' AND ifnull(description, '') NOT GLOB '*[^ -~]*'"
    " AND completed IN (0, 1)"
    f" AND (deadline_at IS NULL OR {_IS_TIME.format('deadline_at')})"
    f" AND {_IS_TIME.format('created_at')} AND {_IS_TIME.format('updated_at')}), 1)"
)
# Seconds, milliseconds, microseconds and nanoseconds since 1970. Only one of them is in these years.
_UNITS = (1, 10**3, 10**6, 10**9)
_LIKELY_YEARS = range(1990, 2100)
_JULIAN_DAY_OF_1970 = 2440587.5
_NUMERIC_DATE = re.compile(r"(\d\d?)([/.-])(\d\d?)\2(\d{4})(?!\d)")
_FORMATS = [
    f"{day}{time}"
    for day, time in product(
        ("%d/%m/%Y", "%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
        ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f"),
    )
]


def convert(connection: sa.Connection) -> None:
    """Convert the values of `todos` that the service cannot read.

    Raises StartupError with every row that a person must correct, before any change.
    """
    zone = service_zone() if has_app_context() else UTC
    changes: list[dict[str, Any]] = []
    problems: list[str] = []
    for row in connection.execute(_SUSPECTS):
        todo_id, title, description, completed, *times, title_is_text, description_is_text = row
        problems += _problems(todo_id, title, description, completed)
        if not (title_is_text and description_is_text):
            problems.append(f"todo {todo_id}: a title or description that is binary or missing")
        change: dict[str, Any] = {}
        for column, value in zip(_TIMES, times, strict=True):
            if value is None and column == "deadline_at":
                continue
            time = parse(value, zone if column == "deadline_at" else UTC)
            if time is None:
                problems.append(f"todo {todo_id}: {column} is {value!r:.80}")
            else:
                change[column] = time.isoformat(" ", "microseconds")
        if change:
            changes.append(change | {"key": todo_id})
    if problems:
        rows = "\n".join(f"  {problem}" for problem in problems)
        raise StartupError(
            f"The database contains values that cannot be converted, and nothing was changed:\n{rows}\n"
            "Correct these rows with the sqlite3 shell, then try again. A time looks like "
            "2027-01-31 18:00:00.000000, completed is 0 or 1, and an id is at most 2^53 - 1."
        )
    for change in changes:
        columns = ", ".join(f"{column} = :{column}" for column in change if column != "key")
        connection.execute(sa.text(f"UPDATE todos SET {columns} WHERE id = :key"), change)


def _problems(todo_id: int, title: object, description: object, completed: object) -> Iterator[str]:
    if abs(todo_id) > LARGEST_ID:
        yield f"todo {todo_id}: the id is beyond 2^53 - 1"
    for column, value in (("title", title), ("description", description)):
        if isinstance(value, bytes):
            try:
                value.decode()
            except UnicodeDecodeError:
                yield f"todo {todo_id}: {column} is not UTF-8: {value!r:.80}"
    if completed not in (0, 1):
        yield f"todo {todo_id}: completed is {completed!r:.80}"


def parse(value: object, zone: tzinfo) -> datetime | None:
    """Parse `value` into a time in `zone` without an offset. Return None if it is ambiguous or invalid."""
    if isinstance(value, int | float):
        return _from_number(value, zone)
    if not isinstance(value, str):
        return None
    text = value.strip()
    numeric = _NUMERIC_DATE.match(text)
    if numeric:
        first, _, second, year = numeric.groups()
        day, month = (first, second) if int(first) > 12 else (second, first)
        if int(day) <= 12 and day != month:
            return None
        text = f"{day}/{month}/{year}{text[numeric.end() :]}"
    for form in (None, *_FORMATS):
        try:
            time = datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007
            return time if time.tzinfo is None else time.astimezone(zone).replace(tzinfo=None)
        except (ValueError, OverflowError):
            continue
    return None


def _from_number(value: float, zone: tzinfo) -> datetime | None:
    seconds = [value / unit for unit in _UNITS] + [(value - _JULIAN_DAY_OF_1970) * 86400]
    for second in seconds:
        try:
            time = datetime.fromtimestamp(second, zone).replace(tzinfo=None)
        except (ValueError, OverflowError, OSError):
            continue
        if time.year in _LIKELY_YEARS:
            return time
    try:
        return datetime.strptime(str(value), "%Y%m%d")  # noqa: DTZ007
    except ValueError:
        return None
