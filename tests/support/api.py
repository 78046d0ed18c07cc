"""The API in this process: apps on a database in memory, and checks of error responses."""

import os
import re
from functools import lru_cache
from typing import Any, ClassVar

from flask import Flask
from werkzeug.test import TestResponse

from tests.support import database_server
from tests.support.cases import Prepared
from tests.support.server import PATIENCE
from todo import create_app, database

TODOS = "/api/v1/todos"
JSON = "application/json"
MEMBERS_OF_A_PROBLEM = ["type", "title", "status", "detail", "error", "errors", "request_id"]


def empty_app(**settings: Any) -> Flask:
    """Return an app with these settings on an empty database: in memory, or that of TEST_DATABASE_URL."""
    url = os.environ.get("TEST_DATABASE_URL", "sqlite:///:memory:")
    if "TEST_DATABASE_URL" in os.environ:
        database_server.empty(url)
    patient = {"CONNECT_TIMEOUT": PATIENCE * 1000}
    return create_app({"SQLALCHEMY_DATABASE_URI": url, "TESTING": True, **patient, **settings})


def shared_app(**settings: Any) -> Flask:
    """Return a shared app with these settings. Tests must not change the app itself."""
    app = _keep(**settings)
    with app.app_context():
        database.write(database_server.empty_tables)
    return app


@lru_cache(16)
def _keep(**settings: Any) -> Flask:
    return empty_app(**settings)


class SharedAppTest(Prepared):
    """A test that does not change its app. SETTINGS are the settings of the app."""

    SETTINGS: ClassVar[dict[str, Any]] = {}

    def setup_method(self) -> None:
        self.app = shared_app(**self.SETTINGS)
        self.client = self.app.test_client()


class ApiTest(SharedAppTest):
    """A test that creates todos and checks problems."""

    def create(self, **members: Any) -> dict[str, Any]:
        response = self.client.post(TODOS, json={"title": "Buy milk", **members})
        assert response.status_code == 201, response.text
        todo: dict[str, Any] = response.get_json()
        return todo

    def read_all(self, query: str = "") -> list[dict[str, Any]]:
        response = self.client.get(f"{TODOS}?{query}")
        assert response.status_code == 200, response.text
        todos: list[dict[str, Any]] = response.get_json()
        return todos

    def assertProblem(self, status: int, response: TestResponse) -> dict[str, Any]:
        """Check that an error response conforms to RFC 9457 and the contract, and return its body."""
        assert status == response.status_code, response.text
        assert response.content_type == "application/problem+json"
        problem: dict[str, Any] = response.get_json()
        assert list(problem) == MEMBERS_OF_A_PROBLEM
        assert re.search(r"^/problems/[a-z]+(-[a-z]+)*$", problem["type"])
        assert status == problem["status"]
        assert problem["title"]
        assert problem["detail"]
        assert problem["detail"] == problem["error"]
        assert response.headers["X-Request-ID"] == problem["request_id"]
        for fault in problem["errors"]:
            assert fault["detail"]
            assert set(fault) - {"detail"} in ({"pointer"}, {"parameter"}, set())
        return problem

    def assertFaults(self, kind: str, expected: list[str], response: TestResponse) -> None:
        """Check that the response is a 400 whose `errors` name exactly `expected` in the member `kind`."""
        problem = self.assertProblem(400, response)
        assert problem["type"] == "/problems/validation"
        assert sorted(expected) == sorted(fault[kind] for fault in problem["errors"])
