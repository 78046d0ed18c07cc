import re
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from werkzeug.test import TestResponse

from tests.support.api import SharedAppTest
from tests.support.cases import label
from todo import create_app

pytestmark = pytest.mark.database

PATH = "/api/v1/todos"
PAGE = f"{PATH}?limit=5"
STRONG_TAG = r'^"[!#-~]+"$'
WRITES: tuple[tuple[str, dict[str, Any] | None], ...] = (
    ("PUT", {"title": "Changed"}),
    ("PATCH", {"title": "Changed"}),
    ("PATCH", {}),
    ("DELETE", None),
)

# TAG represents the current tag. An invalid list of tags matches nothing. The service must not ignore an
# invalid list, because a mistake of a client would then become an unconditional write.
HOLDING = ('"TAG"', "*", '"other", "TAG"', '"TAG","other"', ' "TAG" ', 'W/"other", "TAG"', '"a,b", "TAG"')
FAILING = (
    '"other"',
    'W/"TAG"',
    'w/"TAG"',
    '"TAG',
    "'TAG'",
    '"TAG "',
    '"TAG"x',
    '"tag"',
    '""',
    "",
    " ",
    ",",
    "other",
    "**",
    '"*"',
    'W/"*"',
    "null",
    "0",
    '*, "other"',
    '"one", "two", W/"TAG"',
    "x" * 5000,
)


class TestConditional(SharedAppTest):
    def create(self, **members: Any) -> tuple[str, str]:
        """Create a todo, and return its URL and its tag."""
        response = self.client.post(PATH, json={"title": "Milk", **members})
        assert response.status_code == 201, response.get_data()
        return response.headers["Location"], response.headers["ETag"]

    def test_etag_is_strong_and_depends_on_the_representation(self) -> None:
        url, tag = self.create()
        assert re.search(STRONG_TAG, tag)
        assert [tag, tag] == [self.client.get(url).headers["ETag"] for _ in range(2)]
        assert tag != self.create()[1]

    def test_every_change_returns_a_new_etag(self) -> None:
        url, tag = self.create(completed=True)
        tags = [tag]
        for method, change in (
            ("PUT", {"title": "Bread"}),
            ("PATCH", {"description": ""}),
            ("PATCH", {"description": None}),
            ("PUT", {"deadline_at": "2030-01-01"}),
            ("PATCH", {"completed": False}),
        ):
            response = self.client.open(url, method=method, json=change)
            tags.append(response.headers["ETag"])
            assert tags[-1] == self.client.get(url).headers["ETag"]
        assert len(tags) == len(set(tags))

    def test_empty_change_keeps_the_etag(self) -> None:
        url, tag = self.create()
        assert tag == self.client.patch(url, json={}).headers["ETag"]

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("path", [f"{PATH}/1", PAGE])
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ('"TAG"', 304),
            ('W/"TAG"', 304),
            ('"other", "TAG"', 304),
            ("*", 304),
            ('"other"', 200),
            ('"TAG', 200),
            ("", 200),
        ],
    )
    def test_matching_if_none_match_is_304(self, method: str, path: str, value: str, expected: int) -> None:
        assert self.create()[0] == f"{PATH}/1"
        tag = self.client.get(path).headers["ETag"]
        condition = value.replace("TAG", tag.strip('"'))
        response = self.client.open(path, method=method, headers={"If-None-Match": condition})
        assert (response.status_code, response.headers["ETag"]) == (expected, tag)
        if expected == 304:
            assert response.get_data() == b""
            assert "Content-Type" not in response.headers
            assert "Content-Length" not in response.headers

    def test_stale_if_none_match_gets_the_whole_response(self) -> None:
        url, tag = self.create()
        self.client.put(url, json={"completed": True})
        response = self.client.get(url, headers={"If-None-Match": tag})
        assert (response.status_code, response.get_json()["completed"]) == (200, True)

    def test_page_etag_changes_with_its_content(self) -> None:
        url, _ = self.create()
        page = f"{PATH}?limit=1&total=true"
        tags = [self.client.get(page).headers["ETag"]]
        changes = (
            lambda: self.client.put(url, json={"completed": True}),
            self.create,  # changes the total, and adds a next page
            self.create,  # changes the total
            lambda: self.client.delete(url),
        )
        for change in changes:
            change()
            response = self.client.get(page)
            assert re.search(STRONG_TAG, response.headers["ETag"])
            tags.append(response.headers["ETag"])
        assert len(tags) == len(set(tags))

    @pytest.mark.parametrize(("method", "body"), WRITES, ids=label)
    @pytest.mark.parametrize("value", HOLDING, ids=label)
    def test_write_with_matching_if_match_succeeds(self, method: Any, body: Any, value: Any) -> None:
        url, tag = self.create()
        response = self.write(method, url, body, value, tag)
        assert response.status_code == 200, response.get_data()
        assert (404 if method == "DELETE" else 200) == self.client.get(url).status_code

    @pytest.mark.parametrize(("method", "body"), WRITES, ids=label)
    @pytest.mark.parametrize("value", FAILING, ids=label)
    def test_write_with_failed_precondition_changes_nothing(self, method: str, body: Any, value: str) -> None:
        url, tag = self.create()
        before = self.client.get(url).get_json()
        response = self.write(method, url, body, value, tag)
        problem = response.get_json()
        assert response.status_code in {400, 412}
        assert response.content_type == "application/problem+json"
        assert problem["status"] == response.status_code
        if response.status_code == 412:
            assert problem["type"] == "/problems/precondition-failed"
            assert response.headers["ETag"] == tag
        assert self.client.get(url).get_json() == before

    @pytest.mark.parametrize(("method", "body"), WRITES, ids=label)
    def test_write_with_stale_etag_is_412(self, method: Any, body: Any) -> None:
        url, stale = self.create()
        current = self.client.put(url, json={"completed": True}).headers["ETag"]
        response = self.write(method, url, body, stale)
        assert (412, current) == (response.status_code, response.headers["ETag"])
        assert self.write(method, url, body, current).status_code == 200

    @pytest.mark.parametrize(("method", "body"), WRITES, ids=label)
    @pytest.mark.parametrize("value", ["*", '"TAG"'])
    def test_absent_todo_matches_no_precondition(self, method: Any, body: Any, value: str) -> None:
        """A condition counts only if the request would succeed without it (RFC 9110, 13.2.1)."""
        response = self.write(method, f"{PATH}/1", body, value)
        assert (412 if method == "DELETE" else 404) == response.status_code
        assert "ETag" not in response.headers

    def test_invalid_body_is_reported_before_the_precondition(self) -> None:
        url, _ = self.create()
        assert self.write("PUT", url, {"title": ""}, '"other"').status_code == 400

    @pytest.mark.parametrize(
        ("value", "expected"), [('"TAG"', 412), ('W/"TAG"', 412), ("*", 412), ('"other"', 200)]
    )
    def test_matching_if_none_match_on_a_write_is_412(self, value: str, expected: int) -> None:
        url, tag = self.create()
        condition = value.replace('"TAG"', tag)
        response = self.client.put(url, json={"completed": True}, headers={"If-None-Match": condition})
        assert response.status_code == expected

    def test_last_write_wins_without_if_match(self) -> None:
        url, _ = self.create()
        for title in ("one", "two"):
            assert title == self.client.put(url, json={"title": title}).get_json()["title"]

    def write(
        self, method: str, url: str, body: dict[str, Any] | None, if_match: str, tag: str = ""
    ) -> TestResponse:
        headers = {"If-Match": if_match.replace("TAG", tag.strip('"'))}
        return self.client.open(url, method=method, json=body, headers=headers)


class TestRequireIfMatch(SharedAppTest):
    SETTINGS: ClassVar[dict[str, Any]] = {"REQUIRE_IF_MATCH": True}

    def setup_method(self) -> None:
        super().setup_method()
        response = self.client.post(PATH, json={"title": "Milk"})
        self.url, self.tag = response.headers["Location"], response.headers["ETag"]

    @pytest.mark.parametrize(("method", "body"), WRITES, ids=label)
    @pytest.mark.parametrize(
        "headers", [{}, {"If-None-Match": '"other"'}, {"If-Unmodified-Since": "now"}], ids=label
    )
    def test_required_if_match_missing_is_428(self, method: Any, body: Any, headers: Any) -> None:
        response = self.client.open(self.url, method=method, json=body, headers=headers)
        assert response.status_code == 428
        assert response.get_json()["type"] == "/problems/precondition-required"
        assert self.tag == self.client.get(self.url).headers["ETag"]

    def test_required_if_match_is_needed_in_each_batch_operation(self) -> None:
        todo_id = int(self.url.rpartition("/")[2])
        update = {"op": "update", "id": todo_id, "todo": {"title": "Changed"}}
        delete = {"op": "delete", "id": todo_id}
        for operation in (update, delete):
            response = self.client.post(
                f"{PATH}/batch", json={"operations": [{"op": "create", "todo": {"title": "x"}}, operation]}
            )
            assert response.status_code == 428
            assert response.get_json()["errors"][0]["pointer"] == "#/operations/1/if_match"
        assert self.tag == self.client.get(self.url).headers["ETag"]
        operation = update | {"if_match": self.tag}
        assert self.client.post(f"{PATH}/batch", json={"operations": [operation]}).status_code == 200

    def test_if_match_is_ignored_on_reads(self) -> None:
        assert self.client.post(PATH, json={"title": "Bread"}).status_code == 201
        assert self.client.get(self.url).status_code == 200
        response = self.client.put(self.url, json={"completed": True}, headers={"If-Match": self.tag})
        assert response.status_code == 200
        response = self.client.delete(self.url, headers={"If-Match": "*"})
        assert response.status_code == 200


class TestEditsFromOutside(SharedAppTest):
    def setup_method(self) -> None:
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.app = create_app(
            {"SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder}/todos.sqlite", "TESTING": True}
        )
        self.client = self.app.test_client()
        self.shell = self.stack.enter_context(closing(sqlite3.connect(folder / "todos.sqlite")))

    @pytest.mark.parametrize(
        ("edit", "expected"),
        [
            ("UPDATE todos SET title = 'Soy milk'", 200),
            ("UPDATE todos SET completed = 1", 200),
            ("UPDATE todos SET deadline_at = '2030-01-01 00:00:00.000000'", 200),
            ("UPDATE todos SET updated_at = '2030-01-01 00:00:00.000000'", 200),
            ("UPDATE todos SET description = ''", 200),
            ("UPDATE todos SET description = NULL, title = 'Milk'", 200),
            ("DELETE FROM todos", 404),
        ],
    )
    def test_edit_in_the_shell_changes_the_etags(self, edit: str, expected: int) -> None:
        url = self.client.post(PATH, json={"title": "Milk"}).headers["Location"]
        tag, page_tag = (self.client.get(path).headers["ETag"] for path in (url, PAGE))
        self.shell.execute(edit)
        self.shell.commit()
        assert self.client.delete(url, headers={"If-Match": tag}).status_code == 412
        assert expected == self.client.get(url, headers={"If-None-Match": tag}).status_code
        assert self.client.get(PAGE, headers={"If-None-Match": page_tag}).status_code == 200
