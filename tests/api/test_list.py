import base64
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from zoneinfo import ZoneInfo

import pytest
from werkzeug.http import parse_options_header
from werkzeug.test import TestResponse

from tests.support.api import SharedAppTest, shared_app
from tests.support.cases import label
from todo.http import cursor as cursors
from todo.models import db
from todo.models.todo import Todo

pytestmark = pytest.mark.database

PATH = "/api/v1/todos"
LONG_AGO = datetime(2001, 1, 1)
LAST_MOMENT = datetime(9999, 12, 31, 23, 59, 59, 999_999)

BROKEN_TEXTS = ("", "=", "A", "AAAAA", "!", "\x00", "\ud7ff", "A" * 50_000, "+/", "%41", "-", "_" * 12)
# What follows the digest in a cursor.
BROKEN_POSITIONS = (
    b"", b"null", b"1", b"[]", b"[1,2]", b'["1"]', b"[null]", b"[true]", b"[1.5]", b"{}", b"[1",
    b"[1]x", b"[1e400]", b"[NaN]", b"[-]", b"\xff", b'["\xff"]', b"\xef\xbb\xbf[1]", b"[%d]" % 2**63,
    b"[-%d]" % (2**63 + 1), b"[" + b"9" * 5000 + b"]", b"[" * 20_000,
    b"[" * 5000 + b"1" + b"]" * 5000, b'{"a":' * 4000, b'[{"a":' * 2000 + b"1" + b"}]" * 2000,
)  # fmt: skip
# The first key of a position, by the sort.
BROKEN_VALUES = {
    "title": ['"a\\u0000"', '"\\ud800"', "null", "1", '["x"]', '"' + "x" * 10],
    "description": ['"a\\u0000"', "1", "[]"],
    "completed": ["0", '"true"', "null"],
    "deadline_at": ['"2027-02-30T00:00:00"', '"0000-01-01T00:00:00"', '"10000-01-01T00:00:00"', "5", '"x"'],
    "created_at": ["null", '"infinity"', '"2027-01-01"', '""'],
}


def at(day: int, microsecond: int = 0) -> datetime:
    return datetime(2020, 1, day, microsecond=microsecond)


def rows(tomorrow: datetime) -> list[Todo]:
    """Create six todos with the ids 1 to 6. Each one is updated on a later day than the one before."""
    members = (
        ("Milk", "two litres", False, LONG_AGO, at(1)),
        ("bread", None, True, LONG_AGO, at(2)),
        ("ÜBER", "straße", False, None, at(3)),
        ("100%_sure", "", False, LAST_MOMENT, at(4)),
        ("Milk", "ΣΊΣΥΦΟΣ", True, LAST_MOMENT, at(5, 1)),
        ("😀", None, False, tomorrow, at(6)),
    )
    return [
        Todo(
            id=key,
            title=title,
            description=description,
            completed=completed,
            deadline_at=deadline,
            created_at=LONG_AGO,
            updated_at=updated,
        )
        for key, (title, description, completed, deadline, updated) in enumerate(members, 1)
    ]


FILTERS: tuple[tuple[dict[str, str], list[int]], ...] = (
    ({}, [1, 2, 3, 4, 5, 6]),
    ({"completed": "true"}, [2, 5]),
    ({"completed": "false"}, [1, 3, 4, 6]),
    ({"window": "0"}, [1, 2]),
    ({"window": "1"}, [1, 2, 6]),
    ({"window": "3652058"}, [1, 2, 4, 5, 6]),
    ({"overdue": "true"}, [1]),
    ({"overdue": "false"}, [2, 3, 4, 5, 6]),
    ({"deadline_from": "2001-01-01"}, [1, 2, 4, 5, 6]),
    ({"deadline_from": "2001-01-01T00:00:00.000001"}, [4, 5, 6]),
    ({"deadline_from": "2001-01-01T01:00:00+01:00"}, [1, 2, 4, 5, 6]),
    ({"deadline_before": "2001-01-01"}, []),
    ({"deadline_before": "2001-01-01T00:00:00.000001"}, [1, 2]),
    ({"deadline_before": "2000-12-31T23:00:00-01:00"}, []),
    ({"deadline_before": "9999-12-31T23:59:59.999999"}, [1, 2, 6]),
    ({"updated_since": "2020-01-05"}, [5, 6]),
    ({"updated_since": "2020-01-05T00:00:00.000001Z"}, [5, 6]),
    ({"updated_since": "2020-01-05T00:00:00.000002Z"}, [6]),
    ({"updated_since": "2020-01-06T10:00:00+10:00"}, [6]),
    ({"updated_since": "2020-01-06T10:00:00.000001+10:00"}, []),
    ({"q": "milk"}, [1, 5]),
    ({"q": "LITRES"}, [1]),
    ({"q": "über"}, [3]),
    ({"q": "STRASSE"}, [3]),
    ({"q": "σίσυφος"}, [5]),
    ({"q": "😀"}, [6]),
    ({"q": "%"}, [4]),
    ({"q": "_"}, [4]),
    ({"q": "0%_S"}, [4]),
    ({"q": "\\"}, []),
    ({"q": "*"}, []),
    ({"q": "'"}, []),
    ({"q": "true"}, []),
    ({"q": "100"}, [4]),
    ({"q": "kt"}, []),
    ({"q": "milk", "completed": "true"}, [5]),
    ({"overdue": "true", "completed": "true"}, []),
    ({"window": "0", "completed": "true", "q": "R", "updated_since": "2020-01-02"}, [2]),
    ({"deadline_from": "2001-01-01", "deadline_before": "2001-01-02", "overdue": "false"}, [2]),
)

SORTS = (
    ("id", [1, 2, 3, 4, 5, 6]),
    ("-id", [6, 5, 4, 3, 2, 1]),
    ("title", [4, 1, 5, 2, 3, 6]),
    ("-title", [6, 3, 2, 5, 1, 4]),
    ("description", [4, 3, 1, 5, 2, 6]),
    ("-description", [5, 1, 3, 4, 6, 2]),
    ("completed", [1, 3, 4, 6, 2, 5]),
    ("-completed", [5, 2, 6, 4, 3, 1]),
    ("deadline_at", [1, 2, 6, 4, 5, 3]),
    ("-deadline_at", [5, 4, 6, 2, 1, 3]),
    ("created_at", [1, 2, 3, 4, 5, 6]),
    ("-created_at", [6, 5, 4, 3, 2, 1]),
    ("updated_at", [1, 2, 3, 4, 5, 6]),
    ("-updated_at", [6, 5, 4, 3, 2, 1]),
    ("title,-id", [4, 5, 1, 2, 3, 6]),
    ("-deadline_at,title", [4, 5, 6, 1, 2, 3]),
    ("-deadline_at,-title", [5, 4, 6, 2, 1, 3]),
    ("completed,-deadline_at,id", [4, 6, 1, 3, 5, 2]),
    ("-completed,description", [5, 2, 4, 3, 1, 6]),
    ("description,completed", [4, 3, 1, 5, 6, 2]),
    ("-description,-title,completed", [5, 1, 3, 4, 6, 2]),
    ("created_at,-completed,-deadline_at,title", [5, 2, 4, 6, 1, 3]),
    ("created_at,deadline_at", [1, 2, 6, 4, 5, 3]),
    ("created_at,-deadline_at", [4, 5, 6, 1, 2, 3]),
    ("-created_at,completed,description", [4, 3, 1, 6, 5, 2]),
    ("title,title,-title", [4, 1, 5, 2, 3, 6]),
    ("-id,title,completed", [6, 5, 4, 3, 2, 1]),
)

# Only this parameter of the request is invalid.
BAD_VALUES = {
    "completed": ("", "1", "0", "True", "TRUE", "yes", "null", " true"),
    "overdue": ("", "1", "False"),
    "total": ("", "1", "on"),
    "window": ("", "-1", "1.0", "1e1", "+1", "01", "seven", "3652059", "9" * 30, "true", "٣"),
    "limit": ("", "0", "-1", "1001", "1.0", "01", "all", "9" * 30, "true"),
    "deadline_from": (
        "",
        "2023",
        "2023-02-30",
        "2023-2-3",
        "now",
        "2023-02-27T24:00:00",
        "1677456000",
        "null",
    ),
    "deadline_before": ("", "0000-01-01", "10000-01-01", "2023-02-27_10:00", "2023-02-27T10:00:00 01:00"),
    "updated_since": ("", "yesterday", "2023-02-27T1", "2023-02-27T10:00:00.1234567890Z"),
    "q": ("", "a\0b"),
    "sort": (
        "",
        "nope",
        "-",
        "--id",
        "title,",
        ",title",
        "title, id",
        "Title",
        "title desc",
        "5",
        "true",
        "null",
    ),
    "cursor": ("", "0", "null", "x" * 50, "é", "====", "AAAAAAAAAAAAWzFd"),
}


class TestList(SharedAppTest):
    def setup_method(self) -> None:
        super().setup_method()
        with self.app.app_context():
            db.session.add_all(rows(datetime.now(ZoneInfo("UTC")).replace(tzinfo=None) + timedelta(days=1)))
            db.session.commit()

    def get(self, expected_status: int = 200, /, **query: str) -> TestResponse:
        response = self.client.get(f"{PATH}?{urlencode(query)}" if query else PATH)
        assert expected_status == response.status_code, response.get_data()
        return response

    def ids(self, **query: str) -> list[int]:
        return ids(self.get(**query))

    def pages(self, **query: str) -> Iterator[TestResponse]:
        """Follow the links from page to page, and return all pages of the list."""
        page = self.get(**query)
        yield page
        while url := next_url(page):
            page = self.client.get(url)
            assert page.status_code == 200, page.get_data()
            yield page

    @pytest.mark.parametrize(("query", "expected"), FILTERS, ids=label)
    def test_filters_select_their_todos(self, query: Any, expected: Any) -> None:
        assert expected == self.ids(**query)
        page = self.get(limit="1", total="true", **query)
        assert (expected[:1], str(len(expected))) == (ids(page), page.headers["X-Total-Count"])

    @pytest.mark.parametrize(("sort", "expected"), SORTS, ids=label)
    def test_sorts_order_the_todos(self, sort: Any, expected: Any) -> None:
        assert expected == self.ids(sort=sort)

    @pytest.mark.parametrize(("sort", "expected"), SORTS, ids=label)
    @pytest.mark.parametrize("limit", range(1, 8), ids=label)
    def test_pages_of_any_size_and_sort_form_the_list(self, sort: Any, expected: Any, limit: Any) -> None:
        pages = [ids(page) for page in self.pages(sort=sort, limit=str(limit))]
        assert [expected[i : i + limit] for i in range(0, 6, limit)] == pages

    @pytest.mark.parametrize(("query", "expected"), FILTERS, ids=label)
    def test_pages_of_any_filter_form_the_list(self, query: Any, expected: Any) -> None:
        for sort, order in (("id", expected), ("-id", expected[::-1])):
            found = [ids(page) for page in self.pages(sort=sort, limit="1", **query)]
            assert ([[key] for key in order] or [[]]) == found

    def test_page_of_equal_values_does_not_sort_them_all(self) -> None:
        found = self.read_in_few_steps([("Milk", None)] * 5000 + [("Water", None)], sort="-title")
        assert [5007, *range(5006, 4987, -1)] == found

    def test_page_of_a_rare_filter_does_not_collect_all_rows(self) -> None:
        time = "2027-01-31 18:00:00.000000"
        todos = [("Milk", None if number % 20 else time) for number in range(40_000)]
        found = self.read_in_few_steps(todos, deadline_from="2027-01-31")
        assert list(range(7, 407, 20)) == found

    def read_in_few_steps(self, todos: Sequence[tuple[str, str | None]], **parameters: str) -> list[int]:
        """Return the ids on the first two pages of `todos`. Fails if SQLite takes a step for each todo."""
        with self.app.app_context():
            connection: Any = db.engine.raw_connection().driver_connection
        if not isinstance(connection, sqlite3.Connection):
            pytest.skip("Servers tell no steps.")
        connection.execute("DELETE FROM todos")
        connection.executemany("INSERT INTO todos (title, deadline_at) VALUES (?, ?)", todos)
        connection.commit()
        steps = []
        connection.set_progress_handler(lambda: steps.append(1), 100)
        pages = self.pages(limit="10", **parameters)
        found = [todo["id"] for _ in range(2) for todo in next(pages).get_json()]
        connection.set_progress_handler(None, 100)
        assert len(steps) * 100 < len(todos)
        return found

    def test_link_is_absolute_and_keeps_every_parameter(self) -> None:
        query = {"q": "%i", "limit": "1", "sort": "-title", "total": "true", "completed": "false"}
        with self.app.app_context():
            db.session.add(Todo(title="%i", completed=False))
            db.session.add(Todo(title="a%i", completed=False))
            db.session.commit()
        url = urlsplit(next_url(self.get(**query)) or "")
        sent = parse_qs(url.query)
        assert url[:3] == ("http", "localhost", PATH)
        assert len(sent.pop("cursor")) == 1
        assert {name: [value] for name, value in query.items()} == sent

    def test_link_keeps_the_search_text(self) -> None:
        texts = ("&a=b", "+ +", "%25", "#é", '<">;')
        with self.app.app_context():
            db.session.add_all(Todo(title=text) for text in texts for _ in range(2))
            db.session.commit()
        for text in texts:
            found = [page.get_json() for page in self.pages(q=text, limit="1")]
            assert [text, text] == [todo["title"] for (todo,) in found]

    def test_total_counts_every_match_on_every_page(self) -> None:
        totals = [page.headers["X-Total-Count"] for page in self.pages(limit="2", total="true", window="1")]
        assert totals == ["3", "3"]
        assert self.get(total="true").headers["X-Total-Count"] == "6"
        for query in ({}, {"total": "false"}):
            assert "X-Total-Count" not in self.get(**query).headers

    @pytest.mark.parametrize(
        "query", [{}, {"limit": "6"}, {"limit": "1000"}, {"limit": "1", "q": "bread"}], ids=label
    )
    def test_last_page_has_no_link(self, query: Any) -> None:
        assert "Link" not in self.get(**query).headers

    def test_cursor_with_another_sort_or_filter_is_400(self) -> None:
        sent = {"sort": "title", "completed": "false"}
        cursor = self.cursor(limit="1", **sent)
        for change in ({"limit": "1"}, {"limit": "5", "total": "true"}, {}):
            assert [1, 3, 6][: int(change.get("limit", 3))] == self.ids(cursor=cursor, **sent, **change)
        others: tuple[dict[str, str], ...] = (
            {},
            {"sort": "title"},
            {"completed": "false"},
            {"sort": "-title", "completed": "false"},
            {"sort": "title,completed", "completed": "false"},
            {"sort": "title,-id", "completed": "false"},
            {"sort": "title", "completed": "true"},
            {"sort": "title", "overdue": "false"},
            {"sort": "title", "completed": "false", "q": "i"},
        )
        for query in others:
            self.assertFaults(["cursor"], self.get(400, cursor=cursor, limit="1", **query))

    @pytest.mark.parametrize("padded", [True, False])
    @pytest.mark.parametrize("text", [*BROKEN_TEXTS, *BROKEN_POSITIONS], ids=label)
    def test_broken_cursor_is_400(self, text: str | bytes, padded: bool) -> None:
        if isinstance(text, bytes):
            digest = base64.urlsafe_b64decode(self.cursor(limit="1") + "==")[: cursors.DIGEST_BYTES]
            text = base64.urlsafe_b64encode(digest + text).decode()
        cursor = text if padded else text.rstrip("=")
        self.assertFaults(["cursor"], self.get(400, cursor=cursor, limit="1"))

    @pytest.mark.parametrize(
        ("sort", "value"),
        [(sort, value) for sort, values in BROKEN_VALUES.items() for value in values],
        ids=label,
    )
    def test_broken_value_in_a_cursor_is_400(self, sort: str, value: str) -> None:
        digest = base64.urlsafe_b64decode(self.cursor(sort=sort, limit="1") + "==")[: cursors.DIGEST_BYTES]
        cursor = base64.urlsafe_b64encode(digest + f"[{value},1]".encode()).decode()
        self.assertFaults(["cursor"], self.get(400, cursor=cursor, sort=sort, limit="1"))

    def test_cursor_is_valid_across_processes_and_releases(self) -> None:
        """The cursor depends only on the query and the row."""
        cursors = {
            "created_at": "8JJbY6Fa1dKMWyIyMDAxLTAxLTAxVDAwOjAwOjAwLjAwMDAwMFoiLDFd",
            "-completed,description": "miOZriYOQNihW3RydWUsIs6jzorOo86lzqbOn86jIiw1XQ",
        }
        for sort, expected in cursors.items():
            assert expected == self.cursor(sort=sort, limit="1")

    def test_page_starts_after_a_deleted_row(self) -> None:
        first = self.get(limit="2", sort="title")
        self.client.delete(f"{PATH}/1")
        assert ids(self.client.get(next_url(first) or "")) == [5, 2]

    @pytest.mark.parametrize(
        ("name", "value"),
        [(name, value) for name, values in BAD_VALUES.items() for value in values],
        ids=label,
    )
    def test_invalid_parameter_is_400_with_its_name(self, name: str, value: str) -> None:
        response = self.get(400, **{name: value})
        self.assertFaults([name], response)
        assert name in response.get_json()["detail"]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("limit=0&window=x&sort=y", ["limit", "window", "sort"]),
            ("page=2&limit=0", ["page", "limit"]),
            ("limit=1&limit=1", ["limit"]),
            ("limit=1&limit=2&limit=3", ["limit", "limit"]),
            ("Completed=true", ["Completed"]),
            ("completed", ["completed"]),
            ("=", [""]),
            ("completed[]=true", ["completed[]"]),
        ],
        ids=label,
    )
    def test_every_invalid_parameter_is_named(self, query: str, expected: list[str]) -> None:
        self.assertFaults(expected, self.client.get(f"{PATH}?{query}"))

    def test_unknown_parameter_message_names_the_known_parameters(self) -> None:
        detail = self.get(400, page_size="5").get_json()["detail"]
        for name in BAD_VALUES:
            assert name in detail

    @pytest.mark.parametrize(
        "query", ["q=%FF", "q=%C3", "q=%ED%A0%80", "&".join(f"a{i}=" for i in range(101))], ids=label
    )
    def test_query_that_is_not_utf_8_is_400(self, query: Any) -> None:
        assert self.client.get(f"{PATH}?{query}").status_code == 400

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/api/v1/health"),
            ("GET", f"{PATH}/1"),
            ("PUT", f"{PATH}/1"),
            ("PATCH", f"{PATH}/1"),
            ("DELETE", f"{PATH}/1"),
            ("POST", PATH),
            ("POST", f"{PATH}/batch"),
        ],
        ids=label,
    )
    def test_other_routes_reject_parameters(self, method: str, path: Any) -> None:
        response = self.client.open(f"{path}?limit=1", method=method, json={"completed": True})
        self.assertFaults(["limit"], response)
        assert self.ids() == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize("query", [{}, {"limit": "2", "total": "true", "sort": "-title"}], ids=label)
    def test_head_responds_as_get_without_a_body(self, query: Any) -> None:
        get, head = self.get(**query), self.client.head(f"{PATH}?{urlencode(query)}")
        assert (head.status_code, head.get_data()) == (200, b"")
        for headers in (get.headers, head.headers):
            del headers["X-Request-ID"]
        assert list(get.headers) == list(head.headers)

    def test_overdue_and_window_compare_with_local_time(self) -> None:
        for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):
            app = shared_app(TIMEZONE=zone)
            now = datetime.now(ZoneInfo(zone)).replace(tzinfo=None)
            with app.app_context():
                db.session.add(Todo(id=1, title="past", deadline_at=now - timedelta(hours=1)))
                db.session.add(Todo(id=2, title="to come", deadline_at=now + timedelta(hours=1)))
                db.session.commit()
            client = app.test_client()
            for query, expected in (("overdue=true", [1]), ("overdue=false", [2]), ("window=0", [1])):
                assert expected == ids(client.get(f"{PATH}?{query}"))

    def cursor(self, **query: str) -> str:
        return parse_qs(urlsplit(next_url(self.get(**query)) or "").query)["cursor"][0]

    def assertFaults(self, parameters: list[str], response: TestResponse) -> None:
        problem: dict[str, Any] = response.get_json()
        assert response.status_code == 400, problem
        assert response.content_type == "application/problem+json"
        assert parameters == [fault.get("parameter") for fault in problem["errors"]]


def ids(response: TestResponse) -> list[int]:
    return [todo["id"] for todo in response.get_json()]


def next_url(page: TestResponse) -> str | None:
    """Return the URL of the next page, or None on the last page."""
    link, options = parse_options_header(page.headers.get("Link"))
    return link.removeprefix("<").removesuffix(">") if options.get("rel") == "next" else None
