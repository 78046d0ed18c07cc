"""SQLite: its file, what may happen to the file, and how connections to it are tuned."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Connection, Engine, event, exc
from sqlalchemy.exc import DBAPIError, DisconnectionError

from todo.config import StartupError
from todo.http.problem import Unavailable

COPY_TIMEOUT = 10  # seconds to wait for a lock
# Is called with a code of SQLite, and with how many pages remain, of how many.
Progress = Callable[[int, int, int], None]
_Identity = tuple[int, int]  # device and inode


class File:
    """A database file, which may be deleted, put back or replaced while it is in use."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.log = f"{path}-wal"
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
                f"The database file was replaced, but not its log: remove {Path(self.log).name} "
                f"and {Path(self.path).name}-shm, or put the first file back."
            )
        return identity

    def remember(self) -> _Identity:
        """Take the file and its log, which a new connection has opened, for what belongs together."""
        self._opened, self._opened_log = self.identify(), _identify(self.log)
        return self._opened


def _identify(path: str) -> _Identity | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - at each request, and Path's own costs it twice
    except OSError:
        return None
    return status.st_dev, status.st_ino


def file_of(url: URL) -> Path | None:
    """Return the file of a SQLite database; None for one in memory or on a server."""
    if url.get_backend_name() != "sqlite" or not url.database or url.query.get("mode") == "memory":
        return None
    name = unquote(urlsplit(url.database).path) if url.database.startswith("file:") else url.database
    return None if name == ":memory:" else Path(name)


def check_place(path: Path, *, writable: bool) -> None:
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


def tune(engine: Engine, file: File | None, busy_timeout: int) -> None:
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
        # A file stays in this mode. One that can't be switched now (another process is at it, or a
        # program reads it; it is read-only, or not on a local disk) is used as it is.
        with suppress(sqlite3.OperationalError):
            dbapi_connection.execute("PRAGMA journal_mode = WAL")
        # Only selects call it: a table that did could not be written by another program.
        dbapi_connection.create_function("casefold", 1, _casefold, deterministic=True)
        if file is not None:
            record.info["file"] = file.remember()

    @event.listens_for(engine, "checkout")
    def _leave_a_file_that_was_replaced(_: object, record: Any, __: object) -> None:
        if file is not None and record.info["file"] != file.identify():
            raise DisconnectionError


def wrapped(error: sqlite3.Error, statement: str) -> DBAPIError:
    """Make of an error of the driver SQLAlchemy's of it; both have the names of PEP 249."""
    kind: type[DBAPIError] = getattr(exc, type(error).__name__)
    return kind(statement, None, error, hide_parameters=True)


def commit(connection: Connection) -> None:
    """Commit what was begun, by the driver or by SQLAlchemy. Raises DBAPIError."""
    driver_connection: Any = connection.connection.dbapi_connection
    try:
        driver_connection.commit()
    except sqlite3.Error as error:
        raise wrapped(error, "COMMIT") from error
    if connection.in_transaction():  # as SQLAlchemy sees it, where it carried out a statement
        connection.commit()


def copy(file: Path, path: Path, progress: Progress | None = None) -> None:
    """Write the database in `file`, as it is at one moment, to `path`, which is there when it is whole.

    Others may read and write meanwhile. Raises OSError and sqlite3.Error.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(part)) as target:
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the moment
            _transfer(source, target, progress)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, that a read-only disk can hold
            _check_integrity(target)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def replace(file: Path, by: Path, progress: Progress | None = None) -> None:
    """Make the database in `file` that in `by`, in one transaction. Raises OSError and sqlite3.Error."""
    with closing(sqlite3.connect(f"{by.absolute().as_uri()}?mode=ro", uri=True)) as source:
        _check_integrity(source)
        with closing(sqlite3.connect(file)) as target:
            target.execute("PRAGMA synchronous = FULL")
            _transfer(source, target, progress)


def _transfer(source: sqlite3.Connection, target: sqlite3.Connection, progress: Progress | None) -> None:
    locked_since: float | None = None

    def watch(status: int, remaining: int, total: int) -> None:
        nonlocal locked_since
        if status not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            locked_since = None
        elif locked_since is None:
            locked_since = time.monotonic()
        elif time.monotonic() - locked_since > COPY_TIMEOUT:  # the driver would try for ever
            raise sqlite3.OperationalError("database is locked")
        if progress is not None:
            progress(status, remaining, total)

    source.backup(target, pages=1000, progress=watch)


def _check_integrity(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
        raise sqlite3.DatabaseError("the copy of it is damaged")


def _casefold(text: str | None) -> str | None:
    return None if text is None else text.casefold()
