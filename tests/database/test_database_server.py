"""Behaviour of database servers only. Run pytest with --database=postgresql or mariadb."""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Connection, create_engine, insert, make_url, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from werkzeug.test import TestResponse

from tests.support.api import TODOS, ApiTest, empty_app
from tests.support.server import PATIENCE
from todo import create_app, database
from todo.clock import utc_now
from todo.config import StartupError
from todo.database.text_search import contains
from todo.models import db
from todo.models.idempotency_key import IdempotencyKey
from todo.models.todo import Todo

pytestmark = pytest.mark.database

BATCH = f"{TODOS}/batch"
TABLE = Todo.__table__
KEYS = IdempotencyKey.__table__
# For each database, queries of the session, and their expected results.
SESSION = {
    "postgresql": (
        ("SHOW lock_timeout", "1234ms"),
        ("SHOW statement_timeout", "5s"),
        ("SHOW timezone", "UTC"),
        ("SHOW client_encoding", "UTF8"),
    ),
    "mariadb": (
        ("SELECT @@innodb_lock_wait_timeout", 2),
        ("SELECT @@max_statement_time", 5),
        ("SELECT @@time_zone", "+00:00"),
        ("SELECT @@tx_isolation", "READ-COMMITTED"),
        ("SELECT instr(@@sql_mode, 'STRICT_ALL_TABLES') > 0", 1),
        ("SELECT instr(@@sql_mode, 'NO_ZERO_DATE') > 0", 1),
    ),
}
KILL_OTHERS = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mariadb": "SELECT concat('KILL ', id) FROM information_schema.processlist "
    "WHERE db = database() AND id <> connection_id()",
}
LOCK_TABLE = {"postgresql": "LOCK TABLE todos", "mariadb": "LOCK TABLES todos WRITE"}
# The session of a shell may have other settings.
LAX = {"postgresql": "SELECT 1", "mariadb": "SET sql_mode = ''"}
BAD_VALUES = {
    "title": ("NULL", "''", "' '", "'\t\n\v\f\r '"),
}
BAD_ON = {
    "postgresql": {
        "title": ("repeat('x', 81)",),
        "completed": ("NULL",),
        "created_at": ("NULL",),
        "description": ("repeat('x', 121)",),
        "deadline_at": ("'infinity'", "'10000-01-01'", "'0001-01-01 BC'"),
    },
    "mariadb": {
        "completed": ("2", "-1"),
        "deadline_at": ("'0000-00-00'", "'2027-00-10'", "'2027-02-30'"),
        "updated_at": ("'0000-00-00'",),
    },
}


@pytest.mark.skipif(
    "TEST_DATABASE_URL" not in os.environ, reason="run pytest with --database=postgresql or mariadb"
)
class ServerTest(ApiTest):
    """A test with an app on the server, and the session of another client."""

    def setup_method(self) -> None:
        self.use()

    def use(self, **settings: Any) -> Flask:
        self.app = empty_app(**settings)
        self.client = self.app.test_client()
        self.stack.callback(self.app.extensions["todo.database"].close)
        with self.app.app_context():
            self.name = db.engine.dialect.name
        return self.app

    @contextmanager
    def shell(self, isolation_level: Any = "AUTOCOMMIT") -> Iterator[Connection]:
        engine = create_engine(
            self.app.config["SQLALCHEMY_DATABASE_URI"], poolclass=NullPool, isolation_level=isolation_level
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(LAX[self.name])
            yield connection

    def assertUnavailable(self, response: TestResponse, detail: str = "") -> None:
        problem = self.assertProblem(503, response)
        assert response.headers["Retry-After"].isdecimal()
        assert detail in problem["detail"]


class TestSessions(ServerTest):
    def test_every_session_is_strict_and_has_time_limits(self) -> None:
        app = self.use(BUSY_TIMEOUT=1234, STATEMENT_TIMEOUT=5000)
        with app.app_context(), database.read() as kept, db.engine.connect() as fresh:
            for connection in (kept, fresh):
                for statement, expected in SESSION[self.name]:
                    assert expected == connection.exec_driver_sql(statement).scalar()

    def test_database_rejects_invalid_rows_of_a_shell(self) -> None:
        with self.shell() as shell:
            shell.exec_driver_sql("INSERT INTO todos (title) VALUES ('from a shell')")
            (todo,) = self.read_all()
            assert (todo["title"], todo["completed"]) == ("from a shell", False)
            assert todo["created_at"] == todo["updated_at"]
            assert todo["created_at"] < self.create()["created_at"]
            for values in (BAD_VALUES, BAD_ON[self.name]):
                for column, literals in values.items():
                    for literal in literals:
                        with pytest.raises(DBAPIError):
                            shell.exec_driver_sql(f"UPDATE todos SET {column} = {literal}")

    def test_explicit_id_is_never_reused(self) -> None:
        with self.app.app_context():
            db.session.add_all(Todo(id=key, title="chosen") for key in (3, 7, -2, 5))
            db.session.commit()
            db.session.execute(TABLE.delete().where(TABLE.c.id == 7))
            db.session.commit()
        assert [self.create()["id"] for _ in range(2)] == [8, 9]

    def test_unusable_server_is_refused(self) -> None:
        url = make_url(self.app.config["SQLALCHEMY_DATABASE_URI"])
        absent = url.set(database="absent").render_as_string(hide_password=False)
        with socket.socket() as bound:  # a port on which no process listens
            bound.bind(("127.0.0.1", 0))
            nobody = f"{self.name}://user:secret@127.0.0.1:{bound.getsockname()[1]}/todos"
            for uri in (absent, nobody):
                with pytest.raises(StartupError) as caught:
                    create_app({"SQLALCHEMY_DATABASE_URI": uri})
                assert "secret" not in str(caught.value)


class TestSearch(ServerTest):
    def test_search_folds_case_as_python_does(self) -> None:
        """Search for every character that has another case, or shares one."""
        cased = [chr(code) for code in range(1, 0x20000) if not 0xD800 <= code < 0xE000]
        cased = [char for char in cased if char.casefold() != char or char.upper() != char]
        rows = [{"title": f"a{char}b", "description": f"A{char.casefold()}B"} for char in cased]
        title, description = TABLE.c.title, TABLE.c.description
        with self.app.app_context(), db.engine.begin() as connection:
            connection.execute(insert(TABLE), rows)
            for condition in (contains(title, description), contains(description, title)):
                missed = connection.scalars(select(title).where(~condition)).all()
                # A server's version of Unicode may be older than Python's.
                assert len(missed) < len(rows) / 50, missed
            for char in "iIısSßkKσςΣµİ\N{KELVIN SIGN}%_\\'":  # the test needs these characters
                found = connection.scalars(select(title).where(contains(title, char)))
                assert {row["title"] for row in rows if char.casefold() in row["title"].casefold()} == set(
                    found
                )


class TestLocks(ServerTest):
    def test_locked_row_gives_503_and_changes_nothing(self) -> None:
        self.use(BUSY_TIMEOUT=300)
        todo = self.create()
        url = f"{TODOS}/{todo['id']}"
        with self.shell("READ COMMITTED") as shell:
            shell.execute(text("UPDATE todos SET description = 'meanwhile'"))
            for method, headers in (("PUT", {}), ("PUT", {"If-Match": "*"}), ("DELETE", {})):
                began = time.monotonic()
                response = self.client.open(url, method=method, json={"title": "Other"}, headers=headers)
                self.assertUnavailable(response, "conflicted")
                assert time.monotonic() - began < PATIENCE
            assert todo == self.client.get(url).get_json()
            shell.rollback()
        assert self.client.put(url, json={"title": "Other"}).status_code == 200

    def test_slow_statement_gives_503(self) -> None:
        self.use(BUSY_TIMEOUT=20_000, STATEMENT_TIMEOUT=3000)
        self.create()
        with self.shell("READ COMMITTED") as shell:
            shell.exec_driver_sql(LOCK_TABLE[self.name])
            self.assertUnavailable(self.client.get(TODOS), "too long")
        assert len(self.read_all()) == 1

    def test_deadlocked_batches_both_succeed(self) -> None:
        first, second = self.create()["id"], self.create()["id"]
        attempts = 8

        def run(ids: tuple[int, int], client: Any) -> list[int]:
            operations = [
                {"op": "update", "id": key, "todo": {"title": f"{ids}"}} for key in ids for _ in range(20)
            ]
            return [client.post(BATCH, json={"operations": operations}).status_code for _ in range(attempts)]

        with ThreadPoolExecutor(2) as threads:
            orders = ((first, second), (second, first))
            done = [threads.submit(run, ids, self.app.test_client()) for ids in orders]
        for answers in done:
            assert [200] * attempts == answers.result()

    def test_key_in_progress_gives_409(self) -> None:
        self.use(BUSY_TIMEOUT=300)
        key = {"Idempotency-Key": "a-key"}
        row = {"key": "a-key", "request_hash": b"", "status": 0, "headers": b"", "body": b""}
        with self.shell("READ COMMITTED") as shell:
            shell.execute(insert(KEYS), row | {"created_at": utc_now()})
            for path, body in (
                (TODOS, {"title": "x"}),
                (BATCH, {"operations": [{"op": "create", "todo": {"title": "x"}}]}),
            ):
                response = self.client.post(path, json=body, headers=key)
                problem = self.assertProblem(409, response)
                assert problem["type"] == "/problems/idempotency-in-progress"
                assert response.headers["Retry-After"].isdecimal()
            shell.rollback()
        assert self.read_all() == []
        for replayed in (False, True):
            response = self.client.post(TODOS, json={"title": "x"}, headers=key)
            assert (201, replayed) == (response.status_code, "Idempotency-Replayed" in response.headers)

    def test_exhausted_pool_gives_503(self) -> None:
        self.use(POOL_SIZE=1, CONNECT_TIMEOUT=300)
        with self.app.app_context(), database.read():
            self.assertUnavailable(self.app.test_client().get(TODOS))
        assert self.client.get(TODOS).status_code == 200


class TestLostConnections(ServerTest):
    def kill(self) -> None:
        with self.shell() as shell:
            for (statement,) in shell.execute(text(KILL_OTHERS[self.name])).all():
                if self.name == "mariadb":
                    with suppress(DBAPIError):  # the connection is lost already
                        shell.exec_driver_sql(statement)

    def test_lost_idle_connection_is_replaced_unnoticed(self) -> None:
        todo = self.create()
        for method, body, headers in (
            ("GET", None, {}),
            ("PUT", {"title": "x"}, {}),
            ("PUT", {"title": "x"}, {"If-Match": "*"}),
            ("POST", {"title": "x"}, {"Idempotency-Key": "a"}),
        ):
            url = TODOS if method == "POST" else f"{TODOS}/{todo['id']}"
            self.client.get(url)
            self.kill()
            response = self.client.open(url, method=method, json=body, headers=headers)
            assert response.status_code in {200, 201}
            again = self.client.open(url, method=method, json=body, headers=headers)
            assert again.status_code in {200, 201}
        assert len(self.read_all()) == 2
