from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cases import label
from todo.formats import Entry, ParseError, json, own_uid, parse_own_uid, text, todotxt

pytestmark = pytest.mark.soak

CALL = {"title": "Call", "completed": True}


def pieces(whole: str, size: int) -> Iterator[str]:
    return (whole[start : start + size] for start in range(0, len(whole), size))


UUID = "0c1a2d6e-1111-4222-8333-123456789abc"
TASK = f'"uuid": "{UUID}", "id": 1, "urgency": 2.5, "description": "Milk", "entry": "20270131T180000Z"'
VALUES = {"title": "Milk", "created_at": "20270131T180000Z", "completed": False, "uid": UUID}


class TestText:
    @given(st.text(), st.integers(1, 5))
    def test_text_in_any_chunks_is_decoded(self, whole: str, size: int) -> None:
        whole = whole.encode(errors="replace").decode()
        data = whole.encode()
        decoded = "".join(text.decode(data[start : start + size] for start in range(0, len(data), size)))
        assert whole.removeprefix("\ufeff") == decoded
        lines = list(text.lines(pieces(decoded, size)))
        assert decoded == "".join(lines)
        assert all(line.count("\n") == line.endswith("\n") for line in lines)

    @pytest.mark.parametrize(
        ("parts", "line"),
        [
            ([b"a\nb\xff\n"], 2),
            ([b"a\nb\n", b"c\nK\xe4se\n"], 4),
            ([b"K\xc3", b"\n"], 1),
            ([b"a\nK\xc3"], 2),
            (["a".encode("utf-16")], 1),
            ([b"\xfe\xff\x00a"], 1),
        ],
        ids=label,
    )
    def test_invalid_utf_8_is_located(self, parts: list[bytes], line: int) -> None:
        with pytest.raises(ParseError) as caught:
            list(text.decode(parts))
        assert line == caught.value.line


class TestUid:
    def test_own_uid_is_recognized(self) -> None:
        uid, moment = "20270131T180000.123456Z-42@todo", "2027-01-31T18:00:00.123456Z"
        assert uid == own_uid(42, moment)
        assert (42, moment) == parse_own_uid(uid)
        for other in ("", "42@todo", "20270131T180000Z-42@todo", f"{uid}\n"):
            assert parse_own_uid(other) is None


class TestJson:
    @pytest.mark.parametrize(
        "whole",
        [
            '[{"title": "a"},\n{"title": "b\\\\\\"]", "x": [1, {}]},\n\n{}]\n',
            '{"title": "a"}\n{"title": "b\\\\\\"]", "x": [1, {}]}\n\n{}\n',
            ' {"title": "a"}\n\t{"title": "b\\\\\\"]", "x": [1, {}]}\r\n\r\n{}',
        ],
    )
    @pytest.mark.parametrize("size", [1, 2, 7, 1000])
    def test_json_in_any_chunks_is_parsed(self, whole: str, size: int) -> None:
        entries = [Entry(1, {"title": "a"}), Entry(2, {"title": 'b\\"]', "x": [1, {}]}), Entry(4, {})]
        assert entries == list(json.read(pieces(whole, size)))
        assert list(json.read([" [ ", "] "])) == []

    def test_invalid_json_todo_is_reported(self) -> None:
        for size in (1, 1000):
            found = list(json.read(pieces('[12, "a", null, [], true]', size)))
            assert [Entry(1, {}, error="A todo must be a JSON object.")] * 5 == found

    @pytest.mark.parametrize(
        ("more", "expected"),
        [
            ('"status": "pending"', Entry(1, VALUES)),
            (
                '"status": "completed", "end": "20270201T000000Z", "modified": "20270201T000000Z"',
                Entry(1, VALUES | {"completed": True, "updated_at": "20270201T000000Z"}),
            ),
            (
                '"status": "waiting", "due": "20270201T120000Z", "project": "Home", "tags": ["a"]',
                Entry(1, VALUES | {"deadline_at": "20270201T120000Z"}, ("project", "tags")),
            ),
            (
                '"status": "pending", "annotations": [{"description": "a"}, {"description": "b"}]',
                Entry(1, VALUES | {"description": "a\nb"}),
            ),
            (
                '"status": "pending", "todouid": "u", "due": 5',
                Entry(1, VALUES | {"uid": "u", "deadline_at": 5}),
            ),
            ('"status": "pending", "annotations": 5', Entry(1, VALUES, ("annotations",))),
            ('"status": "deleted"', Entry(1, None, ("deleted task",))),
            ('"status": "recurring", "recur": "weekly"', Entry(1, None, ("recurring task",))),
        ],
        ids=label,
    )
    def test_taskwarrior_json_is_read(self, more: str, expected: Entry) -> None:
        assert [expected] == list(json.read(["[{", TASK, ", ", more, "}]"]))


class TestTodotxt:
    @pytest.mark.parametrize(
        ("line", "values", "lost"),
        [
            ("Buy milk +Home @shop", {"title": "Buy milk +Home @shop"}, ()),
            ("(A) 2027-01-31 Call", {"title": "Call", "created_at": "2027-01-31"}, ("priority",)),
            ("x 2027-02-01 2027-01-31 Call", CALL | {"created_at": "2027-01-31"}, ()),
            ("x 2027-02-01 Call", CALL, ()),
            ("x (B) Call", CALL, ("priority",)),
            ("xylophone lesson", {"title": "xylophone lesson"}, ()),
            ("X 2027-01-31 Call", {"title": "X 2027-01-31 Call"}, ()),
            ("Call due:2027-02-01 pri:A", {"title": "Call pri:A", "deadline_at": "2027-02-01"}, ()),
            ("due:2027-02-01T18:00 Call", {"title": "Call", "deadline_at": "2027-02-01T18:00"}, ()),
            ("Call due:soon", {"title": "Call due:soon"}, ()),
            ("a due:2027-01-01 due:", {"title": "a due:2027-01-01", "deadline_at": None}, ()),
            ("a uid:a%20b", {"title": "a", "uid": "a b"}, ()),
            ("uid:a", {"title": "", "uid": "a"}, ()),
        ],
        ids=label,
    )
    def test_todotxt_lines_are_read(self, line: str, values: Any, lost: Any) -> None:
        expected = [Entry(2, {"completed": False} | values, lost)]
        assert expected == list(todotxt.read(["\n", line, "\r\n"]))
