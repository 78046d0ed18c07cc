"""The log: one line per request with any content, and the traceback of failures."""

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any, ClassVar, NoReturn

import pytest
from flask.logging import default_handler

from tests.support.api import TODOS, empty_app
from tests.support.cases import Prepared
from tests.support.server import PATIENCE, Server
from todo.config import StartupError
from todo.http.log import MAX_METHOD

pytestmark = pytest.mark.server

# Requests with texts that the log must omit or escape.
PATHS = (
    ("GET", "/api/v1/todos?q=swordfish", "/api/v1/todos", 200),
    ("GET", "/api/v1/todos?%71=swordfish&limit=1", "/api/v1/todos", 200),
    ("GET", "/api/v1/todos.ics?token=swordfish", "/api/v1/todos.ics", 200),
    ("GET", "/%0A%0DERROR%1B%22%5C%20x%7F", "/%0A%0DERROR%1B%22%5C%20x%7F", 404),
    ("GET", "/%FF%E2%80%A8%C2%85", "/%EF%BF%BD%E2%80%A8%C2%85", 404),
    ("GET", "/" + "x" * 5000, ("/" + "x" * 5000)[:2000], 404),
    ("BREW", "/api/v1/todos", "/api/v1/todos", 405),
    ("B" * 3000, "/api/v1/todos", "/api/v1/todos", 405),
)


def told(form: str) -> tuple[list[str], str]:
    """Send the requests to a server with this log format.

    Return the lines of these requests, and the whole log.
    """
    with Server(TODO_WORKERS="2", TODO_LOG_FORMAT=form) as server:
        send(server)
        return [line for line in server.output.splitlines() if "id-" in line], server.output


def send(server: Server) -> None:
    for number, (method, path, _, status) in enumerate(PATHS):
        connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        connection.request(method, path, headers={"X-Request-ID": f"id-{number}"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == status, (path, answer.status)
    server.request("POST", TODOS, {"title": "swordfish"}, headers={"X-Request-ID": "id-post"})
    server.stop()


class TestRequests:
    told: ClassVar[dict[str, tuple[list[str], str]]]

    @classmethod
    def setup_class(cls) -> None:
        forms = ("json", "text")
        with ThreadPoolExecutor() as threads:
            cls.told = dict(zip(forms, threads.map(told, forms), strict=True))

    def test_json_log_has_one_object_per_request(self) -> None:
        lines, output = self.told["json"]
        assert "swordfish" not in output
        told: dict[str, dict[str, Any]] = {line["request_id"]: line for line in map(json.loads, lines)}
        assert len(PATHS) + 1 == len(told)
        for number, (method, _, path, status) in enumerate(PATHS):
            line = told[f"id-{number}"]
            assert list(line) == [
                "time",
                "remote_address",
                "method",
                "path",
                "status",
                "duration",
                "request_id",
            ]
            assert (method[:MAX_METHOD], path, status) == (line["method"], line["path"], line["status"])
            assert line["remote_address"] == "127.0.0.1"
            assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", line["time"])
            assert line["duration"] > 0

    def test_text_log_has_one_line_per_request(self) -> None:
        told, output = self.told["text"]
        assert "swordfish" not in output
        assert len(PATHS) + 1 == len(told)
        for number, (method, _, path, status) in enumerate(PATHS):
            (line,) = (line for line in told if line.endswith(f" id-{number}"))
            time, *fields, duration, _ = line.split(" ")
            assert ["127.0.0.1", method[:MAX_METHOD], path, str(status)] == fields
            assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", time)
            assert re.search(r"^\d+\.\d+ms$", duration)


class TestErrors(Prepared):
    def test_error_is_one_json_object_with_the_request_id(self) -> None:
        app = empty_app(TESTING=False, LOG_FORMAT="json")
        self.stack.callback(empty_app)  # this server has the text format

        @app.get("/fail/<path:msg>")
        def fail(msg: str) -> NoReturn:
            raise RuntimeError(msg)

        app.logger.addHandler(default_handler)
        self.stack.callback(app.logger.removeHandler, default_handler)
        log = io.StringIO()
        app.test_client().get("/fail/%0A%22", headers={"X-Request-ID": "abc"}, errors_stream=log)
        (line,) = log.getvalue().splitlines()
        told = json.loads(line)
        assert list(told) == ["time", "level", "message", "request_id", "traceback"]
        assert (told["level"], told["request_id"]) == ("ERROR", "abc")
        assert "RuntimeError" in told["traceback"]

    def test_unknown_log_format_is_rejected(self) -> None:
        with pytest.raises(StartupError, match=r"^LOG_FORMAT is 'xml'\. .*text, json, off"):
            empty_app(LOG_FORMAT="xml")
