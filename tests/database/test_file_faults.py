"""Faults of a SQLite file under the running service: each write is rejected before it could be lost."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.clients import TODOS
from todo import create_app
from todo.config import StartupError
from todo.database import errors
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


def test_failed_sync_reports_an_unknown_outcome() -> None:
    failed = sqlite3.OperationalError("disk I/O error")
    failed.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    from todo.database.sqlite import wrap

    unknown = errors.after_commit(wrap(failed, "COMMIT"))
    assert isinstance(unknown, errors.DatabaseUnavailable)
    assert "unknown" in unknown.reason
    assert "same Idempotency-Key" in unknown.reason
    certain = errors.unavailable(errors.after_commit(wrap(full, "COMMIT")))  # type: ignore[arg-type]
    assert certain is not None
    assert "nothing was changed" in certain.reason
