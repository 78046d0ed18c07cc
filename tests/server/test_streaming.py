"""The list without a limit, read slowly or partly, from the running server with two workers."""

import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.server import PATIENCE, Server, wait_until
from tests.support.sizes import size

pytestmark = [pytest.mark.soak, pytest.mark.server]

PATH = "/api/v1/todos"
TODOS = size(100_000, 1_000_000)
ROUNDS = size(2, 6)
WORKERS = 2
MAX_GROWTH = 18 * 1024 * 1024
# Long enough that the default list exceeds the allowed growth of memory.
TITLE = "x" * 80
DESCRIPTION = "y" * 120
LENGTH = TODOS * len(TITLE + DESCRIPTION)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(TODO_WORKERS=str(WORKERS)) as running:
        with closing(sqlite3.connect(running.database)) as shell, shell:
            numbers = (
                "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
            )
            shell.execute(
                f"{numbers} INSERT INTO todos (title, description) SELECT ?, ? FROM numbers",
                (TODOS, TITLE, DESCRIPTION),
            )
        wait_until(lambda: running.listening == WORKERS)
        for _ in range(20 * WORKERS):
            running.request("GET", f"{PATH}?limit=1000")
        yield running


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="Memory and connections are read from /proc."
)
class TestStreaming:
    @pytest.fixture(autouse=True)
    def _use_server(self, server: Server) -> None:
        self.server = server

    def test_slow_reader_leaves_memory_flat(self) -> None:
        before = peak = self.memory()
        length = 0
        end = b""
        with closing(self.begin_to_read()) as client:
            while received := client.recv(1 << 20):
                end = (end + received)[-1000:]
                # 10 times during the download, so that the server could get ahead.
                if (length + len(received)) * 10 // LENGTH != length * 10 // LENGTH:
                    time.sleep(0.05)
                    peak = max(peak, self.memory())
                length += len(received)
        assert length > LENGTH
        assert f'"id":{TODOS},'.encode() in end
        assert peak - before < MAX_GROWTH

    def test_stream_has_every_todo_once(self) -> None:
        with closing(HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)) as connection:
            connection.request("GET", f"{PATH}?sort=-deadline_at,title")
            ids = [todo["id"] for todo in json.load(connection.getresponse())]
        assert list(range(TODOS, 0, -1)) == ids

    def test_stalled_readers_block_no_other_client(self) -> None:
        with ExitStack() as clients:
            for _ in range(4 * WORKERS):
                clients.enter_context(closing(self.begin_to_read()))
            for _ in range(4 * WORKERS):
                assert self.server.request("GET", f"{PATH}?limit=1").status == 200

    def test_disconnected_readers_free_their_resources(self) -> None:
        readings = [self.sockets()]
        while readings[-20:] != readings[-1:] * 20:  # until the connections of earlier requests are closed
            time.sleep(0.05)
            readings.append(self.sockets())
        idle = readings[-1]
        for _ in range(ROUNDS):
            with ExitStack() as clients:
                for _ in range(4 * WORKERS):
                    clients.enter_context(closing(self.begin_to_read()))
                self.eventually(lambda: self.sockets() == idle + 4 * WORKERS)
            self.eventually(lambda: self.sockets() == idle)
            assert self.server.request("GET", f"{PATH}?limit=1").status == 200

    def begin_to_read(self) -> socket.socket:
        """Request the list, and read its first bytes."""
        client = socket.create_connection(("127.0.0.1", self.server.port), PATIENCE)
        client.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        return client

    def memory(self) -> int:
        """Return the bytes that the workers use in memory."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.server.workers)
        return pages * os.sysconf("SC_PAGE_SIZE")

    def sockets(self) -> int:
        """Return the number of open sockets of the workers."""
        count = 0
        for pid in self.server.workers:
            for file in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):  # closed in the meantime
                    count += str(file.readlink()).startswith("socket:")
        return count

    def eventually(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.01)
