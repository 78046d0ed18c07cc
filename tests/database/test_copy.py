"""`db copy` copies all rows to another database, and back."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert, select

from tests.support.api import TODOS
from todo import create_app, database
from todo.clock import utc_now
from todo.models import db
from todo.models.idempotency_key import IdempotencyKey
from todo.models.imported_uid import Imported
from todo.models.todo import Todo
from todo.models.token import Token

SECONDS = 100  # seconds, for 100,000 todos in one direction on a busy machine

pytestmark = pytest.mark.database


@pytest.fixture
def source(tmp_path: Path) -> Flask:
    return create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/source.sqlite"})


@pytest.fixture
def target_url(database: str, tmp_path: Path) -> str:
    """Return the URL of the server of --database, or of a second file."""
    return f"sqlite:///{tmp_path}/target.sqlite" if database.startswith("sqlite") else database


def copy(app: Flask, url: str) -> tuple[int, str]:
    result = app.test_cli_runner().invoke(args=["db", "copy", url])
    return result.exit_code, result.output


def rows(app: Flask) -> dict[str, list[tuple[Any, ...]]]:
    with app.app_context(), database.read() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in db.metadata.sorted_tables
        }


def fill(app: Flask, todos: int) -> None:
    """Store todos, tokens, an idempotency key and an imported UID, and delete the last todo."""
    now = utc_now()
    columns = [
        {
            "title": f"{number} 'ẞ🎉\u2028",
            "description": None if number % 3 else f" {number}\n",
            "completed": number % 2 == 0,
            "deadline_at": None if number % 5 else now.replace(microsecond=0) + timedelta(hours=number),
            "created_at": now - timedelta(microseconds=number),
            "updated_at": now + timedelta(microseconds=number),
        }
        for number in range(1, todos + 1)
    ]
    tokens = [
        {"id": number, "name": f"client {number}", "secret_hash": f"{number:064}", "last_used_at": now}
        for number in (2, 7)
    ]
    with app.app_context():
        database.write(lambda connection: connection.execute(insert(Todo), columns))
        database.write(lambda connection: connection.execute(insert(Token), tokens))
        database.write(lambda connection: connection.execute(insert(Imported), {"uid": "é", "todo_id": 3}))
    client = app.test_client()
    body = {"title": "with a key"}
    assert client.post(TODOS, json=body, headers={"Idempotency-Key": "a"}).status_code == 201
    assert client.delete(f"{TODOS}/{todos + 1}").status_code == 200
    with app.app_context(), database.read() as connection:
        assert connection.execute(select(IdempotencyKey)).all()


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_copy_to_a_database_and_back_keeps_every_row(
    source: Flask,
    target_url: str,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    capsys: pytest.CaptureFixture[str],
) -> None:
    is_soak = pytestconfig.getoption("--hypothesis-profile") == "soak"
    todos = 100_000 if is_soak else 2_500
    fill(source, todos)
    before = rows(source)
    times = []
    apps = [source]
    for url in (target_url, f"sqlite:///{tmp_path}/back.sqlite"):
        began = time.monotonic()
        status, output = copy(apps[-1], url)
        times.append(time.monotonic() - began)
        assert status == 0, output
        assert f"todos: {todos} rows" in output
        apps.append(create_app({"SQLALCHEMY_DATABASE_URI": url}))
        assert rows(apps[-1]) == before
    for app in apps:
        # The last todo was deleted, and its id is not reused.
        assert app.test_client().post(TODOS, json={"title": "x"}).get_json()["id"] == todos + 2
        result = app.test_cli_runner().invoke(args=["token", "create", "new"])
        assert result.exit_code == 0, result.output
        app.extensions["todo.database"].close()
    if is_soak:
        assert max(times) < SECONDS
        kind = target_url.partition(":")[0]
        with capsys.disabled():
            print(f"\n{todos} todos to {kind} in {times[0]:.0f} s, and back in {times[1]:.0f} s")  # noqa: T201


def test_copy_to_a_database_with_rows_is_refused(source: Flask, target_url: str) -> None:
    target = create_app({"SQLALCHEMY_DATABASE_URI": target_url})
    assert target.test_client().post(TODOS, json={"title": "mine"}).status_code == 201
    fill(source, 10)
    before = rows(target)
    status, output = copy(source, target_url)
    assert status == 1
    assert "todos at URL has rows" in output
    assert rows(target) == before
    target.extensions["todo.database"].close()


def test_copy_with_an_invalid_row_copies_nothing(source: Flask, target_url: str) -> None:
    fill(source, 1_500)
    with source.app_context():
        # The first release had no constraints.
        database.write(
            lambda connection: [
                connection.exec_driver_sql(statement)
                for statement in (
                    "PRAGMA ignore_check_constraints = ON",
                    "UPDATE todos SET title = ' ' WHERE id = 1400",
                    "PRAGMA ignore_check_constraints = OFF",
                )
            ]
        )
    status, output = copy(source, target_url)
    assert status == 1
    assert "Nothing was copied" in output
    target = create_app({"SQLALCHEMY_DATABASE_URI": target_url})
    assert not any(rows(target).values())
    target.extensions["todo.database"].close()
