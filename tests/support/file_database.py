"""An app on a SQLite file, and a shell on the same file."""

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from tests.support.cases import Prepared
from todo import create_app


class FileDatabaseTest(Prepared):
    """A test with a folder.

    `start` creates the app, `self.client` sends requests, and `self.shell` opens the file.
    """

    client: FlaskClient

    def setup_method(self) -> None:
        self.folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.path = self.folder / "db.sqlite"

    def start(self, **settings: Any) -> Flask:
        """Start an app on the file. It replaces an earlier app."""
        app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{self.path}", "TESTING": True} | settings)
        self.client = app.test_client()
        return app

    def shell(self) -> sqlite3.Connection:
        """Open the file as the sqlite3 shell does, with one commit per statement."""
        return self.stack.enter_context(closing(sqlite3.connect(self.path, isolation_level=None)))

    def titles(self) -> list[str]:
        """List the titles that the service serves."""
        answer = self.client.get("/api/v1/todos")
        assert answer.status_code == 200, answer.json
        return [todo["title"] for todo in answer.get_json()]
