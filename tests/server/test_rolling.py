"""Two instances behind nginx on PostgreSQL. Under load, one dies, and then each one is restarted."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.api import TODOS
from tests.support.cases import Prepared
from tests.support.database_server import postgresql
from tests.support.nginx import PROGRAM, nginx
from tests.support.server import Answer, Server, request, wait_until
from tests.support.sizes import size

pytestmark = [pytest.mark.soak, pytest.mark.server]

CLIENTS = 4
PAUSE = size(0.0, 1.0)  # seconds between two events


class Client:
    """A client that creates, reads and changes its own todos through nginx, and records the results."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.seed = seed
        self.chance = random.Random(seed)
        self.todos: dict[int, dict[str, Any]] = {}  # by id, from the last response
        self.uncertain: set[int] = set()  # todos with a change that got no response
        self.failures: list[str] = []
        self.count: Counter[str] = Counter()

    def use_until(self, stopped: threading.Event) -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            self.create(number)
            todo_id = self.chance.choice([*self.todos] or [0])
            self.read(todo_id)
            self.change(todo_id, number)

    def create(self, number: int) -> None:
        """Create a todo. Sometimes repeat the request, as after a lost response."""
        title = f"{self.seed} {number}"
        headers = {"Idempotency-Key": title.replace(" ", "-")}
        for _ in range(self.chance.choice((1, 1, 1, 2))):
            answer = self.ask("POST", TODOS, {"title": title}, headers)
            if answer is None or answer.status != 201:
                self.failures.append(f"POST {title}: {answer}")
            else:
                self.todos[answer.json["id"]] = answer.json

    def read(self, todo_id: int) -> None:
        answer = self.ask("GET", f"{TODOS}/{todo_id}")
        expected = self.todos.get(todo_id)
        if answer is None or answer.status != (200 if expected else 404):
            self.failures.append(f"GET {todo_id}: {answer}")
        elif expected and answer.json != expected and todo_id not in self.uncertain:
            self.failures.append(f"GET {todo_id}: {answer}, though {expected} was acknowledged")

    def change(self, todo_id: int, number: int) -> None:
        """Change a todo. nginx may not repeat the request, so 503 and a lost connection are valid results."""
        answer = self.ask("PATCH", f"{TODOS}/{todo_id}", {"description": f"{number}"})
        if answer is not None and answer.status == 200:
            self.todos[todo_id] = answer.json
            self.uncertain.discard(todo_id)
        elif answer is None or answer.status == 503:
            self.count["PATCH not answered"] += 1
            self.uncertain.add(todo_id)
        elif answer.status != 404 or todo_id in self.todos:
            self.failures.append(f"PATCH {todo_id}: {answer}")

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer | None:
        self.count[method] += 1
        try:
            return request(self.port, method, path, body, headers)
        except OSError:
            return None


@pytest.mark.skipif(not PAUSE, reason="make soak runs it")
@pytest.mark.skipif(not PROGRAM, reason="nginx is not installed")
class TestRolling(Prepared):
    def setup_method(self) -> None:
        url = self.stack.enter_context(postgresql()).render_as_string(hide_password=False)
        settings = {"TODO_SQLALCHEMY_DATABASE_URI": url, "TODO_PROXIES": "1", "TODO_WORKERS": "2"}
        self.instances = [self.stack.enter_context(Server(**settings)) for _ in range(2)]
        self.port = self.stack.enter_context(nginx(*(instance.port for instance in self.instances)))

    def test_rolling_restart_fails_loses_and_duplicates_nothing(self) -> None:
        clients = [Client(self.port, seed) for seed in range(CLIENTS)]
        stopped = threading.Event()
        with ThreadPoolExecutor(CLIENTS) as pool:
            work = [pool.submit(client.use_until, stopped) for client in clients]
            try:
                time.sleep(PAUSE)
                self.instances[0].kill()
                time.sleep(PAUSE)
                self.start(self.instances[0])
                for instance in self.instances:
                    instance.stop()
                    self.start(instance)
            finally:
                stopped.set()
            for done in work:
                done.result()
        logs = [instance.output for instance in self.instances]
        assert [failure for client in clients for failure in client.failures] == [], logs
        stored = {todo["id"]: todo for todo in request(self.port, "GET", TODOS).json}
        created = Counter(todo["title"] for todo in stored.values())
        assert [title for title, times in created.items() if times > 1] == []
        for client in clients:
            assert set(client.todos) <= set(stored)
            certain = set(client.todos) - client.uncertain
            assert {todo_id: client.todos[todo_id] for todo_id in certain} == {
                todo_id: stored[todo_id] for todo_id in certain
            }
        assert len(stored) == sum(len(client.todos) for client in clients)
        counted = dict(sum((client.count for client in clients), Counter()))
        print(f"{len(stored)} todos, {counted}")  # noqa: T201

    def start(self, instance: Server) -> None:
        """Start an instance, and wait until it is ready."""
        instance.start()
        wait_until(lambda: instance.request("GET", "/readyz").status == 200)
        time.sleep(PAUSE)
