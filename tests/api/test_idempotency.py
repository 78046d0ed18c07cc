import tempfile
import time
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, insert, select, update
from werkzeug.test import TestResponse

from tests.support.api import SharedAppTest, empty_app, shared_app
from tests.support.cases import label
from tests.support.sizes import size
from todo import create_app
from todo.clock import utc_now
from todo.http import idempotency
from todo.models import db
from todo.models.idempotency_key import IdempotencyKey

pytestmark = pytest.mark.database

PATH = "/api/v1/todos"
BATCH = f"{PATH}/batch"
MILK = {"title": "Buy milk", "description": "Zwei Liter, für Ünal"}
BATCH_OF_TWO = {"operations": [{"op": "create", "todo": MILK}, {"op": "create", "todo": {"title": "Bread"}}]}


class TestIdempotency(SharedAppTest):
    def post(self, body: Any = MILK, *, key: str | None = "a-key", path: str = PATH) -> TestResponse:
        return self.client.post(path, json=body, headers={} if key is None else {"Idempotency-Key": key})

    def count(self) -> int:
        return len(self.client.get(PATH).get_json())

    def assertReplay(self, first: TestResponse, again: TestResponse) -> None:
        """Check that `again` equals `first`, except for the headers that differ in each response."""
        assert "Idempotency-Replayed" not in first.headers
        assert again.headers["Idempotency-Replayed"] == "true"
        assert kept(first) == kept(again)

    @pytest.mark.parametrize(
        ("path", "body", "status"), [(PATH, MILK, 201), (BATCH, BATCH_OF_TWO, 200)], ids=label
    )
    def test_retry_replays_the_response_and_creates_nothing(self, path: Any, body: Any, status: int) -> None:
        first = self.post(body, key=path, path=path)
        count = self.count()
        assert status == first.status_code
        for _ in range(3):
            self.assertReplay(first, self.post(body, key=path, path=path))
        assert count == self.count()

    def test_replay_is_the_first_response_even_after_changes(self) -> None:
        first = self.post()
        self.client.put(first.headers["Location"], json={"title": "Changed"})
        self.assertReplay(first, self.post())
        self.client.delete(first.headers["Location"])
        self.assertReplay(first, self.post())
        assert self.count() == 0

    def test_another_key_or_no_key_creates_another_todo(self) -> None:
        for key in ("a", "b", "A", '"a"', "a" * 255, None, None):
            response = self.post(key=key)
            assert response.status_code == 201
            assert "Idempotency-Replayed" not in response.headers
        assert self.count() == 7

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            (PATH, MILK | {"completed": True}),
            (PATH, {"title": "Buy milk"}),
            (BATCH, BATCH_OF_TWO),
        ],
        ids=label,
    )
    def test_key_reused_with_another_request_is_422(self, path: Any, body: Any) -> None:
        first = self.post()
        response = self.post(body, path=path)
        assert response.status_code == 422
        assert response.get_json()["type"] == "/problems/idempotency-key-reused"
        self.assertReplay(first, self.post())
        assert self.count() == 1

    @pytest.mark.parametrize("key", ["", " ", "a b", "a" * 256, "é", "\u0080", "a\tb"], ids=label)
    def test_malformed_key_is_400(self, key: Any) -> None:
        assert self.post(key=key).status_code == 400
        assert self.count() == 0

    def test_failed_request_leaves_its_key_free(self) -> None:
        faulty = {"operations": [*BATCH_OF_TWO["operations"], {"op": "update", "id": 99, "todo": {}}]}
        for body, path, status in (({"title": ""}, PATH, 400), (faulty, BATCH, 404)):
            assert status == self.post(body, path=path).status_code
        assert self.count() == 0
        self.assertReplay(self.post(), self.post())

    @pytest.mark.parametrize(
        ("age", "replayed"),
        [
            (timedelta(hours=23, minutes=59), True),
            (timedelta(hours=24, seconds=1), False),
        ],
        ids=label,
    )
    def test_key_expires_after_24_hours(self, age: Any, replayed: bool) -> None:
        first = self.post()
        with self.app.app_context():
            db.session.execute(update(IdempotencyKey).values(created_at=utc_now() - age))
            db.session.commit()
        response = self.post()
        assert replayed == ("Idempotency-Replayed" in response.headers)
        assert replayed == (first.get_json() == response.get_json())
        assert self.count() == (1 if replayed else 2)

    def test_key_is_ignored_by_other_methods(self) -> None:
        url = self.post().headers["Location"]
        for method, body in (("PUT", {"completed": True}), ("PATCH", {"completed": False}), ("DELETE", None)):
            response = self.client.open(url, method=method, json=body, headers={"Idempotency-Key": "a-key"})
            assert response.status_code == 200
            assert "Idempotency-Replayed" not in response.headers
        assert self.count() == 0

    def test_key_survives_a_restart(self) -> None:
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        answers = []
        for _ in range(2):
            app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder}/todos.sqlite", "TESTING": True})
            self.client = app.test_client()
            answers.append(self.post())
        self.assertReplay(*answers)
        assert self.count() == 1


def kept(response: TestResponse) -> tuple[int, bytes, dict[str, str]]:
    headers = {
        name: value
        for name, value in response.headers
        if name not in {"X-Request-ID", "Idempotency-Replayed"}
    }
    return response.status_code, response.get_data(), headers


MIB = 1024 * 1024
EXPIRED = size(2000, 70_000)  # databases accept at most 65,535 parameters in a statement


@pytest.fixture(name="keys")
def _keys(monkeypatch: pytest.MonkeyPatch) -> Flask:
    """An app on an empty database, whose next request with a key looks for expired keys."""
    monkeypatch.setattr(idempotency, "_next_purge", 0.0)
    monkeypatch.setattr(idempotency, "_next_size_check", 0.0)
    return shared_app()


def store(app: Flask, count: int, age: timedelta, body: bytes) -> None:
    """Store the responses of `count` requests of that age."""
    row = {
        "request_hash": b"x" * 32,
        "status": 201,
        "headers": b"[]",
        "created_at": utc_now() - age,
        "body": body,
    }
    with app.app_context():
        db.session.execute(insert(IdempotencyKey), [row | {"key": f"{age} {n}"} for n in range(count)])
        db.session.commit()


def count_keys(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(IdempotencyKey)) or 0


def post_with_key(
    app: Flask, key: str, path: str = PATH, body: object = MILK, **headers: str
) -> TestResponse:
    return app.test_client().post(path, json=body, headers={"Idempotency-Key": key, **headers})


@pytest.mark.soak
def test_expired_keys_are_deleted_in_bounded_steps(keys: Flask) -> None:
    store(keys, EXPIRED, timedelta(days=2), b"x" * 200)
    store(keys, size(20, 200), timedelta(days=3), b"x" * MIB)
    store(keys, 3, timedelta(hours=1), b"x" * 200)
    seconds: list[float] = []
    for number in count():
        before = count_keys(keys)
        began = time.monotonic()
        assert post_with_key(keys, f"new-{number}").status_code == 201
        seconds.append(time.monotonic() - began)
        after = count_keys(keys)
        assert before - after <= idempotency.PURGE_STEP
        if after > before:
            break
    assert after == 3 + number + 1
    assert number <= EXPIRED / idempotency.PURGE_STEP + 1
    assert sorted(seconds)[-2] < 5  # other programs may delay one request


def test_stored_response_has_at_most_one_mib(keys: Flask) -> None:
    """The longest members in the largest batch, so that no response needs a limit of its own."""
    todo = {
        "title": "\N{GRINNING FACE}" * 80,
        "description": "\N{GRINNING FACE}" * 120,
        "deadline_at": "2027-01-31T18:00:00.000001",
    }
    operations = [{"op": "create", "todo": todo}] + [{"op": "update", "id": 1, "todo": {}}] * 999
    response = post_with_key(keys, "a-key", path=BATCH, body={"operations": operations})
    assert response.status_code == 200
    assert 900_000 < len(response.get_data()) < MIB


def test_oldest_keys_are_deleted_if_all_responses_are_too_large(
    keys: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "MAX_STORED", 100_000)
    store(keys, idempotency.PURGE_STEP, timedelta(hours=20), b"x" * 5000)
    store(keys, 20, timedelta(hours=1), b"x" * 5000)
    assert post_with_key(keys, "new").status_code == 201
    assert count_keys(keys) == 21
    with keys.app_context():
        newest = utc_now() - timedelta(hours=2)
        assert db.session.scalars(select(func.min(IdempotencyKey.created_at))).one() > newest


def test_key_belongs_to_its_token() -> None:
    app = empty_app(REQUIRE_TOKEN=True)
    runner = app.test_cli_runner()
    tokens = [runner.invoke(args=["token", "create", name]).stdout.strip() for name in ("first", "second")]
    created = [post_with_key(app, "a-key", Authorization=f"Bearer {token}") for token in tokens * 2]
    assert [response.headers.get("Idempotency-Replayed") for response in created] == [
        None,
        None,
        "true",
        "true",
    ]
    ids = [response.get_json()["id"] for response in created]
    assert ids[0] == ids[2] != ids[1] == ids[3]
