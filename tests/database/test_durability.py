"""Todos survive faults of the disk, the file and the process. `make soak` repeats more of them."""

import os
import random
import re
import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest

from tests.support.clients import TODOS, Todos, at_once, change_at_random, create_until
from tests.support.file_database import FileDatabaseTest
from tests.support.forks import FORKS
from tests.support.server import PATIENT, Answer, Server, wait_until
from tests.support.sizes import size

pytestmark = [pytest.mark.soak, pytest.mark.server]

SECONDS = size(0.3, 30.0)
ROUNDS = size(1, 20)
CLIENTS = 4
BATCH = {"operations": [{"op": "create", "todo": {"title": "x" * 80, "description": "x" * 120}}] * 1000}


def fill(path: Path) -> None:
    """Fill the disk."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 512, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)


class TestCauses(FileDatabaseTest):
    """During the fault, 503 and no partial write. After the fault, normal service."""

    def setup_method(self) -> None:
        super().setup_method()
        self.begin()

    def begin(self) -> None:
        """Start an app with one todo, before the service has opened a connection for a request."""
        self.start(BUSY_TIMEOUT=10)
        with closing(self.shell()) as shell:
            shell.execute("INSERT INTO todos (title) VALUES ('first')")

    def check(self, detail: str, *, reads: bool) -> None:
        """Check that every write is rejected with `detail`, and that reads succeed if `reads` is true."""
        writes: list[tuple[str, str, object]] = [
            ("POST", TODOS, {"title": "second"}),
            ("PUT", f"{TODOS}/1", {"title": "changed"}),
            ("DELETE", f"{TODOS}/1", None),
            ("POST", f"{TODOS}/batch", BATCH),
        ]
        for method, path, body in [*writes, ("GET", TODOS, None), ("GET", f"{TODOS}/1", None)]:
            answer = self.client.open(path, method=method, json=body)
            if method == "GET" and reads:
                assert answer.status_code == 200, answer.json
                continue
            assert answer.status_code == 503, answer.json
            assert answer.content_type == "application/problem+json"
            assert re.search(detail, answer.get_json()["detail"])
            assert int(answer.headers["Retry-After"]) > 0
        assert self.client.get("/api/v1/health").status_code == 200

    def check_service(self) -> None:
        """Check that the service responds normally, and that no rejected write was stored."""
        assert self.titles() == ["first"]
        assert self.client.post(TODOS, json={"title": "second"}).status_code == 201
        assert self.titles() == ["first", "second"]
        assert self.shell().execute("PRAGMA integrity_check").fetchone() == ("ok",)

    def test_write_lock_of_another_process_gives_503_then_recovers(self) -> None:
        shell = self.shell()
        shell.execute("BEGIN IMMEDIATE")
        self.start(BUSY_TIMEOUT=10)
        self.check("locked", reads=True)
        shell.execute("ROLLBACK")
        self.check_service()

    def test_exclusive_lock_gives_503_then_recovers(self) -> None:
        shell = self.shell()
        shell.execute("PRAGMA locking_mode = EXCLUSIVE")
        shell.execute("BEGIN EXCLUSIVE")
        self.check("locked", reads=False)
        shell.close()
        self.check_service()

    def test_reader_without_wal_gives_503_then_recovers(self) -> None:
        """The commit fails, and a later commit must not include the rejected write."""
        shell = self.shell()
        shell.execute("PRAGMA journal_mode = DELETE")
        shell.execute("BEGIN")
        shell.execute("SELECT * FROM todos").fetchall()
        self.check("locked", reads=True)
        shell.execute("ROLLBACK")
        self.check_service()

    def test_missing_file_gives_503_then_recovers(self) -> None:
        away = self.path.rename(self.folder / "away")
        self.check("file is missing", reads=False)
        assert not self.path.exists()
        away.rename(self.path)
        self.check_service()

    def test_file_replaced_by_a_copy_is_served(self) -> None:
        with closing(sqlite3.connect(self.folder / "copy")) as copy:
            self.shell().backup(copy)
        for title in ("lost", "too"):
            self.client.post(TODOS, json={"title": title})
        self.path.unlink()
        self.check("file is missing", reads=False)
        shutil.copy(self.folder / "copy", self.path)
        self.check("Remove db.sqlite-wal and db.sqlite-shm", reads=False)
        for log in ("db.sqlite-wal", "db.sqlite-shm"):
            (self.folder / log).unlink()
        self.check_service()
        assert self.shell().execute("PRAGMA journal_mode").fetchone() == ("wal",)

    def test_read_only_file_gives_503_then_recovers(self) -> None:
        self.start(SQLALCHEMY_DATABASE_URI=f"sqlite:///file:{self.path}?mode=ro&uri=true")
        self.check("read-only", reads=True)
        self.start()
        self.check_service()

    def test_read_only_disk_gives_503_then_recovers(self) -> None:
        with self.on_a_small_disk() as disk:
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            self.check("read-only|cannot be opened", reads=False)
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
            self.check_service()

    def test_full_disk_gives_503_then_recovers(self) -> None:
        with self.on_a_small_disk() as disk:
            assert self.titles() == ["first"]
            fill(disk / "filler")
            self.check("disk is full", reads=True)
            (disk / "filler").unlink()
            self.check_service()

    def test_disk_without_room_makes_readyz_503_then_recovers(self) -> None:
        """A small write would still succeed."""
        with self.on_a_small_disk() as disk:
            assert self.client.get("/readyz").status_code == 200
            filler = disk / "filler"
            fill(filler)
            for free in (0, 4096, 65536):
                os.truncate(filler, filler.stat().st_size - free)
                response = self.client.get("/readyz")
                assert response.status_code == 503, f"{free} bytes are free"
                assert "Free some space" in response.get_json()["detail"]
                assert self.client.get("/api/v1/health").status_code == 200
            assert self.client.post(TODOS, json={"title": "second"}).status_code == 201
            filler.unlink()
            assert self.client.get("/readyz").status_code == 200

    @contextmanager
    def on_a_small_disk(self) -> Iterator[Path]:
        """Mount a small file system and start an app on it. Raises SkipTest if this user may not mount."""
        disk = self.folder / "disk"
        disk.mkdir()
        try:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True, capture_output=True
            )
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("only root may mount a disk")
        try:
            self.path = disk / "db.sqlite"
            self.begin()
            yield disk
        finally:
            subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(TODO_WORKERS="2", **PATIENT) as running:
        yield running


class TestWorkers:
    @pytest.fixture(autouse=True)
    def _use_server(self, server: Server) -> None:
        self.server = server
        for todo in self.server.request("GET", TODOS).json:
            self.server.request("DELETE", f"{TODOS}/{todo['id']}")

    @pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits another process")
    def test_file_size_limit_gives_503(self) -> None:
        """A full disk without the right to mount: the processes of a running server may not extend files."""
        server = self.server
        assert server.request("POST", TODOS, {"title": "first"}).status == 201
        wait_until(lambda: server.listening == 2)
        limits = [
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            for pid in server.workers
        ]
        for path, body in ((TODOS, {"title": "second"}), (f"{TODOS}/batch", BATCH)) * 4:
            answer = server.request("POST", path, body)
            assert answer.status == 503, answer.json
            assert int(answer.headers["Retry-After"]) > 0
        answer = server.request("GET", "/readyz")
        assert answer.status == 503
        assert "Free some space" in answer.json["detail"]
        for pid, limit in zip(server.workers, limits, strict=True):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
        assert server.request("POST", TODOS, {"title": "second"}).status == 201
        for _ in range(4):
            assert [todo["title"] for todo in server.request("GET", TODOS).json] == ["first", "second"]

    def test_concurrent_writers_match_the_stored_table(self) -> None:
        server = self.server
        with ProcessPoolExecutor(CLIENTS, mp_context=FORKS) as clients:
            shared = server.request("POST", TODOS, {"title": "shared"}).json["id"]
            running = [
                clients.submit(change_at_random, server.port, seed, shared, SECONDS)
                for seed in range(CLIENTS)
            ]
            results = [client.result() for client in running]
            stored = {todo["id"]: todo for todo in server.request("GET", TODOS).json}
        assert stored.pop(shared) in [last for _, last in results]
        expected: Todos = {}
        for mine, _ in results:
            assert not expected.keys() & mine.keys()
            expected |= mine
        assert len(expected) > CLIENTS
        assert expected == stored


def count_todos(server: Server) -> int:
    return int(server.request("GET", f"{TODOS}?limit=1&total=true").headers["X-Total-Count"])


class TestKill:
    def test_acknowledged_write_survives_a_kill(self) -> None:
        chance = random.Random()
        expected: Todos = {}
        with Server(TODO_WORKERS="2") as server, ThreadPoolExecutor(CLIENTS) as clients:
            for _ in range(ROUNDS):
                stopped = Event()
                before = count_todos(server)
                running = [clients.submit(create_until, stopped, server.port) for _ in range(CLIENTS)]
                # Each client waits for at most one response, so at least as many todos are acknowledged.
                wait_until(lambda: count_todos(server) >= before + 2 * CLIENTS)  # noqa: B023
                time.sleep(chance.random() / 4)
                server.kill()
                stopped.set()
                created = [client.result() for client in running]
                for todos in created:
                    expected |= todos
                server.start()
                stored = {todo["id"]: todo for todo in server.request("GET", TODOS).json}
                assert expected == {todo_id: stored.get(todo_id) for todo_id in expected}
                with closing(sqlite3.connect(server.database)) as shell:
                    assert shell.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert len(expected) > ROUNDS


class TestCrash:
    def test_key_reused_after_a_crash_creates_once(self) -> None:
        # On a busy machine, the kill may come too late.
        assert any(self.crash_before_an_answer() for _ in range(5))

    def crash_before_an_answer(self) -> bool:
        """Kill the server after a commit and check its restart. Return True if no client had a response."""
        # A second worker would read the commit and respond while the first one clears the log.
        with Server(TODO_WORKERS="1") as server, closing(sqlite3.connect(server.database)) as shell:

            def post() -> Answer:
                return server.request("POST", TODOS, {"title": "Once"}, {"Idempotency-Key": "a-key"})

            # After a commit, SQLite clears a long log before it returns. So the test has time to detect the
            # commit and to kill the server.
            shell.execute("PRAGMA wal_autocheckpoint = 0")
            shell.execute("CREATE TABLE ballast (bytes)")
            with shell:
                shell.execute("INSERT INTO ballast VALUES (zeroblob(50000000))")
            with ThreadPoolExecutor(8) as pool:
                sent = [pool.submit(post) for _ in range(8)]
                while shell.execute("SELECT count(*) FROM todos").fetchone() == (0,):
                    assert server.process.is_alive()
                server.kill()
            unanswered = [isinstance(future.exception(), OSError) for future in sent]

            server.environment["TODO_WORKERS"] = "2"
            server.start()
            answers = [future.result() for future in at_once(8, post)]
            for answer in answers:
                assert (answer.status, answer.headers["Idempotency-Replayed"]) == (201, "true")
                assert answers[0].json == answer.json
            assert [answers[0].json] == server.request("GET", TODOS).json
        return all(unanswered)
