"""Lists on up to a million todos: sort orders, filters and their combinations; and the cost of each index.

The requests are measured in one process without the response cache, because each of them takes less time than
the noise of a server and its clients.
"""

import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from operator import sub
from pathlib import Path
from typing import Any, NamedTuple

from flask import Flask
from werkzeug.test import create_environ, run_wsgi_app

from bench import data
from bench.operations import REST
from todo import create_app, database
from todo.http import parameters
from todo.listing import read_by_id
from todo.query import TODOS, Listing
from todo.schemas import ListQuery

LIMIT = 100
LATE = 150  # todos after the start of a late page
SPAN = timedelta(days=730)  # before now for all times, and also after now for deadlines (see bench.data)
FEW = 120  # matches, on any number of todos
SLOW = 0.5  # seconds for the repetitions of one request
ALL = "all indexes"
BATCHES, BATCH = 16, 200
_INSERT = "INSERT INTO todos (title, description, deadline_at, created_at, updated_at) VALUES (?, ?, ?, ?, ?)"

# The groups of readings.
ORDERS, OWN, OTHERS, SEARCHES = "orders", "own order", "other orders", "searches"
INDEXED = ("id", *sorted({index.columns[0].key for index in TODOS.indexes}))
SORTS = tuple(f"{sign}{key}" for key in INDEXED for sign in ("", "-"))


class Reading(NamedTuple):
    """A list to read. `query` returns the query string for a number of todos."""

    group: str
    title: str
    query: Callable[[int], str]
    found: int | None = None  # the number of todos in the response, if it is the same on any file
    late: bool = False


class Condition(NamedTuple):
    """A filter, and the sort key whose index serves it."""

    title: str
    key: str
    query: Callable[[int], str]
    found: int | None = LIMIT


def conditions() -> Iterator[Condition]:
    """Yield each filter with many, few and no matches."""
    for query, key in (
        ("completed=true", "id"),
        ("completed=false", "id"),
        ("overdue=true", "deadline_at"),
        ("overdue=false", "deadline_at"),
        ("window=3652058", "deadline_at"),
        ("window=0", "deadline_at"),
    ):
        yield Condition(query, key, _always(query))
    now = datetime.now(UTC).replace(tzinfo=None)
    deadlines = 2 * SPAN * 3 / 2  # a third of the todos has none
    # The bound that a share of all todos meets, and one that none meets.
    bounds: tuple[tuple[str, str, Callable[[float], datetime], str], ...] = (
        ("deadline_from", "deadline_at", lambda share: now + SPAN - deadlines * share, "9999-12-31"),
        ("deadline_before", "deadline_at", lambda share: now - SPAN + deadlines * share, "1000-01-01"),
        ("updated_since", "updated_at", lambda share: now - SPAN * share, "9999-12-31"),
    )
    for name, key, bound, nothing in bounds:
        yield Condition(f"{name}, half", key, _bounded(name, bound, lambda _: 1 / 2))
        yield Condition(f"{name}, one in 250", key, _bounded(name, bound, lambda _: 1 / 250), None)
        yield Condition(f"{name}, {FEW} todos", key, _bounded(name, bound, lambda rows: FEW / rows))
        yield Condition(f"{name}, none", key, _always(f"{name}={nothing}"), 0)


def readings() -> Iterator[Reading]:
    """Yield all lists to measure."""
    for sort in SORTS:
        query = _always(f"sort={sort}")
        yield Reading(ORDERS, f"sort={sort}, first page", query, LIMIT)
        yield Reading(ORDERS, f"sort={sort}, late page", query, LIMIT, late=True)
    for condition in conditions():
        for sort in SORTS:
            group = OWN if sort.removeprefix("-") == condition.key else OTHERS
            yield _sorted(group, condition, sort)
    for search in (
        Condition("q, one in nine", "", _always("q=number%207"), None),
        Condition("q, one todo", "", lambda rows: f"q=number%20{rows - 1}", None),
        Condition("q, none", "", _always("q=nothing"), 0),
    ):
        for sort in SORTS:
            yield _sorted(SEARCHES, search, sort)


def _sorted(group: str, condition: Condition, sort: str) -> Reading:
    return Reading(
        group,
        f"{condition.title}, sort={sort}",
        lambda rows: f"{condition.query(rows)}&sort={sort}",
        condition.found,
    )


def _always(query: str) -> Callable[[int], str]:
    return lambda _: query


def _bounded(
    name: str, bound: Callable[[float], datetime], share: Callable[[int], float]
) -> Callable[[int], str]:
    return lambda rows: f"{name}={bound(share(rows)):%Y-%m-%dT%H:%M:%S}"


def measure(files: Mapping[int, Path], rounds: int) -> dict[str, Any]:
    """Create a file for each number of todos. Return the milliseconds of each reading on each file."""
    apps = {rows: create_filled_app(file, rows) for rows, file in files.items()}
    measured = []
    for number, reading in enumerate(chosen := list(readings())):
        if number % len(SORTS) == 0:
            print(f"lists: {number} of {len(chosen)}", file=sys.stderr, flush=True)
        paths = {rows: path_of(reading, app, rows) for rows, app in apps.items()}
        times: dict[int, list[float]] = {rows: [] for rows in apps}
        began = time.monotonic()
        # Each request is sent once before it is measured.
        for place in range(rounds * 5 + 1):
            for rows, app in apps.items():
                milliseconds = time_request(app, paths[rows])
                if place or milliseconds > SLOW * 1000:
                    times[rows].append(milliseconds)
            if all(times.values()) and time.monotonic() - began > SLOW:
                break
        medians = {str(rows): statistics.median(each) for rows, each in times.items()}
        measured.append({"group": reading.group, "title": reading.title, "milliseconds": medians})
    return {"readings": measured}


def create_filled_app(file: Path, rows: int) -> Flask:
    """Return the service on a new file with the varied todos 1 to `rows`."""
    app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{file}", "RESPONSE_CACHE": 0})
    data.fill(str(file), "sqlite", rows, varied=True)
    return app


def path_of(reading: Reading, app: Flask, rows: int) -> str:
    """Return the path and the query of `reading` for `app`, which has `rows` todos."""
    path = f"{REST.root}?limit={LIMIT}&{reading.query(rows)}"
    if not reading.late:
        return path
    with app.test_request_context(path), database.read() as connection:
        listing = Listing(parameters.read(ListQuery))
        (last,) = read_by_id(connection, listing.read_ids(connection)[-LATE - 1 : -LATE])
        return f"{path}&cursor={listing.cursor(last)}"


def time_request(app: Flask, path: str) -> float:
    """Return the milliseconds of a request. Exit if it fails."""
    environ = create_environ(path)
    began = time.perf_counter()
    body, status, _ = run_wsgi_app(app, environ, buffered=True)
    milliseconds = (time.perf_counter() - began) * 1000
    if not status.startswith("200"):
        sys.exit(f"The service responded to {path} with {status}: {b''.join(body).decode()}")
    return milliseconds


def costs_of_indexes(file: Path, batches: int = BATCHES) -> dict[str, list[float]]:
    """Return the microseconds (time and CPU) of an INSERT and its commit, and the part of each index.

    Each index is measured by a copy of `file` without it. A rebuilt index would be packed, and a separate
    run would meet another load of the machine. Either differs by more than an index costs.
    """
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        names = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'todos' AND sql <> ''"
        )
        indexes = [name for (name,) in names]
    with tempfile.TemporaryDirectory(dir=file.parent) as folder, ExitStack() as opened:
        copies = {}
        for name in (ALL, *indexes):
            copy = shutil.copyfile(file, Path(folder) / name)
            copies[name] = opened.enter_context(closing(sqlite3.connect(copy, isolation_level=None)))
            copies[name].execute("PRAGMA synchronous = FULL")
            if name in indexes:
                copies[name].execute(f"DROP INDEX {name}")
            copies[name].execute("PRAGMA wal_checkpoint(TRUNCATE)")
        os.sync()
        turns: dict[str, list[tuple[float, float]]] = {name: [] for name in copies}
        for batch in range(batches):
            for name, connection in copies.items():
                turns[name].append(_insert(connection, batch))
    of_all = list(zip(*turns[ALL], strict=True))
    costs = {ALL: [statistics.median(values) for values in of_all]}
    for name in indexes:
        without = zip(*turns[name], strict=True)
        costs[name] = [statistics.median(map(sub, *values)) for values in zip(of_all, without, strict=True)]
    return costs


def _insert(connection: sqlite3.Connection, batch: int) -> tuple[float, float]:
    """Insert a batch with a commit for each row. Return the mean microseconds (time and CPU)."""
    now = datetime.now(UTC)
    moment = f"{now:%Y-%m-%d %H:%M:%S.%f}"
    began, used = time.perf_counter(), time.process_time()
    for n in range(batch * BATCH, (batch + 1) * BATCH):
        mixed = n * 104_729 % 1_000_003  # titles have no order
        deadline = now + timedelta(hours=mixed % 17520)
        texts = f"Todo {mixed}", f"Something to do, number {mixed}"
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_INSERT, (*texts, f"{deadline:%Y-%m-%d %H}:00:00.000000", moment, moment))
        connection.execute("COMMIT")
    return (time.perf_counter() - began) / BATCH * 1e6, (time.process_time() - used) / BATCH * 1e6
