"""Errors that no view raises, and the headers of all responses."""

import io
import re
from typing import Any, NoReturn

import pytest
from flask.logging import default_handler

from tests.support.api import JSON, TODOS, ApiTest, empty_app
from tests.support.cases import label

SECRET = "the password is swordfish"


class TestFrameworkErrors(ApiTest):
    @pytest.mark.parametrize(
        "path",
        [
            *("/nowhere", "/api", "/api/v1", "/api/v1/", "/api/v2/todos", "/static/nothing.css"),
            *("/api/v1/todos/", "/api/v1//todos", "/api/v1/health/", "/API/v1/todos"),
            *("/%00", "/%FF", "/static/%00", "/static/../todo/config.py", "/" + "x" * 10_000),
        ],
        ids=label,
    )
    def test_unknown_route_is_404(self, path: Any) -> None:
        assert self.assertProblem(404, self.client.get(path))["type"] == "/problems/not-found"

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("DELETE", TODOS, {"GET", "HEAD", "OPTIONS", "POST"}),
            ("PUT", TODOS, {"GET", "HEAD", "OPTIONS", "POST"}),
            ("POST", f"{TODOS}/1", {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}),
            ("POST", "/api/v1/health", {"GET", "HEAD", "OPTIONS"}),
            ("BREW", TODOS, {"GET", "HEAD", "OPTIONS", "POST"}),
            ("TRACE", TODOS, {"GET", "HEAD", "OPTIONS", "POST"}),
        ],
        ids=label,
    )
    def test_wrong_method_is_405_with_allow(self, method: str, path: Any, allowed: Any) -> None:
        response = self.client.open(path, method=method, json={"title": "x"})
        problem = self.assertProblem(405, response)
        assert problem["type"] == "/problems/method-not-allowed"
        named = set(response.headers["Allow"].split(", "))
        assert allowed <= named
        assert method not in named
        for name in allowed:
            assert name in problem["detail"]

    def test_delete_on_the_collection_deletes_nothing(self) -> None:
        todo = self.create()
        for path in (TODOS, f"{TODOS}/", f"{TODOS}?completed=true"):
            assert self.client.delete(path).status_code in (400, 404, 405)
        assert [todo] == self.read_all()

    def test_error_response_to_head_has_no_body(self) -> None:
        for path, status in (("/nowhere", 404), (f"{TODOS}/1", 404), (f"{TODOS}?colour=red", 400)):
            response = self.client.head(path)
            assert (status, b"") == (response.status_code, response.data)
            assert response.content_type == "application/problem+json"

    def test_every_framework_error_is_a_problem(self) -> None:
        """An HTTP error that this service never raises is a problem too."""

        app = empty_app()
        client = app.test_client()

        @app.get("/abort/<int:status>")
        def abort(status: int) -> NoReturn:
            app.aborter(status)

        for status in sorted(set(app.aborter.mapping) - {404, 405}):
            response = client.get(f"/abort/{status}")
            assert (status, "application/problem+json") == (response.status_code, response.content_type)
            problem = response.get_json()
            assert (status, problem["detail"]) == (problem["status"], problem["error"])


class TestInternalError(ApiTest):
    def setup_method(self) -> None:
        self.app = empty_app(TESTING=False)
        self.client = self.app.test_client()

        @self.app.route("/fail", methods=["GET", "POST"])
        def fail() -> NoReturn:
            raise RuntimeError(SECRET)

        # Flask adds its log handler only if the test runner has none.
        self.app.logger.addHandler(default_handler)
        self.stack.callback(self.app.logger.removeHandler, default_handler)

    def test_internal_error_reveals_nothing(self) -> None:
        log = io.StringIO()
        for method in ("GET", "POST"):
            response = self.client.open("/fail", method=method, errors_stream=log)
            problem = self.assertProblem(500, response)
            assert (problem["type"], problem["errors"]) == ("/problems/internal-error", [])
            for inside in ("swordfish", "RuntimeError", "Traceback", ".py", "tests", "/fail"):
                assert inside not in response.text + str(response.headers)

    def test_internal_error_is_logged_with_the_request_id(self) -> None:
        for headers in ({}, {"X-Request-ID": "abc-123"}):
            log = io.StringIO()
            response = self.client.get("/fail", headers=headers, errors_stream=log)
            request_id = self.assertProblem(500, response)["request_id"]
            first_line, traceback = log.getvalue().split("\n", 1)
            assert re.search(rf" ERROR {re.escape(request_id)} .*/fail", first_line)
            assert "Traceback (most recent call last)" in traceback
            assert f"RuntimeError: {SECRET}" in traceback

    def test_path_cannot_forge_a_log_line(self) -> None:
        @self.app.route("/fail/<path:msg>")
        def fail_with(msg: str) -> NoReturn:
            raise RuntimeError(msg)

        log = io.StringIO()
        self.client.get("/fail/%0A%0DERROR%201b", errors_stream=log)
        assert re.search(r"^[^\n\r]*/fail/\\n\\rERROR 1b[^\n\r]*\nTraceback", log.getvalue())

    def test_service_continues_after_an_internal_error(self) -> None:
        self.client.get("/fail", errors_stream=io.StringIO())
        assert self.client.get(TODOS).status_code == 200


class TestHost(ApiTest):
    @pytest.mark.parametrize("host", ["a..b", "x" * 300], ids=label)
    def test_malformed_host_is_a_problem(self, host: Any) -> None:
        response = self.client.get(TODOS, headers={"Host": host})
        assert "Host" in self.assertProblem(400, response)["detail"]


class TestRequestId(ApiTest):
    def test_every_response_has_its_own_request_id(self) -> None:
        answers = [
            self.client.open(path, method=method, data=body, content_type=JSON)
            for method, path, body in (
                ("GET", "/api/v1/health", b""),
                ("GET", TODOS, b""),
                ("POST", TODOS, b'{"title": "x"}'),
                ("POST", TODOS, b"{"),
                ("HEAD", TODOS, b""),
                ("OPTIONS", TODOS, b""),
                ("DELETE", TODOS, b""),
                ("GET", "/nowhere", b""),
            )
        ]
        ids = [response.headers["X-Request-ID"] for response in answers]
        assert len(answers) == len(set(ids))
        for request_id in ids:
            assert re.search(r"^[0-9a-f]{16,}$", request_id)

    @pytest.mark.parametrize(
        "sent", ["a", "abc-123", "7", "4bf92f35-77b3-4da6-a3ce-929d0e0e4736", "A.b_c:d", "x" * 128], ids=label
    )
    @pytest.mark.parametrize("path", [TODOS, "/nowhere"], ids=label)
    def test_valid_request_id_is_reused(self, sent: Any, path: Any) -> None:
        response = self.client.get(path, headers={"X-Request-ID": sent})
        assert [sent] == response.headers.getlist("X-Request-ID")

    @pytest.mark.parametrize(
        "sent",
        [
            "",
            " ",
            "a b",
            "a\tb",
            "a,b",
            "<b>",
            "a;b",
            '"a"',
            "\xe9",
            "%0d",
            "x" * 129,
            "x" * 10_000,
        ],
        ids=label,
    )
    @pytest.mark.parametrize("path", [TODOS, "/nowhere"], ids=label)
    def test_invalid_request_id_is_replaced(self, sent: Any, path: Any) -> None:
        response = self.client.get(path, headers={"X-Request-ID": sent})
        assert re.search(r"^[0-9a-f]{16,}$", response.headers["X-Request-ID"])
