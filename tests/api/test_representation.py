from sqlalchemy import text

from tests.support.api import empty_app
from todo.models import db

SHELL = "INSERT INTO todos (title, completed, created_at, updated_at) VALUES ('x', 0, :time, :time)"


class TestInstants:
    def setup_method(self) -> None:
        self.app = empty_app()  # the tests replace its tables
        self.client = self.app.test_client()

    def test_times_of_other_lengths_are_served(self) -> None:
        with self.app.app_context():
            db.session.execute(text("ALTER TABLE todos RENAME TO constrained"))
            db.session.execute(
                text(
                    "CREATE TABLE todos (id INTEGER PRIMARY KEY, title, description, completed,"
                    " deadline_at, created_at, updated_at)"
                )
            )
            for time in ("2027-01-31 18:00:00", "2027-01-31 18:00:00.5", "2027-01-31 18:00:00.123456"):
                db.session.execute(text(SHELL), {"time": time})
            db.session.commit()
        todos = self.client.get("/api/v1/todos").get_json()
        assert [todo["created_at"] for todo in todos] == [
            "2027-01-31T18:00:00.000000Z",
            "2027-01-31T18:00:00.500000Z",
            "2027-01-31T18:00:00.123456Z",
        ]

    def test_pages_sorted_by_odd_times_skip_and_repeat_nothing(self) -> None:
        for title in "abcde":
            self.client.post("/api/v1/todos", json={"title": title})
        for sort, expected in (("created_at", "abcde"), ("-updated_at", "edcba")):
            titles, path = "", f"/api/v1/todos?sort={sort}&limit=2"
            while path:
                page = self.client.get(path)
                titles += "".join(todo["title"] for todo in page.get_json())
                path = page.headers.get("Link", "").partition(">")[0].removeprefix("<")
            assert expected == titles
