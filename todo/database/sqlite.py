"""SQLite: the identity of the database file, the connection options, and online copies."""

import os
import sqlite3
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Connection, Engine, event, exc
from sqlalchemy.exc import DBAPIError, DisconnectionError

from todo.config import StartupError
from todo.database.errors import DatabaseUnavailable, LogMissing
from todo.models.todo import Todo

Error = sqlite3.Error  # of a function of this module that uses the driver
COPY_TIMEOUT = 10  # seconds to wait for a lock
SMALL = 16 * 1024 * 1024
DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
ROOM = 256 * 1024  # bytes that must be free on the disk
MAX_IDLE = 16  # read connections of a worker that stay open, with a cache of up to 2 MB each
PRIVATE = 0o600  # permissions of new files: todos are private
# Called with a SQLite result code, the number of remaining pages, and the number of all pages.
Progress = Callable[[int, int, int], None]
_Identity = tuple[int, int]  # device and inode


class File:
    """A database file, which may be deleted, restored or replaced while the service runs."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.log = f"{path}-wal"
        self._files = self.path, self.log, f"{path}-shm"
        self._opened: _Identity | None = None
        self._opened_log: _Identity | None = None
        # The database file, the log and its index that the writer has opened.
        self._in_use: tuple[_Identity | None, ...] | None = None

    def identify(self) -> _Identity:
        """Return the identity of the file. Raises DatabaseUnavailable if the file is missing or unusable."""
        identity = _identify(self.path)
        if identity is None:
            raise DatabaseUnavailable(
                "The database file is missing. Restore the file, or restart the service to create a new one."
            )
        # SQLite would replay the old file's WAL into the new file and corrupt it.
        if identity != self._opened and self._opened_log and self._opened_log == _identify(self.log):
            raise DatabaseUnavailable(
                f"The database file was replaced, but not its log. Remove {Path(self.log).name} "
                f"and {Path(self.path).name}-shm, or restore the first file."
            )
        return identity

    def remember_logs(self) -> None:
        """Remember the log and its index that the writer has opened, if they are not known."""
        if self._in_use is None:
            self._in_use = tuple(map(_identify, self._files))

    def forget_logs(self) -> None:
        """Accept new logs, because the writer has closed its own."""
        self._in_use = None

    def check_logs(self, *, committed: bool = False) -> None:
        """Raise LogMissing if the writer's log or its index is no longer in the folder.

        A commit would be written to a deleted file and lost.
        """
        if self._in_use is None or self._in_use[1] is None:  # not in WAL mode
            return
        found = tuple(map(_identify, self._files))
        if found[0] == self._in_use[0] and found != self._in_use:
            name = Path(self.log).name if found[1] != self._in_use[1] else f"{Path(self.path).name}-shm"
            raise LogMissing(name, committed=committed)

    def can_save_logs(self) -> bool:
        """Return True if no other program has created new logs, so that the old one may be checkpointed."""
        pairs = zip(tuple(map(_identify, self._files)), self._in_use or (), strict=False)
        return all(found is None or found == opened for found, opened in pairs)

    def remember(self) -> _Identity:
        """Record that the file and its log, which a new connection has opened, belong together."""
        self._opened, self._opened_log = self.identify(), _identify(self.log)
        return self._opened


def _identify(path: str) -> _Identity | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - runs on each request, and Path.stat() takes twice as long
    except OSError:
        return None
    return status.st_dev, status.st_ino


def file_of(url: URL) -> Path | None:
    """Return the file of a SQLite database, or None for a server or a database in memory."""
    if url.get_backend_name() != "sqlite" or not url.database or url.query.get("mode") == "memory":
        return None
    name = unquote(urlsplit(url.database).path) if url.database.startswith("file:") else url.database
    return None if name == ":memory:" else Path(name)


def check_place(path: Path, *, writable: bool) -> None:
    """Create the file if it is missing and `writable`. Raises StartupError if that is not possible.

    Do not open an existing file, because close() would release this process's POSIX locks on the file.
    """
    try:
        if writable:
            make_folder(path.parent)
            path.touch(PRIVATE)  # SQLite gives the log the same permissions
        else:
            path.stat()
    except OSError as error:
        raise StartupError(
            f"{path} cannot be used: {error.strerror}. Allow this user to write to the file and its folder, "
            "or set TODO_SQLALCHEMY_DATABASE_URI to another file (sqlite:////folder/file)."
        ) from None


def configure_connections(engine: Engine, file: File | None, busy_timeout: int) -> None:
    """Configure every connection to the SQLite database: lock timeout, synced commits, file identity."""

    @event.listens_for(engine, "do_connect")
    def _refuse_to_create_a_file(*_: object) -> None:
        if file is not None:
            file.identify()
            file.check_logs()

    @event.listens_for(engine, "connect")
    def _configure(dbapi_connection: sqlite3.Connection, record: Any) -> None:
        # The driver begins a transaction at the first write. SQLite cannot always upgrade a deferred
        # transaction to a writer, even after a wait.
        dbapi_connection.isolation_level = "IMMEDIATE"
        dbapi_connection.execute(f"PRAGMA busy_timeout = {busy_timeout}")
        dbapi_connection.execute("PRAGMA synchronous = FULL")
        dbapi_connection.execute("PRAGMA foreign_keys = ON")
        # The file stays in this mode. The switch fails if another program uses the file, or if the file
        # is read-only or on a network disk. The old mode works too.
        try:
            dbapi_connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            pass
        except sqlite3.DatabaseError as error:
            raise wrap(error, "PRAGMA journal_mode = WAL") from error
        # No table may depend on this function, or other programs could not write to the table.
        dbapi_connection.create_function("casefold", 1, _casefold, deterministic=True)
        if file is not None:
            record.info["file"] = file.remember()

    @event.listens_for(engine, "checkout")
    def _leave_replaced_file(_: object, record: Any, __: object) -> None:
        if file is not None and record.info["file"] != file.identify():
            raise DisconnectionError


class ReadConnections:
    """Idle connections for reads. A read takes a third of the time of a checkout from the pool.

    No connection belongs to a thread: before Python 3.12.4, a thread that ends crashes the process if it
    closes a connection with a function (https://github.com/python/cpython/issues/119585).
    """

    def __init__(self, engine: Engine, file: File) -> None:
        self._engine = engine
        self._file = file
        self._idle: deque[Connection] = deque()  # append() and pop() are atomic

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection in a read transaction."""
        connection = self._connect()
        driver_connection: Any = connection.connection.dbapi_connection
        try:
            driver_connection.execute("BEGIN")
            yield connection
        finally:
            connection.rollback()
            driver_connection.rollback()  # SQLAlchemy does not roll back if it ran no statement
            if len(self._idle) < MAX_IDLE:
                self._idle.append(connection)
            else:
                close(connection)

    def _connect(self) -> Connection:
        identity = self._file.identify()
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.info["file"] == identity:
                    return connection
                close(connection)
        return self._engine.connect()

    def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            close(self._idle.pop())


def close(connection: Connection) -> None:
    """Close a connection instead of returning it to the pool."""
    connection.invalidate()
    connection.close()


class DataVersion:
    """A value that changes with every commit to the file by any process."""

    def __init__(self, engine: Engine, file: File) -> None:
        self._engine = engine
        self._file = file
        self._lock = threading.RLock()  # sqlite3 connections must not be used by two threads at once
        # The version ignores commits of its own connection, so this connection never writes.
        self._connection: Connection | None = None

    def read(self) -> tuple[Hashable, ...] | None:
        """Return the version, or None if it cannot be read. Each connection counts on its own."""
        try:
            identity = self._file.identify()
            with self._lock:
                if self._connection is None or self._connection.info["file"] != identity:
                    self.close()
                    self._connection = self._engine.connect()
                    self._cursor = self._connection.connection.cursor()
                self._cursor.execute("PRAGMA data_version")
                return self._connection, self._cursor.fetchone()
        except (sqlite3.Error, DBAPIError, DatabaseUnavailable):
            self.close()
            return None

    def close(self) -> None:
        """Close the connection. The next `read` opens another one."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                close(connection)


def wrap(error: sqlite3.Error, statement: str) -> DBAPIError:
    """Wrap a driver error in SQLAlchemy's exception of the same PEP 249 name."""
    error_class: type[DBAPIError] = getattr(exc, type(error).__name__)
    return error_class(statement, None, error, hide_parameters=True)


def check_room(path: Path) -> None:
    """Raise DatabaseUnavailable if the disk has no space for the next commits."""
    try:
        with TemporaryFile(dir=path.parent) as file:
            file.write(bytes(ROOM))
    except OSError as error:
        raise DatabaseUnavailable(f"The database cannot grow: {error.strerror}. Free some space.") from None


def is_readable_by_others(path: Path) -> bool:
    """Return True if other users of this machine can read the file."""
    return bool(path.stat().st_mode & 0o044 and path.parent.stat().st_mode & 0o011)


def make_folder(folder: Path) -> None:
    """Create the folder and its missing parents, accessible only to this user."""
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(0o700, exist_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new empty file, which replaces `path` at the end. On an error, `path` stays unchanged.

    The new file has the permissions of an existing `path`. Otherwise only this user can read the file.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else PRIVATE
    part.unlink(missing_ok=True)  # a process with the same ID may have been killed
    part.touch(PRIVATE, exist_ok=False)
    try:
        yield part
        part.chmod(mode)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_part_of(file: Path, database: Path | None) -> bool:
    """Return True if `file` is the database file or one of its logs, by any name."""
    if database is None:
        return False
    parts = [Path(f"{database}{suffix}") for suffix in ("", "-wal", "-shm", "-journal")]
    return any(
        file.resolve() == part.resolve() or (file.exists() and part.exists() and file.samefile(part))
        for part in parts
    )


def find_foreign_object(file: Path, released_ddl: str) -> str | None:
    """Return why `file` is not a database of this service, as a sentence, or None if it is.

    Triggers and views run with every statement, so only those in `released_ddl` are accepted.
    """
    with closing(_open_read_only(file)) as connection:
        if not set(Todo.__table__.columns.keys()) <= {
            row[1] for row in connection.execute("PRAGMA table_info(todos)")
        }:
            return "The file has no table todos with the columns of a todo."
        objects = connection.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('trigger', 'view')"
        )
        for object_type, name, sql in objects:
            if " ".join(sql.split()) not in released_ddl:
                return (
                    f"The {object_type} {name} is not part of this service. "
                    f"Remove it with DROP {object_type.upper()} {name}."
                )
    return None


def check_small_file(file: Path) -> None:
    """Raise DBAPIError if a database file of at most SMALL bytes is damaged. The check takes up to 35 ms."""
    if file.exists() and file.stat().st_size <= SMALL:
        try:
            check_integrity(file)  # on a new connection, which reads from the disk
        except sqlite3.Error as error:
            raise wrap(error, "PRAGMA integrity_check") from None


def check_integrity(file: Path) -> None:
    """Raise sqlite3.Error if the database in `file` is damaged."""
    with closing(_open_read_only(file)) as connection:
        _check_integrity(connection)


def copy(file: Path, path: Path, progress: Progress | None = None) -> None:
    """Write a snapshot of the database in `file` to `path`, and check the copy before it replaces `path`.

    Other programs may read and write `file` at the same time. Raises OSError and sqlite3.Error.
    """
    with (
        replacing(path) as part,
        closing(sqlite3.connect(file)) as source,
        closing(sqlite3.connect(part)) as target,
    ):
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the snapshot begins here
        _transfer(source, target, progress)
        target.execute("PRAGMA journal_mode = DELETE")  # a single file, which also opens on a read-only disk
        _check_integrity(target)


def replace(file: Path, by: Path, progress: Progress | None = None) -> None:
    """Replace the database in `file` with the database in `by`, in one transaction.

    Raises OSError and sqlite3.Error.
    """
    with closing(_open_read_only(by)) as source, closing(sqlite3.connect(file)) as target:
        target.execute("PRAGMA synchronous = FULL")
        _transfer(source, target, progress)


def _open_read_only(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)


def _transfer(source: sqlite3.Connection, target: sqlite3.Connection, progress: Progress | None) -> None:
    locked_since: float | None = None

    def watch(status: int, remaining: int, total: int) -> None:
        nonlocal locked_since
        if status not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            locked_since = None
        elif locked_since is None:
            locked_since = time.monotonic()
        elif time.monotonic() - locked_since > COPY_TIMEOUT:  # the driver would retry forever
            raise sqlite3.OperationalError("database is locked")
        if progress is not None:
            progress(status, remaining, total)

    source.backup(target, pages=1000, progress=watch)


def _check_integrity(connection: sqlite3.Connection) -> None:
    # A row that violates a constraint does not count as damage, and must not stop a start or a backup.
    connection.execute("PRAGMA ignore_check_constraints = ON")
    found = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if found != [("ok",)]:
        error = sqlite3.DatabaseError(" ".join(found[0][0].split()))
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _casefold(text: bytes | None) -> str | None:
    return None if text is None else text.decode(errors="replace").casefold()
