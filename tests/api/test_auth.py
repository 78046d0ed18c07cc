import re
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from tests.support.api import JSON, TODOS, ApiTest, empty_app
from tests.support.cases import label
from todo.clock import utc_now
from todo.models import db
from todo.models.token import Token
from todo.views.web import FILES, VERSION

pytestmark = pytest.mark.database

# Each client, with the status of its reads and the status of its writes.
CLIENTS = {
    "no token": (401, 401),
    "basic": (401, 401),
    "wrong": (401, 401),
    "revoked": (401, 401),
    "expired": (401, 401),
    "feed": (401, 401),
    "reader": (200, 403),
    "writer": (200, 200),
}
READS = tuple(
    (method, path)
    for path in (
        TODOS,
        f"{TODOS}/1",
        f"{TODOS}/deleted",
        f"{TODOS}.csv",
        f"{TODOS}.ics",
        "/readyz",
        "/metrics",
    )
    for method in ("GET", "HEAD")
)
WRITES: tuple[tuple[str, str, Any], ...] = (
    ("POST", TODOS, {"title": "x"}),
    ("PUT", f"{TODOS}/1", {}),
    ("PATCH", f"{TODOS}/1", {}),
    ("DELETE", f"{TODOS}/99", None),
    ("POST", f"{TODOS}/1/restore", None),
    ("POST", f"{TODOS}/batch", {"operations": [{"op": "delete", "id": 99}]}),
)
OPEN = (
    "/api/v1/health",
    "/api/v1/openapi.json",
    "/docs",
    "/docs/docs.css",
    "/problems/validation",
    "/",
    "/manifest.webmanifest",
    "/service-worker.js",
    f"/static/{VERSION}/{FILES[0]}",
)
SECRET = re.compile(r"todo_[\w-]{43}$")
CALENDAR = "/api/v1/todos.ics"


class AuthTest(ApiTest):
    SETTINGS: ClassVar[dict[str, Any]] = {"REQUIRE_TOKEN": True}

    def run_command(self, *arguments: str, exit_code: int = 0) -> str:
        result = self.app.test_cli_runner().invoke(args=["token", *arguments])
        assert exit_code == result.exit_code, result.output
        return result.output

    def make(self, *arguments: str) -> str:
        secret = SECRET.search(self.run_command("create", *arguments))
        assert secret is not None
        return secret[0]


class TestAccess(AuthTest):
    def setup_method(self) -> None:
        super().setup_method()
        secrets = {
            "wrong": "todo_" + "x" * 43,
            "revoked": self.make("revoked"),
            "expired": self.make("expired", "--expires", "1"),
            "feed": self.make("feed", "--feed"),
            "reader": self.make("reader", "--read-only"),
            "writer": self.make("writer", "--expires", "1"),
        }
        self.run_command("revoke", "revoked")
        with self.app.app_context():
            expired = db.session.query(Token).filter_by(name="expired").one()
            expired.expires_at = utc_now() - timedelta(seconds=1)
            db.session.commit()
        self.headers = {name: {"Authorization": f"Bearer {secret}"} for name, secret in secrets.items()}
        self.headers |= {"no token": {}, "basic": {"Authorization": "Basic eDp5"}}
        self.client.post(TODOS, json={"title": "x"}, headers=self.headers["writer"])

    def assert_answers(self, status: int, client: str, method: str, path: str, **more: Any) -> None:
        response = self.client.open(path, method=method, headers=self.headers[client], **more)
        if status == 200:
            assert response.status_code in (200, 201)
            return
        assert status == response.status_code
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        if method != "HEAD":
            self.assertProblem(status, response)

    def test_token_allows_its_reads_and_writes_only(self) -> None:
        for client, (read, write) in CLIENTS.items():
            for method, path in READS:
                self.assert_answers(read, client, method, path)
            for method, path, body in WRITES:
                self.assert_answers(write, client, method, path, json=body)
            for path in OPEN:
                for method in ("GET", "HEAD"):
                    self.assert_answers(200, client, method, path)
            for path in {path for _, path in READS} | {f"{TODOS}/batch"}:
                self.assert_answers(200, client, "OPTIONS", path)

    def test_access_tables_cover_every_route(self) -> None:
        writes = {(method, path.replace("/99", "/1")) for method, path, _ in WRITES}
        tried = {*READS} | writes
        tried |= {(method, path) for path in OPEN for method in ("GET", "HEAD")}
        for rule in self.app.url_map.iter_rules():
            if rule.endpoint in {
                "docs.get_asset",
                "docs.show_problem",
                "web.get_file",
            }:  # one of their files represents the others
                continue
            for method in (rule.methods or set()) - {"OPTIONS"}:
                assert (method, rule.rule.replace("<id:todo_id>", "1")) in tried

    def test_every_private_route_needs_a_token(self) -> None:
        for rule in self.app.url_map.iter_rules():
            address = re.sub(r"<any\('(.*?)'.*?>", r"\1", re.sub("<id:.*?>", "1", rule.rule))
            for method in (rule.methods or set()) - {"OPTIONS"}:
                response = self.client.open(address, method=method, data="{}", content_type=JSON)
                assert (200 if address in OPEN else 401) == response.status_code

    @pytest.mark.parametrize(
        ("client", "status"), [("feed", 200), ("writer", 401), ("wrong", 401), ("revoked", 401)]
    )
    def test_feed_token_opens_only_the_feed(self, client: str, status: int) -> None:
        secret = self.headers[client]["Authorization"].removeprefix("Bearer ")
        assert status == self.client.get(f"{CALENDAR}?token={secret}").status_code
        assert self.client.get(f"/api/v1/todos.csv?token={secret}").status_code != 200
        assert self.client.get(CALENDAR, headers=self.headers["reader"]).status_code == 200
        assert self.client.get(CALENDAR).status_code == 401
        self.run_command("revoke", "feed")
        secret = self.headers["feed"]["Authorization"].removeprefix("Bearer ")
        assert self.client.get(f"{CALENDAR}?token={secret}").status_code == 401

    def test_challenge_distinguishes_invalid_from_missing_token(self) -> None:
        for client, error in (("no token", None), ("expired", "invalid_token")):
            response = self.client.get(TODOS, headers=self.headers[client])
            challenge = "Bearer" if error is None else f'Bearer error="{error}"'
            assert challenge == response.headers["WWW-Authenticate"]
        refused = self.client.post(TODOS, json={}, headers=self.headers["reader"])
        assert refused.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'

    def test_openapi_document_has_the_security_scheme(self) -> None:
        document = self.client.get("/api/v1/openapi.json").get_json()
        listing, creation = (document["paths"][TODOS][method] for method in ("get", "post"))
        assert listing["security"] == [{"token": []}]
        assert "401" in listing["responses"]
        assert {"401", "403"} < set(creation["responses"])
        assert document["paths"]["/api/v1/health"]["get"]["security"] == []


class TestCommands(AuthTest):
    def test_token_list_shows_everything_but_the_secret(self) -> None:
        secret = self.make("phone", "--expires", "30")
        self.make("calendar", "--feed")
        self.client.get(TODOS, headers={"Authorization": f"Bearer {secret}"})
        heading, calendar, phone = self.run_command("list").splitlines()
        time = r"\d{4}-\d\d-\d\d \d\d:\d\dZ"
        assert re.search(r"^NAME +ACCESS +CREATED +LAST USED +EXPIRES$", heading)
        assert re.search(rf"^calendar +feed +{time} +never +never$", calendar)
        assert re.search(rf"^phone +read, write +{time} +{time} +{time}$", phone)

    def test_database_stores_only_the_token_hash(self) -> None:
        secret = self.make("phone")
        with self.app.app_context():
            row = db.session.execute(db.select(*Token.__table__.c)).one()
        assert secret.removeprefix("todo_") not in repr(row)

    @pytest.mark.parametrize(
        ("arguments", "exit_code", "message"),
        [
            (("create", "phone"), 1, "The token phone exists already"),
            (("revoke", "tablet"), 1, "The token tablet does not exist"),
            (("create", " "), 2, "printable characters"),
            (("create", "x" * 81), 2, "printable characters"),
            (("create", "tablet", "--expires", "0"), 2, "--expires"),
        ],
        ids=label,
    )
    def test_token_command_reports_mistakes(self, arguments: Any, exit_code: int, message: str) -> None:
        self.make("phone")
        assert message in self.run_command(*arguments, exit_code=exit_code)


class TestOff:
    def test_no_token_is_needed_by_default(self) -> None:
        client = empty_app().test_client()
        assert client.post(TODOS, json={"title": "x"}).status_code == 201
