"""Group commit: what the threads of a process write to a SQLite file at once shares one commit.

To bring a commit to the disk is most of what a small write takes, and SQLite commits one transaction
at a time. So the first thread with something to write leads: when it is its turn it carries out what
the others have too, each in a savepoint, and all of them go on once the one commit is on disk.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from todo.database.sqlite import File, commit
from todo.http import turn

T = TypeVar("T")

# Seconds between two tries to become SQLite's one writer. Its own waits grow to a tenth of a second,
# and so would the slowest answers.
PAUSE = 0.0003
PRIMARY_CODE = 0xFF  # of an extended result code (https://www.sqlite.org/rescode.html)


class _Task:
    """What a thread has to write, and what came of it."""

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.work = work
        self.context = copy_context()  # of its request, for the thread that carries it out
        self.result: Any = None
        self.error: BaseException | None = None
        self.leads = False
        self.woken: SimpleQueue[None] = SimpleQueue()  # because it is done, or is to lead


class Writer:
    """The one that writes to a SQLite file, for all threads of this process."""

    def __init__(self, engine: Engine, file: File, busy_timeout: int) -> None:
        """Write to `file`, which `engine` opens, and wait `busy_timeout` ms for other programs."""
        self._engine = engine
        self._file = file
        self._busy_timeout = busy_timeout
        self._mutex = threading.Lock()
        self.waiting: list[_Task] = []
        self._is_led = False
        self._connection: Connection | None = None

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do `work` as in a transaction of its own, and return its result when that is on disk.

        What `work` raises undoes it alone. Raises OperationalError where another program keeps the
        file locked past the time-out, and Unavailable where the file is not as it should be.
        """
        task = _Task(work)
        with self._mutex:
            self.waiting.append(task)
            task.leads, self._is_led = not self._is_led, True
        with turn.Pause():
            if not task.leads:
                task.woken.get()
            if task.leads:
                self._lead()
        if task.error is not None:
            raise task.error
        result: T = task.result
        return result

    def _lead(self) -> None:
        """Carry out what waits, then let the next one lead."""
        tasks: list[_Task] = []
        try:
            connection = self._connect()
            self._begin(connection)
            tasks = self._take()
            for task in tasks:
                _carry_out(task, connection)
            commit(connection)
        except BaseException as error:  # noqa: BLE001 - raised again by each of them
            self.close()
            tasks = tasks or self._take()
            for task in tasks:
                task.error = error
        with self._mutex:
            self._is_led = bool(self.waiting)
            for task in self.waiting[:1]:
                task.leads = True
                task.woken.put(None)
        for task in tasks:
            task.woken.put(None)

    def _take(self) -> list[_Task]:
        with self._mutex:
            tasks, self.waiting = self.waiting, []
        return tasks

    def _connect(self) -> Connection:
        if self._connection is not None and self._connection.info["file"] != self._file.identify():
            self.close()
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _begin(self, connection: Connection) -> None:
        driver_connection: Any = connection.connection.dbapi_connection
        deadline = time.monotonic() + self._busy_timeout / 1000
        driver_connection.execute("PRAGMA busy_timeout = 0")
        is_busy = True
        while is_busy and time.monotonic() < deadline:
            try:
                driver_connection.execute("BEGIN IMMEDIATE")
                break
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & PRIMARY_CODE == sqlite3.SQLITE_BUSY
                time.sleep(PAUSE)
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        driver_connection.execute(f"PRAGMA busy_timeout = {self._busy_timeout}")

    def close(self) -> None:
        """Give up the connection; the next write opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()


def _carry_out(task: _Task, connection: Connection) -> None:
    """Do the work of `task`; raises only what has undone the whole transaction."""
    driver_connection: Any = connection.connection.dbapi_connection
    driver_connection.execute("SAVEPOINT task")
    try:
        task.result = task.context.run(task.work, connection)
    except Exception as error:
        if not driver_connection.in_transaction:
            raise
        driver_connection.execute("ROLLBACK TO task")
        task.error = error
    driver_connection.execute("RELEASE task")
