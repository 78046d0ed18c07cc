"""Upgrades of the schema from the first release, between versions, and from later releases."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import click
import pytest
from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.pool import NullPool, StaticPool

from tests.database.test_database_server import ServerTest
from tests.support import concurrent_start
from tests.support.database_server import DATABASE, new_database
from tests.support.file_database import FileDatabaseTest
from tests.support.schema import describe
from tests.support.server import PATIENCE, ROOT, environment
from tests.support.sizes import soak_only
from todo import create_app
from todo.config import StartupError
from todo.database import schema
from todo.database.schema import State
from todo.models import db

# The exact SQL of the first release's `create_all()`.
FIRST_RELEASE = """CREATE TABLE todos (
\tid INTEGER NOT NULL, 
\ttitle VARCHAR(80) NOT NULL, 
\tdescription VARCHAR(120), 
\tcompleted BOOLEAN NOT NULL, 
\tdeadline_at DATETIME, 
\tcreated_at DATETIME NOT NULL, 
\tupdated_at DATETIME NOT NULL, 
\tPRIMARY KEY (id)
)"""  # noqa: W291 - SQLAlchemy leaves spaces at the ends of lines
FIRST_RELEASE_ROWS: list[tuple[Any, ...]] = [
    (1, "Buy milk", None, 0, None, "2023-02-27 12:00:00.000000", "2023-02-27 12:00:00.123456"),
    (2, "t" * 200, "d" * 300, 1, "2023-03-01 00:00:00.000000", "2023-02-27 12:00:00", "2023-02-28 08:30:00"),
    (9, "  ", "", 0, "2023-03-01 18:00:00", "2023-02-27 12:00:00.5", "2023-02-27 12:00:00.500000"),
]


@contextmanager
def connect(url: str) -> Iterator[Connection]:
    """A connection to a database on which each statement is a transaction."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


@contextmanager
def memory() -> Iterator[Connection]:
    """A connection to an empty SQLite database."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


class TestFirstRelease(FileDatabaseTest):
    def setup_method(self) -> None:
        super().setup_method()
        self.old = self.shell()
        self.old.execute(FIRST_RELEASE)
        self.old.executemany("INSERT INTO todos VALUES (?, ?, ?, ?, ?, ?, ?)", FIRST_RELEASE_ROWS)
        self.start()

    def test_first_release_rows_are_all_served(self) -> None:
        members = ("id", "title", "description", "completed", "deadline_at", "created_at", "updated_at")
        expected = [
            (1, "Buy milk", None, False, None, "2023-02-27T12:00:00.000000Z", "2023-02-27T12:00:00.123456Z"),
            (
                2,
                "t" * 200,
                "d" * 300,
                True,
                "2023-03-01T00:00:00",
                "2023-02-27T12:00:00.000000Z",
                "2023-02-28T08:30:00.000000Z",
            ),
            (
                9,
                "  ",
                "",
                False,
                "2023-03-01T18:00:00",
                "2023-02-27T12:00:00.500000Z",
                "2023-02-27T12:00:00.500000Z",
            ),
        ]
        todos = [dict(zip(members, row, strict=True)) for row in expected]
        assert todos == self.client.get("/api/v1/todos").json
        for todo in todos:
            assert todo == self.client.get(f"/api/v1/todos/{todo['id']}").json

    def test_first_release_values_keep_their_meaning(self) -> None:
        """Values are unchanged, except that all times have six fraction digits, so that they sort as text."""
        rows = self.old.execute("SELECT * FROM todos ORDER BY id").fetchall()
        expected = [
            (*row[:4], *(time and f"{time.ljust(20, '.')[:20]}{time[20:].ljust(6, '0')}" for time in row[4:]))
            for row in FIRST_RELEASE_ROWS
        ]
        assert expected == rows

    def test_first_release_file_is_copied_first(self) -> None:
        self.start()
        (copy,) = self.folder.glob("*.before-*")
        assert copy.name == "db.sqlite.before-upgrade-1"
        with closing(sqlite3.connect(copy)) as kept:
            assert kept.execute("SELECT * FROM todos").fetchall() == FIRST_RELEASE_ROWS
            assert kept.execute("SELECT sql FROM sqlite_schema").fetchall() == [(FIRST_RELEASE,)]

    def test_upgraded_file_accepts_new_rows_and_updates(self) -> None:
        created = self.client.post("/api/v1/todos", json={"title": "new"})
        assert (created.status_code, created.get_json()["id"]) == (201, 10)
        changed = self.client.put("/api/v1/todos/2", json={"completed": False})
        assert (changed.status_code, changed.get_json()["title"]) == (200, "t" * 200)
        assert self.client.delete("/api/v1/todos/9").status_code == 200
        assert self.titles() == ["Buy milk", "t" * 200, "new"]
        assert self.client.post("/api/v1/todos", json={"title": "new"}).get_json()["id"] == 11

    def test_upgraded_file_enforces_constraints_that_old_rows_meet(self) -> None:
        self.path = self.folder / "good.sqlite"
        old = self.shell()
        old.execute(FIRST_RELEASE)
        old.execute("INSERT INTO todos VALUES (?, ?, ?, ?, ?, ?, ?)", FIRST_RELEASE_ROWS[0])
        self.start()
        with create_engine(f"sqlite:///{self.path}").connect() as upgraded, memory() as fresh:
            db.metadata.create_all(fresh)
            upgraded_schema = [row for row in describe(upgraded) if "alembic" not in row]
            assert describe(fresh) == upgraded_schema

    def test_tables_added_since_the_first_release_are_kept(self) -> None:
        """An unversioned release created the missing tables, and did not change `todos`."""
        self.path = self.folder / "used.sqlite"
        old = self.shell()
        old.execute(FIRST_RELEASE)
        old.executemany("INSERT INTO todos VALUES (?, ?, ?, ?, ?, ?, ?)", FIRST_RELEASE_ROWS)
        with create_engine(f"sqlite:///{self.path}").begin() as connection:
            db.metadata.create_all(connection)
        old.execute("INSERT INTO imports VALUES ('a@example', 2)")
        self.start()
        assert old.execute("SELECT * FROM imports").fetchall() == [("a@example", 2)]
        assert old.execute("PRAGMA foreign_key_check").fetchall() == []
        # A deleted todo keeps its UID, because it can be restored.
        assert self.client.delete("/api/v1/todos/2").status_code == 200
        assert old.execute("SELECT * FROM imports").fetchall() == [("a@example", 2)]


@pytest.mark.soak
class TestVersions(FileDatabaseTest):
    def set_version(self, version: str | None) -> None:
        shell = self.shell()
        shell.execute("DELETE FROM alembic_version")
        if version:
            shell.execute("INSERT INTO alembic_version VALUES (?)", (version,))

    def state(self) -> State:
        with create_engine(f"sqlite:///{self.path}", poolclass=NullPool).connect() as connection:
            return schema.state(connection)

    def test_database_in_any_state_is_upgraded_or_refused(self) -> None:
        assert State.EMPTY is self.state()
        self.start()
        assert State.HEAD is self.state()
        for version, expected in ((None, State.BEHIND), ("9999", State.AHEAD), ("x", State.AHEAD)):
            self.set_version(version)
            assert expected is self.state()
        self.shell().execute("DROP TABLE alembic_version")
        assert State.UNVERSIONED is self.state()

    def test_migrations_create_the_schema_of_the_models(self) -> None:
        with memory() as created, memory() as migrated:
            db.metadata.create_all(created)
            schema.migrate(migrated)
            assert describe(created) == [row for row in describe(migrated) if "alembic" not in row]

    def test_schema_of_another_release_is_refused(self) -> None:
        self.start()
        for version, words in ((None, "Run flask --app todo db upgrade"), ("9999", "Install that release")):
            self.set_version(version)
            with pytest.raises(StartupError) as caught:
                self.start()
            assert words in caught.value.message
            assert "\n" not in caught.value.message

    def test_tables_without_a_version_get_one(self) -> None:
        self.start()
        self.client.post("/api/v1/todos", json={"title": "kept"})
        self.shell().execute("DROP TABLE alembic_version")
        self.start()
        assert self.titles() == ["kept"]
        assert State.HEAD is self.state()

    def test_failed_copy_leaves_the_file_unchanged(self) -> None:
        shell = self.shell()
        shell.execute(FIRST_RELEASE)
        shell.execute("INSERT INTO todos VALUES (?, ?, ?, ?, ?, ?, ?)", FIRST_RELEASE_ROWS[0])
        (self.folder / f"db.sqlite.before-upgrade-1.{os.getpid()}.part").mkdir()
        with pytest.raises(StartupError, match="cannot be copied"):
            self.start()
        assert [FIRST_RELEASE_ROWS[0]] == shell.execute("SELECT * FROM todos").fetchall()

    def test_commands_refuse_an_older_schema_until_upgraded(self) -> None:
        run = self.start().test_cli_runner().invoke
        self.set_version(None)
        refused = run(args=["token", "list"])
        assert "Run flask --app todo db upgrade" in refused.output
        assert re.search(r"(?s)Commands:.*backup.*db.*restore", run(args=["--help"]).output)
        assert run(args=["db", "upgrade"]).output == "Upgraded the schema.\n"
        assert (self.folder / "db.sqlite.before-upgrade-1").exists()
        assert "up to date" in run(args=["db", "upgrade"]).output
        assert run(args=["token", "list"]).exit_code == 0

    def test_no_connection_crosses_the_fork(self) -> None:
        app = self.start()
        assert app.cli.get_command(click.Context(app.cli), "serve") is not None
        with app.app_context():
            assert "Connections in pool: 0 " in db.engine.pool.status()

    @soak_only
    @pytest.mark.soak
    def test_new_migration_upgrades_and_is_refused_by_the_release_before(self) -> None:
        self.start()
        self.client.post("/api/v1/todos", json={"title": "kept"})
        later = self.folder / "later"
        shutil.copytree(ROOT / "todo", later / "todo", ignore=shutil.ignore_patterns("__pycache__"))
        model = later / "todo/models/imported_uid.py"
        column = "    note: Mapped[str | None] = mapped_column(text_of(9))\n"
        model.write_text(
            model.read_text().replace("    todo_id: Mapped[int]", f"{column}    todo_id: Mapped[int]")
        )

        def flask(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "flask", "--app", "todo", *arguments],
                cwd=later,
                env=environment(TODO_SQLALCHEMY_DATABASE_URI=f"sqlite:///{self.path}"),
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE,
            )

        done = flask("db", "revision", "Add a note")
        (written,) = (later / "todo/migrations/versions").glob("*_add_a_note.py")
        assert (written.name, done.stderr) == ("v0003_add_a_note.py", "")
        refused = flask("token", "list")
        assert refused.returncode == 1
        assert re.search(r"\AError: [^\n]*Run flask --app todo db upgrade\.\n\Z", refused.stderr)
        upgraded = flask("db", "upgrade")
        assert (upgraded.returncode, upgraded.stderr) == (0, "")
        assert "note" in self.shell().execute("SELECT * FROM imports").description[2]
        assert (self.folder / "db.sqlite.before-upgrade-1").exists()
        with pytest.raises(StartupError, match="later release"):
            self.start()


@pytest.mark.database
class TestOnServer(ServerTest):
    def databases(self, count: int) -> list[str]:
        stack = self.stack.enter_context(ExitStack())
        server = make_url(os.environ["TEST_DATABASE_URL"])
        return [stack.enter_context(new_database(server, f"{DATABASE}_{number}")) for number in range(count)]

    def test_migrations_create_the_schema_of_the_models(self) -> None:
        created, migrated = map(connect, self.databases(2))
        with created as left, migrated as right:
            db.metadata.create_all(left)
            schema.migrate(right)
            assert describe(left) == [row for row in describe(right) if "alembic" not in row]

    def test_concurrent_starts_on_an_empty_database_all_succeed(self) -> None:
        urls = self.databases(concurrent_start.ROUNDS)
        assert concurrent_start.at_once(urls) == [concurrent_start.ROUNDS] * concurrent_start.PROCESSES
        for url in urls:
            with connect(url) as connection:
                assert State.HEAD is schema.state(connection)
                count = connection.exec_driver_sql("SELECT count(*) FROM todos").scalar()
                assert count == concurrent_start.PROCESSES

    def test_tables_without_a_version_get_one(self) -> None:
        (url,) = self.databases(1)
        with connect(url) as connection:
            db.metadata.create_all(connection)
            connection.exec_driver_sql("INSERT INTO todos (title) VALUES ('kept')")
            connection.exec_driver_sql(
                "DROP INDEX ix_imports_todo_id" if self.name == "postgresql" else "DROP TABLE tokens"
            )
            app = create_app({"SQLALCHEMY_DATABASE_URI": url})
            assert len(app.test_client().get("/api/v1/todos").get_json()) == 1
            app.extensions["todo.database"].close()
            assert State.HEAD is schema.state(connection)
            fresh = self.stack.enter_context(connect(os.environ["TEST_DATABASE_URL"]))
            assert describe(fresh) == describe(connection)
