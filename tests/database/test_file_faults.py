"""Faults of a SQLite file under the running service: each write is rejected before it could be lost."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.clients import TODOS
from tests.support.programs import can_trace
from tests.support.server import Answer, Server, wait_until
from todo import create_app
from todo.config import StartupError
from todo.models import db


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite"


def open_app(path: Path) -> Flask:
    return create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}"})


def post(client: FlaskClient, title: str) -> Any:
    return client.post(TODOS, json={"title": title})


def stored(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as shell:
        assert shell.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [title for (title,) in shell.execute("SELECT title FROM todos ORDER BY id")]


@pytest.mark.parametrize("suffixes", [["-wal"], ["-shm"], ["-wal", "-shm"]], ids="+".join)
def test_deleted_log_stops_writes_and_loses_nothing(path: Path, suffixes: list[str]) -> None:
    client = open_app(path).test_client()
    for number in range(3):
        assert post(client, str(number)).status_code == 201
    for suffix in suffixes:
        Path(f"{path}{suffix}").unlink()
    for _ in range(3):
        refused = post(client, "lost")
        assert refused.status_code == 503
        assert "Restart the service" in refused.get_json()["detail"]
        assert "Nothing was changed" in refused.get_json()["detail"]
    # Copy the files without a checkpoint, as after kill -9.
    crashed = path.parent / "crashed"
    crashed.mkdir()
    for file in path.parent.glob("db.sqlite*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, crashed)
    assert stored(crashed / path.name) == ["0", "1", "2"]


def test_log_that_another_program_created_stops_writes(path: Path) -> None:
    client = open_app(path).test_client()
    assert post(client, "first").status_code == 201
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute("PRAGMA user_version = 1")
        assert post(client, "lost").status_code == 503


@pytest.mark.parametrize(
    "statement", ["UPDATE alembic_version SET version_num = '9999'", "DROP TABLE alembic_version"]
)
def test_write_to_a_schema_of_another_release_is_503(path: Path, statement: str) -> None:
    client = open_app(path).test_client()
    assert post(client, "first").status_code == 201
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute(statement)
    for response in (post(client, "second"), client.delete(f"{TODOS}/1"), client.get("/readyz")):
        assert response.status_code == 503
        assert "another release" in response.get_json()["detail"]
    assert stored(path) == ["first"]


@pytest.mark.parametrize("place", [0, 4096, 8192, -2048], ids=["header", "page 2", "page 3", "last page"])
def test_damaged_file_is_reported_in_one_sentence(path: Path, tmp_path: Path, place: int) -> None:
    app = open_app(path)
    client = app.test_client()
    for number in range(50):
        assert post(client, f"{number} {'x' * 70}").status_code == 201
    with app.app_context(), db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    start = place % len(content)
    content[start : start + 1024] = b"\xa5" * 1024
    with path.open("r+b") as file:
        file.write(content)
    assert client.get("/readyz").status_code == 503
    damaged = tmp_path / "damaged" / path.name
    damaged.parent.mkdir()
    shutil.copy(path, damaged)
    with pytest.raises(StartupError) as caught:
        open_app(damaged)
    assert str(damaged) in caught.value.message
    assert "restore a backup" in caught.value.message
    assert "\n" not in caught.value.message


@contextmanager
def injected(pid: int, call: str, error: str) -> Iterator[None]:
    """Let every second `call` of the process and its later threads fail with `error`."""
    command = ("strace", "-f", "-qq", "-p", str(pid), "-o", os.devnull, "-e", f"trace={call}")
    strace = subprocess.Popen([*command, "-e", f"inject={call}:error={error}:when=1+2"])
    try:
        status = Path(f"/proc/{pid}/status")
        wait_until(lambda: "TracerPid:\t0\n" not in status.read_text())
        yield
    finally:
        strace.terminate()
        strace.wait()


@pytest.mark.server
@pytest.mark.skipif(not can_trace(), reason="needs strace and the right to trace")
@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EDQUOT"])
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_failed_commit_says_whether_the_outcome_is_known(call: str, error: str) -> None:
    """`strace` injects the errors into the running service, and the power fails after them."""
    with Server(TODO_WORKERS="1") as server:

        def post(key: str) -> Answer:
            return server.request("POST", TODOS, {"title": key}, {"Idempotency-Key": key})

        assert post("first").status == 201
        (worker,) = server.workers
        with injected(worker, call, error):
            answers = {key: post(key) for key in map(str, range(12))}
        server.kill()
        server.start()
        titles = [todo["title"] for todo in server.request("GET", TODOS).json]
        for key, answer in answers.items():
            if answer.status == 201:
                assert titles.count(key) == 1
                continue
            assert answer.status == 503
            if "nothing was changed" in answer.json["detail"]:
                assert key not in titles
                assert (call, error) == ("pwrite64", "ENOSPC")
            else:
                assert "unknown" in answer.json["detail"]
                assert "same Idempotency-Key" in answer.json["detail"]
        assert {answer.status for answer in answers.values()} >= {503}
        assert {post(key).status for key in answers} == {201}
        titles = [todo["title"] for todo in server.request("GET", TODOS).json]
        assert sorted(titles) == sorted(["first", *answers])
