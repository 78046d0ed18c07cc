import os
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch
from urllib.parse import parse_qs, unquote

from flask.testing import FlaskClient

from bench import data, listing, plain, run
from bench.operations import REST
from todo import create_app
from todo.query import FILTERS
from todo.query import TODOS as MEMBERS

ROOT = Path(__file__).parent.parent.parent
DATABASE = {"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:"}
TODOS = "/api/v1/todos"
ROWS = 1000
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
    def test_plain_app_responds_as_the_service(self) -> None:
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


class TestListing(unittest.TestCase):
    file: ClassVar[Path]
    client: ClassVar[FlaskClient]

    @classmethod
    def setUpClass(cls) -> None:
        cls.file = Path(cls.enterClassContext(tempfile.TemporaryDirectory()), "db.sqlite")
        cls.client = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{cls.file}"}).test_client()
        data.fill(str(cls.file), "sqlite", ROWS, varied=True)

    def test_each_benchmark_request_finds_its_todos(self) -> None:
        for operation in listing.operations():
            with self.subTest(operation=operation.title):
                response = self.client.get(operation.request(REST, 0, ROWS).path)
                self.assertEqual(200, response.status_code)
                found = len(REST.todos(response.get_json()))
                self.assertIn(listing.expected(operation), {None, found})
                self.assertTrue(found or operation.title.endswith(", none"))

    def test_every_filter_and_sort_is_measured(self) -> None:
        measured = " ".join(operation.title for operation in listing.operations())
        sorts = (f"sort={sign}{column.key}" for column in MEMBERS.c for sign in ("", "-"))
        for name in (*FILTERS, *sorts):
            with self.subTest(name=name):
                self.assertRegex(measured, rf"(?:^| ){name}\b")

    def test_late_page_is_reached_by_its_link(self) -> None:
        late = next(operation for operation in listing.operations() if operation.name == "late page")
        query = late.request(REST, 0, ROWS).path.partition("?")[2]
        link = self.client.get(f"{TODOS}?limit={ROWS - listing.LATE}").headers["Link"]
        self.assertIn(f"cursor={parse_qs(query)['cursor'][0]}", unquote(link))

    def test_each_index_has_a_cost(self) -> None:
        costs = listing.costs_of_indexes(self.file, batches=1)
        self.assertEqual({listing.ALL, *(str(index.name) for index in MEMBERS.indexes)}, set(costs))


class TestRun(unittest.TestCase):
    def test_missing_wrk_is_reported(self) -> None:
        with (
            patch.dict(os.environ, PATH=""),
            patch.object(sys, "argv", ["bench.run"]),
            self.assertRaisesRegex(SystemExit, r"^wrk, .+ is missing: install it .+$"),
        ):
            run.main()
