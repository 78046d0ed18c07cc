"""The one WSGI middleware: request ID, common headers, timing, and the response cache.

It wraps Flask because it must see every response, and because hooks of Flask cost several times as much.
"""

import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Flask
from werkzeug.wsgi import ClosingIterator

from todo import database
from todo.http import request_id, security
from todo.http.response_cache import Response, ResponseCache

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Called with the environment of a request, its route, the status of the response, and the seconds it took.
Observer = Callable[["WSGIEnvironment", str, int, float], None]

_EXTENSION = "todo.observers"


class Middleware:
    """Wraps the application of `app`, and calls its observers after each response."""

    def __init__(self, app: Flask, cache: ResponseCache | None) -> None:
        self.application: WSGIApplication = app.wsgi_app
        self.observers: list[Observer] = app.extensions.setdefault(_EXTENSION, [])
        self.cache = cache

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Respond from the cache or by the application."""
        began = time.perf_counter()
        id_header = request_id.identify(environ)
        place, cached = self.cache.find(environ) if self.cache else (None, None)
        if cached is not None:
            start_response(cached.status, [*cached.headers, id_header])
            self.notify(environ, cached.route, int(cached.status[:3]), began)
            return cached.body
        status, headers, route = "", list[tuple[str, str]](), ""

        def start(status_line: str, sent: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal status, headers, route
            rule = environ["werkzeug.request"].url_rule  # of Flask, until the context of the request ends
            route = "" if rule is None else rule.rule
            status, headers = status_line, [*sent, *security.headers(dict(sent))]
            return start_response(status, [*headers, id_header], exc_info)

        def notify() -> None:
            self.notify(environ, route, int(status[:3]), began)

        response = self.application(environ, start)
        if not is_buffered(status, headers):
            return ClosingIterator(response, notify)
        body = _in_memory(response)
        if place is not None and self.cache is not None:
            self.cache.store(place, environ, Response(status, headers, body, route))
        notify()
        return body

    def notify(self, environ: "WSGIEnvironment", route: str, status: int, began: float) -> None:
        """Call the observers of a finished request."""
        duration = time.perf_counter() - began
        for observer in self.observers:
            observer(environ, route, status, duration)


def register(app: Flask) -> None:
    """Wrap the application of `app`."""
    max_bytes = app.config["RESPONSE_CACHE"] * 1024 * 1024
    # Rate limits count every request. The development server shows changed templates at once.
    is_cached = max_bytes and not app.config["RATE_LIMIT"] and not app.debug
    cache = ResponseCache(max_bytes, database.version_reader(app)) if is_cached else None
    app.extensions["todo.response_cache"] = cache
    app.wsgi_app = Middleware(app, cache)  # type: ignore[method-assign]


def observe(app: Flask, observer: Observer) -> None:
    """Call `observer` after each response of `app`."""
    app.extensions.setdefault(_EXTENSION, []).append(observer)


def is_buffered(status: str, headers: Iterable[tuple[str, str]]) -> bool:
    """Return True if the whole body is in memory; a stream has no Content-Length."""
    return int(status[:3]) == HTTPStatus.NOT_MODIFIED or any(name == "Content-Length" for name, _ in headers)


def _in_memory(response: Iterable[bytes]) -> list[bytes]:
    """Return the body as a list, which the server sends together with the headers."""
    try:
        return [b"".join(response)]
    finally:
        if hasattr(response, "close"):
            response.close()
