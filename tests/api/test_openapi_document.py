"""The OpenAPI document: its texts for readers, and its portability to other programs."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from flask.testing import FlaskClient

from tests.support.api import shared_app
from todo.http.problem import TYPES

TODOS = "/api/v1/todos"
BATCH = "/api/v1/todos/batch"


@pytest.fixture
def client() -> FlaskClient:
    return shared_app().test_client()


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    description: dict[str, Any] = client.get("/api/v1/openapi.json").get_json()
    return description


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every member of every object in the document."""
    if isinstance(value, dict):
        yield from value.items()
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from members(inner)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the operations that /docs shows."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if not operation.get("x-internal"):
                yield path, method, operation


@pytest.mark.parametrize("base", ["http://localhost", "http://127.0.0.1:6400"])
def test_server_url_is_absolute(client: FlaskClient, base: str) -> None:
    response = client.get("/api/v1/openapi.json", base_url=base)
    assert response.get_json()["servers"] == [{"url": base}]
    assert response.headers["ETag"]


def test_patterns_compile_in_re2(document: dict[str, Any]) -> None:
    patterns = {value for name, value in members(document) if name == "pattern" and isinstance(value, str)}
    assert len(patterns) > 5
    for pattern in patterns:
        # Rust's engine has the syntax of RE2: it rejects look-around.
        options = jsonschema_rs.RegexOptions()
        validator = jsonschema_rs.validator_for(
            {"type": "string", "pattern": pattern}, pattern_options=options
        )
        assert not validator.is_valid("\x00\n")
        assert not re.search(r"\\u|\(\?[=!<]", pattern), pattern


@pytest.mark.parametrize("title", ["Buy milk", "x\n", "\u2003", "a\u0085", "\u3000x", "", "\x7f"], ids=ascii)
def test_portable_pattern_accepts_what_the_service_accepts(
    client: FlaskClient, document: dict[str, Any], title: str
) -> None:
    options = jsonschema_rs.RegexOptions()
    schema = document["components"]["schemas"]["TodoCreate"]["properties"]["title"]
    validator = jsonschema_rs.validator_for(schema, pattern_options=options)
    assert validator.is_valid(title) == (client.post(TODOS, json={"title": title}).status_code == 201)


def test_docs_show_every_operation_of_the_api(document: dict[str, Any]) -> None:
    shown = {(path, method) for path, method, _ in operations(document)}
    assert {method for _, method in shown} == {"get", "post", "put", "patch", "delete"}
    assert {path for path, _ in shown if not path.startswith("/api/v1/")} == {"/readyz", "/metrics"}
    assert (TODOS, "post") in shown


def test_every_parameter_has_a_description(client: FlaskClient, document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for parameter in operation["parameters"]:
            assert re.match(r"[A-Z`].*\.$", parameter["description"], re.DOTALL), (path, method, parameter)
    window = next(each for each in document["paths"][TODOS]["get"]["parameters"] if each["name"] == "window")
    assert window["description"] == "Only todos due within this many days, overdue ones included."
    refused = client.get(f"{TODOS}?window=x").get_json()
    assert refused["detail"].startswith("window must be a whole number of days from 0 to")


def test_every_member_of_a_todo_has_a_description(document: dict[str, Any]) -> None:
    for name in ("TodoCreate", "TodoUpdate"):
        for member in document["components"]["schemas"][name]["properties"].values():
            assert re.match(r"[A-Z].*\.$", member["description"])


def test_every_request_example_can_be_sent(client: FlaskClient, document: dict[str, Any]) -> None:
    sent = 0
    for path, method, operation in operations(document):
        for media_type, content in operation.get("requestBody", {"content": {}})["content"].items():
            assert content["examples"]
            for example in content["examples"].values():
                created = client.post(TODOS, json={"title": "First"}).get_json()
                body = example["value"]
                for step in body.get("operations", ()):
                    if "id" in step:
                        step["id"] = created["id"]
                response = client.open(
                    path.format(todo_id=created["id"]),
                    method=method.upper(),
                    json=body,
                    content_type=media_type,
                )
                assert response.status_code in {200, 201}, (path, example, response.text)
                sent += 1
    assert sent >= 5


def test_first_batch_example_works_on_an_empty_service(client: FlaskClient, document: dict[str, Any]) -> None:
    content = document["paths"][BATCH]["post"]["requestBody"]["content"]["application/json"]
    response = client.post(BATCH, json=next(iter(content["examples"].values()))["value"])
    assert response.status_code == 200
    assert len(response.get_json()["results"]) == 2


def test_every_json_response_has_a_valid_example(document: dict[str, Any]) -> None:
    checked = 0
    for path, _, operation in operations(document):
        for response in operation["responses"].values():
            content = response.get("content", {}).get("application/json")
            if content and path != "/api/v1/openapi.json":
                schema = content["schema"] | {"components": document["components"]}
                jsonschema_rs.validate(schema, content["example"])
                checked += 1
    assert checked >= 7


def test_feed_examples_are_complete(document: dict[str, Any]) -> None:
    content = document["paths"][TODOS]["get"]["responses"]["200"]["content"]
    assert content["text/csv"]["example"].splitlines()[1].startswith("1,Buy milk,")
    assert content["text/calendar"]["example"].endswith("END:VCALENDAR\r\n")


@pytest.mark.parametrize("status", TYPES)
def test_every_error_has_a_complete_example(document: dict[str, Any], status: int) -> None:
    response = document["components"]["responses"][TYPES[status].name]
    content = response["content"]["application/problem+json"]
    jsonschema_rs.validate(content["schema"] | {"components": document["components"]}, content["example"])
    assert list(content["example"]) == ["type", "title", "status", "detail", "error", "errors", "request_id"]
    assert content["example"]["status"] == status
    assert bool(content["example"]["errors"]) == (status == 400)


def test_introduction_comes_before_the_error_types(document: dict[str, Any]) -> None:
    text = document["info"]["description"]
    headings = [match[0] for match in re.finditer(r"^## .*|^\| Type ", text, re.MULTILINE)]
    assert headings == ["## Authentication", "## Times", "## Pages", "## Safe writes", "## Errors", "| Type "]
