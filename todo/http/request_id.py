"""The `X-Request-ID` header: one id for each request, in its answer, its problem and the log."""

import logging
import re
from collections.abc import Iterable
from functools import partial
from random import getrandbits
from typing import TYPE_CHECKING, Any

from flask import Flask, has_request_context, request
from flask.logging import default_handler

from todo.http.problem import REQUEST_ID

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEADER = "X-Request-ID"

# What a log can hold without doubt; anything else the client sends is replaced.
PATTERN = "^[A-Za-z0-9._:+/=-]{1,128}$"


def register(app: Flask) -> None:
    """Give every request of `app` an id: the client's own where it is sane, else a new one."""
    app.wsgi_app = partial(_identify, app.wsgi_app)  # type: ignore[method-assign]
    default_handler.addFilter(_stamp)


def current() -> str:
    """Return the id of the current request; a dash where there is none."""
    return str(request.environ.get(REQUEST_ID, "-")) if has_request_context() else "-"


def _identify(
    application: "WSGIApplication", environ: "WSGIEnvironment", start_response: "StartResponse"
) -> Iterable[bytes]:
    """Around the whole application: a hook of Flask's and its headers cost several times as much."""
    sent = environ.get("HTTP_X_REQUEST_ID", "")
    is_sane = sent and re.fullmatch(PATTERN, sent)
    request_id = environ[REQUEST_ID] = sent if is_sane else f"{getrandbits(128):032x}"

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        return start_response(status, [*headers, (HEADER, request_id)], exc_info)

    return application(environ, start)


def _stamp(record: logging.LogRecord) -> bool:
    # A line of the log stays one line, whatever stands in the address.
    record.msg = str(record.msg).encode("unicode_escape").decode()
    record.request_id = current()
    return True
