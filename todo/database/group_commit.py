"""Group commit: writes of a worker's threads to a SQLite file share one commit.

Syncing a commit to the disk is most of the cost of a small write, and SQLite commits one transaction at a
time. So the first waiting thread becomes the leader. When the leader gets SQLite's write lock, the leader
executes the work of all waiting threads, each in a savepoint. All of them return after the one commit.
Measured with 8 clients: 2.3 times as many writes, and a p99 of 5 ms instead of 100 ms.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from todo.database import schema
from todo.database.errors import LogMissing, after_commit
from todo.database.sqlite import File, close, wrap

T = TypeVar("T")

# Seconds between two attempts to become SQLite's only writer. SQLite's own waits grow to 100 ms, and the
# slowest requests would wait as long.
PAUSE = 0.0003
PRIMARY_CODE = 0xFF  # mask of an extended result code (https://www.sqlite.org/rescode.html)


@dataclass(eq=False)
class _Task:
    """The work of one thread, and its outcome."""

    work: Callable[[Connection], Any]
    # The leader runs `work` with the context of this thread's request.
    context: Context = field(default_factory=copy_context)
    result: Any = None
    error: BaseException | None = None
    is_leader: bool = False
    # Gets an item when the work is done, or when this thread becomes the leader.
    woken: SimpleQueue[None] = field(default_factory=SimpleQueue)


class GroupCommit:
    """The only writer of this process to a SQLite file."""

    def __init__(self, engine: Engine, file: File, busy_timeout: int) -> None:
        """Write to `file`, which `engine` opens. Wait at most `busy_timeout` ms for other programs."""
        self._engine = engine
        self._file = file
        self._busy_timeout = busy_timeout
        self._mutex = threading.Lock()
        self.waiting: list[_Task] = []
        self._has_leader = False
        self._connection: Connection | None = None
        self._driver: Any = None  # the driver's connection

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` as if in a transaction of its own, and return its result after the commit.

        An exception in `work` rolls back only this work. Raises OperationalError if another program locks
        the file for longer than the timeout, and DatabaseUnavailable if the file is missing or was replaced.
        """
        task = _Task(work)
        with self._mutex:
            self.waiting.append(task)
            task.is_leader, self._has_leader = not self._has_leader, True
        if not task.is_leader:
            task.woken.get()
        if task.is_leader:
            self._lead()
        if task.error is not None:
            raise task.error
        result: T = task.result
        return result

    def _lead(self) -> None:
        """Execute and commit the waiting work, then choose the next leader."""
        tasks: list[_Task] = []
        try:
            connection = self._connect()
            self._file.check_logs()
            self._execute("BEGIN IMMEDIATE")
            self._file.remember_logs()
            schema.check_version(connection)
            tasks = self._take_waiting()
            for task in tasks:
                self._run(task, connection)
            try:
                self._execute("COMMIT")
            except DBAPIError as error:
                raise after_commit(error) from error
            connection.rollback()  # SQLAlchemy began its own transaction if a task executed a statement
            self._file.check_logs(committed=True)
        except BaseException as error:  # each waiting thread raises the error
            if isinstance(error, LogMissing):
                self._save_log()
            else:
                self.close()
            tasks = tasks or self._take_waiting()
            for task in tasks:
                task.error = wrap(error, "BEGIN") if isinstance(error, sqlite3.Error) else error
        with self._mutex:
            self._has_leader = bool(self.waiting)
            for task in self.waiting[:1]:
                task.is_leader = True
                task.woken.put(None)
        for task in tasks:
            task.woken.put(None)

    def _take_waiting(self) -> list[_Task]:
        with self._mutex:
            tasks, self.waiting = self.waiting, []
        return tasks

    def _connect(self) -> Connection:
        if self._connection is not None and self._connection.info["file"] != self._file.identify():
            self.close()
        if self._connection is None:
            self._file.forget_logs()
            self._connection = self._engine.connect()
            self._driver = self._connection.connection.dbapi_connection
            self._driver.execute("PRAGMA busy_timeout = 0")  # `_execute` waits
        return self._connection

    def _execute(self, statement: str) -> None:
        """Execute `statement` through the driver, and retry while another program locks the file.

        Raises DBAPIError.
        """
        deadline = time.monotonic() + self._busy_timeout / 1000
        while True:
            try:
                self._driver.execute(statement)
                return
            except sqlite3.Error as error:
                is_busy = getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() > deadline:
                    raise wrap(error, statement) from error
            time.sleep(PAUSE)

    def _run(self, task: _Task, connection: Connection) -> None:
        """Run one task. Raises only an error that rolled back the whole transaction."""
        self._driver.execute("SAVEPOINT task")
        try:
            task.result = task.context.run(task.work, connection)
        except Exception as error:
            if not self._driver.in_transaction:
                raise
            self._driver.execute("ROLLBACK TO task")
            task.error = error
        self._driver.execute("RELEASE task")

    def _save_log(self) -> None:
        """Copy all commits from the deleted log, which is still open, to the database file.

        The connection stays open, because a new connection would create a second log.
        """
        if self._connection is not None and self._file.can_save_logs():
            with suppress(sqlite3.Error):
                self._driver.execute(f"PRAGMA busy_timeout = {self._busy_timeout}")
                self._driver.execute("PRAGMA wal_checkpoint(FULL)").fetchall()

    def close(self) -> None:
        """Close the connection. The next write opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            close(connection)
