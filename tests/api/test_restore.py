"""Deleted todos can be listed and restored after a deletion by the API or a shell."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, text, update

from tests.support.api import empty_app
from tests.support.clients import TODOS
from todo import create_app
from todo.clock import utc_now
from todo.database import trash
from todo.models import db
from todo.models.deleted_todo import DeletedTodo
from todo.models.imported_uid import IMPORTS
from todo.models.todo import Todo

pytestmark = pytest.mark.database
DELETED = f"{TODOS}/deleted"
CHARACTERS = st.characters(exclude_categories=("Cc", "Cs"))
MEMBERS = st.fixed_dictionaries(
    {"title": st.text(CHARACTERS, min_size=1, max_size=80).filter(str.strip)},
    optional={
        "description": st.none() | st.text(CHARACTERS | st.sampled_from("\n\t"), max_size=120),
        "completed": st.booleans(),
        "deadline_at": st.none() | st.datetimes().map(lambda time: time.isoformat()),
    },
)


@pytest.fixture
def app() -> Flask:
    return empty_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def create(client: FlaskClient, **members: Any) -> dict[str, Any]:
    response = client.post(TODOS, json={"title": "x"} | members)
    assert response.status_code == 201, response.json
    todo: dict[str, Any] = response.get_json()
    return todo


def delete_by_api(client: FlaskClient, todo_id: int) -> None:
    assert client.delete(f"{TODOS}/{todo_id}").status_code == 200


def delete_in_batch(client: FlaskClient, todo_id: int) -> None:
    operations = [{"op": "delete", "id": todo_id}]
    assert client.post(f"{TODOS}/batch", json={"operations": operations}).status_code == 200


def delete_in_shell(client: FlaskClient, todo_id: int) -> None:
    with client.application.app_context(), db.engine.begin() as shell:
        if shell.dialect.name == "mariadb":
            pytest.skip("MariaDB has no trigger")
        shell.execute(text("DELETE FROM todos WHERE id = :id"), {"id": todo_id})


def give_uid(app: Flask, todo_id: int) -> None:
    """Store a UID for a todo, as an import does."""
    with app.app_context(), db.engine.begin() as shell:
        shell.execute(insert(IMPORTS), {"uid": f"{todo_id}@example", "todo_id": todo_id})


Delete = Callable[[FlaskClient, int], None]


@pytest.mark.parametrize("delete", [delete_by_api, delete_in_batch, delete_in_shell])
def test_restore_after_delete_returns_the_same_todo(delete: Delete) -> None:
    client = empty_app().test_client()

    @given(MEMBERS)
    def check(members: dict[str, Any]) -> None:
        todo = create(client, **members)
        path = f"{TODOS}/{todo['id']}"
        todo = client.put(path, json={"completed": not todo["completed"]}).get_json()
        delete(client, todo["id"])
        assert client.get(path).status_code == 404
        restored = client.post(f"{path}/restore")
        assert (restored.status_code, restored.get_json()) == (200, todo)
        response = client.get(path)
        assert list(response.get_json().items()) == list(todo.items())
        assert response.headers["ETag"] == restored.headers["ETag"]
        assert todo["id"] not in [row["id"] for row in client.get(DELETED).get_json()]

    check()


@pytest.mark.parametrize("delete", [delete_by_api, delete_in_batch, delete_in_shell])
def test_import_after_a_restore_creates_no_duplicate(
    app: Flask, client: FlaskClient, delete: Delete, tmp_path: Path
) -> None:
    file = tmp_path / "todos.json"
    file.write_text('[{"title": "x", "uid": "a@example"}]')

    def count_after_import() -> int:
        assert app.test_cli_runner().invoke(args=["import", str(file)]).exit_code == 0
        return len(client.get(TODOS).get_json())

    assert count_after_import() == 1
    (todo,) = client.get(TODOS).get_json()
    delete(client, todo["id"])
    assert client.post(f"{TODOS}/{todo['id']}/restore").status_code == 200
    assert count_after_import() == 1
    # Without the restore, the import creates the todo again, and the restored todo is another one.
    delete(client, todo["id"])
    assert count_after_import() == 1
    assert client.post(f"{TODOS}/{todo['id']}/restore").status_code == 200
    assert count_after_import() == 2


def test_restore_of_a_todo_that_is_not_deleted_returns_it(client: FlaskClient) -> None:
    todo = create(client)
    response = client.post(f"{TODOS}/{todo['id']}/restore")
    assert (response.status_code, response.get_json()) == (200, todo)


@pytest.mark.parametrize("todo_id", ["1", "0", "-5", "9223372036854775807", "9223372036854775808", "1" * 40])
def test_restore_of_an_unknown_id_is_404(client: FlaskClient, todo_id: str) -> None:
    assert client.post(f"{TODOS}/{todo_id}/restore").status_code == 404


def test_deleted_todos_are_listed_latest_deletion_first(client: FlaskClient) -> None:
    todos = [create(client, title=str(number)) for number in range(3)]
    for number in (1, 0, 2):
        delete_by_api(client, todos[number]["id"])
        delete_by_api(client, todos[number]["id"])  # a second deletion changes nothing
        time.sleep(0.002)  # SQLite stores the time of a deletion in milliseconds
    listed = client.get(DELETED).get_json()
    assert [row["title"] for row in listed] == ["2", "0", "1"]
    for row in listed:
        deleted_at = row.pop("deleted_at")
        assert deleted_at.endswith("Z")
        assert deleted_at >= row["created_at"][:23]
        assert row == todos[int(row["title"])]
    assert [row["title"] for row in client.get(f"{DELETED}?limit=1").get_json()] == ["2"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "cursor=x", "limit=1&limit=1"])
def test_invalid_parameter_of_the_deleted_list_is_400(client: FlaskClient, query: str) -> None:
    assert client.get(f"{DELETED}?{query}").status_code == 400


def test_deleted_todo_is_gone_after_its_retention(app: Flask, client: FlaskClient) -> None:
    todo = create(client)
    delete_by_api(client, todo["id"])
    days = app.config["TRASH_DAYS"]
    for age, is_kept in ((timedelta(days=days, minutes=-1), True), (timedelta(days=days, minutes=1), False)):
        with app.app_context(), db.engine.begin() as shell:
            shell.execute(update(DeletedTodo).values(deleted_at=utc_now() - age))
        assert len(client.get(DELETED).get_json()) == is_kept
    assert client.post(f"{TODOS}/{todo['id']}/restore").status_code == 404


def test_expired_todos_are_purged_in_bounded_steps(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trash, "PURGE_STEP", 2)
    for _ in range(5):
        give_uid(app, todo_id := create(client)["id"])
        delete_by_api(client, todo_id)
    with app.app_context():
        with db.engine.begin() as shell:
            shell.execute(update(DeletedTodo).values(deleted_at=utc_now() - timedelta(days=31)))
        monkeypatch.setattr(trash, "_next_purge", 0)
        left = []
        for _ in range(4):
            trash.purge()
            with db.engine.connect() as shell:
                left.append([len(shell.execute(t.select()).all()) for t in (DeletedTodo.__table__, IMPORTS)])
    assert left == [[3, 3], [1, 1], [0, 0], [0, 0]]


def test_retention_of_0_days_keeps_no_todo() -> None:
    url = os.environ.get("TEST_DATABASE_URL", "sqlite:///:memory:")
    empty_app()
    app = create_app({"SQLALCHEMY_DATABASE_URI": url, "TRASH_DAYS": 0})
    client = app.test_client()
    todo = create(client)
    give_uid(app, todo["id"])
    delete_by_api(client, todo["id"])
    assert client.get(DELETED).get_json() == []
    assert client.post(f"{TODOS}/{todo['id']}/restore").status_code == 404
    with app.app_context(), db.engine.connect() as shell:
        for table in (DeletedTodo.__table__, IMPORTS):
            assert shell.execute(table.select()).all() == []


def test_restore_with_an_idempotency_key_is_replayed(client: FlaskClient) -> None:
    todo = create(client)
    delete_by_api(client, todo["id"])
    path, headers = f"{TODOS}/{todo['id']}/restore", {"Idempotency-Key": "a-key"}
    assert client.post(path, headers=headers).status_code == 200
    delete_by_api(client, todo["id"])
    replayed = client.post(path, headers=headers)
    assert replayed.headers["Idempotency-Replayed"] == "true"
    assert client.get(f"{TODOS}/{todo['id']}").status_code == 404


def test_restored_id_is_not_used_again(client: FlaskClient) -> None:
    todo = create(client)
    delete_by_api(client, todo["id"])
    client.post(f"{TODOS}/{todo['id']}/restore")
    assert create(client)["id"] > todo["id"]


def test_updated_at_never_decreases(app: Flask, client: FlaskClient) -> None:
    """Create a todo that was updated in the future, as after the clock was set back."""
    todo_id = create(client)["id"]
    future = utc_now() + timedelta(hours=1)
    with app.app_context(), db.engine.begin() as shell:
        shell.execute(update(Todo).values(updated_at=future))
    before = client.get(f"{TODOS}/{todo_id}").get_json()["updated_at"]
    changed = client.patch(f"{TODOS}/{todo_id}", json={"title": "by the API"}).get_json()
    assert changed["updated_at"] == before
    assert client.get(f"{TODOS}/{todo_id}").get_json() == changed
    with app.app_context(), db.engine.begin() as shell:
        if shell.dialect.name == "mariadb":
            return
        for assignment in ("title = 'by a shell'", "updated_at = '2020-01-01 00:00:00.000000'"):
            shell.execute(text(f"UPDATE todos SET {assignment}"))
    assert client.get(f"{TODOS}/{todo_id}").get_json()["updated_at"] == before


def test_todo_deleted_by_the_orm_is_listed(app: Flask, client: FlaskClient) -> None:
    create(client)
    with app.app_context():
        if db.engine.dialect.name == "mariadb":
            pytest.skip("MariaDB has no trigger")
        db.session.execute(delete(Todo))
        db.session.commit()
    assert len(client.get(DELETED).get_json()) == 1
