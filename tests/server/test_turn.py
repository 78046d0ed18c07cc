"""The turns of the threads of a process."""

import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

from flask import Flask

from tests.support.server import PATIENCE
from todo.http import turn

THREADS = 8
SHORT, LONG = turn.LONGEST / 20, turn.LONGEST * 100


class TestTurn(unittest.TestCase):
    def setUp(self) -> None:
        self.app = Flask(__name__)
        turn.register(self.app)
        self.working = 0
        self.most = 0
        self.app.add_url_rule("/work", view_func=self.work)
        self.app.add_url_rule("/wait", view_func=self.wait)
        self.app.add_url_rule("/search", view_func=self.search)

    def work(self) -> str:
        self.working += 1
        self.most = max(self.most, self.working)
        time.sleep(SHORT)  # as a call of SQLite's, it lets other threads run
        self.working -= 1
        return "done"

    def wait(self) -> str:
        with turn.Pause():
            self.began.set()
            self.may_end.wait(LONG)
        return "done"

    def search(self) -> str:
        self.began.set()
        self.may_end.wait(LONG)
        return "done"

    def get(self, path: str) -> str:
        return self.app.test_client().get(path).text

    def test_one_thread_at_a_time_works(self) -> None:
        self.assert_one_at_a_time()

    def test_none_waits_for_one_that_waits(self) -> None:
        with patch.object(turn, "LONGEST", 2 * LONG):  # nothing else lets them through
            self.assertLess(self.time_beside("/wait"), LONG / 2)

    def test_none_waits_for_long_for_one_that_takes_long(self) -> None:
        self.assertLess(self.time_beside("/search"), LONG / 2)
        self.most = 0
        self.assert_one_at_a_time()  # it did not upset the turns

    def assert_one_at_a_time(self) -> None:
        # A busy machine may keep a thread from its work for longer than a turn is.
        with patch.object(turn, "LONGEST", PATIENCE), ThreadPoolExecutor(THREADS) as threads:
            self.assertEqual(["done"] * 200, list(threads.map(self.get, ["/work"] * 200)))
        self.assertEqual(1, self.most)

    def time_beside(self, path: str) -> float:
        """How long ten requests take, one after the other, while one for `path` is not done."""
        self.began, self.may_end = threading.Event(), threading.Event()
        with ThreadPoolExecutor(1) as threads:
            other = threads.submit(self.get, path)
            self.began.wait()
            began = time.monotonic()
            for _ in range(10):
                self.get("/work")
            duration = time.monotonic() - began
            self.may_end.set()
            self.assertEqual("done", other.result())
        return duration
