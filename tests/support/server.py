"""A running server for tests: `flask --app todo serve` in forked processes, see `tests.support.forks`."""

import faulthandler
import json
import multiprocessing.connection
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.message import Message
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple, Self

from flask.cli import main

from tests.support import database_server
from tests.support.forks import FORKS

ROOT = Path(__file__).parent.parent.parent
COMMAND = (sys.executable, "-m", "flask", "--app", "todo", "serve")
PATIENCE = 60  # seconds, for actions that take a few seconds on an idle machine
# Settings with which no write fails because the machine stands still for some seconds.
PATIENT = {f"TODO_{name}_TIMEOUT": str(PATIENCE * 1000) for name in ("BUSY", "STATEMENT", "CONNECT")}

# Each start also reads the exit statuses of the processes of other threads.
_children = threading.Lock()
_ports: set[int] = set()


class Answer(NamedTuple):
    status: int
    headers: Message
    json: Any


def request(
    port: int, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request on a new connection, with `body` as JSON if it is not None.

    Raises OSError if no complete response arrives, for example because the server ends.
    """
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
    except HTTPException as error:
        raise ConnectionError("The response is not complete.") from error
    finally:
        connection.close()


def answers(port: int) -> bool:
    """Return True if a server on this port is healthy."""
    try:
        return request(port, "GET", "/api/v1/health").status == 200
    except OSError:
        return False


def free_port() -> int:
    """Return a port of the loopback interface that no process uses, and each port only once.

    The port is random, because several processes search at the same time. It is below the ports of clients.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_768)
        if port in _ports:
            continue
        _ports.add(port)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds. Raises AssertionError after a timeout."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("It did not come about.")
        time.sleep(0.01)


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of the tests without the settings of the service, with `changes`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TODO_")}
    # In another zone, the service prints a line about deadlines.
    return inherited | {"TZ": "UTC"} | changes


def _serve(log: Path, variables: dict[str, str]) -> None:
    """Run the command in this forked process, as if the process had been started with these variables."""
    # A separate process group lets the tests kill all processes at the same moment.
    os.setsid()
    with log.open("wb") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    faulthandler.register(signal.SIGUSR1)  # prints the stack of a server that hangs
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(variables)
    # The forked process has inherited these values.
    tempfile.tempdir = None
    multiprocessing.set_start_method(None, force=True)
    warnings.simplefilter("ignore")  # the tests turn warnings into errors
    sys.argv = list(COMMAND[2:])
    main()


class Server:
    """A server on a free port, with the database of TEST_DATABASE_URL or in a temporary folder.

    With `database`, it uses that SQLite file. As a context manager, it starts the server and ends all of
    its processes. The server can be started again during the block.
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
            # Files that a killed server leaves are removed with the folder.
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
        """Start the processes and wait until they respond."""
        self.process = FORKS.Process(target=_serve, args=(self._log, self.environment))
        with _children:
            self.process.start()
        deadline = time.monotonic() + PATIENCE
        while True:
            if answers(self.port):
                return
            if not self._is_alive() or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"The server does not answer: {self.output}")
            time.sleep(0.01)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """End the server as a user does, and return its exit status."""
        os.kill(self.pid, by)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end of the server, and return its exit status.

        Raises TimeoutError after a timeout.
        """
        if not multiprocessing.connection.wait([self.process.sentinel], PATIENCE):
            os.kill(self.pid, signal.SIGUSR1)
            time.sleep(1)
            raise TimeoutError(f"The server does not end: {self.output}")
        with _children:
            self.process.join()
            return self.process.exitcode or 0

    def _is_alive(self) -> bool:
        with _children:
            return self.process.is_alive()

    def kill(self) -> None:
        """Kill all processes at the same moment, as a power cut would."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request on a new connection, with `body` as JSON if it is not None.

        Raises OSError if no complete response arrives, for example because the server ends.
        """
        return request(self.port, method, path, body, headers)

    @property
    def pid(self) -> int:
        """Return the ID of the first process, which is also the ID of the process group."""
        if self.process.pid is None:
            raise LookupError("The server is not started.")
        return self.process.pid

    @property
    def output(self) -> str:
        """Return the output since the last start."""
        return self._log.read_text()

    @property
    def workers(self) -> list[int]:
        """Return the IDs of the worker processes (on Linux)."""
        main = self.pid
        return [int(pid) for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split()]

    @property
    def listening(self) -> int:
        """Return the number of workers that serve requests: each has a socket of its own (on Linux)."""
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        return sum(own.endswith(f":{self.port:04X}") and state == "0A" for _, own, _, state, *_ in sockets)
