"""A tour of the contract: what each operation answers when nothing is wrong."""

import sqlite3
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import event

from tests.base import TodoTest
from todo.clock import wall_now
from todo.models import db
from todo.models.todo import Todo

TODOS = "/api/v1/todos"
MEMBERS = ["id", "title", "description", "completed", "deadline_at", "created_at", "updated_at"]
MILK = {
    "title": "Buy milk",
    "description": "Two litres",
    "completed": True,
    "deadline_at": "2023-02-27T00:00:00",
}
INSTANT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"


class TestTodo(TodoTest):
    def create(self, **members: Any) -> dict[str, Any]:
        response = self.client.post(TODOS, json={"title": "Buy milk", **members})
        self.assertEqual(201, response.status_code, response.text)
        todo: dict[str, Any] = response.get_json()
        return todo

    def titles(self, query: str = "") -> list[str]:
        response = self.client.get(f"{TODOS}?{query}")
        self.assertEqual(200, response.status_code, response.text)
        return [todo["title"] for todo in response.get_json()]


class TestCreate(TestTodo):
    def test_created_todo_is_returned_and_can_be_read(self) -> None:
        response = self.client.post(TODOS, json=MILK)
        todo = response.get_json()
        self.assertEqual(201, response.status_code)
        self.assertEqual("application/json", response.content_type)
        self.assertEqual(MEMBERS, list(todo))
        self.assertDictSubset(MILK, todo)
        self.assertTrue(response.headers["Location"].endswith(f"{TODOS}/{todo['id']}"))
        self.assertEqual(todo, self.client.get(response.headers["Location"]).json)

    def test_create_needs_only_a_title(self) -> None:
        todo = self.create()
        self.assertDictSubset({"description": None, "completed": False, "deadline_at": None}, todo)
        self.assertIs(False, todo["completed"])
        self.assertRegex(todo["created_at"], INSTANT)
        self.assertEqual(todo["created_at"], todo["updated_at"])

    def test_text_is_stored_unchanged(self) -> None:
        for members in (
            {"title": "x"},
            {"title": "x" * 80},
            {"title": "\N{PILE OF POO}" * 80, "description": "\N{PILE OF POO}" * 120},
            {"title": "  spaces around  "},
            {"title": "e\u0301 is not \u00e9"},
            {"title": "\u200b\u202eright to left"},
            {"title": """quotes ' " and \\ and -- ; DROP TABLE todos"""},
            {"description": ""},
            {"description": " "},
            {"description": "x" * 120},
            {"description": "one\ntwo\tthree\r\n"},
            {"description": None},
        ):
            with self.subTest(members):
                todo = self.create(**members)
                self.assertDictSubset(members, todo)
                self.assertEqual(todo, self.client.get(f"{TODOS}/{todo['id']}").json)

    def test_id_of_a_deleted_todo_is_never_reused(self) -> None:
        last = self.create()["id"]
        self.client.delete(f"{TODOS}/{last}")
        self.assertGreater(self.create()["id"], last)


class TestList(TestTodo):
    def test_list_is_empty_at_first(self) -> None:
        response = self.client.get(TODOS)
        self.assertEqual((200, []), (response.status_code, response.json))
        self.assertEqual("application/json", response.content_type)

    def test_list_is_in_id_order(self) -> None:
        todos = [self.create(title=title) for title in ("b", "c", "a")]
        self.client.put(f"{TODOS}/{todos[0]['id']}", json={"description": "changed"})
        self.assertEqual(["b", "c", "a"], self.titles())

    def test_list_equals_the_single_todos(self) -> None:
        todos = [self.create(**MILK), self.create()]
        self.assertEqual(todos, self.client.get(TODOS).json)
        self.assertEqual(MEMBERS, list(self.client.get(TODOS).get_json()[0]))

    def test_long_list_is_complete(self) -> None:
        for count in (999, 1000, 1001, 2000, 2001):
            with self.subTest(count), self.app.app_context():
                db.session.execute(db.delete(Todo))
                db.session.execute(db.insert(Todo), [{"id": i, "title": f"{i}"} for i in range(1, count + 1)])
                db.session.commit()
                self.assertEqual([f"{i}" for i in range(1, count + 1)], self.titles())

    def test_completed_filters_the_list(self) -> None:
        self.create(title="done", completed=True)
        self.create(title="open")
        self.assertEqual(["done"], self.titles("completed=true"))
        self.assertEqual(["open"], self.titles("completed=false"))

    def test_window_filters_the_list(self) -> None:
        with self.app.app_context():
            now = wall_now()
        minute = timedelta(minutes=1)
        for title, deadline in {
            "long ago": datetime(1, 1, 1),
            "yesterday": now - timedelta(days=1),
            "just past": now - minute,
            "in a minute": now + minute,
            "in almost 3 days": now + timedelta(days=3) - minute,
            "in just over 3 days": now + timedelta(days=3) + minute,
            "at the end of time": datetime(9999, 12, 31, 23, 59, 59),
        }.items():
            self.create(title=title, deadline_at=deadline.isoformat())
        self.create(title="some day")
        past = ["long ago", "yesterday", "just past"]
        within = [*past, "in a minute", "in almost 3 days"]
        for query, expected in (
            ("window=0", past),
            ("window=3", within),
            ("window=4", [*within, "in just over 3 days"]),
            ("window=3000000", [*within, "in just over 3 days", "at the end of time"]),
            ("window=3&completed=false", within),
            ("window=3&completed=true", []),
        ):
            with self.subTest(query):
                self.assertEqual(expected, self.titles(query))


class TestUpdate(TestTodo):
    def test_update_changes_only_the_sent_members(self) -> None:
        for members in (
            {"title": "Buy oat milk"},
            {"description": None},
            {"completed": False},
            {"deadline_at": None},
            {"deadline_at": "2024-02-29T12:30:00"},
            {"title": "All", "description": "of", "completed": False, "deadline_at": "2027-01-31T18:00:00"},
        ):
            with self.subTest(members):
                before = self.create(**MILK)
                response = self.client.put(f"{TODOS}/{before['id']}", json=members)
                after = response.get_json()
                self.assertEqual((200, MEMBERS), (response.status_code, list(after)))
                self.assertEqual(before | members | {"updated_at": after["updated_at"]}, after)
                self.assertRegex(after["updated_at"], INSTANT)
                self.assertGreater(after["updated_at"], before["updated_at"])
                self.assertEqual(after, self.client.get(f"{TODOS}/{before['id']}").json)

    def test_update_leaves_other_todos_unchanged(self) -> None:
        other, todo = self.create(), self.create()
        self.client.put(f"{TODOS}/{todo['id']}", json={"completed": True})
        self.assertEqual(other, self.client.get(f"{TODOS}/{other['id']}").json)

    def test_empty_update_changes_nothing(self) -> None:
        todo = self.create()
        response = self.client.put(f"{TODOS}/{todo['id']}", json={})
        self.assertEqual((200, todo), (response.status_code, response.json))


class TestDelete(TestTodo):
    def test_delete_returns_the_todo_then_an_empty_object(self) -> None:
        other, todo = self.create(), self.create(**MILK)
        for expected in (todo, {}):
            response = self.client.delete(f"{TODOS}/{todo['id']}")
            self.assertEqual((200, expected), (response.status_code, response.json))
        self.assertEqual([other], self.client.get(TODOS).json)


class TestAddresses(TestTodo):
    def test_absent_todo_is_404(self) -> None:
        for method, body in (("GET", None), ("PUT", {"title": "x"}), ("PUT", {})):
            with self.subTest(method, body=body):
                response = self.client.open(f"{TODOS}/1", method=method, json=body)
                self.assertEqual(404, response.status_code)
                self.assertEqual("Todo not found", response.get_json()["error"])

    def test_head_responds_as_get_without_a_body(self) -> None:
        self.create()
        for path in ("/api/v1/health", TODOS, f"{TODOS}/1", f"{TODOS}/2", f"{TODOS}?completed=yes"):
            with self.subTest(path):
                get, head = self.client.get(path), self.client.head(path)
                self.assertEqual((get.status_code, b""), (head.status_code, head.data))
                for header in ("Content-Type", "Content-Length"):
                    self.assertEqual(get.headers[header], head.headers[header])

    def test_options_lists_the_methods(self) -> None:
        for path, methods in (
            ("/api/v1/health", {"GET", "HEAD", "OPTIONS"}),
            (TODOS, {"GET", "HEAD", "OPTIONS", "POST"}),
            (f"{TODOS}/1", {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}),
        ):
            with self.subTest(path):
                response = self.client.options(path)
                self.assertEqual((200, b""), (response.status_code, response.data))
                self.assertLessEqual(methods, set(response.headers["Allow"].split(", ")))

    def test_health_does_not_use_the_database(self) -> None:
        statements: list[str] = []
        with self.app.app_context():
            event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
            connection: Any = db.engine.raw_connection().driver_connection
        if isinstance(connection, sqlite3.Connection):
            connection.set_trace_callback(statements.append)
        self.client.get(TODOS)
        self.assertIn("SELECT", str(statements))
        statements.clear()
        self.assertEqual({"status": "ok"}, self.client.get("/api/v1/health").json)
        self.assertEqual([], statements)


class TestModel(TestTodo):
    def test_todo_added_through_the_session_is_served(self) -> None:
        with self.app.app_context():
            db.session.add(Todo(id=7, title="From Python", deadline_at=datetime(2023, 2, 27)))
            db.session.commit()
            todo = db.session.get_one(Todo, 7)
            self.assertEqual("<Todo 7 'From Python'>", repr(todo))
            expected = todo.to_dict()
        self.assertEqual(MEMBERS, list(expected))
        self.assertEqual(expected, self.client.get(f"{TODOS}/7").json)

    def test_session_update_renews_updated_at(self) -> None:
        before = self.create()
        with self.app.app_context():
            db.session.get_one(Todo, before["id"]).title = "From Python"
            db.session.commit()
        after = self.client.get(f"{TODOS}/{before['id']}").get_json()
        self.assertEqual(before | {"title": "From Python", "updated_at": after["updated_at"]}, after)
        self.assertGreater(after["updated_at"], before["updated_at"])
