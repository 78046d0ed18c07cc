from datetime import datetime
from typing import Any

from tests.base import TodoTest
from todo.models import db
from todo.models.todo import Todo

MILK = {
    "title": "Buy milk",
    "description": "Two litres",
    "completed": False,
    "deadline_at": "2023-02-27T00:00:00",
}


class TestTodo(TodoTest):
    def create(self, **members: Any) -> dict[str, Any]:
        response = self.client.post("/api/v1/todos", json={"title": "Buy milk", **members})
        self.assertEqual(201, response.status_code, response.json)
        todo: dict[str, Any] = response.get_json()
        return todo

    def test_the_list_is_empty_at_first(self) -> None:
        response = self.client.get("/api/v1/todos")
        self.assertEqual((200, []), (response.status_code, response.json))

    def test_create(self) -> None:
        response = self.client.post("/api/v1/todos", json=MILK)
        todo = response.get_json()
        self.assertEqual(201, response.status_code)
        self.assertDictSubset(MILK, todo)
        self.assertEqual(f"/api/v1/todos/{todo['id']}", response.headers["Location"])
        self.assertEqual(todo, self.client.get(response.headers["Location"]).json)

    def test_a_todo_added_through_the_session_is_served(self) -> None:
        with self.app.app_context():
            db.session.add(Todo(id=7, title="From Python", deadline_at=datetime(2023, 2, 27)))
            db.session.commit()
            self.assertEqual("<Todo 7 'From Python'>", repr(db.session.get(Todo, 7)))
            expected = db.session.get_one(Todo, 7).to_dict()
        self.assertEqual(expected, self.client.get("/api/v1/todos/7").json)
        self.assertEqual(list(expected), list(self.client.get("/api/v1/todos/7").get_json()))

    def test_update_changes_what_is_sent_and_nothing_else(self) -> None:
        before = self.create(**MILK)
        response = self.client.put(f"/api/v1/todos/{before['id']}", json={"completed": True})
        after = response.get_json()
        self.assertEqual(200, response.status_code)
        self.assertEqual(before | {"completed": True, "updated_at": after["updated_at"]}, after)
        self.assertGreater(after["updated_at"], before["updated_at"])

    def test_delete_answers_the_todo_as_it_was_and_then_nothing(self) -> None:
        todo = self.create()
        for expected in (todo, {}):
            response = self.client.delete(f"/api/v1/todos/{todo['id']}")
            self.assertEqual((200, expected), (response.status_code, response.json))

    def test_an_absent_todo_is_404(self) -> None:
        for method, body in (("get", None), ("put", {"title": "x"})):
            response = self.client.open("/api/v1/todos/1", method=method.upper(), json=body)
            self.assertEqual((404, "Todo not found"), (response.status_code, response.get_json()["error"]))
