"""The limit of requests: whose they are, and where they are counted."""

import logging
import shutil
import subprocess
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flask import Flask

from tests.support.api import TODOS, ApiTest, empty_app, shared_app
from tests.support.server import PATIENCE, free_port, wait_until
from todo import create_app
from todo.config import StartupError


class RateLimitTest(ApiTest):
    def assertLimited(self, app: Flask, allowed: int, **request: Any) -> None:
        """Check that `allowed` requests are served, and that the next one is not."""
        client = app.test_client()
        for _ in range(allowed):
            self.assertEqual(200, client.get(TODOS, **request).status_code)
        answer = client.get(TODOS, **request)
        self.assertEqual("/problems/rate-limit", self.assertProblem(429, answer)["type"])
        self.assertIn(int(answer.headers["Retry-After"]), range(1, 3601))


class TestLimit(RateLimitTest):
    def test_rate_limit_is_off_by_default(self) -> None:
        for _ in range(300):
            self.assertEqual(200, self.client.get("/api/v1/health").status_code)

    def test_rate_limit_counts_each_address(self) -> None:
        app = empty_app(RATE_LIMIT="3/hour", PROXIES=1)
        self.assertLimited(app, 3, headers={"X-Forwarded-For": "192.0.2.1"})
        self.assertLimited(app, 3, headers={"X-Forwarded-For": "192.0.2.2"})

    def test_rate_limit_counts_all_routes_except_public_ones(self) -> None:
        app = empty_app(RATE_LIMIT="3/hour")
        client = app.test_client()
        for path in (TODOS, f"{TODOS}/99", "/api/v1/todos.csv"):
            self.assertIn(client.get(path).status_code, (200, 404))
        self.assertEqual(429, client.post(TODOS, json={"title": "x"}).status_code)
        for path in ("/", "/docs", "/api/v1/health"):
            self.assertEqual(200, client.get(path).status_code)

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
        self.assertEqual(401, app.test_client().get(TODOS).status_code)

    def test_openapi_document_has_the_429_response(self) -> None:
        for settings, limited in (({}, False), ({"RATE_LIMIT": "9/hour"}, True)):
            document = shared_app(**settings).test_client().get("/api/v1/openapi.json").get_json()
            self.assertEqual(limited, "429" in document["paths"][TODOS]["get"]["responses"])
            self.assertNotIn("429", document["paths"]["/api/v1/health"]["get"]["responses"])

    def test_invalid_rate_limit_is_rejected(self) -> None:
        for words, settings in (
            ("RATE_LIMIT is 'many'", {"RATE_LIMIT": "many"}),
            ("RATE_LIMIT_STORAGE", {"RATE_LIMIT": "1/hour", "RATE_LIMIT_STORAGE": "nosuch://host"}),
        ):
            with self.subTest(words), self.assertRaisesRegex(StartupError, f"^{words}"):
                create_app({"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:"} | settings)


@unittest.skipUnless(shutil.which("redis-server"), "takes the system's package redis-server")
class TestRedis(RateLimitTest):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(TemporaryDirectory()))
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
        self.addCleanup(self.redis.wait, PATIENCE)
        self.addCleanup(self.redis.kill)
        wait_until(lambda: b"PONG" in self.ping())

    def ping(self) -> bytes:
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), "ping"], capture_output=True, check=False, timeout=PATIENCE
        )
        return done.stdout

    def test_instances_with_redis_count_together(self) -> None:
        one, other = (empty_app(**self.settings) for _ in range(2))
        for _ in range(2):
            self.assertEqual(200, one.test_client().get(TODOS).status_code)
        self.assertLimited(other, 2)
        self.assertLimited(one, 0)

    def test_unreachable_redis_makes_each_worker_count_alone(self) -> None:
        app = empty_app(**self.settings)
        self.assertLimited(app, 4)
        self.redis.kill()
        self.redis.wait(PATIENCE)
        with self.assertLogs("flask-limiter", logging.WARNING) as logs:
            self.assertLimited(app, 4)
        self.assertIn("storage unreachable", logs.output[0])
