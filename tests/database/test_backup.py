"""Backups: created during writes, checked, and restored completely or not at all."""

import os
import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy.exc import DBAPIError

from tests.support import database_server
from tests.support.cases import Prepared
from tests.support.clients import TODOS, create_until
from tests.support.server import Server
from tests.support.sizes import size
from todo import create_app
from todo.models import db

pytestmark = pytest.mark.server

WRITERS = 4
SECONDS = size(0.1, 30.0)


class BackupTest(Prepared):
    """An app on the database of TEST_DATABASE_URL or on a SQLite file, and a folder for backups."""

    def setup_method(self) -> None:
        self.folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.file = self.folder / "backup"
        self.on_server = os.environ.get("TEST_DATABASE_URL", "")
        database_server.find_tools()

    def open(self, url: str) -> Flask:
        app = create_app({"SQLALCHEMY_DATABASE_URI": url, "TESTING": True})
        self.stack.callback(app.extensions["todo.database"].close)
        return app

    def new(self) -> Flask:
        """Create an app on an empty database."""
        if self.on_server:
            database_server.empty(self.on_server)
        return self.open(self.on_server or f"sqlite:///{self.folder}/new.sqlite")

    def run_on(self, app: Flask, *arguments: str) -> Result:
        """Run a command with a new app, as another process would."""
        return self.open(app.config["SQLALCHEMY_DATABASE_URI"]).test_cli_runner().invoke(args=arguments)

    def assertDone(self, result: Result) -> None:
        assert result.exit_code == 0, result.output

    def assertRefused(self, words: str, result: Result) -> None:
        assert result.exit_code == 1, result.output
        assert re.search(rf"\AError: [^\n]*{words}[^\n]*\.\n\Z", result.output)


@pytest.mark.database
class TestBackup(BackupTest):
    def test_backup_during_writes_has_every_acknowledged_write(self) -> None:
        stopped = Event()
        with Server() as server, ThreadPoolExecutor(WRITERS) as pool:
            writers = [pool.submit(create_until, stopped, server.port) for _ in range(WRITERS)]
            try:
                time.sleep(SECONDS)
                before = server.request("GET", TODOS).json
                app = self.open(server.environment["TODO_SQLALCHEMY_DATABASE_URI"])
                self.assertDone(self.run_on(app, "backup", str(self.file)))
                time.sleep(SECONDS)
            finally:
                stopped.set()
            created = {key: todo for writer in writers for key, todo in writer.result().items()}
            assert [self.file] == list(self.folder.iterdir())
            app.extensions["todo.database"].close()
        app = self.new()
        self.assertDone(self.run_on(app, "restore", str(self.file)))
        restored = app.test_client().get(TODOS).get_json()
        assert len(before) < len(created)
        assert [todo for todo in before if todo not in restored] == []
        for todo in restored:
            assert created.get(todo["id"], todo) == todo
        again = app.test_client().post(TODOS, json={"title": "after"}).get_json()
        assert again["id"] > restored[-1]["id"]

    def test_restore_replaces_todos_only_with_overwrite(self) -> None:
        app = self.new()
        client = app.test_client()
        client.post(TODOS, json={"title": "first \N{GRINNING FACE} \\ ' \"", "description": "a\nb"})
        self.assertDone(self.run_on(app, "backup", str(self.file)))
        first = client.get(TODOS).get_json()
        client.post(TODOS, json={"title": "second"})
        both = client.get(TODOS).get_json()
        self.assertRefused("--overwrite", self.run_on(app, "restore", str(self.file)))
        assert both == client.get(TODOS).get_json()
        self.assertDone(self.run_on(app, "restore", "--overwrite", str(self.file)))
        app = self.open(app.config["SQLALCHEMY_DATABASE_URI"])
        assert first == app.test_client().get(TODOS).get_json()
        # The constraints apply in the restored database too.
        with app.app_context(), pytest.raises(DBAPIError), db.engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO todos (title) VALUES (' ')")

    def test_incomplete_backup_changes_nothing(self) -> None:
        app = self.new()
        client = app.test_client()
        operations = [{"op": "create", "todo": {"title": "x" * 80}}] * 1000
        client.post(f"{TODOS}/batch", json={"operations": operations})
        self.assertDone(self.run_on(app, "backup", str(self.file)))
        client.post(TODOS, json={"title": "last"})
        todos = client.get(TODOS).get_json()
        content = self.file.read_bytes()
        for kept in (
            content[: len(content) // 2],
            content[: len(content) * 9 // 10],
            content[:100],
            b"",
            b"x",
        ):
            self.file.write_bytes(kept)
            result = self.run_on(app, "restore", "--overwrite", str(self.file))
            self.assertRefused("", result)
            assert todos == client.get(TODOS).get_json()

    def test_missing_dump_program_is_reported(self) -> None:
        if not self.on_server:
            pytest.skip("SQLite needs none")
        app = self.new()
        path = os.environ["PATH"]
        self.stack.callback(os.environ.update, PATH=path)
        os.environ["PATH"] = str(self.folder)
        self.assertRefused(
            "is required, but it is not on the PATH", self.run_on(app, "backup", str(self.file))
        )
        for name in ("pg_dump", "mariadb-dump"):
            old = self.folder / name
            old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6 Distrib 5.5.1-MariaDB'\n")
            old.chmod(0o755)
        self.assertRefused("is required, but .*9.6", self.run_on(app, "backup", str(self.file)))


class TestSqlite(BackupTest):
    def test_backup_is_one_database_file(self) -> None:
        app = self.open(f"sqlite:///{self.folder}/db.sqlite")
        self.assertDone(self.run_on(app, "backup", str(self.file)))
        with closing(sqlite3.connect(self.file)) as copy:
            assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)

    def test_backup_of_another_database_kind_is_refused(self) -> None:
        app = self.open(f"sqlite:///{self.folder}/db.sqlite")
        self.file.write_bytes(b"PGDMP" + b"x" * 100)
        self.assertRefused("a backup of postgresql", self.run_on(app, "restore", str(self.file)))

    def test_backup_of_an_older_schema_needs_an_upgrade(self) -> None:
        app = self.open(f"sqlite:///{self.folder}/db.sqlite")
        self.assertDone(self.run_on(app, "backup", str(self.file)))
        with closing(sqlite3.connect(self.file)) as copy, copy:
            copy.execute("DELETE FROM alembic_version")
        run = app.test_cli_runner().invoke
        restored = run(args=["restore", str(self.file)])
        self.assertDone(restored)
        assert "Run flask --app todo db upgrade" in restored.output
        self.assertDone(run(args=["db", "upgrade"]))
