"""The response cache is never stale, separates different requests, and stays within its limit."""

import sqlite3
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from todo import create_app
from todo.clock import utc_now, wall_now
from todo.http.auth import LAST_USED_STEP
from todo.http.response_cache import Response, ResponseCache
from todo.models import db
from todo.models.token import Token, hash_secret

TODOS = "/api/v1/todos"
# Seconds until a moment that a test waits for. A busy machine may need the longer ones.
MARGINS = (0.5, 5, 50)
# Executes each line as SQL in a separate process, as a shell does.
SHELL = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
for line in sys.stdin:
    connection.execute(line)
    print(flush=True)
"""


class Service(NamedTuple):
    """An app, the requests that reached a view, and the database file."""

    app: Flask
    views: list[str]
    path: Path

    def get(self, path: str = TODOS, **options: Any) -> TestResponse:
        return self.app.test_client().get(path, **options)

    def is_cached(self, path: str = f"{TODOS}/1", **options: Any) -> bool:
        """Send a request, and return True if its response came from the cache."""
        before = len(self.views)
        self.get(path, **options)
        return len(self.views) == before

    def shell(self, sql: str) -> None:
        with closing(sqlite3.connect(self.path, timeout=30)) as connection, connection:
            connection.execute(sql)


def start(path: Path, **settings: Any) -> Service:
    app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}", **settings})
    views: list[str] = []

    def note() -> None:
        from flask import request

        views.append(request.path)

    app.before_request_funcs.setdefault(None, []).insert(0, note)
    return Service(app, views, path)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """Return a service with one todo."""
    service = start(tmp_path / "db.sqlite")
    assert service.app.test_client().post(TODOS, json={"title": "first"}).status_code == 201
    return service


def visible(response: TestResponse) -> tuple[Any, ...]:
    headers = sorted((name, value) for name, value in response.headers if name != "X-Request-ID")
    body = (
        response.data if response.status_code < 400 else b""
    )  # the body of a problem contains the request ID
    return response.status_code, headers, body


WRITERS = st.sampled_from(["first worker", "second worker", "other process", "shell"])
WRITES = st.tuples(WRITERS, st.sampled_from(["create", "update", "delete"]), st.integers(1, 6))
PATHS = st.sampled_from(
    [
        f"{TODOS}/1",
        f"{TODOS}/2",
        f"{TODOS}/5",
        f"{TODOS}?limit=3",
        f"{TODOS}?limit=2&sort=-title&total=true",
        f"{TODOS}?limit=2&completed=true",
        f"{TODOS}?limit=5&window=1",
        f"{TODOS}?limit=5&overdue=true",
        "/api/v1/todos.ics",
        "/api/v1/openapi.json",
        TODOS,
    ]
)
HEADERS = st.sampled_from(
    [{}, {"Accept": "text/csv"}, {"Host": "127.0.0.1"}, {"If-None-Match": "*"}, {"If-None-Match": "current"}]
)
READERS = st.sampled_from(["first worker", "second worker"])
READS = st.tuples(READERS, st.sampled_from(["GET", "HEAD"]), PATHS, HEADERS)
STEPS = st.one_of(st.tuples(st.just("write"), WRITES), st.tuples(st.just("read"), READS))


class World:
    """Two workers with a cache, one without, another process, and a shell use the same file."""

    def __init__(self, folder: str) -> None:
        path = Path(folder) / "db.sqlite"
        self.workers = {name: start(path).app for name in ("first worker", "second worker")}
        self.uncached = start(path, RESPONSE_CACHE=0).app
        self.process = subprocess.Popen(
            [sys.executable, "-c", SHELL, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.shell = sqlite3.connect(path, timeout=30, isolation_level=None)

    def close(self) -> None:
        self.process.communicate()
        self.shell.close()
        for app in (*self.workers.values(), self.uncached):
            app.extensions["todo.database"].close()

    def write(self, writer: str, operation: str, number: int) -> None:
        if writer in self.workers:
            client = self.workers[writer].test_client()
            if operation == "create":
                client.post(TODOS, json={"title": f"Todo {number}", "completed": number % 2 == 0})
            elif operation == "update":
                client.patch(f"{TODOS}/{number}", json={"title": f"Changed {time.monotonic_ns()}"})
            else:
                client.delete(f"{TODOS}/{number}")
            return
        sql = {
            "create": f"INSERT INTO todos (title) VALUES ('Todo {number}')",
            "update": f"UPDATE todos SET title = 'Changed {time.monotonic_ns()}' WHERE id = {number}",
            "delete": f"DELETE FROM todos WHERE id = {number}",
        }[operation]
        if writer == "shell":
            self.shell.execute(sql)
            return
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(sql + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def compare(self, worker: str, method: str, path: str, headers: dict[str, str]) -> None:
        client = self.uncached.test_client()
        if headers.get("If-None-Match") == "current":
            headers = {"If-None-Match": client.get(path).headers.get("ETag", '"none"')}
        expected = client.open(path, method=method, headers=headers)
        for _ in range(2):  # the second response comes from the cache
            response = self.workers[worker].test_client().open(path, method=method, headers=headers)
            assert visible(response) == visible(expected)


@given(st.lists(STEPS, min_size=10, max_size=20))
def test_random_reads_and_writes_give_the_responses_of_a_service_without_a_cache(steps: list[Any]) -> None:
    with TemporaryDirectory() as folder, closing(World(folder)) as world:
        for kind, step in steps:
            (world.write if kind == "write" else world.compare)(*step)


def test_repeated_read_comes_from_the_cache_with_a_new_request_id(service: Service) -> None:
    first, second = service.get(f"{TODOS}/1"), service.get(f"{TODOS}/1", headers={"X-Request-ID": "mine"})
    assert service.views.count(f"{TODOS}/1") == 1
    assert visible(first) == visible(second)
    assert second.headers["X-Request-ID"] == "mine" != first.headers["X-Request-ID"]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Host": "127.0.0.1"}, id="Host"),
        pytest.param({"Accept": "text/csv"}, id="Accept"),
        pytest.param({"If-None-Match": "*"}, id="If-None-Match"),
        pytest.param({"Authorization": "Bearer x"}, id="Authorization"),
        pytest.param({"Origin": "https://a.example"}, id="Origin"),
    ],
)
def test_cached_response_is_not_used_for_another_header(service: Service, headers: dict[str, str]) -> None:
    path = f"{TODOS}?limit=10"
    service.get(path)
    assert service.is_cached(path)
    assert not service.is_cached(path, headers=headers)


@pytest.mark.parametrize("writer", ["shell", "service"])
def test_cached_response_is_not_used_after_a_commit(service: Service, writer: str) -> None:
    service.get(f"{TODOS}/1")
    assert service.is_cached()
    if writer == "shell":
        service.shell("UPDATE todos SET title = 'x'")
    else:
        service.app.test_client().patch(f"{TODOS}/1", json={"title": "x"})
    assert service.get(f"{TODOS}/1").get_json()["title"] == "x"
    assert service.is_cached()


def test_head_after_get_has_no_body(service: Service) -> None:
    service.get(f"{TODOS}/1")
    for _ in range(2):
        response = service.app.test_client().head(f"{TODOS}/1")
        assert (response.status_code, response.data) == (200, b"")
        assert response.headers["ETag"]


@pytest.mark.parametrize("query", ["window=0", "overdue=true", "overdue=false"])
def test_response_that_depends_on_the_time_is_not_cached(service: Service, query: str) -> None:
    path = f"{TODOS}?limit=10&{query}"
    for margin in MARGINS:
        with service.app.app_context():
            deadline = wall_now() + timedelta(seconds=margin)
            service.app.test_client().patch(f"{TODOS}/1", json={"deadline_at": deadline.isoformat()})
            before = service.get(path).json
            if wall_now() < deadline:
                break
    while service.get(path).json == before:
        time.sleep(0.05)
    assert not service.is_cached(path)


@pytest.mark.parametrize("path", [TODOS, f"{TODOS}/99", f"{TODOS}?limit=0", "/readyz", "/metrics"])
def test_response_without_an_etag_is_not_cached(service: Service, path: str) -> None:
    service.get(path)
    assert not service.is_cached(path)


def test_rate_limit_disables_the_response_cache(tmp_path: Path) -> None:
    service = start(tmp_path / "db.sqlite", RATE_LIMIT="100/minute")
    service.get("/docs")
    assert not service.is_cached("/docs")


def test_deleted_file_is_503_and_a_replaced_file_is_read(service: Service, tmp_path: Path) -> None:
    service.get(f"{TODOS}/1")
    copy = tmp_path / "copy.sqlite"
    with closing(sqlite3.connect(service.path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute("UPDATE todos SET title = 'restored'")
        target.commit()
    aside = tmp_path / "aside"
    aside.mkdir()
    for file in tmp_path.glob("db.sqlite*"):
        file.rename(aside / file.name)
    assert service.get(f"{TODOS}/1").status_code == 503
    copy.rename(service.path)
    assert service.get(f"{TODOS}/1").get_json()["title"] == "restored"
    service.app.extensions["todo.database"].close()  # removes the log of the copy
    for file in aside.iterdir():
        file.rename(tmp_path / file.name)
    assert service.get(f"{TODOS}/1").get_json()["title"] != "restored"


def test_file_that_changed_while_moved_away_is_read_again(service: Service, tmp_path: Path) -> None:
    service.get(f"{TODOS}/1")
    aside = tmp_path / "aside"
    aside.mkdir()
    for file in tmp_path.glob("db.sqlite*"):
        file.rename(aside / file.name)
    assert service.get(f"{TODOS}/1").status_code == 503
    with closing(sqlite3.connect(aside / "db.sqlite")) as connection, connection:
        connection.execute("UPDATE todos SET title = 'changed'")
    for file in aside.iterdir():
        file.rename(tmp_path / file.name)
    assert service.get(f"{TODOS}/1").get_json()["title"] == "changed"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Callable[..., dict[str, str]]]:
    """Return a function that creates a token and returns its header, for a service that requires tokens."""
    service = start(tmp_path / "db.sqlite", REQUIRE_TOKEN=True)

    def create(**columns: Any) -> dict[str, str]:
        secret = f"todo_{len(list(tmp_path.iterdir()))}{time.monotonic_ns()}"
        with service.app.app_context():
            db.session.add(Token(name=secret, secret_hash=hash_secret(secret), **columns))
            db.session.commit()
        return {"Authorization": f"Bearer {secret}"}

    create.service = service  # type: ignore[attr-defined]
    yield create
    service.app.extensions["todo.database"].close()


def is_cached_after_use(service: Service, headers: dict[str, str]) -> bool:
    """Read twice, and return True if the third response came from the cache.

    The first use of a token is a write, which empties the cache.
    """
    for _ in range(2):
        service.get(f"{TODOS}?limit=1", headers=headers)
    return service.is_cached(f"{TODOS}?limit=1", headers=headers)


def cached_until(
    guarded: Any, columns: Callable[[datetime], dict[str, datetime]]
) -> tuple[dict[str, str], datetime]:
    """Return the header of a token whose response is cached until a moment, and the moment.

    `columns` returns the columns of the token for a moment.
    """
    for margin in MARGINS:
        moment = utc_now() + timedelta(seconds=margin)
        headers: dict[str, str] = guarded(**columns(moment))
        if is_cached_after_use(guarded.service, headers):
            return headers, moment
    raise AssertionError("The response is not cached.")


def test_revoked_token_is_refused_at_once(guarded: Any) -> None:
    service, headers = guarded.service, guarded()
    assert is_cached_after_use(service, headers)
    service.shell("DELETE FROM tokens")
    assert service.get(f"{TODOS}?limit=1", headers=headers).status_code == 401


def test_expired_token_is_refused_at_once(guarded: Any) -> None:
    headers, expires_at = cached_until(guarded, lambda moment: {"expires_at": moment})
    while utc_now() <= expires_at:
        time.sleep(0.05)
    assert guarded.service.get(f"{TODOS}?limit=1", headers=headers).status_code == 401


def test_cached_response_is_not_shared_between_tokens(guarded: Any) -> None:
    service, headers = guarded.service, guarded(read_only=True)
    assert is_cached_after_use(service, headers)
    assert service.get(f"{TODOS}?limit=1").status_code == 401
    assert service.get(f"{TODOS}?limit=1", headers={"Authorization": "Bearer todo_wrong"}).status_code == 401
    assert service.app.test_client().post(TODOS, json={"title": "x"}, headers=headers).status_code == 403


def test_last_use_of_a_token_is_stored_each_minute(guarded: Any) -> None:
    headers, due = cached_until(guarded, lambda moment: {"last_used_at": moment - LAST_USED_STEP})
    service = guarded.service
    while service.is_cached(f"{TODOS}?limit=1", headers=headers):
        time.sleep(0.05)
    with service.app.app_context():
        last_used_at = db.session.scalar(db.select(Token.last_used_at).order_by(Token.id.desc()))
        assert last_used_at is not None
        assert last_used_at >= due


def test_memory_stays_within_its_bound_under_many_urls() -> None:
    max_bytes = 4 * 1024 * 1024
    cache = ResponseCache(max_bytes, lambda: 1)
    try:
        for number in range(100_000):
            if number == 80_000:  # tracing is slow, and all that the cache holds in the end is newer
                tracemalloc.start()
            environ: Any = {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": TODOS,
                "QUERY_STRING": f"limit=1&q={number}",
            }
            place, found = cache.find(environ)
            assert place is not None
            assert found is None
            headers = [("ETag", f'"{number}"'), ("Content-Type", "application/json")]
            cache.store(place, environ, Response("200 OK", headers, [bytes(100 + number % 1000)], TODOS))
            assert cache.size <= max_bytes
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert max_bytes / 2 < used < max_bytes
    assert cache.find(environ)[1] is not None


def test_each_response_is_logged_and_measured(service: Service) -> None:
    before = service.get("/metrics").text
    for _ in range(3):
        service.get(f"{TODOS}/1")
    name = 'http_requests_total{method="GET",route="/api/v1/todos/<id:todo_id>",status="200"}'

    def value(text: str) -> float:
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    assert value(service.get("/metrics").text) - value(before) == 3
