"""The rate limit: how clients are distinguished, and where requests are counted."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from flask import Flask

from tests.support.api import TODOS, ApiTest, empty_app, shared_app
from tests.support.cases import label
from tests.support.server import PATIENCE, free_port, wait_until
from todo import create_app
from todo.config import StartupError
from todo.http import rate_limit


class RateLimitTest(ApiTest):
    def assertLimited(self, app: Flask, allowed: int, **request: Any) -> None:
        """Check that `allowed` requests are served, and that the next request is rejected."""
        client = app.test_client()
        for _ in range(allowed):
            assert client.get(TODOS, **request).status_code == 200
        answer = client.get(TODOS, **request)
        assert self.assertProblem(429, answer)["type"] == "/problems/rate-limit"
        assert int(answer.headers["Retry-After"]) in range(1, 3601)


class TestLimit(RateLimitTest):
    def test_rate_limit_is_off_by_default(self) -> None:
        for _ in range(300):
            assert self.client.get("/api/v1/health").status_code == 200

    def test_rate_limit_counts_each_address(self) -> None:
        app = empty_app(RATE_LIMIT="3/hour", PROXIES=1)
        self.assertLimited(app, 3, headers={"X-Forwarded-For": "192.0.2.1"})
        self.assertLimited(app, 3, headers={"X-Forwarded-For": "192.0.2.2"})

    def test_rate_limit_counts_all_routes_except_public_routes(self) -> None:
        app = empty_app(RATE_LIMIT="3/hour")
        client = app.test_client()
        for path in (TODOS, f"{TODOS}/99", "/api/v1/todos.csv"):
            assert client.get(path).status_code in (200, 404)
        assert client.post(TODOS, json={"title": "x"}).status_code == 429
        for path in ("/", "/docs", "/api/v1/health"):
            assert client.get(path).status_code == 200

    def test_rate_limit_ends_with_its_window(self) -> None:
        client = empty_app(RATE_LIMIT="1/second").test_client()
        wait_until(lambda: client.get(TODOS).status_code == 429)
        wait_until(lambda: client.get(TODOS).status_code == 200)

    def test_rate_limit_counts_each_token(self) -> None:
        app = empty_app(RATE_LIMIT="3/hour", REQUIRE_TOKEN=True)
        make = app.test_cli_runner().invoke
        for name in ("phone", "desk"):
            secret = make(args=["token", "create", name]).output.split()[-1]
            self.assertLimited(app, 3, headers={"Authorization": f"Bearer {secret}"})
        assert app.test_client().get(TODOS).status_code == 401

    def test_openapi_document_has_the_429_response(self) -> None:
        for settings, limited in (({}, False), ({"RATE_LIMIT": "9/hour"}, True)):
            document = shared_app(**settings).test_client().get("/api/v1/openapi.json").get_json()
            assert limited == ("429" in document["paths"][TODOS]["get"]["responses"])
            assert "429" not in document["paths"]["/api/v1/health"]["get"]["responses"]

    @pytest.mark.parametrize(
        ("words", "settings"),
        [
            ("RATE_LIMIT is 'many'", {"RATE_LIMIT": "many"}),
            ("RATE_LIMIT_STORAGE", {"RATE_LIMIT": "1/hour", "RATE_LIMIT_STORAGE": "nosuch://host"}),
        ],
        ids=label,
    )
    def test_invalid_rate_limit_is_rejected(self, words: str, settings: Any) -> None:
        with pytest.raises(StartupError, match=f"^{words}"):
            create_app({"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:"} | settings)


@pytest.mark.skipif(not shutil.which("redis-server"), reason="takes the system's package redis-server")
class TestRedis(RateLimitTest):
    def setup_method(self) -> None:
        super().setup_method()
        self.stack.enter_context(patch.object(rate_limit, "STORAGE_TIMEOUT", PATIENCE))
        self.folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.port = free_port()
        self.settings = {
            "RATE_LIMIT": "4/hour",
            "RATE_LIMIT_STORAGE": f"redis://127.0.0.1:{self.port}",
        }
        self.redis = subprocess.Popen(
            [
                "redis-server",
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                self.folder,
            ],
            stdout=subprocess.DEVNULL,
        )
        self.stack.callback(self.redis.wait, PATIENCE)
        self.stack.callback(self.redis.kill)
        wait_until(lambda: b"PONG" in self.ping())

    def ping(self) -> bytes:
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), "ping"], capture_output=True, check=False, timeout=PATIENCE
        )
        return done.stdout

    def test_instances_with_redis_count_together(self) -> None:
        one, other = (empty_app(**self.settings) for _ in range(2))
        for _ in range(2):
            assert one.test_client().get(TODOS).status_code == 200
        self.assertLimited(other, 2)
        self.assertLimited(one, 0)

    def test_unreachable_redis_makes_each_worker_count_alone(self, caplog: pytest.LogCaptureFixture) -> None:
        app = empty_app(**self.settings)
        self.assertLimited(app, 4)
        self.redis.kill()
        self.redis.wait(PATIENCE)
        self.assertLimited(app, 4)
        assert "storage unreachable" in caplog.text
