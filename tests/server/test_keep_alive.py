from http.client import HTTPConnection
from io import BytesIO
from typing import Any

import pytest

from tests.support.api import SharedAppTest
from tests.support.cases import Prepared, label
from tests.support.server import PATIENCE, Server
from todo.http.body import MAX_BYTES
from todo.http.keep_alive import MAX_RECEIVED

pytestmark = pytest.mark.server

JSON = "application/json"
# Responses to requests whose body is unread or only partly read: path, media type, size, status.
EARLY_ANSWERS = (
    ("/api/v1/nowhere", JSON, MAX_BYTES, 404),
    ("/api/v1/health", JSON, MAX_BYTES, 405),
    ("/api/v1/todos?colour=red", JSON, MAX_BYTES, 400),
    ("/api/v1/todos", "text/plain", MAX_BYTES, 415),
    ("/api/v1/todos", JSON, MAX_BYTES + 1, 413),
    ("/api/v1/todos", JSON, MAX_RECEIVED, 413),
)


class TestKeepAlive(Prepared):
    @pytest.fixture(autouse=True)
    def _use_server(self, server: Server) -> None:
        self.server = server

    @pytest.mark.parametrize(("path", "media_type", "size", "status"), EARLY_ANSWERS, ids=label)
    def test_connection_is_reused_after_an_unread_body(
        self, path: Any, media_type: Any, size: Any, status: Any
    ) -> None:
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)
        self.stack.callback(connection.close)
        connection.connect()
        kept = connection.sock
        connection.request("POST", path, b" " * size, {"Content-Type": media_type})
        response = connection.getresponse()
        response.read()
        assert status == response.status
        connection.request("GET", "/api/v1/health")
        assert connection.getresponse().status == 200
        assert kept is connection.sock


class TestTooLarge(SharedAppTest):
    def test_incomplete_body_closes_the_connection(self) -> None:
        announced = self.client.post("/api/v1/todos", data=b" " * (MAX_RECEIVED + 1), content_type=JSON)
        unannounced = self.client.post(
            "/api/v1/todos",
            input_stream=BytesIO(b'{"title": "x"}' + b" " * MAX_RECEIVED),
            content_type=JSON,
            headers={"Transfer-Encoding": "chunked"},
            environ_overrides={"wsgi.input_terminated": True},
        )
        for response in (announced, unannounced):
            assert response.status_code == 413
            assert response.headers["Connection"] == "close"
            assert response.headers["X-Request-ID"] == response.get_json()["request_id"]
