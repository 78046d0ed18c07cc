"""Clients that use the service while its database loses a machine, and know the todos that must be stored."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.server import Answer, request

TODOS = "/api/v1/todos"
LIMIT = 25.0  # seconds: TODO_STATEMENT_TIMEOUT, two attempts to connect, and a reserve for a busy machine
PAUSE = 0.02  # seconds between two requests, so that the clients do not load the machine


@dataclass
class Client:
    """A client that creates, changes and reads its own todos, and retries requests."""

    ports: tuple[int, ...]  # ports of proxies or instances, one at random for each request
    seed: int
    acknowledged: dict[int, dict[str, Any]] = field(default_factory=dict)  # by id, as in the last response
    uncertain: set[int] = field(default_factory=set)  # todos with a change whose outcome is unknown
    failures: list[str] = field(default_factory=list)
    stale: list[tuple[float, float, str]] = field(default_factory=list)  # begin, end, and the response
    statuses: Counter[str] = field(default_factory=Counter)
    written: list[tuple[float, float]] = field(default_factory=list)  # begin and end of each write
    slowest: float = 0

    def __post_init__(self) -> None:
        self.began = self.ended = 0.0  # by id, from the last response
        self.chance = random.Random(self.seed)
        self.tags: dict[int, str] = {}

    def use(self, stopped: threading.Event) -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            self.create(f"{self.seed} {number}", stopped)
            todo_id = self.chance.choice([*self.acknowledged] or [0])
            if todo_id:
                self.change(todo_id, f"{number}")
                self.read(todo_id)

    def create(self, title: str, stopped: threading.Event) -> None:
        """Send a POST with the same key until it succeeds."""
        headers = {"Idempotency-Key": title.replace(" ", "-")}
        while not stopped.is_set():
            answer = self.send("POST", TODOS, {"title": title}, headers)
            if answer is not None and answer.status == 201:
                self.store(answer)
                return

    def change(self, todo_id: int, description: str) -> None:
        """Send a PUT with the tag of the last known version, once."""
        headers = {"If-Match": self.tags[todo_id]}
        answer = self.send("PUT", f"{TODOS}/{todo_id}", {"description": description}, headers)
        moment = self.began, self.ended
        if answer is not None and answer.status == 200:
            self.store(answer)
        elif answer is None or answer.status == 503 or todo_id in self.uncertain:
            self.uncertain.add(todo_id)
        elif answer.status == 412 and self.is_repeated(todo_id, description):
            pass  # the proxy repeated the request after an instance or a database did not respond in time
        else:
            self.stale.append((*moment, f"PUT {todo_id}: {answer}"))

    def is_repeated(self, todo_id: int, description: str) -> bool:
        """Return True if the todo has the change, because then the 412 came from a second attempt."""
        answer = None
        while answer is None or answer.status == 503:
            answer = self.send("GET", f"{TODOS}/{todo_id}")
        if answer.status == 200 and answer.json["description"] == description:
            self.store(answer)
            return True
        return False

    def read(self, todo_id: int) -> None:
        answer = self.send("GET", f"{TODOS}/{todo_id}")
        if answer is None or answer.status == 503:
            return
        if answer.status == 200 and todo_id in self.uncertain:
            self.store(answer)
        elif answer.status != 200 or answer.json != self.acknowledged[todo_id]:
            expected = self.acknowledged[todo_id]
            self.stale.append((self.began, self.ended, f"GET {todo_id}: {answer}, not {expected}"))

    def store(self, answer: Answer) -> None:
        todo_id = answer.json["id"]
        self.acknowledged[todo_id] = answer.json
        self.tags[todo_id] = answer.headers["ETag"]
        self.uncertain.discard(todo_id)

    def send(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer | None:
        """Send a request and check the rules for all responses. Return None without a response."""
        time.sleep(PAUSE)
        began = time.monotonic()
        try:
            answer = request(self.chance.choice(self.ports), method, path, body, headers)
        except OSError as error:
            self.failures.append(f"{method} {path}: {error!r}")
            return None
        ended = time.monotonic()
        self.began, self.ended = began, ended
        self.slowest = max(self.slowest, ended - began)
        self.statuses[f"{answer.status}"] += 1
        if method != "GET" and answer.status in {200, 201}:
            self.written.append((began, ended))
        if answer.status >= 500 and (
            answer.status != 503 or not (answer.headers["Retry-After"] or "").isdecimal()
        ):
            self.failures.append(f"{method} {path}: {answer}")
        if ended - began > LIMIT:
            self.failures.append(f"{method} {path} took {ended - began:.1f} s: {answer}")
        return answer


class Load:
    """Clients that run until `stop`."""

    def __init__(self, ports: tuple[int, ...], clients: int) -> None:
        self.clients = [Client(ports, seed) for seed in range(clients)]
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self._work = [self._pool.submit(client.use, self._stopped) for client in self.clients]

    def stop(self) -> None:
        """Let each client finish its request. Raises the first exception of a client."""
        self._stopped.set()
        self._pool.shutdown()
        for work in self._work:
            work.result()

    def written_since(self, moment: float) -> float | None:
        """Return the end of the first write that began after `moment`, or None."""
        ends = [end for client in self.clients for begin, end in [*client.written] if begin > moment]
        return min(ends, default=None)

    def recovery(self, moment: float, seconds: float) -> float:
        """Wait for the first write that began after `moment`, and return the time until it ended."""
        while (end := self.written_since(moment)) is None:
            if time.monotonic() - moment > 2 * seconds:
                raise AssertionError(f"no write within {2 * seconds} s")
            time.sleep(0.1)
        return end - moment

    def check(self, stored: list[dict[str, Any]], deposed: Sequence[tuple[float, float]] = ()) -> None:
        """Check that every acknowledged todo is stored once, as in its last response.

        A response of an earlier state is allowed only while a deposed primary responds.
        """
        failures = [failure for client in self.clients for failure in client.failures]
        for began, ended, text in [stale for client in self.clients for stale in client.stale]:
            if not any(began < until and ended > since for since, until in deposed):
                failures.append(text)
        assert not failures, failures[:10]
        titles = Counter(todo["title"] for todo in stored)
        assert [title for title, times in titles.items() if times > 1] == []
        by_id = {todo["id"]: todo for todo in stored}
        for client in self.clients:
            assert client.acknowledged.keys() <= by_id.keys()
            certain = client.acknowledged.keys() - client.uncertain
            assert {key: by_id[key] for key in certain} == {key: client.acknowledged[key] for key in certain}

    @property
    def summary(self) -> str:
        statuses = sum((client.statuses for client in self.clients), Counter[str]())
        todos = sum(len(client.acknowledged) for client in self.clients)
        slowest = max(client.slowest for client in self.clients)
        stale = sum(len(client.stale) for client in self.clients)
        responses = f"responses {dict(statuses)}, {stale} stale, the slowest {slowest:.1f} s"
        return f"{todos} todos acknowledged, {responses}"


@contextmanager
def load(*ports: int, clients: int = 4) -> Iterator[Load]:
    """Run clients during the `with` block."""
    running = Load(ports, clients)
    try:
        yield running
    finally:
        running.stop()
