"""The one WSGI middleware: request ID, common headers, timing, and the response cache.

The middleware wraps Flask because it must see every response, and because Flask's hooks are slower.
"""

import re
import time
from collections.abc import Callable, Iterable
from random import getrandbits
from typing import TYPE_CHECKING, Any

from flask import Flask
from werkzeug.wsgi import ClosingIterator

from todo import database
from todo.http import request_id, security
from todo.http.problem import REQUEST_ID
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
        environ.pop("HTTP_UPGRADE", None)  # Werkzeug would look for a route for WebSockets
        sent_id = environ.get("HTTP_X_REQUEST_ID", "")
        is_valid = sent_id and re.fullmatch(request_id.PATTERN, sent_id)
        environ[REQUEST_ID] = sent_id if is_valid else f"{getrandbits(128):032x}"
        id_header = request_id.HEADER, environ[REQUEST_ID]
        place, cached = self.cache.find(environ) if self.cache else (None, None)
        if cached is not None:
            start_response(cached.status, [*cached.headers, id_header])
            self.notify(environ, began, cached)
            return cached.body
        is_buffered = False
        response = Response("", [], [], "")

        def start(status: str, sent: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal is_buffered, response
            rule = environ["werkzeug.request"].url_rule  # Flask's request context still exists here
            by_name = dict(sent)
            is_buffered = "Content-Length" in by_name or status.startswith("304")  # a stream has no length
            ours = security.HEADERS if security.POLICY[0] in by_name else security.DATA_HEADERS
            headers = [*sent, *ours]
            response = Response(status, headers, [], "" if rule is None else rule.rule)
            return start_response(status, [*headers, id_header], exc_info)

        body = self.application(environ, start)
        if not is_buffered:
            return ClosingIterator(body, lambda: self.notify(environ, began, response))
        try:
            # The server sends a list together with the headers.
            response.body.append(b"".join(body))
        finally:
            if hasattr(body, "close"):
                body.close()
        if place is not None and self.cache is not None:
            self.cache.store(place, environ, response)
        self.notify(environ, began, response)
        return response.body

    def notify(self, environ: "WSGIEnvironment", began: float, response: Response) -> None:
        """Call the observers of a finished request."""
        duration = time.perf_counter() - began
        for observer in self.observers:
            observer(environ, response.route, int(response.status[:3]), duration)


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
