import json
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.support.api import SharedAppTest
from todo.schemas import MAX_BATCH_BYTES, MAX_OPERATIONS

pytestmark = pytest.mark.database

PATH = "/api/v1/todos"
BATCH = f"{PATH}/batch"
CREATE = {"op": "create", "todo": {"title": "New"}}

# A whole body, and the pointers to all of its errors.
FAULTY_BODIES: tuple[tuple[Any, list[str]], ...] = (
    ({}, ["#/operations"]),
    ([], ["#"]),
    (None, ["#"]),
    ([CREATE], ["#"]),
    ({"operations": []}, ["#/operations"]),
    ({"operations": None}, ["#/operations"]),
    ({"operations": {"0": CREATE}}, ["#/operations"]),
    ({"operations": [CREATE] * (MAX_OPERATIONS + 1)}, ["#/operations"]),
    ({"operations": [CREATE], "atomic": False}, ["#/atomic"]),
    ({"ops": [CREATE]}, ["#/ops", "#/operations"]),
)

# An operation that stands behind a good one, and the pointers to all of its errors, from it on.
FAULTY_OPERATIONS: tuple[tuple[Any, list[str]], ...] = (
    (None, [""]),
    ("delete", [""]),
    ([], [""]),
    ({}, ["/op"]),
    ({"op": "upsert", "todo": {"title": "x"}}, ["/op"]),
    ({"op": None}, ["/op"]),
    ({"op": ["create"]}, ["/op"]),
    ({"op": "create"}, ["/todo"]),
    ({"op": "create", "todo": None}, ["/todo"]),
    ({"op": "create", "todo": {}}, ["/todo/title"]),
    (
        {"op": "create", "todo": {"title": "", "completed": 1, "id": 5}},
        ["/todo/id", "/todo/title", "/todo/completed"],
    ),
    ({"op": "create", "todo": {"title": "x"}, "id": 5}, ["/id"]),
    ({"op": "create", "todo": {"title": "x"}, "if_match": "*"}, ["/if_match"]),
    ({"op": "update", "id": 1}, ["/todo"]),
    ({"op": "update", "todo": {"title": "x"}}, ["/id"]),
    ({"op": "update", "id": "1", "todo": {}}, ["/id"]),
    ({"op": "update", "id": 1.5, "todo": {}}, ["/id"]),
    ({"op": "update", "id": None, "todo": {}}, ["/id"]),
    ({"op": "update", "id": True, "todo": {}}, ["/id"]),
    ({"op": "update", "id": 1, "todo": {"title": None, "nope": 1}}, ["/todo/nope", "/todo/title"]),
    ({"op": "update", "id": 1, "todo": {"deadline_at": "soon"}}, ["/todo/deadline_at"]),
    ({"op": "update", "id": 1, "todo": {}, "if_match": None}, ["/if_match"]),
    ({"op": "update", "id": 1, "todo": {}, "if_match": ""}, ["/if_match"]),
    ({"op": "update", "id": 1, "todo": {}, "if_match": "unquoted"}, ["/if_match"]),
    ({"op": "update", "id": 1, "todo": {}, "if_match": 'W/"weak"'}, ["/if_match"]),
    ({"op": "delete"}, ["/id"]),
    ({"op": "delete", "id": 1, "todo": {"title": "x"}}, ["/todo"]),
    ({"op": "delete", "id": 1, "if_match": 'a"'}, ["/if_match"]),
    ({"op": "delete", "id": "x", "if_match": 5, "a/b~c": 1}, ["/a~1b~0c", "/id", "/if_match"]),
)

# An operation that is sound and still can't be carried out: its status and the pointer to what is why.
REFUSED_OPERATIONS: tuple[tuple[dict[str, Any], int, str], ...] = (
    ({"op": "update", "id": -1, "todo": {"title": "x"}}, 404, "/id"),
    ({"op": "update", "id": -1, "todo": {}}, 404, "/id"),
    ({"op": "update", "id": -(2**63), "todo": {}}, 404, "/id"),
    ({"op": "update", "id": -1, "todo": {}, "if_match": "*"}, 404, "/id"),
    ({"op": "update", "id": 1, "todo": {"title": "x"}, "if_match": '"stale"'}, 412, "/if_match"),
    ({"op": "update", "id": 1, "todo": {}, "if_match": '"stale"'}, 412, "/if_match"),
    ({"op": "delete", "id": 1, "if_match": '"stale"'}, 412, "/if_match"),
    ({"op": "delete", "id": -1, "if_match": "*"}, 412, "/if_match"),
)


class TestBatch(SharedAppTest):
    def setUp(self) -> None:
        super().setUp()
        response = self.client.post(PATH, json={"title": "First", "description": "kept", "completed": True})
        self.first: dict[str, Any] = response.get_json()
        self.tag = response.headers["ETag"]

    def run_batch(self, *operations: Any) -> TestResponse:
        return self.client.post(BATCH, json={"operations": operations})

    def assertUntouched(self) -> None:
        self.assertEqual([self.first], self.client.get(PATH).get_json())

    def test_batch_runs_operations_in_order(self) -> None:
        response = self.run_batch(
            {"op": "create", "todo": {"title": "Zwei", "deadline_at": "2030-01-01"}},
            {"op": "update", "id": 1, "todo": {"title": "Eins"}, "if_match": self.tag},
            {"op": "update", "id": 1, "todo": {"description": None}},
            {"op": "update", "id": 2, "todo": {}},
            {"op": "delete", "id": 1, "if_match": "*"},
            {"op": "delete", "id": 1},
            {"op": "create", "todo": {"title": "Drei"}},
        )
        self.assertEqual((200, "application/json"), (response.status_code, response.content_type))
        self.assertEqual(["results"], list(response.get_json()))
        two, renamed, cleared, same, deleted, nothing, three = response.get_json()["results"]
        self.assertEqual(("Eins", "kept"), (renamed["title"], renamed["description"]))
        self.assertEqual(renamed | {"description": None, "updated_at": cleared["updated_at"]}, cleared)
        self.assertEqual((2, "2030-01-01T00:00:00"), (two["id"], two["deadline_at"]))
        self.assertEqual((two, cleared, {}), (same, deleted, nothing))
        self.assertEqual([two, three], self.client.get(PATH).get_json())

    def test_invalid_batch_body_is_400(self) -> None:
        for body, expected in FAULTY_BODIES:
            with self.subTest(str(body)[:80]):
                response = self.client.post(BATCH, data=json.dumps(body), content_type="application/json")
                self.assertEqual(400, response.status_code)
                self.assertEqual(expected, pointers(response))
                self.assertUntouched()

    def test_invalid_operation_is_400_with_its_pointer(self) -> None:
        for operation, expected in FAULTY_OPERATIONS:
            with self.subTest(operation):
                response = self.run_batch(CREATE, operation)
                self.assertEqual(400, response.status_code)
                self.assertEqual([f"#/operations/1{pointer}" for pointer in expected], pointers(response))
                self.assertUntouched()

    def test_every_invalid_operation_is_named(self) -> None:
        faulty = {"op": "create", "todo": {"title": ""}}
        response = self.run_batch(faulty, CREATE, faulty, {"op": "delete"})
        expected = ["#/operations/0/todo/title", "#/operations/2/todo/title", "#/operations/3/id"]
        self.assertEqual(expected, pointers(response))
        self.assertUntouched()

    def test_failed_operation_rolls_back_the_batch(self) -> None:
        for operation, status, pointer in REFUSED_OPERATIONS:
            with self.subTest(operation):
                before = ({"op": "update", "id": 1, "todo": {"title": "Other"}}, CREATE)
                response = self.run_batch(*before, operation, CREATE)
                self.assertEqual(status, response.status_code)
                self.assertEqual([f"#/operations/2{pointer}"], pointers(response))
                self.assertUntouched()

    def test_etag_can_become_stale_within_a_batch(self) -> None:
        update = {"op": "update", "id": 1, "todo": {"title": "Other"}, "if_match": self.tag}
        response = self.run_batch(update, update)
        self.assertEqual((412, ["#/operations/1/if_match"]), (response.status_code, pointers(response)))
        self.assertUntouched()

    def test_error_in_operation_1000_changes_nothing(self) -> None:
        kinds = (
            CREATE,
            {"op": "update", "id": 1, "todo": {"title": "Other"}},
            {"op": "delete", "id": self.first["id"] + 1},
        )
        good = [kinds[i % 3] for i in range(MAX_OPERATIONS - 1)]
        too_long = {"op": "create", "todo": {"title": "x" * 81}}
        for last, status, pointer in ((too_long, 400, "/todo/title"), *REFUSED_OPERATIONS[::3]):
            with self.subTest(last):
                response = self.run_batch(*good, last)
                self.assertEqual(status, response.status_code)
                self.assertEqual([f"#/operations/{MAX_OPERATIONS - 1}{pointer}"], pointers(response))
                self.assertUntouched()
        response = self.run_batch(*good, CREATE)
        self.assertEqual(200, response.status_code)
        # Ids that were undone may be given again or not.
        found = sum(result != {} for result in response.get_json()["results"][2::3])
        self.assertEqual(1 + 333 - found + 1, len(self.client.get(PATH).get_json()))

    def test_batch_over_1_mib_is_413(self) -> None:
        body = json.dumps({"operations": [CREATE]}).encode()
        for size, expected in ((MAX_BATCH_BYTES, 200), (MAX_BATCH_BYTES + 1, 413)):
            with self.subTest(size):
                response = self.client.post(BATCH, data=body.ljust(size), content_type="application/json")
                self.assertEqual(expected, response.status_code)
        self.assertEqual(2, len(self.client.get(PATH).get_json()))

    def test_batch_accepts_only_post(self) -> None:
        for method, path in (
            ("GET", BATCH),
            ("DELETE", PATH),
            ("PUT", PATH),
            ("PATCH", PATH),
            ("DELETE", BATCH),
        ):
            with self.subTest(method=method, path=path):
                response = self.client.open(path, method=method, json={"operations": [CREATE]})
                self.assertEqual(405, response.status_code)
                self.assertIn("POST", response.headers["Allow"])
        self.assertUntouched()


def pointers(response: TestResponse) -> list[str | None]:
    return [fault.get("pointer") for fault in response.get_json()["errors"]]
