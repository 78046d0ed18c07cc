import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support import concurrent_start
from tests.support.cases import label
from tests.support.file_database import FileDatabaseTest
from todo import database
from todo.models import db
from todo.models.todo import Todo


@pytest.mark.soak
class TestStart(FileDatabaseTest):
    def test_concurrent_starts_in_an_empty_folder_all_succeed(self) -> None:
        folders = [
            Path(self.stack.enter_context(TemporaryDirectory()), "new")
            for _ in range(concurrent_start.ROUNDS)
        ]
        created = concurrent_start.at_once([f"sqlite:///{folder}/db.sqlite" for folder in folders])
        assert created == [concurrent_start.ROUNDS] * concurrent_start.PROCESSES
        for folder in folders:
            self.path = folder / "db.sqlite"
            count = self.shell().execute("SELECT count(*) FROM todos").fetchone()
            assert count == (concurrent_start.PROCESSES,)
            assert list(folder.glob("*.before-upgrade-*")) == []


# Values of the shell, by column.
INVALID: dict[str, tuple[object, ...]] = {
    "title": (None, "", " ", "\t\n\v\f\r ", "t" * 81, b"blob", b"", b"x" * 80),
    "description": ("d" * 121, b"blob"),
    "completed": (None, 2, -1, 0.5, "true", "yes", b"1"),
    "deadline_at": (
        "tomorrow",
        "",
        0,
        1.5,
        b"2027-01-31 18:00:00",
        "2027-01-31",
        "2027-01-31T18:00:00",
        "2027-01-31 18:00",
        "2027-01-31 18:00:00",
        "2027-01-31 18:00:00Z",
        "2027-01-31 18:00:00.",
        "2027-01-31 18:00:00.5",
        "2027-01-31 18:00:00.0000000",
        "2027-02-30 18:00:00",
        "2027-01-31 24:00:00",
        "10000-01-01 00:00:00",
        "-001-01-01 00:00:00",
    ),
    "created_at": (None, "now", 0),
    "updated_at": (None, "now", 0),
}
VALID: dict[str, tuple[tuple[Any, Any], ...]] = {
    "title": (
        ("t" * 80, "t" * 80),
        (" x ", " x "),
        ("\N{GRINNING FACE}" * 80, "\N{GRINNING FACE}" * 80),
    ),
    "description": (("d" * 120, "d" * 120), ("", ""), (None, None)),
    "completed": ((0, False), (1, True)),
    "deadline_at": (
        ("2027-01-31 18:00:00.000000", "2027-01-31T18:00:00"),
        ("2028-02-29 18:00:00.000001", "2028-02-29T18:00:00.000001"),
        ("0001-01-01 00:00:00.000000", "0001-01-01T00:00:00"),
        ("9999-12-31 23:59:59.999999", "9999-12-31T23:59:59.999999"),
        (None, None),
    ),
}


class TestConnections(FileDatabaseTest):
    def test_every_connection_has_the_safe_pragmas(self) -> None:
        pragmas = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 1234}
        with self.start(BUSY_TIMEOUT=1234).app_context():
            with database.read() as kept, db.engine.connect() as fresh:
                for connection in (kept, fresh, db.session.connection()):
                    found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas}
                    assert pragmas == found
            db.session.remove()

    def test_write_transaction_begins_immediate(self) -> None:
        with self.start(BUSY_TIMEOUT=0).app_context():
            self.shell().execute("INSERT INTO todos (title) VALUES ('x')")
            begun: list[str] = []
            todo = db.session.get_one(Todo, 1)
            connection: Any = db.session.connection().connection.driver_connection
            connection.set_trace_callback(begun.append)
            todo.title = "changed"
            db.session.flush()
            assert begun[0].strip() == "BEGIN IMMEDIATE"
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                self.shell().execute("PRAGMA busy_timeout = 0").execute("BEGIN IMMEDIATE")
            db.session.rollback()

            def write_beside(_: object) -> None:
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    self.shell().execute("PRAGMA busy_timeout = 0").execute("BEGIN IMMEDIATE")

            database.write(write_beside)
            db.session.remove()

    def test_session_that_reads_then_writes_waits_for_another_writer(self) -> None:
        with self.start().app_context():
            shell = self.shell()
            shell.execute("INSERT INTO todos (title) VALUES ('x')")
            todo = db.session.get_one(Todo, 1)
            shell.execute("UPDATE todos SET description = 'meanwhile'")
            todo.title = "changed"
            db.session.commit()
            db.session.remove()
            assert shell.execute("SELECT title, description FROM todos").fetchone() == (
                "changed",
                "meanwhile",
            )


class TestShell(FileDatabaseTest):
    """The database checks the rows of every program."""

    def setup_method(self) -> None:
        super().setup_method()
        self.start()

    def test_shell_insert_needs_only_a_title(self) -> None:
        self.shell().execute("INSERT INTO todos (title) VALUES ('from the shell')")
        todo = self.client.get("/api/v1/todos/1").get_json()
        expected = {
            "id": 1,
            "title": "from the shell",
            "description": None,
            "completed": False,
            "deadline_at": None,
            "created_at": todo["created_at"],
            "updated_at": todo["created_at"],
        }
        assert list(expected.items()) == list(todo.items())
        assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$", todo["created_at"])
        by_api = self.client.post("/api/v1/todos", json={"title": "by the API"}).get_json()
        assert todo["created_at"] < by_api["created_at"]
        assert self.titles() == ["from the shell", "by the API"]
        changed = self.client.put("/api/v1/todos/1", json={"completed": True})
        assert (changed.status_code, changed.get_json()["completed"]) == (200, True)

    def test_shell_update_renews_updated_at(self) -> None:
        before = self.client.post("/api/v1/todos", json={"title": "by the API"})
        time.sleep(0.002)  # the clock of the shell has milliseconds
        self.shell().execute("UPDATE todos SET completed = 1")
        after = self.client.get("/api/v1/todos/1")
        assert before.get_json()["updated_at"] < after.get_json()["updated_at"]
        assert before.headers["ETag"] != after.headers["ETag"]

    @pytest.mark.parametrize(
        ("column", "value"),
        [(column, value) for column, values in INVALID.items() for value in values],
        ids=label,
    )
    def test_shell_cannot_store_invalid_rows(self, column: str, value: object) -> None:
        shell = self.shell()
        shell.execute("INSERT INTO todos (title) VALUES ('good')")
        row = {"title": "good", column: value}
        insert = f"INSERT INTO todos ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
        with pytest.raises(sqlite3.DatabaseError):
            shell.execute(insert, tuple(row.values()))
        with pytest.raises(sqlite3.DatabaseError):
            shell.execute(f"UPDATE todos SET {column} = ?", (value,))
        assert self.titles() == ["good"]

    @pytest.mark.parametrize(
        ("column", "value", "served"),
        [(column, value, served) for column, pairs in VALID.items() for value, served in pairs],
        ids=label,
    )
    def test_valid_shell_row_is_served_unchanged(self, column: str, value: Any, served: Any) -> None:
        row = {"title": "good", column: value}
        cursor = self.shell().execute(
            f"INSERT INTO todos ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
        )
        answer = self.client.get(f"/api/v1/todos/{cursor.lastrowid}")
        assert (answer.status_code, answer.get_json()[column]) == (200, served)

    def test_id_of_a_deleted_row_is_never_reused(self) -> None:
        shell = self.shell()
        for expected in (1, 2, 3):
            answer = self.client.post("/api/v1/todos", json={"title": "x"})
            assert expected == answer.get_json()["id"]
            self.client.delete(f"/api/v1/todos/{expected}")
        assert shell.execute("INSERT INTO todos (title) VALUES ('x')").lastrowid == 4
        shell.execute("DELETE FROM todos")
        self.start()
        assert self.client.post("/api/v1/todos", json={"title": "x"}).get_json()["id"] == 5

    def test_schema_and_rows_are_readable_in_the_shell(self) -> None:
        self.client.post("/api/v1/todos", json={"title": "x", "deadline_at": "2027-01-31T18:00:00"})
        shell = self.shell()
        (schema,) = shell.execute("SELECT sql FROM sqlite_schema WHERE name = 'todos'").fetchone()
        for line in (
            "id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT",
            "title VARCHAR(80) NOT NULL",
            "CONSTRAINT ck_todos_title_not_blank CHECK",
            "CONSTRAINT ck_todos_completed_0_or_1 CHECK (completed IN (0, 1))",
        ):
            assert line in schema
        row = shell.execute("SELECT id, title, description, completed, deadline_at FROM todos").fetchone()
        assert row == (1, "x", None, 0, "2027-01-31 18:00:00.000000")


READ_IN_THREADS_OF_THE_SYSTEM = """
import ctypes, sys, threading
from todo import create_app

app = create_app({"SQLALCHEMY_DATABASE_URI": sys.argv[1]})
barrier = threading.Barrier(20)

@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def read(_):
    app.test_client().get("/api/v1/todos")
    barrier.wait(60)

system = ctypes.CDLL(None)
threads = [ctypes.c_ulong() for _ in range(20)]
for thread in threads:
    system.pthread_create(ctypes.byref(thread), None, read, None)
for thread in threads:
    system.pthread_join(thread, None)
"""


def test_end_of_threads_that_python_did_not_start_ends_no_worker(tmp_path: Path) -> None:
    """The server starts such threads, and ends them when they are idle (python/cpython#119585)."""
    command = [sys.executable, "-c", READ_IN_THREADS_OF_THE_SYSTEM, f"sqlite:///{tmp_path}/db.sqlite"]
    assert subprocess.run(command, check=False).returncode == 0
