"""Limits of the server, and slow clients."""

import re
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import TODOS
from tests.support.cases import Prepared, label
from tests.support.nginx import PROGRAM, nginx
from tests.support.server import PATIENCE, Server, request
from tests.support.sizes import size

pytestmark = [pytest.mark.soak, pytest.mark.server]

SLOW_SECONDS = size(0.0, 10.0)
SLOW_CLIENTS = 200
HEAD = b"GET /api/v1/todos HTTP/1.1\r\nHost: localhost\r\n"
BODY_TO_COME = (
    HEAD.replace(b"GET", b"POST") + b"Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n"
)
HUGE = (
    (
        "a body of 10 GB declared",
        HEAD.replace(b"GET", b"POST")
        + b"Content-Type: application/json\r\nContent-Length: 10000000000\r\n\r\n{",
        413,
    ),
    ("a header of 1 MB", HEAD + b"X-A: " + b"a" * 2**20 + b"\r\n\r\n", 431),
    ("1,000 headers", HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(1000)) + b"\r\n", 431),
    (
        "10,000 parameters",
        HEAD.replace(b"todos ", b"todos?%s " % b"&".join(b"a%d=1" % number for number in range(10_000))),
        431,
    ),
    (
        "1,000 parameters",
        HEAD.replace(b"todos ", b"todos?%s " % b"&".join(b"a%d=1" % number for number in range(1000)))
        + b"\r\n",
        400,
    ),
)

# The data that a client sends at once, and the data that it sends in each later second.
SLOW = (
    ("headers", b"", b"G"),
    ("a body", HUGE[0][1].replace(b"10000000000", b"1000").removesuffix(b"{"), b" "),
)


HOST = b"Host: localhost"
# Request lines and headers as they are sent, and the status.
RAW = (
    (b"GET http://localhost/api/v1/todos HTTP/1.1", HOST, 200),
    (b"GET http://localhost/api/v1/todos HTTP/1.1", b"Host: evil.example", 400),
    (b"get /api/v1/todos HTTP/1.1", HOST, 405),
    (b"Post /api/v1/todos HTTP/1.1", HOST, 405),
    (b"A" * 3000 + b" /api/v1/todos HTTP/1.1", HOST, 405),
    (b"TRACE /api/v1/todos HTTP/1.1", HOST, 405),
    (b"CONNECT localhost:80 HTTP/1.1", HOST, 404),
    (b"OPTIONS * HTTP/1.1", HOST, 404),
    (b"GET //api/v1/todos HTTP/1.1", HOST, 404),
    (b"GET ///api/v1/todos HTTP/1.1", HOST, 404),
    (b"GET /api//v1/todos HTTP/1.1", HOST, 404),
    (b"GET //evil.example/api/v1/todos HTTP/1.1", HOST, 404),
    (b"GET /api/v1/./todos HTTP/1.1", HOST, 404),
    (b"GET /api/v1/x/../todos HTTP/1.1", HOST, 404),
    (b"GET /api/v1/todos HTTP/1.1", b"X: y", 400),
    (b"GET /api/v1/todos HTTP/1.1", HOST + b":80:80", 400),
    (b"GET /api/v1/todos HTTP/1.1", HOST + b":", 400),
    (b"GET /api/v1/todos HTTP/1.1", HOST + b":99999", 400),
    (b"GET /api/v1/todos HTTP/1.1", HOST + b"\r\nHost: evil.example", 400),
    (b"GET /api/v1/todos HTTP/1.1", b"Host: evil.example\r\n" + HOST, 400),
    (b"GET /api/v1/todos HTTP/1.1", b"Host: evil.example@localhost", 400),
    (b"GET /api/v1/health HTTP/1.1", HOST + b":80:80", 200),
)


@pytest.mark.parametrize(("line", "headers", "status"), RAW)
def test_unusual_request_line_or_host_gets_its_status(
    server: Server, line: bytes, headers: bytes, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall(line + b"\r\n" + headers + b"\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 %d " % status)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(TODO_WORKERS="1") as running:
        yield running


class TestLimits(Prepared):
    @pytest.fixture(autouse=True)
    def _use_server(self, server: Server) -> None:
        self.server = server

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.server.port), PATIENCE)
        self.stack.callback(connection.close)
        return connection

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory in /proc")
    def test_huge_request_is_refused_early(self) -> None:
        for _, sent, status in HUGE * 2:
            before = self.memory()
            connection = self.connect()
            with suppress(OSError):  # the server may close the connection before all data is sent
                connection.sendall(sent)
            try:
                answer = connection.recv(100)
            except ConnectionResetError:  # the response may be lost too
                answer = b""
            if status != 431 or answer:
                assert re.search(rb"^HTTP/1.1 %d " % status, answer)
            assert self.memory() - before < 8 * 1024
        assert self.server.request("GET", TODOS).status == 200

    @pytest.mark.parametrize(("kind", "head", "byte"), SLOW, ids=label)
    def test_slow_senders_block_no_other_client(self, kind: Any, head: Any, byte: Any) -> None:
        usual = time_of_a_request(self.server.port)
        slow = [self.connect() for _ in range(SLOW_CLIENTS)]
        for connection in slow:
            connection.sendall(head)
        times = times_beside(slow, self.server.port, byte)
        if SLOW_SECONDS:
            assert statistics.median(times) < 2 * max(usual, time_after(slow, self.server.port))

    def memory(self) -> int:
        """Return the resident memory of the worker, in KiB."""
        (worker,) = self.server.workers
        status = Path(f"/proc/{worker}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.skipif(not SLOW_SECONDS, reason="takes SLOW_SECONDS, see make soak")
@pytest.mark.skipif(not PROGRAM, reason="nginx is not installed")
class TestBehindNginx(Prepared):
    def test_slow_bodies_behind_nginx_block_no_other_client(self) -> None:
        server = self.stack.enter_context(Server(TODO_PROXIES="1"))
        port = self.stack.enter_context(nginx(server.port))
        usual = time_of_a_request(port)
        slow = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(SLOW_CLIENTS)]
        for connection in slow:
            self.stack.callback(connection.close)
        for connection in slow[::2]:  # the other clients have not even sent their headers
            connection.sendall(BODY_TO_COME)
        times = times_beside(slow, port)
        assert statistics.median(times) < 2 * max(usual, time_after(slow, port))


def times_beside(slow: list[socket.socket], port: int, byte: bytes = b" ") -> list[float]:
    """Return the seconds that requests take while each client of `slow` sends a byte per second."""
    end = time.monotonic() + SLOW_SECONDS
    times = []
    while True:
        for connection in slow:
            with suppress(OSError):  # the server has enough connections
                connection.sendall(byte)
        times.append(time_of_a_request(port))
        if time.monotonic() > end:
            return times
        time.sleep(1)


def time_after(slow: list[socket.socket], port: int) -> float:
    """Close the clients, and return the seconds of a request, because the machine may have become slower."""
    for connection in slow:
        connection.close()
    time.sleep(1)  # the service closes the connections too
    return time_of_a_request(port)


def time_of_a_request(port: int) -> float:
    """Return the median of several requests, in seconds."""
    times = []
    for _ in range(21):
        begun = time.perf_counter()
        if (status := request(port, "GET", TODOS).status) != 200:
            raise AssertionError(f"{status} instead of 200")
        times.append(time.perf_counter() - begun)
    return statistics.median(times)
