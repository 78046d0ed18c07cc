"""/metrics and /readyz; and what a real Prometheus (the system's package) reads of two workers."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
import unittest
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from tests.support.api import TODOS, ApiTest
from tests.support.server import PATIENCE, Server, free_port
from tests.support.sizes import size
from todo import create_app

pytestmark = [pytest.mark.soak, pytest.mark.server]

SCRAPE_SECONDS = size(0, 60)


def read(text: str) -> dict[str, float]:
    """The samples of an exposition, by their name and labels."""
    return {
        sample.rpartition(" ")[0]: float(sample.rpartition(" ")[2])
        for sample in text.splitlines()
        if sample and not sample.startswith("#")
    }


class TestMetrics(ApiTest):
    def setUp(self) -> None:
        super().setUp()
        self.before = read(self.client.get("/metrics").text)

    def assertCounted(self, **expected: float) -> None:
        now = read(self.client.get("/metrics").text)
        counted = {name: now.get(name, 0) - self.before.get(name, 0) for name in expected}
        self.assertEqual(expected, counted)

    def test_requests_are_counted_by_route_method_and_status(self) -> None:
        todo = self.create()
        for _ in range(3):
            self.client.get(f"{TODOS}/{todo['id']}")
        self.client.get(f"{TODOS}/99")
        self.client.get(TODOS)
        self.client.get("/nowhere")
        self.client.open("/nowhere/else", method="BREW")
        route = f"{TODOS}/<id:todo_id>"
        self.assertCounted(
            **{
                f'http_requests_total{{method="GET",route="{route}",status="200"}}': 3,
                f'http_requests_total{{method="GET",route="{route}",status="404"}}': 1,
                f'http_requests_total{{method="GET",route="{TODOS}",status="200"}}': 1,
                f'http_requests_total{{method="POST",route="{TODOS}",status="201"}}': 1,
                'http_requests_total{method="GET",route="other",status="404"}': 1,
                'http_requests_total{method="other",route="other",status="404"}': 1,
                f'http_request_duration_seconds_count{{method="GET",route="{route}"}}': 4,
                f'http_request_duration_seconds_count{{method="GET",route="{TODOS}"}}': 1,
                f'http_request_duration_seconds_bucket{{le="+Inf",method="GET",route="{route}"}}': 4,
            }
        )

    def test_created_completed_and_deleted_todos_are_counted(self) -> None:
        self.create(completed=True)
        todo = self.create()
        headers = {"Idempotency-Key": "once"}
        for _ in range(2):
            self.client.post(TODOS, json={"title": "x"}, headers=headers)
        self.client.put(f"{TODOS}/{todo['id']}", json={"completed": True})
        self.client.put(f"{TODOS}/99", json={"completed": True})
        self.client.patch(f"{TODOS}/{todo['id']}", json={"completed": False})
        for _ in range(2):
            self.client.delete(f"{TODOS}/{todo['id']}")
        operations = [
            {"op": "create", "todo": {"title": "x", "completed": True}},
            {"op": "create", "todo": {"title": "x"}},
            {"op": "update", "id": 1, "todo": {"completed": True}},
            {"op": "delete", "id": 1},
            {"op": "delete", "id": 99},
        ]
        for _ in range(2):
            batch = {"operations": operations}
            self.client.post(f"{TODOS}/batch", json=batch, headers={"Idempotency-Key": "batch"})
        self.client.post(f"{TODOS}/batch", json={"operations": [*operations, {"op": "delete", "id": "x"}]})
        self.assertCounted(todos_created_total=5, todos_completed_total=4, todos_deleted_total=2)

    @unittest.skipUnless(shutil.which("promtool"), "promtool comes with the system's package prometheus")
    def test_promtool_accepts_the_metrics(self) -> None:
        self.create(completed=True)
        self.client.delete(f"{TODOS}/1")
        answer = self.client.get("/metrics")
        self.assertEqual("text/plain; version=0.0.4; charset=utf-8", answer.content_type)
        assert_no_complaint(self, answer.text)


class TestReadiness(ApiTest):
    def test_ready_service_returns_200(self) -> None:
        answer = self.client.get("/readyz")
        self.assertEqual((200, {"status": "ready"}), (answer.status_code, answer.get_json()))

    def test_service_without_database_is_not_ready(self) -> None:
        folder = self.enterContext(TemporaryDirectory())
        database = Path(folder, "db.sqlite")
        app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{database}", "BUSY_TIMEOUT": 10})
        client = app.test_client()
        self.assertEqual(200, client.get("/readyz").status_code)
        with closing(sqlite3.connect(database, isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            self.assert_not_ready(client.get("/readyz"), "locked")
        self.assertEqual(200, client.get("/readyz").status_code)
        with closing(sqlite3.connect(database, isolation_level=None)) as shell:
            shell.execute("ALTER TABLE todos RENAME TO elsewhere")
            with self.assertLogs(app.logger):
                self.assert_not_ready(client.get("/readyz"), "tables")
            shell.execute("ALTER TABLE elsewhere RENAME TO todos")
        self.assertEqual(200, client.get("/readyz").status_code)
        database.rename(database.with_suffix(".away"))
        self.assert_not_ready(client.get("/readyz"), "file")
        self.assertEqual(200, client.get("/api/v1/health").status_code)

    def assert_not_ready(self, answer: object, reason: str) -> None:
        self.assertEqual(503, answer.status_code)  # type: ignore[attr-defined]
        problem = answer.get_json()  # type: ignore[attr-defined]
        self.assertEqual("/problems/unavailable", problem["type"])
        self.assertIn(reason, problem["detail"])


class TestWorkers(unittest.TestCase):
    def test_counters_cover_all_workers_including_a_dead_one(self) -> None:
        with Server(TODO_WORKERS="2") as server:
            for _ in range(20):
                server.request("POST", TODOS, {"title": "x"})
            os.kill(server.workers[0], signal.SIGKILL)
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                samples = scrape(server)
                if samples:
                    break
            self.assertEqual(20, samples["todos_created_total"])
            created = f'http_requests_total{{method="POST",route="{TODOS}",status="201"}}'
            self.assertEqual(20, samples[created])
            self.assertGreaterEqual(samples["database_pool_connections_in_use"], 0)
            server.stop()
            self.assertEqual([], list(server.database.parent.glob("todo-metrics-*")))


@unittest.skipUnless(SCRAPE_SECONDS, "takes SCRAPE_SECONDS, see make soak")
@unittest.skipUnless(shutil.which("prometheus"), "takes the system's package prometheus")
class TestPrometheus(unittest.TestCase):
    def test_prometheus_counters_equal_the_requests_sent(self) -> None:
        folder = Path(self.enterContext(TemporaryDirectory()))
        server = self.enterContext(Server(TODO_WORKERS="2"))
        port = free_port()
        config = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [
                {"job_name": "todo", "static_configs": [{"targets": [f"127.0.0.1:{server.port}"]}]}
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.terminate)
        sent = 0
        end = time.monotonic() + SCRAPE_SECONDS
        while time.monotonic() < end:
            self.assertEqual(201, server.request("POST", TODOS, {"title": "x"}).status)
            self.assertEqual(404, server.request("GET", f"{TODOS}/0").status)
            sent += 1
            time.sleep(0.01)
        created = f'http_requests_total{{method="POST",route="{TODOS}",status="201"}}'
        missed = f'http_requests_total{{method="GET",route="{TODOS}/<id:todo_id>",status="404"}}'
        patience = time.monotonic() + PATIENCE
        while (seen := [ask(port, query) for query in (created, missed, "todos_created_total")]) != [
            sent
        ] * 3:
            self.assertLess(time.monotonic(), patience, f"{seen} of {sent}")
            time.sleep(0.5)
        with urlopen(f"{server.url}/metrics", timeout=PATIENCE) as answer:
            assert_no_complaint(self, answer.read().decode())


def scrape(server: Server) -> dict[str, float]:
    """What the server says now; nothing while it has a worker that is no more."""
    try:
        with urlopen(f"{server.url}/metrics", timeout=PATIENCE) as answer:
            return read(answer.read().decode())
    except OSError:
        return {}


def ask(port: int, query: str) -> float | None:
    """The value that Prometheus has for a query by now."""
    try:
        with urlopen(
            f"http://127.0.0.1:{port}/api/v1/query?query={quote(query)}", timeout=PATIENCE
        ) as answer:
            result = json.load(answer)["data"]["result"]
    except OSError:
        return None
    return float(result[0]["value"][1]) if result else None


def assert_no_complaint(test: unittest.TestCase, exposition: str) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=exposition,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    test.assertEqual((0, ""), (done.returncode, re.sub(r"\s", "", done.stdout)))
