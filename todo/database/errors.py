"""Database errors: temporary errors, errors that are safe to retry, and error messages for clients."""

import sqlite3
from typing import Any

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class DatabaseUnavailable(Exception):  # not a programming error
    """The database cannot serve the request now. `reason` says why and what to do, for clients."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_LOCKED = "The database is locked by another program. Try again."
_READ_ONLY = "The database is read-only, so nothing was changed. Make it writable."
_FULL = "The disk is full, so nothing was changed. Free some space, then try again."
_FAILED = "The disk failed, so nothing was changed. Check the disk, then try again."
_UNREACHABLE = "The database cannot be reached. Try again."
_DAMAGED = (
    "The database file is damaged. Stop the service, move the file and its -wal and -shm files away, then "
    "restore a backup."
)
_UNKNOWN = (
    "The database failed during the commit, so it is unknown whether the change was made. Read the todos "
    "again, or retry with the same Idempotency-Key."
)
NO_ID = (
    "No id is left for a new todo, because a row has an id that is too large. Delete that row, then run "
    "ALTER TABLE todos AUTO_INCREMENT = 1."
)
_OVERLOADED = "The database has no free connection. Try again."
_TOO_SLOW = "The database took too long, so nothing was changed. Try again, or request less."
_CONFLICT = "The request conflicted with other requests and nothing was changed. Try again."

# Error codes of deadlocks and serialization failures, which are safe to retry:
# PostgreSQL's serialization_failure and deadlock_detected, MariaDB's ER_LOCK_DEADLOCK and ER_CHECKREAD.
RETRYABLE = {"40001", "40P01", 1213, 1020}
# The server rejects writes, and a new connection may reach another server: PostgreSQL's
# read_only_sql_transaction, MariaDB's ER_OPTION_PREVENTS_STATEMENT (--read-only) and ER_READ_ONLY_MODE, and
# ER_UNKNOWN_COM_ERROR of a Galera node that is not part of the cluster.
DEMOTED = {"25006", 1290, 1836, 1047}
# Another transaction holds a lock: PostgreSQL's lock_not_available, MariaDB's ER_LOCK_WAIT_TIMEOUT.
LOCK_TIMEOUTS = {"55P03", 1205}

# A table does not exist: PostgreSQL's undefined_table, MariaDB's ER_NO_SUCH_TABLE.
NO_TABLE = {"42P01", 1146}

# The reason for each code that `error_code` returns: SQLite's primary result codes
# (https://www.sqlite.org/rescode.html), PostgreSQL's SQLSTATEs and their classes
# (https://www.postgresql.org/docs/current/errcodes-appendix.html), and MariaDB's error codes
# (https://mariadb.com/kb/en/mariadb-error-code-reference/).
_REASONS: dict[int | str, str] = {
    **dict.fromkeys((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL), _LOCKED),
    **dict.fromkeys((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB), _DAMAGED),
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _FAILED,
    sqlite3.SQLITE_CANTOPEN: "The database cannot be opened. Check its file and folder, then try again.",
    **dict.fromkeys(("08", "28", "3D", "57"), _UNREACHABLE),
    "25006": _READ_ONLY,
    "40": _CONFLICT,
    "53": _OVERLOADED,
    "53100": _FULL,
    "55P03": _CONFLICT,
    "57014": _TOO_SLOW,
    "58": _FAILED,
    **dict.fromkeys((1020, 1205, 1213), _CONFLICT),
    167: NO_ID,
    **dict.fromkeys((1021, 1114), _FULL),
    **dict.fromkeys((1026, 1030), _FAILED),
    **dict.fromkeys((1037, 1038, 1040, 1041, 1203, 1226), _OVERLOADED),
    **dict.fromkeys((1290, 1792, 1836), _READ_ONLY),
    **dict.fromkeys((1317, 1969), _TOO_SLOW),
    **dict.fromkeys(
        (0, 1042, 1043, 1044, 1045, 1047, 1049, 1053, 1129, 1130, 1152, 1158, 1159, 1160, 1161, 1184, 1927),
        _UNREACHABLE,
    ),
    **dict.fromkeys((2002, 2003, 2006, 2013, 2014, 2026, 2055), _UNREACHABLE),
}


def error_code(error: DBAPIError) -> int | str | None:
    """Return the error code of the database: SQLite's primary result code, a SQLSTATE, or MariaDB's number.

    Return None if the error has no code.
    """
    original: Any = error.orig
    first = original.args[0] if original.args else None
    if isinstance(original, sqlite3.Error):
        code = getattr(original, "sqlite_errorcode", None)
        return None if code is None else code & 0xFF
    if isinstance(first, int):
        return first
    if hasattr(original, "sqlstate"):
        # The driver raises errors without a SQLSTATE before it reaches the server.
        unreached = original.sqlstate is None and isinstance(error, OperationalError)
        return "08" if unreached else original.sqlstate
    return None


def unavailable(error: DBAPIError | PoolTimeoutError) -> DatabaseUnavailable | None:
    """Convert a temporary or operational error to DatabaseUnavailable. Return None for other errors."""
    if isinstance(error, PoolTimeoutError):
        return DatabaseUnavailable(_OVERLOADED)
    code = error_code(error)
    reason = None if code is None else _REASONS.get(code)
    if reason is None and isinstance(code, str):
        reason = _REASONS.get(code[:2])
    return None if reason is None else DatabaseUnavailable(reason)


def after_commit(error: DBAPIError) -> Exception:
    """Return the exception to raise for an error of a commit.

    If the connection was lost or the disk failed, it is unknown whether the commit succeeded.
    """
    found = unavailable(error)
    if found is not None and found.reason in {_FAILED, _UNREACHABLE}:
        return DatabaseUnavailable(_UNKNOWN)
    return error


class LogMissing(DatabaseUnavailable):
    """SQLite's log was deleted or replaced, while connections still use the old one."""

    def __init__(self, name: str, *, committed: bool) -> None:
        outcome = _UNKNOWN if committed else "Nothing was changed."
        super().__init__(f"{name} was deleted while the service ran. Restart the service. {outcome}")
