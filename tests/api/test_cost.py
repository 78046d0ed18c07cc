"""The number of SQL statements of each operation, which does not depend on the speed of the machine."""

import io
import json
import math
import re
from collections.abc import Mapping
from contextlib import closing
from http import HTTPStatus
from itertools import groupby
from typing import Any, NamedTuple

import pytest
from flask import send_file
from werkzeug.test import create_environ
from werkzeug.wsgi import ClosingIterator

from tests.support.api import JSON, TODOS
from tests.support.cases import label
from todo import create_app
from todo.database import trash
from todo.http import idempotency, keep_alive
from todo.models import db

MILK = {"title": "Buy milk", "description": "Two litres", "deadline_at": "2027-01-31T18:00:00"}
BATCH = {"operations": [{"op": "create", "todo": MILK}] * 100}
STORED = 1500  # more than one chunk


class Cost(NamedTuple):
    method: str
    path: str
    body: object
    headers: Mapping[str, str]
    statements: int


COSTS = (
    Cost("GET", f"{TODOS}/1", None, {}, statements=1),
    Cost("PUT", f"{TODOS}/1", {"completed": True}, {}, statements=4),
    Cost("PATCH", f"{TODOS}/1", {"completed": True}, {"If-Match": "*"}, statements=5),
    Cost("PATCH", f"{TODOS}/1", {}, {}, statements=1),
    Cost("DELETE", f"{TODOS}/0", None, {}, statements=3),
    Cost("POST", TODOS, MILK, {}, statements=3),
    Cost("POST", TODOS, MILK, {"Idempotency-Key": "rent"}, statements=4),  # a replayed response
    Cost("GET", f"{TODOS}?limit=100", None, {}, statements=1),
    Cost("GET", f"{TODOS}?limit=1000", None, {}, statements=1),
    Cost("GET", f"{TODOS}?completed=false&limit=100&total=true", None, {}, statements=4),
    Cost("GET", TODOS, None, {}, statements=4),
    Cost("POST", f"{TODOS}/batch", BATCH, {}, statements=3),
)


class TestCost:
    def setup_method(self) -> None:
        self.app = create_app({"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:", "TESTING": True})
        with self.app.app_context():
            connection: Any = db.engine.raw_connection().driver_connection
        connection.executemany("INSERT INTO todos (title, deadline_at) VALUES (?, ?)", [
            (f"Todo {n}", "2027-01-31 18:00:00.000000") for n in range(STORED)
        ])  # fmt: skip
        connection.commit()
        self.statements: list[str] = []

        def note(statement: str) -> None:
            if statement not in self.statements[-1:]:  # SQLite reports the statement again for each trigger
                self.statements.append(statement)

        connection.set_trace_callback(note)

    @pytest.mark.parametrize("path", [TODOS, f"{TODOS}.csv"])
    def test_refused_stream_reads_no_todo(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keep_alive, "MAX_STREAMS", 0)
        response = self.app.test_client().get(path)
        assert response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert "Retry-After" in response.headers
        assert not [statement for statement in self.statements if "title" in statement]

    def send(self, cost: Cost) -> None:
        """Call the WSGI application directly."""
        content = b"" if cost.body is None else json.dumps(cost.body).encode()
        path, _, query = cost.path.partition("?")
        environ = {
            "REQUEST_METHOD": cost.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "localhost",
            "CONTENT_LENGTH": str(len(content)),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(content),
        }
        if content:
            environ["CONTENT_TYPE"] = JSON
        environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in cost.headers.items()}
        statuses: list[str] = []

        def start_response(status: str, *_: Any) -> Any:
            statuses.append(status)

        self.statements.clear()
        response = self.app(environ, start_response)
        for _ in response:
            pass
        if not isinstance(response, list):
            response.close()  # type: ignore[attr-defined]
        assert re.search("^20[01] ", statuses[0])

    @pytest.mark.parametrize("cost", COSTS, ids=label)
    def test_operations_stay_within_their_call_budget(
        self, cost: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (idempotency, trash):
            monkeypatch.setattr(module, "_next_purge", math.inf)
        self.send(cost)  # fills the caches
        self.send(cost)
        # SQLite reports a statement again for each trigger that the statement runs.
        statements = [statement for statement, _ in groupby(self.statements)]
        assert len(statements) <= cost.statements

    def test_only_streams_are_sent_in_chunks(self) -> None:
        cases: tuple[tuple[str, str, Mapping[str, str], bool], ...] = (
            ("GET", f"{TODOS}/1", {}, True),
            ("GET", f"{TODOS}/1", {"If-None-Match": "*"}, True),
            ("GET", f"{TODOS}/0", {}, True),
            ("HEAD", f"{TODOS}?limit=1", {}, True),
            ("GET", TODOS, {}, False),
        )
        for method, path, headers, is_whole in cases:
            environ = create_environ(path, method=method, headers=headers)
            # The server sends a list together with the headers, and any other iterable after the headers.
            with closing(ClosingIterator(answer := self.app(environ, start_nothing))):
                assert is_whole == isinstance(answer, list)

    def test_sent_file_is_closed(self) -> None:
        file = io.BytesIO(b"Buy milk")
        self.app.add_url_rule("/file", view_func=lambda: send_file(file, "text/plain"))
        assert self.app(create_environ("/file"), start_nothing) == [b"Buy milk"]
        assert file.closed


def start_nothing(*_: Any) -> Any:
    """Ignore the start of the response."""
