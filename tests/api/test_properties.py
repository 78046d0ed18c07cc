"""Properties: for any input, the service never fails, and every accepted value is returned unchanged."""

import json
import re
import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.api import JSON, TODOS, ApiTest, shared_app

pytestmark = pytest.mark.soak

ZONES = ["UTC", "Australia/Brisbane", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "Etc/GMT+12"]
WALL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?")

text = st.text() | st.text(st.characters(categories=["Cc", "Zs", "Cs", "Lu"]), max_size=130)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=10)

visible = st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"])
no_control = st.characters(exclude_categories=["Cc", "Cs"])
titles = st.tuples(st.text(no_control, max_size=39), visible, st.text(no_control, max_size=40)).map("".join)
descriptions = st.none() | st.text(no_control | st.sampled_from("\n\t"), max_size=120)
deadlines = st.none() | st.datetimes().map(datetime.isoformat)
good_todos = st.fixed_dictionaries(
    {"title": titles},
    optional={"description": descriptions, "completed": st.booleans(), "deadline_at": deadlines},
)
almost_todos = st.fixed_dictionaries(
    {},
    optional={
        "title": titles | values,
        "description": descriptions | values,
        "completed": st.booleans() | values,
        "deadline_at": deadlines | values,
        "id": values,
    },
)

offsets = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(timezones=st.none() | st.just(UTC) | offsets).map(datetime.isoformat)
almost_times = st.text(string.digits + "-:T.Z+ ", max_size=32) | st.from_regex(
    r"\A\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?(Z|[+-]\d\d:\d\d)?\Z"
)


class TestBodies(ApiTest):
    @given(good_todos)
    def test_valid_todo_round_trips(self, members: dict[str, Any]) -> None:
        self.post(members, accepted=True)
        self.put(members, accepted=True)

    @given(almost_todos | values)
    def test_any_json_is_rejected_or_round_trips(self, value: Any) -> None:
        self.post(value)
        self.put(value)

    @given(
        st.binary()
        | values.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")[:-1])
    )
    def test_any_bytes_are_rejected_or_a_todo(self, body: bytes) -> None:
        for method, path, accepted in (("POST", TODOS, 201), ("PUT", f"{TODOS}/{self.create()['id']}", 200)):
            response = self.client.open(path, method=method, data=body, content_type=JSON)
            if response.status_code != accepted:
                self.assertProblem(400, response)

    def post(self, value: Any, *, accepted: bool = False) -> None:
        response = self.client.post(TODOS, data=json.dumps(value), content_type=JSON)
        if accepted or response.status_code == 201:
            assert response.status_code == 201, response.text
            defaults = {"description": None, "completed": False, "deadline_at": None}
            self.assert_equal(defaults | value, response.get_json())
        else:
            self.assertProblem(400, response)

    def put(self, value: Any, *, accepted: bool = False) -> None:
        before = self.create(title="Before", description="x", completed=True, deadline_at="2023-02-27")
        path = f"{TODOS}/{before['id']}"
        response = self.client.put(path, data=json.dumps(value), content_type=JSON)
        if accepted or response.status_code == 200:
            assert response.status_code == 200, response.text
            after = response.get_json()
            self.assert_equal(before | value | {"updated_at": after["updated_at"]}, after)
        else:
            self.assertProblem(400, response)
            assert before == self.client.get(path).json

    def assert_equal(self, expected: dict[str, Any], todo: dict[str, Any]) -> None:
        """Compare as JSON, because `True` equals 1 in Python. A date alone has become midnight."""
        deadline = expected["deadline_at"]
        if deadline is not None:
            assert datetime.fromisoformat(deadline) == datetime.fromisoformat(todo["deadline_at"])
            expected = expected | {"deadline_at": todo["deadline_at"]}
        assert json.dumps(todo) == json.dumps(todo | expected)
        assert todo == self.client.get(f"{TODOS}/{todo['id']}").json


class TestDeadlines(ApiTest):
    def setup_method(self) -> None:
        super().setup_method()
        self.clients = {zone: shared_app(TIMEZONE=zone).test_client() for zone in ZONES}

    @given(st.sampled_from(ZONES), times | almost_times | text)
    def test_any_deadline_text_is_rejected_or_stable(self, zone: str, sent: str) -> None:
        self.client = self.clients[zone]
        response = self.client.post(
            TODOS, data=json.dumps({"title": "x", "deadline_at": sent}), content_type=JSON
        )
        if response.status_code != 201:
            self.assertProblem(400, response)
            return
        answered = response.get_json()["deadline_at"]
        assert WALL_TIME.fullmatch(answered), answered
        assert answered == self.create(deadline_at=answered)["deadline_at"]
        if datetime.fromisoformat(sent).tzinfo is None:
            assert datetime.fromisoformat(sent) == datetime.fromisoformat(answered)

    @given(st.sampled_from(ZONES), st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)), offsets)
    def test_deadline_with_offset_keeps_its_moment(self, zone: str, time: datetime, offset: timezone) -> None:
        self.client = self.clients[zone]
        with_offset = time.replace(tzinfo=offset).isoformat()
        as_utc = time.replace(tzinfo=offset).astimezone(UTC).isoformat().replace("+00:00", "Z")
        assert (
            self.create(deadline_at=with_offset)["deadline_at"]
            == self.create(deadline_at=as_utc)["deadline_at"]
        )


class TestAddresses(ApiTest):
    @given(
        st.text(st.characters(max_codepoint=255))
        | st.text(string.printable).map(quote)
        | st.lists(st.tuples(st.sampled_from(["completed", "window"]) | text, text | scalars.map(str))).map(
            lambda pairs: urlencode(pairs, errors="surrogatepass")
        )
    )
    def test_any_query_is_rejected_or_served(self, query: str) -> None:
        for path in (TODOS, "/api/v1/health"):
            response = self.client.get(path, environ_overrides={"QUERY_STRING": query})
            if response.status_code != 200:
                self.assertProblem(400, response)

    @given(
        (
            st.integers().map(str)
            | st.binary().map(quote)
            | text.map(lambda name: quote(name, errors="replace"))
        ).filter(lambda name: name not in {"batch", "deleted"})
    )
    def test_any_id_gets_a_response(self, name: str) -> None:
        path = f"{TODOS}/{name}"
        for response in (self.client.get(path), self.client.put(path, json={"title": "x"})):
            self.assertProblem(404, response)
        response = self.client.delete(path)
        if response.status_code != 200:
            self.assertProblem(404, response)

    @given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n")))
    def test_any_request_id_is_reused_or_replaced(self, sent: str) -> None:
        answered = self.client.get(TODOS, headers={"X-Request-ID": sent}).headers["X-Request-ID"]
        assert re.search(r"\A[!-~]{1,128}\Z", answered)
        if answered != sent:
            assert re.search(r"\A[0-9a-f]{32}\Z", answered)
