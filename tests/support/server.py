"""A running server for tests: `flask --app todo serve` in forked processes, see `tests.support.forks`."""

import faulthandler
import json
import multiprocessing
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple, Self

from flask.cli import main

from tests.support import database_server
from tests.support.forks import FORKS

ROOT = Path(__file__).parent.parent.parent
COMMAND = (sys.executable, "-m", "flask", "--app", "todo", "serve")
PATIENCE = 30  # seconds, for whatever takes less than one on an idle machine


class Answer(NamedTuple):
    status: int
    headers: Message
    json: Any


def request(
    port: int, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request on a connection of its own, `body` as JSON where there is one."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        if body is None:
            connection.request(method, path, headers=headers or {})
        else:
            sent = {"Content-Type": "application/json", **(headers or {})}
            connection.request(method, path, json.dumps(body), sent)
        response = connection.getresponse()
        text = response.read()
        return Answer(response.status, response.headers, json.loads(text) if text else None)
    finally:
        connection.close()


def answers(port: int) -> bool:
    """Tell whether a server on this port says that it is well."""
    try:
        return request(port, "GET", "/api/v1/health").status == 200
    except OSError:
        return False


def free_port() -> int:
    """Find a port of the loopback interface that no process listens on.

    It is at random, for others that look for one at the same time, and below those of clients.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_768)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds. Raises AssertionError where it does not for long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("It did not come about.")
        time.sleep(0.01)


def environment(**changes: str) -> dict[str, str]:
    """Take the environment of the tests without the service's settings, but with `changes`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TODO_")}
    return inherited | changes


def _serve(log: Path, variables: dict[str, str]) -> None:
    """Be the command in this process, which was forked, as if it were started with these variables."""
    # A process group of their own lets all of them be killed at one moment.
    os.setsid()
    with log.open("wb") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    faulthandler.register(signal.SIGUSR1)  # to tell where it is
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(variables)
    # What the first process of a program finds unset.
    tempfile.tempdir = None
    multiprocessing.set_start_method(None, force=True)
    warnings.simplefilter("ignore")  # of the tests they are errors
    sys.argv = list(COMMAND[2:])
    main()


class Server:
    """A server on a free port, its database that of TEST_DATABASE_URL, else in a temporary folder.

    With `database` it is that SQLite file.

    A context manager, which starts it and ends all its processes; it can be started again meanwhile.
    """

    def __init__(self, database: Path | None = None, /, **settings: str) -> None:
        self._folder = TemporaryDirectory()
        self._log = Path(self._folder.name) / "output"
        self.database = database or Path(self._folder.name) / "db.sqlite"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        url = f"sqlite:///{self.database}"
        chosen = database or settings.get("TODO_SQLALCHEMY_DATABASE_URI")
        if not chosen and "TEST_DATABASE_URL" in os.environ:
            url = os.environ["TEST_DATABASE_URL"]
            database_server.empty(url)
        self.environment = environment(
            # What it would leave behind when it is killed goes with the folder.
            TMPDIR=self._folder.name,
            **{"TODO_SQLALCHEMY_DATABASE_URI": url, "TODO_PORT": str(self.port), "TODO_LOG_FORMAT": "off"}
            | settings,
        )

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start the processes and wait until they answer."""
        self.process = FORKS.Process(target=_serve, args=(self._log, self.environment))
        self.process.start()
        deadline = time.monotonic() + PATIENCE
        while True:
            if answers(self.port):
                return
            if not self.process.is_alive() or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"The server does not answer: {self.output}")
            time.sleep(0.01)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """End it as a user does, and return its exit status."""
        os.kill(self.pid, by)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end, and return its exit status. Raises TimeoutError where it does not end."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            os.kill(self.pid, signal.SIGUSR1)
            time.sleep(1)
            raise TimeoutError(f"The server does not end: {self.output}")
        return self.process.exitcode

    def kill(self) -> None:
        """End all processes at one moment, as a power cut would."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request on a connection of its own, `body` as JSON where there is one."""
        return request(self.port, method, path, body, headers)

    @property
    def pid(self) -> int:
        """The id of its first process, and of the group of all of them."""
        if self.process.pid is None:
            raise LookupError("The server is not started.")
        return self.process.pid

    @property
    def output(self) -> str:
        """What it has printed since its last start."""
        return self._log.read_text()

    @property
    def workers(self) -> list[int]:
        """The ids of the processes that answer requests (on Linux)."""
        main = self.pid
        return [int(pid) for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split()]

    @property
    def listening(self) -> int:
        """How many of these do so already: each has a socket of its own (on Linux)."""
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        return sum(own.endswith(f":{self.port:04X}") and state == "0A" for _, own, _, state, *_ in sockets)
