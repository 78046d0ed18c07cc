"""The todos of the benchmark, inserted into the database of each server by one statement.

They were created over the last two years and updated in another order. Two of three have a deadline, on the
hour, from two years ago to two years ahead. Only the newest are open. The varied todos differ: a third is
completed, without a pattern. Titles and descriptions have no pattern either, some descriptions are null, and
some update times are equal.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from sqlalchemy import URL

TIMEOUT = 60  # seconds for a lock
OPEN = 1000  # the newest of many todos

# {n} is the number of the todo. The columns have these names on every server.
_NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})",
    "postgresql": "WITH numbers(n) AS (SELECT generate_series(1::bigint, {rows}))",
}
# {seconds} from now.
_MOMENT = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S.000000', 'now', {seconds} || ' seconds')",
    "postgresql": "date_trunc('second', now() at time zone 'UTC') + {seconds} * interval '1 second'",
    "pocketbase": "strftime('%Y-%m-%d %H:%M:%S.000Z', 'now', {seconds} || ' seconds')",
}
_YEAR = 365 * 24 * 3600  # seconds
_MADE = f"((n - {{rows}}) * {2 * _YEAR} / {{rows}})"
_CHANGED = f"(-(n * 7919 % {{rows}}) * {2 * _YEAR} / {{rows}})"
_DEADLINE = f"((n * 7907 % {{rows}} * {4 * _YEAR} / {{rows}} - {2 * _YEAR}) / 3600 * 3600)"
_INSERT = """INSERT INTO todos (id, title, description, completed, deadline_at, created_at, updated_at)
{numbers} SELECT {id}, {texts_and_completed},
CASE WHEN n % 3 > 0 THEN {deadline} ELSE {none} END, {made}, {changed} FROM numbers"""
_TEXTS_AND_COMPLETED = "'Todo ' || n, 'Something to do, number ' || n, n <= {completed}"
_VARIED = """'Todo ' || (n * 7919 % {rows}),
CASE WHEN n % 5 > 0 THEN 'Something to do, number ' || (n * 7907 % {rows}) END, n * 7919 % {rows} % 3 = 0"""
_TIES = 600  # seconds
_ID = {"pocketbase": "printf('%015d', n)"}


@contextmanager
def _connect(database: str) -> Iterator[Any]:
    """Yield a connection with a transaction, to a PostgreSQL URL or a SQLite file."""
    if database.startswith("postgresql"):
        with psycopg.connect(database.replace("+psycopg", "", 1)) as on_server:
            yield on_server
    else:
        with closing(sqlite3.connect(database, timeout=TIMEOUT)) as connection, connection:
            yield connection


def completed(rows: int) -> int:
    """Return the number of completed todos, which are the oldest."""
    return rows - min(OPEN, rows // 2)


def fill(database: str, kind: str, rows: int, *, varied: bool = False) -> None:
    """Insert the todos 1 to `rows` into the empty table. `kind` is sqlite, postgresql or pocketbase."""
    changed = f"({_CHANGED} / {_TIES} * {_TIES})" if varied else _CHANGED
    moments = {
        name: _MOMENT[kind].format(seconds=seconds.format(rows=rows))
        for name, seconds in (("deadline", _DEADLINE), ("made", _MADE), ("changed", changed))
    }
    statement = _INSERT.format(
        numbers=_NUMBERS.get(kind, _NUMBERS["sqlite"]).format(rows=rows),
        id=_ID.get(kind, "n"),
        texts_and_completed=(_VARIED if varied else _TEXTS_AND_COMPLETED).format(
            rows=rows, completed=completed(rows)
        ),
        none="''" if kind == "pocketbase" else "NULL",
        **moments,
    )
    with _connect(database) as connection:
        if kind == "postgresql":
            connection.execute("SET session_replication_role = replica")  # without triggers
        connection.execute(statement)
        if kind == "postgresql":
            connection.execute("SELECT setval('todos_id_seq', %s)", (rows,))
    if kind == "postgresql":
        with psycopg.connect(database.replace("+psycopg", "", 1), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE todos")


def reset(database: str, kind: str, rows: int) -> None:
    """Delete created todos, and give every other todo its first `completed`."""
    # Do this before a turn, not after it: wrk leaves requests that the server still processes.
    ids = "'{:015d}'" if kind == "pocketbase" else "{}"
    last, oldest = ids.format(rows), ids.format(completed(rows))
    with _connect(database) as connection:
        connection.execute(f"DELETE FROM todos WHERE id > {last}")
        connection.execute(
            f"UPDATE todos SET completed = (id <= {oldest}) WHERE completed <> (id <= {oldest})"
        )


@contextmanager
def new_database(server: URL, name: str) -> Iterator[str]:
    """Create a database on a PostgreSQL server, replacing an old one. Drop it at the end."""
    admin = server.set(drivername="postgresql").render_as_string(hide_password=False)
    drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(drop)
        connection.execute(f"CREATE DATABASE {name}")
        yield server.set(database=name).render_as_string(hide_password=False)
        connection.execute(drop)


def settings_of_postgresql(database: str) -> str:
    """Return the version and the durability settings of the server."""
    with _connect(database) as connection:
        version, fsync, commit = connection.execute(
            "SELECT current_setting('server_version'), current_setting('fsync'), "
            "current_setting('synchronous_commit')"
        ).fetchone()
    return f"PostgreSQL {version}, fsync={fsync}, synchronous_commit={commit}"
