import logging
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jsonschema_rs
import openapi_spec_validator
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.support.api import SharedAppTest, shared_app
from tests.support.cases import label
from todo import create_app
from todo.http.problem import TYPES
from todo.openapi import OPERATIONS
from todo.views.web import VERSION

TODOS = "/api/v1/todos"
TODO = "/api/v1/todos/{todo_id}"
BATCH = "/api/v1/todos/batch"
NAMES = {"todo_id": "1", "asset": "docs.js", "problem": "validation", "version": VERSION, "file": "page.js"}
BODIES: dict[tuple[str, str], Any] = {
    ("post", TODOS): {"title": "x"},
    ("put", TODO): {"title": "x"},
    ("patch", TODO): {"title": "x"},
    ("post", BATCH): {"operations": [{"op": "update", "id": 1, "todo": {}}]},
}
# A request that causes each status. The database causes 500 and 503.
CAUSES: dict[int, dict[str, Any]] = {
    400: {"query_string": {"unknown": 1}, "headers": {"Host": "evil.example"}},
    404: {"names": dict.fromkeys(("todo_id", "asset", "problem", "version", "file"), "absent")},
    406: {"headers": {"Accept": "text/html"}},
    412: {"headers": {"If-Match": '"other"'}},
    413: {"json": {"title": "x" * 2**20}},
    415: {"data": "{}", "content_type": "text/plain"},
    422: {"headers": {"Idempotency-Key": "taken"}, "json": {"title": "y"}},
    428: {},
    500: {},
    503: {},
}
BATCH_CAUSES: dict[int, dict[str, Any]] = {
    404: {"json": {"operations": [{"op": "update", "id": 2, "todo": {}}]}},
    412: {"json": {"operations": [{"op": "delete", "id": 1, "if_match": '"other"'}]}},
    422: {"headers": {"Idempotency-Key": "taken"}},
}


class Documented(NamedTuple):
    path: str
    method: str
    responses: dict[str, Any]

    def send(self, app: Flask, names: Mapping[str, Any] = NAMES, **request: Any) -> TestResponse:
        """Send the request. Its status is 200 or 201, unless `names` or `request` change it."""
        if (self.method, self.path) in BODIES and "data" not in request:
            request = {"json": BODIES[self.method, self.path]} | request
        return app.test_client().open(self.path.format_map(names), method=self.method.upper(), **request)


def document(app: Flask) -> dict[str, Any]:
    description: dict[str, Any] = app.test_client().get("/api/v1/openapi.json").get_json()
    return description


def documented(app: Flask) -> Iterator[Documented]:
    for path, item in document(app)["paths"].items():
        for method, operation in item.items():
            yield Documented(path, method, operation["responses"])


class TestOpenAPI(SharedAppTest):
    def test_document_is_valid_openapi(self) -> None:
        openapi_spec_validator.validate(document(self.app))

    def test_document_has_every_route_and_no_other(self) -> None:
        routes = {
            (re.sub("<(?:.*?:)?([^:>]+)>", r"{\1}", rule.rule), method.lower())
            for rule in self.app.url_map.iter_rules()
            for method in rule.methods or ()
        }
        assert routes == {(path, method) for path, method, _ in documented(self.app)}
        assert {rule.endpoint for rule in self.app.url_map.iter_rules()} == set(OPERATIONS)

    def test_document_has_every_method_and_no_other(self) -> None:
        self.client.post(TODOS, json={"title": "x"})
        methods: dict[str, set[str]] = {}
        for operation in documented(self.app):
            methods.setdefault(operation.path, set()).add(operation.method.upper())
            assert str(operation.send(self.app).status_code) in operation.responses
        for path, allowed in methods.items():
            for method in {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - allowed:
                response = Documented(path, method, {}).send(self.app)
                assert response.status_code == 405
                assert allowed == set(response.headers["Allow"].split(", "))

    def test_every_operation_has_a_summary(self) -> None:
        for item in document(self.app)["paths"].values():
            for operation in item.values():
                assert re.search(r"^[A-Z].*\.$", operation["summary"])

    def test_document_requires_if_match_if_the_setting_does(self) -> None:
        for required in (False, True):
            for item in document(shared_app(REQUIRE_IF_MATCH=required))["paths"].values():
                for operation in item.values():
                    headers = {
                        header["name"]: header["required"]
                        for header in operation["parameters"]
                        if header["in"] == "header"
                    }
                    assert required == headers.get("If-Match", required)
                    if "If-Match" in headers:
                        assert required == ("428" in operation["responses"])

    @pytest.mark.parametrize(
        ("number", "status"),
        [
            ("1.0", 200),
            ("1e0", 200),
            ("10E-1", 200),
            ("1.0000000000000000000000000001", 400),
            ("9223372036854775807.0", 200),
            ("9223372036854775808.0", 200),
            ("1e300", 200),
            ("1e400", 400),
            ("1e-99999999999999999999", 400),
            ("true", 400),
        ],
    )
    def test_document_accepts_integers_in_any_notation(self, number: str, status: int) -> None:
        """In JSON Schema, 1.0 is an integer."""
        self.client.post(TODOS, json={"title": "x"})
        body = f'{{"operations": [{{"op": "delete", "id": {number}}}]}}'
        response = self.client.post(BATCH, data=body, content_type="application/json")
        assert status == response.status_code


class TestProblems(SharedAppTest):
    """The body of every error of every operation has the documented shape."""

    def setup_method(self) -> None:
        super().setup_method()
        self.folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.components = document(self.app)["components"]

    def service(self, status: int) -> Flask:
        """Return a service with one todo, in a state that causes `status`.

        The requests do not change the todo.
        """
        database = self.folder / f"{status}.sqlite"
        place = database if status >= 500 else ":memory:"
        app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{place}", "REQUIRE_IF_MATCH": status == 428})
        first = app.test_client().post(TODOS, json={"title": "x"}, headers={"Idempotency-Key": "taken"})
        assert first.status_code == 201
        if status == 503:
            database.unlink()
        elif status == 500:
            with closing(sqlite3.connect(database)) as connection:
                connection.executescript("DROP TABLE todos; DROP TABLE deleted_todos")
        return app

    def test_every_documented_error_can_be_caused(self) -> None:
        required = shared_app(REQUIRE_IF_MATCH=True)
        services: dict[int, Flask] = {}
        logging.disable()  # the failures are intended
        self.stack.callback(logging.disable, logging.NOTSET)
        for operation in documented(required):
            for status in map(int, operation.responses):
                # Operations without a database cannot fail. 409 requires concurrent transactions, which
                # SQLite does not have, and 408 a slow client.
                if (
                    status < 400
                    or status in {408, 409}
                    or (status == 500 and "503" not in operation.responses)
                ):
                    continue
                if status not in services:
                    services[status] = self.service(status)
                cause = BATCH_CAUSES.get(status) if operation.path == BATCH else None
                response = operation.send(services[status], **(cause or CAUSES[status]))
                self.check(status, response, operation.responses[str(status)])
        # Other tests cover tokens, methods, slow clients and the rate limit, and the tests of servers cover
        # 409.
        assert set(TYPES) - {401, 403, 405, 408, 409, 429} == set(services)

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/absent", 404),
            ("GET", "/api/v1/todos/", 404),
            ("DELETE", TODOS, 405),
        ],
        ids=label,
    )
    def test_undocumented_errors_do_not_happen(self, method: str, path: Any, status: int) -> None:
        response = self.client.open(path, method=method)
        self.check(status, response, {"$ref": f"#/components/responses/{TYPES[status].name}"})

    def check(self, status: int, response: TestResponse, described: dict[str, Any]) -> None:
        """Compare `response` with its description in the document."""
        assert (status, "application/problem+json") == (response.status_code, response.content_type)
        if "$ref" in described:
            described = self.components["responses"][described["$ref"].rpartition("/")[2]]
        for name, header in described["headers"].items():
            if header["required"]:
                assert name in response.headers
        if response.request.method == "HEAD":
            assert "content" not in described
            assert response.data == b""
            return
        problem = response.get_json()
        schema = described["content"]["application/problem+json"]["schema"]
        jsonschema_rs.validate(schema | {"components": self.components}, problem)
        assert list(problem) == ["type", "title", "status", "detail", "error", "errors", "request_id"]
        assert problem["detail"] == problem["error"]
        assert response.headers["X-Request-ID"] == problem["request_id"]
