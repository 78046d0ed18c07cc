"""Access to the database: `init_app()`, `read()` and `write(work)`. No other module opens connections."""

import random
import sqlite3
import time
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from flask import Flask, current_app
from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from todo.config import StartupError, without_secrets
from todo.database import dialects, schema, sqlite
from todo.database.dialects import DIALECTS, Dialect
from todo.database.errors import RETRYABLE, DatabaseUnavailable, after_commit, error_code
from todo.database.group_commit import GroupCommit
from todo.database.schema import State
from todo.models import db

ATTEMPTS = 5
# The engine caches compiled statements of up to 100 kB each. Clients choose the filters and the sort order of
# a list, so the number of statements needs a bound.
COMPILED_STATEMENTS = 200
# An upgrade may rewrite a large table.
MIGRATION_TIMEOUT_MS = 32767 * 1000

_EXTENSION = "todo.database"
T = TypeVar("T")


def read() -> AbstractContextManager[Connection]:
    """Open a read transaction: all statements in the `with` block see the same snapshot.

    Do not nest calls. Raises DatabaseUnavailable if the database file is missing or was replaced, and
    DBAPIError if the database fails.
    """
    backend: _Backend = current_app.extensions[_EXTENSION]
    return backend.read()


def write(work: Callable[[Connection], T]) -> T:
    """Run `work(connection)` in a transaction, and return its result after the commit.

    The transaction is rolled back if `work` raises. `work` runs again after a deadlock or a serialization
    failure, so `work` must have no effects outside the database. On a SQLite file, threads that write at
    the same time share one commit. `work` may then run in another thread, with the caller's context.
    """
    backend: _Backend = current_app.extensions[_EXTENSION]
    return backend.write(work)


def version_reader(app: Flask) -> Callable[[], Hashable]:
    """Return a function whose result changes with every commit of any process.

    The result is None if it cannot be read, and always None for servers and databases in memory.
    """
    backend: _Backend = app.extensions[_EXTENSION]
    return backend.version


def _commit(connection: Connection) -> None:
    try:
        connection.commit()
    except DBAPIError as error:
        raise (error if error_code(error) in RETRYABLE else after_commit(error)) from None


class _Pooled:
    """A server, or SQLite in memory. Each transaction uses a connection of SQLAlchemy's pool."""

    def __init__(self, engine: Engine, dialect: Dialect | None, settings: Mapping[str, Any]) -> None:
        self._engine = engine
        self._dialect = dialect
        if dialect:
            dialects.configure_connections(engine, dialect, settings)
        else:
            sqlite.configure_connections(engine, None, settings["BUSY_TIMEOUT"])

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            for statement in self._dialect.begin_read if self._dialect else ():
                connection.exec_driver_sql(statement)
            yield connection

    def write(self, work: Callable[[Connection], T]) -> T:
        for attempt in count(1):
            began = time.monotonic()
            try:
                with self._engine.connect() as connection:
                    if self._dialect:  # several releases can use one server
                        schema.check_version(connection)
                    result = work(connection)
                    _commit(connection)
                    return result
            except DBAPIError as error:
                if attempt == ATTEMPTS or error_code(error) not in RETRYABLE:
                    raise
            # The pause is random, so that transactions that conflicted do not conflict again.
            time.sleep(random.uniform(0, 2) * (time.monotonic() - began))
        raise AssertionError

    def version(self) -> Hashable:
        return None

    def close(self) -> None:
        self._engine.dispose()


class _SQLiteFile:
    """A SQLite file: a connection for each concurrent read, and one for the writes of all threads."""

    def __init__(self, engine: Engine, path: Path, busy_timeout: int) -> None:
        sqlite.check_place(path, writable="mode" not in engine.url.query)
        file = sqlite.File(path)
        sqlite.configure_connections(engine, file, busy_timeout)
        self.group_commit = GroupCommit(engine, file, busy_timeout)
        connections = sqlite.ReadConnections(engine, file)
        data_version = sqlite.DataVersion(engine, file)
        self.read, self.write, self.version = connections.read, self.group_commit.run, data_version.read
        self._parts = (self.group_commit, connections, data_version)
        self._engine = engine

    def close(self) -> None:
        for part in self._parts:
            part.close()
        self._engine.dispose()


_Backend = _Pooled | _SQLiteFile


def init_app(app: Flask, *, check_schema: bool = True) -> None:
    """Open the database of `app` and create its tables. Upgrade tables without a version.

    Raises StartupError if the database cannot be opened or written, or if its schema belongs to another
    release. `check_schema=False` leaves that check to the caller.
    """
    dialect = None
    try:
        url = make_url(app.config["SQLALCHEMY_DATABASE_URI"])
        dialect = dialects.dialect_for(url)
        # Error logs must not contain values from requests.
        options: dict[str, Any] = {"hide_parameters": True, "query_cache_size": COMPILED_STATEMENTS}
        if dialect:
            app.config["SQLALCHEMY_DATABASE_URI"] = url.set(drivername=dialect.driver)
            options |= dialects.engine_options(dialect, app.config)
        elif sqlite.file_of(url):
            options["max_overflow"] = -1  # each concurrent read has a connection
        options |= app.config.get("SQLALCHEMY_ENGINE_OPTIONS", {})
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
        place = sqlite.file_of(url)
        if place is not None and not place.is_absolute():
            # Flask-SQLAlchemy would create a folder that other users can read.
            sqlite.make_folder(Path(app.instance_path))
        db.init_app(app)
    except (ArgumentError, ImportError, OSError, ValueError) as error:
        advice = f"Install the extra {dialect.names[0]}" if dialect else "Correct it"
        # A ValueError may contain the password.
        reason = "the port is invalid" if type(error) is ValueError else error
        raise StartupError(
            f"SQLALCHEMY_DATABASE_URI cannot be used: {reason}. {advice}, "
            "or set it to a URL such as sqlite:////folder/file."
        ) from None
    with app.app_context():
        engine = db.engine
        path = sqlite.file_of(engine.url)
        backend = (
            _Pooled(engine, dialect, app.config)
            if path is None
            else _SQLiteFile(engine, path, app.config["BUSY_TIMEOUT"])
        )
        app.extensions[_EXTENSION] = backend
        weakref.finalize(app, backend.close)
        with _passing_connection(engine) as connection:
            if dialect:
                dialects.check(connection, dialect)
            found = schema.state(connection)
            if path is not None:
                sqlite.check_small_file(path)
        if found in {State.EMPTY, State.UNVERSIONED}:
            upgrade_schema()
        elif check_schema:
            schema.check(found)


def upgrade_schema() -> bool:
    """Upgrade the schema to this release. Return False if there was nothing to do.

    Raises StartupError if the upgrade is not possible.
    """
    engine = db.engine
    dialect = DIALECTS.get(engine.dialect.name)
    if dialect:
        settings = {**current_app.config, "STATEMENT_TIMEOUT": MIGRATION_TIMEOUT_MS}
        engine = create_engine(engine.url, poolclass=NullPool, connect_args=dialect.connect_args(settings))
        dialects.configure_connections(engine, dialect, settings)
    with _passing_connection(engine) as connection:
        return schema.upgrade(connection)


def check_schema() -> None:
    """Raise StartupError if the schema belongs to another release, or the database cannot be used."""
    with _passing_connection(db.engine) as connection:
        found = schema.state(connection)
    schema.check(found)


@contextmanager
def _passing_connection(engine: Engine) -> Iterator[Connection]:
    """Yield a connection, then dispose of the pool: connections must not survive fork().

    Raises StartupError, with advice for the operator, if the database fails.
    """
    try:
        with engine.connect() as connection:
            yield connection
    except (DBAPIError, sqlite3.Error) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(reason, sqlite3.Error) and reason.sqlite_errorcode & 0xFF in sqlite.DAMAGE:
            raise StartupError(
                f"The database file {sqlite.file_of(db.engine.url)} is damaged: {reason}. Move the file "
                "and its -wal and -shm files away, then restore a backup: flask --app todo restore FILE."
            ) from None
        raise StartupError(
            f"The database {without_secrets(db.engine.url)} cannot be used: {reason}. "
            "Check that it is a database, that this user may write to it and its folder, "
            "and that no other program has locked it."
        ) from None
    finally:
        if not in_memory(engine):  # the connection holds the database
            engine.dispose()


def in_memory(engine: Engine) -> bool:
    """Return True if the database is in the memory of this process."""
    return engine.dialect.name == "sqlite" and sqlite.file_of(engine.url) is None


def checkpoint() -> None:
    """Copy all commits from the log into the database file, unless other connections prevent it.

    SQLite removes the log when the last connection closes. The database is then a single file.
    """
    if sqlite.file_of(db.engine.url) is None:
        return
    with suppress(DBAPIError, DatabaseUnavailable), db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint")
    db.engine.dispose()
