"""Parsing takes linear time: for 8 times the input, less than 24 times as long.

Quadratic work would take 64 times as long.
"""

import time
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.api import JSON, TODOS, empty_app
from todo.http.security import MAX_HEADER, PARSED_HEADERS

SMALL = MAX_HEADER // 8
HEADER_VALUES: dict[str, Callable[[int], str]] = {
    "spaces": lambda size: "x" + " " * (size - 2) + "y",
    "commas": lambda size: "," * size,
    "semicolons": lambda size: "a/b" + ";" * (size - 3),
    "quotes": lambda size: 'a/b;c="' + "\\" * (size - 7),
    "labels": lambda size: "a." * (size // 2),
    "elements": lambda size: 'W/"a", ' * (size // 7),
    "equals": lambda size: "a=b," * (size // 4),
    "brackets": lambda size: "[" + ":" * (size - 1),
}
BODIES: dict[str, Callable[[int], bytes]] = {
    "nested": lambda size: b"[" * size,
    "members": lambda size: b'{"a":1' + b"".join(b',"%d":1' % n for n in range(size // 8)) + b"}",
    "repeated": lambda size: b'{"a":1' + b',"a":1' * (size // 6) + b"}",
    "digits": lambda size: b'{"title":' + b"1" * size + b"}",
    "fraction": lambda size: b'{"title":0.' + b"1" * size + b"}",
    "escapes": lambda size: b'{"title":"' + b"\\u0061" * (size // 6) + b'"}',
    "spaces": lambda size: b" " * size,
    "deadline": lambda size: b'{"title":"x","deadline_at":"' + b"1" * size + b'"}',
}
QUERIES: dict[str, Callable[[int], str]] = {
    "sort": lambda size: "sort=" + "title," * (size // 6),
    "unknown": lambda size: "a" * size + "=1",
    "separators": lambda size: "&" * size,
    "percent": lambda size: "q=" + "%41" * (size // 3),
    "cursor": lambda size: "cursor=" + "A" * size,
    "window": lambda size: "window=" + "1" * size,
    "deadline": lambda size: "deadline_from=" + "2" * size,
}


@pytest.fixture(name="client", scope="module")
def _client() -> FlaskClient:
    app: Flask = empty_app(PROXIES=1, CORS_ORIGINS="https://app.example.org", TRUSTED_HOSTS=".example.org")
    return app.test_client()


def assert_linear(send: Callable[[int], object]) -> None:
    def seconds(size: int) -> float:
        began = time.process_time()
        send(size)
        return time.process_time() - began

    send(SMALL)
    pairs = [(seconds(SMALL), seconds(8 * SMALL)) for _ in range(5)]
    small, large = map(min, zip(*pairs, strict=True))
    assert large < 24 * small


@pytest.mark.parametrize("header", PARSED_HEADERS)
@pytest.mark.parametrize("value", HEADER_VALUES.values(), ids=HEADER_VALUES)
def test_header_is_parsed_in_linear_time(
    client: FlaskClient, header: str, value: Callable[[int], str]
) -> None:
    assert_linear(lambda size: client.get(TODOS, headers={header: value(size)}))


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_body_is_parsed_in_linear_time(client: FlaskClient, body: Callable[[int], bytes]) -> None:
    assert_linear(lambda size: client.post(TODOS, data=body(7 * size), content_type=JSON))


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_query_is_parsed_in_linear_time(client: FlaskClient, query: Callable[[int], str]) -> None:
    assert_linear(lambda size: client.get(f"{TODOS}?{query(size)}"))
