from typing import Any

import pytest

from tests.support.api import SharedAppTest
from tests.support.cases import label

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

    def setup_method(self) -> None:
        super().setup_method()
        response = self.client.post(PATH, json=FULL)
        self.todo: dict[str, Any] = response.get_json()
        self.url = response.headers["Location"]

    @pytest.mark.parametrize(
        "patch",
        [
            {"title": "Buy bread"},
            {"description": "One loaf"},
            {"description": ""},
            {"description": None},
            {"completed": False},
            {"deadline_at": "2030-01-01T00:00:00"},
            {"deadline_at": None},
            {"title": "Über", "completed": True},
            {"description": "a", "deadline_at": None, "completed": False, "title": "b"},
        ],
        ids=label,
    )
    @pytest.mark.parametrize("method", ["PATCH", "PUT"])
    def test_patch_changes_only_the_sent_members(self, patch: Any, method: str) -> None:
        before = self.client.put(self.url, json=FULL).get_json()
        response = self.client.open(self.url, method=method, json=patch)
        after = response.get_json()
        assert response.status_code == 200
        assert before | patch | {"updated_at": after["updated_at"]} == after
        assert after["updated_at"] > before["updated_at"]
        assert after == self.client.get(self.url).get_json()

    def test_empty_patch_changes_nothing(self) -> None:
        for method in ("PATCH", "PUT"):
            response = self.client.open(self.url, method=method, json={})
            assert (200, self.todo) == (response.status_code, response.get_json())
        assert self.todo == self.client.get(self.url).get_json()

    def test_empty_patch_of_an_absent_todo_is_404(self) -> None:
        for body in ({}, {"title": "x"}):
            response = self.client.patch(f"{PATH}/2", json=body)
            assert (response.status_code, response.get_json()["error"]) == (404, "Todo not found")

    @pytest.mark.parametrize(
        ("patch", "expected"),
        [
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
        ],
        ids=label,
    )
    @pytest.mark.parametrize("method", ["PATCH", "PUT"])
    def test_invalid_patch_is_400_and_changes_nothing(self, patch: Any, expected: Any, method: str) -> None:
        response = self.client.open(self.url, method=method, json=patch)
        assert response.status_code == 400
        pointers = [fault["pointer"] for fault in response.get_json()["errors"]]
        assert expected == pointers
        assert self.todo == self.client.get(self.url).get_json()

    @pytest.mark.parametrize(
        ("content_type", "expected"),
        [
            ("application/merge-patch+json", 200),
            ("application/merge-patch+json; charset=utf-8", 200),
            ("Application/JSON", 200),
            ("application/json", 200),
            ("text/plain", 415),
            ("application/x-www-form-urlencoded", 415),
            ("application/jsonp", 415),
            ("", 415),
            (None, 415),
        ],
        ids=label,
    )
    def test_patch_accepts_both_json_media_types(self, content_type: str | None, expected: int) -> None:
        response = self.client.patch(self.url, data=b'{"completed": true}', content_type=content_type)
        assert expected == response.status_code

    def test_created_at_never_changes(self) -> None:
        self.client.patch(self.url, json={"title": "Buy bread"})
        assert self.todo["created_at"] == self.client.get(self.url).get_json()["created_at"]
