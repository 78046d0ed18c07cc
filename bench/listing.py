"""What is read, on more and more todos: a row for each filter, sort and page; and what its indexes cost."""

import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import sub
from pathlib import Path

from bench.operations import OPERATIONS, Operation, Request, Rest
from todo.query import TODOS, Listing
from todo.schemas import ListQuery, TodoOut

SECONDS = 1  # of a turn
LIMIT = 100
LATE = 150  # todos before the last one, where the late page begins
SPAN = timedelta(days=730)  # of the times before now, and of deadlines behind it too (see bench.data)
FEW = 120  # of however many todos
# A share of all todos, and the page that is full of it out of 1,000 too.
RARE = {"one in 22": (1 / 22, 40), "one in 110": (1 / 110, 8)}
ALL = "all of them"
BATCHES, BATCH = 16, 200
_INSERT = "INSERT INTO todos (title, description, deadline_at, created_at, updated_at) VALUES (?, ?, ?, ?, ?)"


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
    yield _reading("q=number 7, which one in nine has", "q=number%207")


def expected(operation: Operation) -> int | None:
    """How many todos an answer has, on any number of todos; None where it depends on that."""
    if operation.name.startswith("get_one"):
        return 1
    if operation.name.startswith("q="):
        return None
    limits = {"none": 0} | {size: limit for size, (_, limit) in RARE.items()}
    return limits.get(operation.name.rpartition(", ")[2], LIMIT)


def _bounds() -> Iterator[Operation]:
    """Each bound so that it leaves half, few and none of the todos, and some of those that are rare."""
    now = datetime.now(UTC).replace(tzinfo=None)
    deadlines = 2 * SPAN * 3 / 2  # a third has none
    # The bound that leaves a share of all todos, and one that leaves none.
    bounds: tuple[tuple[str, Callable[[float], datetime], str], ...] = (
        ("deadline_from", lambda share: now + SPAN - deadlines * share, "9999-12-31"),
        ("deadline_before", lambda share: now - SPAN + deadlines * share, "1000-01-01"),
        ("updated_since", lambda share: now - SPAN * share, "9999-12-31"),
    )
    shares: tuple[tuple[str, Callable[[int], float], int], ...] = (
        ("half", lambda _: 1 / 2, LIMIT),
        ("few", lambda rows: FEW / rows, LIMIT),
        *((size, partial(_same, share), limit) for size, (share, limit) in RARE.items()),
    )
    for name, bound, none in bounds:
        for size, share, limit in shares:
            title = f"{name}, {size}"
            yield Operation(title, title, partial(_bounded, name, bound, share, limit), varied=1)
        yield _reading(f"{name}, none", f"{name}={none}")


def _same(share: float, _: int) -> float:
    return share


def _bounded(
    name: str,
    bound: Callable[[float], datetime],
    share: Callable[[int], float],
    limit: int,
    _: Rest,
    __: int,
    rows: int,
) -> Request:
    return Request("GET", f"{Rest.root}?limit={limit}&{name}={bound(share(rows)):%Y-%m-%dT%H:%M:%S}")


def _reading(title: str, query: str = "") -> Operation:
    path = f"{Rest.root}?limit={LIMIT}&{query}".rstrip("&")
    return Operation(title, title, lambda *_: Request("GET", path), varied=1)


def _late_page(_: Rest, __: int, rows: int) -> Request:
    cursor = Listing(ListQuery(limit=LIMIT)).cursor(TodoOut(rows - LATE, "", None, False, None, "", ""))
    return Request("GET", f"{Rest.root}?limit={LIMIT}&cursor={cursor}")


def costs_of_indexes(file: Path, batches: int = BATCHES) -> dict[str, list[float]]:
    """The microseconds of time and of CPU that an INSERT and its commit take, and each index's part of them.

    Each is measured on a copy of `file` without that index. An index that was made anew would be packed,
    and a run of its own would fall on other moments of the machine: both are more than an index costs.
    """
    with closing(sqlite3.connect(file)) as connection:  # to close it takes what is in the WAL to the file
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
    """Insert a batch, a commit each; return the mean microseconds of time and of CPU."""
    now = datetime.now(UTC)
    moment = f"{now:%Y-%m-%d %H:%M:%S.%f}"
    began, used = time.perf_counter(), time.process_time()
    for n in range(batch * BATCH, (batch + 1) * BATCH):
        mixed = n * 104_729 % 1_000_003  # in no order, as titles come
        deadline = now + timedelta(hours=mixed % 17520)
        texts = f"Todo {mixed}", f"Something to do, number {mixed}"
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_INSERT, (*texts, f"{deadline:%Y-%m-%d %H}:00:00.000000", moment, moment))
        connection.execute("COMMIT")
    return (time.perf_counter() - began) / BATCH * 1e6, (time.process_time() - used) / BATCH * 1e6
