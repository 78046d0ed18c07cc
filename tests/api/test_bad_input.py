"""Invalid input: each row is a scenario, a request, and the fields that the response must name.

A row of members is sent as part of an otherwise valid body. None of the requests may change anything.
"""

import io
import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.api import JSON, TODOS, ApiTest
from tests.support.cases import label
from todo.models import db
from todo.models.todo import Todo

pytestmark = pytest.mark.database

GOOD = b'{"title": "Buy milk"}'
LIMIT = 64 * 1024  # bytes

MALFORMED = {
    "no body": b"",
    "white space": b" \n",
    "a brace": b"{",
    "null": b"null",
    "true": b"true",
    "an array": b"[]",
    "an array of todos": b"[" + GOOD + b"]",
    "a string": b'"Buy milk"',
    "a number": b"7",
    "text": b"Buy milk",
    "a form": b"title=Buy+milk",
    "single quotes": b"{'title': 'Buy milk'}",
    "a trailing comma": b'{"title": "Buy milk",}',
    "a comment": b'{"title": "Buy milk" /* today */}',
    "two objects": GOOD + GOOD,
    "an object and more": GOOD + b" x",
    "a zero byte after it": GOOD + b"\0",
    "NaN": b'{"title": NaN}',
    "Infinity": b'{"title": "x", "completed": Infinity}',
    "-Infinity": b'{"title": "x", "completed": -Infinity}',
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without a mark": GOOD.decode().encode("utf-16-le"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "Latin-1": '{"title": "Käse"}'.encode("latin-1"),
    "a surrogate in UTF-8": b'{"title": "\xed\xa0\x80"}',
    "an overlong form in UTF-8": b'{"title": "\xc0\xaf"}',
    "a lone surrogate": rb'{"title": "\ud800"}',
    "a lone low surrogate": rb'{"title": "\udc00\ud800"}',
    "a lone surrogate as a name": rb'{"title": "x", "\ud800": 1}',
    "a lone surrogate as a name twice": rb'{"title": "x", "\ud800": 1, "\ud800": 2}',
    "a raw control character": b'{"title": "a\x01b"}',
    "a raw zero byte": b'{"title": "a\x00b"}',
    "half an escape": rb'{"title": "\u00"}',
    "an integer of 5,000 digits": b'{"title": ' + b"9" * 5000 + b"}",
    "a negative integer of 5,000 digits": b'{"title": "x", "completed": -' + b"9" * 5000 + b"}",
}

# The depth that the parser rejects depends on the version of Python, and so does the named field.
NESTED = {
    "5,000 nested arrays": b"[" * 5000 + b"]" * 5000,
    "5,000 nested arrays as a title": b'{"title": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "5,000 nested objects": b'{"title": ' * 5000 + b"1" + b"}" * 5000,
    "60,000 opening brackets": b"[" * 60_000,
}

REPEATED = {
    "a member": (b'{"title": "a", "title": "b"}', ["#/title"]),
    "a member with one value": (b'{"title": "a", "title": "a"}', ["#/title"]),
    "two members": (
        b'{"title": "a", "completed": true, "title": "b", "completed": true}',
        ["#/title", "#/completed"],
    ),
    "the second null": (b'{"title": "a", "deadline_at": 1, "deadline_at": null}', ["#/deadline_at"]),
    "another member at fault too": (
        b'{"title": "a", "title": "b", "completed": 1}',
        ["#/title", "#/completed"],
    ),
    "an escaped spelling of a member": (rb'{"title": "a", "titl\u0065": "b"}', ["#/title"]),
    "an unknown member": (b'{"title": "a", "colour": 1, "colour": 2}', ["#/colour"]),
    "in an object in a member": (b'{"title": {"a": 1, "a": 2}}', ["#/title"]),
}

WRONG: dict[str, list[Any]] = {
    "title": [
        *("x" * 81, "\N{PILE OF POO}" * 81, "x" * 60_000),
        *("", " ", " " * 80, "\u00a0\u2003\u3000", "\u2028"),
        *(None, 7, 0, 1.5, True, False, [], ["x"], {}, {"title": "x"}, 10**4000),
        *("\0", "a\0b", "a\nb", "a\n", "a\r\n", "a\tb", "\x1b[31mred", "a\x7f", "a\x85b", "a\x9f"),
    ],
    "description": [
        *("x" * 121, "\N{PILE OF POO}" * 121),
        *(7, 0, 1.5, True, False, [], ["x"], {}),
        *("\0", "a\0b", "a\x0bb", "\x1b[31mred", "a\x7f", "a\x85b"),
    ],
    "completed": [1, 0, 1.0, -1, "false", "true", "", "yes", None, [], [True], {}],
    "deadline_at": [
        *("tomorrow", "", " ", "now", "T", "2023", "2023-02", "12:00:00"),
        *("2023-02-30", "2023-02-30T00:00:00", "2023-02-29T00:00:00", "1900-02-29", "2023-04-31"),
        *("2023-13-01", "2023-00-01", "2023-01-00", "2023-01-32", "2023-1-1"),
        *("10000-01-01", "10000-01-01T00:00:00", "+10000-01-01", "0000-01-01", "-0001-01-01", "99999999"),
        *(
            "2023-02-27T24:00:00",
            "2023-02-27T23:60:00",
            "2023-02-27T23:59:60",
            "2023-02-27T",
            "2023-02-27T1",
        ),
        *("2023-02-27T00:00:00.", "2023-02-27T00:00:00.1234567890", "2023-02-27T00:00:00+25:00"),
        *(
            "2023-02-27T00:00:00+10:60",
            "2023-02-27T00:00:00 Europe/Berlin",
            "2023-02-27Z",
            "Mon, 27 Feb 2023",
        ),
        *("2023-02-27\n", "2023-02-27T00:00:00\0", " 2023-02-27", "\u0662\u0660\u0662\u0663-02-27"),
        *(0, 20230227, 1677456000.5, 10**25, True, False, [], ["2023-02-27"], {}),
    ],
}

UNKNOWN = [
    *("id", "created_at", "updated_at"),
    *("_sa_instance_state", "__class__", "__init__", "metadata", "values"),
    *("colour", "Title", "titles", "deadline", "$schema", "__proto__"),
]

# RFC 6901 escapes `~` and `/`. Other characters are escaped as in the fragment of a URI.
POINTERS = {
    "": "#/",
    "a/b": "#/a~1b",
    "a~b": "#/a~0b",
    "Größe": "#/Gr%C3%B6%C3%9Fe",
    "a b": "#/a%20b",
    "\0": "#/%00",
}

MEDIA_TYPES = {
    None: 415,
    "": 415,
    "text/plain": 415,
    "text/json": 415,
    "application/x-www-form-urlencoded": 415,
    "multipart/form-data; boundary=x": 415,
    "application/octet-stream": 415,
    "application/jsonp": 415,
    "json": 415,
    "*/*": 415,
    "application/json": 201,
    "APPLICATION/JSON": 201,
    "application/json; charset=utf-8": 201,
}

QUERIES = {
    "completed=yes": ["completed"],
    "completed=": ["completed"],
    "completed": ["completed"],
    "completed=1": ["completed"],
    "completed=0": ["completed"],
    "completed=True": ["completed"],
    "completed=null": ["completed"],
    "completed=%22true%22": ["completed"],
    "completed=true%00": ["completed"],
    "completed=true&completed=false": ["completed"],
    "completed=true&completed=true": ["completed"],
    "window=-1": ["window"],
    "window=-0": ["window"],
    "window=+1": ["window"],
    "window=%2B1": ["window"],
    "window=1.5": ["window"],
    "window=1.0": ["window"],
    "window=1e3": ["window"],
    "window=1_000": ["window"],
    "window=0x10": ["window"],
    "window=": ["window"],
    "window=%20": ["window"],
    "window=1%20": ["window"],
    "window=1%0A": ["window"],
    "window=true": ["window"],
    "window=NaN": ["window"],
    "window=%D9%A1": ["window"],
    "window=99999999999999999999": ["window"],
    "window=9223372036854775807": ["window"],
    "window=9223372036854775808": ["window"],
    "window=1000000000": ["window"],
    "window=" + "9" * 5000: ["window"],
    "window=1&window=1": ["window"],
    "colour=red": ["colour"],
    "colour": ["colour"],
    "=": [""],
    "Completed=true": ["Completed"],
    "completed%00=true": ["completed\0"],
    "completed=true;window=1": ["completed"],
    "colour=red&size=7": ["colour", "size"],
    "completed=yes&window=-1&colour=red": ["completed", "window", "colour"],
}

# Whole numbers are ids of absent todos. No route matches the other values.
NUMBERS = [
    "0",
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "9" * 30,
    "-" + "9" * 30,
]
NO_NUMBERS = [
    "abc",
    "1.5",
    "1e3",
    "%00",
    "1%00",
    "1%0A",
    "1%20",
    "+1",
    "01",
    "-0",
    "0x1",
    "%D9%A1",
    "1/",
    "1/x",
    "",
]


class TestBody(ApiTest):
    def setup_method(self) -> None:
        super().setup_method()
        self.todo = self.create(title="As it was")

    def send(self, body: bytes, pointers: list[str]) -> None:
        for method, path in (("POST", TODOS), ("PUT", f"{TODOS}/{self.todo['id']}")):
            response = self.client.open(path, method=method, data=body, content_type=JSON)
            self.assertFaults("pointer", pointers, response)

    def teardown_method(self) -> None:
        assert [self.todo] == self.read_all()

    @pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
    def test_malformed_body_is_400(self, body: Any) -> None:
        self.send(body, ["#"])

    @pytest.mark.parametrize("body", NESTED.values(), ids=NESTED)
    def test_deeply_nested_body_is_400(self, body: bytes) -> None:
        for method, path in (("POST", TODOS), ("PUT", f"{TODOS}/{self.todo['id']}")):
            response = self.client.open(path, method=method, data=body, content_type=JSON)
            assert len(self.assertProblem(400, response)["errors"]) == 1

    @pytest.mark.parametrize(("body", "pointers"), REPEATED.values(), ids=REPEATED)
    def test_duplicate_member_is_400(self, body: Any, pointers: Any) -> None:
        self.send(body, pointers)

    @pytest.mark.parametrize(
        ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values], ids=label
    )
    def test_invalid_member_is_400(self, name: str, value: Any) -> None:
        self.send(json.dumps({"title": "x", name: value}).encode(), [f"#/{name}"])

    @pytest.mark.parametrize("name", UNKNOWN, ids=label)
    @pytest.mark.parametrize("value", [1, "x", None], ids=label)
    def test_unknown_member_is_400(self, name: Any, value: Any) -> None:
        self.send(json.dumps({"title": "x", name: value}).encode(), [f"#/{quote(name)}"])

    @pytest.mark.parametrize(("name", "pointer"), POINTERS.items(), ids=POINTERS)
    def test_pointer_escapes_the_member_name(self, name: Any, pointer: Any) -> None:
        self.send(json.dumps({"title": "x", name: 1}).encode(), [pointer])

    def test_every_invalid_member_is_named(self) -> None:
        members = {
            "title": " ",
            "description": 7,
            "completed": "yes",
            "deadline_at": "soon",
            "id": 1,
            "colour": 2,
        }
        self.send(json.dumps(members).encode(), [f"#/{name}" for name in members])

    @pytest.mark.parametrize(
        ("members", "pointers"),
        [
            ({}, ["#/title"]),
            ({"description": "x"}, ["#/title"]),
            ({"completed": 1}, ["#/title", "#/completed"]),
            ({"colour": "red"}, ["#/title", "#/colour"]),
        ],
        ids=label,
    )
    def test_missing_title_is_400(self, members: Any, pointers: Any) -> None:
        self.assertFaults("pointer", pointers, self.client.post(TODOS, json=members))

    @pytest.mark.parametrize(
        ("scenario", "words"),
        [
            ("no body", "is empty"),
            ("an array", "must be a JSON object"),
            ("a trailing comma", "line 1 column"),
            ("NaN", "NaN is not"),
            ("Latin-1", "must be UTF-8, but byte 12 is invalid"),
            ("a lone surrogate", "surrogates"),
            ("a lone surrogate as a name twice", "surrogates"),
            ("an integer of 5,000 digits", "digits"),
        ],
    )
    def test_malformed_body_message_says_why(self, scenario: str, words: str) -> None:
        response = self.client.post(TODOS, data=MALFORMED[scenario], content_type=JSON)
        assert words in self.assertProblem(400, response)["detail"]

    def test_duplicate_member_message_names_the_member(self) -> None:
        response = self.client.post(TODOS, data=REPEATED["a member"][0], content_type=JSON)
        assert self.assertProblem(400, response)["detail"] == "title must be sent only once"

    @pytest.mark.parametrize(
        ("members", "words"),
        [
            ({"title": "x" * 81}, "title must be a string of 1 to 80 characters"),
            ({"title": "x", "description": "x" * 121}, "at most 120 characters"),
            ({"title": "x", "completed": 1}, "completed must be true or false"),
            ({"title": "x", "deadline_at": "soon"}, "2027-01-31T18:00:00"),
            ({"title": "x", "colour": 1}, "title, description, completed, deadline_at"),
        ],
        ids=label,
    )
    def test_invalid_member_message_says_what_to_send(self, members: Any, words: str) -> None:
        problem = self.assertProblem(400, self.client.post(TODOS, json=members))
        assert words in problem["detail"]
        assert words in problem["errors"][0]["detail"]


class TestMediaTypeAndSize(ApiTest):
    @pytest.mark.parametrize(("media_type", "status"), MEDIA_TYPES.items(), ids=MEDIA_TYPES)
    def test_other_media_type_is_415(self, media_type: Any, status: Any) -> None:
        response = self.client.post(TODOS, data=GOOD, content_type=media_type)
        if status == 201:
            assert response.status_code == 201, response.text
        else:
            problem = self.assertProblem(status, response)
            assert problem["type"] == "/problems/unsupported-media-type"
            assert "application/json" in problem["detail"]

    def test_form_body_is_415(self) -> None:
        file = (io.BytesIO(b"milk"), "milk.txt")
        for data in ({"title": "Buy milk"}, {"title": "Buy milk", "file": file}):
            self.assertProblem(415, self.client.post(TODOS, data=data))

    def test_missing_body_is_400(self) -> None:
        self.assertProblem(415, self.client.post(TODOS))

    @pytest.mark.parametrize("announced", [True, False])
    @pytest.mark.parametrize(
        ("body", "status"),
        [
            pytest.param(GOOD.ljust(LIMIT), 201, id="at-the-limit"),
            pytest.param(GOOD.ljust(LIMIT + 1), 413, id="a-byte-more"),
            pytest.param(json.dumps({"title": "x" * 1_000_000}).encode(), 413, id="a-title-of-1-MB"),
        ],
    )
    def test_body_over_the_limit_is_413(self, body: bytes, status: int, announced: bool) -> None:
        if announced:
            response = self.client.post(TODOS, data=body, content_type=JSON)
        else:
            response = self.client.post(
                TODOS,
                input_stream=io.BytesIO(body),
                content_type=JSON,
                headers={"Transfer-Encoding": "chunked"},
                environ_overrides={"wsgi.input_terminated": True},
            )
        if status == 201:
            assert response.status_code == 201, response.text
        else:
            problem = self.assertProblem(status, response)
            assert problem["type"] == "/problems/content-too-large"
            assert str(LIMIT) in problem["detail"]


class TestQuery(ApiTest):
    @pytest.mark.parametrize(("query", "parameters"), QUERIES.items(), ids=QUERIES)
    def test_invalid_query_parameter_is_400(self, query: Any, parameters: Any) -> None:
        self.assertFaults("parameter", parameters, self.client.get(f"{TODOS}?{query}"))

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ("%FF=1", "UTF-8"),
            ("completed=%FF", "UTF-8"),
            ("completed=%ED%A0%80", "UTF-8"),
            ("completed=\xff", "UTF-8"),
            ("&".join(["colour=red"] * 1000), "at most 100 parameters"),
        ],
        ids=label,
    )
    def test_malformed_query_is_400(self, query: Any, words: str) -> None:
        response = self.client.get(TODOS, environ_overrides={"QUERY_STRING": query})
        problem = self.assertProblem(400, response)
        assert words in problem["detail"]
        assert [{"detail": problem["detail"]}] == problem["errors"]

    def test_unknown_parameter_message_names_the_known_parameters(self) -> None:
        problem = self.assertProblem(400, self.client.get(f"{TODOS}?colour=red"))
        for words in ("colour", "completed", "window"):
            assert words in problem["detail"]

    def test_other_routes_reject_parameters(self) -> None:
        todo = self.create()
        one = f"{TODOS}/{todo['id']}"
        for method, path, body in (
            ("GET", "/api/v1/health", None),
            ("GET", one, None),
            ("POST", TODOS, {"title": "x"}),
            ("PUT", one, {"title": "x"}),
            ("DELETE", one, None),
        ):
            response = self.client.open(f"{path}?completed=true", method=method, json=body)
            self.assertFaults("parameter", ["completed"], response)
        assert [todo] == self.read_all()


class TestId(ApiTest):
    @pytest.mark.parametrize("number", NUMBERS, ids=label)
    def test_unused_id_is_404(self, number: Any) -> None:
        path = f"{TODOS}/{number}"
        for response in (self.client.get(path), self.client.put(path, json={"title": "x"})):
            assert self.assertProblem(404, response)["error"] == "Todo not found"
        response = self.client.delete(path)
        assert (response.status_code, response.json) == (200, {})

    def test_id_with_a_valid_prefix_is_404(self) -> None:
        least, greatest = -(10**15), 10**15
        with self.app.app_context():
            db.session.add_all(Todo(id=number, title="x") for number in (least, greatest))
            db.session.commit()
        for number in (least, greatest):
            assert number == self.client.get(f"{TODOS}/{number}").get_json()["id"]
            for more in ("0", "00", "0" * 10):
                self.assertProblem(404, self.client.get(f"{TODOS}/{number}{more}"))

    @pytest.mark.parametrize("text", NO_NUMBERS, ids=label)
    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    def test_invalid_id_is_rejected(self, text: Any, method: str) -> None:
        self.create()
        body = {"title": "x"} if method == "PUT" else None
        self.assertProblem(404, self.client.open(f"{TODOS}/{text}", method=method, json=body))
        assert self.read_all()[0]["title"] == "Buy milk"
