"""What is read, on more and more todos: a row for each filter, sort and page; and what its indexes cost."""

import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from bench.operations import OPERATIONS, Operation, Request, Rest
from todo.query import TODOS, Listing, ListQuery
from todo.schemas import TodoOut

LIMIT = 100
LATE = 150  # todos before the last one, where the late page begins
INSERTS = 2000
SPAN = timedelta(days=730)  # of the times before now, and of deadlines behind it too (see bench.data)
FEW = 120  # of however many todos
_INSERT = """INSERT INTO todos (title, description, deadline_at, created_at, updated_at)
VALUES ('Measured ' || :n, 'Made for the measurement, number ' || :n, :deadline, :now, :now)"""


def operations() -> Iterator[Operation]:
    """All that is measured."""
    yield from (operation for operation in OPERATIONS if operation.name in {"get_one", "get_one_304"})
    yield _reading("first page")
    yield Operation("late page", "page near the end", _late_page, varied=1)
    for query in ("completed=true", "completed=false", "overdue=true", "overdue=false"):
        yield _reading(query, query)
    yield _reading("window, all deadlines", "window=3652058")
    yield _reading("window, half of them", "window=0")
    yield from _bounds()
    for column in TODOS.c:
        yield _reading(f"sort={column.key}", f"sort={column.key}")
        yield _reading(f"sort=-{column.key}", f"sort=-{column.key}")
    yield _reading("q=number 77", "q=number%2077")


def _bounds() -> Iterator[Operation]:
    """Each bound so that it leaves half, few and none of the todos."""
    now = datetime.now(UTC).replace(tzinfo=None)
    first, last = now - SPAN, now + SPAN
    of_deadlines, of_changes = 2 * SPAN * FEW * 3 / 2, SPAN * FEW
    for name, many, few, none in (
        ("deadline_from", now, lambda rows: last - of_deadlines / rows, "9999-12-31"),
        ("deadline_before", now, lambda rows: first + of_deadlines / rows, "1000-01-01"),
        ("updated_since", now - SPAN / 2, lambda rows: now - of_changes / rows, "9999-12-31"),
    ):
        yield _reading(f"{name}, half", f"{name}={many:%Y-%m-%d}")
        yield Operation(f"{name}, few", f"{name}, few", partial(_bounded, name, few), varied=1)
        yield _reading(f"{name}, none", f"{name}={none}")


def _bounded(name: str, bound: Callable[[int], datetime], _: Rest, __: int, rows: int) -> Request:
    value = f"{bound(rows):%Y-%m-%dT%H:%M:%S}"
    return Request("GET", f"{Rest.root}?limit={LIMIT}&{name}={value}")


def _reading(title: str, query: str = "") -> Operation:
    path = f"{Rest.root}?limit={LIMIT}&{query}".rstrip("&")
    return Operation(title, title, lambda *_: Request("GET", path), varied=1)


def _late_page(_: Rest, __: int, rows: int) -> Request:
    listing = Listing(ListQuery(limit=LIMIT))
    listing.skip_past(TodoOut(rows - LATE, "", None, False, None, "", ""))
    return Request("GET", f"{Rest.root}?limit={LIMIT}&cursor={listing.cursor()}")


def costs_of_indexes(file: Path) -> Iterator[tuple[str, float, float]]:
    """For none and for each index: its name, and without it the microseconds of an INSERT and its commit.

    The first value is without the commit. All are of this process alone, on the table as it is.
    """
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'todos' AND sql <> ''"
        ).fetchall()
        for name, sql in [("", ""), *indexes]:
            if name:
                connection.execute(f"DROP INDEX {name}")
            yield name, *_time_inserts(connection)
            if name:
                connection.execute(sql)


def _time_inserts(connection: sqlite3.Connection) -> tuple[float, float]:
    now = datetime.now(UTC).replace(tzinfo=None)
    inserts, all_of_it = [], []
    for n in range(INSERTS):
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        deadline = now + timedelta(hours=n * 7919 % 17520)
        values = {"n": n, "deadline": f"{deadline:%Y-%m-%d %H:00:00.000000}", "now": f"{now} "[:26]}
        connection.execute(_INSERT, values)
        inserts.append(time.perf_counter() - began)
        connection.execute("COMMIT")
        all_of_it.append(time.perf_counter() - began)
    return statistics.median(inserts) * 1e6, statistics.median(all_of_it) * 1e6
