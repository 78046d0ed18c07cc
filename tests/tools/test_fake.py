"""The command `fake`."""

from flask import Flask
from flask.testing import FlaskClient

TODOS = "/api/v1/todos"


def test_fake_fills_an_empty_database_with_valid_todos(app: Flask, client: FlaskClient) -> None:
    result = app.test_cli_runner().invoke(args=["fake", "1200"])
    assert result.output == "Created 1200 todos.\n"
    todos = client.get(TODOS).get_json()
    assert len(todos) == 1200
    for query in ("completed=true", "completed=false", "overdue=true", "window=7", "q=milk"):
        assert 0 < len(client.get(f"{TODOS}?{query}").get_json()) < 1200, query
    for todo in todos[:50]:
        members = {name: todo[name] for name in ("title", "description", "completed", "deadline_at")}
        assert client.post(TODOS, json=members).status_code == 201


def test_fake_without_add_refuses_a_database_with_todos(app: Flask, client: FlaskClient) -> None:
    client.post(TODOS, json={"title": "Buy milk"})
    refused = app.test_cli_runner().invoke(args=["fake", "3"])
    assert (refused.exit_code, len(client.get(TODOS).get_json())) == (1, 1)
    assert "--add" in refused.output
    assert app.test_cli_runner().invoke(args=["fake", "3", "--add"]).exit_code == 0
    assert len(client.get(TODOS).get_json()) == 4


def test_fake_rejects_an_invalid_count(app: Flask) -> None:
    for count in ("0", "-1", "many"):
        assert app.test_cli_runner().invoke(args=["fake", "--", count]).exit_code == 2
