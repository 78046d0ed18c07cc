import csv
import json
import re
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import icalendar
import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert
from werkzeug.test import TestResponse

from tests.support.api import JSON, TODOS, ApiTest
from tests.support.cases import Prepared, label
from tests.support.transfers import MOMENT
from todo import create_app
from todo.listing import STREAM_CHUNK
from todo.models import db
from todo.models.todo import Todo

ICS = f"{TODOS}.ics"
CSV = f"{TODOS}.csv"
MANY = STREAM_CHUNK + 1
NDJSON = "application/x-ndjson"
TABLE, CALENDAR = "text/csv; charset=utf-8", "text/calendar; charset=utf-8"


def rows(response: TestResponse) -> list[dict[str, str]]:
    return list(csv.DictReader(response.text.splitlines(keepends=True)))


def components(response: TestResponse, name: str) -> list[Any]:
    return icalendar.Calendar.from_ical(response.data).walk(name)


@pytest.mark.database
def expect_304_until_changed(client: FlaskClient, path: str, tag_start: str, todo_id: int) -> None:
    """Check that a feed is 304 with its ETag, which starts with `tag_start`, until a todo is changed."""
    tag = client.get(path).headers["ETag"]
    assert tag.startswith(tag_start)
    unchanged = client.get(path, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    client.patch(f"{TODOS}/{todo_id}", json={"description": tag})
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 200


class TestFeeds(ApiTest):
    def setup_method(self) -> None:
        super().setup_method()
        self.milk = self.create(title="Buy milk", deadline_at="2027-01-31T18:00:00")
        self.bread = self.create(title="Buy bread", completed=True)
        self.plants = self.create(title="Water plants", deadline_at="2026-01-01")

    def test_calendar_has_every_todo_as_a_task(self) -> None:
        response = self.client.get(ICS)
        assert response.content_type == "text/calendar; charset=utf-8"
        todos = components(response, "VTODO")
        assert [todo["SUMMARY"] for todo in todos] == ["Buy milk", "Buy bread", "Water plants"]
        assert datetime(2027, 1, 31, 18) == todos[0]["DUE"].dt.replace(tzinfo=None)
        before = [todo["UID"] for todo in todos]
        self.client.patch(f"{TODOS}/1", json={"title": "Buy oat milk"})
        after = components(self.client.get(ICS), "VTODO")
        assert before == [todo["UID"] for todo in after]

    def test_calendar_shows_deadlines_as_events(self) -> None:
        events = components(self.client.get(f"{ICS}?as=event"), "VEVENT")
        assert [event["SUMMARY"] for event in events] == ["Buy milk", "Water plants"]
        assert datetime(2027, 1, 31, 18) == events[0]["DTSTART"].dt.replace(tzinfo=None)
        response = self.client.get(f"{ICS}?as=event&limit=1&total=true&deadline_from=2027-01-01")
        assert response.headers["X-Total-Count"] == "1"

    def test_csv_has_every_todo(self) -> None:
        response = self.client.get(CSV)
        assert response.content_type == "text/csv; charset=utf-8"
        assert list(self.milk) == list(rows(response)[0])
        assert [row["title"] for row in rows(response)] == ["Buy milk", "Buy bread", "Water plants"]

    @pytest.mark.parametrize(
        ("query", "titles"),
        [
            ("completed=true", ["Buy bread"]),
            ("q=BUY&sort=title", ["Buy bread", "Buy milk"]),
            ("deadline_before=2027-01-01", ["Water plants"]),
            ("sort=-id&limit=2", ["Water plants", "Buy bread"]),
            ("completed=true&q=milk", []),
        ],
        ids=label,
    )
    def test_feeds_accept_the_list_parameters(self, query: str, titles: list[str]) -> None:
        assert [row["title"] for row in rows(self.client.get(f"{CSV}?{query}"))] == titles
        calendar = components(self.client.get(f"{ICS}?{query}"), "VTODO")
        assert [todo["SUMMARY"] for todo in calendar] == titles

    @pytest.mark.parametrize("method", ["GET", "OPTIONS"])
    @pytest.mark.parametrize(
        ("path", "query"), [(CSV, "as=event"), (ICS, "as=task"), (CSV, "window=x"), (TODOS, "as=event")]
    )
    def test_invalid_parameter_of_a_feed_is_400(self, method: str, path: str, query: str) -> None:
        response = self.client.open(f"{path}?{query}", method=method)
        self.assertFaults("parameter", [query.partition("=")[0]], response)

    def test_feed_pages_link_to_the_next_page(self) -> None:
        response = self.client.get(f"{ICS}?as=event&limit=1")
        link = response.headers["Link"]
        assert re.search(
            r'^<http://localhost/api/v1/todos\.ics\?as=event&limit=1&cursor=[^>]+>; rel="next"$', link
        )
        (event,) = components(self.client.get(link[1 : link.index(">")]), "VEVENT")
        assert event["SUMMARY"] == "Water plants"

    @pytest.mark.parametrize("path", [ICS, CSV, f"{ICS}?as=event", f"{CSV}?limit=1"], ids=label)
    def test_unchanged_feed_is_304(self, path: Any) -> None:
        expect_304_until_changed(self.client, path, tag_start='"', todo_id=1)

    def test_feeds_reject_writes(self) -> None:
        for path in (ICS, CSV):
            response = self.client.post(path, json={})
            self.assertProblem(405, response)
            assert {"GET", "HEAD", "OPTIONS"} == set(response.headers["Allow"].split(", "))


@pytest.mark.database
class TestNegotiation(ApiTest):
    @pytest.mark.parametrize(
        ("accept", "content_type"),
        [
            (None, JSON),
            ("*/*", JSON),
            ("application/*", JSON),
            ("application/json; charset=utf-8", JSON),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
            ("text/csv, application/json", JSON),
            ("text/csv, application/json;q=0.9", TABLE),
            ("Text/CSV", TABLE),
            ("text/*", TABLE),
            ("text/calendar", CALENDAR),
            ("text/calendar;q=0.5, text/*;q=0.1", CALENDAR),
            ("application/json;q=0, */*;q=0.1", TABLE),
            ("application/x-ndjson", NDJSON),
            ("text/html", None),
            ("application/json;q=0", None),
            ("nonsense", None),
        ],
        ids=label,
    )
    def test_accept_header_selects_the_format(self, accept: str | None, content_type: str | None) -> None:
        self.create(title="Buy milk")
        response = self.client.get(TODOS, headers={} if accept is None else {"Accept": accept})
        assert response.headers["Vary"] == "Accept"
        if content_type is None:
            problem = self.assertProblem(406, response)
            assert problem["type"] == "/problems/not-acceptable"
            assert "text/calendar" in problem["detail"]
        else:
            assert (200, content_type) == (response.status_code, response.content_type)
            assert "Buy milk" in response.text

    def test_each_format_has_its_own_etag(self) -> None:
        kinds = ("application/json", "text/csv", "text/calendar", "application/x-ndjson")
        tags = {
            self.client.get(f"{TODOS}?limit=5", headers={"Accept": kind}).headers.get("ETag")
            for kind in kinds
        }
        assert len(kinds) == len(tags - {None})


class TestManyTodos(Prepared):
    """Streamed lists of a database in a file."""

    def setup_method(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.stack.callback(folder.cleanup)
        self.database = Path(folder.name) / "db.sqlite"
        app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{self.database}", "TESTING": True})
        times = {"created_at": MOMENT, "updated_at": MOMENT, "deadline_at": MOMENT + timedelta(1)}
        with app.app_context():
            db.session.execute(insert(Todo), [{"title": f"Todo {i}"} | times for i in range(MANY)])
            db.session.commit()
        self.client = app.test_client()

    def test_streamed_feeds_have_every_todo(self) -> None:
        titles = [f"Todo {i}" for i in range(MANY)]
        assert titles == [row["title"] for row in rows(self.client.get(CSV))]
        lines = self.client.get(TODOS, headers={"Accept": "application/x-ndjson"}).text.splitlines()
        assert titles == [json.loads(line)["title"] for line in lines]
        for path, name in ((ICS, "VTODO"), (f"{ICS}?as=event", "VEVENT")):
            text = self.client.get(path).text
            assert titles == [line[8:] for line in text.split("\r\n") if line.startswith("SUMMARY:")]
            assert text.count(f"END:{name}") == MANY
            assert text.endswith("END:VCALENDAR\r\n")

    @pytest.mark.parametrize("path", [ICS, CSV], ids=label)
    def test_unchanged_feed_is_304(self, path: Any) -> None:
        expect_304_until_changed(self.client, path, tag_start='W/"', todo_id=MANY)

    def test_broken_stream_is_recognizable(self) -> None:
        def read_json(data: bytes) -> None:
            json.loads(data)

        def read_lines(data: bytes) -> None:
            for line in data.splitlines():
                json.loads(line)

        def read_table(data: bytes) -> None:
            list(csv.reader(data.decode().splitlines(keepends=True), strict=True))

        def read_calendar(data: bytes) -> None:
            icalendar.Calendar.from_ical(data)

        for kind, read in (
            ("application/json", read_json),
            ("application/x-ndjson", read_lines),
            ("text/csv", read_table),
            ("text/calendar", read_calendar),
        ):
            read(self.client.get(TODOS, headers={"Accept": kind}).data)
            response = self.client.get(TODOS, headers={"Accept": kind}, buffered=False)
            received = self.receive(response.iter_encoded())
            assert len(received) > 1000
            with pytest.raises((ValueError, csv.Error)):
                read(received)

    def receive(self, parts: Iterator[bytes]) -> bytes:
        """Return the part of a response that arrives after the database file disappears."""
        received = b""
        away = self.database.with_suffix(".away")
        try:
            for part in parts:
                received += part
                if self.database.exists():
                    self.database.rename(away)
        except Exception:  # only some servers report the error to the client
            return received
        finally:
            away.rename(self.database)
        raise AssertionError("The response came to its end")
