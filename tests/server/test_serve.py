import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from flask.cli import cli

from tests.support.cases import Prepared
from tests.support.server import (
    COMMAND,
    PATIENCE,
    PATIENT,
    ROOT,
    Server,
    answers,
    environment,
    free_port,
    wait_until,
)
from todo import create_app
from todo.cli.serve import STOP_SIGNALS, stop_on_signal
from todo.config import StartupError

pytestmark = pytest.mark.server

HEALTH = "/api/v1/health"
LINUX = Path("/proc/self/task").exists()


class TestRefusals(Prepared):
    """Startup errors are one sentence."""

    def test_startup_error_is_one_sentence_without_traceback(self) -> None:
        text = Path(self.stack.enter_context(TemporaryDirectory()), "text")
        text.write_text("This is not a database. " * 100)
        taken = self.stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        for sentence, options, database in (
            (f"Port {taken} is in use", ["--port", str(taken)], ":memory:"),
            ("file is not a database", [], text),
        ):
            variables = {"TODO_SQLALCHEMY_DATABASE_URI": f"sqlite:///{database}"}
            result = CliRunner().invoke(cli, ["--app", "todo", "serve", *options], env=variables)
            assert (result.exit_code, result.stdout) == (1, "")
            assert re.search(rf"\AError: [^\n]*{sentence}[^\n]*\n\Z", result.stderr)
        assert text.read_text() == "This is not a database. " * 100

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ("--port 0", "Invalid port 0"),
            ("--port 65536", "Invalid port 65536"),
            ("--host 192.0.2.1 --port 6400", "Cannot listen on 192.0.2.1:6400 (Cannot assign"),
            ("--host 0.0.0.0 --port 6399", "On 0.0.0.0 everyone who can reach this machine could read"),
        ],
    )
    def test_unusable_address_is_refused(self, arguments: str, sentence: str) -> None:
        run = create_app({"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:"}).test_cli_runner().invoke
        result = run(args=f"serve {arguments}")
        assert result.exit_code == 1
        assert f"Error: {sentence}" in result.output

    def test_unusable_database_is_refused(self) -> None:
        folder = Path(self.stack.enter_context(TemporaryDirectory()))
        text = folder / "text"
        text.write_text("This is not a database. " * 100)
        for sentence, uri in (
            ("SQLALCHEMY_DATABASE_URI cannot be used: Could not parse", "todos"),
            (
                "SQLALCHEMY_DATABASE_URI has the unknown scheme nosuch. Use one of",
                "nosuch://user:secret@host/todos",
            ),
            (f"{text} is damaged: file is not a database", f"sqlite:///{text}"),
            (f"{text}/db.sqlite cannot be used: Not a directory", f"sqlite:///{text}/db.sqlite"),
            (f"{folder} cannot be used: unable to open", f"sqlite:///{folder}"),
            (
                f"{folder}/absent cannot be used: No such file",
                f"sqlite:///file:{folder}/absent?mode=ro&uri=true",
            ),
        ):
            with pytest.raises(StartupError, match=re.escape(sentence)) as caught:
                create_app({"SQLALCHEMY_DATABASE_URI": uri})
            assert "secret" not in str(caught.value)
        assert [text] == list(folder.iterdir())


class TestStart(Prepared):
    # Start the server as a user does, which is slower than `tests.support.server`.
    def test_start_line_names_address_and_database(self) -> None:
        database = Path(self.stack.enter_context(TemporaryDirectory()), "db.sqlite")
        port = free_port()
        variables = {"TODO_SQLALCHEMY_DATABASE_URI": f"sqlite:///{database}", "TODO_LOG_FORMAT": "off"}
        with subprocess.Popen(
            [*COMMAND, "--port", str(port)],
            cwd=ROOT,
            env=environment(TODO_WORKERS="1", **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                wait_until(lambda: process.poll() is not None or answers(port))
                assert database.exists()
            finally:
                process.terminate()
            output, _ = process.communicate(timeout=PATIENCE)
        expected = f"Listening on http://127.0.0.1:{port}, data in {database}\n"
        assert (0, expected) == (process.returncode, output)

    def test_database_in_memory_is_shared_by_all_requests(self) -> None:
        memory = {"TODO_SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:"}
        with Server(TODO_HOST="localhost", TODO_WORKERS="2", **memory) as server:
            assert f"Listening on http://localhost:{server.port}, data in memory" in server.output
            ids = [server.request("POST", "/api/v1/todos", {"title": "x"}).json["id"] for _ in range(8)]
            assert list(range(1, 9)) == ids


class Ended(NamedTuple):
    """Signals, stops and dead workers."""

    status: int
    seconds: float
    lines: int
    listens: bool
    files: list[str]


def end(tell: Callable[[int, signal.Signals], None], by: signal.Signals, requests: int) -> Ended:
    """Start a server, send requests, and end the server while a connection is open."""
    with Server(TODO_WORKERS="4") as server:
        for _ in range(requests):
            server.request("POST", "/api/v1/todos", {"title": "x"})
        with closing(socket.create_connection(("127.0.0.1", server.port))):
            begun = time.monotonic()
            tell(server.pid, by)
            status = server.wait()
            seconds = time.monotonic() - begun
        with closing(socket.socket()) as connection:
            listens = connection.connect_ex(("127.0.0.1", server.port)) == 0
        files = sorted(path.name for path in server.database.parent.glob("db*"))
        return Ended(status, seconds, server.output.count("\n"), listens, files)


class TestStop:
    def test_signal_stops_the_server_and_leaves_one_database_file(self) -> None:
        cases = (
            (os.kill, signal.SIGINT, 0),
            (os.kill, signal.SIGTERM, 8),
            (os.killpg, signal.SIGINT, 8),  # Ctrl-C
            (os.killpg, signal.SIGTERM, 0),  # a service manager
        )
        with ThreadPoolExecutor(2) as threads:
            for ended in threads.map(lambda case: end(*case), cases):
                # Workers that do not end are killed after ten seconds.
                assert ended.seconds < 9
                assert (ended.status, ended.lines, ended.listens, ended.files) == (0, 1, False, ["db.sqlite"])

    @pytest.mark.skipif(not LINUX, reason="only Linux tells who sent a signal")
    def test_worker_waits_for_a_main_process_that_is_slow(self) -> None:
        with Server(TODO_WORKERS="2") as server:
            wait_until(lambda: server.listening == 2)
            os.kill(server.pid, signal.SIGSTOP)
            os.killpg(server.pid, signal.SIGTERM)
            time.sleep(0.5)
            os.kill(server.pid, signal.SIGCONT)
            assert (server.wait(), server.output.count("\n")) == (0, 1)

    def test_stop_finishes_requests_in_progress(self) -> None:
        with (
            Server(TODO_WORKERS="1", **PATIENT) as server,
            ThreadPoolExecutor(2) as threads,
            closing(sqlite3.connect(server.database, isolation_level=None)) as lock,
        ):
            lock.execute("BEGIN IMMEDIATE")
            answer = threads.submit(server.request, "POST", "/api/v1/todos", {"title": "x"})
            time.sleep(1)  # the service accepts the request
            status = threads.submit(server.stop)
            time.sleep(0.1)
            assert not answer.done()
            lock.execute("ROLLBACK")
            assert (answer.result().status, status.result()) == (201, 0)
            assert lock.execute("SELECT count(*) FROM todos").fetchone() == (1,)


@pytest.mark.skipif(not LINUX, reason="finds the processes in /proc")
class TestProcesses(Prepared):
    def test_missed_signal_is_repeated(self) -> None:
        told: list[int] = []

        def miss_two() -> None:
            told.append(len(told))
            if len(told) == 3:
                raise EOFError

        def wait() -> None:
            with suppress(EOFError):
                stop_on_signal(miss_two)

        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        self.stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, blocked)
        thread = threading.Thread(target=wait)
        thread.start()
        signal.pthread_kill(thread.ident or 0, signal.SIGTERM)
        thread.join(PATIENCE)
        assert told == [0, 1, 2]

    def test_killed_worker_is_replaced_without_a_new_database(self) -> None:
        with Server(TODO_WORKERS="2") as server:
            server.request("POST", "/api/v1/todos", {"title": "x"})
            wait_until(lambda: server.listening == 2)
            before = server.workers
            elsewhere = server.database.rename(server.database.with_suffix(".away"))
            os.kill(before[0], signal.SIGKILL)
            wait_until(lambda: len(set(server.workers) - {before[0]}) == 2)
            for _ in range(8):
                assert server.request("GET", HEALTH).status == 200
                assert server.request("GET", "/api/v1/todos").status == 503
            assert not server.database.exists()
            elsewhere.rename(server.database)
            for _ in range(8):
                assert [todo["title"] for todo in server.request("GET", "/api/v1/todos").json] == ["x"]
            assert server.stop() == 0

    def test_each_worker_is_pinned_to_its_core(self) -> None:
        cores = os.sched_getaffinity(0)

        def used_by(server: Server) -> list[set[int]]:
            return sorted(map(os.sched_getaffinity, server.workers), key=min)

        with Server(TODO_WORKERS="0") as server:
            one_each = [{core} for core in sorted(cores)]
            wait_until(lambda: used_by(server) == one_each)
            killed = server.workers[0]
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: killed not in server.workers and used_by(server) == one_each)
        for workers, is_pinned in ((len(cores) + 1, "true"), (len(cores), "false")):
            with Server(TODO_WORKERS=str(workers), TODO_PIN_WORKERS=is_pinned) as server:
                wait_until(lambda: len(server.workers) == workers)  # noqa: B023
                for _ in range(8):
                    assert server.request("GET", HEALTH).status == 200
                assert [cores] * workers == used_by(server)

    def test_workers_end_with_the_main_process(self) -> None:
        with Server(TODO_WORKERS="2") as server:
            wait_until(lambda: len(server.workers) == 2)
            workers = server.workers
            server.process.kill()
            server.wait()
            wait_until(lambda: not any(map(runs, workers)))
            server.start()


def runs(pid: int) -> bool:
    """Return True if a process has not ended, even if its parent has not waited for it."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(") ")[2][0] != "Z"
