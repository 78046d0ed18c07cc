import os
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from bench import plain
from todo import create_app

ROOT = Path(__file__).parent.parent
DATABASE = {"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:"}
TODOS = "/api/v1/todos"
MILK = {"title": "Buy milk", "description": "Two litres", "deadline_at": "2027-01-31T18:00:00"}

CASES: tuple[tuple[str, str, Any], ...] = (
    ("POST", TODOS, MILK),
    ("POST", TODOS, {"title": "Tea", "completed": True}),
    ("GET", f"{TODOS}/1", None),
    ("PUT", f"{TODOS}/1", {"title": "Buy oat milk", "completed": True, "deadline_at": None}),
    ("GET", TODOS, None),
    ("GET", f"{TODOS}?completed=false", None),
    ("GET", f"{TODOS}?limit=1", None),
    ("PATCH", f"{TODOS}/2", {"title": "Green tea"}),
    ("POST", TODOS, {}),
    ("POST", TODOS, []),
    ("POST", TODOS, {"title": " "}),
    ("POST", TODOS, {"title": "x" * 81}),
    ("POST", TODOS, MILK | {"description": "x" * 121}),
    ("POST", TODOS, MILK | {"completed": 1}),
    ("POST", TODOS, MILK | {"deadline_at": "tomorrow"}),
    ("PUT", f"{TODOS}/1", {"id": 2}),
    ("PUT", f"{TODOS}/3", {"title": "x"}),
    ("GET", f"{TODOS}/3", None),
    ("DELETE", f"{TODOS}/1", None),
    ("DELETE", f"{TODOS}/1", None),
    ("GET", "/api/v1/health", None),
)


class TestPlainForm(unittest.TestCase):
    def test_it_answers_as_the_service_does(self) -> None:
        theirs = plain.create_app(DATABASE)
        with theirs.app_context():
            plain.db.create_all()
            self.addCleanup(plain.db.engine.dispose)
        clients = create_app(DATABASE).test_client(), theirs.test_client()
        for method, path, body in CASES:
            with self.subTest(method=method, path=path, body=body):
                ours, plains = (self.answer(client, method, path, body) for client in clients)
                self.assertEqual(ours, plains)

    def answer(self, client: FlaskClient, method: str, path: str, body: Any) -> tuple[Any, ...]:
        response = client.open(path, method=method, json=body)
        if response.status_code >= 400:
            return (response.status_code,)
        todos = response.get_json() if isinstance(response.get_json(), list) else [response.get_json()]
        members = [
            [
                (name, len(value) if name in {"created_at", "updated_at"} else value)
                for name, value in todo.items()
            ]
            for todo in todos
        ]
        return response.status_code, response.headers.get("Location"), members


class TestRun(unittest.TestCase):
    def test_a_missing_wrk_is_said_plainly(self) -> None:
        run = subprocess.run(
            [sys.executable, "-m", "bench.run"],
            cwd=ROOT,
            env=os.environ | {"PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((1, ""), (run.returncode, run.stdout))
        self.assertRegex(run.stderr, r"^wrk, .+ is missing: install it .+\n$")
