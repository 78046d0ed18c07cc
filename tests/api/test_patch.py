from typing import Any

import pytest

from tests.support.api import SharedAppTest

pytestmark = pytest.mark.database

PATH = "/api/v1/todos"
FULL = {
    "title": "Buy milk",
    "description": "Two litres",
    "completed": True,
    "deadline_at": "2027-01-31T18:00:00",
}


class TestPatch(SharedAppTest):
    """JSON merge patch (RFC 7396)."""

    def setUp(self) -> None:
        super().setUp()
        response = self.client.post(PATH, json=FULL)
        self.todo: dict[str, Any] = response.get_json()
        self.url = response.headers["Location"]

    def test_patch_changes_only_the_sent_members(self) -> None:
        for patch in (
            {"title": "Buy bread"},
            {"description": "One loaf"},
            {"description": ""},
            {"description": None},
            {"completed": False},
            {"deadline_at": "2030-01-01T00:00:00"},
            {"deadline_at": None},
            {"title": "Über", "completed": True},
            {"description": "a", "deadline_at": None, "completed": False, "title": "b"},
        ):
            for method in ("PATCH", "PUT"):
                with self.subTest(method=method, patch=patch):
                    before = self.client.put(self.url, json=FULL).get_json()
                    response = self.client.open(self.url, method=method, json=patch)
                    after = response.get_json()
                    self.assertEqual(200, response.status_code)
                    self.assertEqual(before | patch | {"updated_at": after["updated_at"]}, after)
                    self.assertGreater(after["updated_at"], before["updated_at"])
                    self.assertEqual(after, self.client.get(self.url).get_json())

    def test_empty_patch_changes_nothing(self) -> None:
        for method in ("PATCH", "PUT"):
            response = self.client.open(self.url, method=method, json={})
            self.assertEqual((200, self.todo), (response.status_code, response.get_json()))
        self.assertEqual(self.todo, self.client.get(self.url).get_json())

    def test_empty_patch_of_an_absent_todo_is_404(self) -> None:
        for body in ({}, {"title": "x"}):
            response = self.client.patch(f"{PATH}/2", json=body)
            self.assertEqual((404, "Todo not found"), (response.status_code, response.get_json()["error"]))

    def test_invalid_patch_is_400_and_changes_nothing(self) -> None:
        for patch, expected in (
            ({"title": None}, ["#/title"]),
            ({"completed": None}, ["#/completed"]),
            ({"title": None, "completed": None, "description": None}, ["#/title", "#/completed"]),
            ({"title": ""}, ["#/title"]),
            ({"title": " \u3000"}, ["#/title"]),
            ({"title": "x" * 81}, ["#/title"]),
            ({"description": "x" * 121}, ["#/description"]),
            ({"completed": 1}, ["#/completed"]),
            ({"completed": "true"}, ["#/completed"]),
            ({"deadline_at": "soon"}, ["#/deadline_at"]),
            ({"description": {"a": None}}, ["#/description"]),
            ({"id": 1}, ["#/id"]),
            ({"updated_at": "2020-01-01T00:00:00Z", "title": "x"}, ["#/updated_at"]),
            ({"nope": None}, ["#/nope"]),
            ([], ["#"]),
            ("title", ["#"]),
            ([{"op": "replace", "path": "/title", "value": "x"}], ["#"]),
        ):
            for method in ("PATCH", "PUT"):
                with self.subTest(method=method, patch=patch):
                    response = self.client.open(self.url, method=method, json=patch)
                    self.assertEqual(400, response.status_code)
                    pointers = [fault["pointer"] for fault in response.get_json()["errors"]]
                    self.assertEqual(expected, pointers)
        self.assertEqual(self.todo, self.client.get(self.url).get_json())

    def test_patch_accepts_both_json_media_types(self) -> None:
        for content_type, expected in (
            ("application/merge-patch+json", 200),
            ("application/merge-patch+json; charset=utf-8", 200),
            ("Application/JSON", 200),
            ("application/json", 200),
            ("text/plain", 415),
            ("application/x-www-form-urlencoded", 415),
            ("application/jsonp", 415),
            ("", 415),
            (None, 415),
        ):
            with self.subTest(content_type):
                response = self.client.patch(self.url, data=b'{"completed": true}', content_type=content_type)
                self.assertEqual(expected, response.status_code)

    def test_created_at_never_changes(self) -> None:
        self.client.patch(self.url, json={"title": "Buy bread"})
        self.assertEqual(self.todo["created_at"], self.client.get(self.url).get_json()["created_at"])
