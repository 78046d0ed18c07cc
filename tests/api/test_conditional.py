import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from werkzeug.test import TestResponse

from tests.support.api import SharedAppTest
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

# In each, TAG stands for the current tag. An invalid list of tags matches nothing. It must never
# count as an absent header, because a client's mistake would become an unconditional write.
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
        """Make a todo; its address and its tag."""
        response = self.client.post(PATH, json={"title": "Milk", **members})
        self.assertEqual(201, response.status_code, response.get_data())
        return response.headers["Location"], response.headers["ETag"]

    def test_etag_is_strong_and_of_the_representation(self) -> None:
        url, tag = self.create()
        self.assertRegex(tag, STRONG_TAG)
        self.assertEqual([tag, tag], [self.client.get(url).headers["ETag"] for _ in range(2)])
        self.assertNotEqual(tag, self.create()[1])

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
            self.assertEqual(tags[-1], self.client.get(url).headers["ETag"])
        self.assertEqual(len(tags), len(set(tags)))

    def test_empty_change_keeps_the_etag(self) -> None:
        url, tag = self.create()
        self.assertEqual(tag, self.client.patch(url, json={}).headers["ETag"])

    def test_matching_if_none_match_is_304(self) -> None:
        url, tag = self.create()
        bare = tag.strip('"')
        for path, current in ((url, bare), (PAGE, self.client.get(PAGE).headers["ETag"].strip('"'))):
            for method in ("GET", "HEAD"):
                for value, expected in (
                    ('"TAG"', 304),
                    ('W/"TAG"', 304),
                    ('"other", "TAG"', 304),
                    ("*", 304),
                    ('"other"', 200),
                    ('"TAG', 200),
                    ("", 200),
                ):
                    with self.subTest(method=method, path=path, value=value):
                        response = self.client.open(
                            path, method=method, headers={"If-None-Match": value.replace("TAG", current)}
                        )
                        self.assertEqual(expected, response.status_code)
                        self.assertEqual(f'"{current}"', response.headers["ETag"])
                        if expected == 304:
                            self.assertEqual(b"", response.get_data())
                            self.assertNotIn("Content-Type", response.headers)
                            self.assertNotIn("Content-Length", response.headers)

    def test_stale_if_none_match_gets_the_whole_response(self) -> None:
        url, tag = self.create()
        self.client.put(url, json={"completed": True})
        response = self.client.get(url, headers={"If-None-Match": tag})
        self.assertEqual((200, True), (response.status_code, response.get_json()["completed"]))

    def test_page_etag_changes_with_its_content(self) -> None:
        url, _ = self.create()
        page = f"{PATH}?limit=1&total=true"
        tags = [self.client.get(page).headers["ETag"]]
        changes = (
            lambda: self.client.put(url, json={"completed": True}),
            self.create,  # another total, and a next page
            self.create,  # another total
            lambda: self.client.delete(url),
        )
        for change in changes:
            change()
            response = self.client.get(page)
            self.assertRegex(response.headers["ETag"], STRONG_TAG)
            tags.append(response.headers["ETag"])
        self.assertEqual(len(tags), len(set(tags)))

    def test_write_with_matching_if_match_succeeds(self) -> None:
        for method, body in WRITES:
            for value in HOLDING:
                with self.subTest(method=method, value=value):
                    url, tag = self.create()
                    response = self.write(method, url, body, value, tag)
                    self.assertEqual(200, response.status_code, response.get_data())
                    self.assertEqual(404 if method == "DELETE" else 200, self.client.get(url).status_code)

    def test_write_with_failed_precondition_changes_nothing(self) -> None:
        for method, body in WRITES:
            url, tag = self.create()
            before = self.client.get(url).get_json()
            for value in FAILING:
                with self.subTest(method=method, value=value[:40]):
                    response = self.write(method, url, body, value, tag)
                    problem = response.get_json()
                    self.assertIn(response.status_code, {400, 412})
                    self.assertEqual("application/problem+json", response.content_type)
                    self.assertEqual(problem["status"], response.status_code)
                    if response.status_code == 412:
                        self.assertEqual("/problems/precondition-failed", problem["type"])
                        self.assertEqual(tag, response.headers["ETag"])
                    self.assertEqual(before, self.client.get(url).get_json())

    def test_write_with_stale_etag_is_412(self) -> None:
        for method, body in WRITES:
            with self.subTest(method=method, body=body):
                url, stale = self.create()
                current = self.client.put(url, json={"completed": True}).headers["ETag"]
                response = self.write(method, url, body, stale)
                self.assertEqual((412, current), (response.status_code, response.headers["ETag"]))
                self.assertEqual(200, self.write(method, url, body, current).status_code)

    def test_absent_todo_matches_no_precondition(self) -> None:
        """A condition counts only if the response without it would be a success (RFC 9110, 13.2.1)."""
        for method, body in WRITES:
            for value in ("*", '"TAG"'):
                with self.subTest(method=method, value=value):
                    response = self.write(method, f"{PATH}/1", body, value)
                    self.assertEqual(412 if method == "DELETE" else 404, response.status_code)
                    self.assertNotIn("ETag", response.headers)

    def test_invalid_body_is_reported_before_the_precondition(self) -> None:
        url, _ = self.create()
        self.assertEqual(400, self.write("PUT", url, {"title": ""}, '"other"').status_code)

    def test_if_none_match_on_a_write(self) -> None:
        url, tag = self.create()
        for value, expected in ((tag, 412), (f"W/{tag}", 412), ("*", 412), ('"other"', 200)):
            with self.subTest(value):
                response = self.client.put(url, json={"completed": True}, headers={"If-None-Match": value})
                self.assertEqual(expected, response.status_code)

    def test_last_write_wins_without_if_match(self) -> None:
        url, _ = self.create()
        for title in ("one", "two"):
            self.assertEqual(title, self.client.put(url, json={"title": title}).get_json()["title"])

    def write(
        self, method: str, url: str, body: dict[str, Any] | None, if_match: str, tag: str = ""
    ) -> TestResponse:
        headers = {"If-Match": if_match.replace("TAG", tag.strip('"'))}
        return self.client.open(url, method=method, json=body, headers=headers)


class TestRequireIfMatch(SharedAppTest):
    SETTINGS: ClassVar[dict[str, Any]] = {"REQUIRE_IF_MATCH": True}

    def setUp(self) -> None:
        super().setUp()
        response = self.client.post(PATH, json={"title": "Milk"})
        self.url, self.tag = response.headers["Location"], response.headers["ETag"]

    def test_required_if_match_missing_is_428(self) -> None:
        for method, body in WRITES:
            for headers in ({}, {"If-None-Match": '"other"'}, {"If-Unmodified-Since": "now"}):
                with self.subTest(method=method, body=body, headers=headers):
                    response = self.client.open(self.url, method=method, json=body, headers=headers)
                    self.assertEqual(428, response.status_code)
                    self.assertEqual("/problems/precondition-required", response.get_json()["type"])
        self.assertEqual(self.tag, self.client.get(self.url).headers["ETag"])

    def test_required_if_match_is_needed_in_each_batch_operation(self) -> None:
        todo_id = int(self.url.rpartition("/")[2])
        update = {"op": "update", "id": todo_id, "todo": {"title": "Changed"}}
        delete = {"op": "delete", "id": todo_id}
        for operation in (update, delete):
            response = self.client.post(
                f"{PATH}/batch", json={"operations": [{"op": "create", "todo": {"title": "x"}}, operation]}
            )
            self.assertEqual(428, response.status_code)
            self.assertEqual("#/operations/1/if_match", response.get_json()["errors"][0]["pointer"])
        self.assertEqual(self.tag, self.client.get(self.url).headers["ETag"])
        operation = update | {"if_match": self.tag}
        self.assertEqual(200, self.client.post(f"{PATH}/batch", json={"operations": [operation]}).status_code)

    def test_if_match_is_ignored_on_reads(self) -> None:
        self.assertEqual(201, self.client.post(PATH, json={"title": "Bread"}).status_code)
        self.assertEqual(200, self.client.get(self.url).status_code)
        response = self.client.put(self.url, json={"completed": True}, headers={"If-Match": self.tag})
        self.assertEqual(200, response.status_code)
        response = self.client.delete(self.url, headers={"If-Match": "*"})
        self.assertEqual(200, response.status_code)


class TestEditsFromOutside(SharedAppTest):
    def setUp(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.app = create_app(
            {"SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder}/todos.sqlite", "TESTING": True}
        )
        self.client = self.app.test_client()
        self.shell = self.enterContext(closing(sqlite3.connect(folder / "todos.sqlite")))

    def test_edit_in_the_shell_changes_the_etags(self) -> None:
        url = self.client.post(PATH, json={"title": "Milk"}).headers["Location"]
        for edit, expected in (
            ("UPDATE todos SET title = 'Soy milk'", 200),
            ("UPDATE todos SET completed = 1", 200),
            ("UPDATE todos SET deadline_at = '2030-01-01 00:00:00.000000'", 200),
            ("UPDATE todos SET updated_at = '2030-01-01 00:00:00.000000'", 200),
            ("UPDATE todos SET description = ''", 200),
            ("UPDATE todos SET description = NULL, title = 'Milk'", 200),
            ("DELETE FROM todos", 404),
        ):
            with self.subTest(edit):
                tag, page_tag = (self.client.get(path).headers["ETag"] for path in (url, PAGE))
                self.shell.execute(edit)
                self.shell.commit()
                self.assertEqual(412, self.client.delete(url, headers={"If-Match": tag}).status_code)
                self.assertEqual(expected, self.client.get(url, headers={"If-None-Match": tag}).status_code)
                self.assertEqual(200, self.client.get(PAGE, headers={"If-None-Match": page_tag}).status_code)
