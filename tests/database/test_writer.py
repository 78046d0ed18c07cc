"""Writes of many threads that share a commit."""

import sqlite3
import time
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from sqlalchemy import event

from tests.support.file_database import FileDatabaseTest
from todo.models import db

THREADS = 8
PATIENCE = 30  # seconds


class TestWriter(FileDatabaseTest):
    def setUp(self) -> None:
        super().setUp()
        self.statements: list[str] = []

    def watch(self, connection: sqlite3.Connection, _: object) -> None:
        connection.set_trace_callback(self.statements.append)

    def post_at_once(self, titles: list[str]) -> list[Future[int]]:
        """Have a thread for each title ask for a todo, while another program keeps them from writing."""
        threads = self.enterContext(ThreadPoolExecutor(THREADS))

        def post(title: str) -> int:
            answer = self.app.test_client().post("/api/v1/todos", json={"title": title})
            return int(answer.status_code)

        with self.app.app_context():
            event.listen(db.engine, "connect", self.watch)
        other = self.shell()
        other.execute("BEGIN IMMEDIATE")
        answers = [threads.submit(post, title) for title in titles]
        self.wait_for_all(len(titles))
        other.execute("ROLLBACK")
        return answers

    def wait_for_all(self, number: int) -> None:
        """Wait until this number of threads have something to write."""
        writer = self.app.extensions["todo.database"].group_commit
        deadline = time.monotonic() + PATIENCE
        while len(writer.waiting) < number and time.monotonic() < deadline:
            time.sleep(0.01)

    def titles(self) -> list[str]:
        return [title for (title,) in self.shell().execute("SELECT title FROM todos ORDER BY title")]

    def test_what_waits_together_shares_a_commit(self) -> None:
        self.app = self.start(BUSY_TIMEOUT=PATIENCE * 1000, TESTING=False)
        titles = [f"Todo {n}" for n in range(THREADS)]
        answers = self.post_at_once(titles)
        self.assertEqual([HTTPStatus.CREATED] * THREADS, [answer.result() for answer in answers])
        self.assertEqual(titles, self.titles())
        self.assertEqual(1, self.statements.count("COMMIT"))

    def test_what_fails_is_undone_alone(self) -> None:
        self.app = self.start(BUSY_TIMEOUT=PATIENCE * 1000, TESTING=False)
        self.shell().execute(
            "CREATE TRIGGER refuse AFTER INSERT ON todos WHEN NEW.title = 'refused' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        expected = [HTTPStatus.CREATED, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.CREATED]
        with self.assertLogs(self.app.logger, "ERROR"):
            answers = [answer.result() for answer in self.post_at_once(["a", "refused", "b"])]
        self.assertEqual(expected, answers)
        self.assertEqual(["a", "b"], self.titles())

    def test_what_undoes_the_transaction_fails_all_that_share_it(self) -> None:
        self.app = self.start(BUSY_TIMEOUT=PATIENCE * 1000, TESTING=False)
        self.shell().execute(
            "CREATE TRIGGER undo AFTER INSERT ON todos WHEN NEW.title = 'undo' "
            "BEGIN SELECT RAISE(ROLLBACK, 'undone'); END"
        )
        with self.assertLogs(self.app.logger, "ERROR"):
            answers = [answer.result() for answer in self.post_at_once(["a", "undo", "b"])]
        self.assertEqual([HTTPStatus.INTERNAL_SERVER_ERROR] * 3, answers)
        self.assertEqual([], self.titles())
        self.assertEqual(
            HTTPStatus.CREATED, self.client.post("/api/v1/todos", json={"title": "c"}).status_code
        )
        self.assertEqual(["c"], self.titles())

    def test_none_waits_for_longer_than_the_time_out(self) -> None:
        self.app = self.start(BUSY_TIMEOUT=50)
        other = self.shell()
        other.execute("BEGIN IMMEDIATE")

        def post(_: int) -> tuple[int, float]:
            began = time.monotonic()
            answer: Any = self.app.test_client().post("/api/v1/todos", json={"title": "x"})
            return answer.status_code, time.monotonic() - began

        with ThreadPoolExecutor(THREADS) as threads:
            answers = list(threads.map(post, range(2 * THREADS)))
        other.execute("ROLLBACK")
        self.assertEqual({HTTPStatus.SERVICE_UNAVAILABLE}, {status for status, _ in answers})
        self.assertLess(max(seconds for _, seconds in answers), 3)
        self.assertEqual(
            HTTPStatus.CREATED, self.client.post("/api/v1/todos", json={"title": "c"}).status_code
        )
