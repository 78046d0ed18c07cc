"""Host names, proxies, headers for browsers, and CORS."""

from typing import Any

import pytest
from flask import request

from tests.support.api import JSON, TODOS, ApiTest, empty_app, shared_app
from tests.support.cases import label
from todo import create_app
from todo.config import StartupError

ORIGIN = "https://app.example.org"


class TestHosts(ApiTest):
    @pytest.mark.parametrize(
        ("settings", "host", "status"),
        [
            ({}, "localhost", 200),
            ({}, "LocalHost:6400", 200),
            ({}, "127.0.0.1:6400", 200),
            ({}, "[::1]:6400", 200),
            ({}, "[::1]", 200),
            ({}, "evil.example", 400),
            ({}, "localhost.evil.example", 400),
            ({}, "127.0.0.1.evil.example:6400", 400),
            ({}, "[::2]", 400),
            ({}, "", 400),
            ({"HOST": "::"}, "[::]:80", 200),
            ({"HOST": "todo.lan"}, "todo.lan:6400", 200),
            ({"TRUSTED_HOSTS": "Todo.example, .example.net"}, "todo.example", 200),
            ({"TRUSTED_HOSTS": "todo.example, .example.net"}, "a.b.EXAMPLE.net:8080", 200),
            ({"TRUSTED_HOSTS": "todo.example, .example.net"}, "localhost", 200),
            ({"TRUSTED_HOSTS": "todo.example, .example.net"}, "www.todo.example", 400),
            ({"TRUSTED_HOSTS": "todo.example, .example.net"}, "notexample.net", 400),
            ({"TRUSTED_HOSTS": "*"}, "evil.example", 200),
        ],
        ids=label,
    )
    def test_unknown_host_is_400(self, settings: dict[str, str], host: str, status: int) -> None:
        client = shared_app(**settings).test_client()
        for path in (TODOS, "/api/v1/health", "/"):
            response = client.get(path, headers={"Host": host})
            assert (200 if path.endswith("health") else status) == response.status_code
            if response.status_code == 400:
                assert "Host" in self.assertProblem(400, response)["detail"]

    def test_write_to_an_unknown_host_changes_nothing(self) -> None:
        refused = self.client.post(TODOS, json={"title": "x"}, headers={"Host": "evil.example"})
        self.assertProblem(400, refused)
        assert self.read_all() == []


class TestProxies:
    def seen(self, proxies: int, **headers: str) -> tuple[str | None, str]:
        """Return the address of the client and the URL of the service, as in a view."""
        app = empty_app(PROXIES=proxies, TRUSTED_HOSTS="todo.example")
        app.add_url_rule("/seen", "seen", lambda: [request.remote_addr, request.url_root])
        remote, root = app.test_client().get("/seen", headers=headers).get_json()
        return remote, root

    @pytest.mark.parametrize(
        ("proxies", "expected"),
        [
            (0, ("127.0.0.1", "http://localhost/")),
            (1, ("192.0.2.2", "https://todo.example/")),
        ],
        ids=label,
    )
    def test_forwarded_headers_count_only_from_trusted_proxies(self, proxies: int, expected: Any) -> None:
        forwarded = {
            "X-Forwarded-For": "192.0.2.1, 192.0.2.2",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "todo.example",
        }
        assert expected == self.seen(proxies, **forwarded)
        assert self.seen(2, **forwarded)[0] == "192.0.2.1"

    def test_unknown_forwarded_host_is_400(self) -> None:
        client = shared_app(PROXIES=1).test_client()
        response = client.get(TODOS, headers={"X-Forwarded-Host": "evil.example"})
        assert response.status_code == 400


class TestHeaders(ApiTest):
    @pytest.mark.parametrize(
        ("method", "path", "headers", "status"),
        [
            ("GET", TODOS, {}, 200),
            ("HEAD", TODOS, {}, 200),
            ("OPTIONS", TODOS, {}, 200),
            ("POST", TODOS, {}, 415),
            ("GET", "/nowhere", {}, 404),
            ("GET", f"{TODOS}?limit=1", {"If-None-Match": "*"}, 304),
            ("GET", "/docs", {}, 200),
            ("GET", "/", {}, 200),
            ("GET", TODOS, {"Host": "evil.example"}, 400),
        ],
        ids=label,
    )
    def test_every_response_has_security_headers(
        self, method: str, path: Any, headers: Any, status: int
    ) -> None:
        self.create()
        response = self.client.open(path, method=method, headers=headers)
        assert status == response.status_code
        for name, value in (
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):
            assert [value] == response.headers.getlist(name)
        (policy,) = response.headers.getlist("Content-Security-Policy")
        assert policy.startswith("default-src 'none';")
        assert "frame-ancestors 'none'" in policy


class TestCORS(ApiTest):
    def client_with(self, origins: str) -> Any:
        return shared_app(CORS_ORIGINS=origins, REQUIRE_IF_MATCH=True).test_client()

    def test_cors_is_off_by_default(self) -> None:
        for method in ("GET", "OPTIONS"):
            headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
            answer = self.client.open(TODOS, method=method, headers=headers)
            assert "Access-Control" not in str(answer.headers)

    def test_allowed_origin_reads_responses_and_problems(self) -> None:
        client = self.client_with(f"http://localhost:3000, {ORIGIN.upper()}")
        for path, status in ((TODOS, 200), ("/api/v1/nowhere", 404), (f"{TODOS}?colour=red", 400)):
            answer = client.get(path, headers={"Origin": ORIGIN})
            assert status == answer.status_code
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
            assert "Origin" in answer.headers.getlist("Vary")
            assert (
                answer.headers["Access-Control-Expose-Headers"]
                == "ETag, Idempotency-Replayed, Link, Location, Retry-After, X-Request-ID, X-Total-Count"
            )
            assert "Access-Control-Allow-Credentials" not in answer.headers

    @pytest.mark.parametrize(
        ("path", "method"),
        [
            (TODOS, "POST"),
            (f"{TODOS}/1", "PUT"),
            (f"{TODOS}/1", "PATCH"),
            (f"{TODOS}/1", "DELETE"),
            (f"{TODOS}/batch", "POST"),
        ],
    )
    def test_allowed_origin_passes_the_preflight(self, path: str, method: str) -> None:
        client = self.client_with(ORIGIN)
        sent = "authorization,content-type,idempotency-key,if-match,if-none-match,x-request-id"
        asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": sent}
        answer = client.options(path, headers={"Origin": ORIGIN} | asked)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
        allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
        assert set(sent.split(",")) == set(allowed)

    def test_other_origin_gets_no_cors_headers(self) -> None:
        client = self.client_with(ORIGIN)
        for origin in ("https://evil.example", f"{ORIGIN}.evil.example", "http://app.example.org", "null"):
            answer = client.post(TODOS, json={"title": "x"}, headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Access-Control" not in str(client.get("/", headers={"Origin": ORIGIN}).headers)

    def test_wildcard_allows_any_origin(self) -> None:
        answer = self.client_with("*").get(TODOS, headers={"Origin": ORIGIN})
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.content_type == JSON


class TestRefusals:
    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("TRUSTED_HOSTS", "https://todo.example"),
            ("TRUSTED_HOSTS", "todo.example:80"),
            ("TRUSTED_HOSTS", "*.example"),
            ("CORS_ORIGINS", "app.example.org"),
            ("CORS_ORIGINS", "https://app.example.org/"),
            ("CORS_ORIGINS", "https://.*"),
        ],
    )
    def test_invalid_security_setting_is_rejected(self, setting: str, value: str) -> None:
        with pytest.raises(StartupError, match=f"^{setting} has"):
            create_app({"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:", setting: value})
