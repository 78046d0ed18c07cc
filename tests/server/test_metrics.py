"""/metrics and /readyz, and the metrics that Prometheus (a system package) reads from two workers."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from tests.support.api import TODOS, ApiTest
from tests.support.cases import Prepared
from tests.support.server import PATIENCE, Server, free_port
from tests.support.sizes import size
from todo import create_app

pytestmark = [pytest.mark.soak, pytest.mark.server]

SCRAPE_SECONDS = size(0, 60)


def read(text: str) -> dict[str, float]:
    """Return the samples of an exposition, by name and labels."""
    return {
        sample.rpartition(" ")[0]: float(sample.rpartition(" ")[2])
        for sample in text.splitlines()
        if sample and not sample.startswith("#")
    }


class TestMetrics(ApiTest):
    def setup_method(self) -> None:
        super().setup_method()
        self.before = read(self.client.get("/metrics").text)

    def assertCounted(self, **expected: float) -> None:
        now = read(self.client.get("/metrics").text)
        counted = {name: now.get(name, 0) - self.before.get(name, 0) for name in expected}
        assert expected == counted

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

    @pytest.mark.skipif(
        not shutil.which("promtool"), reason="promtool comes with the system's package prometheus"
    )
    def test_promtool_accepts_the_metrics(self) -> None:
        self.create(completed=True)
        self.client.delete(f"{TODOS}/1")
        answer = self.client.get("/metrics")
        assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
        assert_no_complaint(answer.text)


class TestReadiness(ApiTest):
    def test_ready_service_returns_200(self) -> None:
        answer = self.client.get("/readyz")
        assert (answer.status_code, answer.get_json()) == (200, {"status": "ready"})

    def test_service_without_database_is_not_ready(self, caplog: pytest.LogCaptureFixture) -> None:
        folder = self.stack.enter_context(TemporaryDirectory())
        database = Path(folder, "db.sqlite")
        app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{database}", "BUSY_TIMEOUT": 10})
        client = app.test_client()
        assert client.get("/readyz").status_code == 200
        with closing(sqlite3.connect(database, isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            self.assert_not_ready(client.get("/readyz"), "locked")
        assert client.get("/readyz").status_code == 200
        with closing(sqlite3.connect(database, isolation_level=None)) as shell:
            shell.execute("ALTER TABLE todos RENAME TO elsewhere")
            self.assert_not_ready(client.get("/readyz"), "tables")
            assert caplog.records
            shell.execute("ALTER TABLE elsewhere RENAME TO todos")
        assert client.get("/readyz").status_code == 200
        database.rename(database.with_suffix(".away"))
        self.assert_not_ready(client.get("/readyz"), "file")
        assert client.get("/api/v1/health").status_code == 200

    def assert_not_ready(self, answer: object, reason: str) -> None:
        assert answer.status_code == 503  # type: ignore[attr-defined]
        problem = answer.get_json()  # type: ignore[attr-defined]
        assert problem["type"] == "/problems/unavailable"
        assert reason in problem["detail"]


class TestWorkers:
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
            assert samples["todos_created_total"] == 20
            created = f'http_requests_total{{method="POST",route="{TODOS}",status="201"}}'
            assert samples[created] == 20
            assert samples["database_pool_connections_in_use"] >= 0
            server.stop()
            assert list(server.database.parent.glob("todo-metrics-*")) == []


@pytest.mark.skipif(not SCRAPE_SECONDS, reason="takes SCRAPE_SECONDS, see make soak")
@pytest.mark.skipif(not shutil.which("prometheus"), reason="takes the system's package prometheus")
class TestPrometheus(Prepared):
    def test_prometheus_counters_equal_the_requests_sent(self) -> None:
        folder = Path(self.stack.enter_context(TemporaryDirectory()))
        server = self.stack.enter_context(Server(TODO_WORKERS="2"))
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
        self.stack.callback(process.wait, PATIENCE)
        self.stack.callback(process.terminate)
        sent = 0
        end = time.monotonic() + SCRAPE_SECONDS
        while time.monotonic() < end:
            assert server.request("POST", TODOS, {"title": "x"}).status == 201
            assert server.request("GET", f"{TODOS}/0").status == 404
            sent += 1
            time.sleep(0.01)
        created = f'http_requests_total{{method="POST",route="{TODOS}",status="201"}}'
        missed = f'http_requests_total{{method="GET",route="{TODOS}/<id:todo_id>",status="404"}}'
        patience = time.monotonic() + PATIENCE
        while (seen := [ask(port, query) for query in (created, missed, "todos_created_total")]) != [
            sent
        ] * 3:
            assert time.monotonic() < patience, f"{seen} of {sent}"
            time.sleep(0.5)
        with urlopen(f"{server.url}/metrics", timeout=PATIENCE) as answer:
            assert_no_complaint(answer.read().decode())


def scrape(server: Server) -> dict[str, float]:
    """Return the current metrics, or nothing while a worker of the server is dead."""
    try:
        with urlopen(f"{server.url}/metrics", timeout=PATIENCE) as answer:
            return read(answer.read().decode())
    except (OSError, HTTPException):
        return {}


def ask(port: int, query: str) -> float | None:
    """Return the current value of a Prometheus query."""
    try:
        with urlopen(
            f"http://127.0.0.1:{port}/api/v1/query?query={quote(query)}", timeout=PATIENCE
        ) as answer:
            result = json.load(answer)["data"]["result"]
    except (OSError, HTTPException):
        return None
    return float(result[0]["value"][1]) if result else None


def assert_no_complaint(exposition: str) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=exposition,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, re.sub(r"\s", "", done.stdout)) == (0, "")
