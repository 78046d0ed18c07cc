import json
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.support.api import SharedAppTest
from tests.support.cases import label
from todo.schemas import MAX_BATCH_BYTES, MAX_OPERATIONS

pytestmark = pytest.mark.database

PATH = "/api/v1/todos"
BATCH = f"{PATH}/batch"
CREATE = {"op": "create", "todo": {"title": "New"}}

# A body, and the pointers to all of its errors.
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

# An invalid operation after a valid one, and the pointers to all of its errors, relative to the operation.
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

# A valid operation that fails, with its status and the pointer to the cause.
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
    def setup_method(self) -> None:
        super().setup_method()
        response = self.client.post(PATH, json={"title": "First", "description": "kept", "completed": True})
        self.first: dict[str, Any] = response.get_json()
        self.tag = response.headers["ETag"]

    def run_batch(self, *operations: Any) -> TestResponse:
        return self.client.post(BATCH, json={"operations": operations})

    def assertUntouched(self) -> None:
        assert [self.first] == self.client.get(PATH).get_json()

    def test_batch_runs_operations_in_order(self) -> None:
        probe = self.client.post(PATH, json={"title": "deleted"}).get_json()["id"]
        self.client.delete(f"{PATH}/{probe}")
        next_id = 2 * probe - self.first["id"]  # a node of Galera gives every third id
        response = self.run_batch(
            {"op": "create", "todo": {"title": "Zwei", "deadline_at": "2030-01-01"}},
            {"op": "update", "id": 1, "todo": {"title": "Eins"}, "if_match": self.tag},
            {"op": "update", "id": 1, "todo": {"description": None}},
            {"op": "update", "id": next_id, "todo": {}},
            {"op": "delete", "id": 1, "if_match": "*"},
            {"op": "delete", "id": 1},
            {"op": "create", "todo": {"title": "Drei"}},
        )
        assert (response.status_code, response.content_type) == (200, "application/json")
        assert list(response.get_json()) == ["results"]
        two, renamed, cleared, same, deleted, nothing, three = response.get_json()["results"]
        assert (renamed["title"], renamed["description"]) == ("Eins", "kept")
        assert renamed | {"description": None, "updated_at": cleared["updated_at"]} == cleared
        assert (two["id"], two["deadline_at"]) == (next_id, "2030-01-01T00:00:00")
        assert (two, cleared, {}) == (same, deleted, nothing)
        assert [two, three] == self.client.get(PATH).get_json()

    @pytest.mark.parametrize(("body", "expected"), FAULTY_BODIES, ids=label)
    def test_invalid_batch_body_is_400(self, body: Any, expected: Any) -> None:
        response = self.client.post(BATCH, data=json.dumps(body), content_type="application/json")
        assert response.status_code == 400
        assert expected == pointers(response)
        self.assertUntouched()

    @pytest.mark.parametrize(("operation", "expected"), FAULTY_OPERATIONS, ids=label)
    def test_invalid_operation_is_400_with_its_pointer(self, operation: Any, expected: Any) -> None:
        response = self.run_batch(CREATE, operation)
        assert response.status_code == 400
        assert [f"#/operations/1{pointer}" for pointer in expected] == pointers(response)
        self.assertUntouched()

    def test_every_invalid_operation_is_named(self) -> None:
        faulty = {"op": "create", "todo": {"title": ""}}
        response = self.run_batch(faulty, CREATE, faulty, {"op": "delete"})
        expected = ["#/operations/0/todo/title", "#/operations/2/todo/title", "#/operations/3/id"]
        assert expected == pointers(response)
        self.assertUntouched()

    @pytest.mark.parametrize(("operation", "status", "pointer"), REFUSED_OPERATIONS, ids=label)
    def test_failed_operation_rolls_back_the_batch(self, operation: Any, status: Any, pointer: Any) -> None:
        before = ({"op": "update", "id": 1, "todo": {"title": "Other"}}, CREATE)
        response = self.run_batch(*before, operation, CREATE)
        assert status == response.status_code
        assert [f"#/operations/2{pointer}"] == pointers(response)
        self.assertUntouched()

    def test_etag_can_become_stale_within_a_batch(self) -> None:
        update = {"op": "update", "id": 1, "todo": {"title": "Other"}, "if_match": self.tag}
        response = self.run_batch(update, update)
        assert (response.status_code, pointers(response)) == (412, ["#/operations/1/if_match"])
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
            response = self.run_batch(*good, last)
            assert status == response.status_code
            assert [f"#/operations/{MAX_OPERATIONS - 1}{pointer}"] == pointers(response)
            self.assertUntouched()
        response = self.run_batch(*good, CREATE)
        assert response.status_code == 200
        # Ids of a rolled back transaction may be used again.
        found = sum(result != {} for result in response.get_json()["results"][2::3])
        assert 1 + 333 - found + 1 == len(self.client.get(PATH).get_json())

    @pytest.mark.parametrize(
        ("size", "expected"), [(MAX_BATCH_BYTES, 200), (MAX_BATCH_BYTES + 1, 413)], ids=label
    )
    def test_batch_over_1_mib_is_413(self, size: Any, expected: int) -> None:
        body = json.dumps({"operations": [CREATE]}).encode()
        response = self.client.post(BATCH, data=body.ljust(size), content_type="application/json")
        assert response.status_code == expected
        assert len(self.client.get(PATH).get_json()) == (2 if expected == 200 else 1)

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", BATCH),
            ("DELETE", PATH),
            ("PUT", PATH),
            ("PATCH", PATH),
            ("DELETE", BATCH),
        ],
        ids=label,
    )
    def test_batch_accepts_only_post(self, method: str, path: Any) -> None:
        response = self.client.open(path, method=method, json={"operations": [CREATE]})
        assert response.status_code == 405
        assert "POST" in response.headers["Allow"]
        self.assertUntouched()


def pointers(response: TestResponse) -> list[str | None]:
    return [fault.get("pointer") for fault in response.get_json()["errors"]]
