"""Truncated and slow request bodies, and clients that stop reading a response."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.api import TODOS
from tests.support.server import PATIENCE, Server, wait_until
from tests.support.sizes import size, soak_only
from todo.cli.serve import THREADS
from todo.http.keep_alive import CAN_WATCH, MAX_BODIES, MAX_STREAMS, TIMEOUT, TRIM_AFTER

pytestmark = [pytest.mark.server, pytest.mark.skipif(not CAN_WATCH, reason="needs Linux")]

POST = f"POST {TODOS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
LIST = f"GET {TODOS} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
CLIENTS = size(200, 1000)
SMALL = {"title": "Buy milk"}


@pytest.fixture(name="server")
def _server() -> Iterator[Server]:
    with Server(TODO_WORKERS="1") as server:
        yield server


def send(port: int, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    connection.sendall(data)
    return connection


def status_of(connection: socket.socket) -> int:
    """Return the status of the response, or 0 if the server closed the connection without a response."""
    with suppress(ConnectionResetError):
        found = re.match(rb"HTTP/1\.1 ([0-9]{3})", connection.recv(4096))
        return int(found[1]) if found else 0
    return 0


def memory(server: Server) -> int:
    """Return the resident memory of the only worker, in MiB."""
    (worker,) = server.workers
    status = Path(f"/proc/{worker}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


def test_slow_clients_hold_only_a_share_of_the_threads() -> None:
    assert MAX_BODIES + MAX_STREAMS < THREADS


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'Content-Length: 500\r\n\r\n{"title": "x"}', id="content-length"),
        pytest.param(b"Content-Length: 500\r\n\r\n", id="content-length-without-body"),
        pytest.param(b'Transfer-Encoding: chunked\r\n\r\nb\r\n{"title": "\r\n', id="chunked"),
        pytest.param(b'Transfer-Encoding: chunked\r\n\r\nff\r\n{"title": "x"', id="inside-a-chunk"),
    ],
)
@pytest.mark.parametrize("half_closed", [True, False], ids=["half-closed", "closed"])
def test_truncated_body_is_400_and_creates_nothing(server: Server, body: bytes, half_closed: bool) -> None:
    with send(server.port, POST + body) as connection:
        if half_closed:
            connection.shutdown(socket.SHUT_WR)
            assert status_of(connection) in {0, 400}
    assert server.request("POST", TODOS, SMALL).status == 201
    assert [todo["title"] for todo in server.request("GET", TODOS).json] == ["Buy milk"]


def test_missing_token_is_401_before_the_body_arrives() -> None:
    with Server(TODO_WORKERS="1", TODO_REQUIRE_TOKEN="true") as server:
        head = POST + b"Content-Length: 1000\r\n\r\n"
        with send(server.port, head) as connection:
            response = connection.recv(4096)
        assert response.startswith(b"HTTP/1.1 401 ")
        assert b"\r\nconnection: close\r\n" in response.lower()


def test_slow_bodies_do_not_delay_other_requests(server: Server) -> None:
    """Clients send a byte from time to time. The service ends the first clients after some seconds."""
    before = memory(server)
    with ExitStack() as stack:
        head = POST + b"Content-Length: 1000000\r\n\r\n" + b" " * size(1000, 200_000)
        slow: list[socket.socket] = []

        def is_refused() -> bool:
            # If the machine stood still, the service may have ended the first clients.
            slow.extend(stack.enter_context(send(server.port, head)) for _ in range(CLIENTS))
            return any(server.request("POST", TODOS, SMALL).status == 503 for _ in range(5))

        wait_until(is_refused)
        for _ in range(10):
            assert server.request("GET", TODOS).status == 200
            assert server.request("GET", "/api/v1/health").status == 200
        held = memory(server) - before

        def is_created() -> bool:
            for connection in slow:
                with suppress(OSError):  # the server has ended the connection
                    connection.sendall(b" ")
            return server.request("POST", TODOS, SMALL).status == 201

        wait_until(is_created)
        statuses = [status_of(connection) for connection in slow[::10]]
    assert set(statuses) <= {0, 408, 503}
    assert {408, 503} & set(statuses)
    assert held < MAX_BODIES * 2 + 64  # MiB


@soak_only
@pytest.mark.soak
def test_slow_body_is_408_after_the_time_limit(server: Server) -> None:
    began = time.monotonic()
    with (
        send(server.port, POST + b"Content-Length: 1000\r\n\r\n") as silent,
        send(server.port, POST + b"Content-Length: 1000\r\n\r\n") as trickling,
    ):
        while time.monotonic() < began + TIMEOUT - 2:
            trickling.sendall(b" ")
            assert server.request("POST", TODOS, SMALL).status == 201
            time.sleep(1)
        assert {status_of(silent), status_of(trickling)} == {408}
    assert TIMEOUT - 1 <= time.monotonic() - began < TIMEOUT + 10


def fill(server: Server) -> None:
    todo = {"title": "x" * 80, "description": "y" * 120}
    operations = [{"op": "create", "todo": todo}] * 1000
    for _ in range(24):
        assert server.request("POST", f"{TODOS}/batch", {"operations": operations}).status == 200


def list_status(port: int) -> int:
    """Return the status of the list, without its body, which takes long on a busy server."""
    with send(port, LIST) as connection:
        return status_of(connection)


@soak_only
@pytest.mark.soak
def test_stalled_readers_are_bounded_and_ended(server: Server) -> None:
    fill(server)
    server.request("GET", TODOS)
    workers = server.workers
    before = memory(server)
    with ExitStack() as stack:
        for _ in range(2 * MAX_STREAMS):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(LIST)
        wait_until(lambda: list_status(server.port) == 503)
        assert server.request("GET", f"{TODOS}?limit=1").status == 200
        assert server.request("POST", TODOS, SMALL).status == 201
        assert memory(server) - before < 400  # MiB
        deadline = time.monotonic() + 2 * TIMEOUT
        while list_status(server.port) == 503:
            assert time.monotonic() < deadline
            time.sleep(1)
    wait_until(lambda: server.request("GET", f"{TODOS}?limit=1").status == 200)
    deadline = time.monotonic() + 3 * TRIM_AFTER
    while memory(server) - before > 100:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert server.workers == workers  # none has crashed
