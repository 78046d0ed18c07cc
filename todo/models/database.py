"""The database under the models: how it is opened, made ready, and used one transaction at a time."""

import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from flask import Flask, current_app
from sqlalchemy import Connection, Engine, event, inspect
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError

from todo.config import StartupError
from todo.http.problem import Unavailable
from todo.models import db

_Identity = tuple[int, int]  # device and inode


def prepare(app: Flask) -> None:
    """Open the database of `app` and make the tables it lacks; those it has stay as they are.

    Raises StartupError where the database can't be opened or written.
    """
    try:
        db.init_app(app)
    except (ArgumentError, ImportError, OSError) as error:
        raise StartupError(
            f"SQLALCHEMY_DATABASE_URI can't be used: {error}. Set it to a URL such as sqlite:////folder/file."
        ) from None
    with app.app_context():
        engine = db.engine
        path = file_of(engine)
        file = None if path is None else _File(path)
        if path is not None:
            _check_place(path, writable="mode" not in engine.url.query)
        if engine.dialect.name == "sqlite":
            _tune_sqlite(engine, file, app.config["BUSY_TIMEOUT"])
        app.extensions["todo.connections"] = _Connections(engine, file)
        weakref.finalize(app, engine.dispose)
        try:
            with engine.connect() as connection:
                _make_tables(connection)
        except DBAPIError as error:
            raise StartupError(
                f"The database {engine.url.render_as_string()} can't be used: {error.orig}. "
                "Check that it is a database, that this user may write to it and its folder, "
                "and that no other program holds it locked."
            ) from None
        # No connection may cross the fork into a server's workers; one in memory is the database.
        if not in_memory(engine):
            engine.dispose()


@contextmanager
def transaction(*, writing: bool = False, snapshot: bool = False) -> Iterator[Connection]:
    """One transaction: committed (on SQLite that means: on disk) or, on an error, as if never begun.

    With `writing`, others can't write from its beginning on, so that it may act on what it reads;
    with `snapshot`, all it reads is of one moment. Without them it is for a single statement.

    The connection stays with the thread, since fetching one from the pool for each request costs a
    quarter of a read. Raises Unavailable where the database file is not as it should be.
    """
    connection = current_app.extensions["todo.connections"].of_this_thread()
    try:
        if writing or snapshot:
            _begin(connection, "IMMEDIATE" if writing else "DEFERRED")
        yield connection
        connection.commit()
    except BaseException:
        connection.rollback()
        # SQLAlchemy takes a commit that failed for an end, SQLite not always: it may be tried again.
        if not connection.invalidated:
            connection.connection.rollback()
        raise


def _begin(connection: Connection, kind: str) -> None:
    """Begin now, rather than with the first write; a database in memory may be in a transaction already."""
    driver_connection = connection.connection.driver_connection
    if isinstance(driver_connection, sqlite3.Connection) and not driver_connection.in_transaction:
        connection.exec_driver_sql(f"BEGIN {kind}")


class _File:
    """A database file, which may be deleted, put back or replaced while it is in use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = Path(f"{path}-wal")
        self._opened: _Identity | None = None
        self._opened_log: _Identity | None = None

    def identify(self) -> _Identity:
        """Tell which file is there. Raises Unavailable where there is none, or none to be used."""
        identity = _identify(self.path)
        if identity is None:
            raise Unavailable(
                "The database file is gone. Put it back, or restart the service to begin a new one."
            )
        # SQLite would take the log of the file that was there for one of this file, and ruin it.
        if identity != self._opened and self._opened_log and self._opened_log == _identify(self.log):
            raise Unavailable(
                f"The database file was replaced, but not its log: remove {self.log.name} "
                f"and {self.path.name}-shm, or put the first file back."
            )
        return identity

    def remember(self) -> _Identity:
        """Take the file and its log, which a new connection has opened, for what belongs together."""
        self._opened, self._opened_log = self.identify(), _identify(self.log)
        return self._opened


def _identify(path: Path) -> _Identity | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class _Connections(threading.local):
    """For each thread the connection that it keeps, on the file that is there now."""

    def __init__(self, engine: Engine, file: _File | None) -> None:
        self.engine = engine
        self.file = file
        self.connection: Connection | None = None

    def of_this_thread(self) -> Connection:
        if self.connection is None:
            self.connection = self.engine.connect()
        elif self.file is not None and self.connection.info["file"] != self.file.identify():
            self.connection.invalidate()
            self.connection.close()
            self.connection = self.engine.connect()
        return self.connection


def file_of(engine: Engine) -> Path | None:
    """Return the file of a SQLite database; None for one in memory or on a server."""
    url = engine.url
    if engine.dialect.name != "sqlite" or not url.database or url.query.get("mode") == "memory":
        return None
    name = unquote(urlsplit(url.database).path) if url.database.startswith("file:") else url.database
    return None if name == ":memory:" else Path(name)


def in_memory(engine: Engine) -> bool:
    """Tell whether the database is in the memory of this process, so that no other one shares it."""
    return engine.dialect.name == "sqlite" and file_of(engine) is None


def checkpoint() -> None:
    """Bring all commits into the database file, where no other connection holds them back.

    After that the file alone, without the log beside it, is the database; SQLite removes the log
    with the last connection.
    """
    if file_of(db.engine) is None:
        return
    with suppress(DBAPIError, Unavailable), db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint")
    db.engine.dispose()


def _check_place(path: Path, *, writable: bool) -> None:
    """Raise StartupError where there is no file; one to be written is made.

    A file that is there is not opened: to close it again would take this process's locks off it.
    """
    try:
        if writable:
            if not path.parent.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            path.stat()
    except OSError as error:
        raise StartupError(
            f"{path} can't be used: {error.strerror}. Give this user the right to it and to its folder, "
            "or name another place in TODO_SQLALCHEMY_DATABASE_URI (sqlite:////folder/file)."
        ) from None


def _tune_sqlite(engine: Engine, file: _File | None, busy_timeout: int) -> None:
    """Have every connection to the SQLite database wait for locks, sync commits, and know its file."""

    @event.listens_for(engine, "do_connect")
    def _refuse_to_make_a_new_file(*_: object) -> None:
        if file is not None:
            file.identify()

    @event.listens_for(engine, "connect")
    def _configure(dbapi_connection: sqlite3.Connection, record: Any) -> None:
        # The driver begins a transaction at its first write. A deferred one would still be a
        # reader then, which SQLite can't always turn into a writer, however long it waits.
        dbapi_connection.isolation_level = "IMMEDIATE"
        dbapi_connection.execute(f"PRAGMA busy_timeout = {busy_timeout}")
        dbapi_connection.execute("PRAGMA synchronous = FULL")
        dbapi_connection.execute("PRAGMA foreign_keys = ON")
        _switch_to_wal(dbapi_connection, busy_timeout / 1000)
        # Only selects call it: a table that did could not be written by another program.
        dbapi_connection.create_function("casefold", 1, _casefold, deterministic=True)
        if file is not None:
            record.info["file"] = file.remember()

    @event.listens_for(engine, "checkout")
    def _leave_a_file_that_was_replaced(_: object, record: Any, __: object) -> None:
        if file is not None and record.info["file"] != file.identify():
            raise DisconnectionError


def _casefold(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def _switch_to_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Have commits append to a log, which lets others read meanwhile; a file stays that way.

    Where two programs switch at once, SQLite refuses one of them without waiting. A file that can't
    be switched (it is read-only, or not on a local disk) is used as it is.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY and time.monotonic() < deadline:
                time.sleep(0.01)
                continue
        return


def _make_tables(connection: Connection) -> None:
    """Make the tables that are missing, once, however many processes start together on one database.

    Where none is missing the database is not written, so that it may be locked or read-only.
    """
    if db.metadata.tables.keys() <= set(inspect(connection).get_table_names()):
        return
    connection.rollback()
    _begin(connection, "IMMEDIATE")
    db.metadata.create_all(connection)
    connection.commit()
