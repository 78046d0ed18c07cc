"""Many concurrent clients of the running server with two workers."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from werkzeug.http import parse_options_header

from tests.support.cases import label
from tests.support.clients import at_once
from tests.support.server import PATIENCE, PATIENT, Answer, Server
from tests.support.sizes import size

pytestmark = [pytest.mark.database, pytest.mark.soak, pytest.mark.server]

PATH = "/api/v1/todos"
BATCH = f"{PATH}/batch"
TODOS = size(60, 120)  # todos in the list with pages
INCREMENTS = size(5, 50)  # requests per client
SORTS = (
    *(sign + member for member in ("id", "title", "description", "completed") for sign in ("", "-")),
    *(sign + member for member in ("deadline_at", "created_at", "updated_at") for sign in ("", "-")),
    "completed,-deadline_at,title",
    "-description,deadline_at,-id",
)


class Client:
    """A connection to `server` that is reused."""

    def __init__(self, server: Server) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def request(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent["Content-Type"] = "application/json"
        self._connection.request(method, path, None if body is None else json.dumps(body), sent)
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, json.loads(response.read()))


# Each write changes the description of the todo that was read.
Write = Callable[[Client, Answer, str], Answer]


def put(client: Client, todo: Answer, description: str) -> Answer:
    return client.request("PUT", f"{PATH}/{todo.json['id']}", {"description": description})


def put_if_match(client: Client, todo: Answer, description: str) -> Answer:
    path = f"{PATH}/{todo.json['id']}"
    return client.request("PUT", path, {"description": description}, If_Match=todo.headers["ETag"])


def batch_if_match(client: Client, todo: Answer, description: str) -> Answer:
    operation = {"op": "update", "id": todo.json["id"], "todo": {"description": description}}
    return client.request("POST", BATCH, {"operations": [operation | {"if_match": todo.headers["ETag"]}]})


def creation(seed: int) -> dict[str, Any]:
    """Return an operation that creates a todo, from few possible values."""
    chance = random.Random(seed)
    todo = {
        "title": chance.choice("aäbÄ"),
        "description": chance.choice((None, "", "x", "ß")),
        "completed": chance.choice((False, True)),
        "deadline_at": chance.choice((None, "2001-01-01T00:00:00", "2030-01-01T00:00:00")),
    }
    return {"op": "create", "todo": todo}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(TODO_WORKERS="2", **PATIENT) as running:
        yield running


class TestConcurrency:
    server: Server

    @pytest.fixture(autouse=True)
    def _use_server(self, server: Server) -> None:
        self.server = server

    def test_paging_during_writes_skips_and_repeats_no_todo(self) -> None:
        with Client(self.server) as client:
            created = client.request("POST", BATCH, {"operations": [creation(seed) for seed in range(TODOS)]})
            staying = {todo["id"] for todo in created.json["results"]}
            with self.churn() as wait_for_writes:
                for sort in SORTS:
                    found: list[int] = []
                    for page in pages(client, sort):
                        found += (todo["id"] for todo in page)
                        wait_for_writes()
                    assert [key for key in staying if found.count(key) != 1] == []
                    assert len(set(found)) == len(found)

    @contextmanager
    def churn(self) -> Iterator[Callable[[], None]]:
        """Create and delete todos in a thread. Yield a function that waits for another change."""
        written, ended = threading.Event(), threading.Event()

        def write() -> None:
            made: list[int] = []
            with Client(self.server) as client:
                while not ended.is_set():
                    todo = creation(random.randrange(1000))["todo"]
                    made.append(client.request("POST", PATH, todo).json["id"])
                    if len(made) > 20:
                        client.request("DELETE", f"{PATH}/{made.pop(random.randrange(20))}")
                    written.set()

        def wait() -> None:
            written.clear()
            assert written.wait(PATIENCE)

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(write)
            try:
                yield wait
            finally:
                ended.set()
        writer.result()

    def test_concurrent_increments_with_if_match_all_count(self) -> None:
        assert self.count_up(put_if_match, clients=16, times=INCREMENTS) == 16 * INCREMENTS

    def test_concurrent_batch_increments_with_if_match_all_count(self) -> None:
        assert self.count_up(batch_if_match, clients=8, times=10) == 8 * 10

    def test_concurrent_increments_without_if_match_get_lost(self) -> None:
        assert self.count_up(put, clients=16, times=5) < 16 * 5

    def count_up(self, write: Write, *, clients: int, times: int) -> int:
        """Let each client increment the number in a description `times` times. Return the final number."""
        counter = self.server.request("POST", PATH, {"title": "Counter", "description": "0"})
        url = counter.headers["Location"]
        # All clients have read the first number before one of them writes.
        first_read = threading.Barrier(clients)

        def work() -> None:
            with Client(self.server) as client:
                counted = 0
                todo = client.request("GET", url)
                first_read.wait()
                while counted < times:
                    status = write(client, todo, str(int(todo.json["description"]) + 1)).status
                    assert status in {200, 412}
                    counted += status == 200
                    if status == 412:
                        time.sleep(random.uniform(0, 0.03))
                    todo = client.request("GET", url)

        with ThreadPoolExecutor(clients) as pool:
            for done in [pool.submit(work) for _ in range(clients)]:
                done.result()
        return int(self.server.request("GET", url).json["description"])

    @pytest.mark.parametrize(
        ("path", "body"),
        [(PATH, creation(1)["todo"]), (BATCH, {"operations": [creation(1), creation(2)]})],
        ids=label,
    )
    @pytest.mark.parametrize("attempt", range(3), ids=label)
    def test_concurrent_requests_with_one_key_create_one_todo(
        self, path: Any, body: Any, attempt: Any
    ) -> None:
        before = self.total()
        key = {"Idempotency-Key": f"{path}-{attempt}"}
        answers = at_once(8, partial(self.server.request, "POST", path, body, key))
        self.assertOneAnswer([future.result() for future in answers], replayed=7)
        assert before + len(body.get("operations", [body])) == self.total()

    def total(self) -> int:
        return int(self.server.request("GET", f"{PATH}?limit=1&total=true").headers["X-Total-Count"])

    def assertOneAnswer(self, answers: list[Answer], *, replayed: int) -> None:
        assert replayed == sum("Idempotency-Replayed" in answer.headers for answer in answers)
        for answer in answers:
            assert answer.status in {200, 201}
            assert (answers[0].status, answers[0].json, answers[0].headers.get("Location")) == (
                answer.status,
                answer.json,
                answer.headers.get("Location"),
            )


def pages(client: Client, sort: str) -> Iterator[list[dict[str, Any]]]:
    path = f"{PATH}?limit=10&sort={sort}"
    while path:
        answer = client.request("GET", path)
        yield answer.json
        link, _ = parse_options_header(answer.headers.get("Link"))
        url = urlsplit(link[1:-1])
        path = f"{url.path}?{url.query}" if link else ""
