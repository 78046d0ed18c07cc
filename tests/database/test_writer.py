"""Writes of many threads that share a commit."""

import json
import sqlite3
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from itertools import chain
from typing import Any

import pytest
from sqlalchemy import event

from tests.support.file_database import FileDatabaseTest
from tests.support.server import PATIENT, Server
from tests.support.sizes import size
from todo.models import db

THREADS = 8
CLIENTS = 32
ROUNDS = 6
WRITES = size(10, 50)  # of each client in a round
PATIENCE = 30  # seconds


class TestWriter(FileDatabaseTest):
    def setup_method(self) -> None:
        super().setup_method()
        self.statements: list[str] = []

    def watch(self, connection: sqlite3.Connection, _: object) -> None:
        connection.set_trace_callback(self.statements.append)

    def post_at_once(self, titles: list[str]) -> list[Future[int]]:
        """Create a todo in a thread for each title, while another program blocks all writes."""
        threads = self.stack.enter_context(ThreadPoolExecutor(THREADS))

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
        """Wait until this number of writes is waiting."""
        writer = self.app.extensions["todo.database"].group_commit
        deadline = time.monotonic() + PATIENCE
        while len(writer.waiting) < number and time.monotonic() < deadline:
            time.sleep(0.01)

    def titles(self) -> list[str]:
        return [title for (title,) in self.shell().execute("SELECT title FROM todos ORDER BY title")]

    def test_waiting_writes_share_a_commit(self) -> None:
        self.app = self.start(BUSY_TIMEOUT=PATIENCE * 1000, TESTING=False)
        titles = [f"Todo {n}" for n in range(THREADS)]
        answers = self.post_at_once(titles)
        assert [answer.result() for answer in answers] == [HTTPStatus.CREATED] * THREADS
        assert titles == self.titles()
        assert self.statements.count("COMMIT") == 1

    def test_failed_write_is_rolled_back_alone(self, caplog: pytest.LogCaptureFixture) -> None:
        self.app = self.start(BUSY_TIMEOUT=PATIENCE * 1000, TESTING=False)
        self.shell().execute(
            "CREATE TRIGGER refuse AFTER INSERT ON todos WHEN NEW.title = 'refused' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        expected = [HTTPStatus.CREATED, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.CREATED]
        answers = [answer.result() for answer in self.post_at_once(["a", "refused", "b"])]
        assert {record.levelname for record in caplog.records} == {"ERROR"}
        assert expected == answers
        assert self.titles() == ["a", "b"]

    def test_rolled_back_transaction_fails_all_its_writes(self, caplog: pytest.LogCaptureFixture) -> None:
        self.app = self.start(BUSY_TIMEOUT=PATIENCE * 1000, TESTING=False)
        self.shell().execute(
            "CREATE TRIGGER undo AFTER INSERT ON todos WHEN NEW.title = 'undo' "
            "BEGIN SELECT RAISE(ROLLBACK, 'undone'); END"
        )
        answers = [answer.result() for answer in self.post_at_once(["a", "undo", "b"])]
        assert {record.levelname for record in caplog.records} == {"ERROR"}
        assert answers == [HTTPStatus.INTERNAL_SERVER_ERROR] * 3
        assert self.titles() == []
        assert self.client.post("/api/v1/todos", json={"title": "c"}).status_code == HTTPStatus.CREATED
        assert self.titles() == ["c"]

    def test_no_write_waits_longer_than_the_timeout(self) -> None:
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
        assert {HTTPStatus.SERVICE_UNAVAILABLE} == {status for status, _ in answers}
        assert max(seconds for _, seconds in answers) < PATIENCE
        assert self.client.post("/api/v1/todos", json={"title": "c"}).status_code == HTTPStatus.CREATED


def time_writes(port: int) -> list[list[float]]:
    """Create todos on one connection. Return the seconds of each request, in rounds."""
    headers = {"Content-Type": "application/json"}
    rounds: list[list[float]] = []
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        for _ in range(ROUNDS):
            rounds.append([])
            for _ in range(WRITES):
                began = time.monotonic()
                connection.request("POST", "/api/v1/todos", json.dumps({"title": "x"}), headers)
                response = connection.getresponse()
                response.read()
                assert response.status == HTTPStatus.CREATED
                rounds[-1].append(time.monotonic() - began)
    return rounds


@pytest.mark.soak
@pytest.mark.server
def test_slow_writes_of_many_clients_take_at_most_ten_times_as_long_as_usual() -> None:
    """Other programs on the machine delay some requests, so the best round counts."""
    with Server(TODO_WORKERS="2", **PATIENT) as server, ThreadPoolExecutor(CLIENTS) as threads:
        clients = list(threads.map(lambda _: time_writes(server.port), range(CLIENTS)))
    ratios = []
    for rounds in zip(*clients, strict=True):
        seconds = sorted(chain.from_iterable(rounds))
        ratios.append(seconds[len(seconds) * 99 // 100] / seconds[len(seconds) // 2])
    assert min(ratios) <= 10
