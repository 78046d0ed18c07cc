"""The exchange of a request and its answer: what every answer has, and who is told when it is over.

Around Flask, for its hooks cost several times as much.
"""

import time
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Flask, Request
from werkzeug.wsgi import ClosingIterator

from todo.http import request_id, security

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Called with the request, the status of its answer, and how long it took, in seconds.
Observer = Callable[[Request, int, float], None]

_EXTENSION = "todo.observers"


def register(app: Flask) -> None:
    """Give every request to `app` its id and every answer its headers, and measure how long it takes."""
    observers = app.extensions[_EXTENSION] = []
    app.wsgi_app = partial(_respond, app.wsgi_app, observers)  # type: ignore[method-assign]


def observe(app: Flask, observer: Observer) -> None:
    """Have `observer` told of every exchange of `app`, once it is over."""
    app.extensions[_EXTENSION].append(observer)


def _respond(
    application: "WSGIApplication",
    observers: Iterable[Observer],
    environ: "WSGIEnvironment",
    start_response: "StartResponse",
) -> Iterable[bytes]:
    began = time.perf_counter()
    identity = request_id.identify(environ)
    request: Any = None
    status = 0
    is_whole = False

    def start(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        nonlocal request, status, is_whole
        request = environ["werkzeug.request"]  # Flask's, for as long as its context
        status = int(line[:3])
        given = dict(headers)
        is_whole = "Content-Length" in given or status == HTTPStatus.NOT_MODIFIED
        return start_response(line, [*headers, identity, *security.headers(given)], exc_info)

    def tell() -> None:
        duration = time.perf_counter() - began
        for observer in observers:
            observer(request, status, duration)

    answer = application(environ, start)
    if not is_whole:  # it is made while it is sent
        return ClosingIterator(answer, tell)
    body = _in_memory(answer)
    tell()
    return body


def _in_memory(answer: Iterable[bytes]) -> list[bytes]:
    """Take all of `answer` in a list, which a server sends with the headers, and an iterator behind them."""
    try:
        return [b"".join(answer)]
    finally:
        if hasattr(answer, "close"):
            answer.close()
