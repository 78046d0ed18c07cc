"""Notations of requests that real clients send, and notations that stay invalid."""

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.api import JSON, TODOS, empty_app
from todo import create_app
from todo.config import StartupError
from todo.http.problem import TYPES
from todo.http.security import MAX_HEADER, PARSED_HEADERS

HEALTH = "/api/v1/health"
CSV = "text/csv; charset=utf-8"
ORIGINS = (
    "capacitor://localhost",  # Capacitor apps on iOS
    "ionic://localhost",
    "chrome-extension://nngceckbapebfimnlniiiahkandclblb",
    "moz-extension://d1b5d4c0-8c1f-4c6b-b6ab-0d7e0e0d3a3c",
    "tauri://localhost",
    "file://",  # Cordova apps on Android
    "http://[::1]:5173",  # a development server on IPv6
    "https://my_app.example",
    "https://app.example.org",
)


def client_with(**settings: Any) -> FlaskClient:
    return empty_app(**settings).test_client()


@pytest.fixture(name="client", scope="module")
def _client() -> FlaskClient:
    return client_with()


def detail_of(response: TestResponse, status: int) -> str:
    assert (status, "application/problem+json") == (response.status_code, response.content_type)
    return str(response.get_json()["detail"])


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        pytest.param("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON, id="java-8-to-17"),
        pytest.param("*", JSON, id="star"),
        pytest.param("", JSON, id="empty"),
        pytest.param(",", JSON, id="no-element"),
        pytest.param("application/json;q=x", JSON, id="invalid-quality"),
        pytest.param("text/csv;q=2", CSV, id="quality-too-high"),
        pytest.param("APPLICATION/JSON ; charset=utf-8", JSON, id="upper-case"),
        pytest.param("application/*, text/csv;q=0.9", JSON, id="type-range"),
        pytest.param("text/csv;q=0.5, application/json;q=0.1", CSV, id="quality"),
        pytest.param("application/json;q=0, */*", CSV, id="excluded"),
        pytest.param("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON, id="browser"),
    ],
)
def test_accept_header_selects_media_type(client: FlaskClient, accept: str, content_type: str) -> None:
    response = client.get(TODOS, headers={"Accept": accept})
    assert (200, content_type) == (response.status_code, response.content_type)


@pytest.mark.parametrize("accept", ["image/png", "*/*;q=0", "text/html, application/xml;q=x"])
def test_accept_without_available_type_is_406(client: FlaskClient, accept: str) -> None:
    assert "Use one of application/json" in detail_of(client.get(TODOS, headers={"Accept": accept}), 406)


def test_byte_order_mark_before_json_is_ignored(client: FlaskClient) -> None:
    body = '\ufeff{"title": "Buy milk"}'.encode()
    assert client.post(TODOS, data=body, content_type=JSON).status_code == 201
    assert client.post(TODOS, data=b"\xef\xbb\xbf" + body, content_type=JSON).status_code == 400


@pytest.mark.parametrize("host", ["", "10.1.2.3:8080", "a..b", "[::", "a b", "x" * 300])
def test_health_check_ignores_host(client: FlaskClient, host: str) -> None:
    assert client.get(HEALTH, headers={"Host": host}).get_json() == {"status": "ok"}
    assert client.get(TODOS, headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    "path",
    ["/?fbclid=x", "/?a=1&a=2", "/docs?utm_source=x", "/api/v1/todos.ics?nocache=1", "/docs/docs.js?v=1"],
)
def test_unknown_parameter_of_page_or_feed_is_ignored(client: FlaskClient, path: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        assert client.open(path, method=method).status_code == 200


def test_unknown_parameter_of_api_is_400(client: FlaskClient) -> None:
    for path in (f"{TODOS}?fbclid=x", "/api/v1/todos.csv?x=1", f"{HEALTH}?x=1", "/api/v1/todos.ics?limit=x"):
        detail_of(client.get(path), 400)


@pytest.mark.parametrize(
    ("path", "suggestion"),
    [
        (f"{TODOS}/", TODOS),
        (f"{TODOS}/5/", f"{TODOS}/5"),
        ("/api/v1//todos", TODOS),
        ("/API/v1/Todos", TODOS),
        ("/todos", TODOS),
        ("/docs/", "/docs"),
    ],
)
def test_misspelt_path_is_404_with_suggestion(client: FlaskClient, path: str, suggestion: str) -> None:
    assert detail_of(client.get(path), 404).endswith(f"Did you mean {suggestion}?")


@pytest.mark.parametrize("path", [TODOS, "/api/v1/health", "/"])
def test_request_for_websockets_is_answered_as_usual(client: FlaskClient, path: str) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("coding", ["identity", "Identity", " identity ", ""])
def test_content_encoding_without_an_effect_is_accepted(client: FlaskClient, coding: str) -> None:
    response = client.post(TODOS, json={"title": "x"}, headers={"Content-Encoding": coding})
    assert response.status_code == 201


def test_path_with_two_slashes_at_its_start_is_404(client: FlaskClient) -> None:
    response = client.get("/", environ_overrides={"PATH_INFO": f"/{TODOS}"})
    assert detail_of(response, 404).endswith(f"Did you mean {TODOS}?")


def test_lower_case_method_is_405(client: FlaskClient) -> None:
    for method in ("get", "post", "Delete"):
        response = client.open(TODOS, environ_overrides={"REQUEST_METHOD": method})
        assert detail_of(response, 405).startswith(f"{method} is not allowed here. Use GET, ")
        assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize(
    "host",
    ["localhost:80:80", "localhost:", "localhost:x", "localhost:65536", "localhost:999999", "x@localhost"],
)
def test_malformed_host_is_400(client: FlaskClient, host: str) -> None:
    assert "Host" in detail_of(client.get(TODOS, headers={"Host": host}), 400)


@pytest.mark.parametrize(
    ("setting", "host"),
    [
        ("::2", "[::2]:6400"),
        ("[::2]", "[0:0:0:0:0:0:0:2]"),
        ("0:0::2", "[::2]"),
        ("todo_app", "todo_app:6400"),
        ("app.example.org.", "app.example.org"),
        ("app.example.org", "APP.example.org.:80"),
        (".example.org.", "a.b.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_trusted_host_in_any_form_is_accepted(setting: str, host: str) -> None:
    client = client_with(TRUSTED_HOSTS=setting)
    for _ in range(2):
        client.post(TODOS, json={"title": "Buy milk"})
    response = client.get(f"{TODOS}?limit=1", headers={"Host": host})
    assert response.status_code == 200
    assert response.headers["Link"].startswith(f"<http://{host}/api/v1/todos?")


def test_unknown_host_is_400_with_the_setting_to_change(client: FlaskClient) -> None:
    response = client.get(TODOS, headers={"Host": "evil.example:80"})
    assert detail_of(response, 400) == "Host evil.example is not allowed. Add it to TODO_TRUSTED_HOSTS"


@pytest.mark.parametrize("origin", ORIGINS)
def test_origin_of_any_scheme_is_allowed(origin: str) -> None:
    client = client_with(CORS_ORIGINS=",".join(ORIGINS))
    tracing = "baggage, sentry-trace, traceparent, tracestate, x-datadog-trace-id, x-requested-with"
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    preflight = client.options(TODOS, headers=headers | {"Access-Control-Request-Headers": tracing})
    assert preflight.headers["Access-Control-Allow-Origin"] == origin
    assert preflight.headers["Access-Control-Allow-Headers"] == tracing
    for other in (f"{origin}.evil.example", f"{origin}x", f"x{origin}", origin.replace(".", "x")):
        if other != origin:
            response = client.get(TODOS, headers={"Origin": other})
            assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    "origin", ["https://", "://host", "https://a/b", "https://a:b", "null", "https://[::1"]
)
def test_invalid_origin_is_rejected_at_start(origin: str) -> None:
    with pytest.raises(StartupError, match=r"^CORS_ORIGINS has"):
        create_app({"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:", "CORS_ORIGINS": origin})


@pytest.mark.parametrize("prefix", ["/todo", "/todo/", "/a/b.c"])
def test_prefix_of_trusted_proxy_is_part_of_all_links(prefix: str) -> None:
    client = client_with(PROXIES=1)
    headers = {"X-Forwarded-Prefix": prefix}
    root = prefix.rstrip("/")
    created = client.post(TODOS, json={"title": "Buy milk"}, headers=headers)
    assert created.headers["Location"] == f"{root}/api/v1/todos/1"
    client.post(TODOS, json={"title": "Buy bread"})
    page = client.get(f"{TODOS}?limit=1", headers=headers)
    assert page.headers["Link"].startswith(f"<http://localhost{root}/api/v1/todos?")
    assert f"Did you mean {root}{TODOS}?" in detail_of(client.get(f"{TODOS}/", headers=headers), 404)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Forwarded-Proto", "javascript"),
        ("X-Forwarded-Proto", "HTTPS evil"),
        ("X-Forwarded-Proto", "ftp"),
        ("X-Forwarded-Proto", "wss"),
        ("X-Forwarded-Proto", "https\x01"),
        ("X-Forwarded-Proto", "http://evil.example"),
        ("X-Forwarded-Prefix", "//evil.example"),
        ("X-Forwarded-Prefix", "/a b"),
        ("X-Forwarded-Prefix", "todo"),
    ],
)
def test_invalid_header_of_trusted_proxy_is_400(header: str, value: str) -> None:
    client = client_with(PROXIES=1)
    assert header in detail_of(client.get(TODOS, headers={header: value}), 400)
    assert client_with().get(TODOS, headers={header: value}).status_code == 200


@pytest.mark.parametrize("header", PARSED_HEADERS)
def test_parsed_header_is_bounded(client: FlaskClient, header: str) -> None:
    response = client.get(TODOS, headers={header: "x" * (MAX_HEADER + 1)})
    assert header in detail_of(response, 400)


@pytest.mark.parametrize(("status", "name"), [(status, kind.name) for status, kind in TYPES.items()])
def test_problem_type_has_a_page(client: FlaskClient, status: int, name: str) -> None:
    page = client.get(f"/problems/{name}")
    assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
    assert f"Status {status} " in page.text
    assert TYPES[status].title in page.text
    assert "`" not in page.text


def test_unknown_problem_page_is_404(client: FlaskClient) -> None:
    assert client.get("/problems/unknown").status_code == 404


def test_response_that_depends_on_a_token_is_private() -> None:
    app = empty_app(REQUIRE_TOKEN=True)
    make = app.test_cli_runner().invoke
    secret = make(args=["token", "create", "phone"]).output.split()[-1]
    feed = make(args=["token", "create", "calendar", "--feed"]).output.split()[-1]
    client = app.test_client()
    bearer = {"Authorization": f"Bearer {secret}"}
    for path, headers, status in (
        (TODOS, bearer, 200),
        (f"{TODOS}?limit=1", bearer, 200),
        (f"{TODOS}/1", bearer, 404),
        (TODOS, {}, 401),
        ("/api/v1/todos.csv", bearer, 200),
        ("/api/v1/todos.ics", bearer, 200),
        (f"/api/v1/todos.ics?token={feed.rpartition('=')[2]}", {}, 200),
    ):
        response = client.get(path, headers=headers)
        assert (status, "private, no-cache") == (response.status_code, response.headers["Cache-Control"]), (
            path
        )
    assert "Cache-Control" not in client.get(HEALTH).headers
